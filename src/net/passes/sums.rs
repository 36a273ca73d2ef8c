//! The gradient of biases summed up beside the neuron's gradient that it is the sum of, which saves reading that once more.

use super::{anywhere, uses};
use crate::device::Device;
use crate::op::{Access, NeuronBackward, Op, Program};

/// Fuses sums into the neurons' gradients that they read.
pub(super) fn fuse(program: &mut Program, device: &dyn Device) {
    let uses = uses(program);
    let mut fused = vec![false; program.steps.len()];
    for (j, fused) in fused.iter_mut().enumerate() {
        let Op::BiasBackward(sum) = program.steps[j].op else { continue };
        // The sum may be made earlier as long as nothing has changed in between, and nobody else has touched its result.
        let of_dy = &uses[sum.dy.slot.buffer];
        let Some(made) = of_dy.iter().rfind(|u| u.step < j && u.access != Access::Reads) else { continue };
        let i = made.step;
        let between = uses[sum.db.at.slot.buffer].iter().any(|u| u.step >= i && u.step < j);
        let Op::NeuronBackward(mask) = program.steps[i].op else { continue };
        if mask.dx.adds() || mask.db.is_some() || mask.dx.at.slot != sum.dy.slot || between {
            continue;
        }
        let op = NeuronBackward { db: Some(sum.db), ..mask }.into();
        if device.supports(&anywhere(&op)) {
            program.steps[i].op = op;
            *fused = true;
        }
    }
    program.remove(&fused);
}
