//! Softmax.

use super::{OUTPUTS, WRITES};
use crate::op::{SoftmaxBackward, SoftmaxForward, Target};
use crate::verify::case::*;

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (shape, _) in OUTPUTS {
        let size = shape.image();
        let forward = each(1, move |k, i| {
            let most = softmax(image(&k.start[0], i, size)).0;
            k.result[1][i] * (1.0 + most - k.start[0][i])
        });
        let x = real(shape, Start::Uniform(-9.0, 9.0));
        all.push(Case::new(SoftmaxForward { x: 0, y: 1 }, [x, unit(shape)], forward).summing(size));
        let y = real(shape, Start::Uniform(0.0, 2.0 / size as f64));
        all.extend(WRITES.map(|into| {
            let backward = each(2, move |k, i| {
                let [y, dy] = [0, 1].map(|t| image(&k.start[t], i, size));
                let mean: f64 = y.iter().zip(dy).map(|(y, dy)| (y * dy).abs()).sum();
                k.start[0][i].abs() * (k.start[1][i].abs() + mean) + k.before[2][i]
            });
            let op = SoftmaxBackward { y: 0, dy: 1, dx: Target { at: 2, into } };
            Case::new(op, [y, unit(shape), unit(shape)], backward).summing(size)
        }));
    }
    all
}
