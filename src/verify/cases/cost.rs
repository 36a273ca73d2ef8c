//! Logistic regression, cross entropy, and sums of squares.

use super::{OUTPUTS, WRITES};
use crate::device::Shape;
use crate::op::{
    CrossEntropyBackward, CrossEntropyForward, LogregBackward, LogregForward, SquaresBackward, SquaresForward, Target, Write,
};
use crate::verify::case::*;

/// A loss is a logarithm of a sum, exact to a unit of its own size or of 1.
fn loss(shape: Shape, images: usize) -> Magnitudes {
    let counted = images.min(shape.n) as f64;
    filled(move |k, sums| sums[2][0] = k.before[2][0] + (k.result[2][0] - k.start[2][0]).abs() + counted)
}

/// Of outputs up to ±`largest`.
pub(super) fn logreg_forward(shape: Shape, images: usize, largest: f64, smoothing: f64) -> Case {
    let op = LogregForward { smoothing, x: 0, labels: 1, metrics: 2 };
    let tensors = [real(shape, Start::Uniform(-largest, largest)), labels_of(shape), metrics()];
    let case = Case::new(op, tensors, loss(shape, images)).summing(shape.elements());
    case.counting(images).note(format!("±{largest}"))
}

pub(super) fn logreg_backward(shape: Shape, images: usize, largest: f64, smoothing: f64, into: Write) -> Case {
    let size = shape.image();
    let op = LogregBackward { smoothing, coefficient: COEFFICIENT, x: 0, labels: 1, dx: Target { at: 2, into } };
    let tensors = [real(shape, Start::Uniform(-largest, largest)), labels_of(shape), unit(shape)];
    let magnitudes = filled(move |k, sums| {
        sums[2].clone_from(&k.before[2]);
        for (number, x) in k.start[0].chunks(size).enumerate().take(images) {
            let (most, total) = softmax(x);
            for (j, x) in x.iter().enumerate() {
                let p = (x - most).exp() / total * (1.0 + most - x);
                let own = f64::from(u8::from(j == k.start[1][number] as usize));
                sums[2][number * size + j] += FACTOR * (p + own + smoothing / size as f64);
            }
        }
    });
    Case::new(op, tensors, magnitudes).summing(size).counting(images).note(format!("±{largest}"))
}

fn cross_entropy_forward(shape: Shape, images: usize, smoothing: f64) -> Case {
    let op = CrossEntropyForward { smoothing, x: 0, labels: 1, metrics: 2 };
    let tensors = [real(shape, Start::Clipped(-0.1, 1.0, 0.0, 1.0)), labels_of(shape), metrics()];
    Case::new(op, tensors, loss(shape, images)).summing(shape.elements()).counting(images)
}

fn cross_entropy_backward(shape: Shape, images: usize, smoothing: f64, into: Write) -> Case {
    let op = CrossEntropyBackward { smoothing, coefficient: COEFFICIENT, x: 0, labels: 1, dx: Target { at: 2, into } };
    let tensors = [real(shape, Start::Uniform(0.01, 1.0)), labels_of(shape), unit(shape)];
    Case::new(op, tensors, rounded(2)).summing(shape.image()).counting(images)
}

/// |x| + |target| of an element; the target is tensor number 2.
fn size(k: &Known<'_>, i: usize, target: bool) -> f64 {
    k.start[0][i].abs() + if target { k.start[2][i].abs() } else { 0.0 }
}

fn squares_forward(shape: Shape, images: usize, target: bool) -> Case {
    let op = SquaresForward { x: 0, target: target.then_some(2), metrics: 1 };
    let counted = (images * shape.image()).min(shape.elements());
    let magnitudes = filled(move |k, sums| {
        sums[1][0] = k.before[1][0] + (0..counted).map(|i| size(k, i, target).powi(2)).sum::<f64>();
    });
    Case::new(op, [unit(shape), metrics(), unit(shape)], magnitudes).summing(shape.elements()).counting(images)
}

fn squares_backward(shape: Shape, images: usize, target: bool, into: Write) -> Case {
    let op = SquaresBackward { coefficient: COEFFICIENT, x: 0, target: target.then_some(2), dx: Target { at: 1, into } };
    let magnitudes = each(1, move |k, i| FACTOR * 2.0 * size(k, i, target) + k.before[1][i]);
    Case::new(op, [unit(shape); 3], magnitudes).counting(images)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (shape, images) in OUTPUTS {
        for (largest, smoothing) in [(8.0, 0.0), (1e4, 0.0), (8.0, 0.25)] {
            all.push(logreg_forward(shape, images, largest, smoothing));
            all.extend(WRITES.map(|into| logreg_backward(shape, images, largest, smoothing, into)));
        }
        for smoothing in [0.0, 0.125] {
            all.push(cross_entropy_forward(shape, images, smoothing));
            all.extend(WRITES.map(|into| cross_entropy_backward(shape, images, smoothing, into)));
        }
        for target in [false, true] {
            all.push(squares_forward(shape, images, target));
            all.extend(WRITES.map(|into| squares_backward(shape, images, target, into)));
        }
    }
    all
}
