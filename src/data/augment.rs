//! Augmentation: where in its source each image is taken, and whether it is mirrored. What is drawn depends on the seed and
//! the position in the stream of training images alone. The device moves the pixels
//! ([`load_images`](crate::device::Device::load_images)).

use super::{Error, ImageShape, Result};
use crate::device::Place;
use crate::device::philox::{Purpose, Stream};

/// What is drawn for each training image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Shifts by up to so many pixels, up, down, left and right.
    pub translate: u32,
    /// Mirrors left to right, every other time on average.
    pub flip: bool,
}

impl Augment {
    /// Fails if a shift could move an image out of itself.
    pub fn check(&self, shape: ImageShape) -> Result<()> {
        let side = shape.h.min(shape.w);
        if self.translate as usize >= side || self.translate >= 1 << 30 {
            return Err(Error::Setting(format!(
                "augment: translate = {} moves images of {shape} out of sight; use at most {}",
                self.translate,
                side.saturating_sub(1)
            )));
        }
        Ok(())
    }

    /// The place of the image at a position of the stream. `room` is how many rows and columns the source has more than
    /// what is taken of it: the place is a random crop, shifted.
    pub fn place(&self, seed: u64, position: u64, room: [u32; 2]) -> Place {
        let mut random = Stream::new(seed, Purpose::Augment, 0, position);
        let mut offset = |room: u32| {
            let choices = self.translate.saturating_mul(2).saturating_add(room).saturating_add(1);
            (i64::from(random.below(choices)) - i64::from(self.translate)) as i32
        };
        let (top, left) = (offset(room[0]), offset(room[1]));
        Place { top, left, flip: i32::from(self.flip && random.below(2) == 1) }
    }
}

/// The place of a test image: the middle, as it is.
pub fn centred(room: [u32; 2]) -> Place {
    Place { top: (room[0] / 2) as i32, left: (room[1] / 2) as i32, flip: 0 }
}
