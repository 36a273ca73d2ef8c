//! Gaussian noise: y = x + std·g, g a standard normal number of (seed, step, layer, image, element), as `philox.rs` makes it, in
//! f64 whatever the tensor's type. Cost: one read, one write, and a block of Philox, two logarithms and two sines for four
//! elements.

use super::{Real, Workers};
use crate::device::StepValues;
use crate::device::philox::{self, Purpose};

/// Elements that one thread takes at a time; a multiple of 4.
const PIECE: usize = 1 << 12;
/// Nanoseconds that an element takes one core, roughly.
const NANOSECONDS: usize = 20;

/// y ← x + std·g; without an x, x is y. `image` is the number of elements of one image.
pub(super) fn add<T: Real>(
    workers: &Workers,
    step: &StepValues,
    layer: u32,
    std: f64,
    image: usize,
    x: Option<&[T]>,
    y: &mut [T],
) {
    let image = image.max(1);
    assert!(y.len().is_multiple_of(image) && x.is_none_or(|x| x.len() == y.len()));
    // Elements of image number n from `first`, a multiple of 4, on.
    let work = |n: usize, first: usize, y: &mut [T]| {
        let position = u64::from(step.first_image + n as u32) << 32 | (first / 4) as u64;
        let x = x.map(|x| &x[n * image + first..][..y.len()]);
        for (i, y) in y.chunks_mut(4).enumerate() {
            let block = philox::block(step.seed, Purpose::Noise, layer, step.step, position + i as u64);
            for (j, (y, g)) in y.iter_mut().zip(philox::gaussians(block)).enumerate() {
                *y = x.map_or(*y, |x| x[i * 4 + j]) + T::of(std * g);
            }
        }
    };
    let several = PIECE / image;
    if several > 0 {
        workers.pieces(y.len() * NANOSECONDS, several * image, y, |i, y| {
            y.chunks_mut(image).enumerate().for_each(|(j, y)| work(i * several + j, 0, y));
        });
    } else {
        for (n, y) in y.chunks_mut(image).enumerate() {
            workers.pieces(image * NANOSECONDS, PIECE, y, |i, y| work(n, i * PIECE, y));
        }
    }
}
