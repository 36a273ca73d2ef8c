//! Bias gradients: kernels/bias.cu.

use super::driver::Grid;
use super::parts::{Output, Split};
use super::{CudaDevice, add, gaps_only};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::BiasBackward;

/// Rows of dy, and how they are split.
pub(super) fn plan(d: &CudaDevice, dy: Shape, db: Shape) -> (usize, Split) {
    let columns = db.elements().max(1);
    let rows = dy.elements() / columns;
    (rows, Split::of_rows(d, rows, columns))
}

/// The grid of a kernel that sums up columns.
pub(super) fn grid(split: &Split) -> Grid {
    Grid { blocks: [split.elements.div_ceil(32) as u32, split.parts as u32, 1], threads: 256 }
}

/// The distance in elements between a tensor's rows of `columns` columns, with or without gaps.
pub(super) fn pitch(t: Tensor, columns: usize) -> i32 {
    (if t.is_dense() { columns } else { t.pitch }) as i32
}

/// Which operands of a gradient of biases may have gaps: where a row is a cell, all of `names`.
pub(super) fn gaps<'a>(dy: Shape, db: Shape, names: &'a [&'a str]) -> &'a [&'a str] {
    if db.elements() == dy.c { names } else { &[] }
}

impl Run<BiasBackward<Tensor>> for CudaDevice {
    fn supports(&self, op: &BiasBackward<Tensor>) -> bool {
        gaps_only(op, gaps(op.dy.shape, op.db.at.shape, &["dy"]))
    }

    fn scratch(&self, op: &BiasBackward<Tensor>) -> usize {
        plan(self, op.dy.shape, op.db.at.shape).1.bytes()
    }

    fn run(&mut self, op: &BiasBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let (rows, split) = plan(self, op.dy.shape, op.db.at.shape);
        let columns = split.elements;
        let (dy, db) = (self.cells(op.dy, rows * columns)?.at, self.reals(op.db.at, columns)?);
        let part = self.scratch_at(scratch, split.bytes())?;
        let (grid, pitch) = (grid(&split), pitch(op.dy, columns));
        let [rows, columns, part_rows] = [rows, columns, split.steps_each].map(|v| v as i32);
        split.queue(self, part, &Output::plain(db, add(&op.db)), |out| {
            self.launch("bias_backward", grid, &[&rows, &columns, &part_rows, &dy, &pitch, &out.at, &out.add])
        })
    }
}
