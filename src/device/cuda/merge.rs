//! Two tensors merged element by element: kernels/merge.cu.

use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::{MaxBackward, MaxForward, Merge, Merging};

impl Run<Merge<Tensor>> for CudaDevice {
    fn run(&mut self, op: &Merge<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.a.shape.elements();
        let [a, b, y] = self.all_reals([op.a, op.b, op.y.at], count)?;
        let (grid, many, wide, add) = (self.over(count.div_ceil(4)), count as i64, vector(&[a, b, y]), add(&op.y));
        match op.how {
            Merging::Sum { a: alpha, b: beta } => {
                self.launch("merge_sum", grid, &[&many, &wide, &(alpha as f32), &(beta as f32), &a, &b, &y, &add])
            }
            Merging::Product => self.launch("merge_product", grid, &[&many, &wide, &a, &b, &y, &add]),
        }
    }
}

impl Run<MaxForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &MaxForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.y.shape.elements();
        let [a, b, y, which] = self.all_reals([op.a, op.b, op.y, op.which.at], count)?;
        let wide = vector(&[a, b, y, which]);
        self.launch(
            "max_forward",
            self.over(count.div_ceil(4)),
            &[&(count as i64), &wide, &op.number, &add(&op.which), &a, &b, &y, &which],
        )
    }
}

impl Run<MaxBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &MaxBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.dy.shape.elements();
        let [which, dy, dx] = self.all_reals([op.which, op.dy, op.dx.at], count)?;
        let (grid, wide) = (self.over(count.div_ceil(4)), vector(&[which, dy, dx]));
        self.launch("max_backward", grid, &[&(count as i64), &wide, &op.number, &which, &dy, &dx, &add(&op.dx)])
    }
}
