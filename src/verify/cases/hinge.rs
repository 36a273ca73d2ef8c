//! Hinge losses. Scores are multiples of ¼, so that every device finds the same ones on the margin.

use super::{OUTPUTS, WRITES};
use crate::device::Shape;
use crate::op::{HingeBackward, HingeForward, HingeLoss, Target};
use crate::verify::case::*;

fn of(shape: Shape, images: usize, loss: HingeLoss) -> [Case; 3] {
    let x = real(shape, Start::Ties);
    // All terms have one sign, and the scores are exact.
    let size = filled(|k, sums| sums[2][0] = k.result[2][0]);
    let op = HingeForward { loss, x: 0, labels: 1, metrics: 2 };
    let forward = Case::new(op, [x, labels_of(shape), metrics()], size).summing(shape.elements());
    let [set, add] = WRITES.map(|into| {
        let op = HingeBackward { loss, coefficient: COEFFICIENT, x: 0, labels: 1, dx: Target { at: 2, into } };
        Case::new(op, [x, labels_of(shape), unit(shape)], rounded(2)).summing(shape.image())
    });
    [forward, set, add].map(|case| case.counting(images))
}

pub(super) fn cases() -> Vec<Case> {
    let kinds = [(false, false, 1.0), (false, true, 0.5), (true, false, 0.75), (true, true, 1.0)];
    let losses = kinds.map(|(one_vs_all, squared, margin)| HingeLoss { one_vs_all, squared, margin });
    OUTPUTS.into_iter().flat_map(|(shape, images)| losses.map(|loss| of(shape, images, loss))).flatten().collect()
}
