//! Image files of any size, of a folder, shards or lists: read, decoded and cut to the data set's shape when they are asked for.
//!
//! The shorter side is resized to `data.size`; where that is not given, the picture covers the image. A test takes the middle, training
//! a random part. Only the part that is taken is resized. Statistics are those of all images, or of as many, evenly spread, as
//! have [`MEASURED`] pixels together.

use super::augment::Draw;
use super::decode::{At, Part, Picture, decode};
use super::faults::{Faults, OnError};
use super::index::{Classes, Index, Numbering};
use super::{DataSet, Error, ImageShape, Options, Result, Source};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Pixels that statistics are of, in all: those of ImageNet take 17 thousand pictures, some ten seconds of two cores.
const MEASURED: usize = 3 << 30;
/// A picture counts as so many pixels at least, since opening its file takes as long.
const LEAST_PIXELS: usize = 1 << 15;
/// Images that are looked at for their shape, or their size.
const LOOKED_AT: usize = 16;
/// Of how many images of a class one is kept for testing where there is no test set.
const HELD_OUT: usize = 10;

/// What was found of a data set: where its images are.
#[derive(Default)]
pub(super) struct Found {
    pub train: Index,
    pub test: Option<Index>,
    pub classes: Classes,
    pub numbering: Numbering,
    /// What classes are called, by their names, where that is not their names.
    pub names: HashMap<String, String>,
    /// The names of the values that each image has, where it has some and no class.
    pub columns: Vec<String>,
    pub warnings: Vec<String>,
}

/// Image files.
pub struct Pictures {
    index: Index,
    shape: ImageShape,
    size: Option<usize>,
    faults: Option<Faults>,
}

impl Pictures {
    /// An image in its own size; of 1 or 3 channels, or those that it has.
    pub(super) fn picture(&self, i: usize, channels: Option<usize>) -> Result<Picture> {
        thread_local!(static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        BYTES.with_borrow_mut(|bytes| {
            self.index.read(i, bytes)?;
            if let Some(shape) = self.index.planes(i) {
                return Ok(Picture::of_planes(bytes, shape, channels.unwrap_or(shape.c)));
            }
            decode(bytes, channels).map_err(|why| Error::Broken { what: self.index.origin(i), why })
        })
    }
}

impl Source for Pictures {
    fn len(&self) -> usize {
        self.index.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn label(&self, i: usize) -> i32 {
        self.index.class(i) as i32
    }

    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()> {
        let picture = self.picture(i, Some(self.shape.c))?;
        let part = Part::of(picture.shape.w, picture.shape.h, self.size, self.shape, At::Centre);
        picture.fit(part, self.shape, pixels);
        Ok(())
    }

    fn sample(&self, i: usize, draw: &Draw, pixels: &mut [u8]) -> Result<i32> {
        let picture = self.picture(i, Some(self.shape.c))?;
        picture.fit(draw.part(picture.shape, self.size, self.shape), self.shape, pixels);
        Ok(self.label(i))
    }

    fn values(&self) -> usize {
        self.index.values(0).len()
    }

    fn read_values(&self, i: usize, values: &mut [f32]) {
        values.copy_from_slice(self.index.values(i));
    }

    fn origin(&self, i: usize) -> String {
        self.index.origin(i)
    }

    fn place(&self, i: usize) -> Option<String> {
        Some(self.index.place(i))
    }

    fn measured(&self) -> usize {
        // By a few of them, since only decoding a picture tells its size; what is broken tells nothing.
        let sizes: Vec<usize> = spread(self.len(), LOOKED_AT)
            .filter_map(|i| self.picture(i, None).ok())
            .map(|picture| (picture.shape.h * picture.shape.w).max(LEAST_PIXELS))
            .collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len().max(1);
        self.len().min(MEASURED / mean.max(LEAST_PIXELS))
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn starts_shard(&self, i: usize) -> bool {
        self.index.starts_file(i)
    }

    fn file(&self, i: usize, bytes: &mut Vec<u8>) -> Result<bool> {
        if self.index.planes(i).is_some() {
            let Picture { shape, pixels } = self.picture(i, None)?;
            let kind = if shape.c == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
            bytes.clear();
            let done = PngEncoder::new(bytes).write_image(&pixels, shape.w as u32, shape.h as u32, kind);
            return done.map(|()| true).map_err(|e| Error::Broken { what: self.index.origin(i), why: e.to_string() });
        }
        self.index.read(i, bytes).map(|()| true)
    }

    fn path(&self, i: usize) -> Option<PathBuf> {
        self.index.path(i)
    }

    fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }
}

/// The data set of what was found.
pub(super) fn assemble(found: Found, path: &str, options: &Options) -> Result<DataSet> {
    let Found { mut train, test, classes, numbering, names, columns, mut warnings } = found;
    let has_values = !columns.is_empty();
    let (numbers, class_names) = if has_values { (vec![0], columns) } else { classes.settle(numbering)? };
    let class_names: Vec<String> = class_names.into_iter().map(|class| names.get(&class).cloned().unwrap_or(class)).collect();
    train.renumber(&numbers);
    let mut test = match test {
        Some(mut test) => {
            test.renumber(&numbers);
            test
        }
        None => {
            let (rest, held) = hold_out(&train, class_names.len());
            warnings.push(format!(
                "{path} has no test set: one image in {HELD_OUT}{}, {} in all, is tested on and not trained on",
                if has_values { "" } else { " of each class" },
                held.len()
            ));
            train = rest;
            held
        }
    };
    for (index, limit) in [(&mut train, options.train), (&mut test, options.test)] {
        if let Some(limit) = limit.filter(|&limit| limit < index.len()) {
            // Evenly spread, as the images of a class may lie together.
            *index = index.only(spread(index.len(), limit));
        }
    }
    for (index, set) in [(&train, "training"), (&test, "test")] {
        if index.len() == 0 {
            return Err(Error::Empty { what: format!("the {set} set of {path}") });
        }
    }
    let pictures = |index| Pictures {
        index,
        shape: ImageShape::new(1, 1, 3),
        size: options.size,
        faults: (options.on_error == OnError::Skip).then(Faults::default),
    };
    let (mut train, mut test) = (pictures(train), pictures(test));
    let shape = match options.shape {
        Some(shape) => shape,
        None => shape_of(&train, options.size)?,
    };
    check(shape, options.size)?;
    train.shape = shape;
    test.shape = shape;
    Ok(DataSet {
        name: String::new(),
        train: Arc::new(train),
        test: Arc::new(test),
        classes: class_names.len(),
        class_names,
        warnings,
    })
}

fn check(shape: ImageShape, size: Option<usize>) -> Result<()> {
    if !(shape.c == 1 || shape.c == 3) || !(1..=1 << 15).contains(&shape.h) || !(1..=1 << 15).contains(&shape.w) {
        return Err(Error::Setting(format!(
            "image files make no images of {shape}; they have 1 or 3 channels, and 32768 pixels a side at most"
        )));
    }
    match size {
        Some(size) if size < shape.h.max(shape.w) => Err(Error::Setting(format!(
            "data.size = {size} is below the images' {shape}: the shorter side is resized to it, and a part of the picture taken"
        ))),
        Some(size) if size > 1 << 15 => Err(Error::Setting(format!("data.size = {size} is too large; at most 32768"))),
        _ => Ok(()),
    }
}

/// `some` of `all` numbers from 0, evenly spread; all of them where they are fewer.
fn spread(all: usize, some: usize) -> impl Iterator<Item = usize> {
    let some = some.min(all);
    (0..some).map(move |i| (i as u128 * all as u128 / some as u128) as usize)
}

/// One image in [`HELD_OUT`] of each class, and the rest. A class with one image keeps it for training.
fn hold_out(all: &Index, classes: usize) -> (Index, Index) {
    let mut seen = vec![0_usize; classes];
    let (mut rest, mut held) = (Vec::new(), Vec::new());
    for i in 0..all.len() {
        let seen = &mut seen[all.class(i) as usize];
        *seen += 1;
        // The second, so that few images are enough for some to be held out.
        if *seen % HELD_OUT == 2 { held.push(i) } else { rest.push(i) }
    }
    (all.only(rest.into_iter()), all.only(held.into_iter()))
}

/// The shape of a set's images where it is not asked for: that of all its pictures, or a square of the size asked for. They are
/// grey where all that are looked at are.
fn shape_of(pictures: &Pictures, size: Option<usize>) -> Result<ImageShape> {
    let (mut shapes, mut failure) = (Vec::new(), None);
    for i in spread(pictures.len(), LOOKED_AT) {
        match pictures.picture(i, None) {
            Ok(picture) => shapes.push((i, picture.shape)),
            Err(e) => match pictures.faults() {
                Some(faults) => {
                    faults.note(i, &e);
                    failure = Some(e);
                }
                None => return Err(e),
            },
        }
    }
    let Some(&(first, shape)) = shapes.first() else {
        return Err(failure.unwrap_or_else(|| Error::Empty { what: "the training set".to_owned() }));
    };
    let c = if shapes.iter().all(|(_, shape)| shape.c == 1) { 1 } else { 3 };
    if let Some(size) = size {
        return Ok(ImageShape::new(size, size, c));
    }
    match shapes.iter().find(|(_, other)| (other.h, other.w) != (shape.h, shape.w)) {
        Some(&(i, other)) => Err(Error::Sizes {
            what: [pictures.origin(first), pictures.origin(i)],
            sizes: [(shape.h, shape.w), (other.h, other.w)],
        }),
        None => Ok(ImageShape { c, ..shape }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::index::Place;

    /// Statistics are of all 50,000 images of CIFAR-10's size, of 17,179 of ImageNet's 1,281,167 (3·2³⁰ pixels of 500×375), and of
    /// 98,304 of a million tiny ones (each as 2¹⁵ pixels).
    #[test]
    fn statistics_are_of_all_images_or_of_so_many_pixels() {
        let folder = tempfile::tempdir().unwrap();
        for (w, h, images, measured) in [(32, 32, 50_000, 50_000), (500, 375, 1_281_167, 17_179), (1, 1, 1_000_000, 98_304)] {
            let file = folder.path().join("image.png");
            image::GrayImage::new(w, h).save(&file).unwrap();
            let mut index = Index::default();
            let number = index.add_path(file);
            let bytes = std::fs::metadata(folder.path().join("image.png")).unwrap().len();
            (0..images).for_each(|_| index.push("", Place::Within { file: number, at: 0, bytes }, 0));
            let pictures = Pictures { index, shape: ImageShape::new(8, 8, 1), size: None, faults: None };
            assert_eq!(pictures.measured(), measured, "of {w}×{h}");
        }
    }
}
