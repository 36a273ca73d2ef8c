//! Gaussian noise: kernels/noise.cu.

use super::{CudaDevice, Tensor, vector};
use crate::device::Result;

pub(super) const KERNELS: &[&str] = &["noise"];

/// y ← x + std·g; y may be x.
pub(super) fn add(d: &CudaDevice, layer: u32, std: f64, x: Tensor, y: Tensor) -> Result<()> {
    let (images, elements) = (y.shape.n, y.shape.image());
    let (x, y) = (d.reals(x, images * elements)?, d.reals(y, images * elements)?);
    let vector = if elements.is_multiple_of(4) { vector(&[x, y]) } else { 0 };
    d.launch(
        "noise",
        d.over(images * elements.div_ceil(4)),
        &[&d.step.at(), &layer, &(std as f32), &(images as i32), &(elements as i32), &vector, &x, &y],
    )
}
