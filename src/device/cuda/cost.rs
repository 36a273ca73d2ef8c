//! The costs: kernels/cost.cu.

use super::driver::{Address, Argument, Grid};
use super::{CudaDevice, Tensor, add, metrics_at, vector};
use crate::device::{Dtype, Into, Result};

pub(super) const KERNELS: &[&str] = &[
    "one_hot",
    "logreg_forward",
    "logreg_backward",
    "cross_entropy_forward",
    "cross_entropy_backward",
    "squares_forward",
    "squares_metrics",
    "squares_backward",
];

/// What a class should have: the label's own, 1 − smoothing more than each other, smoothing/classes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Smoothed {
    own: f32,
    each: f32,
}
const _: () = assert!(size_of::<Smoothed>() == 8);
// SAFETY: #[repr(C)] of floats; kernels/cost.cu defines it with the same fields and checks its size.
unsafe impl Argument for Smoothed {}

impl Smoothed {
    fn new(classes: i32, smoothing: f64) -> Self {
        Self { own: (1.0 - smoothing) as f32, each: (smoothing / f64::from(classes)) as f32 }
    }
}

/// One block of so many threads.
pub(super) fn one_block(threads: u32) -> Grid {
    Grid { blocks: [1, 1, 1], threads }
}

/// x's images and elements of each, and where x and the labels lie.
pub(super) fn of_labels(d: &CudaDevice, x: Tensor, labels: Tensor) -> Result<(i32, i32, Address, Address)> {
    let (images, elements) = (x.shape.n, x.shape.image());
    if labels.dtype != Dtype::I32 || labels.shape.elements() != images || elements == 0 {
        return Err(d.failed(format_args!("{labels:?} are not the labels of {x:?}")));
    }
    Ok((images as i32, elements as i32, d.reals(x, images * elements)?, d.at(labels)?))
}

/// The loss and errors of `kernel`, added to the metrics.
pub(super) fn of_labels_forward(
    d: &CudaDevice,
    kernel: &'static str,
    x: Tensor,
    labels: Tensor,
    smoothing: f64,
    metrics: Tensor,
) -> Result<()> {
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    let metrics = metrics_at(d, metrics)?;
    let q = Smoothed::new(elements, smoothing);
    d.launch(kernel, one_block(1024), &[&d.step.at(), &images, &elements, &x, &labels, &q, &metrics])
}

/// dx ← coefficient·gradient_scale·(softmax(x) − q), or dx += ….
pub(super) fn logreg_backward(
    d: &CudaDevice,
    x: Tensor,
    labels: Tensor,
    smoothing: f64,
    coefficient: f64,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let dx = d.reals(dx, x.shape.elements())?;
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    let q = Smoothed::new(elements, smoothing);
    d.launch(
        "logreg_backward",
        d.warps(images as usize),
        &[&d.step.at(), &images, &elements, &x, &labels, &q, &(coefficient as f32), &dx, &add(into)],
    )
}

/// dx ← −coefficient·gradient_scale·q/x, or dx += ….
pub(super) fn cross_entropy_backward(
    d: &CudaDevice,
    x: Tensor,
    labels: Tensor,
    smoothing: f64,
    coefficient: f64,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let count = x.shape.elements();
    let dx = d.reals(dx, count)?;
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    let q = Smoothed::new(elements, smoothing);
    d.launch(
        "cross_entropy_backward",
        d.over(count),
        &[&d.step.at(), &images, &elements, &x, &labels, &q, &(coefficient as f32), &dx, &add(into)],
    )
}

/// y ← q of each image's label.
pub(super) fn one_hot(d: &CudaDevice, labels: Tensor, smoothing: f64, y: Tensor) -> Result<()> {
    let count = y.shape.elements();
    let (images, elements, y, labels) = of_labels(d, y, labels)?;
    d.launch("one_hot", d.over(count), &[&images, &elements, &labels, &Smoothed::new(elements, smoothing), &y])
}

/// x's images and elements of each, and where x and the target lie.
pub(super) fn of_target(d: &CudaDevice, x: Tensor, target: Option<Tensor>) -> Result<(i32, i32, Address, Address)> {
    let count = x.shape.elements();
    let target = target.map_or(Ok(Address::NULL), |target| d.reals(target, count))?;
    Ok((x.shape.n as i32, x.shape.image() as i32, d.reals(x, count)?, target))
}

/// Adds Σ (x − target)² of the counted images to the metrics.
pub(super) fn squares_forward(d: &CudaDevice, x: Tensor, target: Option<Tensor>, metrics: Tensor) -> Result<()> {
    let blocks = d.share_blocks(x.shape.elements());
    let (images, elements, x, target) = of_target(d, x, target)?;
    let (step, shares, metrics) = (d.step.at(), d.shares.start(), metrics_at(d, metrics)?);
    let grid = Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
    d.launch("squares_forward", grid, &[&step, &images, &elements, &x, &target, &shares])?;
    d.launch("squares_metrics", one_block(256), &[&step, &images, &(blocks as i32), &shares, &metrics])
}

/// dx ← coefficient·gradient_scale·2·(x − target), or dx += ….
pub(super) fn squares_backward(
    d: &CudaDevice,
    x: Tensor,
    target: Option<Tensor>,
    coefficient: f64,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let count = x.shape.elements();
    let dx = d.reals(dx, count)?;
    let (images, elements, x, target) = of_target(d, x, target)?;
    let vector = vector(&[x, target, dx]);
    d.launch(
        "squares_backward",
        d.over(count.div_ceil(4)),
        &[&d.step.at(), &images, &elements, &vector, &x, &target, &(coefficient as f32), &dx, &add(into)],
    )
}
