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

/// The order of one epoch of a set that is read from shards in turn: the shards are shuffled, and the images in their order are
/// shuffled as they pass through a window of so many: the next is drawn from the window, and the one behind the window takes its place.
/// What is read then lies close together. `shards` are the first images of the shards, of which the first is 0.
pub fn shuffle_in_window(seed: u64, epoch: u64, window: u32, shards: &[u32], images: &mut [u32]) {
    let count = images.len() as u32;
    let mut random = Stream::new(seed, Purpose::Shuffle, 0, epoch);
    let mut turn: Vec<usize> = (0..shards.len()).collect();
    for i in (1..turn.len()).rev() {
        turn.swap(i, random.below(i as u32 + 1) as usize);
    }
    let end = |shard: usize| shards.get(shard + 1).copied().unwrap_or(count);
    let mut in_turn = turn.into_iter().flat_map(|shard| shards[shard]..end(shard));
    let mut passing: Vec<u32> = in_turn.by_ref().take(window as usize).collect();
    for image in images {
        let drawn = random.below(passing.len() as u32) as usize;
        *image = passing[drawn];
        match in_turn.next() {
            Some(next) => passing[drawn] = next,
            None => {
                passing.swap_remove(drawn);
            }
        }
    }
}

/// How an epoch's order is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// Each order is as likely.
    All,
    /// [`shuffle_in_window`].
    Window {
        /// Images of the window, at least 1.
        images: u32,
        /// The first image of each shard.
        shards: Vec<u32>,
    },
}

/// The stream of training images, by position. It keeps the order of one epoch; positions in turn are cheap, and any other
/// costs a shuffle.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    how: Shuffle,
    epoch: Option<u64>,
    images: Vec<u32>,
}

impl Order {
    /// The order of `images` images under a seed.
    pub fn new(seed: u64, images: NonZeroU32) -> Self {
        Self { seed, how: Shuffle::All, epoch: None, images: vec![0; images.get() as usize] }
    }

    /// The same, shuffled in another way.
    pub fn shuffled(self, how: Shuffle) -> Self {
        Self { how, ..self }
    }

    /// The image at a position of the stream. Allocates nothing, unless a window is shuffled in.
    pub fn at(&mut self, position: u64) -> usize {
        let images = self.images.len() as u64;
        let epoch = position / images;
        if self.epoch != Some(epoch) {
            match &self.how {
                Shuffle::All => shuffle(self.seed, epoch, &mut self.images),
                Shuffle::Window { images, shards } => {
                    shuffle_in_window(self.seed, epoch, *images, shards, &mut self.images);
                }
            }
            self.epoch = Some(epoch);
        }
        self.images[(position % images) as usize] as usize
    }
}
