//! The gradient of biases: dy seen as rows of as many columns as there are biases, summed over the rows. Many rows of few
//! columns are cut into parts, each part's sum goes to scratch, and the sums are added in order; many columns of few rows
//! are cut by columns. Cost: one read of dy.

use super::arena::gaps_fit;
use super::dispatch::simd;
use super::{CpuDevice, Real, Workers, scratch_of};
use crate::device::{Result, Run, Tensor};
use crate::op::{BiasBackward, Target, Write};
use std::ops::Range;

/// Elements of dy worth a part of their own.
const PART: usize = 1 << 14;
/// At most so many parts.
const PARTS: usize = 64;
/// Columns that are worth a cut by columns.
const COLUMNS: usize = 1024;

/// Parts that the rows are cut into: the shapes decide, not the threads.
fn parts(rows: usize, columns: usize) -> usize {
    if columns >= COLUMNS { 1 } else { (rows * columns / PART).clamp(1, PARTS) }
}

simd! {
    /// sum ← sum + Σ of the columns `from .. from + sum.len()` over some of the rows, `pitch` elements apart, four at a time.
    pub(super) fn add_rows<T: Real>(dy: &[T], pitch: usize, rows: Range<usize>, from: usize, sum: &mut [T]) {
        let n = sum.len();
        let row = |i: usize| &dy[i * pitch + from..][..n];
        let mut i = rows.start;
        while i + 4 <= rows.end {
            let (a, b, c, d) = (row(i), row(i + 1), row(i + 2), row(i + 3));
            for i in 0..n {
                sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
            }
            i += 4;
        }
        for i in i..rows.end {
            for (sum, &dy) in sum.iter_mut().zip(row(i)) {
                *sum += dy;
            }
        }
    }
}

simd! {
    /// sum ← sum + Σ of four rows, as `add_rows`.
    pub(super) fn add_four<T: Real>(rows: [&[T]; 4], sum: &mut [T]) {
        let [a, b, c, d] = rows.map(|row| &row[..sum.len()]);
        for i in 0..sum.len() {
            sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
        }
    }
}

/// db ← what `make` adds to zeros, or db += that, of at most [`COLUMNS`].
fn put<T: Real>(db: Target<&mut [T]>, make: impl FnOnce(&mut [T])) {
    if db.into == Write::Set {
        db.at.fill(T::ZERO);
        return make(db.at);
    }
    let mut aside = [T::ZERO; COLUMNS];
    let aside = &mut aside[..db.at.len()];
    make(aside);
    for (db, &aside) in db.at.iter_mut().zip(aside.iter()) {
        *db += aside;
    }
}

/// db ← Σ over `rows` rows of as many columns as db has, or db += …. `add(rows, from, sum)` adds some rows' columns from number
/// `from` on to sum, and is called once for each element; it takes about `nanoseconds` on one core for all of them.
pub(super) fn sum<T: Real>(
    workers: &Workers,
    nanoseconds: usize,
    rows: usize,
    db: Target<&mut [T]>,
    scratch: &mut [T],
    add: impl Fn(Range<usize>, usize, &mut [T]) + Send + Sync,
) {
    let (columns, into) = (db.at.len(), db.into);
    match parts(rows, columns) {
        1 => {
            workers.pieces(nanoseconds, COLUMNS, db.at, |i, db| put(Target { at: db, into }, |db| add(0..rows, i * COLUMNS, db)))
        }
        parts => {
            let scratch = &mut scratch[..parts * columns];
            workers.pieces(nanoseconds, columns, scratch, |part, sum| {
                sum.fill(T::ZERO);
                add(rows * part / parts..rows * (part + 1) / parts, 0, sum);
            });
            put(db, |db| add_rows(scratch, columns, 0..parts, 0, db));
        }
    }
}

/// Bytes of scratch that [`sum`] wants for the sums of dy in db.
pub(super) fn scratch<T: Real>(dy: &Tensor, db: &Tensor) -> usize {
    let columns = db.shape.elements();
    match parts(dy.shape.elements() / columns.max(1), columns) {
        1 => 0,
        parts => parts * columns * size_of::<T>(),
    }
}

/// Elements from one of the rows that are summed to the next. With gaps a row is a cell.
pub(super) fn row_pitch(dy: &Tensor, db: &Tensor) -> usize {
    let columns = db.shape.elements();
    assert!(columns > 0 && dy.shape.elements().is_multiple_of(columns), "{dy:?} does not sum up to {db:?}");
    assert!(dy.is_dense() || dy.shape.c == columns, "{dy:?} has gaps within the rows that sum up to {db:?}");
    if dy.is_dense() { columns } else { dy.pitch }
}

impl<T: Real> Run<BiasBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BiasBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let (mut b, pitch) = (self.arena.borrow(), row_pitch(&op.dy, &op.db.at));
        let ((dy, _), db, scratch) = (b.read_cells::<T>(op.dy), b.target::<T>(op.db), scratch_of::<T>(&mut b, scratch));
        let rows = op.dy.shape.elements() / db.at.len();
        sum(&self.workers, dy.len() / 4, rows, db, scratch, |rows, from, sum| add_rows(dy, pitch, rows, from, sum));
        Ok(())
    }

    fn scratch(&self, op: &BiasBackward<Tensor>) -> usize {
        scratch::<T>(&op.dy, &op.db.at)
    }

    /// With gaps it sums cells: biases are shared by the places.
    fn supports(&self, op: &BiasBackward<Tensor>) -> bool {
        gaps_fit(op, &["dy"]) && (op.dy.is_dense() || op.db.at.shape.elements() == op.dy.shape.c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Shape;
    use crate::device::cpu::arena::tests::has_the_bits_of_dense_tensors;

    #[test]
    fn gaps_change_no_bits() {
        for dy in [Shape::new(3, 2, 5, 7), Shape::new(5, 13, 11, 67), Shape::new(9, 24, 24, 20), Shape::new(7, 3, 1, 3000)] {
            for (gap, into) in [(1, Write::Set), (24, Write::Add)] {
                let op = BiasBackward { dy: 0, db: Target { at: 1, into } };
                assert!(has_the_bits_of_dense_tensors(op, &[(dy, gap), (Shape::new(1, 1, 1, dy.c), 0)]));
            }
        }
    }
}
