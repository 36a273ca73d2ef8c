//! Binary cross entropy of outputs that are probabilities p, each by itself, and targets t: −w·t·log p − (1 − t)·log(1 − p),
//! where w is the weight of what is positive. Of a logistic neuron's input x instead of its output, the two logarithms are those
//! of 1 + e^−x and 1 + eˣ, exact for any finite x, and the gradient is (1 − t)·σ(x) − w·t·σ(−x). An output is wrong where it is on
//! the other side of ½ than its target; an image's error is the fraction of its outputs that are wrong. Cost: forward reads x
//! and t, backward writes a gradient too.

use super::cost::{counted, probability};
use super::elementwise::{PIECE, map, sum2, zip, zip2};
use super::{Real, Workers};
use crate::device::{Binary, Into, METRIC_ERRORS, METRIC_IMAGES, METRIC_LOSS, StepValues};

/// Parts that the sum is cut into: they lie on the stack.
const PARTS: usize = 64;

/// max(v, 0); NaN stays.
fn positive<T: Real>(v: T) -> T {
    if v < T::ZERO { T::ZERO } else { v }
}

/// −log p and −log(1 − p) of an output.
fn logarithms<T: Real>(logistic: bool, x: T) -> [T; 2] {
    if logistic {
        let both = (-x.abs()).exp().ln_1p();
        [positive(-x) + both, positive(x) + both]
    } else {
        [-probability(x).ln(), -probability(T::ONE - x).ln()]
    }
}

/// Their derivatives, without the first one's sign: by a logistic neuron's input σ(−x) and σ(x), by p 1/p and 1/(1 − p).
fn slopes<T: Real>(logistic: bool, x: T) -> [T; 2] {
    if logistic {
        let small = (-x.abs()).exp();
        let unit = T::ONE / (T::ONE + small);
        let (high, low) = (unit, small * unit);
        if x < T::ZERO { [high, low] } else { [low, high] }
    } else {
        [T::ONE / probability(x), T::ONE / probability(T::ONE - x)]
    }
}

/// From where on an output is declared positive.
fn threshold<T: Real>(b: Binary) -> T {
    if b.logistic { T::ZERO } else { T::of(0.5) }
}

/// Adds the loss and the errors of the images that count to the metrics.
pub(super) fn forward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    b: Binary,
    x: &[T],
    target: &[T],
    metrics: &mut [T],
) {
    assert!(image > 0 && x.len() == target.len());
    let elements = counted(step, image, x.len());
    let (weight, threshold, half) = (T::of(b.positive_weight), threshold::<T>(b), T::of(0.5));
    let piece = elements.div_ceil(PARTS).next_multiple_of(1024);
    let mut parts = [[0.0; 2]; PARTS];
    workers.pieces(4 * elements, 1, &mut parts, |i, part| {
        let (start, end) = ((i * piece).min(elements), ((i + 1) * piece).min(elements));
        let (x, t) = (&x[start..end], &target[start..end]);
        part[0][0] = sum2(x, t, |x, t| {
            let [yes, no] = logarithms(b.logistic, x);
            weight * t * yes + (T::ONE - t) * no
        });
        // What is no number is on no side.
        part[0][1] = sum2(x, t, |x, t| {
            let right = if t > half { x > threshold } else { x <= threshold };
            if right { T::ZERO } else { T::ONE }
        });
    });
    let mut sums = [0.0; 2];
    for part in parts {
        sums[0] += part[0];
        sums[1] += part[1];
    }
    metrics[METRIC_LOSS] += T::of(sums[0]);
    metrics[METRIC_ERRORS] += T::of(sums[1] / image as f64);
    metrics[METRIC_IMAGES] += T::of((elements / image) as f64);
}

/// A gradient: `piece(i, to)` adds its part to the elements from `i` on.
fn gradient<T: Real>(
    workers: &Workers,
    elements: usize,
    (to, into): (&mut [T], Into),
    piece: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    let (to, padding) = to.split_at_mut(elements);
    if into == Into::Set {
        padding.fill(T::ZERO);
    }
    workers.pieces(2 * elements, PIECE, to, |i, to| {
        if into == Into::Set {
            map(to, |_| T::ZERO);
        }
        piece(i * PIECE, to);
    });
}

/// dx ← coefficient·gradient_scale·((1 − t)·σ(x) − w·t·σ(−x)), or of probabilities ….·((1 − t)/(1 − x) − w·t/x); or dx += ….
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    b: Binary,
    x: &[T],
    target: &[T],
    coefficient: f64,
    dx: (&mut [T], Into),
) {
    assert!(image > 0 && x.len() == target.len() && x.len() == dx.0.len());
    let factor = T::of(coefficient * step.gradient_scale);
    let weight = T::of(b.positive_weight);
    gradient(workers, counted(step, image, x.len()), dx, |i, dx| {
        zip2(&x[i..][..dx.len()], &target[i..][..dx.len()], dx, |x, t, dx| {
            let [yes, no] = slopes(b.logistic, x);
            dx + factor * ((T::ONE - t) * no - weight * t * yes)
        });
    });
}

/// dt ← coefficient·gradient_scale·(log(1 − p) − w·log p), or dt += ….
pub(super) fn target_backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    b: Binary,
    x: &[T],
    coefficient: f64,
    dt: (&mut [T], Into),
) {
    assert!(image > 0 && x.len() == dt.0.len());
    let factor = T::of(coefficient * step.gradient_scale);
    let weight = T::of(b.positive_weight);
    gradient(workers, counted(step, image, x.len()), dt, |i, dt| {
        zip(&x[i..][..dt.len()], dt, |x, dt| {
            let [yes, no] = logarithms(b.logistic, x);
            dt + factor * (weight * yes - no)
        });
    });
}

/// Adds to each output's counts, over the images that count: true positives, false positives, false negatives.
pub(super) fn count_detections<T: Real>(
    workers: &Workers,
    step: &StepValues,
    image: usize,
    b: Binary,
    x: &[T],
    target: &[T],
    counts: &mut [T],
) {
    assert!(image > 0 && x.len() == target.len() && counts.len() == 3 * image);
    let elements = counted(step, image, x.len());
    let (threshold, half) = (threshold::<T>(b), T::of(0.5));
    let (x, target) = (&x[..elements], &target[..elements]);
    workers.pieces(elements, image, counts, |kind, counts| {
        for (x, t) in x.chunks_exact(image).zip(target.chunks_exact(image)) {
            zip2(x, t, counts, |x, t, count| {
                let (declared, positive) = (x > threshold, t > half);
                let counts = match kind {
                    0 => declared && positive,
                    1 => declared && !positive,
                    _ => !declared && positive,
                };
                if counts { count + T::ONE } else { count }
            });
        }
    });
}
