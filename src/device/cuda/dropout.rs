//! Dropout: kernels/dropout.cu.

use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::Dropout;

impl Run<Dropout<Tensor>> for CudaDevice {
    fn run(&mut self, op: &Dropout<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements) = (op.y.at.shape.n, op.y.at.shape.image());
        let [x, y] = self.all_reals([op.x, op.y.at], images * elements)?;
        // uniform(bits) < keep, where uniform is (bits >> 8)/2²⁴.
        let threshold = (op.keep * 16_777_216.0).ceil() as u32;
        let vector = if elements.is_multiple_of(4) { vector(&[x, y]) } else { 0 };
        let grid = self.over(images * elements.div_ceil(4));
        let (factor, [images, elements]) = (op.factor as f32, [images, elements].map(|v| v as i32));
        self.launch(
            "dropout",
            grid,
            &[&self.step.at(), &op.layer, &threshold, &factor, &images, &elements, &vector, &x, &y, &add(&op.y)],
        )
    }
}
