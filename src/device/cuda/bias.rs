//! Bias gradients: kernels/bias.cu.

use super::driver::{Address, Grid};
use super::parts::{self, Finish};
use super::{CudaDevice, Tensor, add};
use crate::device::{Into, Result, Shape};

pub(super) const KERNELS: &[&str] = &["bias_backward"];

/// How the sums are cut: rows, columns, parts, rows of each.
fn plan(d: &CudaDevice, dy: Shape, db: Shape) -> (usize, usize, usize, usize) {
    let columns = db.elements().max(1);
    let rows = dy.elements() / columns;
    let wanted = (4 * d.info().multiprocessors).div_ceil(columns.div_ceil(32));
    let parts = wanted.clamp(1, rows.div_ceil(64).clamp(1, 1024));
    let part_rows = rows.div_ceil(parts).max(1);
    (rows, columns, rows.div_ceil(part_rows).max(1), part_rows)
}

/// Scratch of [`backward`]: the parts.
pub(super) fn scratch(d: &CudaDevice, dy: Shape, db: Shape) -> usize {
    match plan(d, dy, db) {
        (_, _, 1, _) => 0,
        (_, columns, parts, _) => parts * columns * size_of::<f32>(),
    }
}

/// db ← Σ dy over what the biases are shared by, or db += ….
pub(super) fn backward(d: &CudaDevice, dy: Tensor, db: Tensor, into: Into, scratch: Tensor) -> Result<()> {
    let (rows, columns, parts, part_rows) = plan(d, dy.shape, db.shape);
    let bytes = self::scratch(d, dy.shape, db.shape);
    let (dy, db) = (d.reals(dy, rows * columns)?, d.reals(db, columns)?);
    let grid = Grid { blocks: [columns.div_ceil(32) as u32, parts as u32, 1], threads: 256 };
    let launch = |out: Address, into| {
        let [rows, columns, part_rows] = [rows, columns, part_rows].map(|v| v as i32);
        d.launch("bias_backward", grid, &[&rows, &columns, &part_rows, &dy, &out, &add(into)])
    };
    if parts == 1 {
        return launch(db, into);
    }
    let part = d.scratch_at(scratch, bytes)?;
    launch(part, Into::Set)?;
    parts::sum(d, parts, columns, part, Address::NULL, 1, &Finish::NONE, db, into)
}
