//! Softmax over the elements of each image: y = eˣ/Σeˣ, shifted by the maximum so that nothing overflows. Sums run in 16
//! interleaved parts, added in order. Cost: forward reads x twice (from cache) and writes y; images in parallel.

use super::dispatch::simd;
use super::elementwise::{map, zip2};
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{SoftmaxBackward, SoftmaxForward, Write};

/// Parts of a sum.
const LANES: usize = 16;

simd! {
    /// The largest element. Where one is NaN, it or another: the exponentials are NaN in any case.
    pub(super) fn largest<T: Real>(x: &[T]) -> T {
        let mut lanes = [x[0]; LANES];
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            for i in 0..LANES {
                lanes[i] = if lanes[i] >= x[i] { lanes[i] } else { x[i] };
            }
        }
        rest.iter().chain(&lanes).fold(x[0], |a, &x| if a >= x { a } else { x })
    }
}

simd! {
    /// Σ e^(x − largest).
    pub(super) fn sum_exp<T: Real>(x: &[T], largest: T) -> T {
        let mut lanes = [T::ZERO; LANES];
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            for i in 0..LANES {
                lanes[i] += (x[i] - largest).exp();
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += (x - largest).exp();
        }
        lanes.into_iter().sum()
    }
}

simd! {
    /// Σ a·b.
    fn dot<T: Real>(a: &[T], b: &[T]) -> T {
        let mut lanes = [T::ZERO; LANES];
        let (whole_a, rest_a) = a.as_chunks::<LANES>();
        let (whole_b, rest_b) = b.as_chunks::<LANES>();
        for (a, b) in whole_a.iter().zip(whole_b) {
            for i in 0..LANES {
                lanes[i] += a[i] * b[i];
            }
        }
        for ((lane, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
            *lane += a * b;
        }
        lanes.into_iter().sum()
    }
}

simd! {
    /// y ← e^(x − largest)
    fn exponentials<T: Real>(x: &[T], y: &mut [T], largest: T) {
        for (&x, y) in x.iter().zip(y) {
            *y = (x - largest).exp();
        }
    }
}

simd! {
    /// Σ x
    fn sum<T: Real>(x: &[T]) -> T {
        let mut lanes = [T::ZERO; LANES];
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            for i in 0..LANES {
                lanes[i] += x[i];
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += x;
        }
        lanes.into_iter().sum()
    }
}

impl<T: Real> Run<SoftmaxForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SoftmaxForward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, image) = (self.arena.borrow(), op.x.shape.image());
        let (x, y) = (b.read::<T>(op.x), b.write::<T>(op.y));
        assert!(image > 0 && x.len() == y.len() && x.len().is_multiple_of(image));
        self.workers.pieces(2 * y.len(), image, y, |i, y| {
            let x = &x[i * image..][..image];
            exponentials(x, y, largest(x));
            let factor = T::ONE / sum(y);
            map(y, |y| y * factor);
        });
        Ok(())
    }
}

impl<T: Real> Run<SoftmaxBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SoftmaxBackward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, image) = (self.arena.borrow(), op.y.shape.image());
        let (y, dy, dx) = (b.read::<T>(op.y), b.read::<T>(op.dy), b.write::<T>(op.dx.at));
        assert!(image > 0 && y.len() == dx.len() && dy.len() == dx.len() && dx.len().is_multiple_of(image));
        self.workers.pieces(dx.len(), image, dx, |i, dx| {
            let (y, dy) = (&y[i * image..][..image], &dy[i * image..][..image]);
            let mean = dot(y, dy);
            match op.dx.into {
                Write::Set => zip2(y, dy, dx, |y, dy, _| y * (dy - mean)),
                Write::Add => zip2(y, dy, dx, |y, dy, dx| dx + y * (dy - mean)),
            }
        });
        Ok(())
    }
}
