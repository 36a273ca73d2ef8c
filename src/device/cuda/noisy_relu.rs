//! Noisy relu: kernels/noisy_relu.cu.

use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::{NoisyReluBackward, NoisyReluForward};

impl Run<NoisyReluForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &NoisyReluForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements) = (op.y.shape.n, op.y.shape.image());
        let [x, y] = self.all_reals([op.x, op.y], images * elements)?;
        let wide = if elements.is_multiple_of(4) { vector(&[x, y]) } else { 0 };
        let grid = self.over(images * elements.div_ceil(4));
        let [images, elements] = [images, elements].map(|v| v as i32);
        self.launch("noisy_relu_forward", grid, &[&self.step.at(), &op.layer, &images, &elements, &wide, &x, &y])
    }
}

impl Run<NoisyReluBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &NoisyReluBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements) = (op.dx.at.shape.n, op.dx.at.shape.image());
        let [x, dy, dx] = self.all_reals([op.x, op.dy, op.dx.at], images * elements)?;
        let wide = if elements.is_multiple_of(4) { vector(&[x, dy, dx]) } else { 0 };
        let grid = self.over(images * elements.div_ceil(4));
        let [images, elements] = [images, elements].map(|v| v as i32);
        self.launch(
            "noisy_relu_backward",
            grid,
            &[&self.step.at(), &op.layer, &images, &elements, &wide, &x, &dy, &dx, &add(&op.dx)],
        )
    }
}
