//! Cross entropy against class probabilities.

use super::super::operation::{COEFFICIENT, Call, Operand, Reference, Role, Start, input, metrics, output, real, step_values};
use super::super::table::{INTOS, OUTPUTS};
use crate::device::{Device, Into, Result, Shape, StepValues, Tensor};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum What {
    Forward,
    Backward(Into),
    TargetBackward(Into),
}

#[derive(Clone, Copy, Debug)]
struct SoftCrossEntropy {
    what: What,
    shape: Shape,
    images: usize,
    softmax: bool,
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    for (shape, images) in OUTPUTS {
        for softmax in [false, true] {
            let [set, add] = INTOS;
            for what in
                [What::Forward, What::Backward(set), What::Backward(add), What::TargetBackward(set), What::TargetBackward(add)]
            {
                all.push(Arc::new(SoftCrossEntropy { what, shape, images, softmax }));
            }
        }
    }
    all
}

impl Call for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        match self.what {
            What::Forward => "soft_cross_entropy_forward",
            What::Backward(_) => "soft_cross_entropy_backward",
            What::TargetBackward(_) => "soft_cross_entropy_target_backward",
        }
    }

    fn geometry(&self) -> String {
        let softmax = if self.softmax { " softmax" } else { "" };
        let added = if matches!(self.what, What::Backward(Into::Add) | What::TargetBackward(Into::Add)) { " add" } else { "" };
        format!("{}/{} of {}{softmax}{added}", self.images, self.shape.n, self.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let outputs = match (self.softmax, self.what) {
            (true, _) => Start::Uniform(-8.0, 8.0),
            (false, What::Forward) => Start::Clipped(-0.1, 1.0, 0.0, 1.0),
            (false, _) => Start::Uniform(0.01, 1.0),
        };
        let (x, t) = (real(self.shape, Role::In, outputs), real(self.shape, Role::In, Start::Clipped(-0.5, 1.0, 0.0, 1.0)));
        match self.what {
            What::Forward => vec![x, t, metrics()],
            What::Backward(into) => vec![x, t, output(self.shape, into)],
            What::TargetBackward(into) => vec![x, input(self.shape), output(self.shape, into)],
        }
    }

    fn step(&self, step: &mut StepValues) {
        step.images = self.images as u32;
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match self.what {
            What::Forward => d.soft_cross_entropy_forward(self.softmax, t[0], t[1], t[2]),
            What::Backward(into) => d.soft_cross_entropy_backward(self.softmax, t[0], t[1], COEFFICIENT, t[2], into),
            What::TargetBackward(into) => d.soft_cross_entropy_target_backward(self.softmax, t[0], COEFFICIENT, t[2], into),
        }
    }

    fn length(&self) -> usize {
        match self.what {
            What::Forward => self.shape.elements(),
            _ => self.shape.image(),
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        let image = self.shape.image();
        let counted = self.images.min(self.shape.n) * image;
        if let What::Forward = self.what {
            // A logarithm is exact to a unit of its own size or of 1.
            let shares: f64 = start[1][..counted].iter().sum();
            sums[2][0] = start[2][0] + (result[2][0] - start[2][0]).abs() + shares;
            return Ok(sums);
        }
        let factor = COEFFICIENT * step_values(self).gradient_scale;
        for (i, sum) in sums[2].iter_mut().enumerate() {
            let before = if start[2][i].is_nan() { 0.0 } else { start[2][i].abs() };
            let x = &start[0][i / image * image..][..image];
            let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = x.iter().map(|x| (x - most).exp()).sum();
            let below = most - start[0][i];
            *sum = match (self.softmax, self.what) {
                _ if i >= counted => before,
                (false, _) => result[2][i].abs() + 2.0 * before,
                (true, What::TargetBackward(_)) => before + factor * (1.0 + total.ln() + below),
                (true, _) => {
                    let whole: f64 = start[1][i / image * image..][..image].iter().sum();
                    before + factor * ((-below).exp() / total * whole * (1.0 + below) + start[1][i])
                }
            };
        }
        Ok(sums)
    }
}
