//! The section `[data]`: which images, and what is done to them before the net sees them.

pub use crate::data::{Augment, OnError};

use super::types::{at_least_one, positive, some_at_least_one};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The section `[data]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// A built-in set or a path; [`NONE`](Self::NONE) where it is still to be named. Default `mnist-10k`.
    pub source: String,
    /// What is subtracted. Default `channel`.
    pub mean: Mean,
    /// What the difference is multiplied by. Default `std`.
    pub scale: Scale,
    /// Only so many training images: the first, or of image files ones evenly spread, so that classes in turn all have some.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub train_images: Option<usize>,
    /// Only so many test images, likewise.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub test_images: Option<usize>,
    /// How training images are varied. Default: not at all.
    pub augment: Augment,
    /// Whether two images at a time make a sample, one's channels behind the other's, with the label 1 when they are of one
    /// class. Default no.
    #[serde(skip_serializing_if = "is_false")]
    pub pairs: bool,
    /// `[height, width, channels]`: what the net sees of image files. Default: their own shape if they all have one, else a
    /// square of `size`.
    #[serde(deserialize_with = "some_shape", skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 3]>,
    /// To what the shorter side of image files is resized; tests take the middle of it, training a random part. Default: so that
    /// the picture covers the image.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What to do about an image that cannot be read: name it and go on, or stop. Default `skip`.
    #[serde(skip_serializing_if = "is_default")]
    pub on_error: OnError,
    /// Shuffle the shards, and the images within a window of so many, rather than all images: for sets that are larger than
    /// memory on a disk that is slow to seek. Default: all.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub shuffle_window: Option<usize>,
    /// Threads that read image files. What they read does not depend on it. Default: one for each core, 16 at most.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub readers: Option<usize>,
    /// What the source `synthetic` makes; there whenever that is the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticSpec>,
}

impl DataSpec {
    /// The source of a config that does not say which images it is for, as those of cuda-convnet do not: it can be read and
    /// written, and `--data` or `--set data.source=…` must name some before anything else.
    pub const NONE: &str = "none";
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            source: "mnist-10k".into(),
            mean: Mean::default(),
            scale: Scale::default(),
            train_images: None,
            test_images: None,
            augment: Augment::default(),
            pairs: false,
            shape: None,
            size: None,
            on_error: OnError::default(),
            shuffle_window: None,
            readers: None,
            synthetic: None,
        }
    }
}

fn is_false(v: &bool) -> bool {
    !v
}

fn is_default(v: &OnError) -> bool {
    *v == OnError::default()
}

/// What is subtracted from the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mean {
    /// Each channel's mean over the training set.
    #[default]
    Channel,
    /// Each pixel's mean over the training set.
    Pixel,
    /// Nothing.
    None,
}

/// What the pixels are multiplied by after the mean is subtracted, written `"std"` or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scale {
    /// 1 / the standard deviation of the training set.
    #[default]
    Std,
    /// This.
    Factor(f64),
}

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ScaleVisitor)
    }
}

struct ScaleVisitor;

impl Visitor<'_> for ScaleVisitor {
    type Value = Scale;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("\"std\" or a number")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Scale, E> {
        if v == "std" { Ok(Scale::Std) } else { Err(E::invalid_value(Unexpected::Str(v), &self)) }
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Scale, E> {
        positive(serde::de::value::F64Deserializer::new(v)).map(Scale::Factor)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Scale, E> {
        self.visit_f64(v as f64)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Scale, E> {
        self.visit_f64(v as f64)
    }
}

impl Serialize for Scale {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Std => s.serialize_str("std"),
            Self::Factor(f) => s.serialize_f64(*f),
        }
    }
}

/// The images that `source = "synthetic"` makes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticSpec {
    /// `[height, width, channels]`. Default 32 × 32 × 3.
    #[serde(deserialize_with = "shape")]
    pub shape: [usize; 3],
    /// Classes of labels. Default 10.
    #[serde(deserialize_with = "at_least_one")]
    pub classes: usize,
    /// Images to train on. Default 1024.
    #[serde(deserialize_with = "at_least_one")]
    pub train_images: usize,
    /// Images to test on. Default 256.
    #[serde(deserialize_with = "at_least_one")]
    pub test_images: usize,
}

impl Default for SyntheticSpec {
    fn default() -> Self {
        Self { shape: [32, 32, 3], classes: 10, train_images: 1024, test_images: 256 }
    }
}

#[derive(Deserialize)]
struct Cells(#[serde(deserialize_with = "at_least_one")] usize);

fn shape<'de, D: Deserializer<'de>>(d: D) -> Result<[usize; 3], D::Error> {
    <[Cells; 3]>::deserialize(d).map(|shape| shape.map(|Cells(n)| n))
}

fn some_shape<'de, D: Deserializer<'de>>(d: D) -> Result<Option<[usize; 3]>, D::Error> {
    shape(d).map(Some)
}
