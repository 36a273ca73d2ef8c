//! L*a*b* of linear RGB: kernels/lab.cu.

use super::{CudaDevice, add};
use crate::device::{Result, Run, Tensor};
use crate::op::{LabBackward, LabForward};

impl Run<LabForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LabForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let cells = op.y.shape.elements() / 3;
        let [x, y] = self.all_reals([op.x, op.y], 3 * cells)?;
        let offset = (16.0 + op.centre) as f32;
        self.launch("lab_forward", self.over(cells), &[&(cells as i64), &offset, &x, &y])
    }
}

impl Run<LabBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LabBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let cells = op.dy.shape.elements() / 3;
        let [x, dy, dx] = self.all_reals([op.x, op.dy, op.dx.at], 3 * cells)?;
        self.launch("lab_backward", self.over(cells), &[&(cells as i64), &x, &dy, &dx, &add(&op.dx)])
    }
}
