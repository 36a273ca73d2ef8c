//! Noisy relu.

use super::{SHAPES, WRITES};
use crate::device::Shape;
use crate::op::{NoisyReluBackward, NoisyReluForward, Target, Write};
use crate::verify::case::*;

/// The largest |g|: √(−2·log 2⁻²⁴).
const LARGEST: f64 = 5.77;

const X: Start = Start::Uniform(-4.0, 4.0);

/// √σ(x), times the largest |g|.
fn noise(x: f64) -> f64 {
    LARGEST / (1.0 + (-x).exp()).sqrt()
}

fn backward(shape: Shape, layer: u32, dx: usize, into: Write) -> Case {
    let op = NoisyReluBackward { layer, x: 0, dy: 1, dx: Target { at: dx, into } };
    let magnitudes = each(dx, move |k, i| k.start[1][i].abs() * (1.0 + 0.5 * noise(k.start[0][i])) + k.before[dx][i]);
    Case::new(op, [real(shape, X), unit(shape), unit(shape)], magnitudes)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (shape, layer) in SHAPES.into_iter().zip([0, 3, 1, 7, 2]) {
        let magnitudes = each(1, |k, i| k.start[0][i].abs() + noise(k.start[0][i]));
        all.push(Case::new(NoisyReluForward { layer, x: 0, y: 1 }, [real(shape, X), unit(shape)], magnitudes));
        all.extend(WRITES.map(|into| backward(shape, layer, 2, into)));
        all.push(backward(shape, layer, 1, Write::Set));
    }
    all
}
