//! Norms of gradients and weights: kernels/norm.cu.

use super::driver::Grid;
use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::{ClipFactor, LimitNorms, SumSquares};

impl Run<SumSquares<Tensor>> for CudaDevice {
    fn run(&mut self, op: &SumSquares<Tensor>, _scratch: Tensor) -> Result<()> {
        let count = op.x.shape.elements();
        let (x, sum) = (self.reals(op.x, count)?, self.reals(op.sum.at, 1)?);
        let (shares, blocks) = (self.shares.start(), self.share_blocks(count));
        let grid = |blocks: usize| Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
        self.launch("share_squares", grid(blocks), &[&(count as i64), &vector(&[x]), &x, &shares])?;
        self.launch("sum_squares", grid(1), &[&(blocks as i32), &shares, &sum, &add(&op.sum)])
    }
}

impl Run<ClipFactor<Tensor>> for CudaDevice {
    fn run(&mut self, op: &ClipFactor<Tensor>, _scratch: Tensor) -> Result<()> {
        let [sum, factor] = self.all_reals([op.sum, op.factor], 1)?;
        let grid = Grid { blocks: [1, 1, 1], threads: 32 };
        self.launch("clip_factor", grid, &[&(op.limit as f32), &sum, &factor])
    }
}

impl Run<LimitNorms<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LimitNorms<Tensor>, _scratch: Tensor) -> Result<()> {
        let (rows, length) = (op.w.shape.n, op.w.shape.image());
        let w = self.reals(op.w, rows * length)?;
        let vector = if length.is_multiple_of(4) { vector(&[w]) } else { 0 };
        let grid = Grid { blocks: [rows as u32, 1, 1], threads: 256 };
        self.launch("limit_norms", grid, &[&(length as i32), &vector, &(op.limit as f32), &w])
    }
}
