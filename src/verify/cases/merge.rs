//! Two tensors merged element by element.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{MaxBackward, MaxForward, Merge, Merging, Target, Write};
use crate::verify::case::*;

/// The tensor that y is: one of its own, a or b; and what the text says of that.
const PLACES: [(usize, &str); 3] = [(2, ""), (0, "of a"), (1, "of b")];

fn merge(shape: Shape, how: Merging, at: usize, into: Write) -> Case {
    let op = |how| Merge { how, a: 0, b: 1, y: Target { at, into } };
    let magnitudes = match how {
        Merging::Sum { a, b } => absolute(op(Merging::Sum { a: a.abs(), b: b.abs() })),
        Merging::Product => linear(0),
    };
    Case::new(op(how), [unit(shape); 3], magnitudes)
}

fn max_forward(shape: Shape, number: u32, y: usize) -> Case {
    let into = if number == 1 { Write::Set } else { Write::Add };
    let (x, which) = (real(shape, Start::Ties), real(shape, Start::Whole(number)));
    Case::new(MaxForward { number, a: 0, b: 1, y, which: Target { at: 3, into } }, [x, x, unit(shape), which], exact())
}

fn max_backward(shape: Shape, number: u32, at: usize, into: Write) -> Case {
    let op = MaxBackward { number, which: 0, dy: 1, dx: Target { at, into } };
    Case::new(op, [real(shape, Start::Whole(3)), unit(shape), unit(shape)], moved(into))
}

pub(super) fn cases() -> Vec<Case> {
    let sums = [(1.0, 1.0), (1.0, -0.75), (0.3, 0.7), (1.0, 1.0), (-2.0, 0.0)].map(|(a, b)| Merging::Sum { a, b });
    let mut all = Vec::new();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        for how in [sums[i], Merging::Product] {
            all.extend(PLACES.map(|(y, note)| merge(shape, how, y, Write::Set).note(note)));
            all.push(merge(shape, how, 2, Write::Add));
        }
        for (y, note) in PLACES {
            all.extend([1, 3].map(|number| max_forward(shape, number, y).note(note)));
        }
        all.extend(WRITES.map(|into| max_backward(shape, i as u32 % 3, 2, into)));
        all.push(max_backward(shape, 1, 1, Write::Set));
    }
    all
}
