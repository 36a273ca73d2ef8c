//! Noisy relu: kernels/noisy_relu.cu.

use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["noisy_relu_forward", "noisy_relu_backward"];

/// y ← max(0, x + √σ(x)·g).
pub(super) fn forward(d: &CudaDevice, layer: u32, x: Tensor, y: Tensor) -> Result<()> {
    let (images, elements) = (y.shape.n, y.shape.image());
    let (x, y) = (d.reals(x, images * elements)?, d.reals(y, images * elements)?);
    let wide = if elements.is_multiple_of(4) { vector(&[x, y]) } else { 0 };
    let grid = d.over(images * elements.div_ceil(4));
    d.launch("noisy_relu_forward", grid, &[&d.step.at(), &layer, &(images as i32), &(elements as i32), &wide, &x, &y])
}

/// dx ← dy·y′, or dx += …; dx may be dy.
pub(super) fn backward(d: &CudaDevice, layer: u32, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let (images, elements) = (dx.shape.n, dx.shape.image());
    let [x, dy, dx] = [x, dy, dx].map(|t| d.reals(t, images * elements));
    let (x, dy, dx) = (x?, dy?, dx?);
    let wide = if elements.is_multiple_of(4) { vector(&[x, dy, dx]) } else { 0 };
    let grid = d.over(images * elements.div_ceil(4));
    d.launch(
        "noisy_relu_backward",
        grid,
        &[&d.step.at(), &layer, &(images as i32), &(elements as i32), &wide, &x, &dy, &dx, &add(into)],
    )
}
