//! Augmentation: which part of its picture each image is, where it is taken, whether it is mirrored, and what its colours become. What
//! is drawn depends on the seed and the position in the stream of training images alone. The device shifts and mirrors
//! ([`load_images`](crate::device::Device::load_images)); what changes pixels is done where they are read, on bytes.
//!
//! In this order: part, rotation, brightness, contrast, saturation, noise along the principal components of colour (Krizhevsky,
//! Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012), cutout (DeVries and
//! Taylor, "Improved regularization of convolutional neural networks with cutout", 2017), mixup (Zhang, Cissé, Dauphin and Lopez-Paz,
//! "mixup: beyond empirical risk minimization", 2018), shift, mirror.

use super::decode::{At, Part};
use super::normalise::Colours;
use super::{Error, ImageShape, Result};
use crate::device::Place;
use crate::device::philox::{Purpose, Stream};
use std::cell::RefCell;

/// What is drawn for each training image.
#[derive(Clone, Copy, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Shifts by up to so many pixels, up, down, left and right.
    pub translate: u32,
    /// Mirrors left to right, every other time on average.
    pub flip: bool,
    /// Takes a part of random area and proportions, resized to the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resized_crop: Option<ResizedCrop>,
    /// Turns by up to so many degrees, either way; what comes in at the edges repeats them.
    #[serde(skip_serializing_if = "is_zero")]
    pub rotate: f64,
    /// Multiplies by a factor from 1 − this to 1 + this.
    #[serde(skip_serializing_if = "is_zero")]
    pub brightness: f64,
    /// Multiplies the difference from the image's mean grey by a factor from 1 − this to 1 + this.
    #[serde(skip_serializing_if = "is_zero")]
    pub contrast: f64,
    /// Multiplies the difference from each pixel's grey by a factor from 1 − this to 1 + this.
    #[serde(skip_serializing_if = "is_zero")]
    pub saturation: f64,
    /// Adds Σ α·√λ·p over the principal components p of colour, their variances λ, and α normal with this standard deviation:
    /// 0.1 in AlexNet.
    #[serde(skip_serializing_if = "is_zero")]
    pub pca: f64,
    /// Puts the mean colour in a square of this side, whose middle is anywhere in the image.
    #[serde(skip_serializing_if = "is_none")]
    pub cutout: u32,
    /// Mixes each image and its label with the next one of the stream: λ of itself and 1 − λ of that, λ drawn from Beta(this, this).
    /// The labels are then a probability for each class; 0.2 is usual on ImageNet, 1 on CIFAR-10. What is counted as an error of a
    /// training image is another class than the one with the larger part.
    #[serde(skip_serializing_if = "is_zero")]
    pub mixup: f64,
}

/// A part of random area and proportions (Szegedy et al., "Going deeper with convolutions", 2015).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizedCrop {
    /// The least and the most of the picture's area. Default 0.08 to 1.
    pub scale: [f64; 2],
    /// The least and the most of width / height. Default 3/4 to 4/3.
    pub ratio: [f64; 2],
}

impl Default for ResizedCrop {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] }
    }
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

fn is_none(x: &u32) -> bool {
    *x == 0
}

/// Parts that are tried before the middle is taken.
const TRIES: usize = 10;

/// What an image is drawn with.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The seed.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
    /// The position in the stream of training images.
    pub position: u64,
    /// What is drawn.
    pub augment: Augment,
}

impl Draw {
    /// Random numbers for one use.
    fn stream(&self, which: Use) -> Stream {
        Stream::new(self.seed, Purpose::Augment, which as u32, self.position)
    }

    /// The part of a picture that makes an image of shape `to`, the shorter side resized to `size` first.
    pub fn part(&self, picture: ImageShape, size: Option<usize>, to: ImageShape) -> Part {
        let mut random = self.stream(Use::Part);
        let (w, h) = (picture.w as f64, picture.h as f64);
        if let Some(ResizedCrop { scale, ratio }) = self.augment.resized_crop {
            for _ in 0..TRIES {
                let area = w * h * between(scale, random.uniform());
                let ratio = between(ratio.map(f64::ln), random.uniform()).exp();
                let (width, height) = ((area * ratio).sqrt(), (area / ratio).sqrt());
                let (x, y) = (random.uniform(), random.uniform());
                if (1.0..=w).contains(&width) && (1.0..=h).contains(&height) {
                    return Part { left: x * (w - width), top: y * (h - height), width, height };
                }
            }
            return Part::of(picture.w, picture.h, None, to, At::Centre);
        }
        Part::of(picture.w, picture.h, size, to, At::Random(random.uniform(), random.uniform()))
    }

    /// The part that the image has where it is mixed with the next, in 2⁻¹⁶: Beta(α, α) as the share of one of two numbers of
    /// Gamma(α), by logarithms, since both may be too small for any float.
    pub(super) fn share(&self) -> u32 {
        let mut random = self.stream(Use::Mixup);
        let (a, b) = (ln_gamma(self.augment.mixup, &mut random), ln_gamma(self.augment.mixup, &mut random));
        (65_536.0 / (1.0 + (b - a).exp())).round() as u32
    }

    /// Turns the image and changes its colours, as drawn.
    pub(super) fn change(&self, pixels: &mut [u8], shape: ImageShape, colours: &Colours) {
        let Augment { rotate, brightness, contrast, saturation, pca, cutout, .. } = self.augment;
        if rotate > 0.0 {
            let angle = between([-rotate, rotate], self.stream(Use::Rotation).uniform());
            turn(pixels, shape, angle.to_radians());
        }
        let mut random = self.stream(Use::Colour);
        let mut factor = |most: f64| between([1.0 - most, 1.0 + most], random.uniform()) as f32;
        let (brightness, contrast, saturation) = (factor(brightness), factor(contrast), factor(saturation));
        let grey = |p: &[u8]| if shape.c == 3 { luma(p) } else { f32::from(p[0]) };
        let recoloured = brightness != 1.0 || contrast != 1.0 || (saturation != 1.0 && shape.c == 3) || pca > 0.0;
        if recoloured {
            let mean = if contrast == 1.0 {
                0.0
            } else {
                let sum: f64 = pixels.chunks_exact(shape.c).map(|p| f64::from(grey(p))).sum();
                brightness * (sum / (shape.h * shape.w) as f64) as f32
            };
            let mut shift = vec![0.0_f32; shape.c];
            if pca > 0.0 {
                for component in &colours.components {
                    let alpha = (pca * random.gaussian()) as f32;
                    shift.iter_mut().zip(component).for_each(|(shift, x)| *shift += alpha * x);
                }
            }
            for pixel in pixels.chunks_exact_mut(shape.c) {
                let own = mean + contrast * (brightness * grey(pixel) - mean);
                for (x, shift) in pixel.iter_mut().zip(&shift) {
                    let changed = mean + contrast * (brightness * f32::from(*x) - mean);
                    let changed = if shape.c == 3 { own + saturation * (changed - own) } else { changed };
                    // Out of range, a cast to an integer goes to its end.
                    *x = (changed + shift).round() as u8;
                }
            }
        }
        if cutout > 0 {
            let mut random = self.stream(Use::Cutout);
            let mut range = |extent: usize| {
                let first = i64::from(random.below(extent as u32)) - i64::from(cutout / 2);
                first.max(0) as usize..(first + i64::from(cutout)).clamp(0, extent as i64) as usize
            };
            let (rows, columns) = (range(shape.h), range(shape.w));
            for row in pixels.chunks_exact_mut(shape.w * shape.c).skip(rows.start).take(rows.len()) {
                for pixel in row[columns.start * shape.c..columns.end * shape.c].chunks_exact_mut(shape.c) {
                    pixel.copy_from_slice(&colours.mean);
                }
            }
        }
    }
}

/// What random numbers are for; each use has a stream of its own, so that one setting does not change what another draws.
#[derive(Clone, Copy)]
enum Use {
    Part = 1,
    Rotation = 2,
    Colour = 3,
    Cutout = 4,
    Mixup = 5,
}

fn between([least, most]: [f64; 2], share: f64) -> f64 {
    least + (most - least) * share
}

/// The logarithm of a number drawn from Gamma(`shape`, 1) (Marsaglia and Tsang, "A simple method for generating gamma variables", 2000):
/// one of Gamma(shape + 1), times U^(1/shape).
fn ln_gamma(shape: f64, random: &mut Stream) -> f64 {
    let least = (1.0 - random.uniform()).ln() / shape;
    let d = shape + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = random.gaussian();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - random.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln() + least;
        }
    }
}

fn luma(p: &[u8]) -> f32 {
    0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])
}

/// Turns an image about its middle, each pixel from the four nearest of its source.
fn turn(pixels: &mut [u8], ImageShape { h, w, c }: ImageShape, angle: f64) {
    thread_local!(static SOURCE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    let (sin, cos) = angle.sin_cos();
    let (middle_x, middle_y) = ((w - 1) as f64 / 2.0, (h - 1) as f64 / 2.0);
    SOURCE.with_borrow_mut(|source| {
        source.clear();
        source.extend_from_slice(pixels);
        for (i, pixel) in pixels.chunks_exact_mut(c).enumerate() {
            let (across, down) = ((i % w) as f64 - middle_x, (i / w) as f64 - middle_y);
            let x = (cos * across + sin * down + middle_x).clamp(0.0, (w - 1) as f64);
            let y = (cos * down - sin * across + middle_y).clamp(0.0, (h - 1) as f64);
            let (left, top) = (x as usize, y as usize);
            let (right, below) = ((left + 1).min(w - 1), (top + 1).min(h - 1));
            let (fx, fy) = (x - left as f64, y - top as f64);
            for (channel, to) in pixel.iter_mut().enumerate() {
                let at = |y: usize, x: usize| f64::from(source[(y * w + x) * c + channel]);
                let upper = at(top, left) * (1.0 - fx) + at(top, right) * fx;
                let lower = at(below, left) * (1.0 - fx) + at(below, right) * fx;
                *to = (upper * (1.0 - fy) + lower * fy).round() as u8;
            }
        }
    });
}

impl Augment {
    /// Nothing: images as they are.
    pub const NONE: Self = Self {
        translate: 0,
        flip: false,
        resized_crop: None,
        rotate: 0.0,
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
        pca: 0.0,
        cutout: 0,
        mixup: 0.0,
    };

    /// Fails if an image could be moved out of itself, or a setting is out of its range.
    pub fn check(&self, shape: ImageShape) -> Result<()> {
        let side = shape.h.min(shape.w);
        if self.translate as usize >= side || self.translate >= 1 << 30 {
            return Err(Error::Setting(format!(
                "augment: translate = {} moves images of {shape} out of sight; use at most {}",
                self.translate,
                side.saturating_sub(1)
            )));
        }
        let ranges = [
            ("rotate", self.rotate, 180.0),
            ("brightness", self.brightness, 1.0),
            ("contrast", self.contrast, 1.0),
            ("saturation", self.saturation, 1.0),
            ("pca", self.pca, 10.0),
            ("mixup", self.mixup, 100.0),
        ];
        for (name, value, most) in ranges {
            if !(0.0..=most).contains(&value) {
                return Err(Error::Setting(format!("augment: {name} = {value} is not from 0 to {most}")));
            }
        }
        if (self.pca > 0.0 || self.saturation > 0.0) && shape.c != 3 {
            return Err(Error::Setting(format!("augment: pca and saturation change colours, and images of {shape} have none")));
        }
        if let Some(ResizedCrop { scale, ratio }) = self.resized_crop {
            let holds = |[least, most]: [f64; 2], top: f64| least > 0.0 && least <= most && most <= top;
            if !holds(scale, 1.0) || !holds(ratio, 100.0) {
                let what = "augment: resized_crop needs scale = [least, most] above 0 and up to 1, and ratio = [least, most] above 0 and up to 100";
                return Err(Error::Setting(what.to_owned()));
            }
        }
        Ok(())
    }

    /// Whether pixels change, beyond what the device does.
    pub(super) fn changes(&self) -> bool {
        let values = [self.rotate, self.brightness, self.contrast, self.saturation, self.pca];
        values.iter().any(|&value| value > 0.0) || self.cutout > 0
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
