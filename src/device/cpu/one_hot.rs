//! Class probabilities out of labels: q[i] = (1 − smoothing)·1[label = i] + smoothing/classes (Szegedy et al., "Rethinking the
//! Inception architecture for computer vision", 2016). Cost: one write of q.

use super::cost::{class, classes};
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::OneHot;

/// q of a label's own class, and of each other.
pub(super) fn values<T: Real>(classes: usize, smoothing: f64) -> [T; 2] {
    let off = smoothing / classes as f64;
    [T::of(1.0 - smoothing + off), T::of(off)]
}

impl<T: Real> Run<OneHot<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &OneHot<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (labels, y) = (b.read::<i32>(op.labels), b.write::<T>(op.y));
        let classes = classes(y, labels);
        let [on, off] = values(classes, op.smoothing);
        self.workers.pieces(y.len() / 8, classes, y, |image, y| {
            y.fill(off);
            y[class(labels[image], classes)] = on;
        });
        Ok(())
    }
}
