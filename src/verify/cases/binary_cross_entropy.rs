//! Binary cross entropy, and what is counted of detections.

use super::{OUTPUTS, WRITES};
use crate::device::Shape;
use crate::op::{
    Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, BinaryCrossEntropyTargetBackward, CountDetections, Target,
};
use crate::verify::case::*;

fn of(shape: Shape, images: usize, binary: Binary) -> Vec<Case> {
    let Binary { logistic, positive_weight: weight } = binary;
    let counted = images.min(shape.n) * shape.image();
    let x = real(shape, if logistic { Start::Uniform(-12.0, 12.0) } else { Start::Uniform(0.01, 0.99) });
    let forward_x = if logistic { x } else { real(shape, Start::Clipped(-0.1, 1.1, 0.0, 1.0)) };
    let target = real(shape, Start::Clipped(-0.5, 1.5, 0.0, 1.0));
    // A logarithm of what is near 1 is exact to a unit of 1; so is 1 − p.
    let loss = filled(move |k, sums| {
        sums[2][0] = k.before[2][0] + (k.result[2][0] - k.start[2][0]).abs() + counted as f64 * (1.0 + weight);
        sums[2][1] = k.result[2][1];
    });
    // `terms` are those of t, w, p and 1 − p.
    let gradient = |terms: fn(f64, f64, f64, f64) -> f64| {
        each(2, move |k, i| {
            let (x, t) = (k.start[0][i], k.start[1][i]);
            let [p, rest] = if logistic { [x, -x].map(|x| 1.0 / (1.0 + (-x).exp())) } else { [x, 1.0 - x] };
            k.before[2][i] + if i < counted { FACTOR * terms(t, weight, p, rest) } else { 0.0 }
        })
    };
    let op = BinaryCrossEntropyForward { binary, x: 0, target: 1, metrics: 2 };
    let mut all = vec![Case::new(op, [forward_x, target, metrics()], loss).summing(shape.elements())];
    for into in WRITES {
        let last = Target { at: 2, into };
        let op = BinaryCrossEntropyBackward { binary, coefficient: COEFFICIENT, x: 0, target: 1, dx: last };
        let magnitudes = if logistic {
            gradient(|t, w, p, rest| (1.0 - t) * p + w * t * rest)
        } else {
            gradient(|t, w, p, rest| (1.0 - t) / rest + w * t / p)
        };
        all.push(Case::new(op, [x, target, unit(shape)], magnitudes));
        let op = BinaryCrossEntropyTargetBackward { binary, coefficient: COEFFICIENT, x: 0, dt: last };
        let magnitudes = gradient(|_, w, p, rest| w * (1.0 - p.ln()) + (1.0 - rest.ln()));
        all.push(Case::new(op, [x, unit(shape), unit(shape)], magnitudes));
    }
    let counts = real(vector(3 * shape.image()), Start::Whole(9));
    all.push(Case::new(CountDetections { binary, x: 0, target: 1, counts: 2 }, [x, target, counts], exact()));
    all.into_iter().map(|case| case.counting(images)).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let larger = (Shape::new(2, 31, 33, 5), 2); // several blocks, and elements that are no multiple of 4
    let kinds = [(true, 1.0), (true, 2.5), (false, 1.5)];
    let binaries = kinds.map(|(logistic, positive_weight)| Binary { logistic, positive_weight });
    let batches = OUTPUTS.into_iter().chain([larger]);
    batches.flat_map(|(shape, images)| binaries.map(|binary| of(shape, images, binary))).flatten().collect()
}
