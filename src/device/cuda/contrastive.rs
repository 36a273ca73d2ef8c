//! The contrastive loss: kernels/contrastive.cu.

use super::cost::{of_labels, one_block};
use super::{CudaDevice, add};
use crate::device::{METRICS, Result, Run, Tensor};
use crate::op::{ContrastiveBackward, ContrastiveForward};

impl Run<ContrastiveForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &ContrastiveForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (b, metrics) = (self.reals(op.b, op.a.shape.elements())?, self.reals(op.metrics, METRICS)?);
        let (images, elements, a, labels) = of_labels(self, op.a, op.labels)?;
        self.launch(
            "contrastive_forward",
            one_block(1024),
            &[&self.step.at(), &images, &elements, &(op.margin as f32), &a, &b, &labels, &metrics],
        )
    }
}

impl Run<ContrastiveBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &ContrastiveBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let [b, da] = self.all_reals([op.b, op.da.at], op.a.shape.elements())?;
        let (images, elements, a, labels) = of_labels(self, op.a, op.labels)?;
        let [margin, coefficient] = [op.margin, op.coefficient].map(|v| v as f32);
        self.launch(
            "contrastive_backward",
            self.warps(op.a.shape.n),
            &[&self.step.at(), &images, &elements, &margin, &a, &b, &labels, &coefficient, &da, &add(&op.da)],
        )
    }
}
