//! CIFAR-10 and CIFAR-100 in their binary versions: records of the label (CIFAR-100: coarse, then fine; the fine one is
//! taken) and 3072 bytes, the red, green and blue planes of 32×32 pixels. They are interleaved here.

use super::sources::{Find, Folder, Kind};
use super::{DataSet, Error, ImageShape, Images, Result, Source, numbered};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

const SHAPE: ImageShape = ImageShape::new(32, 32, 3);
const PLANE: usize = 32 * 32;

/// Folders of CIFAR-10.
pub(super) const KIND_10: Kind =
    Kind { name: "CIFAR-10's binary version", looks: "data_batch_1.bin", find: Find::Set(open_10), file: None };

/// Folders of CIFAR-100.
pub(super) const KIND_100: Kind =
    Kind { name: "CIFAR-100's binary version", looks: "train.bin", find: Find::Set(open_100), file: None };

/// Opens CIFAR-10: as many training batches as there are, from 1 on without a gap.
fn open_10(folder: &Folder) -> Result<Option<DataSet>> {
    let Some(last) = folder.files.iter().filter_map(|name| batch_number(name)).max() else { return Ok(None) };
    let train: Vec<_> = (1..=last).map(|number| format!("data_batch_{number}.bin")).collect();
    let format = Format {
        kind: "CIFAR-10",
        needs: "data_batch_1.bin to data_batch_5.bin and test_batch.bin",
        labels: 1,
        classes: 10,
        names: "batches.meta.txt",
    };
    format.open(folder, &train, "test_batch.bin").map(Some)
}

/// Opens CIFAR-100.
fn open_100(folder: &Folder) -> Result<Option<DataSet>> {
    if !folder.has("train.bin") {
        return Ok(None);
    }
    let format =
        Format { kind: "CIFAR-100", needs: "train.bin and test.bin", labels: 2, classes: 100, names: "fine_label_names.txt" };
    format.open(folder, &["train.bin".to_owned()], "test.bin").map(Some)
}

/// N of data_batch_N.bin.
fn batch_number(name: &str) -> Option<u16> {
    let number = name.strip_prefix("data_batch_")?.strip_suffix(".bin")?;
    if number.starts_with(['0', '+']) { None } else { number.parse().ok() }
}

struct Format {
    kind: &'static str,
    needs: &'static str,
    /// Bytes of label before the pixels; the last one counts.
    labels: usize,
    classes: usize,
    /// The file that names the classes, if it is there.
    names: &'static str,
}

impl Format {
    fn open(&self, folder: &Folder, train: &[String], test: &str) -> Result<DataSet> {
        let (path, options) = (folder.path(), folder.options);
        for name in train.iter().map(String::as_str).chain([test]) {
            if !folder.has(name) {
                return Err(Error::Missing { path: path.join(name), kind: self.kind, needs: self.needs });
            }
        }
        let mut images = self.read(&path.join(&train[0]), options.train)?;
        for name in &train[1..] {
            let left = options.train.map(|limit| limit - images.len());
            if left == Some(0) {
                break;
            }
            images.append(self.read(&path.join(name), left)?)?;
        }
        let test = self.read(&path.join(test), options.test)?;
        Ok(DataSet {
            name: String::new(),
            train: Arc::new(images),
            test: Arc::new(test),
            classes: self.classes,
            class_names: self.names(folder)?,
            warnings: Vec::new(),
        })
    }

    /// Reads the first `limit` records of a file.
    fn read(&self, path: &Path, limit: Option<usize>) -> Result<Images> {
        let io = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let (length, record) = (file.metadata().map_err(io)?.len(), self.labels + SHAPE.bytes());
        if length == 0 {
            return Err(Error::Empty { what: path.display().to_string() });
        }
        if length % record as u64 != 0 {
            let expected = format!("whole {} records of {record} bytes", self.kind);
            let found = format!("{length} bytes, {} too many", length % record as u64);
            return Err(Error::Length { path: path.to_owned(), expected, found });
        }
        let too_large = || Error::TooLarge { path: path.to_owned(), bytes: u128::from(length) };
        let count = usize::try_from(length).map_err(|_| too_large())? / record;
        let count = limit.map_or(count, |limit| count.min(limit));
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        pixels.try_reserve_exact(count * SHAPE.bytes()).map_err(|_| too_large())?;
        labels.try_reserve_exact(count).map_err(|_| too_large())?;
        let mut bytes = vec![0; record * 64];
        for first in (0..count).step_by(64) {
            let part = &mut bytes[..record * (count - first).min(64)];
            file.read_exact(part).map_err(|e| match e.kind() {
                ErrorKind::UnexpectedEof => Error::Length {
                    path: path.to_owned(),
                    expected: format!("{count} records of {record} bytes"),
                    found: "fewer: it was cut while it was read".to_owned(),
                },
                _ => io(e),
            })?;
            for record in part.chunks_exact(record) {
                let (label, planes) = record.split_at(self.labels);
                labels.push(i32::from(label[self.labels - 1]));
                pixels.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
            }
        }
        Images::new(path.display().to_string(), SHAPE, pixels, labels)
    }

    fn names(&self, folder: &Folder) -> Result<Vec<String>> {
        if !folder.has(self.names) {
            return Ok(numbered(self.classes));
        }
        let path = folder.path().join(self.names);
        let text = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let text = String::from_utf8_lossy(&text);
        let names: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if names.len() != self.classes {
            return Err(Error::Names { path, found: names.len(), expected: self.classes });
        }
        Ok(names)
    }
}
