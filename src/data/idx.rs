//! idx files, as MNIST and its likes come in: two zero bytes, the element's type, the number of dimensions, each dimension
//! as a big-endian 32-bit number, then the elements. Images are bytes `[n][h][w]` or `[n][h][w][c]`, labels bytes `[n]`.
//! Files may be gzipped, whatever they are called: the first bytes tell.
//!
//! A header is not believed before the file's length has been held against it; gzip, which does not tell its length, packs
//! at most 1032 to 1, so what a file can hold is known there too.

use super::sources::{Find, Folder, Kind};
use super::{DataSet, Error, ImageShape, Images, Options, Result, numbered};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;

const SET: &str = "a data set of idx files";
const NEEDS: &str =
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or .gz";

/// The most that a byte of deflate unpacks to.
const GZIP_RATIO: u64 = 1032;

/// Folders of them.
pub(super) const KIND: Kind =
    Kind { name: "idx files", looks: "train-images-idx3-ubyte, plain or .gz", find: Find::Set(open), file: None };

/// Opens a folder of idx files.
fn open(folder: &Folder) -> Result<Option<DataSet>> {
    let Folder { files, options, .. } = folder;
    if !["images", "labels"].iter().any(|part| ["train", "t10k", "test"].iter().any(|set| find(files, &[set], part).is_some())) {
        return Ok(None);
    }
    let folder = folder.path();
    let part = |sets: &[&str], part: &str| match find(files, sets, part) {
        Some(name) => Input::file(folder.join(name)),
        None => {
            let path = folder.join(format!("{}-{part}-idx{}-ubyte", sets[0], if part == "images" { 3 } else { 1 }));
            Err(Error::Missing { path, kind: SET, needs: NEEDS })
        }
    };
    let (train, test) = (["train"], ["t10k", "test"]);
    let (train, test) = ((part(&train, "images")?, part(&train, "labels")?), (part(&test, "images")?, part(&test, "labels")?));
    assemble(train, test, options).map(Some)
}

/// The built-in set: the first 10,000 training digits of MNIST (`data/mnist-10k/README.md`).
pub(super) fn mnist_10k(options: &Options) -> Result<DataSet> {
    macro_rules! embedded {
        ($name:literal) => {
            Input::embedded(
                concat!("mnist-10k/", $name),
                include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist-10k/", $name)),
            )
        };
    }
    assemble(
        (embedded!("train-images-idx3-ubyte.gz")?, embedded!("train-labels-idx1-ubyte.gz")?),
        (embedded!("test-images-idx3-ubyte.gz")?, embedded!("test-labels-idx1-ubyte.gz")?),
        options,
    )
}

/// The first file named as a part (`images`, `labels`) of one of the sets (`train`, `t10k`): `train-images-idx3-ubyte`,
/// `train-images.idx3-ubyte.gz`.
fn find<'a>(files: &'a [String], sets: &[&str], part: &str) -> Option<&'a String> {
    files.iter().find(|name| {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        sets.iter().any(|set| {
            plain
                .strip_prefix(set)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.strip_prefix(part))
                .and_then(|rest| rest.strip_prefix(['-', '.']))
                .is_some_and(|rest| matches!(rest, "idx1-ubyte" | "idx3-ubyte" | "idx4-ubyte"))
        })
    })
}

/// Makes a data set of images and labels to train on, and to test on.
fn assemble(train: (Input, Input), test: (Input, Input), options: &Options) -> Result<DataSet> {
    let labels = train.1.labels()?;
    // All labels count, those behind the limit too, so that a limit does not change the net.
    let classes = options.classes.unwrap_or_else(|| labels.1.iter().max().map_or(0, |&most| usize::from(most) + 1));
    let train = pair(train.0, labels, classes, options.train)?;
    let labels = test.1.labels()?;
    let test = pair(test.0, labels, classes, options.test)?;
    Ok(DataSet {
        name: String::new(),
        train: Arc::new(train),
        test: Arc::new(test),
        classes,
        class_names: numbered(classes),
        warnings: Vec::new(),
    })
}

/// The first `limit` images with their labels.
fn pair(images: Input, labels: (PathBuf, Vec<u8>), classes: usize, limit: Option<usize>) -> Result<Images> {
    let (labels_path, labels) = labels;
    let path = images.path.clone();
    let (count, shape, pixels) = images.images(limit)?;
    if count != labels.len() {
        return Err(Error::Counts {
            images: path.display().to_string(),
            image_count: count,
            labels: labels_path.display().to_string(),
            label_count: labels.len(),
        });
    }
    if let Some(i) = labels.iter().position(|&label| usize::from(label) >= classes) {
        let what = format!("image {i} in {}", labels_path.display());
        return Err(Error::Label { what, label: i32::from(labels[i]), classes });
    }
    let labels = labels[..count.min(limit.unwrap_or(count))].iter().map(|&label| i32::from(label)).collect();
    Images::new(path.display().to_string(), shape, pixels, labels)
}

/// An idx file that is being read.
struct Input {
    path: PathBuf,
    /// The most bytes it can hold, unpacked; exact if it is not packed.
    most: u64,
    packed: bool,
    reader: Box<dyn Read>,
}

impl Input {
    fn file(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let length = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        Self::new(path, length, BufReader::new(file))
    }

    fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::new(PathBuf::from(name), bytes.len() as u64, bytes)
    }

    fn new(path: PathBuf, length: u64, mut reader: impl BufRead + 'static) -> Result<Self> {
        let start = reader.fill_buf().map_err(|e| Error::io(&path, e))?;
        Ok(if start.starts_with(&[0x1f, 0x8b]) {
            let most = length.saturating_mul(GZIP_RATIO);
            Self { path, most, packed: true, reader: Box::new(MultiGzDecoder::new(reader)) }
        } else {
            Self { path, most: length, packed: false, reader: Box::new(reader) }
        })
    }

    /// Reads labels, with the path they came from.
    fn labels(mut self) -> Result<(PathBuf, Vec<u8>)> {
        let dimensions = self.header("00 00 08 01 (an idx file of labels)", &[1])?;
        let (count, _) = self.promised(&dimensions, "labels")?;
        let labels = self.elements(count, &dimensions, "labels")?;
        self.end(count, &dimensions, "labels")?;
        if labels.is_empty() {
            return Err(Error::Empty { what: self.path.display().to_string() });
        }
        Ok((self.path, labels))
    }

    /// Reads the first `limit` images: the number of images in the file, the shape of one, and their pixels.
    fn images(mut self, limit: Option<usize>) -> Result<(usize, ImageShape, Vec<u8>)> {
        let dimensions = self.header("00 00 08 03 or 00 00 08 04 (an idx file of images, h×w or h×w×c, in bytes)", &[3, 4])?;
        let (total, count) = self.promised(&dimensions, "images")?;
        if total == 0 {
            return Err(Error::Empty { what: self.path.display().to_string() });
        }
        let extent = |i: usize| dimensions.get(i).map_or(1, |&d| d as usize);
        let shape = ImageShape::new(extent(1), extent(2), extent(3));
        let taken = limit.map_or(count, |limit| count.min(limit));
        let pixels = self.elements(taken * shape.bytes(), &dimensions, "images")?;
        if taken == count {
            self.end(total, &dimensions, "images")?;
        }
        Ok((count, shape, pixels))
    }

    /// Reads the header: the magic number, whose dimensions are of an expected number, and the dimensions.
    fn header(&mut self, expected: &'static str, ranks: &[u8]) -> Result<Vec<u32>> {
        let mut magic = [0; 4];
        let got = self.fill(&mut magic)?;
        if got < 4 || magic[..3] != [0, 0, 8] || !ranks.contains(&magic[3]) {
            let bytes: Vec<_> = magic[..got].iter().map(|byte| format!("{byte:02x}")).collect();
            let found = if bytes.is_empty() { "nothing (it is empty)".to_owned() } else { bytes.join(" ") };
            return Err(Error::Magic { path: self.path.clone(), found, expected });
        }
        let mut dimensions = Vec::new();
        for _ in 0..magic[3] {
            let mut dimension = [0; 4];
            let got = self.fill(&mut dimension)?;
            if got < 4 {
                let read = 4 * (1 + dimensions.len()) + got;
                let expected = format!("a header of {} bytes", 4 * (1 + usize::from(magic[3])));
                return Err(Error::Length { path: self.path.clone(), expected, found: format!("{read} bytes") });
            }
            dimensions.push(u32::from_be_bytes(dimension));
        }
        Ok(dimensions)
    }

    /// Elements and items that the header promises, if the file can hold them.
    fn promised(&self, dimensions: &[u32], what: &str) -> Result<(usize, usize)> {
        let elements: u128 = dimensions.iter().map(|&d| u128::from(d)).product();
        let bytes = elements + header_bytes(dimensions);
        if bytes > u128::from(self.most) || (!self.packed && bytes != u128::from(self.most)) {
            let found = if self.packed { format!("at most {} (packed)", self.most) } else { format!("{} bytes", self.most) };
            return Err(self.length(dimensions, what, found));
        }
        match usize::try_from(elements) {
            Ok(elements) => Ok((elements, dimensions[0] as usize)),
            Err(_) => Err(Error::TooLarge { path: self.path.clone(), bytes: elements }),
        }
    }

    /// Reads `count` elements; the memory grows with what is there.
    fn elements(&mut self, count: usize, dimensions: &[u32], what: &str) -> Result<Vec<u8>> {
        let mut elements = Vec::new();
        let trusted = if self.packed { count.min(1 << 26) } else { count };
        if elements.try_reserve_exact(trusted).is_err() {
            return Err(Error::TooLarge { path: self.path.clone(), bytes: count as u128 });
        }
        match self.reader.by_ref().take(count as u64).read_to_end(&mut elements) {
            Err(e) if e.kind() == ErrorKind::OutOfMemory => {
                Err(Error::TooLarge { path: self.path.clone(), bytes: count as u128 })
            }
            Err(e) => Err(self.failed(e)),
            Ok(got) if got < count => {
                let found = format!("{} bytes", got as u128 + header_bytes(dimensions));
                Err(self.length(dimensions, what, found))
            }
            Ok(_) => Ok(elements),
        }
    }

    /// Checks that nothing is left; a gzip file's checksum is compared here.
    fn end(&mut self, elements: usize, dimensions: &[u32], what: &str) -> Result<()> {
        if self.fill(&mut [0])? == 0 {
            return Ok(());
        }
        let found = format!("more than {} bytes", elements as u128 + header_bytes(dimensions));
        Err(self.length(dimensions, what, found))
    }

    /// Reads until the buffer is full or the file ends; the bytes that were there.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.reader.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(got)
    }

    fn length(&self, dimensions: &[u32], what: &str, found: String) -> Error {
        let extents: Vec<_> = dimensions[1..].iter().map(u32::to_string).collect();
        let of = if extents.is_empty() { String::new() } else { format!(" of {}", extents.join("×")) };
        let bytes = dimensions.iter().map(|&d| u128::from(d)).product::<u128>() + header_bytes(dimensions);
        let expected = format!("{} {what}{of}, {bytes} bytes with its header", dimensions[0]);
        Error::Length { path: self.path.clone(), expected, found }
    }

    fn failed(&self, e: std::io::Error) -> Error {
        let damaged = matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof);
        if self.packed && damaged { Error::Gzip { path: self.path.clone(), source: e } } else { Error::io(&self.path, e) }
    }
}

fn header_bytes(dimensions: &[u32]) -> u128 {
    4 + 4 * dimensions.len() as u128
}
