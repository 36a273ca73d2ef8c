//! Batch normalisation.

use super::super::operation::{Call, Operand, Reference, Role, Start, UNIT, input, output, real, vector};
use super::super::table::INTOS;
use crate::device::{BatchNorm, Device, Into, Neuron, Op, Result, Shape, Tensor};
use std::sync::Arc;

const BATCH_NORM: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.125 };

/// The calls, of x of this shape.
#[derive(Clone, Copy, Debug)]
enum Pass {
    /// Numbers around `mean`: large beside their deviation, they would be lost if their squares were summed.
    Moments {
        mean: f64,
    },
    Running,
    Apply {
        affine: bool,
        neuron: Neuron,
        in_place: bool,
    },
    /// Which gradients are wanted: gamma's and beta's, x's.
    Backward {
        affine: bool,
        dx: bool,
        into: Into,
        in_place: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    pass: Pass,
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let shapes = [
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
    let neurons = [Neuron::NONE, Neuron::Relu, Neuron::Logistic];
    let mut all = Vec::new();
    for (i, shape) in shapes.into_iter().enumerate() {
        let affine = i % 3 != 1;
        all.extend([0.0, 1000.0].map(|mean| Case { shape, pass: Pass::Moments { mean } }));
        all.push(Case { shape, pass: Pass::Running });
        let neuron = neurons[i % neurons.len()];
        all.extend([false, true].map(|in_place| Case { shape, pass: Pass::Apply { affine, neuron, in_place } }));
        all.push(Case { shape, pass: Pass::Apply { affine: !affine, neuron: Neuron::NONE, in_place: false } });
        for into in INTOS {
            all.push(Case { shape, pass: Pass::Backward { affine, dx: true, into, in_place: false } });
        }
        all.push(Case { shape, pass: Pass::Backward { affine: true, dx: i % 2 == 0, into: Into::Set, in_place: i % 2 == 0 } });
    }
    all.into_iter().map(|case| Arc::new(case) as Arc<dyn Call>).collect()
}

impl Call for Case {
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Moments { .. } => "batch_norm_moments",
            Pass::Running => "batch_norm_running",
            Pass::Apply { .. } => "batch_norm_apply",
            Pass::Backward { .. } => "batch_norm_backward",
        }
    }

    fn geometry(&self) -> String {
        let text = match self.pass {
            Pass::Moments { mean } => format!(" around {mean}"),
            Pass::Running => String::new(),
            Pass::Apply { affine, neuron, in_place } => {
                let affine = if affine { " affine" } else { "" };
                format!("{affine} {neuron:?}{}", if in_place { " in place" } else { "" })
            }
            Pass::Backward { affine, dx, into, in_place } => {
                let affine = if affine { " affine" } else { "" };
                let dx = if dx { "" } else { " without dx" };
                let add = if into == Into::Add { " add" } else { "" };
                format!("{affine}{dx}{add}{}", if in_place { " in place" } else { "" })
            }
        };
        format!("{} of {}{text}", self.shape.n, self.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let (x, c) = (self.shape, vector(self.shape.c));
        let positive = |shape, role| real(shape, role, Start::Uniform(0.25, 2.0));
        match self.pass {
            Pass::Moments { mean } => vec![
                real(x, Role::In, Start::Uniform(mean - 1.0, mean + 1.0)),
                real(c, Role::InOut, UNIT),
                positive(c, Role::InOut),
                output(vector(2 * c.c), Into::Set),
            ],
            Pass::Running => vec![input(c), positive(c, Role::In), output(vector(2 * c.c), Into::Set)],
            Pass::Apply { affine, in_place, .. } => {
                let mut operands = vec![input(vector(2 * c.c))];
                operands.extend(affine.then(|| [input(c), input(c)]).into_iter().flatten());
                if in_place {
                    operands.push(real(x, Role::InOut, UNIT));
                } else {
                    operands.extend([input(x), output(x, Into::Set)]);
                }
                operands
            }
            Pass::Backward { affine, dx, into, in_place } => {
                let mut operands = vec![input(x), positive(vector(2 * c.c), Role::In)];
                operands.extend(affine.then(|| [input(c), output(c, into), output(c, into)]).into_iter().flatten());
                if in_place {
                    operands.push(real(x, Role::InOut, UNIT));
                } else {
                    operands.push(input(x));
                    operands.extend(dx.then(|| output(x, into)));
                }
                operands
            }
        }
    }

    fn op(&self) -> Option<Op> {
        matches!(self.pass, Pass::Moments { .. } | Pass::Backward { .. }).then_some(Op::BatchNorm(self.shape))
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], scratch: Tensor) -> Result<()> {
        let last = t[t.len() - 1];
        match self.pass {
            Pass::Moments { .. } => d.batch_norm_moments(&BATCH_NORM, t[0], t[1], t[2], t[3], scratch),
            Pass::Running => d.batch_norm_running(BATCH_NORM.epsilon, t[0], t[1], t[2]),
            Pass::Apply { affine, neuron, .. } => {
                let (pair, x) = if affine { (Some((t[1], t[2])), t[3]) } else { (None, t[1]) };
                d.batch_norm_apply(t[0], pair, neuron, x, last)
            }
            Pass::Backward { affine, dx, into, .. } => {
                let dx = dx.then_some((last, into));
                if !affine {
                    return d.batch_norm_backward(t[0], t[1], None, t[2], None, None, dx, scratch);
                }
                let (dgamma, dbeta) = (Some((t[3], into)), Some((t[4], into)));
                d.batch_norm_backward(t[0], t[1], Some(t[2]), t[5], dgamma, dbeta, dx, scratch)
            }
        }
    }

    fn length(&self) -> usize {
        match self.pass {
            Pass::Moments { .. } | Pass::Backward { .. } => self.shape.elements() / self.shape.c,
            Pass::Running | Pass::Apply { .. } => 1,
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let c = self.shape.c;
        let rows = (self.shape.elements() / c) as f64;
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        let before = |tensor: usize, i: usize| if start[tensor][i].is_nan() { 0.0 } else { start[tensor][i].abs() };
        match self.pass {
            // A difference from the mean is off by a unit of the mean; sums of squares would be off by a unit of its square.
            Pass::Moments { .. } => {
                let mut mean = vec![0.0; c];
                start[0].iter().enumerate().for_each(|(i, x)| mean[i % c] += x.abs() / rows);
                for i in 0..c {
                    sums[1][i] = start[1][i].abs() + mean[i];
                    let factor = 2.0 * (1.0 + mean[i] * result[3][c + i]);
                    sums[2][i] = factor * result[2][i] + start[2][i];
                    sums[3][i] = mean[i];
                    sums[3][c + i] = factor * result[3][c + i];
                }
            }
            Pass::Running => {
                for i in 0..c {
                    sums[2][c + i] = 2.0 * result[2][c + i];
                }
            }
            Pass::Apply { affine, .. } => {
                let y = result.len() - 1;
                let x = &start[if affine { 3 } else { 1 }];
                for (i, sum) in sums[y].iter_mut().enumerate() {
                    let (gamma, beta) = if affine { (start[1][i % c], start[2][i % c]) } else { (1.0, 0.0) };
                    let distance = x[i].abs() + start[0][i % c].abs();
                    *sum = distance * (start[0][c + i % c] * gamma).abs() + beta.abs() + result[y][i].abs();
                }
            }
            Pass::Backward { affine, dx, .. } => {
                let dy = if affine { 5 } else { 2 };
                let (mean, spread) = start[1].split_at(c);
                let distance = |i: usize| start[0][i].abs() + mean[i % c].abs();
                let (mut of_dy, mut products) = (vec![0.0; c], vec![0.0; c]);
                for (i, dy) in start[dy].iter().enumerate() {
                    of_dy[i % c] += dy.abs();
                    products[i % c] += dy.abs() * distance(i) * spread[i % c];
                }
                if affine {
                    for i in 0..c {
                        sums[3][i] = products[i] + before(3, i);
                        sums[4][i] = of_dy[i] + before(4, i);
                    }
                }
                if !dx {
                    return Ok(sums);
                }
                let to = result.len() - 1;
                for i in 0..self.shape.elements() {
                    let gamma = if affine { start[2][i % c].abs() } else { 1.0 };
                    let far = distance(i) * spread[i % c] * products[i % c];
                    let terms = start[dy][i].abs() + (of_dy[i % c] + far) / rows;
                    sums[to][i] = gamma * spread[i % c] * terms + if to == dy { 0.0 } else { before(to, i) };
                }
            }
        }
        Ok(sums)
    }
}
