//! Gaussian noise: y = x + std·g, g a standard normal number of (seed, step, layer, image, element), as `philox.rs` makes it, in
//! f64 whatever the tensor's type. Cost: one read, one write, and a block of Philox, two logarithms and two sines for four
//! elements.

use super::{CpuDevice, Real, in_place};
use crate::device::philox::{self, Purpose};
use crate::device::{Result, Run, Tensor};
use crate::op::Noise;

/// Elements that one thread takes at a time; a multiple of 4.
const PIECE: usize = 1 << 12;
/// Nanoseconds that an element takes one core, roughly.
const NANOSECONDS: usize = 20;

impl<T: Real> Run<Noise<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &Noise<Tensor>, _: Tensor) -> Result<()> {
        let (step, image) = (self.step, op.y.shape.image().max(1));
        let (x, y) = in_place::<T>(&mut self.arena.borrow(), op.x, op.y);
        assert!(y.len().is_multiple_of(image) && x.is_none_or(|x| x.len() == y.len()));
        // Elements of image number n from `first`, a multiple of 4, on.
        let work = |n: usize, first: usize, y: &mut [T]| {
            let position = u64::from(step.first_image + n as u32) << 32 | (first / 4) as u64;
            let x = x.map(|x| &x[n * image + first..][..y.len()]);
            for (i, y) in y.chunks_mut(4).enumerate() {
                let block = philox::block(step.seed, Purpose::Noise, op.layer, step.step, position + i as u64);
                for (j, (y, g)) in y.iter_mut().zip(philox::gaussians(block)).enumerate() {
                    *y = x.map_or(*y, |x| x[i * 4 + j]) + T::of(op.std * g);
                }
            }
        };
        let several = PIECE / image;
        if several > 0 {
            self.workers.pieces(y.len() * NANOSECONDS, several * image, y, |i, y| {
                y.chunks_mut(image).enumerate().for_each(|(j, y)| work(i * several + j, 0, y));
            });
        } else {
            for (n, y) in y.chunks_mut(image).enumerate() {
                self.workers.pieces(image * NANOSECONDS, PIECE, y, |i, y| work(n, i * PIECE, y));
            }
        }
        Ok(())
    }
}
