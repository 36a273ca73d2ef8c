//! Batch normalisation.

use super::WRITES;
use crate::device::Shape;
use crate::op::{BatchNorm, BatchNormApply, BatchNormBackward, BatchNormMoments, BatchNormRunning, Neuron, Target, Write};
use crate::verify::case::*;

const NORM: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.125 };
const POSITIVE: Start = Start::Uniform(0.25, 2.0);

const SIZES: [Shape; 8] = [
    // One number; one row; one column; columns by four and not; as wide as several blocks; several parts.
    Shape::new(1, 1, 1, 1),
    Shape::new(1, 1, 1, 6),
    Shape::new(2, 13, 11, 1),
    Shape::new(2, 3, 5, 4),
    Shape::new(3, 5, 4, 7),
    Shape::new(5, 1, 1, 140),
    Shape::new(4, 24, 24, 20),
    Shape::new(2, 17, 16, 67),
];

/// Of numbers around `mean`: large beside their deviation, they would be lost if their squares were summed.
fn moments(shape: Shape, mean: f64) -> Case {
    let (c, rows) = (shape.c, shape.elements() / shape.c);
    let op = BatchNormMoments { norm: NORM, x: 0, mean: 1, variance: 2, saved: 3 };
    let x = real(shape, Start::Uniform(mean - 1.0, mean + 1.0));
    // A difference from the mean is off by a unit of the mean; sums of squares would be off by a unit of its square.
    let magnitudes = filled(move |k, sums| {
        let mut mean = vec![0.0; c];
        k.start[0].iter().enumerate().for_each(|(i, x)| mean[i % c] += x.abs() / rows as f64);
        for i in 0..c {
            let factor = 2.0 * (1.0 + mean[i] * k.result[3][c + i]);
            sums[1][i] = k.before[1][i] + mean[i];
            sums[2][i] = k.before[2][i] + factor * k.result[2][i];
            sums[3][i] = mean[i];
            sums[3][c + i] = factor * k.result[3][c + i];
        }
    });
    let tensors = [x, unit(vector(c)), real(vector(c), POSITIVE), unit(vector(2 * c))];
    Case::new(op, tensors, magnitudes).summing(rows).note(format!("around {mean}"))
}

fn running(c: usize) -> Case {
    let op = BatchNormRunning { epsilon: NORM.epsilon, mean: 0, variance: 1, saved: 2 };
    let magnitudes = each(2, move |k, i| if i < c { 0.0 } else { 2.0 * k.result[2][i] });
    Case::new(op, [unit(vector(c)), real(vector(c), POSITIVE), unit(vector(2 * c))], magnitudes)
}

/// Into y: tensor 4, or in the place of x, tensor 0, or of the residual, tensor 5.
fn apply(shape: Shape, affine: bool, neuron: Neuron, residual: bool, y: usize) -> Case {
    let c = shape.c;
    let [gamma, beta] = [2, 3].map(|t| affine.then_some(t));
    let magnitudes = each(y, move |k, i| {
        let (gamma, beta) = if affine { (k.start[2][i % c], k.start[3][i % c]) } else { (1.0, 0.0) };
        let distance = k.start[0][i].abs() + k.start[1][i % c].abs();
        let residual = if residual { k.start[5][i].abs() } else { 0.0 };
        distance * (k.start[1][c + i % c] * gamma).abs() + beta.abs() + residual + k.result[y][i].abs()
    });
    let tensors = [shape, vector(2 * c), vector(c), vector(c), shape, shape].map(unit);
    let residual = residual.then_some(5);
    Case::new(BatchNormApply { neuron, saved: 1, gamma, beta, x: 0, residual, y }, tensors, magnitudes)
}

/// With gradients of gamma and beta where it is affine, and x's where `dx` says where that goes. With a relu, what is normalised
/// is exact in f32, so that no device has another sign.
fn backward(shape: Shape, affine: bool, neuron: Neuron, dx: Option<usize>, into: Write) -> Case {
    let (c, rows, relu) = (shape.c, shape.elements() / shape.c, neuron == Neuron::Relu);
    let [dgamma, dbeta] = [4, 5].map(|at| affine.then_some(Target { at, into }));
    let (gamma, beta) = (affine.then_some(2), (affine && relu).then_some(7));
    let to = dx.map(|at| Target { at, into });
    let op = BatchNormBackward { neuron, x: 0, saved: 1, gamma, beta, dy: 3, dgamma, dbeta, dx: to };
    let magnitudes = filled(move |k, sums| {
        let (mean, spread) = k.start[1].split_at(c);
        let gamma = |i: usize| if affine { k.start[2][i] } else { 1.0 };
        let beta = |i: usize| if affine { k.start[7][i] } else { 0.0 };
        let distance = |i: usize| k.start[0][i].abs() + mean[i % c].abs();
        let dy = |(i, dy): (usize, &f64)| {
            let y = (k.start[0][i] - mean[i % c]) * spread[i % c] * gamma(i % c) + beta(i % c);
            (i, if relu && y <= 0.0 { 0.0 } else { dy.abs() })
        };
        let (mut of_dy, mut products) = (vec![0.0; c], vec![0.0; c]);
        for (i, dy) in k.start[3].iter().enumerate().map(dy) {
            of_dy[i % c] += dy;
            products[i % c] += dy * distance(i) * spread[i % c].abs();
        }
        for i in 0..c {
            sums[4][i] = products[i] + k.before[4][i];
            sums[5][i] = of_dy[i] + k.before[5][i];
        }
        let Some(dx) = dx else { return };
        for (i, dy) in k.start[3].iter().enumerate().map(dy) {
            let far = distance(i) * spread[i % c].abs() * products[i % c];
            let terms = dy + (of_dy[i % c] + far) / rows as f64;
            sums[dx][i] = (gamma(i % c) * spread[i % c]).abs() * terms + k.before[dx][i];
        }
    });
    let [image, channels] = [shape, vector(c)].map(unit);
    let tied = |shape: Shape, start: Start| real(shape, if relu { Start::Ties } else { start });
    let [x, saved] = [tied(shape, UNIT), tied(vector(2 * c), POSITIVE)];
    let [gamma, beta] = [(); 2].map(|()| tied(vector(c), UNIT));
    Case::new(op, [x, saved, gamma, image, channels, channels, image, beta], magnitudes).summing(rows)
}

pub(super) fn cases() -> Vec<Case> {
    let neurons = [Neuron::NONE, Neuron::Relu, Neuron::Logistic];
    let mut all = Vec::new();
    for (i, shape) in SIZES.into_iter().enumerate() {
        let (affine, neuron) = (i % 3 != 1, neurons[i % neurons.len()]);
        all.extend([0.0, 1000.0].map(|mean| moments(shape, mean)));
        all.push(running(shape.c));
        all.extend([4, 0].map(|y| apply(shape, affine, neuron, false, y)));
        all.push(apply(shape, !affine, Neuron::NONE, false, 4));
        all.extend([4, 0, 5].map(|y| apply(shape, affine, neurons[(i + y) % neurons.len()], true, y)));
        all.extend(WRITES.map(|into| backward(shape, affine, Neuron::NONE, Some(6), into)));
        all.push(backward(shape, true, Neuron::NONE, [Some(3), None][i % 2], Write::Set));
        all.extend(WRITES.map(|into| backward(shape, affine, Neuron::Relu, Some(6), into)));
        all.push(backward(shape, !affine, Neuron::Relu, [None, Some(3)][i % 2], Write::Set));
        // Channels of larger tensors, on boundaries of four and not.
        let [before, after] = [[3, 2], [4, 8]][i % 2];
        let mut with_gaps = |case: Case, tensors: &[usize]| all.push(case.with_gaps(tensors, before, after));
        with_gaps(moments(shape, 1.0), &[0]);
        for tensors in [&[0][..], &[4], &[0, 4]] {
            with_gaps(apply(shape, affine, Neuron::Relu, false, 4), tensors);
        }
        with_gaps(apply(shape, !affine, neuron, false, 0), &[0]);
        with_gaps(apply(shape, affine, neuron, true, 4), &[0, 4, 5]);
        with_gaps(apply(shape, affine, Neuron::Relu, true, 5), &[5]);
        with_gaps(backward(shape, affine, Neuron::Relu, Some(6), Write::Add), &[0, 6]);
        with_gaps(backward(shape, !affine, Neuron::NONE, Some(6), Write::Set), &[0, 3, 6]);
        with_gaps(backward(shape, affine, Neuron::Relu, Some(3), Write::Set), &[3]);
    }
    all
}
