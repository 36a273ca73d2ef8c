//! DropConnect.

use super::WRITES;
use crate::device::Shape;
use crate::op::{DropConnect, DropConnectBackwardInput, DropConnectBackwardWeights, DropConnectForward, Target, Write};
use crate::verify::case::*;

/// Images, outputs, inputs: one of everything; rows of weights that begin anywhere in a block of four; more than a warp and
/// than 64 masks.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [3, 5, 7], [9, 6, 40], [2, 3, 333], [17, 33, 12]];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, [images, outputs, inputs]) in SIZES.into_iter().enumerate() {
        let masks = DropConnect { stream: i as u32 * 9, keep: [0.5, 0.7, 0.1, 1.0, 0.9][i] };
        let matrix = |rows, columns| unit(Shape::new(rows, 1, 1, columns));
        let (x, w, y) = (matrix(images, inputs), matrix(outputs, inputs), matrix(images, outputs));
        for into in WRITES {
            let last = Target { at: 2, into };
            let forward = DropConnectForward { masks, x: 0, w: 1, b: (into == Write::Set).then_some(3), y: last };
            let input = DropConnectBackwardInput { masks, dy: 0, w: 1, dx: last };
            let weights = DropConnectBackwardWeights { masks, x: 0, dy: 1, dw: last };
            all.push(Case::new(forward, [x, w, y, matrix(1, outputs)], linear(0)).summing(inputs));
            all.push(Case::new(input, [y, w, x], linear(0)).summing(outputs));
            all.push(Case::new(weights, [x, y, w], linear(0)).summing(images));
        }
    }
    all
}
