//! Cross entropy against class probabilities: kernels/soft_cross_entropy.cu.

use super::cost::{of_target, one_block};
use super::{CudaDevice, add};
use crate::device::{METRICS, Result, Run, Tensor};
use crate::op::{SoftCrossEntropyBackward, SoftCrossEntropyForward, SoftCrossEntropyTargetBackward};

impl Run<SoftCrossEntropyForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SoftCrossEntropyForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements, x, target) = of_target(self, op.x, Some(op.target))?;
        let (softmax, metrics) = (i32::from(op.softmax), self.reals(op.metrics, METRICS)?);
        self.launch(
            "soft_cross_entropy_forward",
            one_block(1024),
            &[&self.step.at(), &images, &elements, &softmax, &x, &target, &metrics],
        )
    }
}

impl Run<SoftCrossEntropyBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SoftCrossEntropyBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let dx = self.reals(op.dx.at, op.x.shape.elements())?;
        let (images, elements, x, target) = of_target(self, op.x, Some(op.target))?;
        let (softmax, coefficient) = (i32::from(op.softmax), op.coefficient as f32);
        self.launch(
            "soft_cross_entropy_backward",
            self.warps(op.x.shape.n),
            &[&self.step.at(), &images, &elements, &softmax, &x, &target, &coefficient, &dx, &add(&op.dx)],
        )
    }
}

impl Run<SoftCrossEntropyTargetBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SoftCrossEntropyTargetBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements, x, dt) = of_target(self, op.x, Some(op.dt.at))?;
        let (softmax, coefficient) = (i32::from(op.softmax), op.coefficient as f32);
        self.launch(
            "soft_cross_entropy_target_backward",
            self.warps(op.x.shape.n),
            &[&self.step.at(), &images, &elements, &softmax, &x, &coefficient, &dt, &add(&op.dt)],
        )
    }
}
