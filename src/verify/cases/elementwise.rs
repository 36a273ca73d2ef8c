//! Single passes over one tensor.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{Fill, MeanAbs, Scale, Target, Write};
use crate::verify::case::*;

fn scale(shape: Shape, at: usize, into: Write) -> Case {
    let op = |factor| Scale { factor, x: 0, y: Target { at, into } };
    Case::new(op(-1.25), [unit(shape); 2], absolute(op(1.25)))
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in SHAPES {
        all.extend(WRITES.map(|into| scale(shape, 1, into)));
        all.push(scale(shape, 0, Write::Set));
        all.push(Case::new(Fill { value: 0.375, x: 0 }, [unit(shape)], exact()));
        let mean = Case::new(MeanAbs { x: 0, mean: 1 }, [unit(shape), unit(vector(1))], linear(0));
        all.push(mean.summing(shape.elements()));
    }
    all
}
