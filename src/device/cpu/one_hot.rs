//! Class probabilities out of labels: q[i] = (1 − smoothing)·1[label = i] + smoothing/classes (Szegedy et al., "Rethinking the
//! Inception architecture for computer vision", 2016). Cost: one write of q.

use super::cost::class;
use super::{Real, Workers};

/// q of a label's own class, and of each other.
pub(super) fn values<T: Real>(classes: usize, smoothing: f64) -> [T; 2] {
    let off = smoothing / classes as f64;
    [T::of(1.0 - smoothing + off), T::of(off)]
}

/// y ← q of each label.
pub(super) fn forward<T: Real>(workers: &Workers, labels: &[i32], smoothing: f64, y: &mut [T]) {
    let classes = y.len() / labels.len().max(1);
    assert!(classes > 0 && y.len() == classes * labels.len());
    let [on, off] = values(classes, smoothing);
    workers.pieces(y.len() / 8, classes, y, |image, y| {
        y.fill(off);
        y[class(labels[image], classes)] = on;
    });
}
