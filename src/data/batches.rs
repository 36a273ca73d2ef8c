//! Python's batches of images: cuda-convnet's `data_batch_1`, … with `batches.meta` beside them, and CIFAR-10's and CIFAR-100's Python
//! versions. A batch is a pickled dictionary: `data`, an array of bytes with an image a row or a column (planes of red, green and
//! blue), or a list of JPEGs, as cuda-convnet2's make-data.py writes; `labels`, or `fine_labels`. Pickles are read as data, and nothing in
//! them runs ([`pickle`](super::pickle)).

use super::index::{Classes, Index, Numbering, Place};
use super::pickle::{self, Id, Pickle};
use super::pictures::{self, Found};
use super::sources::{Find, Folder, Kind};
use super::{DataSet, Error, ImageShape, Images, Result, numbered};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The largest batch that is read.
const LARGEST: u64 = 1 << 31;

/// Folders of them.
pub(super) const KIND: Kind = Kind { name: "Python's batches", looks: "data_batch_1", find: Find::Set(open), file: None };

/// The names of a set's batches, the training ones and then the one to test on: where there is no test batch it is the last one, as
/// cuda-convnet's users had it.
fn names(folder: &Folder) -> Option<(Vec<String>, String)> {
    let mut batches: Vec<(u32, &String)> = folder
        .files
        .iter()
        .filter_map(|name| {
            let number = name.strip_prefix("data_batch_")?;
            number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok().map(|number| (number, name)))?
        })
        .collect();
    batches.sort();
    let mut batches: Vec<String> = batches.into_iter().map(|(_, name)| name.clone()).collect();
    if folder.has("test_batch") && !batches.is_empty() {
        return Some((batches, "test_batch".to_owned()));
    }
    if batches.len() > 1 {
        return batches.pop().map(|test| (batches, test));
    }
    ["meta", "train", "test"].iter().all(|name| folder.has(name)).then(|| (vec!["train".to_owned()], "test".to_owned()))
}

/// Opens the batches of a folder, if there are any.
fn open(folder: &Folder) -> Result<Option<DataSet>> {
    let Some((train, test)) = names(folder) else { return Ok(None) };
    let (class_names, options) = (meta(folder)?, folder.options);
    let mut read = Reader { images: None, index: Index::default(), classes: Classes::default() };
    for name in &train {
        read.batch(&folder.path().join(name))?;
    }
    let mut tests = Reader { images: None, index: Index::default(), classes: std::mem::take(&mut read.classes) };
    tests.batch(&folder.path().join(test))?;
    match (read.images, tests.images) {
        (Some(train), Some(test)) => {
            let most = train.labels().iter().chain(test.labels()).copied().max().unwrap_or(0);
            let classes = class_names.as_ref().map_or(most.max(0) as usize + 1, Vec::len);
            let limited = |images: Images, limit: Option<usize>| limit.map_or(Ok(images.clone()), |n| images.first(n));
            let (train, test) = (limited(train, options.train)?, limited(test, options.test)?);
            Ok(Some(DataSet {
                name: String::new(),
                train: Arc::new(train),
                test: Arc::new(test),
                classes,
                class_names: class_names.unwrap_or_else(|| numbered(classes)),
                warnings: Vec::new(),
            }))
        }
        (None, None) => {
            let found = Found {
                train: read.index,
                test: Some(tests.index),
                classes: tests.classes,
                numbering: Numbering::Labels,
                ..Found::default()
            };
            let mut set = pictures::assemble(found, folder.name, options)?;
            if let Some(names) = class_names.filter(|names| names.len() >= set.classes) {
                set.classes = names.len();
                set.class_names = names;
            }
            Ok(Some(set))
        }
        _ => {
            let why = "some batches hold pixels, and others JPEGs".to_owned();
            Err(Error::Pickle { path: folder.path().to_owned(), why })
        }
    }
}

/// The classes' names in `batches.meta` or `meta`.
fn meta(folder: &Folder) -> Result<Option<Vec<String>>> {
    let Some(name) = ["batches.meta", "meta"].into_iter().find(|name| folder.has(name)) else {
        return Ok(None);
    };
    let path = folder.path().join(name);
    let bytes = load(&path)?;
    let pickle = pickle::read(&bytes).map_err(|why| Error::Pickle { path: path.clone(), why })?;
    let names = ["label_names", "fine_label_names"].into_iter().find_map(|key| pickle.get(pickle.root, key));
    let Some(names) = names.and_then(|names| pickle.list(names)) else { return Ok(None) };
    Ok(names.iter().map(|&name| pickle.bytes(name).map(|name| String::from_utf8_lossy(&name).into_owned())).collect())
}

fn load(path: &Path) -> Result<Vec<u8>> {
    let about = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if about.len() > LARGEST {
        return Err(Error::TooLarge { path: path.to_owned(), bytes: u128::from(about.len()) });
    }
    fs::read(path).map_err(|e| Error::io(path, e))
}

/// What batches hold: images, or JPEGs where they lie.
struct Reader {
    images: Option<Images>,
    index: Index,
    classes: Classes,
}

impl Reader {
    fn batch(&mut self, path: &Path) -> Result<()> {
        let file = load(path)?;
        let wrong = |why: String| Error::Pickle { path: path.to_owned(), why };
        let pickle = pickle::read(&file).map_err(wrong)?;
        let get = |key: &str| pickle.get(pickle.root, key);
        let data = get("data").ok_or_else(|| wrong("it has no 'data'".to_owned()))?;
        let labels = ["labels", "fine_labels"].into_iter().find_map(get).and_then(|labels| labels_of(&pickle, labels));
        let labels = labels.ok_or_else(|| wrong("it has no 'labels' that are numbers".to_owned()))?;
        if let Some(files) = pickle.list(data) {
            if files.len() != labels.len() {
                return Err(wrong(format!("it has {} images and {} labels", files.len(), labels.len())));
            }
            let number = self.index.add_path(path.to_owned());
            for (i, (&image, label)) in files.iter().zip(labels).enumerate() {
                let pickle::Node::Bytes(range) = pickle.node(image) else {
                    return Err(wrong(format!("its image {i} is no string of bytes")));
                };
                let place = Place::Within { file: number, at: range.start as u64, bytes: range.len() as u64 };
                self.index.push(&format!("image {i}"), place, self.classes.number(&label.to_string()));
            }
            return Ok(());
        }
        let array =
            pickle.byte_array(data).ok_or_else(|| wrong("its 'data' is neither an array of bytes nor a list".to_owned()))?;
        let images = images(array, &labels).map_err(wrong)?;
        let images = Images::new(path.display().to_string(), images.0, images.1, labels)?;
        match &mut self.images {
            Some(all) => all.append(images)?,
            none => *none = Some(images),
        }
        Ok(())
    }
}

/// Labels: a list of numbers, of lists of one number, or an array of bytes.
fn labels_of(pickle: &Pickle, labels: Id) -> Option<Vec<i32>> {
    if let Some((_, bytes, _)) = pickle.byte_array(labels) {
        return Some(bytes.iter().map(|&label| i32::from(label)).collect());
    }
    let label = |&id: &Id| {
        let number = match pickle.list(id) {
            Some(&[one]) => pickle.int(one),
            Some(_) => None,
            None => pickle.int(id),
        };
        number.and_then(|n| i32::try_from(n).ok()).filter(|&n| n >= 0)
    };
    pickle.list(labels)?.iter().map(label).collect()
}

/// The images of an array with one a row, or one a column.
fn images(
    (shape, bytes, fortran): (Vec<usize>, std::borrow::Cow<[u8]>, bool),
    labels: &[i32],
) -> Result<(ImageShape, Vec<u8>), String> {
    let &[rows, columns] = shape.as_slice() else { return Err("its 'data' has not two dimensions".to_owned()) };
    let count = labels.len();
    let by_row = rows == count;
    let values = match (by_row, columns == count) {
        (true, _) => columns,
        (false, true) => rows,
        _ => return Err(format!("its 'data' is {rows}×{columns}, for {count} labels")),
    };
    let square = |c: usize| {
        let side = (values / c).isqrt();
        (values > 0 && side * side * c == values).then_some(ImageShape::new(side, side, c))
    };
    let shape =
        square(3).or_else(|| square(1)).ok_or_else(|| format!("images of {values} bytes are no squares of grey or colour"))?;
    // Values of one image lie together if they are a row of C's order or a column of Fortran's.
    let together = by_row != fortran;
    let plane = shape.h * shape.w;
    let mut pixels = vec![0; bytes.len()];
    for (i, image) in pixels.chunks_exact_mut(values).enumerate() {
        for (at, pixel) in image.chunks_exact_mut(shape.c).enumerate() {
            for (channel, to) in pixel.iter_mut().enumerate() {
                let value = channel * plane + at;
                *to = bytes[if together { i * values + value } else { value * count + i }];
            }
        }
    }
    Ok((shape, pixels))
}
