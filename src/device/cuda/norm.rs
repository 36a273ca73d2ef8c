//! Norms of gradients and weights: kernels/norm.cu.

use super::driver::Grid;
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["share_squares", "sum_squares", "clip_factor", "limit_norms"];

/// sum ← Σ x², or sum += ….
pub(super) fn sum_squares(d: &CudaDevice, x: Tensor, sum: Tensor, into: Into) -> Result<()> {
    let count = x.shape.elements();
    let (x, sum, shares, blocks) = (d.reals(x, count)?, d.reals(sum, 1)?, d.shares.start(), d.share_blocks(count));
    let grid = |blocks: usize| Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
    d.launch("share_squares", grid(blocks), &[&(count as i64), &vector(&[x]), &x, &shares])?;
    d.launch("sum_squares", grid(1), &[&(blocks as i32), &shares, &sum, &add(into)])
}

/// factor ← min(1, limit/√sum).
pub(super) fn clip_factor(d: &CudaDevice, limit: f64, sum: Tensor, factor: Tensor) -> Result<()> {
    let grid = Grid { blocks: [1, 1, 1], threads: 32 };
    d.launch("clip_factor", grid, &[&(limit as f32), &d.reals(sum, 1)?, &d.reals(factor, 1)?])
}

/// Scales each row of w that is longer than the limit to it.
pub(super) fn limit_norms(d: &CudaDevice, limit: f64, w: Tensor) -> Result<()> {
    let (rows, length) = (w.shape.n, w.shape.image());
    let w = d.reals(w, rows * length)?;
    let vector = if length.is_multiple_of(4) { vector(&[w]) } else { 0 };
    let grid = Grid { blocks: [rows as u32, 1, 1], threads: 256 };
    d.launch("limit_norms", grid, &[&(length as i32), &vector, &(limit as f32), &w])
}
