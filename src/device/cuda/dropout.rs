//! Dropout: kernels/dropout.cu.

use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["dropout"];

/// y ← x·mask·factor, or y += …; y may be x.
pub(super) fn apply(d: &CudaDevice, layer: u32, keep: f64, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()> {
    let (images, elements) = (y.shape.n, y.shape.image());
    let (x, y) = (d.reals(x, images * elements)?, d.reals(y, images * elements)?);
    // uniform(bits) < keep, where uniform is (bits >> 8)/2²⁴.
    let threshold = (keep * 16_777_216.0).ceil() as u32;
    let vector = if elements.is_multiple_of(4) { vector(&[x, y]) } else { 0 };
    d.launch(
        "dropout",
        d.over(images * elements.div_ceil(4)),
        &[&d.step.at(), &layer, &threshold, &(factor as f32), &(images as i32), &(elements as i32), &vector, &x, &y, &add(into)],
    )
}
