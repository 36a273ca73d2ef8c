//! Parametric relu.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{PreluBackward, PreluBackwardSlope, PreluForward, Target, Write};
use crate::verify::case::*;

fn of(shape: Shape, slopes: usize) -> Vec<Case> {
    let (x, slope) = (real(shape, Start::Clipped(-1.0, 1.0, -0.75, 0.75)), unit(vector(slopes)));
    let forward = |y| {
        let magnitudes = each(y, move |k, i| k.start[0][i].abs() * k.start[1][i % slopes].abs().max(1.0));
        Case::new(PreluForward { x: 0, slope: 1, y }, [x, slope, unit(shape)], magnitudes)
    };
    let backward = |at, into| {
        let op = PreluBackward { x: 0, slope: 1, dy: 2, dx: Target { at, into } };
        Case::new(op, [x, slope, unit(shape), unit(shape)], linear(1))
    };
    let backward_slope = |into| {
        let magnitudes = filled(move |k, sums| {
            sums[2].clone_from(&k.before[2]);
            let terms = k.start[0].iter().zip(&k.start[1]).map(|(x, dy)| (x.min(0.0) * dy).abs());
            terms.enumerate().for_each(|(i, term)| sums[2][i % slopes] += term);
        });
        let op = PreluBackwardSlope { x: 0, dy: 1, dslope: Target { at: 2, into } };
        Case::new(op, [x, unit(shape), slope], magnitudes).summing(shape.elements() / slopes)
    };
    let mut all = vec![forward(2), forward(0), backward(2, Write::Set)];
    all.extend(WRITES.map(|into| backward(3, into)));
    all.extend(WRITES.map(backward_slope));
    let note = if slopes == 1 { "one slope" } else { "" };
    all.into_iter().map(|case| case.note(note)).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let more = [Shape::new(2, 5, 5, 8), Shape::new(9, 24, 24, 20)];
    SHAPES.into_iter().chain(more).flat_map(|shape| [shape.c, 1].map(|slopes| of(shape, slopes))).flatten().collect()
}
