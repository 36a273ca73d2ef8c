//! The momentum update: v ← momentum·v − lr·rate·(g + decay·w), w ← w + v, in one pass. Cost: w, g and v are read, w and v
//! written.

use super::dispatch::simd;
use super::elementwise::PIECE;
use super::{Real, Workers};
use crate::device::{StepValues, Update};

simd! {
    /// One piece of the update, on one thread.
    fn piece<T: Real>(momentum: T, rate: T, decay: T, w: &mut [T], g: &[T], v: &mut [T]) {
        for ((w, &g), v) in w.iter_mut().zip(g).zip(v) {
            let update = momentum * *v - rate * (g + decay * *w);
            *v = update;
            *w += update;
        }
    }
}

/// The momentum update of one parameter tensor.
pub(super) fn update<T: Real>(workers: &Workers, step: &StepValues, u: &Update, w: &mut [T], g: &[T], v: &mut [T]) {
    assert!(w.len() == g.len() && w.len() == v.len());
    let (momentum, rate, decay) = (T::of(step.momentum), T::of(step.learning_rate * u.rate), T::of(u.decay));
    workers.pieces2(w.len() / 2, PIECE, w, v, |i, w, v| piece(momentum, rate, decay, w, &g[i * PIECE..][..w.len()], v));
}
