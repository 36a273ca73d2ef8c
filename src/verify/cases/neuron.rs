//! Neurons.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{Neuron, NeuronBackward, NeuronForward, Op, Target, Write};
use crate::verify::case::*;

pub(super) const NEURONS: [Neuron; 15] = [
    Neuron::NONE,
    Neuron::Linear { a: -1.5, b: 0.25 },
    Neuron::Relu,
    Neuron::Brelu { a: 1.5 },
    Neuron::Softrelu,
    Neuron::Tanh { a: 1.75, b: 0.625 },
    Neuron::Logistic,
    Neuron::Abs,
    Neuron::Square,
    Neuron::Sqrt,
    Neuron::Log { a: 0.5 },
    Neuron::Drelu { a: 1.25 },
    Neuron::Leaky { a: 0.125 },
    Neuron::Elu { a: 0.75 },
    Neuron::Swish,
];

fn forward(neuron: Neuron, shape: Shape, in_place: bool) -> Case {
    let start = match neuron {
        Neuron::Sqrt => Start::Clipped(-0.1, 4.0, 0.0, 4.0),
        Neuron::Softrelu | Neuron::Logistic | Neuron::Elu { .. } | Neuron::Swish => Start::Uniform(-20.0, 20.0),
        Neuron::Log { a } => Start::Uniform(0.001 - a, 4.0),
        _ => Start::Clipped(-3.0, 3.0, -2.75, 2.75),
    };
    let y = if in_place { 0 } else { 1 };
    let magnitudes = each(y, move |k, i| {
        let (x, y) = (k.start[0][i], k.result[y][i]);
        match neuron {
            Neuron::Linear { a, b } => (a * x).abs() + b.abs(),
            // A sum's rounding is one of the logarithm's size or of 1.
            Neuron::Log { .. } => 1.0 + y.abs(),
            Neuron::Drelu { a } => x.abs() + (a * (x / a).tanh()).abs(),
            // A quotient of two tanh.
            Neuron::Elu { .. } => 2.0 * y.abs(),
            _ => y.abs(),
        }
    });
    Case::new(NeuronForward { neuron, x: 0, y }, [real(shape, start), unit(shape)], magnitudes)
}

/// The neuron's outputs, or inputs where its derivative takes those.
fn seen(neuron: Neuron) -> Start {
    match neuron {
        Neuron::Linear { .. } | Neuron::Abs | Neuron::Square | Neuron::Drelu { .. } => Start::Clipped(-2.0, 2.0, -1.75, 1.75),
        Neuron::Relu | Neuron::Nrelu => Start::Clipped(-1.0, 1.0, 0.0, 1.0),
        Neuron::Brelu { a } => Start::Clipped(-a, 2.0 * a, 0.0, a),
        Neuron::Softrelu => Start::Uniform(0.0, 5.0),
        Neuron::Tanh { a, .. } => Start::Uniform(-a, a),
        Neuron::Logistic => Start::Uniform(0.0, 1.0),
        Neuron::Sqrt => Start::Clipped(-0.1, 2.0, 0.0, 2.0),
        Neuron::Log { .. } => Start::Uniform(-1.0, 3.0),
        Neuron::Leaky { .. } => Start::Clipped(-1.0, 1.0, -0.75, 0.75),
        Neuron::Elu { a } => Start::Clipped(-a, a, -0.75 * a, 0.75 * a),
        Neuron::Swish => Start::Uniform(-20.0, 20.0),
    }
}

pub(super) fn backward(neuron: Neuron, shape: Shape, into: Write, in_place: bool) -> Case {
    let dx = if in_place { 1 } else { 2 };
    let magnitudes = each(dx, move |k, i| {
        let s = k.start[0][i];
        let slope = match neuron {
            Neuron::Linear { a, .. } => a.abs(),
            Neuron::Relu | Neuron::Nrelu | Neuron::Brelu { .. } | Neuron::Abs => 1.0,
            Neuron::Softrelu => 1.0 + (-s).exp(),
            Neuron::Tanh { a, b } => (a * b).abs() * (1.0 + (s / a) * (s / a)),
            Neuron::Logistic => s * (1.0 + s),
            Neuron::Square => 2.0 * s.abs(),
            Neuron::Log { .. } => (-s).exp() * (1.0 + s.abs()),
            // Twice: a square.
            Neuron::Drelu { a } => 2.0 * (s / a).tanh().powi(2),
            Neuron::Leaky { a } => a.max(1.0),
            Neuron::Elu { a } => s.abs() + a.max(1.0),
            Neuron::Swish => (1.0 + s.abs()) / (1.0 + (-s).exp()),
            Neuron::Sqrt if s > 0.0 => 0.5 / s,
            Neuron::Sqrt => 0.0,
        };
        k.start[1][i].abs() * slope + k.before[dx][i]
    });
    let linear = matches!(neuron, Neuron::Linear { .. });
    let op = NeuronBackward { neuron, seen: (!linear).then_some(0), dy: 1, dx: Target { at: dx, into }, db: None };
    Case::new(op, [real(shape, seen(neuron)), unit(shape), unit(shape)], magnitudes)
}

/// As [`backward`], with the gradient of biases.
fn summed(neuron: Neuron, shape: Shape, untied: bool, into: Write, in_place: bool) -> Case {
    let case = backward(neuron, shape, Write::Set, in_place);
    let Op::NeuronBackward(op) = case.op else { unreachable!("it is a neuron's gradient") };
    let biases = if untied { Shape { n: 1, ..shape } } else { vector(shape.c) };
    let (dx, db) = (op.dx.at, case.tensors.len());
    let magnitudes = by(move |k| {
        let mut sums = (case.magnitudes)(k)?;
        for (i, term) in sums[dx].clone().into_iter().enumerate() {
            let columns = sums[db].len();
            sums[db][i % columns] += term;
        }
        sums[db].iter_mut().zip(&k.before[db]).for_each(|(sum, before)| *sum += before);
        Ok(sums)
    });
    let op = NeuronBackward { db: Some(Target { at: db, into }), ..op };
    let case = Case::new(op, [&case.tensors[..], &[unit(biases)]].concat(), magnitudes);
    case.summing(shape.elements() / biases.elements()).note(if untied { "untied" } else { "" })
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for neuron in NEURONS {
        for (i, shape) in SHAPES.into_iter().enumerate() {
            all.extend([false, true].map(|in_place| forward(neuron, shape, in_place)));
            all.extend(WRITES.map(|into| backward(neuron, shape, into, false)));
            all.push(backward(neuron, shape, Write::Set, true));
            all.extend(WRITES.map(|into| summed(neuron, shape, i % 2 == 1, into, into == Write::Set)));
            // Some channels of larger tensors.
            let [before, after] = [[4, 8], [3, 5], [0, 1]][i % 3];
            all.push(forward(neuron, shape, false).with_gaps(&[1], before, after));
            all.push(forward(neuron, shape, i % 2 == 1).with_gaps(&[0, 1], before, after));
            all.push(backward(neuron, shape, WRITES[i % 2], false).with_gaps(&[2], before, after));
            all.push(backward(neuron, shape, WRITES[i % 2], i % 2 == 0).with_gaps(&[0, 1, 2], before, after));
            all.push(summed(neuron, shape, false, WRITES[i % 2], i % 2 == 0).with_gaps(&[0, 1], before, after));
        }
    }
    all
}
