//! What is done to every element by itself: kernels/elementwise.cu.

use super::driver::Grid;
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["scale", "fill", "sum_abs", "mean_abs"];

/// y ← factor·x, or y += factor·x.
pub(super) fn scale(d: &CudaDevice, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()> {
    let count = y.shape.elements();
    let (x, y) = (d.reals(x, count)?, d.reals(y, count)?);
    let grid = d.over(count.div_ceil(4));
    d.launch("scale", grid, &[&(count as i64), &vector(&[x, y]), &(factor as f32), &x, &y, &add(into)])
}

/// x ← value.
pub(super) fn fill(d: &CudaDevice, x: Tensor, value: f64) -> Result<()> {
    let count = x.shape.elements();
    let x = d.reals(x, count)?;
    d.launch("fill", d.over(count.div_ceil(4)), &[&(count as i64), &vector(&[x]), &(value as f32), &x])
}

/// mean ← (Σ |x|) / elements.
pub(super) fn mean_abs(d: &CudaDevice, x: Tensor, mean: Tensor) -> Result<()> {
    let count = x.shape.elements();
    let (x, mean, shares, blocks) = (d.reals(x, count)?, d.reals(mean, 1)?, d.shares.start(), d.share_blocks(count));
    let grid = |blocks: usize| Grid { blocks: [blocks as u32, 1, 1], threads: 256 };
    d.launch("sum_abs", grid(blocks), &[&(count as i64), &vector(&[x]), &x, &shares])?;
    d.launch("mean_abs", grid(1), &[&(blocks as i32), &shares, &(count.max(1) as f32), &mean])
}
