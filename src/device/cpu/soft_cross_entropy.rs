//! Cross entropy against a target of class probabilities t: −Σ t·log p of each image, where p is given, or is the softmax of x;
//! then both are computed together as Σ t·(log Σ e^(x − max) + max − x), whose terms have one sign where t has, with the
//! gradient p·Σt − t. A class whose t is 0 has no term, whatever p is there. Errors are counted as for labels, the label being
//! the first of t's largest. Cost: forward reads x (twice with the softmax) and t, backward writes a gradient too.

use super::cost::{count, outcome, probability, rank};
use super::elementwise::{zip, zip2};
use super::softmax::{largest, sum_exp};
use super::{CpuDevice, Real, Workers};
use crate::device::{Result, Run, StepValues, Tensor};
use crate::op::{SoftCrossEntropyBackward, SoftCrossEntropyForward, SoftCrossEntropyTargetBackward, Target};

/// The first of the largest elements.
fn first_largest<T: Real>(t: &[T]) -> usize {
    let mut best = 0;
    for (i, &v) in t.iter().enumerate() {
        if v > t[best] {
            best = i;
        }
    }
    best
}

/// t·v, 0 where t is.
fn term<T: Real>(t: T, v: f64) -> f64 {
    if t == T::ZERO { 0.0 } else { t.f64() * v }
}

impl<T: Real> Run<SoftCrossEntropyForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SoftCrossEntropyForward<Tensor>, _: Tensor) -> Result<()> {
        let image = op.x.shape.image();
        let mut b = self.arena.borrow();
        let (x, target, metrics) = (b.read::<T>(op.x), b.read::<T>(op.target), b.write::<T>(op.metrics));
        assert!(image > 0 && x.len() == target.len());
        count(&self.workers, 2 * x.len(), (self.step.images as usize).min(x.len() / image), metrics, |i| {
            let (x, t) = (&x[i * image..][..image], &target[i * image..][..image]);
            let pairs = t.iter().zip(x);
            let loss = if op.softmax {
                let most = largest(x);
                let log = sum_exp(x, most).f64().ln();
                pairs.map(|(&t, &x)| term(t, log + (most.f64() - x.f64()))).sum::<f64>()
            } else {
                pairs.map(|(&t, &x)| term(t, -probability(x).f64().ln())).sum()
            };
            outcome(loss, rank(x, first_largest(t)))
        });
        Ok(())
    }
}

/// A gradient: `of(i, to)` adds that of image number `i`, if it counts.
fn gradient<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    to: Target<&mut [T]>,
    of: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    let (set, images) = (!to.adds(), step.images as usize);
    workers.pieces(3 * to.at.len(), image, to.at, |i, to| {
        if set {
            to.fill(T::ZERO);
        }
        if i < images {
            of(i, to);
        }
    });
}

impl<T: Real> Run<SoftCrossEntropyBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SoftCrossEntropyBackward<Tensor>, _: Tensor) -> Result<()> {
        let image = op.x.shape.image();
        let mut b = self.arena.borrow();
        let (x, target, dx) = (b.read::<T>(op.x), b.read::<T>(op.target), b.target::<T>(op.dx));
        assert!(image > 0 && x.len() == target.len() && x.len() == dx.at.len());
        let factor = T::of(op.coefficient * self.step.gradient_scale);
        gradient(&self.workers, &self.step, image, dx, |i, dx| {
            let (x, t) = (&x[i * image..][..image], &target[i * image..][..image]);
            if op.softmax {
                let most = largest(x);
                let whole: T = t.iter().copied().sum();
                let unit = whole / sum_exp(x, most);
                zip2(x, t, dx, |x, t, dx| dx + factor * ((x - most).exp() * unit - t));
            } else {
                zip2(x, t, dx, |x, t, dx| if t == T::ZERO { dx } else { dx - factor * t / probability(x) });
            }
        });
        Ok(())
    }
}

impl<T: Real> Run<SoftCrossEntropyTargetBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SoftCrossEntropyTargetBackward<Tensor>, _: Tensor) -> Result<()> {
        let image = op.x.shape.image();
        let mut b = self.arena.borrow();
        let (x, dt) = (b.read::<T>(op.x), b.target::<T>(op.dt));
        assert!(image > 0 && x.len() == dt.at.len());
        let factor = T::of(op.coefficient * self.step.gradient_scale);
        gradient(&self.workers, &self.step, image, dt, |i, dt| {
            let x = &x[i * image..][..image];
            if op.softmax {
                let most = largest(x);
                let log = sum_exp(x, most).ln();
                zip(x, dt, |x, dt| dt + factor * (log + (most - x)));
            } else {
                zip(x, dt, |x, dt| dt - factor * probability(x).ln());
            }
        });
        Ok(())
    }
}
