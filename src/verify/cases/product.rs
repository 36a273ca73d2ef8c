//! Matrix products.

use super::FUSED;
use crate::device::{ProductGeometry, Shape};
use crate::op::{Neuron, Product, Target, Write};
use crate::verify::case::*;

/// [m, n, k].
const PRODUCTS: [[i32; 3]; 8] =
    [[1, 1, 1], [1, 10, 37], [3, 500, 800], [64, 10, 500], [17, 33, 65], [2, 1, 300], [65, 3, 2], [31, 32, 0]];

pub(super) fn product(geometry: ProductGeometry, bias: bool, neuron: Neuron, into: Write) -> Case {
    let ProductGeometry { m, n, k, transpose_a, transpose_b } = geometry;
    let matrix = |rows: i32, columns: i32| unit(Shape::new(rows as usize, 1, 1, columns as usize));
    let a = if transpose_a == 1 { matrix(k, m) } else { matrix(m, k) };
    let b = if transpose_b == 1 { matrix(n, k) } else { matrix(k, n) };
    let op = |neuron| Product { geometry, neuron, a: 0, b: 1, bias: bias.then_some(3), c: Target { at: 2, into } };
    let magnitudes = through(neuron, op(Neuron::NONE), 2);
    Case::new(op(neuron), [a, b, matrix(m, n), matrix(1, n)], magnitudes).summing(k as usize)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, [m, n, k]) in PRODUCTS.into_iter().enumerate() {
        for (transpose_a, transpose_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let g = ProductGeometry { m, n, k, transpose_a, transpose_b };
            all.push(product(g, i % 2 == 0, FUSED[i % FUSED.len()], Write::Set));
            all.push(product(g, false, Neuron::NONE, Write::Add));
        }
    }
    all
}
