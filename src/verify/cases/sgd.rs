//! The update of parameters.

use super::SHAPES;
use crate::device::Shape;
use crate::op::{SgdUpdate, Update};
use crate::verify::case::*;

fn sgd(shape: Shape, update: Update, learning_rate: f64, clipped: bool) -> Case {
    let op = |update| SgdUpdate { update, w: 0, g: 1, v: 2, factor: clipped.then_some(3) };
    let tensors = [unit(shape), unit(shape), unit(shape), real(vector(1), Start::Uniform(0.1, 1.0))];
    // Up the gradient, every term is added.
    let mut case = Case::new(op(update), tensors, absolute(op(Update { rate: -update.rate, ..update })));
    case.step.learning_rate = learning_rate;
    case
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let update = Update::new([1.0, 2.0, 0.0, 1.0, 0.5][i], [0.0, 0.0005, 0.1, 0.01, 0.0][i]);
        let other = Update { l1_decay: 0.002, momentum: [None, Some(0.5)][i % 2], nesterov: i > 0, ..update };
        all.extend([sgd(shape, update, 0.1, false), sgd(shape, other, 0.05, false)]);
        all.push(sgd(shape, Update::new(1.0, 0.01), 0.1, true));
    }
    all
}
