//! Drops operations whose results nobody reads.

use crate::op::{Access, Program};

/// Drops them.
pub(super) fn drop(program: &mut Program) {
    let mut read: Vec<bool> = program.buffers.iter().map(|b| b.place.is_some()).collect();
    program.read.iter().for_each(|(value, _)| read[value.slot.buffer] = true);
    let mut dead = vec![false; program.steps.len()];
    for (dead, step) in dead.iter_mut().zip(&program.steps).rev() {
        let all = step.op.accesses();
        *dead = !all.iter().any(|(access, value)| *access != Access::Reads && read[value.slot.buffer]);
        if !*dead {
            all.iter().filter(|(access, _)| *access != Access::Writes).for_each(|(_, value)| read[value.slot.buffer] = true);
        }
    }
    program.remove(&dead);
}
