//! The gradient of biases: dy seen as rows of as many columns as there are biases, summed over the rows. Many rows of few
//! columns are cut into parts, each part's sum goes to scratch, and the sums are added in order; many columns of few rows
//! are cut by columns. Cost: one read of dy.

use super::dispatch::simd;
use super::{Real, Workers};
use crate::device::{Into, Shape};

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

/// Bytes of scratch for a gradient dy of one shape into biases of another.
pub(super) fn scratch<T: Real>(dy: Shape, db: Shape) -> usize {
    let columns = db.elements();
    match parts(dy.elements() / columns.max(1), columns) {
        1 => 0,
        parts => parts * columns * size_of::<T>(),
    }
}

simd! {
    /// sum ← Σ of the columns `from .. from + sum.len()` over rows of `columns`, four rows at a time.
    pub(super) fn sum_rows<T: Real>(dy: &[T], columns: usize, from: usize, sum: &mut [T]) {
        sum.fill(T::ZERO);
        let n = sum.len();
        let mut fours = dy.chunks_exact(4 * columns);
        for rows in &mut fours {
            let (a, b) = (&rows[from..][..n], &rows[columns + from..][..n]);
            let (c, d) = (&rows[2 * columns + from..][..n], &rows[3 * columns + from..][..n]);
            for i in 0..n {
                sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
            }
        }
        for row in fours.remainder().chunks_exact(columns) {
            for (sum, &dy) in sum.iter_mut().zip(&row[from..][..n]) {
                *sum += dy;
            }
        }
    }
}

simd! {
    /// As `sum_rows`, added to what is there: sums of at most `N` columns at a time are kept aside first.
    fn add_rows<T: Real>(dy: &[T], columns: usize, from: usize, sum: &mut [T]) {
        let mut aside = [T::ZERO; 64];
        for (i, sum) in sum.chunks_mut(64).enumerate() {
            let aside = &mut aside[..sum.len()];
            sum_rows(dy, columns, from + i * 64, aside);
            for (sum, &aside) in sum.iter_mut().zip(aside.iter()) {
                *sum += aside;
            }
        }
    }
}

/// db ← Σ over rows of dy (or db += …).
pub(super) fn backward<T: Real>(workers: &Workers, dy: &[T], db: &mut [T], into: Into, scratch: &mut [T]) {
    let columns = db.len();
    assert!(columns > 0 && dy.len().is_multiple_of(columns), "{} gradients for {columns} biases", dy.len());
    let rows = dy.len() / columns;
    match parts(rows, columns) {
        1 => workers.pieces(dy.len() / 4, COLUMNS, db, |i, db| match into {
            Into::Set => sum_rows(dy, columns, i * COLUMNS, db),
            Into::Add => add_rows(dy, columns, i * COLUMNS, db),
        }),
        parts => {
            let scratch = &mut scratch[..parts * columns];
            workers.pieces(dy.len() / 4, columns, scratch, |part, sum| {
                let (start, end) = (rows * part / parts, rows * (part + 1) / parts);
                sum_rows(&dy[start * columns..end * columns], columns, 0, sum);
            });
            match into {
                Into::Set => sum_rows(scratch, columns, 0, db),
                Into::Add => add_rows(scratch, columns, 0, db),
            }
        }
    }
}
