//! What is done to every element by itself: kernels/elementwise.cu.

use super::driver::Grid;
use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::{Fill, MeanAbs, Scale};

impl Run<Scale<Tensor>> for CudaDevice {
    fn run(&mut self, op: &Scale<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.x.shape.elements();
        let [x, y] = self.all_reals([op.x, op.y.at], count)?;
        let grid = self.over(count.div_ceil(4));
        self.launch("scale", grid, &[&(count as i64), &vector(&[x, y]), &(op.factor as f32), &x, &y, &add(&op.y)])
    }
}

impl Run<Fill<Tensor>> for CudaDevice {
    fn run(&mut self, op: &Fill<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.x.shape.elements();
        let x = self.reals(op.x, count)?;
        self.launch("fill", self.over(count.div_ceil(4)), &[&(count as i64), &vector(&[x]), &(op.value as f32), &x])
    }
}

impl Run<MeanAbs<Tensor>> for CudaDevice {
    fn run(&mut self, op: &MeanAbs<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.x.shape.elements();
        let (x, mean) = (self.reals(op.x, count)?, self.reals(op.mean, 1)?);
        let (shares, blocks) = (self.shares.start(), self.share_blocks(count));
        let grid = |blocks: usize| Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
        self.launch("sum_abs", grid(blocks), &[&(count as i64), &vector(&[x]), &x, &shares])?;
        self.launch("mean_abs", grid(1), &[&(blocks as i32), &shares, &(count.max(1) as f32), &mean])
    }
}
