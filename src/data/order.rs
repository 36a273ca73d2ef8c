//! The order of training: position p of the endless stream of training images is image perm(p mod N) of epoch p / N, where
//! perm is shuffled anew each epoch from (seed, epoch) alone. Every image comes once an epoch; a batch may hold the end of
//! one and the start of the next.

use crate::device::philox::{Purpose, Stream};
use std::num::NonZeroU32;

/// The order of one epoch: 0 … N − 1, shuffled (Fisher and Yates).
pub fn shuffle(seed: u64, epoch: u64, images: &mut [u32]) {
    for (i, image) in images.iter_mut().enumerate() {
        *image = i as u32;
    }
    let mut random = Stream::new(seed, Purpose::Shuffle, 0, epoch);
    for i in (1..images.len()).rev() {
        images.swap(i, random.below(i as u32 + 1) as usize);
    }
}

/// The stream of training images, by position. It keeps the order of one epoch; positions in turn are cheap, and any other
/// costs a shuffle.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    epoch: Option<u64>,
    images: Vec<u32>,
}

impl Order {
    /// The order of `images` images under a seed.
    pub fn new(seed: u64, images: NonZeroU32) -> Self {
        Self { seed, epoch: None, images: vec![0; images.get() as usize] }
    }

    /// The image at a position of the stream. Allocates nothing.
    pub fn at(&mut self, position: u64) -> usize {
        let images = self.images.len() as u64;
        let epoch = position / images;
        if self.epoch != Some(epoch) {
            shuffle(self.seed, epoch, &mut self.images);
            self.epoch = Some(epoch);
        }
        self.images[(position % images) as usize] as usize
    }
}
