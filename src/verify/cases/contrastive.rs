//! The contrastive loss.

use super::{OUTPUTS, WRITES};
use crate::device::Shape;
use crate::op::{ContrastiveBackward, ContrastiveForward, Target};
use crate::verify::case::*;

/// How far the vectors of `size` elements that element `i` is in are apart.
fn distance(k: &Known<'_>, i: usize, size: usize) -> f64 {
    let [a, b] = [0, 1].map(|t| image(&k.start[t], i, size));
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn of(shape: Shape, images: usize, margin: f64) -> [Case; 3] {
    let (size, counted) = (shape.image(), images.min(shape.n));
    let pairs = |last| [unit(shape), unit(shape), integers(shape.n, Start::Whole(2)), last];
    let loss = filled(move |k, sums| {
        let losses = (0..counted).map(|pair| 0.5 * (margin + distance(k, pair * size, size)).powi(2));
        sums[3][0] = k.before[3][0] + losses.sum::<f64>();
    });
    let op = ContrastiveForward { margin, a: 0, b: 1, labels: 2, metrics: 3 };
    let forward = Case::new(op, pairs(metrics()), loss);
    let [set, add] = WRITES.map(|into| {
        let op = ContrastiveBackward { margin, coefficient: COEFFICIENT, a: 0, b: 1, labels: 2, da: Target { at: 3, into } };
        let gradient = each(3, move |k, i| {
            let d = distance(k, i, size);
            let pull = if k.start[2][i / size] != 0.0 { 1.0 } else { (d + margin) / d };
            let term = FACTOR * pull * (k.start[0][i].abs() + k.start[1][i].abs());
            k.before[3][i] + if i < counted * size { term } else { 0.0 }
        });
        Case::new(op, pairs(unit(shape)), gradient)
    });
    [forward, set, add].map(|case| case.summing(size + shape.n).counting(images))
}

pub(super) fn cases() -> Vec<Case> {
    // Vectors of n random elements are about √(2n/3) apart: most pairs within the margin, and most beyond.
    let margins = |shape: Shape| [1.5, 0.75].map(|share| share * (shape.image() as f64).sqrt());
    OUTPUTS.into_iter().flat_map(|(shape, images)| margins(shape).map(|margin| of(shape, images, margin))).flatten().collect()
}
