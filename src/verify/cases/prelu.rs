//! Parametric relu.

use super::super::operation::{Call, Operand, Reference, Role, Start, UNIT, input, output, real, vector};
use super::super::table::{INTOS, SHAPES};
use crate::device::{Device, Into, Op, Result, Shape, Tensor};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Forward,
    Backward(Into),
    Slope(Into),
}

#[derive(Debug)]
struct Prelu {
    what: What,
    shape: Shape,
    shared: bool,
    in_place: bool,
}

impl Prelu {
    fn slopes(&self) -> Shape {
        vector(if self.shared { 1 } else { self.shape.c })
    }
}

impl Call for Prelu {
    fn name(&self) -> &'static str {
        match self.what {
            What::Forward => "prelu_forward",
            What::Backward(_) => "prelu_backward",
            What::Slope(_) => "prelu_backward_slope",
        }
    }

    fn geometry(&self) -> String {
        let add = if matches!(self.what, What::Backward(Into::Add) | What::Slope(Into::Add)) { " add" } else { "" };
        let shared = if self.shared { " shared" } else { "" };
        let placed = if self.in_place { " in place" } else { "" };
        format!("{} of {}{shared}{add}{placed}", self.shape.n, self.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let (x, slope) = (real(self.shape, Role::In, Start::Clipped(-1.0, 1.0, -0.75, 0.75)), input(self.slopes()));
        match self.what {
            What::Forward if self.in_place => vec![slope, Operand { role: Role::InOut, ..x }],
            What::Forward => vec![slope, x, output(self.shape, Into::Set)],
            What::Backward(_) if self.in_place => vec![x, slope, real(self.shape, Role::InOut, UNIT)],
            What::Backward(into) => vec![x, slope, input(self.shape), output(self.shape, into)],
            What::Slope(into) => vec![x, input(self.shape), output(self.slopes(), into)],
        }
    }

    fn op(&self) -> Option<Op> {
        matches!(self.what, What::Slope(_)).then(|| Op::PreluBackwardSlope(self.shape, self.slopes()))
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], scratch: Tensor) -> Result<()> {
        let last = t[t.len() - 1];
        match self.what {
            What::Forward => d.prelu_forward(t[1], t[0], last),
            What::Backward(into) => d.prelu_backward(t[0], t[1], t[2], last, into),
            What::Slope(into) => d.prelu_backward_slope(t[0], t[1], last, into, scratch),
        }
    }

    fn length(&self) -> usize {
        if matches!(self.what, What::Slope(_)) { self.shape.elements() / self.slopes().c } else { 1 }
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        // What decides is x's sign, so it keeps it, but where its size is summed up.
        let x = usize::from(self.what == What::Forward);
        let absolute = |(i, v): (usize, &Vec<f64>)| -> Vec<f64> {
            let keep = i == x && matches!(self.what, What::Backward(_));
            v.iter().map(|v| if keep { *v } else { v.abs() }).collect()
        };
        let mut values: Vec<Vec<f64>> = start.iter().enumerate().map(absolute).collect();
        if matches!(self.what, What::Slope(_)) {
            // Σ |min(0, x)·dy|: with −|dy| where x is not above 0, every term is positive.
            values[0] = start[0].iter().map(|x| x.min(0.0)).collect();
            values[1].iter_mut().for_each(|dy| *dy = -*dy);
        }
        if self.what == What::Forward {
            let slope = |i: usize| start[0][i % start[0].len()].abs().max(1.0);
            values[1] = start[1].iter().enumerate().map(|(i, x)| x.abs() * slope(i)).collect();
        }
        reference(self, &values)
    }
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    let mut add = |what, shape, shared, in_place| all.push(Arc::new(Prelu { what, shape, shared, in_place }));
    let more = [Shape::new(2, 5, 5, 8), Shape::new(9, 24, 24, 20)];
    for shape in SHAPES.into_iter().chain(more) {
        for shared in [false, true] {
            add(What::Forward, shape, shared, false);
            add(What::Forward, shape, shared, true);
            INTOS.into_iter().for_each(|into| add(What::Backward(into), shape, shared, false));
            add(What::Backward(Into::Set), shape, shared, true);
            INTOS.into_iter().for_each(|into| add(What::Slope(into), shape, shared, false));
        }
    }
    all
}
