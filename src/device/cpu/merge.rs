//! Two tensors merged element by element: sums, products, maxima. Cost: one read of both and one write; the maximum also
//! writes which of its inputs it is, so that the backward pass reads that and dy alone.

use super::elementwise::{PIECE, map, zip, zip2};
use super::{CpuDevice, Real, Workers, either_in_place, in_place};
use crate::device::{Result, Run, Tensor};
use crate::op::{MaxBackward, MaxForward, Merge, Merging, Write};

/// y ← f(a, b, y), where an a or b that is missing is y.
fn apply<T: Real>(
    workers: &Workers,
    a: Option<&[T]>,
    b: Option<&[T]>,
    y: &mut [T],
    f: impl Fn(T, T, T) -> T + Copy + Send + Sync,
) {
    assert!(a.iter().chain(&b).all(|x| x.len() == y.len()));
    workers.pieces(y.len() / 2, PIECE, y, |i, y| {
        let piece = |x: &'_ [T]| -> std::ops::Range<usize> { i * PIECE..(i * PIECE + y.len()).min(x.len()) };
        match (a, b) {
            (Some(a), Some(b)) => zip2(&a[piece(a)], &b[piece(b)], y, f),
            (Some(a), None) => zip(&a[piece(a)], y, |a, y| f(a, y, y)),
            (None, Some(b)) => zip(&b[piece(b)], y, |b, y| f(y, b, y)),
            (None, None) => map(y, |y| f(y, y, y)),
        }
    });
}

impl<T: Real> Run<Merge<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &Merge<Tensor>, _: Tensor) -> Result<()> {
        let (a, b, y) = either_in_place::<T>(&mut self.arena.borrow(), op.a, op.b, op.y.at);
        match (op.how, op.y.into) {
            (Merging::Sum { a: alpha, b: beta }, Write::Set) => {
                let (alpha, beta) = (T::of(alpha), T::of(beta));
                apply(&self.workers, a, b, y, move |a, b, _| alpha * a + beta * b);
            }
            (Merging::Sum { a: alpha, b: beta }, Write::Add) => {
                let (alpha, beta) = (T::of(alpha), T::of(beta));
                apply(&self.workers, a, b, y, move |a, b, y| y + (alpha * a + beta * b));
            }
            (Merging::Product, Write::Set) => apply(&self.workers, a, b, y, |a, b, _| a * b),
            (Merging::Product, Write::Add) => apply(&self.workers, a, b, y, |a, b, y| y + a * b),
        }
        Ok(())
    }
}

impl<T: Real> Run<MaxForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &MaxForward<Tensor>, _: Tensor) -> Result<()> {
        let mut t = self.arena.borrow();
        let (a, b, y) = either_in_place::<T>(&mut t, op.a, op.b, op.y);
        let which = t.write::<T>(op.which.at);
        assert!(a.iter().chain(&b).all(|x| x.len() == y.len()) && which.len() == y.len());
        let (first, number) = (!op.which.adds(), T::of(f64::from(op.number)));
        self.workers.pieces2(y.len() / 2, PIECE, y, which, |i, y, which| {
            let at = i * PIECE;
            for (j, (y, which)) in y.iter_mut().zip(which).enumerate() {
                let a = a.map_or(*y, |a| a[at + j]);
                let b = b.map_or(*y, |b| b[at + j]);
                let before = if first { T::ZERO } else { *which };
                *which = if b > a { number } else { before };
                *y = if b > a { b } else { a };
            }
        });
        Ok(())
    }
}

impl<T: Real> Run<MaxBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &MaxBackward<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let which = Some(b.read::<T>(op.which));
        let (dy, dx) = in_place::<T>(&mut b, op.dy, op.dx.at);
        let number = T::of(f64::from(op.number));
        let mine = move |which: T, dy: T| if which == number { dy } else { T::ZERO };
        match op.dx.into {
            Write::Set => apply(&self.workers, which, dy, dx, move |which, dy, _| mine(which, dy)),
            Write::Add => apply(&self.workers, which, dy, dx, move |which, dy, dx| dx + mine(which, dy)),
        }
        Ok(())
    }
}
