//! Dropout: y = factor·x where the element's random number is below keep, else 0. The number is a function of (seed, step,
//! layer, image, element), made as in `philox.rs` (the tests hold this file to it), so the backward pass is the same call on
//! the gradients and no mask is stored. Cost: one read, one write, and ten rounds of Philox for four elements; sixteen counters
//! at a time, so that they are vectors.

use super::dispatch::simd;
use super::elementwise::{map, zip};
use super::{CpuDevice, Real, in_place};
use crate::device::philox::Purpose;
use crate::device::{Result, Run, Tensor};
use crate::op::{Dropout, Write};

/// Counters at a time.
const BLOCKS: usize = 16;
/// Elements that they make.
pub(super) const BLOCK: usize = 4 * BLOCKS;
/// Elements that one thread takes at a time.
const PIECE: usize = 1 << 12;

/// The streams' parts that are the same for all elements of an image.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub seed: u64,
    pub step: u64,
    pub layer: u32,
    pub image: u32,
}

/// Sixteen blocks of [`philox::block`] from `counter` on, step by step for all of them at once: a round is then a few vector
/// instructions. Element i of the four results of block j is `[i][j]`.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
pub(super) fn blocks(stream: Stream, counter: u32) -> [[u32; BLOCKS]; 4] {
    // As in `philox::block`; the lower word of the counter, which alone differs, cannot overflow: an image has not that many
    // elements.
    let Stream { seed, step, layer, image } = stream;
    let [first, second, third, fourth] = [counter, image ^ (((step >> 32) as u32) << 8), layer, step as u32];
    let [mut k0, mut k1] = [seed as u32, (seed >> 32) as u32 ^ ((Purpose::Dropout as u32) << 28)];
    let mut c = [[first; BLOCKS], [second; BLOCKS], [third; BLOCKS], [fourth; BLOCKS]];
    for (j, c) in c[0].iter_mut().enumerate() {
        *c = first.wrapping_add(j as u32);
    }
    for _ in 0..10 {
        for j in 0..BLOCKS {
            let [c0, c1, c2, c3] = [c[0][j], c[1][j], c[2][j], c[3][j]];
            let (p0, p1) = (u64::from(c0) * 0xD251_1F53, u64::from(c2) * 0xCD9E_8D57);
            c[0][j] = (p1 >> 32) as u32 ^ c1 ^ k0;
            c[1][j] = p1 as u32;
            c[2][j] = (p0 >> 32) as u32 ^ c3 ^ k1;
            c[3][j] = p0 as u32;
        }
        (k0, k1) = (k0.wrapping_add(0x9E37_79B9), k1.wrapping_add(0xBB67_AE85));
    }
    c
}

simd! {
    /// Applies the mask of one image's elements from `first` (a multiple of 4) on: y ← f(x·mask·factor, y). An element stays
    /// where its number's upper 24 bits are below `threshold`.
    fn mask<T: Real, F: Fn(T, T) -> T>(stream: Stream, threshold: u32, factor: T, first: usize, x: Option<&[T]>, y: &mut [T], f: F) {
        for (i, y) in y.chunks_mut(BLOCK).enumerate() {
            let numbers = blocks(stream, ((first + i * BLOCK) / 4) as u32);
            let mut bits = [0_u32; BLOCK];
            for (j, four) in bits.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *four = [numbers[0][j], numbers[1][j], numbers[2][j], numbers[3][j]];
            }
            let kept = |bits: u32, x: T| if (bits >> 8) < threshold { x * factor } else { T::ZERO };
            match x {
                Some(x) => {
                    for ((y, &x), &bits) in y.iter_mut().zip(&x[i * BLOCK..]).zip(&bits) {
                        *y = f(kept(bits, x), *y);
                    }
                }
                None => {
                    for (y, &bits) in y.iter_mut().zip(&bits) {
                        *y = f(kept(bits, *y), *y);
                    }
                }
            }
        }
    }
}

impl<T: Real> Run<Dropout<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &Dropout<Tensor>, _: Tensor) -> Result<()> {
        let (step, layer, into, image) = (self.step, op.layer, op.y.into, op.y.at.shape.image().max(1));
        let (x, y) = in_place::<T>(&mut self.arena.borrow(), op.x, op.y.at);
        assert!(y.len().is_multiple_of(image) && x.is_none_or(|x| x.len() == y.len()));
        // uniform(bits) < keep, where uniform is (bits >> 8)/2²⁴: for the integer bits >> 8, below the next integer of keep·2²⁴.
        let threshold = (op.keep * 16_777_216.0).ceil() as u32;
        let unchanged = op.keep >= 1.0 && op.factor == 1.0;
        let factor = T::of(op.factor);
        // Pieces start at the start of an image, or a multiple of four elements after the start of a single one.
        let several = (PIECE / image).max(1);
        let work = |first_image: usize, first: usize, x: Option<&[T]>, y: &mut [T]| {
            for (j, y) in y.chunks_mut(image).enumerate() {
                let at = j * image;
                let stream =
                    Stream { seed: step.seed, step: step.step, layer, image: step.first_image + (first_image + j) as u32 };
                let x = x.map(|x| &x[at..at + y.len()]);
                match into {
                    Write::Set => mask(stream, threshold, factor, first, x, y, |x, _| x),
                    Write::Add => mask(stream, threshold, factor, first, x, y, |x, y| y + x),
                }
            }
        };
        if unchanged {
            if let Some(x) = x {
                self.workers.pieces(y.len() / 4, PIECE, y, |i, y| match into {
                    Write::Set => y.copy_from_slice(&x[i * PIECE..][..y.len()]),
                    Write::Add => zip(&x[i * PIECE..][..y.len()], y, |x, y| y + x),
                });
            } else if into == Write::Add {
                self.workers.pieces(y.len() / 4, PIECE, y, |_, y| map(y, |y| y + y));
            }
        } else if y.len() > image || image <= PIECE {
            let size = several * image;
            self.workers.pieces(y.len(), size, y, |i, y| work(i * several, 0, x.map(|x| &x[i * size..][..y.len()]), y));
        } else {
            // One large image.
            self.workers.pieces(y.len(), PIECE, y, |i, y| work(0, i * PIECE, x.map(|x| &x[i * PIECE..][..y.len()]), y));
        }
        Ok(())
    }
}
