//! Costs of probabilities computed from what the probabilities are made of: logistic regression and cross entropy behind a
//! softmax, and binary cross entropy behind a logistic neuron, read the softmax's or the neuron's input. That is stable for any
//! finite scores, has a gradient without a quotient, and saves the softmax's gradient. Where nobody else reads the probabilities,
//! they are not computed at all ([`dead`](super::dead)).

use super::uses;
use crate::op::{
    Access, Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, BinaryCrossEntropyTargetBackward, CountDetections,
    LogregBackward, LogregForward, Neuron, Op, Program, SoftCrossEntropyBackward, SoftCrossEntropyForward,
    SoftCrossEntropyTargetBackward, Step, Target, Value, Write,
};

/// What makes probabilities of scores.
#[derive(Clone, Copy, PartialEq)]
enum Squash {
    Softmax,
    Logistic,
}

/// Fuses costs with what they are costs of.
pub(super) fn fuse(program: &mut Program) {
    let forward = |op: &Op<Value>| match op {
        Op::SoftmaxForward(s) => Some((Squash::Softmax, s.x, s.y)),
        Op::NeuronForward(n) if n.neuron == Neuron::Logistic => Some((Squash::Logistic, n.x, n.y)),
        _ => None,
    };
    let made: Vec<_> = program.steps.iter().filter_map(|s| forward(&s.op)).collect();
    for (squash, scores, probabilities) in made {
        if !program.is_whole(&probabilities) {
            continue;
        }
        for step in &mut program.steps {
            if let Some(op) = of_scores(&step.op, squash, scores, probabilities) {
                step.op = op;
            }
        }
        gradient(program, squash, scores, probabilities);
    }
}

/// A cost's operation that reads probabilities, or makes the gradient of its target, as one that reads their scores.
fn of_scores(op: &Op<Value>, squash: Squash, scores: Value, probabilities: Value) -> Option<Op<Value>> {
    let of = |x: &Value| x.slot == probabilities.slot;
    let seen = |x: Value| scores.reshaped(x.shape);
    let binary = |b: Binary| Binary { logistic: true, ..b };
    Some(match (squash, *op) {
        (Squash::Softmax, Op::CrossEntropyForward(c)) if of(&c.x) => {
            LogregForward { smoothing: c.smoothing, x: seen(c.x), labels: c.labels, metrics: c.metrics }.into()
        }
        (Squash::Softmax, Op::SoftCrossEntropyForward(c)) if of(&c.x) && !c.softmax => {
            SoftCrossEntropyForward { softmax: true, x: seen(c.x), ..c }.into()
        }
        (Squash::Softmax, Op::SoftCrossEntropyTargetBackward(c)) if of(&c.x) && !c.softmax => {
            SoftCrossEntropyTargetBackward { softmax: true, x: seen(c.x), ..c }.into()
        }
        (Squash::Logistic, Op::BinaryCrossEntropyForward(c)) if of(&c.x) && !c.binary.logistic => {
            BinaryCrossEntropyForward { binary: binary(c.binary), x: seen(c.x), ..c }.into()
        }
        (Squash::Logistic, Op::BinaryCrossEntropyTargetBackward(c)) if of(&c.x) && !c.binary.logistic => {
            BinaryCrossEntropyTargetBackward { binary: binary(c.binary), x: seen(c.x), ..c }.into()
        }
        (Squash::Logistic, Op::CountDetections(c)) if of(&c.x) && !c.binary.logistic => {
            CountDetections { binary: binary(c.binary), x: seen(c.x), ..c }.into()
        }
        _ => return None,
    })
}

/// A cost's gradient by probabilities as one by their scores, which goes to `dx`.
fn gradient_of_scores(
    op: &Op<Value>,
    squash: Squash,
    scores: Value,
    probabilities: Value,
    dx: Target<Value>,
) -> Option<Op<Value>> {
    let of = |x: &Value| x.slot == probabilities.slot;
    let x = |x: Value| scores.reshaped(x.shape);
    let dx = |x: Value| Target { at: dx.at.reshaped(x.shape), into: dx.into };
    Some(match (squash, *op) {
        (Squash::Softmax, Op::CrossEntropyBackward(c)) if of(&c.x) => {
            LogregBackward { smoothing: c.smoothing, coefficient: c.coefficient, x: x(c.x), labels: c.labels, dx: dx(c.x) }.into()
        }
        (Squash::Softmax, Op::SoftCrossEntropyBackward(c)) if of(&c.x) && !c.softmax => {
            SoftCrossEntropyBackward { softmax: true, x: x(c.x), dx: dx(c.x), ..c }.into()
        }
        (Squash::Logistic, Op::BinaryCrossEntropyBackward(c)) if of(&c.x) && !c.binary.logistic => {
            let binary = Binary { logistic: true, ..c.binary };
            BinaryCrossEntropyBackward { binary, x: x(c.x), dx: dx(c.x), ..c }.into()
        }
        _ => return None,
    })
}

/// Does away with the gradient by the probabilities, where costs alone make it: theirs go straight to the scores' gradient, at
/// the place of the backward pass that they save, in the same order.
fn gradient(program: &mut Program, squash: Squash, scores: Value, probabilities: Value) {
    let backward = |op: &Op<Value>| match (squash, op) {
        (Squash::Softmax, Op::SoftmaxBackward(s)) if s.y.slot == probabilities.slot => Some((s.dy, s.dx)),
        (Squash::Logistic, Op::NeuronBackward(n)) if n.seen.is_some_and(|y| y.slot == probabilities.slot) => Some((n.dy, n.dx)),
        _ => None,
    };
    let found = program.steps.iter().enumerate().find_map(|(i, s)| backward(&s.op).map(|(dy, dx)| (i, dy, dx)));
    let Some((at, dy, dx)) = found else { return };
    let uses = &uses(program)[dy.slot.buffer];
    let Some((last, writers)) = uses.split_last() else { return };
    if !program.is_whole(&dy) || (last.step, last.access) != (at, Access::Reads) {
        return;
    }
    let mut target = dx;
    let mut ops = Vec::new();
    for writer in writers {
        let step = &program.steps[writer.step];
        let Some(op) = gradient_of_scores(&step.op, squash, scores, probabilities, target) else { return };
        ops.push(Step { op, ..*step });
        target.into = Write::Add;
    }
    let mut replaced = vec![false; program.steps.len()];
    replaced[at] = true;
    writers.iter().for_each(|w| replaced[w.step] = true);
    let before = replaced[..at].iter().filter(|r| **r).count();
    program.remove(&replaced);
    let at = at - before;
    program.steps.splice(at..at, ops);
}
