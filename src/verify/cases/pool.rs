//! Pools.

use super::WRITES;
use crate::device::{PoolGeometry, Rounding, Window, output_size};
use crate::op::{Neuron, PoolBackward, PoolForward, PoolKind, Target, Write};
use crate::verify::case::*;

pub(super) const KINDS: [PoolKind; 3] = [PoolKind::Max, PoolKind::Avg, PoolKind::L2];

/// A pool of windows [rows, columns] that start `padding` before the image.
pub(super) fn pool(
    n: usize,
    image: [usize; 2],
    c: usize,
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    rounding: Rounding,
) -> Option<PoolGeometry> {
    let window = |i: usize| Window { size: size[i], stride: stride[i], padding: padding[i], dilation: 1 };
    let (p, q) = (output_size(image[0], window(0), rounding)?, output_size(image[1], window(1), rounding)?);
    let [n, c, p, q] = [n, c, p, q].map(|v| v as i32);
    let ([h, w], [size_h, size_w]) = (image.map(|v| v as i32), size.map(|v| v as i32));
    let ([stride_h, stride_w], [start_h, start_w]) = (stride.map(|v| v as i32), padding.map(|v| -(v as i32)));
    Some(PoolGeometry { n, h, w, c, p, q, size_h, size_w, stride_h, stride_w, start_h, start_w })
}

/// The pools of the table.
fn pools() -> Vec<PoolGeometry> {
    use Rounding::{Ceil, Floor};
    let table = [
        pool(1, [1, 1], 1, [1, 1], [1, 1], [0, 0], Floor),
        pool(2, [24, 24], 20, [2, 2], [2, 2], [0, 0], Floor),
        pool(2, [8, 8], 50, [2, 2], [2, 2], [0, 0], Ceil),
        // Overlapping; partial last windows; windows larger than the image; stride over size.
        pool(2, [13, 11], 7, [3, 3], [2, 2], [0, 0], Ceil),
        pool(2, [12, 10], 65, [3, 3], [2, 2], [0, 0], Ceil),
        pool(3, [6, 6], 64, [3, 3], [1, 1], [1, 1], Floor),
        pool(1, [3, 2], 5, [5, 5], [2, 2], [2, 2], Ceil),
        pool(2, [9, 10], 3, [2, 2], [3, 4], [0, 0], Ceil),
        pool(2, [7, 5], 4, [2, 3], [1, 2], [1, 0], Ceil),
        pool(2, [5, 5], 3, [2, 2], [1, 1], [0, 0], Floor),
        // The whole image; one channel; many.
        pool(2, [6, 6], 9, [6, 6], [1, 1], [0, 0], Floor),
        pool(1, [9, 9], 1, [3, 3], [3, 3], [0, 0], Floor),
        pool(1, [4, 4], 130, [3, 2], [2, 2], [0, 0], Ceil),
    ];
    let mut pools: Vec<_> = table.into_iter().flatten().collect();
    // cuda-convnet's start and outputs: the last window has no cell at all, and the first starts before the image.
    pools.push(PoolGeometry { p: 4, q: 3, ..pool(2, [5, 5], 3, [3, 3], [2, 2], [1, 1], Floor).unwrap_or(pools[0]) });
    // Windows that divide the image evenly: more cells than windows, fewer, as many; and rows of channels, as across maps.
    let even = |p, q, g: Option<PoolGeometry>| g.map(|g| PoolGeometry { p, q, stride_h: 0, stride_w: 0, ..g });
    pools.extend(even(4, 3, pool(2, [9, 7], 5, [4, 4], [1, 1], [0, 0], Floor)));
    pools.extend(even(4, 2, pool(2, [3, 2], 3, [2, 1], [1, 1], [0, 0], Floor)));
    pools.extend(even(1, 1, pool(3, [5, 6], 4, [5, 6], [1, 1], [0, 0], Floor)));
    pools.extend(pool(30, [1, 17], 1, [1, 3], [1, 2], [0, 0], Ceil));
    pools
}

pub(super) fn forward(geometry: PoolGeometry, kind: PoolKind) -> Case {
    let op = PoolForward { kind, geometry, x: 0, y: 1 };
    let tensors = [real(geometry.input(), Start::Ties), unit(geometry.output())];
    let magnitudes = if kind == PoolKind::Max { exact() } else { linear(0) };
    Case::new(op, tensors, magnitudes).summing((geometry.size_h * geometry.size_w) as usize)
}

pub(super) fn backward(geometry: PoolGeometry, kind: PoolKind, into: Write) -> Case {
    let (x, y) = (kind.gradient_reads_input().then_some(0), kind.gradient_reads_output().then_some(1));
    let op = PoolBackward { kind, geometry, neuron: Neuron::NONE, x, y, dy: 2, dx: Target { at: 3, into } };
    let y = geometry.output();
    let tensors = [real(geometry.input(), Start::Ties), real(y, Start::Uniform(-0.5, 2.0)), unit(y), unit(geometry.input())];
    // A maximum is where it is; a root's output is not below 0.
    let magnitudes = linear(if kind == PoolKind::L2 { 0 } else { 1 });
    Case::new(op, tensors, magnitudes).summing((geometry.size_h * geometry.size_w) as usize)
}

/// The gradient multiplied by the derivative of the relu that made the image.
fn backward_relu(geometry: PoolGeometry, kind: PoolKind, into: Write) -> Case {
    let y = kind.gradient_reads_output().then_some(1);
    let op = PoolBackward { kind, geometry, neuron: Neuron::Relu, x: Some(0), y, dy: 2, dx: Target { at: 3, into } };
    let case = backward(geometry, kind, into);
    let image = real(geometry.input(), Start::Clipped(-1.0, 1.0, 0.0, 1.0));
    Case::new(op, [&[image][..], &case.tensors[1..]].concat(), case.magnitudes).summing(case.length)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, g) in pools().into_iter().enumerate() {
        let [before, after] = [[16, 8], [3, 5], [0, 1]][i % 3];
        for kind in KINDS {
            all.push(forward(g, kind));
            all.extend(WRITES.map(|into| backward(g, kind, into)));
            all.extend(WRITES.map(|into| backward_relu(g, kind, into)));
            // Some channels of larger tensors.
            all.push(forward(g, kind).with_gaps(&[1], before, after));
            all.push(backward(g, kind, WRITES[i % 2]).with_gaps(&[1, 2], before, after));
            all.push(backward_relu(g, kind, WRITES[i % 2]).with_gaps(&[2], before, after));
        }
    }
    all
}
