//! Cross entropy against a target of class probabilities t: −Σ t·log p of each image, where p is given, or is the softmax of x;
//! then both are computed together as Σ t·(log Σ e^(x − max) + max − x), whose terms have one sign where t has, with the
//! gradient p·Σt − t. A class whose t is 0 has no term, whatever p is there. Errors are counted as for labels, the label being
//! the first of t's largest. Cost: forward reads x (twice with the softmax) and t, backward writes a gradient too.

use super::cost::{count, outcome, probability, rank};
use super::elementwise::{zip, zip2};
use super::softmax::{largest, sum_exp};
use super::{Real, Workers};
use crate::device::{Into, StepValues};

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

/// Adds the loss and the errors to the metrics.
pub(super) fn forward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    softmax: bool,
    x: &[T],
    target: &[T],
    metrics: &mut [T],
) {
    assert!(image > 0 && x.len() == target.len());
    count(workers, 2 * x.len(), (step.images as usize).min(x.len() / image), metrics, |i| {
        let (x, t) = (&x[i * image..][..image], &target[i * image..][..image]);
        let pairs = t.iter().zip(x);
        let loss = if softmax {
            let most = largest(x);
            let log = sum_exp(x, most).f64().ln();
            pairs.map(|(&t, &x)| term(t, log + (most.f64() - x.f64()))).sum::<f64>()
        } else {
            pairs.map(|(&t, &x)| term(t, -probability(x).f64().ln())).sum()
        };
        outcome(loss, rank(x, first_largest(t)))
    });
}

/// A gradient to make: where, set or added to, and what it is of the image's elements.
fn gradient<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    (to, into): (&mut [T], Into),
    of: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    workers.pieces(3 * to.len(), image, to, |i, to| {
        if into == Into::Set {
            to.fill(T::ZERO);
        }
        if i < step.images as usize {
            of(i, to);
        }
    });
}

/// dx ← coefficient·gradient_scale·(softmax(x)·Σt − t), or −….·t/max(x, 1e-30) of probabilities; or dx += ….
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    softmax: bool,
    x: &[T],
    target: &[T],
    coefficient: f64,
    dx: (&mut [T], Into),
) {
    assert!(image > 0 && x.len() == target.len() && x.len() == dx.0.len());
    let factor = T::of(coefficient * step.gradient_scale);
    gradient(workers, step, image, dx, |i, dx| {
        let (x, t) = (&x[i * image..][..image], &target[i * image..][..image]);
        if softmax {
            let most = largest(x);
            let whole: T = t.iter().copied().sum();
            let unit = whole / sum_exp(x, most);
            zip2(x, t, dx, |x, t, dx| dx + factor * ((x - most).exp() * unit - t));
        } else {
            zip2(x, t, dx, |x, t, dx| if t == T::ZERO { dx } else { dx - factor * t / probability(x) });
        }
    });
}

/// dt ← −coefficient·gradient_scale·log softmax(x), or −….·log max(x, 1e-30) of probabilities; or dt += ….
pub(super) fn target_backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    softmax: bool,
    x: &[T],
    coefficient: f64,
    dt: (&mut [T], Into),
) {
    assert!(image > 0 && x.len() == dt.0.len());
    let factor = T::of(coefficient * step.gradient_scale);
    gradient(workers, step, image, dt, |i, dt| {
        let x = &x[i * image..][..image];
        if softmax {
            let most = largest(x);
            let log = sum_exp(x, most).ln();
            zip(x, dt, |x, dt| dt + factor * (log + (most - x)));
        } else {
            zip(x, dt, |x, dt| dt - factor * probability(x).ln());
        }
    });
}
