//! Binary cross entropy: kernels/binary_cross_entropy.cu.

use super::cost::{of_target, one_block};
use super::driver::Grid;
use super::{CudaDevice, add, vector};
use crate::device::{METRICS, Result, Run, Tensor};
use crate::op::{
    Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, BinaryCrossEntropyTargetBackward, CountDetections,
};

/// What the kernels call `logistic` and `weight`.
fn arguments(b: Binary) -> (i32, f32) {
    (i32::from(b.logistic), b.positive_weight as f32)
}

impl Run<BinaryCrossEntropyForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &BinaryCrossEntropyForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = self.share_blocks(op.x.shape.elements());
        let (images, elements, x, target) = of_target(self, op.x, Some(op.target))?;
        let (logistic, weight) = arguments(op.binary);
        let (step, shares, metrics) = (self.step.at(), self.shares.start(), self.reals(op.metrics, METRICS)?);
        let (grid, blocks) = (Grid { blocks: [count as u32, 1, 1], threads: 256 }, count as i32);
        self.launch(
            "binary_cross_entropy_forward",
            grid,
            &[&step, &images, &elements, &logistic, &weight, &x, &target, &shares],
        )?;
        self.launch("binary_cross_entropy_metrics", one_block(256), &[&step, &images, &elements, &blocks, &shares, &metrics])
    }
}

impl Run<BinaryCrossEntropyBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &BinaryCrossEntropyBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.x.shape.elements();
        let (dx, add) = (self.reals(op.dx.at, count)?, add(&op.dx));
        let (images, elements, x, target) = of_target(self, op.x, Some(op.target))?;
        let ((logistic, weight), vector) = (arguments(op.binary), vector(&[x, target, dx]));
        let coefficient = op.coefficient as f32;
        self.launch(
            "binary_cross_entropy_backward",
            self.over(count.div_ceil(4)),
            &[&self.step.at(), &images, &elements, &logistic, &weight, &vector, &x, &target, &coefficient, &dx, &add],
        )
    }
}

impl Run<BinaryCrossEntropyTargetBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &BinaryCrossEntropyTargetBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements, x, dt) = of_target(self, op.x, Some(op.dt.at))?;
        let ((logistic, weight), vector) = (arguments(op.binary), vector(&[x, dt]));
        let coefficient = op.coefficient as f32;
        self.launch(
            "binary_cross_entropy_target_backward",
            self.over(op.x.shape.elements().div_ceil(4)),
            &[&self.step.at(), &images, &elements, &logistic, &weight, &vector, &x, &coefficient, &dt, &add(&op.dt)],
        )
    }
}

impl Run<CountDetections<Tensor>> for CudaDevice {
    fn run(&mut self, op: &CountDetections<Tensor>, _scratch: Tensor) -> Result<()> {
        let outputs = op.x.shape.image();
        let counts = self.reals(op.counts, 3 * outputs)?;
        let (images, elements, x, target) = of_target(self, op.x, Some(op.target))?;
        let grid = Grid { blocks: [outputs.div_ceil(32) as u32, 1, 1], threads: 256 };
        let logistic = arguments(op.binary).0;
        self.launch("count_detections", grid, &[&self.step.at(), &images, &elements, &logistic, &x, &target, &counts])
    }
}
