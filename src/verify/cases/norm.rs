//! Norms of gradients and weights.

use super::{SHAPES, WRITES};
use crate::op::{ClipFactor, LimitNorms, SumSquares, Target};
use crate::verify::case::*;

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in SHAPES {
        all.extend(WRITES.map(|into| {
            let op = SumSquares { x: 0, sum: Target { at: 1, into } };
            Case::new(op, [unit(shape), unit(vector(1))], linear(0)).summing(shape.elements())
        }));
        // Uniform numbers in ±1 have a norm of √(elements/3): rows far within the limit, about as long, all too long.
        let norm = (shape.image() as f64 / 3.0).sqrt();
        all.extend([2.0, 1.0, 0.1].map(|share| {
            let size = each(0, |k, i| k.result[0][i].abs());
            Case::new(LimitNorms { limit: norm * share, w: 0 }, [unit(shape)], size).summing(shape.image())
        }));
    }
    let sum = real(vector(1), Start::Uniform(0.5, 9.0));
    all.extend([1.0, 0.3, 100.0].map(|limit| Case::new(ClipFactor { limit, sum: 0, factor: 1 }, [sum, sum], rounded(1))));
    all
}
