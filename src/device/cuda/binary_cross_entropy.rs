//! Binary cross entropy: kernels/binary_cross_entropy.cu.

use super::cost::{of_target, one_block};
use super::driver::Grid;
use super::{CudaDevice, Tensor, add, metrics_at, vector};
use crate::device::{Binary, Into, Result};

pub(super) const KERNELS: &[&str] = &[
    "binary_cross_entropy_forward",
    "binary_cross_entropy_metrics",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_target_backward",
    "count_detections",
];

/// What the kernels call `logistic` and `weight`.
fn arguments(b: Binary) -> (i32, f32) {
    (i32::from(b.logistic), b.positive_weight as f32)
}

/// Adds the loss and the errors of the images that count to the metrics.
pub(super) fn forward(d: &CudaDevice, b: Binary, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()> {
    let blocks = d.share_blocks(x.shape.elements());
    let (images, elements, x, target) = of_target(d, x, Some(target))?;
    let (logistic, weight) = arguments(b);
    let (step, shares, metrics) = (d.step.at(), d.shares.start(), metrics_at(d, metrics)?);
    let grid = Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
    d.launch("binary_cross_entropy_forward", grid, &[&step, &images, &elements, &logistic, &weight, &x, &target, &shares])?;
    d.launch("binary_cross_entropy_metrics", one_block(256), &[&step, &images, &elements, &(blocks as i32), &shares, &metrics])
}

/// dx ← coefficient·gradient_scale·((1 − t)·σ(x) − w·t·σ(−x)), or its like of probabilities; or dx += ….
pub(super) fn backward(
    d: &CudaDevice,
    b: Binary,
    x: Tensor,
    target: Tensor,
    coefficient: f64,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let count = x.shape.elements();
    let dx = d.reals(dx, count)?;
    let (images, elements, x, target) = of_target(d, x, Some(target))?;
    let ((logistic, weight), vector) = (arguments(b), vector(&[x, target, dx]));
    d.launch(
        "binary_cross_entropy_backward",
        d.over(count.div_ceil(4)),
        &[&d.step.at(), &images, &elements, &logistic, &weight, &vector, &x, &target, &(coefficient as f32), &dx, &add(into)],
    )
}

/// dt ← coefficient·gradient_scale·(log(1 − p) − w·log p), or dt += ….
pub(super) fn target_backward(d: &CudaDevice, b: Binary, x: Tensor, coefficient: f64, dt: Tensor, into: Into) -> Result<()> {
    let count = x.shape.elements();
    let dt = d.reals(dt, count)?;
    let (images, elements, x, _) = of_target(d, x, None)?;
    let ((logistic, weight), vector) = (arguments(b), vector(&[x, dt]));
    d.launch(
        "binary_cross_entropy_target_backward",
        d.over(count.div_ceil(4)),
        &[&d.step.at(), &images, &elements, &logistic, &weight, &vector, &x, &(coefficient as f32), &dt, &add(into)],
    )
}

/// Adds to each output's counts: true positives, false positives, false negatives.
pub(super) fn count_detections(d: &CudaDevice, b: Binary, x: Tensor, target: Tensor, counts: Tensor) -> Result<()> {
    let outputs = x.shape.image();
    let counts = d.reals(counts, 3 * outputs)?;
    let (images, elements, x, target) = of_target(d, x, Some(target))?;
    let grid = Grid { blocks: [outputs.div_ceil(32) as u32, 1, 1], threads: 256 };
    d.launch("count_detections", grid, &[&d.step.at(), &images, &elements, &arguments(b).0, &x, &target, &counts])
}
