//! Hinge losses of class scores x and a label y. Of several classes (Weston and Watkins 1999): Σ h(margin + x[j] − x[y]) over the
//! other classes j; one against all (Caffe's HingeLoss): h(margin − x[y]) + Σ h(margin + x[j]); h(v) = max(0, v), or its square.
//! Errors are counted as for logistic regression. Cost: one pass over x.

use super::cost::{class, count, outcome, rank};
use super::elementwise::zip;
use super::{Real, Workers};
use crate::device::{Hinge, Into, StepValues};

/// max(0, v), or its square; NaN stays.
fn loss(squared: bool, v: f64) -> f64 {
    let v = if v < 0.0 { 0.0 } else { v };
    if squared { v * v } else { v }
}

/// The derivative of that.
fn slope<T: Real>(squared: bool, v: T) -> T {
    match (v < T::ZERO, squared) {
        (true, _) => T::ZERO,
        (false, true) => v + v,
        (false, false) => {
            if v > T::ZERO {
                T::ONE
            } else {
                v
            }
        }
    }
}

/// Adds the loss and the errors to the metrics.
pub(super) fn forward<T: Real>(workers: &Workers, step: &StepValues, h: Hinge, x: &[T], labels: &[i32], metrics: &mut [T]) {
    let classes = x.len() / labels.len().max(1);
    assert!(classes > 0 && x.len() == classes * labels.len());
    count(workers, x.len(), (step.images as usize).min(labels.len()), metrics, |i| {
        let x = &x[i * classes..][..classes];
        let label = class(labels[i], classes);
        let own = x[label].f64();
        // What the other classes are compared with.
        let base = if h.one_vs_all { h.margin } else { h.margin - own };
        let others: f64 = x.iter().enumerate().map(|(j, x)| if j == label { 0.0 } else { loss(h.squared, base + x.f64()) }).sum();
        let own = if h.one_vs_all { loss(h.squared, h.margin - own) } else { 0.0 };
        outcome(own + others, rank(x, label))
    });
}

/// dx ← coefficient·gradient_scale·the gradient, or dx += ….
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    h: Hinge,
    x: &[T],
    labels: &[i32],
    coefficient: f64,
    dx: &mut [T],
    into: Into,
) {
    let classes = x.len() / labels.len().max(1);
    assert!(classes > 0 && x.len() == classes * labels.len() && dx.len() == x.len());
    let factor = T::of(coefficient * step.gradient_scale);
    let margin = T::of(h.margin);
    workers.pieces(x.len(), classes, dx, |i, dx| {
        if into == Into::Set {
            dx.fill(T::ZERO);
        }
        if i >= step.images as usize {
            return;
        }
        let x = &x[i * classes..][..classes];
        let label = class(labels[i], classes);
        let (own, before) = (x[label], dx[label]);
        let base = if h.one_vs_all { margin } else { margin - own };
        zip(x, dx, |x, dx| dx + factor * slope(h.squared, base + x));
        let pull = if h.one_vs_all {
            slope(h.squared, margin - own)
        } else {
            let all = x.iter().enumerate().filter(|&(j, _)| j != label);
            all.map(|(_, &x)| slope(h.squared, base + x)).sum()
        };
        dx[label] = before - factor * pull;
    });
}
