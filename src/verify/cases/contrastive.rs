//! The contrastive loss.

use super::super::operation::{
    COEFFICIENT, Call, Operand, Reference, Role, Start, input, integers, metrics, output, step_values, vector,
};
use super::super::table::{INTOS, OUTPUTS};
use crate::device::{Device, Into, Result, Shape, StepValues, Tensor};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
struct Contrastive {
    /// The backward pass, and how; else the forward pass.
    backward: Option<Into>,
    shape: Shape,
    images: usize,
    margin: f64,
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    for (shape, images) in OUTPUTS {
        // Vectors of n random elements are about √(2n/3) apart: most pairs within the margin, and most beyond.
        for share in [1.5, 0.75] {
            let margin = share * (shape.image() as f64).sqrt();
            for backward in [None, Some(INTOS[0]), Some(INTOS[1])] {
                all.push(Arc::new(Contrastive { backward, shape, images, margin }));
            }
        }
    }
    all
}

impl Contrastive {
    fn distance(&self, start: &[Vec<f64>], image: usize) -> f64 {
        let of = |v: &Vec<f64>| v[image * self.shape.image()..][..self.shape.image()].to_vec();
        of(&start[0]).iter().zip(of(&start[1])).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }
}

impl Call for Contrastive {
    fn name(&self) -> &'static str {
        if self.backward.is_some() { "contrastive_backward" } else { "contrastive_forward" }
    }

    fn geometry(&self) -> String {
        let added = if self.backward == Some(Into::Add) { " add" } else { "" };
        format!("{}/{} of {} margin {:.2}{added}", self.images, self.shape.n, self.shape, self.margin)
    }

    fn operands(&self) -> Vec<Operand> {
        let last = self.backward.map_or_else(metrics, |into| output(self.shape, into));
        vec![input(self.shape), input(self.shape), integers(vector(self.shape.n), Role::In, Start::Whole(2)), last]
    }

    fn step(&self, step: &mut StepValues) {
        step.images = self.images as u32;
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match self.backward {
            None => d.contrastive_forward(self.margin, t[0], t[1], t[2], t[3]),
            Some(into) => d.contrastive_backward(self.margin, t[0], t[1], t[2], COEFFICIENT, t[3], into),
        }
    }

    fn length(&self) -> usize {
        self.shape.image() + self.shape.n
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        let counted = self.images.min(self.shape.n);
        if self.backward.is_none() {
            let all: f64 = (0..counted).map(|i| 0.5 * (self.margin + self.distance(start, i)).powi(2)).sum();
            sums[3][0] = start[3][0] + all;
            return Ok(sums);
        }
        let factor = COEFFICIENT * step_values(self).gradient_scale;
        for (i, sum) in sums[3].iter_mut().enumerate() {
            let image = i / self.shape.image();
            let before = if start[3][i].is_nan() { 0.0 } else { start[3][i].abs() };
            let d = self.distance(start, image);
            let pull = if start[2][image] != 0.0 { 1.0 } else { (d + self.margin) / d };
            let value = factor * pull * (start[0][i].abs() + start[1][i].abs());
            *sum = before + if image < counted { value } else { 0.0 };
        }
        Ok(sums)
    }
}
