//! A box of one tensor copied to a box of another: what concatenations, slices, crops and reflections are made of. Cost: one
//! read of the box and one write of it. Cut by rows of y; the runs of neighbours are as long as the box allows.

use super::elementwise::zip;
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{CopyBox, Write};

/// A run of cells of y: those of x for the indices that x has, 0 for the others.
fn copy_run<T: Real>(x: &[T], from: i32, y: &mut [T], into: Write) {
    let begin = (-from).clamp(0, y.len() as i32) as usize;
    let end = (x.len() as i32 - from).clamp(begin as i32, y.len() as i32) as usize;
    let x = if begin < end { &x[(from + begin as i32) as usize..][..end - begin] } else { &[] };
    match into {
        Write::Set => {
            y[..begin].fill(T::ZERO);
            y[begin..end].copy_from_slice(x);
            y[end..].fill(T::ZERO);
        }
        Write::Add => zip(x, &mut y[begin..end], |x, y| y + x),
    }
}

impl<T: Real> Run<CopyBox<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &CopyBox<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, into) = (self.arena.borrow(), op.y.into);
        let (x, y) = (b.read::<T>(op.x), b.write::<T>(op.y.at));
        assert!(x.len() == op.geometry.input().elements() && y.len() == op.geometry.output().elements());
        let g = op.geometry.in_runs();
        let [h, w, c, p, q, k] = [g.h, g.w, g.c, g.p, g.q, g.k].map(|v| v as usize);
        let [to_w, to_c, channels] = [g.to_w, g.to_c, g.channels].map(|v| v as usize);
        let copied = g.n as usize * g.rows as usize * g.columns as usize * channels;
        self.workers.pieces(copied / 4, q * k, y, |i, y| {
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
                copy_run(cell, g.from_c, &mut y[(to_w + j as usize) * k + to_c..][..channels], into);
            }
        });
        Ok(())
    }
}
