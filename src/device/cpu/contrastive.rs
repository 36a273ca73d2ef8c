//! The contrastive loss of two vectors a and b at the distance d = ‖a − b‖ (Hadsell, Chopra and LeCun, "Dimensionality reduction
//! by learning an invariant mapping", 2006): ½·d² of a pair that is of one class (label 1), ½·max(0, margin − d)² of one that is
//! not. A pair is wrong where it is on the other side of half the margin. The gradient by a is a − b, or −(margin − d)/d·(a − b),
//! 0 where d is; that by b is the opposite. Cost: one pass over a and b, and backward another.

use super::cost::count;
use super::elementwise::{sum2, zip2};
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{ContrastiveBackward, ContrastiveForward};

/// d of a pair.
fn distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    sum2(a, b, |a, b| (a - b) * (a - b)).sqrt()
}

impl<T: Real> Run<ContrastiveForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ContrastiveForward<Tensor>, _: Tensor) -> Result<()> {
        let (image, margin) = (op.a.shape.image(), op.margin);
        let mut t = self.arena.borrow();
        let (a, b, labels) = (t.read::<T>(op.a), t.read::<T>(op.b), t.read::<i32>(op.labels));
        assert!(image > 0 && a.len() == b.len() && a.len() == image * labels.len());
        let images = (self.step.images as usize).min(labels.len());
        count(&self.workers, a.len(), images, t.write::<T>(op.metrics), |i| {
            let d = distance(&a[i * image..][..image], &b[i * image..][..image]);
            let same = labels[i] != 0;
            let far = if same {
                d
            } else if d > margin {
                0.0
            } else {
                margin - d
            };
            // A NaN is on neither side.
            let right = if same { d < 0.5 * margin } else { d >= 0.5 * margin };
            [0.5 * far * far, f64::from(u8::from(!right)), 0.0]
        });
        Ok(())
    }
}

impl<T: Real> Run<ContrastiveBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ContrastiveBackward<Tensor>, _: Tensor) -> Result<()> {
        let (image, margin, add) = (op.a.shape.image(), op.margin, op.da.adds());
        let mut t = self.arena.borrow();
        let (a, b, labels, da) = (t.read::<T>(op.a), t.read::<T>(op.b), t.read::<i32>(op.labels), t.write::<T>(op.da.at));
        assert!(image > 0 && a.len() == b.len() && a.len() == image * labels.len() && da.len() == a.len());
        let (images, factor) = (self.step.images as usize, op.coefficient * self.step.gradient_scale);
        self.workers.pieces(2 * a.len(), image, da, |i, da| {
            if !add {
                da.fill(T::ZERO);
            }
            if i >= images {
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
        Ok(())
    }
}
