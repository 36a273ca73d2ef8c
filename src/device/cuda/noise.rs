//! Gaussian noise: kernels/noise.cu.

use super::{CudaDevice, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::Noise;

impl Run<Noise<Tensor>> for CudaDevice {
    fn run(&mut self, op: &Noise<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements) = (op.y.shape.n, op.y.shape.image());
        let [x, y] = self.all_reals([op.x, op.y], images * elements)?;
        let vector = if elements.is_multiple_of(4) { vector(&[x, y]) } else { 0 };
        self.launch(
            "noise",
            self.over(images * elements.div_ceil(4)),
            &[&self.step.at(), &op.layer, &(op.std as f32), &(images as i32), &(elements as i32), &vector, &x, &y],
        )
    }
}
