//! Tar shards: `train-0.tar`, `imagenet-val-000003.tar`, …, whose names say which set they are of. A member `CLASS/NAME.jpg` is
//! of the class that its first folder names. In a WebDataset shard, members of one key (`000017.jpg`, `000017.cls`) make a sample,
//! and its class is the text of `.cls`, or `label`, `cls` or `class` of `.json`. `index.json`, which `convnet data pack` writes, tells
//! the order of the classes.
//!
//! Opening reads the headers alone, one seek a member; an image is read where it lies, and nothing is unpacked, so that a member's
//! name is but a name, wherever it points.

use super::index::{Classes, Index, Numbering, Place, Split};
use super::pictures::Found;
use super::sources::{Find, Folder, Kind, SingleFile};
use super::{Error, Result, decode};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

/// The file beside shards that names their classes.
const INDEX: &str = "index.json";
/// Bytes of the largest index that is read.
const LARGEST_INDEX: u64 = 1 << 28;
/// The longest name of a member.
const LONGEST_NAME: usize = 4096;
/// Bytes of the longest `.cls` or `.json` that is read.
const LONGEST_LABEL: u64 = 1 << 16;

/// Tar files, and folders of them.
pub(super) const KIND: Kind = Kind {
    name: "tar shards",
    looks: "train-0.tar",
    find: Find::Pictures(find),
    file: Some(SingleFile { name: "a .tar file", ends: &[END], open: open_one }),
};
/// How they are named.
const END: &str = ".tar";

/// The tar files of a folder by what they are for, from its files' names.
fn find(folder: &Folder) -> Result<Option<Found>> {
    let tars: Vec<&String> = folder.files.iter().filter(|name| name.ends_with(END)).collect();
    let of = |split: Option<Split>| tars.iter().filter(|name| Split::of(name) == split).copied().collect::<Vec<_>>();
    let (mut train, validation, test) = (of(Some(Split::Train)), of(Some(Split::Validation)), of(Some(Split::Test)));
    if train.is_empty() && validation.is_empty() && test.is_empty() {
        train = of(None);
    }
    if train.is_empty() {
        return Ok(None);
    }
    let (mut found, folder) = (Found::default(), folder.path());
    if let Some(classes) = named_classes(&folder.join(INDEX)) {
        classes.iter().for_each(|class| {
            found.classes.number(class);
        });
        found.numbering = Numbering::Given;
    }
    let mut read = |names: &[&String], index: &mut Index| {
        let mut scan = Scan::new(index, &mut found.classes, &mut found.numbering);
        names.iter().try_for_each(|name| scan.tar(&folder.join(name)))
    };
    let (mut trained, mut tested) = (Index::default(), Index::default());
    read(&train, &mut trained)?;
    let tests = if validation.is_empty() { test } else { validation };
    read(&tests, &mut tested)?;
    found.train = trained;
    found.test = (!tests.is_empty()).then_some(tested);
    Ok(Some(found))
}

/// The classes that `convnet data pack` wrote beside its shards, in their order.
fn named_classes(path: &Path) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Packed {
        classes: Vec<String>,
    }
    let mut text = Vec::new();
    File::open(path).ok()?.take(LARGEST_INDEX).read_to_end(&mut text).ok()?;
    serde_json::from_slice::<Packed>(&text).ok().map(|packed| packed.classes)
}

/// One tar file.
fn open_one(path: &Path) -> Result<Found> {
    let mut found = Found::default();
    Scan::new(&mut found.train, &mut found.classes, &mut found.numbering).tar(path)?;
    Ok(found)
}

/// A sample whose members are being read.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<(String, Place)>,
    label: Option<String>,
}

/// Adds the images of tar files to an index.
pub(super) struct Scan<'a> {
    index: &'a mut Index,
    classes: &'a mut Classes,
    numbering: &'a mut Numbering,
    /// The class of an image that has none by a folder of its own or a file beside it, by its name.
    pub class_of: &'a dyn Fn(&str) -> Option<String>,
}

/// A tar file, or one in another, while its members are read.
struct Archive<'a> {
    path: &'a Path,
    file: &'a File,
    /// Where it lies in the file.
    part: Range<u64>,
    /// The class of its images, where it is a class's.
    class: Option<&'a str>,
}

impl Archive<'_> {
    fn broken(&self, why: impl ToString) -> Error {
        Error::Shard { path: self.path.to_owned(), why: why.to_string() }
    }
}

impl<'a> Scan<'a> {
    /// Adds to these.
    pub fn new(index: &'a mut Index, classes: &'a mut Classes, numbering: &'a mut Numbering) -> Self {
        Self { index, classes, numbering, class_of: &|_| None }
    }

    /// Adds the images of a tar file, and of tar files in it, of which each has those of a class.
    pub fn tar(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
        self.members(&Archive { path, file: &file, part: 0..length, class: None })
    }

    fn members(&mut self, a: &Archive) -> Result<()> {
        let failed = |e: io::Error| a.broken(e);
        // Each class's tar file counts as a file, so that a window shuffles classes, too.
        let number = self.index.add_path(a.path.to_owned());
        let part = Part { file: a.file, part: a.part.clone(), at: a.part.start };
        let mut archive = tar::Archive::new(BufReader::with_capacity(4096, part));
        let mut sample = Sample::default();
        for entry in archive.entries_with_seek().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let bytes = entry.size();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if name.len() > LONGEST_NAME {
                return Err(a.broken(format!("a member's name has {} bytes", name.len())));
            }
            let at = a.part.start.checked_add(entry.raw_file_position());
            let Some(at) = at.filter(|at| at.checked_add(bytes).is_some_and(|end| end <= a.part.end)) else {
                return Err(a.broken(format!("it ends within {name}")));
            };
            let base = base(&name);
            if base.starts_with('.') {
                // Hidden files, such as macOS puts beside others.
                continue;
            }
            if let (Some(class), None) = (base.strip_suffix(".tar"), a.class) {
                self.members(&Archive { part: at..at + bytes, class: Some(class), ..*a })?;
                continue;
            }
            let key = &name[..name.len() - base.len() + base.find('.').unwrap_or(base.len())];
            if key != sample.key {
                self.finish(&mut sample, a)?;
                sample = Sample { key: key.to_owned(), ..Sample::default() };
            }
            match base.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
                Some("cls") => {
                    let mut text = String::new();
                    (&mut entry).take(LONGEST_LABEL).read_to_string(&mut text).map_err(failed)?;
                    sample.label = Some(text.trim().to_owned());
                }
                Some("json") if bytes <= LONGEST_LABEL => {
                    let mut text = Vec::new();
                    (&mut entry).take(LONGEST_LABEL).read_to_end(&mut text).map_err(failed)?;
                    if let Some(label) = json_label(&text) {
                        sample.label.get_or_insert(label);
                    }
                }
                _ if decode::is_named_as_one(base) => {
                    if sample.image.is_some() {
                        // Another image of the same key, as `a.jpg` and `a.png` in a folder of a class: a sample of its own.
                        self.finish(&mut sample, a)?;
                        sample.key = key.to_owned();
                    }
                    sample.image = Some((name.clone(), Place::Within { file: number, at, bytes }));
                }
                _ => {}
            }
        }
        self.finish(&mut sample, a)
    }

    /// Adds a sample that is whole.
    fn finish(&mut self, sample: &mut Sample, a: &Archive) -> Result<()> {
        let Sample { image: Some((name, place)), label, .. } = std::mem::take(sample) else { return Ok(()) };
        let class = match label {
            Some(label) if !label.is_empty() && label.len() <= LONGEST_NAME => {
                if *self.numbering == Numbering::Names {
                    *self.numbering = Numbering::Labels;
                }
                label
            }
            _ => {
                let class = a.class.map(str::to_owned).or_else(|| folder_class(&name)).or_else(|| (self.class_of)(&name));
                class.ok_or_else(|| a.broken(format!("{name} has no class: neither a folder of its own, nor a .cls or .json")))?
            }
        };
        self.index.push(&name, place, self.classes.number(&class));
        Ok(())
    }
}

/// A part of a file as a file of its own.
struct Part<'a> {
    file: &'a File,
    part: Range<u64>,
    /// Where in the file it is read next.
    at: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.part.end.saturating_sub(self.at);
        let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut bytes[..some], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Part<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => self.part.start.checked_add(at),
            SeekFrom::End(by) => self.part.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let to = to.filter(|&at| at >= self.part.start);
        self.at = to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position outside the file"))?;
        Ok(self.at - self.part.start)
    }
}

/// The last part of a member's name.
pub(super) fn base(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}

/// The first folder of a member's name, after one that says which set it is of.
fn folder_class(name: &str) -> Option<String> {
    let parts: Vec<&str> = Path::new(name)
        .components()
        .filter_map(|part| if let Component::Normal(part) = part { part.to_str() } else { None })
        .collect();
    let folders = &parts[..parts.len().saturating_sub(1)];
    match folders {
        [set, class, ..] if Split::of(set).is_some() && set.chars().all(|c| c.is_ascii_alphabetic()) => Some((*class).to_owned()),
        [class, ..] => Some((*class).to_owned()),
        [] => None,
    }
}

fn json_label(text: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(text).ok()?;
    match ["label", "cls", "class"].iter().find_map(|key| json.get(key))? {
        serde_json::Value::Number(n) => Some(n.to_string()),
        serde_json::Value::String(s) => Some(s.clone()),
        _ => None,
    }
}
