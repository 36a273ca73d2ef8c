//! Two tensors merged element by element.

use super::super::operation::{Call, Operand, Reference, Role, Start, input, output, real};
use super::super::table::{INTOS, SHAPES};
use crate::device::{Device, Into, Merge, Result, Shape, Tensor};
use std::sync::Arc;

/// Where y is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Apart,
    OverA,
    OverB,
}

impl Place {
    const ALL: [Self; 3] = [Self::Apart, Self::OverA, Self::OverB];

    fn text(self) -> &'static str {
        ["", " over a", " over b"][self as usize]
    }

    /// a, b, and y where it is none of them.
    fn operands(self, a: Operand, b: Operand, y: Operand) -> Vec<Operand> {
        let written = |x: Operand| Operand { role: Role::InOut, ..x };
        match self {
            Self::Apart => vec![a, b, y],
            Self::OverA => vec![written(a), b],
            Self::OverB => vec![a, written(b)],
        }
    }

    /// The tensor that is y.
    fn y(self, t: &[Tensor]) -> Tensor {
        t[[2, 0, 1][self as usize]]
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Merge(Merge, Into),
    MaxForward(u32),
    MaxBackward(u32, Into),
}

#[derive(Clone, Copy, Debug)]
struct Merged {
    kind: Kind,
    shape: Shape,
    place: Place,
}

fn added(into: Into) -> &'static str {
    if into == Into::Add { " add" } else { "" }
}

impl Call for Merged {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Merge(..) => "merge",
            Kind::MaxForward(_) => "max_forward",
            Kind::MaxBackward(..) => "max_backward",
        }
    }

    fn geometry(&self) -> String {
        let what = match self.kind {
            Kind::Merge(Merge::Sum { a, b }, into) => format!("sum[{a},{b}]{}", added(into)),
            Kind::Merge(Merge::Product, into) => format!("product{}", added(into)),
            Kind::MaxForward(number) => format!("number {number}"),
            Kind::MaxBackward(number, into) => format!("number {number}{}", added(into)),
        };
        format!("{} of {} {what}{}", self.shape.n, self.shape, self.place.text())
    }

    fn operands(&self) -> Vec<Operand> {
        let shape = self.shape;
        match self.kind {
            Kind::Merge(_, into) => self.place.operands(input(shape), input(shape), output(shape, into)),
            Kind::MaxForward(number) => {
                let ties = real(shape, Role::In, Start::Ties);
                let mut operands = self.place.operands(ties, ties, output(shape, Into::Set));
                let role = if number == 1 { Role::Out } else { Role::InOut };
                operands.push(real(shape, role, Start::Whole(number)));
                operands
            }
            Kind::MaxBackward(_, into) => {
                self.place.operands(real(shape, Role::In, Start::Whole(3)), input(shape), output(shape, into))
            }
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        let y = self.place.y(t);
        match self.kind {
            Kind::Merge(merge, into) => d.merge(merge, t[0], t[1], y, into),
            Kind::MaxForward(number) => d.max_forward(number, t[0], t[1], y, t[t.len() - 1]),
            Kind::MaxBackward(number, into) => d.max_backward(number, t[0], t[1], y, into),
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let absolutes: Vec<Vec<f64>> = start.iter().map(|v| v.iter().map(|v| v.abs()).collect()).collect();
        match self.kind {
            Kind::Merge(Merge::Sum { a, b }, into) => {
                let kind = Kind::Merge(Merge::Sum { a: a.abs(), b: b.abs() }, into);
                reference(&Self { kind, ..*self }, &absolutes)
            }
            Kind::Merge(Merge::Product, _) | Kind::MaxBackward(_, Into::Add) => reference(self, &absolutes),
            Kind::MaxForward(_) | Kind::MaxBackward(_, Into::Set) => Ok(start.iter().map(|v| vec![0.0; v.len()]).collect()),
        }
    }
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all = Vec::new();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let sum = [(1.0, 1.0), (1.0, -0.75), (0.3, 0.7), (1.0, 1.0), (-2.0, 0.0)][i];
        for merge in [Merge::Sum { a: sum.0, b: sum.1 }, Merge::Product] {
            all.extend(Place::ALL.map(|place| Merged { kind: Kind::Merge(merge, Into::Set), shape, place }));
            all.push(Merged { kind: Kind::Merge(merge, Into::Add), shape, place: Place::Apart });
        }
        for place in Place::ALL {
            all.extend([1, 3].map(|number| Merged { kind: Kind::MaxForward(number), shape, place }));
        }
        all.extend(INTOS.map(|into| Merged { kind: Kind::MaxBackward(i as u32 % 3, into), shape, place: Place::Apart }));
        all.push(Merged { kind: Kind::MaxBackward(1, Into::Set), shape, place: Place::OverB });
    }
    all.into_iter().map(|merged| Arc::new(merged) as Arc<dyn Call>).collect()
}
