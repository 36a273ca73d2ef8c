//! The momentum update in one pass: s = lr·rate·(f·g + decay·w + l1·sign w), v ← momentum·v − s, w ← w + v, or by Nesterov's
//! rule w ← w + momentum·v − s; f is 1 or what clips the gradient. Cost: w, g and v are read, w and v written.

use super::dispatch::simd;
use super::elementwise::PIECE;
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{SgdUpdate, Update};

/// The update's numbers.
#[derive(Clone, Copy)]
struct Rule<T> {
    momentum: T,
    rate: T,
    decay: T,
    l1: T,
    factor: T,
    nesterov: bool,
}

simd! {
    /// One piece of the update, on one thread.
    fn piece<T: Real>(r: Rule<T>, w: &mut [T], g: &[T], v: &mut [T]) {
        for ((w, &g), v) in w.iter_mut().zip(g).zip(v) {
            let sign = if *w > T::ZERO { r.l1 } else if *w < T::ZERO { -r.l1 } else { T::ZERO };
            let step = r.rate * (r.factor * g + r.decay * *w + sign);
            let update = r.momentum * *v - step;
            *v = update;
            *w += if r.nesterov { r.momentum * update - step } else { update };
        }
    }
}

impl<T: Real> Run<SgdUpdate<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &SgdUpdate<Tensor>, _: Tensor) -> Result<()> {
        let Update { rate, decay, l1_decay, momentum, nesterov } = op.update;
        let mut b = self.arena.borrow();
        let (w, g, v) = (b.write::<T>(op.w), b.read::<T>(op.g), b.write::<T>(op.v));
        assert!(w.len() == g.len() && w.len() == v.len());
        let rule = Rule {
            momentum: T::of(momentum.unwrap_or(self.step.momentum)),
            rate: T::of(self.step.learning_rate * rate),
            decay: T::of(decay),
            l1: T::of(l1_decay),
            factor: op.factor.map_or(T::ONE, |t| b.read::<T>(t)[0]),
            nesterov,
        };
        self.workers.pieces2(w.len() / 2, PIECE, w, v, |i, w, v| piece(rule, w, &g[i * PIECE..][..w.len()], v));
        Ok(())
    }
}
