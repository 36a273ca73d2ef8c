//! Hidden units over a sample of images: how often each is on, and how much they say the same. In a net that learns well
//! units are sparse over images and over one another and differ from each other; in one that does not, many are never on,
//! take no notice of the input, or are strongly correlated (Ranzato, "Large-scale visual recognition with deep learning",
//! tutorial at CVPR 2014).
//!
//! A unit of a convolution is a channel: it is on at a place where it is above 0, and its value for an image is its mean over
//! the places. Correlations are Pearson's over the images, of the first [`MAX_COMPARED`] units that vary: u²·n/2
//! multiply-adds for u units and n images.

use crate::device::Shape;
use crate::op::Neuron;
use image::{Rgb, RgbImage};

/// Units that are compared with each other.
const MAX_COMPARED: usize = 256;
/// Units, and images, of the picture.
const PICTURE: (usize, usize) = (256, 96);
/// A standard deviation below this part of the layer's largest value is none.
const CONSTANT: f64 = 1e-5;
/// Two units whose |correlation| is above this say the same.
const TWINS: f64 = 0.95;
/// A bounded neuron nearer to a bound than this part of its range is saturated.
const SATURATED: f64 = 0.02;

/// What counts as off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Off at 0.
    Rectified,
    /// Saturated near either bound.
    Bounded(f64, f64),
    /// Neither.
    Other,
}

impl Kind {
    /// The kind of a neuron.
    pub fn of(neuron: Neuron) -> Self {
        match neuron {
            Neuron::Relu | Neuron::Brelu { .. } | Neuron::Nrelu => Self::Rectified,
            Neuron::Tanh { a, .. } => Self::Bounded(-a.abs(), a.abs()),
            Neuron::Logistic => Self::Bounded(0.0, 1.0),
            _ => Self::Other,
        }
    }
}

/// A layer's outputs for a sample of images, as they are gathered.
#[derive(Clone, Debug)]
pub struct Sample {
    name: String,
    kind: Kind,
    shape: Shape,
    /// For each image, each unit's mean.
    means: Vec<Vec<f32>>,
    labels: Vec<i32>,
    /// For each unit, places that were off or saturated, of all images.
    off: Vec<u64>,
    /// Values of one unit seen.
    places: u64,
}

/// What was found of a layer.
#[derive(Clone, Debug)]
pub struct Found {
    /// The layer.
    pub name: String,
    /// Its output, of one image.
    pub shape: Shape,
    /// What its neuron is like.
    pub kind: Kind,
    /// Images seen.
    pub images: usize,
    /// Units: its channels.
    pub units: usize,
    /// Mean fraction of values that are off, or saturated.
    pub off: f64,
    /// Units off everywhere in each image.
    pub dead: usize,
    /// Units off nowhere.
    pub always_on: usize,
    /// Units with the same value for each image, the dead ones among them.
    pub constant: usize,
    /// Mean |correlation| of two units that vary.
    pub correlation: f64,
    /// Units that say the same as another.
    pub twins: usize,
    /// Units that were compared.
    pub compared: usize,
    /// Images down, sorted by class; units across: black at 0, the brighter the stronger.
    pub picture: RgbImage,
}

impl Sample {
    /// Of no images yet.
    pub fn new(name: &str, neuron: Neuron, shape: Shape) -> Self {
        let shape = Shape { n: 1, ..shape };
        let off = vec![0; shape.c];
        Self { name: name.into(), kind: Kind::of(neuron), shape, means: Vec::new(), labels: Vec::new(), off, places: 0 }
    }

    /// Adds the outputs of some images with these labels.
    pub fn add(&mut self, outputs: &[f64], labels: &[i32]) {
        let Shape { h, w, c, .. } = self.shape;
        for (image, &label) in outputs.chunks_exact(h * w * c).zip(labels) {
            let mut means = vec![0.0; c];
            for place in image.chunks_exact(c) {
                for ((mean, off), &v) in means.iter_mut().zip(&mut self.off).zip(place) {
                    *mean += v;
                    *off += u64::from(self.kind.is_off(v));
                }
            }
            self.means.push(means.iter().map(|m| (m / (h * w) as f64) as f32).collect());
            self.labels.push(label);
            self.places += (h * w) as u64;
        }
    }

    /// What they amount to.
    pub fn found(&self) -> Found {
        let units = self.shape.c;
        let all_off = |&&off: &&u64| self.kind == Kind::Rectified && off == self.places;
        let never_off = |&&off: &&u64| self.kind == Kind::Rectified && off == 0;
        let largest = self.means.iter().flatten().fold(0f32, |a, &v| a.max(v.abs()));
        let columns: Vec<Option<Vec<f64>>> = (0..units).map(|u| self.standardised(u, f64::from(largest) * CONSTANT)).collect();
        let varying: Vec<&Vec<f64>> = columns.iter().flatten().take(MAX_COMPARED).collect();
        let n = varying.len();
        let (mut sum, mut twins) = (0.0, vec![false; n]);
        for i in 0..n {
            for j in 0..i {
                let r: f64 = varying[i].iter().zip(varying[j]).map(|(a, b)| a * b).sum::<f64>().abs();
                sum += r;
                if r > TWINS {
                    twins[i] = true;
                    twins[j] = true;
                }
            }
        }
        let values = (self.places * units as u64).max(1);
        Found {
            name: self.name.clone(),
            shape: self.shape,
            kind: self.kind,
            images: self.means.len(),
            units,
            off: self.off.iter().sum::<u64>() as f64 / values as f64,
            dead: self.off.iter().filter(all_off).count(),
            always_on: self.off.iter().filter(never_off).count(),
            constant: columns.iter().filter(|c| c.is_none()).count(),
            correlation: sum / (n * n.saturating_sub(1) / 2).max(1) as f64,
            twins: twins.iter().filter(|t| **t).count(),
            compared: n,
            picture: self.picture(largest),
        }
    }

    /// A unit's values with mean 0 and norm 1; nothing where they do not vary.
    fn standardised(&self, unit: usize, least: f64) -> Option<Vec<f64>> {
        let n = self.means.len() as f64;
        let mean = self.means.iter().map(|m| f64::from(m[unit])).sum::<f64>() / n;
        let about: Vec<f64> = self.means.iter().map(|m| f64::from(m[unit]) - mean).collect();
        let norm = about.iter().map(|v| v * v).sum::<f64>().sqrt();
        (norm / n.sqrt() > least).then(|| about.iter().map(|v| v / norm).collect())
    }

    fn picture(&self, largest: f32) -> RgbImage {
        let units = self.shape.c.min(PICTURE.0);
        let mut order: Vec<usize> = (0..self.means.len()).collect();
        order.sort_by_key(|&i| (self.labels[i], i));
        let rows = order.len().min(PICTURE.1);
        // Across all classes, not the first images alone.
        let shown: Vec<usize> = (0..rows).map(|r| order[r * order.len() / rows]).collect();
        RgbImage::from_fn(units.max(1) as u32, rows.max(1) as u32, |x, y| {
            let value = shown.get(y as usize).and_then(|&i| self.means[i].get(x as usize)).copied().unwrap_or(0.0);
            let part = if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
            // The root shows what is weak; blue is below 0.
            let strong = (255.0 * part.abs().sqrt()) as u8;
            if part < 0.0 {
                Rgb([strong / 4, strong / 2, strong])
            } else {
                Rgb([strong, strong, (f32::from(strong) * 0.8) as u8])
            }
        })
    }
}

impl Kind {
    fn is_off(self, v: f64) -> bool {
        match self {
            Self::Rectified => v <= 0.0,
            Self::Bounded(low, high) => {
                let near = SATURATED * (high - low);
                v < low + near || v > high - near
            }
            Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six units over 40 images: one never on, one always the same, two that are the same but for a factor, one of its own
    /// noise, and one that is on for every second image.
    #[test]
    fn dead_constant_and_twin_units_are_counted() {
        let mut s = Sample::new("fc", Neuron::Relu, Shape::new(1, 1, 1, 6));
        for i in 0..40u32 {
            let a = f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 + 0.1;
            let b = f64::from(i.wrapping_mul(2_246_822_519) >> 16) / 65_536.0 + 0.1;
            s.add(&[0.0, 1.0, a, 3.0 * a, b, f64::from(i % 2)], &[0]);
        }
        let f = s.found();
        assert_eq!((f.units, f.images, f.dead, f.constant, f.twins, f.compared), (6, 40, 1, 2, 2, 4));
        assert_eq!(f.always_on, 4);
        assert!((f.off - 1.5 / 6.0).abs() < 1e-12, "{}", f.off);
    }

    /// Three units whose correlations over four images are 1, −1 and 0 by hand: mean |r| = (1 + 0 + 0) / 3.
    #[test]
    fn correlations_are_pearsons() {
        let mut s = Sample::new("fc", Neuron::NONE, Shape::new(1, 1, 1, 3));
        for row in [[1.0, -2.0, 1.0], [2.0, -4.0, -1.0], [3.0, -6.0, -1.0], [4.0, -8.0, 1.0]] {
            s.add(&row, &[0]);
        }
        let f = s.found();
        assert!((f.correlation - 1.0 / 3.0).abs() < 1e-9, "{}", f.correlation);
        assert_eq!((f.twins, f.dead), (2, 0));
    }
}
