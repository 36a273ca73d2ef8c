//! Bilinear resampling: kernels/resample.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{ImageGeometry, Into, Result, Shape};

pub(super) const KERNELS: &[&str] = &["resample_forward", "resample_backward", "random_window"];

/// A grid that covers an image of this shape by one or four channels a thread, its rows the images; and whether four.
fn over_images(shape: Shape, all: &[Address]) -> (Grid, i32) {
    let wide = if shape.c.is_multiple_of(4) { vector(all) } else { 0 };
    let items = if wide == 1 { shape.image() / 4 } else { shape.image() };
    (Grid { blocks: [items.div_ceil(256) as u32, shape.n.min(65535) as u32, 1], threads: 256 }, wide)
}

/// y ← x at the places that the window says.
pub(super) fn forward(d: &CudaDevice, g: &ImageGeometry, window: Tensor, x: Tensor, y: Tensor) -> Result<()> {
    let (window, x, y) = (d.reals(window, 4)?, d.reals(x, g.input().elements())?, d.reals(y, g.output().elements())?);
    let (grid, wide) = over_images(g.output(), &[x, y]);
    d.launch("resample_forward", grid, &[g, &wide, &window, &x, &y])
}

/// dx ← the gradient of [`forward`], or dx += ….
pub(super) fn backward(d: &CudaDevice, g: &ImageGeometry, window: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let (window, dy, dx) = (d.reals(window, 4)?, d.reals(dy, g.output().elements())?, d.reals(dx, g.input().elements())?);
    let (grid, wide) = over_images(g.input(), &[dy, dx]);
    d.launch("resample_backward", grid, &[g, &wide, &window, &dy, &dx, &add(into)])
}

/// window ← a random part of x scaled to p × q cells up to `most` times as many.
pub(super) fn random_window(d: &CudaDevice, layer: u32, g: &ImageGeometry, most: f64, window: Tensor) -> Result<()> {
    let one = Grid { blocks: [1, 1, 1], threads: 32 };
    d.launch("random_window", one, &[&d.step.at(), &layer, g, &(most as f32), &d.reals(window, 4)?])
}
