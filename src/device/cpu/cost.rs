//! The costs: logistic regression fused with softmax, cross entropy of probabilities, and sum of squares; q is what
//! [`one_hot`] makes of a label. Forward adds the loss and the errors of the images that count to the metrics; backward writes
//! the gradient, 0 for the others. Cost: one pass over x. Losses are put together in f64, image after image within fixed parts,
//! part after part.
//!
//! A label outside of the classes cannot happen (the data are checked); here it is taken as the nearest class, so that
//! nothing out of bounds is read. An image whose loss is NaN, or whose label's output is, is an error, top-5 too.

use super::elementwise::{PIECE, map, sum_all, zip, zip2};
use super::softmax::{largest, sum_exp};
use super::{CpuDevice, Real, Workers, one_hot};
use crate::device::{METRIC_ERRORS, METRIC_ERRORS_TOP5, METRIC_IMAGES, METRIC_LOSS, METRICS, Result, Run, StepValues, Tensor};
use crate::op::{
    CrossEntropyBackward, CrossEntropyForward, LogregBackward, LogregForward, SquaresBackward, SquaresForward, Write,
};
use std::cmp::Ordering;

/// Parts that a batch is cut into for its loss: they lie on the stack.
const PARTS: usize = 32;

/// The smallest probability whose logarithm is taken.
const TINY: f64 = 1e-30;

/// The label as an index, whatever it is.
pub(super) fn class(label: i32, classes: usize) -> usize {
    (label.max(0) as usize).min(classes - 1)
}

/// How many outputs come before the label's: those that are not smaller, of equal ones those in front of it. Written
/// negatively, so that NaN comes before everything.
pub(super) fn rank<T: Real>(x: &[T], label: usize) -> usize {
    let own = x[label];
    let (before, behind) = x.split_at(label);
    let mut rank = 0;
    for &x in before {
        rank += usize::from(x.partial_cmp(&own) != Some(Ordering::Less));
    }
    for &x in &behind[1..] {
        rank += usize::from(!matches!(x.partial_cmp(&own), Some(Ordering::Less | Ordering::Equal)));
    }
    rank
}

/// What an image with this loss, whose label has this rank, adds to the metrics: the loss, an error, a top-5 error.
pub(super) fn outcome(loss: f64, rank: usize) -> [f64; 3] {
    let rank = if loss.is_nan() { usize::MAX } else { rank };
    [loss, f64::from(u8::from(rank >= 1)), f64::from(u8::from(rank >= 5))]
}

/// Adds what each of the first `images` adds to the metrics: loss, error, top-5 error. All take `nanoseconds` on one core.
pub(super) fn count<T: Real>(
    workers: &Workers,
    nanoseconds: usize,
    images: usize,
    metrics: &mut [T],
    of: impl Fn(usize) -> [f64; 3] + Send + Sync,
) {
    assert_eq!(metrics.len(), METRICS);
    let mut parts = [[0.0; 3]; PARTS];
    workers.pieces(nanoseconds, 1, &mut parts, |part, sums| {
        for image in images * part / PARTS..images * (part + 1) / PARTS {
            for (sum, value) in sums[0].iter_mut().zip(of(image)) {
                *sum += value;
            }
        }
    });
    let mut sums = [0.0; 3];
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    metrics[METRIC_LOSS] += T::of(sums[0]);
    metrics[METRIC_ERRORS] += T::of(sums[1]);
    metrics[METRIC_ERRORS_TOP5] += T::of(sums[2]);
    metrics[METRIC_IMAGES] += T::of(images as f64);
}

/// Adds the loss of each counted image's outputs and label, and its errors, to the metrics.
pub(super) fn count_labelled<T: Real>(
    workers: &Workers,
    step: &StepValues,
    x: &[T],
    labels: &[i32],
    metrics: &mut [T],
    loss: impl Fn(&[T], usize) -> f64 + Send + Sync,
) {
    let classes = classes(x, labels);
    count(workers, x.len(), (step.images as usize).min(labels.len()), metrics, |image| {
        let x = &x[image * classes..][..classes];
        let label = class(labels[image], classes);
        outcome(loss(x, label), rank(x, label))
    });
}

/// The elements of x that each label has.
pub(super) fn classes<T: Real>(x: &[T], labels: &[i32]) -> usize {
    let classes = x.len() / labels.len().max(1);
    assert!(classes > 0 && x.len() == classes * labels.len());
    classes
}

/// The loss is log Σ e^(x − max) + Σ q·(max − x), whose terms have one sign.
impl<T: Real> Run<LogregForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LogregForward<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, labels, metrics) = (b.read::<T>(op.x), b.read::<i32>(op.labels), b.write::<T>(op.metrics));
        count_labelled(&self.workers, &self.step, x, labels, metrics, |x, label| {
            let most = largest(x);
            let below = |x: T| most.f64() - x.f64();
            sum_exp(x, most).f64().ln() + smoothed(x, label, op.smoothing, below)
        });
        Ok(())
    }
}

/// Σ q·f(x): f of the label's alone where nothing is smoothed, so that what f makes of the others is not looked at.
fn smoothed<T: Real>(x: &[T], label: usize, smoothing: f64, f: impl Fn(T) -> f64) -> f64 {
    if smoothing == 0.0 {
        return f(x[label]);
    }
    let all: f64 = x.iter().map(|&x| f(x)).sum();
    (1.0 - smoothing) * f(x[label]) + smoothing / x.len() as f64 * all
}

impl<T: Real> Run<LogregBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LogregBackward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, into) = (self.arena.borrow(), op.dx.into);
        let (x, labels, dx) = (b.read::<T>(op.x), b.read::<i32>(op.labels), b.write::<T>(op.dx.at));
        let classes = classes(x, labels);
        assert_eq!(dx.len(), x.len());
        let (images, factor) = (self.step.images as usize, T::of(op.coefficient * self.step.gradient_scale));
        let [on, off] = one_hot::values(classes, op.smoothing);
        self.workers.pieces(3 * x.len(), classes, dx, |image, dx| {
            if image >= images {
                if into == Write::Set {
                    dx.fill(T::ZERO);
                }
                return;
            }
            let x = &x[image * classes..][..classes];
            let label = class(labels[image], classes);
            let most = largest(x);
            let unit = T::ONE / sum_exp(x, most);
            let before = dx[label];
            match into {
                Write::Set => zip(x, dx, |x, _| factor * ((x - most).exp() * unit - off)),
                Write::Add => zip(x, dx, |x, dx| dx + factor * ((x - most).exp() * unit - off)),
            }
            let own = factor * ((x[label] - most).exp() * unit - on);
            dx[label] = if into == Write::Set { own } else { before + own };
        });
        Ok(())
    }
}

/// A probability, at least [`TINY`]; NaN stays.
pub(super) fn probability<T: Real>(x: T) -> T {
    if x < T::of(TINY) { T::of(TINY) } else { x }
}

impl<T: Real> Run<CrossEntropyForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &CrossEntropyForward<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, labels, metrics) = (b.read::<T>(op.x), b.read::<i32>(op.labels), b.write::<T>(op.metrics));
        let loss = |x: T| -probability(x).f64().ln();
        count_labelled(&self.workers, &self.step, x, labels, metrics, |x, label| smoothed(x, label, op.smoothing, loss));
        Ok(())
    }
}

impl<T: Real> Run<CrossEntropyBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &CrossEntropyBackward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, smooth, add) = (self.arena.borrow(), op.smoothing > 0.0, op.dx.adds());
        let (x, labels, dx) = (b.read::<T>(op.x), b.read::<i32>(op.labels), b.write::<T>(op.dx.at));
        let classes = classes(x, labels);
        assert_eq!(dx.len(), x.len());
        let (images, factor) = (self.step.images as usize, T::of(-op.coefficient * self.step.gradient_scale));
        let [on, off] = one_hot::values::<T>(classes, op.smoothing);
        self.workers.pieces(x.len(), classes, dx, |image, dx| {
            if !add {
                dx.fill(T::ZERO);
            }
            if image >= images {
                return;
            }
            let x = &x[image * classes..][..classes];
            let label = class(labels[image], classes);
            let before = dx[label];
            if smooth {
                zip(x, dx, |x, dx| dx + factor * off / probability(x));
            }
            dx[label] = before + factor * on / probability(x[label]);
        });
        Ok(())
    }
}

/// The elements of the images that count.
pub(super) fn counted(step: &StepValues, image: usize, elements: usize) -> usize {
    (step.images as usize).saturating_mul(image).min(elements)
}

impl<T: Real> Run<SquaresForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SquaresForward<Tensor>, _: Tensor) -> Result<()> {
        let image = op.x.shape.image();
        let mut b = self.arena.borrow();
        let (x, target, metrics) = (b.read::<T>(op.x), op.target.map(|t| b.read::<T>(t)), b.write::<T>(op.metrics));
        let elements = counted(&self.step, image, x.len());
        let x = &x[..elements];
        let loss = match target {
            Some(t) => sum_all(&self.workers, x, &t[..elements], |x, t| (x - t) * (x - t)),
            None => sum_all(&self.workers, x, x, |x, _| x * x),
        };
        metrics[METRIC_LOSS] += T::of(loss);
        metrics[METRIC_IMAGES] += T::of((elements / image.max(1)) as f64);
        Ok(())
    }
}

impl<T: Real> Run<SquaresBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SquaresBackward<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, target, dx) = (b.read::<T>(op.x), op.target.map(|t| b.read::<T>(t)), b.write::<T>(op.dx.at));
        assert!(x.len() == dx.len() && target.is_none_or(|t| t.len() == x.len()));
        let elements = counted(&self.step, op.x.shape.image(), x.len());
        let factor = T::of(op.coefficient * self.step.gradient_scale * 2.0);
        let (dx, padding) = dx.split_at_mut(elements);
        if !op.dx.adds() {
            padding.fill(T::ZERO);
            map(dx, |_| T::ZERO);
        }
        self.workers.pieces(elements / 2, PIECE, dx, |i, dx| {
            let x = &x[i * PIECE..][..dx.len()];
            match target {
                Some(t) => zip2(x, &t[i * PIECE..][..dx.len()], dx, |x, t, dx| dx + factor * (x - t)),
                None => zip(x, dx, |x, dx| dx + factor * x),
            }
        });
        Ok(())
    }
}
