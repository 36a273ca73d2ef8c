//! The gradient of biases.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{BiasBackward, Target, Write};
use crate::verify::case::*;

pub(super) fn backward(dy: Shape, untied: bool, into: Write) -> Case {
    let db = if untied { Shape { n: 1, ..dy } } else { vector(dy.c) };
    let case = Case::new(BiasBackward { dy: 0, db: Target { at: 1, into } }, [unit(dy), unit(db)], linear(0));
    case.summing(dy.elements() / dy.c).note(if untied { "untied" } else { "" })
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for into in WRITES {
        all.extend(SHAPES.into_iter().flat_map(|dy| [false, true].map(|untied| backward(dy, untied, into))));
        let shapes = [Shape::new(9, 24, 24, 20), Shape::new(40, 5, 5, 130)];
        all.extend(shapes.map(|dy| backward(dy, false, into)));
        // Some channels of larger tensors.
        let gaps = shapes.into_iter().chain(SHAPES).zip([[4, 8], [3, 5], [0, 1]].into_iter().cycle());
        all.extend(gaps.map(|(dy, [before, after])| backward(dy, false, into).with_gaps(&[0], before, after)));
    }
    all
}
