//! Cross entropy against class probabilities.

use super::{OUTPUTS, WRITES};
use crate::device::Shape;
use crate::op::{SoftCrossEntropyBackward, SoftCrossEntropyForward, SoftCrossEntropyTargetBackward, Target};
use crate::verify::case::*;

pub(super) fn cases() -> Vec<Case> {
    OUTPUTS.into_iter().flat_map(|(shape, images)| [false, true].map(|softmax| of(shape, images, softmax))).flatten().collect()
}

fn of(shape: Shape, images: usize, softmaxed: bool) -> Vec<Case> {
    let (size, counted) = (shape.image(), images.min(shape.n) * shape.image());
    let x = real(shape, if softmaxed { Start::Uniform(-8.0, 8.0) } else { Start::Uniform(0.01, 1.0) });
    let target = real(shape, Start::Clipped(-0.5, 1.0, 0.0, 1.0));
    // A logarithm is exact to a unit of its own size or of 1.
    let loss = filled(move |k, sums| {
        let shares: f64 = k.start[1][..counted].iter().sum();
        sums[2][0] = k.before[2][0] + (k.result[2][0] - k.start[2][0]).abs() + shares;
    });
    // `terms` are those of a softmax, of how far x is below the largest of its image and of Σ eˣ.
    let gradient = |terms: fn(&Known<'_>, usize, f64, f64, usize) -> f64| {
        each(2, move |k, i| match softmaxed {
            _ if i >= counted => k.before[2][i],
            false => k.result[2][i].abs() + 2.0 * k.before[2][i],
            true => {
                let (most, total) = softmax(image(&k.start[0], i, size));
                k.before[2][i] + FACTOR * terms(k, i, most - k.start[0][i], total, size)
            }
        })
    };
    let forward_x = if softmaxed { x } else { real(shape, Start::Clipped(-0.1, 1.0, 0.0, 1.0)) };
    let op = SoftCrossEntropyForward { softmax: softmaxed, x: 0, target: 1, metrics: 2 };
    let mut all = vec![Case::new(op, [forward_x, target, metrics()], loss).summing(shape.elements())];
    for into in WRITES {
        let last = Target { at: 2, into };
        let op = SoftCrossEntropyBackward { softmax: softmaxed, coefficient: COEFFICIENT, x: 0, target: 1, dx: last };
        let magnitudes = gradient(|k, i, below, total, size| {
            let whole: f64 = image(&k.start[1], i, size).iter().sum();
            (-below).exp() / total * whole * (1.0 + below) + k.start[1][i]
        });
        all.push(Case::new(op, [x, target, unit(shape)], magnitudes).summing(size));
        let op = SoftCrossEntropyTargetBackward { softmax: softmaxed, coefficient: COEFFICIENT, x: 0, dt: last };
        let magnitudes = gradient(|_, _, below, total, _| 1.0 + total.ln() + below);
        all.push(Case::new(op, [x, unit(shape), unit(shape)], magnitudes).summing(size));
    }
    all.into_iter().map(|case| case.counting(images)).collect()
}
