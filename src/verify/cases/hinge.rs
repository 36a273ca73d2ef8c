//! Hinge losses. Scores are multiples of ¼, so that every device finds the same ones on the margin.

use super::super::operation::{COEFFICIENT, Call, Operand, Reference, Role, Start, labels_of, metrics, output, real};
use super::super::table::{INTOS, OUTPUTS};
use crate::device::{Device, Hinge, Into, Result, Shape, StepValues, Tensor};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
struct OfScores {
    /// The backward pass, and how; else the forward pass.
    backward: Option<Into>,
    shape: Shape,
    images: usize,
    hinge: Hinge,
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    for (shape, images) in OUTPUTS {
        for (one_vs_all, squared, margin) in [(false, false, 1.0), (false, true, 0.5), (true, false, 0.75), (true, true, 1.0)] {
            let hinge = Hinge { one_vs_all, squared, margin };
            for backward in [None, Some(INTOS[0]), Some(INTOS[1])] {
                all.push(Arc::new(OfScores { backward, shape, images, hinge }));
            }
        }
    }
    all
}

impl Call for OfScores {
    fn name(&self) -> &'static str {
        if self.backward.is_some() { "hinge_backward" } else { "hinge_forward" }
    }

    fn geometry(&self) -> String {
        let Hinge { one_vs_all, squared, margin } = self.hinge;
        let kind = if one_vs_all { "one-vs-all" } else { "multi-class" };
        let squared = if squared { " squared" } else { "" };
        let added = if self.backward == Some(Into::Add) { " add" } else { "" };
        format!("{}/{} of {} {kind}{squared} margin {margin}{added}", self.images, self.shape.n, self.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let last = self.backward.map_or_else(metrics, |into| output(self.shape, into));
        vec![real(self.shape, Role::In, Start::Ties), labels_of(self.shape), last]
    }

    fn step(&self, step: &mut StepValues) {
        step.images = self.images as u32;
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match self.backward {
            None => d.hinge_forward(self.hinge, t[0], t[1], t[2]),
            Some(into) => d.hinge_backward(self.hinge, t[0], t[1], COEFFICIENT, t[2], into),
        }
    }

    fn length(&self) -> usize {
        if self.backward.is_some() { self.shape.image() } else { self.shape.elements() }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        if self.backward.is_none() {
            // All terms have one sign, and the scores are exact.
            sums[2][0] = result[2][0];
            return Ok(sums);
        }
        for (i, sum) in sums[2].iter_mut().enumerate() {
            let before = if start[2][i].is_nan() { 0.0 } else { start[2][i].abs() };
            *sum = result[2][i].abs() + 2.0 * before;
        }
        Ok(sums)
    }
}
