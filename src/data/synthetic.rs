//! Images of random bytes, of any shape and number, for benchmarks. A few are made and come again and again, so that a set
//! as long as ImageNet takes megabytes; an image always has the same label, so that a net can learn them by heart.

use super::{DataSet, Error, ImageShape, Options, Result, Source, numbered};
use crate::device::philox::{Purpose, Stream};
use rand_core::Rng;
use std::sync::Arc;

/// Bytes of images that are made, at most, unless one image is larger.
const BYTES: usize = 16 << 20;
/// Images that are made, at most.
const DISTINCT: usize = 256;
/// Images of a set, at most: the order of an epoch takes 4 bytes for each.
const IMAGES: usize = 100_000_000;

/// A set of random images that repeat.
#[derive(Clone, Debug)]
pub struct Synthetic {
    shape: ImageShape,
    count: usize,
    classes: usize,
    distinct: usize,
    pixels: Vec<u8>,
}

impl Synthetic {
    /// `count` images of `shape` with labels below `classes`. The same seed and set (0: training, 1: test) give the same
    /// images.
    pub fn new(shape: ImageShape, count: usize, classes: usize, seed: u64, set: u32) -> Result<Self> {
        let ImageShape { h, w, c } = shape;
        let bytes = h.checked_mul(w).and_then(|hw| hw.checked_mul(c)).filter(|bytes| (1..=1 << 30).contains(bytes));
        let Some(bytes) = bytes else {
            return Err(Error::Setting(format!(
                "cannot make synthetic images of {h}×{w}×{c}; each extent is at least 1, and an image at most 1 GiB"
            )));
        };
        if !(1..=IMAGES).contains(&count) {
            return Err(Error::Setting(format!("cannot make {count} synthetic images; ask for 1 to {IMAGES}")));
        }
        if !(1..=i32::MAX as usize).contains(&classes) {
            return Err(Error::Setting(format!("cannot make {classes} classes of synthetic images; ask for at least 1")));
        }
        let distinct = (BYTES / bytes).clamp(1, DISTINCT).min(count);
        let mut pixels = Vec::new();
        if pixels.try_reserve_exact(distinct * bytes).is_err() {
            return Err(Error::Setting(format!("no memory for synthetic images of {h}×{w}×{c}; make them smaller")));
        }
        pixels.resize(distinct * bytes, 0);
        for (i, image) in pixels.chunks_exact_mut(bytes).enumerate() {
            Stream::new(seed, Purpose::Data, set, i as u64).fill_bytes(image);
        }
        Ok(Self { shape, count, classes, distinct, pixels })
    }
}

impl Source for Synthetic {
    fn len(&self) -> usize {
        self.count
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn label(&self, i: usize) -> i32 {
        (i % self.distinct % self.classes) as i32
    }

    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()> {
        let bytes = self.shape.bytes();
        pixels.copy_from_slice(&self.pixels[i % self.distinct * bytes..][..bytes]);
        Ok(())
    }

    fn origin(&self, i: usize) -> String {
        format!("synthetic image {i}")
    }

    fn distinct(&self) -> usize {
        self.distinct
    }
}

/// The set that the options ask for; by default 1,024 and 256 images of 32×32×3 in 10 classes.
pub(super) fn open(options: &Options) -> Result<DataSet> {
    let shape = options.shape.unwrap_or(ImageShape::new(32, 32, 3));
    let classes = options.classes.unwrap_or(10);
    let make = |count, set| Synthetic::new(shape, count, classes, options.seed, set);
    let train = Arc::new(make(options.train.unwrap_or(1024), 0)?);
    let test = Arc::new(make(options.test.unwrap_or(256), 1)?);
    Ok(DataSet { name: String::new(), train, test, classes, class_names: numbered(classes), warnings: Vec::new() })
}
