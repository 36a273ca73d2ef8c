//! Image files of any size, of a folder, shards or lists: read, decoded and cut to the data set's shape when they are asked for.
//!
//! The shorter side is resized to `data.size`; where that is not given, the picture covers the image. A test takes the middle, training
//! a random part. Only the part that is taken is resized. Statistics are those of at most [`MEASURED`] images, evenly spread.

use super::augment::Draw;
use super::decode::{At, Part, Picture, decode};
use super::faults::{Faults, OnError};
use super::index::{Classes, Index, Numbering};
use super::{DataSet, Error, ImageShape, Options, Result, Source};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

/// Images that statistics are of.
pub const MEASURED: usize = 16_384;
/// Images that are looked at for their shape.
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

    fn origin(&self, i: usize) -> String {
        self.index.origin(i)
    }

    fn measured(&self) -> usize {
        self.len().min(MEASURED)
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
    let Found { mut train, test, classes, numbering, mut warnings } = found;
    let (numbers, class_names) = classes.settle(numbering)?;
    train.renumber(&numbers);
    let mut test = match test {
        Some(mut test) => {
            test.renumber(&numbers);
            test
        }
        None => {
            let (rest, held) = hold_out(&train, class_names.len());
            warnings.push(format!(
                "{path} has no test set: one image in {HELD_OUT} of each class, {} in all, is tested on and not trained on",
                held.len()
            ));
            train = rest;
            held
        }
    };
    for (index, limit) in [(&mut train, options.train), (&mut test, options.test)] {
        if let Some(limit) = limit.filter(|&limit| limit < index.len()) {
            // Evenly spread, as the images of a class may lie together.
            *index = index.only((0..limit).map(|i| (i as u128 * index.len() as u128 / limit as u128) as usize));
        }
    }
    for (index, set) in [(&train, "training"), (&test, "test")] {
        if index.len() == 0 {
            return Err(Error::Empty { what: format!("the {set} set of {path}") });
        }
    }
    warnings.extend(class_warnings(&train, &test, &class_names));
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

/// What is odd about the classes: those without test images, without training images, without either.
fn class_warnings(train: &Index, test: &Index, names: &[String]) -> Vec<String> {
    let count = |index: &Index| {
        let mut counts = vec![0_usize; names.len()];
        (0..index.len()).for_each(|i| counts[index.class(i) as usize] += 1);
        counts
    };
    let (trained, tested) = (count(train), count(test));
    let list = |wanted: &dyn Fn(usize, usize) -> bool| {
        let found: Vec<&str> = (0..names.len()).filter(|&c| wanted(trained[c], tested[c])).map(|c| names[c].as_str()).collect();
        let more = if found.len() > 5 { format!(" and {} more", found.len() - 5) } else { String::new() };
        (!found.is_empty()).then(|| format!("{}{more}", found[..found.len().min(5)].join(", ")))
    };
    [
        (list(&|a, b| a > 0 && b == 0), "no test image is of class"),
        (list(&|a, b| a == 0 && b > 0), "no training image is of class"),
        (list(&|a, b| a == 0 && b == 0), "a gap in the labels: no image is of class"),
    ]
    .into_iter()
    .filter_map(|(classes, what)| classes.map(|classes| format!("{what} {classes}")))
    .collect()
}

/// The shape of a set's images where it is not asked for: that of all its pictures, or a square of the size asked for. They are
/// grey where all that are looked at are.
fn shape_of(pictures: &Pictures, size: Option<usize>) -> Result<ImageShape> {
    let (count, mut shapes) = (pictures.len().min(LOOKED_AT), Vec::new());
    let mut failure = None;
    for k in 0..count {
        let i = k * pictures.len() / count;
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
