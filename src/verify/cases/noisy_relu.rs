//! Noisy relu.

use super::super::operation::{Call, Operand, Reference, Role, Start, UNIT, input, output, real};
use super::super::table::{INTOS, SHAPES};
use crate::device::{Device, Into, Result, Shape, Tensor};
use std::sync::Arc;

/// The largest |g|: √(−2·log 2⁻²⁴).
const LARGEST: f64 = 5.77;

#[derive(Debug)]
struct Forward {
    shape: Shape,
    layer: u32,
}

/// σ(x).
fn variance(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const X: Start = Start::Uniform(-4.0, 4.0);

impl Call for Forward {
    fn name(&self) -> &'static str {
        "noisy_relu_forward"
    }

    fn geometry(&self) -> String {
        format!("{} of {} layer {}", self.shape.n, self.shape, self.layer)
    }

    fn operands(&self) -> Vec<Operand> {
        vec![real(self.shape, Role::In, X), output(self.shape, Into::Set)]
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        d.noisy_relu_forward(self.layer, t[0], t[1])
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let sum = start[0].iter().map(|&x| x.abs() + variance(x).sqrt() * LARGEST);
        Ok(vec![Vec::new(), sum.collect()])
    }
}

#[derive(Debug)]
struct Backward {
    shape: Shape,
    layer: u32,
    into: Into,
    in_place: bool,
}

impl Call for Backward {
    fn name(&self) -> &'static str {
        "noisy_relu_backward"
    }

    fn geometry(&self) -> String {
        let add = if self.into == Into::Add { " add" } else { "" };
        let placed = if self.in_place { " in place" } else { "" };
        format!("{} of {} layer {}{add}{placed}", self.shape.n, self.shape, self.layer)
    }

    fn operands(&self) -> Vec<Operand> {
        let x = real(self.shape, Role::In, X);
        if self.in_place {
            vec![x, real(self.shape, Role::InOut, UNIT)]
        } else {
            vec![x, input(self.shape), output(self.shape, self.into)]
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        d.noisy_relu_backward(self.layer, t[0], t[1], t[t.len() - 1], self.into)
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let mut sums: Vec<Vec<f64>> = start.iter().map(|v| vec![0.0; v.len()]).collect();
        let dx = start.len() - 1;
        for (i, sum) in sums[dx].iter_mut().enumerate() {
            let before = if self.into == Into::Add { start[dx][i].abs() } else { 0.0 };
            let slope = 1.0 + 0.5 * LARGEST * variance(start[0][i]).sqrt();
            *sum = start[1][i].abs() * slope + before;
        }
        Ok(sums)
    }
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    for (shape, layer) in SHAPES.into_iter().zip([0, 3, 1, 7, 2]) {
        all.push(Arc::new(Forward { shape, layer }));
        for into in INTOS {
            all.push(Arc::new(Backward { shape, layer, into, in_place: false }));
        }
        all.push(Arc::new(Backward { shape, layer, into: Into::Set, in_place: true }));
    }
    all
}
