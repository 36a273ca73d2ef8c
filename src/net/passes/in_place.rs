//! Operations that may write in the place of what they read ([`Operation::shares`](crate::op::Operation::shares)) do so where
//! nobody reads that afterwards, and nothing of what they write was there before.

use super::moves::Moves;
use crate::device::Device;
use crate::op::Program;

/// Lays results in the place of what they are made of.
pub(super) fn lay(program: &mut Program, device: &dyn Device) {
    let mut moves = Moves::new(program, device);
    for i in 0..moves.program.steps.len() {
        let op = moves.program.steps[i].op;
        let mut pairs = Vec::new();
        op.shares(&mut |written, read| pairs.push((*written, *read)));
        for (written, read) in pairs {
            let (written, read) = (moves.now(&written), moves.now(&read));
            let buffer = written.slot.buffer;
            let transient = moves.program.buffers[read.slot.buffer].place.is_none();
            if !transient || !moves.program.is_whole(&written) || !moves.fits(buffer, &read, None) {
                continue;
            }
            let first = moves.uses_of(buffer, i).all(|u| u.step > i);
            let last = moves.uses_over(read, i).all(|u| u.step < i);
            // Nothing else of this operation may lie there.
            let mut others = 0;
            op.operands(&mut |_, v| others += usize::from(moves.now(v).slot.buffer == read.slot.buffer));
            let mut own = 0;
            op.operands(&mut |_, v| own += usize::from(moves.now(v).slot.buffer == buffer));
            if first && last && others == 1 && own == 1 {
                moves.lay(buffer, read);
            }
        }
    }
    moves.finish();
}
