//! The contrastive loss of two vectors a and b at the distance d = ‖a − b‖ (Hadsell, Chopra and LeCun, "Dimensionality reduction
//! by learning an invariant mapping", 2006): ½·d² of a pair that is of one class (label 1), ½·max(0, margin − d)² of one that is
//! not. A pair is wrong where it is on the other side of half the margin. The gradient by a is a − b, or −(margin − d)/d·(a − b),
//! 0 where d is; that by b is the opposite. Cost: one pass over a and b, and backward another.

use super::cost::count;
use super::elementwise::{sum2, zip2};
use super::{Real, Workers};
use crate::device::{Into, StepValues};

/// d of a pair.
fn distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    sum2(a, b, |a, b| (a - b) * (a - b)).sqrt()
}

/// Adds the loss and the errors to the metrics.
#[allow(clippy::too_many_arguments)]
pub(super) fn forward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    margin: f64,
    a: &[T],
    b: &[T],
    labels: &[i32],
    metrics: &mut [T],
) {
    assert!(image > 0 && a.len() == b.len() && a.len() == image * labels.len());
    count(workers, a.len(), (step.images as usize).min(labels.len()), metrics, |i| {
        let d = distance(&a[i * image..][..image], &b[i * image..][..image]);
        let same = labels[i] != 0;
        let far = if same {
            d
        } else if d > margin {
            0.0
        } else {
            margin - d
        };
        // What is no number is on no side.
        let right = if same { d < 0.5 * margin } else { d >= 0.5 * margin };
        [0.5 * far * far, f64::from(u8::from(!right)), 0.0]
    });
}

/// da ← coefficient·gradient_scale·the gradient by a, or da += …; that by b is the same with a and b changed.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    margin: f64,
    a: &[T],
    b: &[T],
    labels: &[i32],
    coefficient: f64,
    da: &mut [T],
    into: Into,
) {
    assert!(image > 0 && a.len() == b.len() && a.len() == image * labels.len() && da.len() == a.len());
    let factor = coefficient * step.gradient_scale;
    workers.pieces(2 * a.len(), image, da, |i, da| {
        if into == Into::Set {
            da.fill(T::ZERO);
        }
        if i >= step.images as usize {
            return;
        }
        let (a, b) = (&a[i * image..][..image], &b[i * image..][..image]);
        let pull = if labels[i] != 0 {
            1.0
        } else {
            let d = distance(a, b);
            if d >= margin || d == 0.0 { 0.0 } else { (d - margin) / d }
        };
        let factor = T::of(factor * pull);
        zip2(a, b, da, |a, b, da| da + factor * (a - b));
    });
}
