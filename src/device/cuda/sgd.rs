//! The momentum update: kernels/sgd.cu.

use super::{CudaDevice, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::SgdUpdate;

impl Run<SgdUpdate<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SgdUpdate<Tensor>, _scratch: Tensor) -> Result<()> {
        let (u, count) = (&op.update, op.w.shape.elements());
        let [w, g, v] = self.all_reals([op.w, op.g, op.v], count)?;
        let factor = self.maybe_reals(op.factor, 1)?;
        // A negative momentum stands for the step's.
        let [rate, decay, l1_decay, momentum] = [u.rate, u.decay, u.l1_decay, u.momentum.unwrap_or(-1.0)].map(|v| v as f32);
        let (many, wide, nesterov) = (count as i64, vector(&[w, g, v]), i32::from(u.nesterov));
        self.launch(
            "sgd_update",
            self.over(count.div_ceil(4)),
            &[&self.step.at(), &many, &wide, &rate, &decay, &l1_decay, &momentum, &nesterov, &factor, &w, &g, &v],
        )
    }
}
