//! A batch normalisation and the sum of its output and another tensor in one pass, as at the end of a residual block (He et al.
//! 2015): 12 bytes an element in place of 8 and 12. The neuron after the sum joins them in the next pass ([`neurons`](super::neurons)).

use super::{anywhere, uses};
use crate::device::Device;
use crate::op::{Access, BatchNormApply, Merging, Neuron, Op, Program};

/// Fuses sums into the normalisations whose outputs they alone read.
pub(super) fn fuse(program: &mut Program, device: &dyn Device) {
    let uses = uses(program);
    let mut fused = vec![false; program.steps.len()];
    for j in 0..program.steps.len() {
        let Op::Merge(sum) = program.steps[j].op else { continue };
        if sum.how != (Merging::Sum { a: 1.0, b: 1.0 }) || sum.y.adds() || sum.a.slot == sum.b.slot {
            continue;
        }
        for (normed, residual) in [(sum.a, sum.b), (sum.b, sum.a)] {
            // Made by a normalisation, and read by the sum alone.
            let [made, read] = uses[normed.slot.buffer].as_slice() else { continue };
            let Op::BatchNormApply(apply) = program.steps[made.step].op else { continue };
            let alone = program.is_whole(&normed) && (made.access, read.access, read.step) == (Access::Writes, Access::Reads, j);
            if !alone || apply.neuron != Neuron::NONE || apply.residual.is_some() {
                continue;
            }
            let shape = apply.x.shape;
            let (residual, y) = (Some(residual.reshaped(shape)), sum.y.at.reshaped(shape));
            let op = BatchNormApply { residual, y, ..apply }.into();
            if device.supports(&anywhere(&op)) {
                program.steps[j].op = op;
                program.forget(normed);
                fused[made.step] = true;
                break;
            }
        }
    }
    program.remove(&fused);
}
