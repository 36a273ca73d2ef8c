//! Locally connected layers.

use super::conv::{Bias, CONVS, Conv};
use super::{FUSED, WRITES};
use crate::device::ConvGeometry;
use crate::op::{LocalBackwardFilters, LocalBackwardImage, LocalForward, Neuron, Target, Write};
use crate::verify::case::*;

/// Beside the convolutions of few weights: more images than a tile has rows; grouped fully connected layers, one of them
/// with a sum that is worth splitting.
const MORE: [Conv; 4] = [
    Conv::new(70, [4, 3], 4, 8, [3, 2]).padding([1, 0]),
    Conv::new(9, [2, 2], 3, 36, [2, 1]),
    Conv::new(5, [3, 2], 6, 10, [3, 2]).groups(2),
    Conv::new(3, [1, 1], 600, 8, [1, 1]).groups(2),
];

/// Weights of a case, at most.
const WEIGHTS: usize = 30_000;

fn forward(geometry: ConvGeometry, bias: Bias, neuron: Neuron) -> Case {
    let op = |neuron| LocalForward { geometry, neuron, x: 0, w: 1, b: bias.operand(3), y: 2 };
    let y = geometry.output();
    let tensors = [unit(geometry.input()), unit(geometry.local_filters()), unit(y), bias.of(y)];
    let magnitudes = through(neuron, op(Neuron::NONE), 2);
    Case::new(op(neuron), tensors, magnitudes).summing(geometry.filters().image()).note(bias.note())
}

fn backward(geometry: ConvGeometry, into: Write) -> [Case; 2] {
    let [x, w, y] = [geometry.input(), geometry.local_filters(), geometry.output()].map(unit);
    let image = LocalBackwardImage { geometry, dy: 0, w: 1, dx: Target { at: 2, into } };
    let filters = LocalBackwardFilters { geometry, x: 0, dy: 1, dw: Target { at: 2, into } };
    [
        Case::new(image, [y, w, x], linear(0)).summing((geometry.r * geometry.s * geometry.k / geometry.groups) as usize),
        Case::new(filters, [x, y, w], linear(0)).summing(geometry.n as usize),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let convs = CONVS.iter().filter_map(|c| c.geometry()).filter(|g| g.local_filters().elements() <= WEIGHTS);
    let mut all = Vec::new();
    for (i, g) in convs.chain(MORE.iter().filter_map(|c| c.geometry())).enumerate() {
        all.push(forward(g, [Bias::Untied, Bias::None, Bias::Shared][i % 3], FUSED[i % FUSED.len()]));
        all.extend(WRITES.map(|into| backward(g, into)).into_iter().flatten());
    }
    all
}
