//! Hinge losses of class scores x and a label y. Of several classes (Weston and Watkins 1999): Σ h(margin + x[j] − x[y]) over the
//! other classes j; one against all (Caffe's HingeLoss): h(margin − x[y]) + Σ h(margin + x[j]); h(v) = max(0, v), or its square.
//! Errors are counted as for logistic regression. Cost: one pass over x.

use super::cost::{class, classes, count_labelled};
use super::elementwise::zip;
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{HingeBackward, HingeForward, HingeLoss};

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

impl<T: Real> Run<HingeForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &HingeForward<Tensor>, _: Tensor) -> Result<()> {
        let HingeLoss { one_vs_all, squared, margin } = op.loss;
        let mut b = self.arena.borrow();
        let (x, labels, metrics) = (b.read::<T>(op.x), b.read::<i32>(op.labels), b.write::<T>(op.metrics));
        count_labelled(&self.workers, &self.step, x, labels, metrics, |x, label| {
            let own = x[label].f64();
            // What the other classes are compared with.
            let base = if one_vs_all { margin } else { margin - own };
            let others: f64 =
                x.iter().enumerate().map(|(j, x)| if j == label { 0.0 } else { loss(squared, base + x.f64()) }).sum();
            let own = if one_vs_all { loss(squared, margin - own) } else { 0.0 };
            own + others
        });
        Ok(())
    }
}

impl<T: Real> Run<HingeBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &HingeBackward<Tensor>, _: Tensor) -> Result<()> {
        let HingeLoss { one_vs_all, squared, margin } = op.loss;
        let (mut b, margin, add) = (self.arena.borrow(), T::of(margin), op.dx.adds());
        let (x, labels, dx) = (b.read::<T>(op.x), b.read::<i32>(op.labels), b.write::<T>(op.dx.at));
        let classes = classes(x, labels);
        assert_eq!(dx.len(), x.len());
        let (images, factor) = (self.step.images as usize, T::of(op.coefficient * self.step.gradient_scale));
        self.workers.pieces(x.len(), classes, dx, |i, dx| {
            if !add {
                dx.fill(T::ZERO);
            }
            if i >= images {
                return;
            }
            let x = &x[i * classes..][..classes];
            let label = class(labels[i], classes);
            let (own, before) = (x[label], dx[label]);
            let base = if one_vs_all { margin } else { margin - own };
            zip(x, dx, |x, dx| dx + factor * slope(squared, base + x));
            let pull = if one_vs_all {
                slope(squared, margin - own)
            } else {
                let all = x.iter().enumerate().filter(|&(j, _)| j != label);
                all.map(|(_, &x)| slope(squared, base + x)).sum()
            };
            dx[label] = before - factor * pull;
        });
        Ok(())
    }
}
