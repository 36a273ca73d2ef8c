//! Bilinear resampling: kernels/resample.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::{RandomWindow, ResampleBackward, ResampleForward};

/// A grid that covers an image of this shape by one or four channels a thread, its rows the images; and whether four.
fn over_images(shape: Shape, all: &[Address]) -> (Grid, i32) {
    let wide = if shape.c.is_multiple_of(4) { vector(all) } else { 0 };
    let items = if wide == 1 { shape.image() / 4 } else { shape.image() };
    (Grid { blocks: [items.div_ceil(256) as u32, shape.n.min(65535) as u32, 1], threads: 256 }, wide)
}

impl Run<ResampleForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &ResampleForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (g, window) = (&op.geometry, self.reals(op.window, 4)?);
        let (x, y) = (self.reals(op.x, g.input().elements())?, self.reals(op.y, g.output().elements())?);
        let (grid, wide) = over_images(g.output(), &[x, y]);
        self.launch("resample_forward", grid, &[g, &wide, &window, &x, &y])
    }
}

impl Run<ResampleBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &ResampleBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (g, window) = (&op.geometry, self.reals(op.window, 4)?);
        let (dy, dx) = (self.reals(op.dy, g.output().elements())?, self.reals(op.dx.at, g.input().elements())?);
        let (grid, wide) = over_images(g.input(), &[dy, dx]);
        self.launch("resample_backward", grid, &[g, &wide, &window, &dy, &dx, &add(&op.dx)])
    }
}

impl Run<RandomWindow<Tensor>> for CudaDevice {
    fn run(&mut self, op: &RandomWindow<Tensor>, _scratch: Tensor) -> Result<()> {
        let window = self.reals(op.window, 4)?;
        let one = Grid { blocks: [1, 1, 1], threads: 32 };
        self.launch("random_window", one, &[&self.step.at(), &op.layer, &op.geometry, &(op.largest as f32), &window])
    }
}
