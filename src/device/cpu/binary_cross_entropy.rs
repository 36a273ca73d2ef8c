//! Binary cross entropy of outputs that are probabilities p, each by itself, and targets t: −w·t·log p − (1 − t)·log(1 − p),
//! where w is the weight of what is positive. Of a logistic neuron's input x instead of its output, the two logarithms are those
//! of 1 + e^−x and 1 + eˣ, exact for any finite x, and the gradient is (1 − t)·σ(x) − w·t·σ(−x). An output is wrong where it is on
//! the other side of ½ than its target; an image's error is the fraction of its outputs that are wrong. Cost: forward reads x
//! and t, backward writes a gradient too.

use super::cost::{counted, probability};
use super::elementwise::{PIECE, map, sum2, zip, zip2};
use super::{CpuDevice, Real, Workers};
use crate::device::{METRIC_ERRORS, METRIC_IMAGES, METRIC_LOSS, Result, Run, Tensor};
use crate::op::{
    Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, BinaryCrossEntropyTargetBackward, CountDetections, Target,
};

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

impl<T: Real> Run<BinaryCrossEntropyForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BinaryCrossEntropyForward<Tensor>, _: Tensor) -> Result<()> {
        let (image, logistic) = (op.x.shape.image(), op.binary.logistic);
        let mut b = self.arena.borrow();
        let (x, target, metrics) = (b.read::<T>(op.x), b.read::<T>(op.target), b.write::<T>(op.metrics));
        assert!(image > 0 && x.len() == target.len());
        let elements = counted(&self.step, image, x.len());
        let (weight, threshold, half) = (T::of(op.binary.positive_weight), threshold::<T>(op.binary), T::of(0.5));
        let piece = elements.div_ceil(PARTS).next_multiple_of(1024);
        let mut parts = [[0.0; 2]; PARTS];
        self.workers.pieces(4 * elements, 1, &mut parts, |i, part| {
            let (start, end) = ((i * piece).min(elements), ((i + 1) * piece).min(elements));
            let (x, t) = (&x[start..end], &target[start..end]);
            part[0][0] = sum2(x, t, |x, t| {
                let [yes, no] = logarithms(logistic, x);
                weight * t * yes + (T::ONE - t) * no
            });
            // A NaN is on neither side.
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
        Ok(())
    }
}

/// A gradient of the first `elements` elements, 0 for the others: `piece(i, to)` adds its part to the elements from `i` on.
fn gradient<T: Real>(workers: &Workers, elements: usize, to: Target<&mut [T]>, piece: impl Fn(usize, &mut [T]) + Send + Sync) {
    let set = !to.adds();
    let (to, padding) = to.at.split_at_mut(elements);
    if set {
        padding.fill(T::ZERO);
    }
    workers.pieces(2 * elements, PIECE, to, |i, to| {
        if set {
            map(to, |_| T::ZERO);
        }
        piece(i * PIECE, to);
    });
}

impl<T: Real> Run<BinaryCrossEntropyBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BinaryCrossEntropyBackward<Tensor>, _: Tensor) -> Result<()> {
        let (image, logistic) = (op.x.shape.image(), op.binary.logistic);
        let mut b = self.arena.borrow();
        let (x, target, dx) = (b.read::<T>(op.x), b.read::<T>(op.target), b.target::<T>(op.dx));
        assert!(image > 0 && x.len() == target.len() && x.len() == dx.at.len());
        let factor = T::of(op.coefficient * self.step.gradient_scale);
        let weight = T::of(op.binary.positive_weight);
        gradient(&self.workers, counted(&self.step, image, x.len()), dx, |i, dx| {
            zip2(&x[i..][..dx.len()], &target[i..][..dx.len()], dx, |x, t, dx| {
                let [yes, no] = slopes(logistic, x);
                dx + factor * ((T::ONE - t) * no - weight * t * yes)
            });
        });
        Ok(())
    }
}

impl<T: Real> Run<BinaryCrossEntropyTargetBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BinaryCrossEntropyTargetBackward<Tensor>, _: Tensor) -> Result<()> {
        let (image, logistic) = (op.x.shape.image(), op.binary.logistic);
        let mut b = self.arena.borrow();
        let (x, dt) = (b.read::<T>(op.x), b.target::<T>(op.dt));
        assert!(image > 0 && x.len() == dt.at.len());
        let factor = T::of(op.coefficient * self.step.gradient_scale);
        let weight = T::of(op.binary.positive_weight);
        gradient(&self.workers, counted(&self.step, image, x.len()), dt, |i, dt| {
            zip(&x[i..][..dt.len()], dt, |x, dt| {
                let [yes, no] = logarithms(logistic, x);
                dt + factor * (weight * yes - no)
            });
        });
        Ok(())
    }
}

impl<T: Real> Run<CountDetections<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &CountDetections<Tensor>, _: Tensor) -> Result<()> {
        let image = op.x.shape.image();
        let mut b = self.arena.borrow();
        let (x, target, counts) = (b.read::<T>(op.x), b.read::<T>(op.target), b.write::<T>(op.counts));
        assert!(image > 0 && x.len() == target.len() && counts.len() == 3 * image);
        let elements = counted(&self.step, image, x.len());
        let (threshold, half) = (threshold::<T>(op.binary), T::of(0.5));
        let (x, target) = (&x[..elements], &target[..elements]);
        self.workers.pieces(elements, image, counts, |kind, counts| {
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
        Ok(())
    }
}
