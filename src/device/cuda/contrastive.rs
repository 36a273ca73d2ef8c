//! The contrastive loss: kernels/contrastive.cu.

use super::cost::{of_labels, one_block};
use super::{CudaDevice, Tensor, add, metrics_at};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["contrastive_forward", "contrastive_backward"];

/// Adds the loss and the errors to the metrics.
pub(super) fn forward(d: &CudaDevice, margin: f64, a: Tensor, b: Tensor, labels: Tensor, metrics: Tensor) -> Result<()> {
    let b = d.reals(b, a.shape.elements())?;
    let (images, elements, a, labels) = of_labels(d, a, labels)?;
    let metrics = metrics_at(d, metrics)?;
    d.launch(
        "contrastive_forward",
        one_block(1024),
        &[&d.step.at(), &images, &elements, &(margin as f32), &a, &b, &labels, &metrics],
    )
}

/// da ← coefficient·gradient_scale·the gradient by a, or da += ….
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    d: &CudaDevice,
    margin: f64,
    a: Tensor,
    b: Tensor,
    labels: Tensor,
    coefficient: f64,
    da: Tensor,
    into: Into,
) -> Result<()> {
    let [b, da] = [b, da].map(|t| d.reals(t, a.shape.elements()));
    let (images, elements, a, labels) = of_labels(d, a, labels)?;
    d.launch(
        "contrastive_backward",
        d.warps(images as usize),
        &[&d.step.at(), &images, &elements, &(margin as f32), &a, &b?, &labels, &(coefficient as f32), &da?, &add(into)],
    )
}
