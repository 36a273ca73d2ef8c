//! What is done to every element by itself: scaling, filling, the mean of |x|, and the loops that neurons, costs and others
//! share. Cost: one pass over each tensor named.

use super::dispatch::simd;
use super::{CpuDevice, Real, Workers, in_place};
use crate::device::{Result, Run, Tensor};
use crate::op::{Fill, MeanAbs, Scale, Write};

/// Elements that one thread takes at a time.
pub(super) const PIECE: usize = 1 << 14;

simd! {
    /// y ← f(y)
    pub(super) fn map<T: Real, F: Fn(T) -> T>(y: &mut [T], f: F) {
        for y in y {
            *y = f(*y);
        }
    }
}

simd! {
    /// y ← f(x, y)
    pub(super) fn zip<T: Real, F: Fn(T, T) -> T>(x: &[T], y: &mut [T], f: F) {
        for (&x, y) in x.iter().zip(y) {
            *y = f(x, *y);
        }
    }
}

simd! {
    /// y ← f(a, b, y)
    pub(super) fn zip2<T: Real, F: Fn(T, T, T) -> T>(a: &[T], b: &[T], y: &mut [T], f: F) {
        for ((&a, &b), y) in a.iter().zip(b).zip(y) {
            *y = f(a, b, *y);
        }
    }
}

simd! {
    /// Σ f(a, b), in blocks: each is summed in 16 interleaved parts in `T`, the blocks in f64, always in the same order.
    pub(super) fn sum2<T: Real, F: Fn(T, T) -> T>(a: &[T], b: &[T], f: F) -> f64 {
        let mut total = 0.0;
        for (a, b) in a.chunks(1024).zip(b.chunks(1024)) {
            let mut lanes = [T::ZERO; 16];
            let (whole_a, rest_a) = a.as_chunks::<16>();
            let (whole_b, rest_b) = b.as_chunks::<16>();
            for (a, b) in whole_a.iter().zip(whole_b) {
                for i in 0..16 {
                    lanes[i] += f(a[i], b[i]);
                }
            }
            for ((lane, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
                *lane += f(a, b);
            }
            let mut block = 0.0;
            for lane in lanes {
                block += lane.f64();
            }
            total += block;
        }
        total
    }
}

/// Parts that a sum over a whole tensor is cut into: they lie on the stack, and are added in order.
const PARTS: usize = 64;

/// Σ f(a, b) on all threads, in an order that depends on nothing but the length.
pub(super) fn sum_all<T: Real>(workers: &Workers, a: &[T], b: &[T], f: impl Fn(T, T) -> T + Copy + Send + Sync) -> f64 {
    assert_eq!(a.len(), b.len());
    let piece = a.len().div_ceil(PARTS).next_multiple_of(1024);
    let mut parts = [0.0; PARTS];
    workers.pieces(a.len() / 4, 1, &mut parts, |i, part| {
        let (start, end) = ((i * piece).min(a.len()), ((i + 1) * piece).min(a.len()));
        part[0] = sum2(&a[start..end], &b[start..end], f);
    });
    let mut total = 0.0;
    for part in parts {
        total += part;
    }
    total
}

impl<T: Real> Run<Scale<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &Scale<Tensor>, _: Tensor) -> Result<()> {
        let (x, y) = in_place::<T>(&mut self.arena.borrow(), op.x, op.y.at);
        assert!(x.is_none_or(|x| x.len() == y.len()));
        let (factor, into) = (T::of(op.factor), op.y.into);
        self.workers.pieces(y.len() / 4, PIECE, y, |i, y| match (x.map(|x| &x[i * PIECE..][..y.len()]), into) {
            (Some(x), Write::Set) => zip(x, y, |x, _| factor * x),
            (Some(x), Write::Add) => zip(x, y, |x, y| y + factor * x),
            (None, Write::Set) => map(y, |y| factor * y),
            (None, Write::Add) => map(y, |y| y + factor * y),
        });
        Ok(())
    }
}

impl<T: Real> Run<Fill<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &Fill<Tensor>, _: Tensor) -> Result<()> {
        let (x, value) = (self.arena.borrow().write::<T>(op.x), T::of(op.value));
        self.workers.pieces(x.len() / 8, PIECE, x, |_, x| x.fill(value));
        Ok(())
    }
}

impl<T: Real> Run<MeanAbs<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &MeanAbs<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, mean) = (b.read::<T>(op.x), b.write::<T>(op.mean));
        mean[0] = T::of(sum_all(&self.workers, x, x, |x, _| x.abs()) / x.len().max(1) as f64);
        Ok(())
    }
}
