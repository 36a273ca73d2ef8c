//! The costs: kernels/cost.cu.

use super::driver::{Address, Argument, Grid};
use super::{CudaDevice, add, vector};
use crate::device::{Dtype, METRICS, Result, Run, Tensor};
use crate::op::{
    CrossEntropyBackward, CrossEntropyForward, LogregBackward, LogregForward, OneHot, SquaresBackward, SquaresForward, Target,
};

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

/// One block of `threads` threads.
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

impl Run<OneHot<Tensor>> for CudaDevice {
    fn run(&mut self, op: &OneHot<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.y.shape.elements();
        let (images, elements, y, labels) = of_labels(self, op.y, op.labels)?;
        let q = Smoothed::new(elements, op.smoothing);
        self.launch("one_hot", self.over(count), &[&images, &elements, &labels, &q, &y])
    }
}

/// Adds the loss and errors of x against labels to the metrics, by this kernel.
fn forward(d: &CudaDevice, kernel: &str, [x, labels, metrics]: [Tensor; 3], smoothing: f64) -> Result<()> {
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    let (q, metrics) = (Smoothed::new(elements, smoothing), d.reals(metrics, METRICS)?);
    d.launch(kernel, one_block(1024), &[&d.step.at(), &images, &elements, &x, &labels, &q, &metrics])
}

/// The gradient by x, by this kernel on such a grid.
fn backward(
    d: &CudaDevice,
    (kernel, grid): (&str, Grid),
    [x, labels]: [Tensor; 2],
    [smoothing, coefficient]: [f64; 2],
    dx: &Target<Tensor>,
) -> Result<()> {
    let to = d.reals(dx.at, x.shape.elements())?;
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    let q = Smoothed::new(elements, smoothing);
    d.launch(kernel, grid, &[&d.step.at(), &images, &elements, &x, &labels, &q, &(coefficient as f32), &to, &add(dx)])
}

impl Run<LogregForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LogregForward<Tensor>, _scratch: Tensor) -> Result<()> {
        forward(self, "logreg_forward", [op.x, op.labels, op.metrics], op.smoothing)
    }
}

impl Run<LogregBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LogregBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let grid = self.warps(op.x.shape.n);
        backward(self, ("logreg_backward", grid), [op.x, op.labels], [op.smoothing, op.coefficient], &op.dx)
    }
}

impl Run<CrossEntropyForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &CrossEntropyForward<Tensor>, _scratch: Tensor) -> Result<()> {
        forward(self, "cross_entropy_forward", [op.x, op.labels, op.metrics], op.smoothing)
    }
}

impl Run<CrossEntropyBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &CrossEntropyBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let grid = self.over(op.x.shape.elements());
        backward(self, ("cross_entropy_backward", grid), [op.x, op.labels], [op.smoothing, op.coefficient], &op.dx)
    }
}

/// x's images and elements of each, and where x and the target lie.
pub(super) fn of_target(d: &CudaDevice, x: Tensor, target: Option<Tensor>) -> Result<(i32, i32, Address, Address)> {
    let count = x.shape.elements();
    Ok((x.shape.n as i32, x.shape.image() as i32, d.reals(x, count)?, d.maybe_reals(target, count)?))
}

impl Run<SquaresForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SquaresForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let blocks = self.share_blocks(op.x.shape.elements());
        let (images, elements, x, target) = of_target(self, op.x, op.target)?;
        let (step, shares, metrics) = (self.step.at(), self.shares.start(), self.reals(op.metrics, METRICS)?);
        let grid = Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
        self.launch("squares_forward", grid, &[&step, &images, &elements, &x, &target, &shares])?;
        self.launch("squares_metrics", one_block(256), &[&step, &images, &(blocks as i32), &shares, &metrics])
    }
}

impl Run<SquaresBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SquaresBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.x.shape.elements();
        let (dx, add) = (self.reals(op.dx.at, count)?, add(&op.dx));
        let (images, elements, x, target) = of_target(self, op.x, op.target)?;
        let (grid, vector) = (self.over(count.div_ceil(4)), vector(&[x, target, dx]));
        let coefficient = op.coefficient as f32;
        self.launch(
            "squares_backward",
            grid,
            &[&self.step.at(), &images, &elements, &vector, &x, &target, &coefficient, &dx, &add],
        )
    }
}
