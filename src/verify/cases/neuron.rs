//! Neurons.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{Neuron, NeuronBackward, NeuronForward, Op, Target, Write, neuron_table};
use crate::verify::case::*;

macro_rules! tried {
    ($(
        $name:ident $text:literal $([$($p:ident: $of:literal, $check:tt $(= $default:tt)?);*])? $formula:literal $sees:ident
        $compute:tt { [$($tried:expr),*], $x:expr, $seen:expr, $y:expr, $slope:expr }
    )*) => {
        /// The neurons that are tried.
        pub(super) fn neurons() -> Vec<Neuron> {
            vec![$($($tried,)*)*]
        }

        /// Where x is drawn from.
        #[allow(unused_variables)]
        fn start(neuron: Neuron) -> Start {
            match neuron {
                $(Neuron::$name { $($($p),*)? } => $x,)*
            }
        }

        /// Where the neuron's outputs, or inputs where its derivative takes those, are drawn from.
        #[allow(unused_variables)]
        fn seen(neuron: Neuron) -> Start {
            match neuron {
                $(Neuron::$name { $($($p),*)? } => $seen,)*
            }
        }

        /// What bounds the error of y.
        #[allow(unused_variables)]
        fn magnitude(neuron: Neuron, x: f64, y: f64) -> f64 {
            fn of(f: impl Fn(f64, f64) -> f64, x: f64, y: f64) -> f64 {
                f(x, y)
            }
            match neuron {
                $(Neuron::$name { $($($p),*)? } => of($y, x, y),)*
            }
        }

        /// What bounds the error of the derivative.
        #[allow(unused_variables)]
        fn slope(neuron: Neuron, seen: f64) -> f64 {
            fn of(f: impl Fn(f64) -> f64, seen: f64) -> f64 {
                f(seen)
            }
            match neuron {
                $(Neuron::$name { $($($p),*)? } => of($slope, seen),)*
            }
        }
    };
}
neuron_table!(tried);

fn forward(neuron: Neuron, shape: Shape, in_place: bool) -> Case {
    let y = if in_place { 0 } else { 1 };
    let magnitudes = each(y, move |k, i| magnitude(neuron, k.start[0][i], k.result[y][i]));
    Case::new(NeuronForward { neuron, x: 0, y }, [real(shape, start(neuron)), unit(shape)], magnitudes)
}

pub(super) fn backward(neuron: Neuron, shape: Shape, into: Write, in_place: bool) -> Case {
    let dx = if in_place { 1 } else { 2 };
    let magnitudes = each(dx, move |k, i| k.start[1][i].abs() * slope(neuron, k.start[0][i]) + k.before[dx][i]);
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
    for neuron in neurons() {
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
