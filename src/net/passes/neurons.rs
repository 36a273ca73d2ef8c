//! Neurons computed by the operation whose output they read, which saves a pass over it: convolutions, products and batch
//! normalisations end with a neuron. A neuron whose derivative reads its input stays a pass of its own, since that input has
//! to be there.

use super::{anywhere, uses};
use crate::device::Device;
use crate::op::{Access, Neuron, Op, Program, Value, Write};

/// Fuses neurons into what they read.
pub(super) fn fuse(program: &mut Program, device: &dyn Device) {
    let uses = uses(program);
    let mut fused = vec![false; program.steps.len()];
    for (j, fused) in fused.iter_mut().enumerate() {
        let Op::NeuronForward(neuron) = program.steps[j].op else { continue };
        if neuron.neuron.derivative_reads_input() || !program.is_whole(&neuron.x) {
            continue;
        }
        // Made by one operation, and read by nobody but the neuron.
        let [made, read] = uses[neuron.x.slot.buffer].as_slice() else { continue };
        if (made.access, read.access, read.step) != (Access::Writes, Access::Reads, j) {
            continue;
        }
        let i = made.step;
        let op = ending_with(&program.steps[i].op, neuron.neuron, neuron.y);
        let Some(op) = op.filter(|op| device.supports(&anywhere(op))) else { continue };
        program.steps[i].op = op;
        program.forget(neuron.x);
        *fused = true;
    }
    program.remove(&fused);
}

/// The operation with a neuron at its end and its result in `to`, where there can be one.
fn ending_with(op: &Op<Value>, neuron: Neuron, to: Value) -> Option<Op<Value>> {
    let mut op = *op;
    let (own, y) = match &mut op {
        Op::ConvForward(c) => (&mut c.neuron, &mut c.y),
        Op::LocalForward(l) => (&mut l.neuron, &mut l.y),
        Op::Product(p) if p.c.into == Write::Set => (&mut p.neuron, &mut p.c.at),
        Op::BatchNormApply(b) => (&mut b.neuron, &mut b.y),
        _ => return None,
    };
    if *own != Neuron::NONE {
        return None;
    }
    (*own, *y) = (neuron, to.reshaped(y.shape));
    Some(op)
}
