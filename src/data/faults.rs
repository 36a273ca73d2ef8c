//! Images that cannot be read: each is named once and counted, and another takes its place, or training stops.

use super::{Error, Result, Source};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What to do about an image that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Name it, and go on: another image takes its place in training, and it does not count in a test.
    #[default]
    Skip,
    /// Stop.
    Stop,
}

/// Images that are tried in place of one that cannot be read.
const TRIES: usize = 100;
/// From one image that is tried to the next: a prime, so that those tried are not neighbours in a folder.
const STRIDE: usize = 1_000_003;
/// Images that are named; the rest are counted.
const NAMED: usize = 20;

/// The images of a source that could not be read.
#[derive(Debug, Default)]
pub struct Faults {
    found: Mutex<Found>,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Found {
    images: BTreeSet<usize>,
    /// What is still to be told.
    new: Vec<String>,
}

impl Faults {
    /// Notes that an image could not be read.
    pub fn note(&self, image: usize, error: &Error) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.images.insert(image) {
            let count = found.images.len();
            if count <= NAMED {
                found.new.push(error.to_string());
            } else if count == NAMED + 1 {
                found.new.push(format!(
                    "more than {NAMED} images cannot be read; the rest is counted, `convnet data stats` names all"
                ));
            }
            self.count.store(count, Ordering::Relaxed);
        }
    }

    /// Images that could not be read so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What has been found since the last call, a sentence an image. `told` is the count at that call.
    pub fn news(&self, told: &mut usize) -> Vec<String> {
        if self.count() == *told {
            return Vec::new();
        }
        *told = self.count();
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner).new)
    }
}

/// Runs `read` on image `i`, or, where that and others cannot be read and the source goes on in spite of it, on another image
/// that `i` alone determines.
pub(super) fn read_or_another<T>(source: &dyn Source, i: usize, mut read: impl FnMut(usize) -> Result<T>) -> Result<T> {
    let mut image = i;
    for _ in 0..TRIES {
        match read(image) {
            Err(e) if e.is_of_one_image() => match source.faults() {
                Some(faults) => faults.note(image, &e),
                None => return Err(e),
            },
            done => return done,
        }
        image = (image + STRIDE) % source.len();
    }
    Err(Error::AllBroken { first: source.origin(i), count: TRIES })
}
