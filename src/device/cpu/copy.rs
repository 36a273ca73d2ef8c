//! A box of one tensor copied to a box of another: what concatenations, slices, crops and reflections are made of. Cost: one
//! read of the box and one write of it. Cut by rows of y; the runs of neighbours are as long as the box allows.

use super::elementwise::zip;
use super::{Real, Workers};
use crate::device::{CopyGeometry, Into};

/// A run of cells of y: those of x for the indices that x has, 0 for the others.
fn run<T: Real>(x: &[T], from: i32, y: &mut [T], into: Into) {
    let begin = (-from).clamp(0, y.len() as i32) as usize;
    let end = (x.len() as i32 - from).clamp(begin as i32, y.len() as i32) as usize;
    let x = if begin < end { &x[(from + begin as i32) as usize..][..end - begin] } else { &[] };
    match into {
        Into::Set => {
            y[..begin].fill(T::ZERO);
            y[begin..end].copy_from_slice(x);
            y[end..].fill(T::ZERO);
        }
        Into::Add => zip(x, &mut y[begin..end], |x, y| y + x),
    }
}

/// The box of y ← the box of x (or += …).
pub(super) fn copy_box<T: Real>(workers: &Workers, g: &CopyGeometry, x: &[T], y: &mut [T], into: Into) {
    assert!(x.len() == g.input().elements() && y.len() == g.output().elements());
    let g = g.in_runs();
    let [h, w, c, p, q, k] = [g.h, g.w, g.c, g.p, g.q, g.k].map(|v| v as usize);
    let [to_w, to_c, channels] = [g.to_w, g.to_c, g.channels].map(|v| v as usize);
    let copied = g.n as usize * g.rows as usize * g.columns as usize * channels;
    workers.pieces(copied / 4, q * k, y, |i, y| {
        let (image, row) = (i / p, (i % p) as i32 - g.to_h);
        if !(0..g.rows).contains(&row) {
            return;
        }
        let from_row = g.from_h + row;
        let inside = (0..g.h).contains(&from_row);
        let x: &[T] = if inside { &x[(image * h + from_row as usize) * w * c..][..w * c] } else { &[] };
        for j in 0..g.columns {
            let column = g.from_w + if g.mirror == 1 { g.columns - 1 - j } else { j };
            let cell: &[T] = if inside && (0..g.w).contains(&column) { &x[column as usize * c..][..c] } else { &[] };
            run(cell, g.from_c, &mut y[(to_w + j as usize) * k + to_c..][..channels], into);
        }
    });
}
