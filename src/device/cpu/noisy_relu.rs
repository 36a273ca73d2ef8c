//! Noisy relu: y = max(0, x + √σ(x)·g), σ the logistic function, g a standard normal number of (seed, step, layer, image,
//! element), as `philox.rs` makes it: noise of variance σ(x) (Nair and Hinton 2010). The backward pass draws the numbers again;
//! dx = dy·(1 + ½·g·√σ·(1 − σ)) where y is above 0. Cost: one pass over each tensor, and a block of Philox, two logarithms and two
//! sines for four elements. Cut by images.

use super::{Real, Workers};
use crate::device::philox::{self, Purpose};
use crate::device::{Into, StepValues};

/// Calls `each(i, g)` for the elements of image number `image`, in order.
fn numbers(step: &StepValues, layer: u32, image: usize, elements: usize, mut each: impl FnMut(usize, f64)) {
    let image = u64::from(step.first_image + image as u32) << 32;
    for first in (0..elements).step_by(4) {
        let block = philox::block(step.seed, Purpose::Noise, layer, step.step, image | (first / 4) as u64);
        for (i, g) in (first..elements).zip(philox::gaussians(block)) {
            each(i, g);
        }
    }
}

/// Nanoseconds that so many elements take one core, roughly.
fn nanoseconds(elements: usize) -> usize {
    elements * 20
}

/// √σ(x), and σ(x).
fn deviation<T: Real>(x: T) -> (T, T) {
    let variance = T::ONE / (T::ONE + (-x).exp());
    (variance.sqrt(), variance)
}

/// y ← max(0, x + √σ(x)·g); `image` is the number of elements of one image.
pub(super) fn forward<T: Real>(workers: &Workers, step: &StepValues, layer: u32, image: usize, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    workers.pieces(nanoseconds(y.len()), image, y, |j, y| {
        let x = &x[j * image..][..y.len()];
        numbers(step, layer, j, y.len(), |i, g| {
            let noisy = x[i] + deviation(x[i]).0 * T::of(g);
            y[i] = if noisy < T::ZERO { T::ZERO } else { noisy };
        });
    });
}

/// dx ← dy·y′, or dx += …; without a dy, dx is dy.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<T: Real>(
    workers: &Workers,
    step: &StepValues,
    layer: u32,
    image: usize,
    x: &[T],
    dy: Option<&[T]>,
    dx: &mut [T],
    into: Into,
) {
    assert!(x.len() == dx.len() && dy.is_none_or(|dy| dy.len() == dx.len()));
    let half = T::of(0.5);
    workers.pieces(nanoseconds(dx.len()), image, dx, |j, dx| {
        let x = &x[j * image..][..dx.len()];
        let dy = dy.map(|dy| &dy[j * image..][..dx.len()]);
        numbers(step, layer, j, dx.len(), |i, g| {
            let ((deviation, variance), g) = (deviation(x[i]), T::of(g));
            let dy = dy.map_or(dx[i], |dy| dy[i]);
            let slope = T::ONE + half * g * deviation * (T::ONE - variance);
            let gradient = if x[i] + deviation * g > T::ZERO { dy * slope } else { T::ZERO };
            dx[i] = if into == Into::Add { dx[i] + gradient } else { gradient };
        });
    });
}
