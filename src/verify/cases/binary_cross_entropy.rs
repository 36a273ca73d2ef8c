//! Binary cross entropy, and what is counted of detections.

use super::super::operation::{
    COEFFICIENT, Call, Operand, Reference, Role, Start, input, metrics, output, real, step_values, vector,
};
use super::super::table::{INTOS, OUTPUTS};
use crate::device::{Binary, Device, Into, Result, Shape, StepValues, Tensor};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum What {
    Forward,
    Backward(Into),
    TargetBackward(Into),
    Count,
}

#[derive(Clone, Copy, Debug)]
struct BinaryCrossEntropy {
    what: What,
    shape: Shape,
    images: usize,
    binary: Binary,
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    let larger = (Shape::new(2, 31, 33, 5), 2); // several blocks, and elements that are no multiple of 4
    for (shape, images) in OUTPUTS.into_iter().chain([larger]) {
        let [set, add] = INTOS;
        for (logistic, positive_weight) in [(true, 1.0), (true, 2.5), (false, 1.5)] {
            let binary = Binary { logistic, positive_weight };
            let whats = [
                What::Forward,
                What::Backward(set),
                What::Backward(add),
                What::TargetBackward(set),
                What::TargetBackward(add),
                What::Count,
            ];
            for what in whats {
                all.push(Arc::new(BinaryCrossEntropy { what, shape, images, binary }));
            }
        }
    }
    all
}

impl Call for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        match self.what {
            What::Forward => "binary_cross_entropy_forward",
            What::Backward(_) => "binary_cross_entropy_backward",
            What::TargetBackward(_) => "binary_cross_entropy_target_backward",
            What::Count => "count_detections",
        }
    }

    fn geometry(&self) -> String {
        let Binary { logistic, positive_weight } = self.binary;
        let logistic = if logistic { " logistic" } else { "" };
        let added = if matches!(self.what, What::Backward(Into::Add) | What::TargetBackward(Into::Add)) { " add" } else { "" };
        format!("{}/{} of {}{logistic} weight {positive_weight}{added}", self.images, self.shape.n, self.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let outputs = match (self.binary.logistic, self.what) {
            (true, _) => Start::Uniform(-12.0, 12.0),
            (false, What::Forward) => Start::Clipped(-0.1, 1.1, 0.0, 1.0),
            (false, _) => Start::Uniform(0.01, 0.99),
        };
        let (x, t) = (real(self.shape, Role::In, outputs), real(self.shape, Role::In, Start::Clipped(-0.5, 1.5, 0.0, 1.0)));
        match self.what {
            What::Forward => vec![x, t, metrics()],
            What::Backward(into) => vec![x, t, output(self.shape, into)],
            What::TargetBackward(into) => vec![x, input(self.shape), output(self.shape, into)],
            What::Count => vec![x, t, real(vector(3 * self.shape.image()), Role::InOut, Start::Whole(9))],
        }
    }

    fn step(&self, step: &mut StepValues) {
        step.images = self.images as u32;
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match self.what {
            What::Forward => d.binary_cross_entropy_forward(self.binary, t[0], t[1], t[2]),
            What::Backward(into) => d.binary_cross_entropy_backward(self.binary, t[0], t[1], COEFFICIENT, t[2], into),
            What::TargetBackward(into) => d.binary_cross_entropy_target_backward(self.binary, t[0], COEFFICIENT, t[2], into),
            What::Count => d.count_detections(self.binary, t[0], t[1], t[2]),
        }
    }

    fn length(&self) -> usize {
        match self.what {
            What::Forward => self.shape.elements(),
            _ => 1,
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        let counted = self.images.min(self.shape.n) * self.shape.image();
        let weight = self.binary.positive_weight;
        match self.what {
            What::Count => {}
            What::Forward => {
                // A logarithm of what is near 1 is exact to a unit of 1; so is 1 − p.
                sums[2][0] = start[2][0] + (result[2][0] - start[2][0]).abs() + counted as f64 * (1.0 + weight);
                sums[2][1] = result[2][1];
            }
            What::Backward(_) | What::TargetBackward(_) => {
                let factor = COEFFICIENT * step_values(self).gradient_scale;
                for (i, sum) in sums[2].iter_mut().enumerate() {
                    let before = if start[2][i].is_nan() { 0.0 } else { start[2][i].abs() };
                    let (x, t) = (start[0][i], start[1][i]);
                    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
                    let p = if self.binary.logistic { logistic(x) } else { x };
                    let terms = match self.what {
                        _ if i >= counted => 0.0,
                        What::TargetBackward(_) => weight * (1.0 - p.ln()) + (1.0 - (1.0 - p).ln()),
                        _ if self.binary.logistic => (1.0 - t) * logistic(x) + weight * t * logistic(-x),
                        _ => (1.0 - t) / (1.0 - p) + weight * t / p,
                    };
                    *sum = before + factor * terms;
                }
            }
        }
        Ok(sums)
    }
}
