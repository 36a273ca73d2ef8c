//! Norms: Σ x² of a gradient, the factor that clips all gradients to one norm, and each row of a weight matrix held to a norm.
//! Cost: one read of the tensor; of a row that is too long, one more and a write.

use super::elementwise::{map, sum_all, sum2};
use super::{Real, Workers};
use crate::device::Into;

/// Elements of rows that one thread takes at a time, about.
const PIECE: usize = 1 << 14;

/// sum ← Σ x², or sum += ….
pub(super) fn sum_squares<T: Real>(workers: &Workers, x: &[T], sum: &mut [T], into: Into) {
    let squares = sum_all(workers, x, x, |a, b| a * b);
    let before = if into == Into::Add { sum[0].f64() } else { 0.0 };
    sum[0] = T::of(before + squares);
}

/// factor ← min(1, limit/√sum). What is no number stays so, and shows.
pub(super) fn clip_factor<T: Real>(limit: f64, sum: &[T], factor: &mut [T]) {
    factor[0] = T::of(factor_of(limit, sum[0].f64().sqrt()));
}

fn factor_of(limit: f64, norm: f64) -> f64 {
    if norm <= limit { 1.0 } else { limit / norm }
}

/// Scales each row of `length` elements that is longer than the limit to it.
pub(super) fn limit_norms<T: Real>(workers: &Workers, limit: f64, length: usize, w: &mut [T]) {
    let length = length.max(1);
    let piece = (PIECE / length).max(1) * length;
    workers.pieces(w.len() / 2, piece, w, |_, w| {
        for row in w.chunks_exact_mut(length) {
            let factor = factor_of(limit, sum2(row, row, |a, b| a * b).sqrt());
            if factor != 1.0 {
                let factor = T::of(factor);
                map(row, |w| w * factor);
            }
        }
    });
}
