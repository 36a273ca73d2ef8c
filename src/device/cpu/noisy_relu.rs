//! Noisy relu: y = max(0, x + √σ(x)·g), σ the logistic function, g a standard normal number of (seed, step, layer, image,
//! element), as `philox.rs` makes it: noise of variance σ(x) (Nair and Hinton 2010). The backward pass draws the numbers again;
//! dx = dy·(1 + ½·g·√σ·(1 − σ)) where y is above 0. Cost: one pass over each tensor, and a block of Philox, two logarithms and two
//! sines for four elements. Cut by images.

use super::{CpuDevice, Real, in_place};
use crate::device::philox::{self, Purpose};
use crate::device::{Result, Run, StepValues, Tensor};
use crate::op::{NoisyReluBackward, NoisyReluForward};

/// Calls `each(i, g)` for the elements of image number `image`, in order.
fn numbers(step: &StepValues, layer: u32, image: usize, elements: usize, mut each: impl FnMut(usize, f64)) {
    let image = u64::from(step.first_image + image as u32) << 32;
    for first in (0..elements).step_by(4) {
        let block = philox::block(step.seed, Purpose::Noise, layer, step.step, image | (first / 4) as u64);
        for (i, g) in (first..elements).zip(philox::gaussians(block)) {
            each(i, g);
        }
    }
}

/// Nanoseconds that an element takes on one core, roughly.
const NANOSECONDS: usize = 20;

/// √σ(x), and σ(x).
fn deviation<T: Real>(x: T) -> (T, T) {
    let variance = T::ONE / (T::ONE + (-x).exp());
    (variance.sqrt(), variance)
}

impl<T: Real> Run<NoisyReluForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &NoisyReluForward<Tensor>, _: Tensor) -> Result<()> {
        let (step, image) = (self.step, op.y.shape.image());
        let mut b = self.arena.borrow();
        let (x, y) = (b.read::<T>(op.x), b.write::<T>(op.y));
        assert_eq!(x.len(), y.len());
        self.workers.pieces(y.len() * NANOSECONDS, image, y, |j, y| {
            let x = &x[j * image..][..y.len()];
            numbers(&step, op.layer, j, y.len(), |i, g| {
                let noisy = x[i] + deviation(x[i]).0 * T::of(g);
                y[i] = if noisy < T::ZERO { T::ZERO } else { noisy };
            });
        });
        Ok(())
    }
}

impl<T: Real> Run<NoisyReluBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &NoisyReluBackward<Tensor>, _: Tensor) -> Result<()> {
        let (step, image, add) = (self.step, op.dx.at.shape.image(), op.dx.adds());
        let mut b = self.arena.borrow();
        let x = b.read::<T>(op.x);
        let (dy, dx) = in_place::<T>(&mut b, op.dy, op.dx.at);
        assert!(x.len() == dx.len() && dy.is_none_or(|dy| dy.len() == dx.len()));
        let half = T::of(0.5);
        self.workers.pieces(dx.len() * NANOSECONDS, image, dx, |j, dx| {
            let x = &x[j * image..][..dx.len()];
            let dy = dy.map(|dy| &dy[j * image..][..dx.len()]);
            numbers(&step, op.layer, j, dx.len(), |i, g| {
                let ((deviation, variance), g) = (deviation(x[i]), T::of(g));
                let dy = dy.map_or(dx[i], |dy| dy[i]);
                let slope = T::ONE + half * g * deviation * (T::ONE - variance);
                let gradient = if x[i] + deviation * g > T::ZERO { dy * slope } else { T::ZERO };
                dx[i] = if add { dx[i] + gradient } else { gradient };
            });
        });
        Ok(())
    }
}
