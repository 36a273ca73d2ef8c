//! Where in an image a net sees a class: the image with the probability of the class at each place of a sliding window over it,
//! from nothing (the image, darkened) to 1 (yellow).

use crate::data::decode::Picture;
use image::{Rgb, RgbImage};

/// A map of probabilities: rows, columns, and the values row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// One a place.
    pub values: Vec<f64>,
    /// Rows and columns of the image that the first window's middle lies at, and between two windows.
    pub first: [f64; 2],
    /// Rows and columns of the image between two windows.
    pub step: [f64; 2],
}

impl HeatMap {
    /// The value at a pixel, between the four windows whose middles are nearest.
    fn at(&self, y: usize, x: usize) -> f64 {
        let axis = |v: usize, i: usize, count: usize| {
            let place = ((v as f64 + 0.5 - self.first[i]) / self.step[i]).clamp(0.0, (count - 1) as f64);
            let low = place.floor() as usize;
            (low, (low + 1).min(count - 1), place - low as f64)
        };
        let ((top, below, fy), (left, right, fx)) = (axis(y, 0, self.rows), axis(x, 1, self.columns));
        let value = |r: usize, c: usize| self.values[r * self.columns + c];
        let upper = value(top, left) * (1.0 - fx) + value(top, right) * fx;
        let lower = value(below, left) * (1.0 - fx) + value(below, right) * fx;
        upper * (1.0 - fy) + lower * fy
    }

    /// Lays the map over the picture that it is of.
    pub fn over(&self, picture: &Picture) -> RgbImage {
        let (w, c) = (picture.shape.w, picture.shape.c);
        RgbImage::from_fn(w as u32, picture.shape.h as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let pixel = &picture.pixels[(y * w + x) * c..][..c];
            let own = if c >= 3 { [pixel[0], pixel[1], pixel[2]] } else { [pixel[0]; 3] }.map(f64::from);
            let p = self.at(y, x);
            let glow = [235.0 * p.sqrt().min(1.0), 205.0 * p, 60.0 * (1.0 - p) * p];
            Rgb([0, 1, 2].map(|i| (own[i] * (0.45 + 0.15 * p) + glow[i] * 0.6).min(255.0) as u8))
        })
    }
}
