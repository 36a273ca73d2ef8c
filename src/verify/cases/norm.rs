//! Norms of gradients and weights, and the update of a clipped gradient.

use crate::device::{Device, Into, Result, Shape, StepValues, Tensor, Update};
use crate::verify::operation::{Call, Operand, Reference, Role, Start, input, output, real, vector};
use crate::verify::table::{INTOS, SHAPES};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Norm {
    SumSquares { shape: Shape, into: Into },
    ClipFactor { limit: f64 },
    LimitNorms { shape: Shape, limit: f64 },
    Update { shape: Shape, learning_rate: f64 },
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all = Vec::new();
    for shape in SHAPES {
        all.extend(INTOS.map(|into| Norm::SumSquares { shape, into }));
        // Uniform numbers in ±1 have a norm of √(elements/3): rows far within the limit, about as long, all too long.
        let norm = (shape.image() as f64 / 3.0).sqrt();
        all.extend([2.0, 1.0, 0.1].map(|share| Norm::LimitNorms { shape, limit: norm * share }));
        all.push(Norm::Update { shape, learning_rate: 0.1 });
    }
    all.extend([1.0, 0.3, 100.0].map(|limit| Norm::ClipFactor { limit }));
    all.into_iter().map(|call| Arc::new(call) as Arc<dyn Call>).collect()
}

impl Call for Norm {
    fn name(&self) -> &'static str {
        match self {
            Self::SumSquares { .. } => "sum_squares",
            Self::ClipFactor { .. } => "clip_factor",
            Self::LimitNorms { .. } => "limit_norms",
            Self::Update { .. } => "sgd_update",
        }
    }

    fn geometry(&self) -> String {
        match *self {
            Self::SumSquares { shape, into } => {
                format!("{} of {shape}{}", shape.n, if into == Into::Add { " add" } else { "" })
            }
            Self::ClipFactor { limit } => format!("to {limit}"),
            Self::LimitNorms { shape, limit } => format!("{} of {shape} to {limit}", shape.n),
            Self::Update { shape, learning_rate } => format!("{} of {shape} rate {learning_rate} clipped", shape.n),
        }
    }

    fn operands(&self) -> Vec<Operand> {
        let one = vector(1);
        match *self {
            Self::SumSquares { shape, into } => vec![input(shape), output(one, into)],
            Self::ClipFactor { .. } => vec![real(one, Role::In, Start::Uniform(0.5, 9.0)), output(one, Into::Set)],
            Self::LimitNorms { shape, .. } => vec![output(shape, Into::Add)],
            Self::Update { shape, .. } => {
                let factor = real(one, Role::In, Start::Uniform(0.1, 1.0));
                vec![output(shape, Into::Add), input(shape), output(shape, Into::Add), factor]
            }
        }
    }

    fn step(&self, step: &mut StepValues) {
        if let Self::Update { learning_rate, .. } = *self {
            step.learning_rate = learning_rate;
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match *self {
            Self::SumSquares { into, .. } => d.sum_squares(t[0], t[1], into),
            Self::ClipFactor { limit } => d.clip_factor(limit, t[0], t[1]),
            Self::LimitNorms { limit, .. } => d.limit_norms(limit, t[0]),
            Self::Update { .. } => d.sgd_update(&Update::new(1.0, 0.01), t[0], t[1], t[2], Some(t[3])),
        }
    }

    fn length(&self) -> usize {
        match *self {
            Self::SumSquares { shape, .. } => shape.elements(),
            Self::LimitNorms { shape, .. } => shape.image(),
            Self::ClipFactor { .. } | Self::Update { .. } => 1,
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let absolutes =
            |values: &[Vec<f64>]| values.iter().map(|v| v.iter().map(|v| v.abs()).collect()).collect::<Vec<Vec<f64>>>();
        match *self {
            Self::SumSquares { .. } => reference(self, &absolutes(start)),
            // A factor and what it scales are a few roundings from their value.
            Self::ClipFactor { .. } | Self::LimitNorms { .. } => Ok(absolutes(result)),
            Self::Update { shape, learning_rate } => {
                reference(&Self::Update { shape, learning_rate: -learning_rate }, &absolutes(start))
            }
        }
    }
}
