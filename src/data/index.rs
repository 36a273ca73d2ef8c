//! Where each image of a set lies: names in one piece of memory, so that a million images take tens of megabytes.

use super::{Error, ImageShape, Result};
use indexmap::IndexMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The largest file of an image that is read.
const LARGEST: u64 = 1 << 28;
/// Classes, at most.
const MAX_CLASSES: u32 = 10_000_000;

/// The bytes of one image.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The file of its name, below a folder.
    Below {
        /// The folder's number.
        folder: u32,
    },
    /// A part of a file.
    Within {
        /// The file's number.
        file: u32,
        /// Where it starts.
        at: u64,
        /// How long it is.
        bytes: u64,
    },
    /// A part of a file: `c` planes of `h` × `w` bytes, those of colour in the order blue, green, red.
    Planes {
        /// The file's number.
        file: u32,
        /// Where it starts.
        at: u64,
        h: u16,
        w: u16,
        c: u8,
    },
}

/// Images in order, with their classes.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    paths: Vec<PathBuf>,
    names: String,
    /// Where each name ends.
    ends: Vec<usize>,
    places: Vec<Place>,
    classes: Vec<u32>,
    /// The values of all images that have some, as many each.
    values: Vec<f32>,
}

impl Index {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a folder or file that images are in; returns its number.
    pub fn add_path(&mut self, path: PathBuf) -> u32 {
        self.paths.push(path);
        self.paths.len() as u32 - 1
    }

    /// Adds an image.
    pub fn push(&mut self, name: &str, place: Place, class: u32) {
        self.names.push_str(name);
        self.ends.push(self.names.len());
        self.places.push(place);
        self.classes.push(class);
    }

    /// Adds an image that has values rather than a class.
    pub fn push_with_values(&mut self, name: &str, place: Place, values: &[f32]) {
        self.push(name, place, 0);
        self.values.extend_from_slice(values);
    }

    /// The image's values; none where it has a class.
    pub fn values(&self, i: usize) -> &[f32] {
        let each = self.values.len() / self.len().max(1);
        &self.values[i * each..(i + 1) * each]
    }

    /// The image's name below its folder or in its file.
    pub fn name(&self, i: usize) -> &str {
        &self.names[if i == 0 { 0 } else { self.ends[i - 1] }..self.ends[i]]
    }

    /// The image's class.
    pub fn class(&self, i: usize) -> u32 {
        self.classes[i]
    }

    /// The image's class by the numbers that [`Classes::settle`] gave.
    pub fn renumber(&mut self, numbers: &[u32]) {
        self.classes.iter_mut().for_each(|class| *class = numbers[*class as usize]);
    }

    /// The images of these numbers alone.
    pub fn only(&self, images: impl Iterator<Item = usize>) -> Self {
        let mut few = Self { paths: self.paths.clone(), ..Self::default() };
        images.for_each(|i| {
            few.push(self.name(i), self.places[i], self.classes[i]);
            few.values.extend_from_slice(self.values(i));
        });
        few
    }

    /// Where the image lies, for people.
    pub fn origin(&self, i: usize) -> String {
        match self.places[i] {
            Place::Below { folder } => self.paths[folder as usize].join(self.name(i)).display().to_string(),
            Place::Within { file, .. } | Place::Planes { file, .. } => {
                format!("{} in {}", self.name(i), self.paths[file as usize].display())
            }
        }
    }

    /// Where the image's bytes are, which no other's are.
    pub fn place(&self, i: usize) -> String {
        match self.places[i] {
            Place::Below { .. } => self.origin(i),
            Place::Within { file, at, .. } | Place::Planes { file, at, .. } => {
                format!("{at} in {}", self.paths[file as usize].display())
            }
        }
    }

    /// The shape of an image that lies in planes of bytes.
    pub fn planes(&self, i: usize) -> Option<ImageShape> {
        match self.places[i] {
            Place::Planes { h, w, c, .. } => Some(ImageShape::new(h.into(), w.into(), c.into())),
            _ => None,
        }
    }

    /// The image's file, where it has one of its own.
    pub fn path(&self, i: usize) -> Option<PathBuf> {
        match self.places[i] {
            Place::Below { folder } => Some(self.paths[folder as usize].join(self.name(i))),
            Place::Within { .. } | Place::Planes { .. } => None,
        }
    }

    /// Whether the image lies in another file than the one before it, of those that hold many.
    pub fn starts_file(&self, i: usize) -> bool {
        let file = |i: usize| match self.places[i] {
            Place::Below { .. } => None,
            Place::Within { file, .. } | Place::Planes { file, .. } => Some(file),
        };
        i == 0 || file(i) != file(i - 1)
    }

    /// Reads the image's bytes.
    pub fn read(&self, i: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let broken = |why: String| Error::Broken { what: self.origin(i), why };
        let (path, part) = match self.places[i] {
            Place::Below { folder } => (self.paths[folder as usize].join(self.name(i)), None),
            Place::Within { file, at, bytes } => (self.paths[file as usize].clone(), Some((at, bytes))),
            Place::Planes { file, at, h, w, c } => {
                let bytes = u64::from(h) * u64::from(w) * u64::from(c);
                (self.paths[file as usize].clone(), Some((at, bytes)))
            }
        };
        let failed = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound => broken("the file is gone".to_owned()),
            ErrorKind::UnexpectedEof => broken("the file ends before it".to_owned()),
            _ => broken(e.to_string()),
        };
        let mut file = File::open(&path).map_err(failed)?;
        bytes.clear();
        let too_large = |size: u64| broken(format!("it has {size} bytes; at most {LARGEST} are read"));
        match part {
            None => {
                let about = file.metadata().map_err(failed)?;
                if !about.is_file() {
                    return Err(broken("it is no file".to_owned()));
                }
                if about.len() > LARGEST {
                    return Err(too_large(about.len()));
                }
                // The file may have grown since.
                (&mut file).take(LARGEST).read_to_end(bytes).map_err(failed)?;
            }
            Some((_, size)) if size > LARGEST => return Err(too_large(size)),
            Some((at, size)) => {
                bytes.resize(size as usize, 0);
                file.read_exact_at(bytes, at).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Classes by name, numbered as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes(IndexMap<String, u32>);

impl Classes {
    /// The number of a class.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.0.get(name) {
            return number;
        }
        let number = self.0.len() as u32;
        self.0.insert(name.to_owned(), number);
        number
    }

    /// The final number of each class, and the classes' names by it.
    pub fn settle(&self, numbering: Numbering) -> Result<(Vec<u32>, Vec<String>)> {
        if numbering == Numbering::Given {
            return Ok(((0..self.0.len() as u32).collect(), self.0.keys().cloned().collect()));
        }
        let values: Option<Vec<u32>> = self.0.keys().map(|name| name.parse().ok()).collect();
        if let (Numbering::Labels, Some(values)) = (numbering, &values) {
            let most = values.iter().copied().max().unwrap_or(0);
            if most >= MAX_CLASSES {
                return Err(Error::Setting(format!(
                    "label {most} makes too many classes; labels start at 0, without large gaps"
                )));
            }
            return Ok((values.clone(), (0..=most).map(|class| class.to_string()).collect()));
        }
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        match values {
            Some(values) => order.sort_by_key(|&i| values[i]),
            None => order.sort_by_key(|&i| self.0.get_index(i).map(|(name, _)| name)),
        }
        let mut numbers = vec![0; order.len()];
        (0..).zip(&order).for_each(|(number, &i)| numbers[i] = number);
        let name = |&i: &usize| self.0.get_index(i).map_or_else(String::new, |(name, _)| name.clone());
        Ok((numbers, order.iter().map(name).collect()))
    }
}

/// How classes are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Numbering {
    /// In the order of their names; where all names are numbers, in the order of these.
    #[default]
    Names,
    /// Names that are all numbers are the classes' numbers; else as `Names`.
    Labels,
    /// As they came.
    Given,
}

/// Which set the name of a folder or a file says that its images are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Split {
    /// To train on.
    Train,
    /// To test on while training.
    Validation,
    /// To test on where there is no validation set.
    Test,
}

impl Split {
    /// Of `train-0.tar`, `imagenet-val-000003.tar`, `test`, …
    pub fn of(name: &str) -> Option<Self> {
        let word = |word: &str| match word.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Validation),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        };
        name.split(|c: char| !c.is_ascii_alphabetic()).find_map(word)
    }
}

/// A path's last part as text, or none where it is no UTF-8.
pub(super) fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}
