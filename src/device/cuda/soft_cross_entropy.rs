//! Cross entropy against class probabilities: kernels/soft_cross_entropy.cu.

use super::cost::{of_target, one_block};
use super::{CudaDevice, Tensor, add, metrics_at};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] =
    &["soft_cross_entropy_forward", "soft_cross_entropy_backward", "soft_cross_entropy_target_backward"];

/// Adds the loss and the errors to the metrics.
pub(super) fn forward(d: &CudaDevice, softmax: bool, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()> {
    let (images, elements, x, target) = of_target(d, x, Some(target))?;
    let (softmax, metrics) = (i32::from(softmax), metrics_at(d, metrics)?);
    d.launch("soft_cross_entropy_forward", one_block(1024), &[&d.step.at(), &images, &elements, &softmax, &x, &target, &metrics])
}

/// dx ← coefficient·gradient_scale·(softmax(x)·Σt − t), or −….·t/x of probabilities; or dx += ….
pub(super) fn backward(
    d: &CudaDevice,
    softmax: bool,
    x: Tensor,
    target: Tensor,
    coefficient: f64,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let dx = d.reals(dx, x.shape.elements())?;
    let (images, elements, x, target) = of_target(d, x, Some(target))?;
    d.launch(
        "soft_cross_entropy_backward",
        d.warps(images as usize),
        &[&d.step.at(), &images, &elements, &i32::from(softmax), &x, &target, &(coefficient as f32), &dx, &add(into)],
    )
}

/// dt ← −coefficient·gradient_scale·log softmax(x), or −….·log x of probabilities; or dt += ….
pub(super) fn target_backward(d: &CudaDevice, softmax: bool, x: Tensor, coefficient: f64, dt: Tensor, into: Into) -> Result<()> {
    let dt = d.reals(dt, x.shape.elements())?;
    let (images, elements, x, _) = of_target(d, x, None)?;
    d.launch(
        "soft_cross_entropy_target_backward",
        d.warps(images as usize),
        &[&d.step.at(), &images, &elements, &i32::from(softmax), &x, &(coefficient as f32), &dt, &add(into)],
    )
}
