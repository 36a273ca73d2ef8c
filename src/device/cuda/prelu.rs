//! Parametric relu: kernels/prelu.cu.

use super::driver::{Address, Grid};
use super::parts::{self, Finish};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Result, Shape};

pub(super) const KERNELS: &[&str] = &["prelu_forward", "prelu_backward", "prelu_backward_slope", "prelu_sum"];

/// Whether four neighbours may be moved at once: they are of one row, or share one slope.
fn wide(channels: usize, slopes: usize, all: &[Address]) -> i32 {
    if slopes == 1 || channels.is_multiple_of(4) { vector(all) } else { 0 }
}

/// y ← x above 0, slope·x below; y may be x.
pub(super) fn forward(d: &CudaDevice, x: Tensor, slope: Tensor, y: Tensor) -> Result<()> {
    let (count, channels, slopes) = (y.shape.elements(), y.shape.c, slope.shape.elements());
    let (x, slope, y) = (d.reals(x, count)?, d.reals(slope, slopes)?, d.reals(y, count)?);
    let wide = wide(channels, slopes, &[x, y]);
    let grid = d.over(count.div_ceil(4));
    d.launch("prelu_forward", grid, &[&(count as i64), &wide, &(slopes as i32), &x, &slope, &y])
}

/// dx ← dy where x is above 0, else slope·dy, or dx += …; dx may be dy.
pub(super) fn backward(d: &CudaDevice, x: Tensor, slope: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let (count, channels, slopes) = (dx.shape.elements(), dx.shape.c, slope.shape.elements());
    let (x, slope) = (d.reals(x, count)?, d.reals(slope, slopes)?);
    let (dy, dx) = (d.reals(dy, count)?, d.reals(dx, count)?);
    let wide = wide(channels, slopes, &[x, dy, dx]);
    let grid = d.over(count.div_ceil(4));
    d.launch("prelu_backward", grid, &[&(count as i64), &wide, &(slopes as i32), &x, &slope, &dy, &dx, &add(into)])
}

/// How the sums are cut: rows, parts, rows of each.
fn plan(d: &CudaDevice, x: Shape) -> (usize, usize, usize) {
    let rows = x.elements() / x.c.max(1);
    let wanted = (4 * d.info().multiprocessors).div_ceil(x.c.div_ceil(32).max(1));
    let parts = wanted.clamp(1, rows.div_ceil(64).clamp(1, 1024));
    let part_rows = rows.div_ceil(parts).max(1);
    (rows, rows.div_ceil(part_rows).max(1), part_rows)
}

/// Scratch of [`backward_slope`]: a row for each part.
pub(super) fn scratch(d: &CudaDevice, x: Shape) -> usize {
    plan(d, x).1 * x.c * size_of::<f32>()
}

/// dslope ← Σ min(0, x)·dy over what a slope is shared by, or dslope += ….
pub(super) fn backward_slope(d: &CudaDevice, x: Tensor, dy: Tensor, dslope: Tensor, into: Into, scratch: Tensor) -> Result<()> {
    let (channels, slopes) = (x.shape.c, dslope.shape.elements());
    let (rows, parts, part_rows) = plan(d, x.shape);
    let part = d.scratch_at(scratch, self::scratch(d, x.shape))?;
    let (x, dy, dslope) = (d.reals(x, rows * channels)?, d.reals(dy, rows * channels)?, d.reals(dslope, slopes)?);
    let grid = Grid { blocks: [channels.div_ceil(32) as u32, parts as u32, 1], threads: 256 };
    let [rows, columns, part_rows] = [rows, channels, part_rows].map(|v| v as i32);
    d.launch("prelu_backward_slope", grid, &[&rows, &columns, &part_rows, &x, &dy, &part])?;
    if slopes == channels {
        return parts::sum(d, parts, channels, part, Address::NULL, 1, &Finish::NONE, dslope, into);
    }
    let one = Grid { blocks: [1, 1, 1], threads: 256 };
    d.launch("prelu_sum", one, &[&((parts * channels) as i32), &part, &dslope, &add(into)])
}
