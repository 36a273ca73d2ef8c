//! Norms: Σ x² of a gradient, the factor that clips all gradients to one norm, and each row of a weight matrix held to a norm.
//! Cost: one read of the tensor; of a row that is too long, one more and a write.

use super::elementwise::{map, sum_all, sum2};
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{ClipFactor, LimitNorms, SumSquares};

/// Elements of rows that one thread takes at a time, about.
const PIECE: usize = 1 << 14;

/// min(1, limit/norm). NaN stays, and shows.
fn factor_of(limit: f64, norm: f64) -> f64 {
    if norm <= limit { 1.0 } else { limit / norm }
}

impl<T: Real> Run<SumSquares<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SumSquares<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, sum) = (b.read::<T>(op.x), b.write::<T>(op.sum.at));
        let squares = sum_all(&self.workers, x, x, |a, b| a * b);
        let before = if op.sum.adds() { sum[0].f64() } else { 0.0 };
        sum[0] = T::of(before + squares);
        Ok(())
    }
}

impl<T: Real> Run<ClipFactor<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ClipFactor<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (sum, factor) = (b.read::<T>(op.sum), b.write::<T>(op.factor));
        factor[0] = T::of(factor_of(op.limit, sum[0].f64().sqrt()));
        Ok(())
    }
}

impl<T: Real> Run<LimitNorms<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LimitNorms<Tensor>, _: Tensor) -> Result<()> {
        let (length, w) = (op.w.shape.image().max(1), self.arena.borrow().write::<T>(op.w));
        let piece = (PIECE / length).max(1) * length;
        self.workers.pieces(w.len() / 2, piece, w, |_, w| {
            for row in w.chunks_exact_mut(length) {
                let factor = factor_of(op.limit, sum2(row, row, |a, b| a * b).sqrt());
                if factor != 1.0 {
                    let factor = T::of(factor);
                    map(row, |w| w * factor);
                }
            }
        });
        Ok(())
    }
}
