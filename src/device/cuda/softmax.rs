//! Softmax: kernels/softmax.cu.

use super::{CudaDevice, add};
use crate::device::{Result, Run, Tensor};
use crate::op::{SoftmaxBackward, SoftmaxForward};

impl Run<SoftmaxForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SoftmaxForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements) = (op.x.shape.n, op.x.shape.image());
        let [x, y] = self.all_reals([op.x, op.y], images * elements)?;
        self.launch("softmax_forward", self.warps(images), &[&(images as i32), &(elements as i32), &x, &y])
    }
}

impl Run<SoftmaxBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SoftmaxBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements) = (op.y.shape.n, op.y.shape.image());
        let [y, dy, dx] = self.all_reals([op.y, op.dy, op.dx.at], images * elements)?;
        let grid = self.warps(images);
        self.launch("softmax_backward", grid, &[&(images as i32), &(elements as i32), &y, &dy, &dx, &add(&op.dx)])
    }
}
