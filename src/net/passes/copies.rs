//! Copies vanish where what is copied can lie in the place that it is copied to, or the copy in that of what is copied: flattened
//! images, gradients that a sum hands on, inputs of a concatenation, slices. Both may be the same memory as long as neither is
//! changed while the other is still needed; with gaps between its cells where one is some channels of the other, if the device
//! has the operations on it in that form.

use super::copied;
use super::moves::{Moves, writes};
use crate::device::Device;
use crate::op::{Program, Value};

/// Drops the copies that need not be made.
pub(super) fn drop(program: &mut Program, device: &dyn Device) {
    let mut moves = Moves::new(program, device);
    let mut dropped = vec![false; moves.program.steps.len()];
    for (i, dropped) in dropped.iter_mut().enumerate() {
        let Some((x, y)) = copied(&moves.program.steps[i].op) else { continue };
        let (x, y) = (moves.now(&x), moves.now(&y));
        *dropped = x == y || lay(&mut moves, i, y, x) || lay(&mut moves, i, x, y);
        if *dropped {
            moves.forget(i);
        }
    }
    moves.finish();
    program.remove(&dropped);
}

/// Lays value `from`, all of a buffer, into the place of `to`, where step `i` copies one to the other: both must not have been
/// used before, and from then on nothing may change one of them while the other is used.
fn lay(moves: &mut Moves, i: usize, from: Value, to: Value) -> bool {
    let buffer = from.slot.buffer;
    if !moves.program.is_whole(&from) || from.dtype != to.dtype || !moves.fits(buffer, &to, Some(i)) {
        return false;
    }
    let kept = moves.program.buffers[to.slot.buffer].place.is_some();
    let last = |step: Option<usize>| step.unwrap_or(0);
    let (mine, theirs) = (|| moves.uses_of(buffer, i), || moves.uses_over(to, i));
    let before = mine().any(|u| u.step < i) && theirs().any(|u| u.step < i);
    let (my_last, their_last) = (last(mine().map(|u| u.step).max()), last(theirs().map(|u| u.step).max()));
    let changed = mine().filter(writes).any(|w| w.step > i && (kept || their_last >= w.step))
        || theirs().filter(writes).any(|w| w.step > i && my_last >= w.step);
    if before || changed {
        return false;
    }
    moves.lay(buffer, to);
    true
}
