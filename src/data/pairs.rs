//! Pairs of images, for nets that learn whether two are of one class (Bromley et al., "Signature verification using a 'Siamese'
//! time delay neural network", 1993): each sample is an image with a partner's channels behind its own, labelled 1 when both are
//! of one class and 0 when they are not.
//!
//! The partner is drawn from (seed, epoch, image) alone: with probability ½ another image of the same class, each as likely, else
//! an image of another class, each as likely; the only image of its class is its own partner. A test set stays at epoch 0. What
//! augmentation moves, it moves in both images alike, and both are normalised as the single images are.

use super::augment::Draw;
use super::faults::Faults;
use super::{Error, ImageShape, Result, Source};
use crate::device::philox::{Purpose, Stream};
use std::sync::{Arc, Mutex, PoisonError};

/// The names of the labels 0 and 1.
pub(super) const NAMES: [&str; 2] = ["of two classes", "of one class"];

/// Pairs of a source's images.
pub struct Pairs {
    single: Arc<dyn Source>,
    seed: u64,
    /// The distinct images, class by class.
    by_class: Vec<u32>,
    /// For each distinct image, where its class starts in `by_class`, and its images.
    classes: Vec<(u32, u32)>,
    /// A pair's two images, before they are put together.
    read: Mutex<Vec<u8>>,
}

impl Pairs {
    /// Pairs of the images of a source, as many as it has, drawn from a seed.
    ///
    /// # Errors
    /// The images are too many, or all of one class.
    pub fn new(single: Arc<dyn Source>, seed: u64) -> Result<Self> {
        let Ok(images) = u32::try_from(single.distinct()) else {
            return Err(Error::Setting(format!("cannot make pairs of more than {} images", u32::MAX)));
        };
        let mut by_class: Vec<u32> = (0..images).collect();
        by_class.sort_by_key(|&i| (single.label(i as usize), i));
        let mut classes = vec![(0, 0); by_class.len()];
        let mut start = 0;
        for class in by_class.chunk_by(|&a, &b| single.label(a as usize) == single.label(b as usize)) {
            for &i in class {
                classes[i as usize] = (start, class.len() as u32);
            }
            start += class.len() as u32;
        }
        if classes.first().is_none_or(|&(_, count)| count == images) {
            let from = single.origin(0);
            return Err(Error::Setting(format!("cannot make pairs: all images, such as {from}, are of one class")));
        }
        Ok(Self { read: Mutex::new(vec![0; 2 * single.shape().bytes()]), single, seed, by_class, classes })
    }

    /// The image that image `i` is paired with in an epoch.
    pub fn partner(&self, i: usize, epoch: u64) -> usize {
        let own = i % self.classes.len();
        let (start, count) = self.classes[own];
        let mut random = Stream::new(self.seed, Purpose::Pairs, i as u32, epoch);
        let same = random.next_u32() >> 31 == 1;
        let at = if !same {
            // Of the others, those before the class and those behind it.
            let other = random.below(self.by_class.len() as u32 - count);
            if other < start { other } else { other + count }
        } else if count == 1 {
            start
        } else {
            // Of the class without its last, which takes the place of the image itself.
            let other = start + random.below(count - 1);
            if self.by_class[other as usize] as usize == own { start + count - 1 } else { other }
        };
        self.by_class[at as usize] as usize
    }
}

impl Source for Pairs {
    fn len(&self) -> usize {
        self.single.len()
    }

    fn shape(&self) -> ImageShape {
        let ImageShape { h, w, c } = self.single.shape();
        ImageShape { h, w, c: 2 * c }
    }

    fn label(&self, i: usize) -> i32 {
        i32::from(self.single.label(i) == self.single.label(self.partner(i, 0)))
    }

    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()> {
        self.pair(i, 0, pixels).map(|_| ())
    }

    fn origin(&self, i: usize) -> String {
        format!("{} and a partner", self.single.origin(i))
    }

    fn sample(&self, i: usize, draw: &Draw, pixels: &mut [u8]) -> Result<i32> {
        self.pair(i, draw.epoch, pixels)
    }

    fn single(&self) -> Option<&dyn Source> {
        Some(&*self.single)
    }

    fn faults(&self) -> Option<&Faults> {
        self.single.faults()
    }

    fn is_slow(&self) -> bool {
        self.single.is_slow()
    }
}

impl Pairs {
    fn pair(&self, i: usize, epoch: u64, pixels: &mut [u8]) -> Result<i32> {
        let partner = self.partner(i, epoch);
        let ImageShape { h, w, c } = self.single.shape();
        let mut both = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (a, b) = both.split_at_mut(h * w * c);
        self.single.read(i, a)?;
        self.single.read(partner, b)?;
        for ((to, a), b) in pixels.chunks_exact_mut(2 * c).zip(a.chunks_exact(c)).zip(b.chunks_exact(c)) {
            to[..c].copy_from_slice(a);
            to[c..].copy_from_slice(b);
        }
        Ok(i32::from(self.single.label(i) == self.single.label(partner)))
    }
}
