//! Dropout.

use super::SHAPES;
use crate::device::Shape;
use crate::op::{Dropout, Target, Write};
use crate::verify::case::*;

pub(super) fn dropout(shape: Shape, layer: u32, keep: f64, factor: f64, into: Write, in_place: bool) -> Case {
    let y = Target { at: if in_place { 0 } else { 1 }, into };
    Case::new(Dropout { layer, keep, factor, x: 0, y }, [unit(shape); 2], linear(0))
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let (layer, keep) = (i as u32 * 7, [0.5, 0.7, 0.1, 1.0, 0.9][i]);
        all.push(dropout(shape, layer, keep, 1.0 / keep, Write::Set, false));
        all.push(dropout(shape, layer, keep, 1.0, Write::Set, true));
        all.push(dropout(shape, layer, 0.3, 1.0 / 0.3, Write::Add, false));
    }
    all
}
