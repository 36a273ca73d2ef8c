//! Views of an image: which parts of it, at which sizes, a prediction is averaged over.
//!
//! `1`: the middle. `10`: the corners and the middle, and their mirror images (Krizhevsky et al. 2012). `dense`: all of the image
//! and its mirror image, through a net whose fully connected layers are convolutions, so that every window is seen (Sermanet
//! et al. 2013; Simonyan and Zisserman 2014); with offsets, also as shifted by parts of the distance between two windows, as
//! finely as OverFeat's offset pooling resolves. Each at every scale: the length that an image's shorter side is resized to.

use super::subnet::Dense;
use crate::data::ImageShape;
use crate::data::decode::{Part, Picture};
use crate::train::{Error, Result};

/// The longest side of a resized image.
const LONGEST: usize = 1 << 13;

/// Which views.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// What is taken of an image.
    pub kind: Kind,
    /// Lengths of an image's shorter side; none: the image as it is, or 8/7 of what the net sees where parts are taken.
    pub scales: Vec<usize>,
    /// Shifts along each axis, of dense views; 1: none.
    pub offsets: usize,
}

/// What is taken of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The middle.
    One,
    /// Corners, middle, and their mirror images.
    Ten,
    /// Everything.
    Dense,
}

/// The views of images at one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// What images are resized to.
    pub scaled: ImageShape,
    /// What the net sees.
    pub crop: ImageShape,
    /// Where it sees it.
    pub views: Vec<View>,
}

/// One view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its first row.
    pub top: usize,
    /// Its first column.
    pub left: usize,
    /// Mirrored left to right.
    pub flip: bool,
}

impl Views {
    /// One view, the image as it is.
    pub fn plain() -> Self {
        Self { kind: Kind::One, scales: Vec::new(), offsets: 1 }
    }

    /// Whether they need a dense net.
    pub fn is_dense(&self) -> bool {
        self.kind == Kind::Dense
    }

    /// The passes over images of shape `source` for a net that was trained on images of shape `net`.
    ///
    /// # Errors
    /// A scale at which the net does not fit into the image.
    pub fn passes(&self, source: ImageShape, net: ImageShape, dense: Option<&Dense>) -> Result<Vec<Pass>> {
        let side = net.h.min(net.w);
        let scales = match (self.kind, self.scales.as_slice()) {
            (Kind::One, []) => vec![source.h.min(source.w).max(side)],
            (_, []) => vec![(side * 8).div_ceil(7)],
            (_, scales) => scales.to_vec(),
        };
        scales.iter().map(|&scale| self.pass(scale, source, net, dense)).collect()
    }

    fn pass(&self, scale: usize, source: ImageShape, net: ImageShape, dense: Option<&Dense>) -> Result<Pass> {
        let shorter = source.h.min(source.w);
        let resized = |side: usize| (side * scale + shorter / 2) / shorter;
        let scaled = ImageShape::new(resized(source.h), resized(source.w), source.c);
        if scaled.h < net.h || scaled.w < net.w || scaled.h.max(scaled.w) > LONGEST {
            return Err(Error::Argument(format!(
                "--scales {scale}: images of {}×{} do not hold the {}×{} that the net sees, or have more than {LONGEST} a side",
                scaled.h, scaled.w, net.h, net.w
            )));
        }
        let both = |(top, left): (usize, usize)| [false, true].map(|flip| View { top, left, flip });
        let (down, across) = (scaled.h - net.h, scaled.w - net.w);
        let middle = (down / 2, across / 2);
        let (crop, views) = match self.kind {
            Kind::One => (net, vec![View { top: middle.0, left: middle.1, flip: false }]),
            Kind::Ten => {
                let places = [(0, 0), (0, across), (down, 0), (down, across), middle];
                (net, places.into_iter().flat_map(both).collect())
            }
            Kind::Dense => {
                let stride = dense.and_then(|d| d.stride(net.h, net.w, net.c)).unwrap_or(1);
                let step = stride / self.offsets.max(1);
                let room = step * (self.offsets.max(1) - 1);
                if room > down.min(across) {
                    return Err(Error::Argument(format!(
                        "--offsets {}: images of {}×{} have no room for shifts of {room} pixels; use a larger scale",
                        self.offsets, scaled.h, scaled.w
                    )));
                }
                let crop = ImageShape::new(scaled.h - room, scaled.w - room, scaled.c);
                let shifts = || (0..self.offsets.max(1)).map(|i| i * step);
                let places = shifts().flat_map(|top| shifts().map(move |left| (top, left)));
                (crop, places.flat_map(both).collect())
            }
        };
        Ok(Pass { scaled, crop, views })
    }
}

impl Pass {
    /// The first `count` images of a batch of shape `source`, resized.
    pub fn scaled(&self, source: ImageShape, pixels: &[u8], count: usize) -> Vec<Vec<u8>> {
        let images = pixels.chunks_exact(source.bytes()).take(count);
        images.map(|image| self.resize(Picture { shape: source, pixels: image.to_vec() })).collect()
    }

    /// A picture, resized.
    pub fn resize(&self, picture: Picture) -> Vec<u8> {
        if picture.shape == self.scaled {
            return picture.pixels;
        }
        let mut pixels = vec![0; self.scaled.bytes()];
        let ImageShape { h, w, .. } = picture.shape;
        picture.fit(Part { left: 0.0, top: 0.0, width: w as f64, height: h as f64 }, self.scaled, &mut pixels);
        pixels
    }

    /// Appends a view of a resized image.
    pub fn cut(&self, view: &View, image: &[u8], to: &mut Vec<u8>) {
        let (c, row) = (self.scaled.c, self.scaled.w * self.scaled.c);
        for line in image.chunks_exact(row).skip(view.top).take(self.crop.h) {
            let line = &line[view.left * c..(view.left + self.crop.w) * c];
            if view.flip {
                line.chunks_exact(c).rev().for_each(|pixel| to.extend_from_slice(pixel));
            } else {
                to.extend_from_slice(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Krizhevsky's ten views of 224 pixels out of 256.
    #[test]
    fn ten_views_are_corners_and_middle_with_their_mirror_images() {
        let views = Views { kind: Kind::Ten, scales: vec![256], offsets: 1 };
        let net = ImageShape::new(224, 224, 3);
        let passes = views.passes(net, net, None).unwrap();
        let [pass] = passes.as_slice() else { panic!("{passes:?}") };
        assert_eq!((pass.scaled.h, pass.crop), (256, net));
        let places: Vec<_> = pass.views.iter().map(|v| (v.top, v.left, v.flip)).collect();
        let corners = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)];
        assert_eq!(places, corners.iter().flat_map(|&(t, l)| [(t, l, false), (t, l, true)]).collect::<Vec<_>>());
        assert_eq!(views.passes(net, ImageShape::new(257, 257, 3), None).unwrap_err().exit_status(), 2);
    }

    #[test]
    fn a_view_is_cut_and_mirrored_whole_pixels_at_a_time() {
        let shape = ImageShape::new(2, 3, 2);
        let pass = Pass { scaled: shape, crop: ImageShape::new(1, 2, 2), views: Vec::new() };
        let image: Vec<u8> = (0..12).collect();
        let mut cut = Vec::new();
        pass.cut(&View { top: 1, left: 1, flip: false }, &image, &mut cut);
        pass.cut(&View { top: 0, left: 0, flip: true }, &image, &mut cut);
        assert_eq!(cut, [8, 9, 10, 11, 2, 3, 0, 1]);
    }
}
