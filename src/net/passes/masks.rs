//! The gradient of a neuron computed by the operation that reads it, or by the last that writes what it is made of, which saves
//! a pass of 12 bytes an element: a batch normalisation's backward pass computes its neuron's derivative again from what it reads
//! in any case; the gradient of a convolution's or a pool's input is multiplied by the derivative of the neuron that made that
//! input as it is written. The bits stay.

use super::{Use, anywhere, uses};
use crate::device::Device;
use crate::op::{Access, BatchNormBackward, Neuron, NeuronBackward, Op, Pass, Program, Value, Within};

/// Fuses neurons' gradients into what comes after or before them.
pub(super) fn fuse(program: &mut Program, device: &dyn Device) {
    for i in 0..program.steps.len() {
        // Fused ones stay as linear neurons until all are done, so that steps keep their numbers.
        let Op::NeuronBackward(mask) = program.steps[i].op else { continue };
        if mask.neuron == Neuron::NONE || mask.neuron.derivative_reads_input() || mask.dx.adds() || mask.db.is_some() {
            continue;
        }
        let Some(seen) = mask.seen else { continue };
        if program.is_whole(&mask.dy) && program.is_whole(&mask.dx.at) {
            let _ = after(program, device, i, &mask, seen) || before(program, device, i, &mask, seen);
        }
    }
    let gone: Vec<bool> =
        program.steps.iter().map(|s| matches!(&s.op, Op::NeuronBackward(n) if n.dx.at.slot == n.dy.slot)).collect();
    program.remove(&gone);
}

/// Fuses it into the backward pass of the batch normalisation that alone reads it, where that made what the neuron reads.
fn after(program: &mut Program, device: &dyn Device, i: usize, mask: &NeuronBackward<Value>, seen: Value) -> bool {
    let uses = uses(program);
    let [_, read] = uses[mask.dx.at.slot.buffer].as_slice() else { return false };
    let Op::BatchNormBackward(norm) = program.steps[read.step].op else { return false };
    let applied = program.steps.iter().find_map(|s| match s.op {
        Op::BatchNormApply(apply) if s.pass == Pass::Forward && apply.y.slot == seen.slot => Some(apply),
        _ => None,
    });
    let Some(apply) = applied.filter(|a| a.saved == norm.saved && a.residual.is_none() && a.neuron == mask.neuron) else {
        return false;
    };
    if norm.dy.slot != mask.dx.at.slot || norm.neuron != Neuron::NONE || apply.x.slot != norm.x.slot {
        return false;
    }
    let op: Op<Value> = BatchNormBackward { neuron: mask.neuron, beta: apply.beta, dy: mask.dy, ..norm }.into();
    if !device.supports(&anywhere(&op)) {
        return false;
    }
    program.steps[read.step].op = op;
    drop(program, i);
    true
}

/// Fuses it into the last operation that writes what it reads.
fn before(program: &mut Program, device: &dyn Device, i: usize, mask: &NeuronBackward<Value>, seen: Value) -> bool {
    let uses = uses(program);
    let of_dy: &[Use] = &uses[mask.dy.slot.buffer];
    // The mask is the only one that reads it, and after all have written.
    let Some((last, writers)) = of_dy.split_last() else { return false };
    let reads = |u: &Use| u.access == Access::Reads;
    let Some(writer) = writers.last().filter(|_| last.step == i && !writers.iter().any(reads)) else { return false };
    let op: Op<Value> = match program.steps[writer.step].op {
        Op::ConvBackwardImage(mut c) if c.neuron == Neuron::NONE => {
            (c.neuron, c.seen) = (mask.neuron, Some(seen.reshaped(c.dx.at.shape)));
            c.into()
        }
        Op::PoolBackward(mut p) if p.neuron == Neuron::NONE && p.x.is_none_or(|x| x.slot == seen.slot) => {
            (p.neuron, p.x) = (mask.neuron, Some(seen.reshaped(p.dx.at.shape)));
            p.into()
        }
        _ => return false,
    };
    if !device.supports(&anywhere(&op)) {
        return false;
    }
    program.steps[writer.step].op = op;
    let (from, to) = (mask.dx.at.slot.buffer, mask.dy);
    let moved = |v: &Value| Within { buffer: to.slot.buffer, ..v.slot };
    program.replace(&mut |v| if v.slot.buffer == from { Value { slot: moved(v), ..*v } } else { *v });
    drop(program, i);
    true
}

/// Marks a step as one to be removed: it hands on what it reads.
fn drop(program: &mut Program, i: usize) {
    if let Op::NeuronBackward(mask) = &mut program.steps[i].op {
        mask.neuron = Neuron::NONE;
        mask.seen = None;
        mask.dx.at = mask.dy;
    }
}
