//! Caffe's LMDB of `Datum`s, as convert_imageset and its create scripts write them: `x_train_lmdb/data.mdb` with `x_val_lmdb` or `x_test_lmdb`
//! beside it, or one such folder. The file is read by itself, not through LMDB, which trusts what it maps: each page number, offset and
//! length is checked against the file, and the tree is followed no deeper, and to no more pages, than there can be.
//!
//! Format (LMDB 0.9, 64 bits, lowest byte first): pages 0 and 1 are meta pages, of which the newer counts. A branch page holds page
//! numbers, a leaf page keys and values; a larger value lies on overflow pages, in one piece. A `Datum` is a protobuf message:
//! channels (1), height (2), width (3), data (4), label (5), float_data (6), encoded (7). Its pixels are planes of blue, green and red, or an
//! image file; they are read where they lie.

use super::index::{Index, Numbering, Place, Split};
use super::pictures::Found;
use super::sources::{Find, Folder, Kind};
use super::{Error, Result};
use crate::format::protobuf::{key, varint};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FILE: &str = "data.mdb";
const MAGIC: u32 = 0xbeef_c0de;
const HEADER: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// A node's value lies on overflow pages.
const BIG: u16 = 1;
/// Levels of the deepest tree.
const DEPTH: usize = 32;
/// Bytes at the start of a value in which its `data` must begin.
const HEAD: usize = 128;
/// Bytes that may follow `data` in a value.
const TAIL: u64 = 4096;

/// What a value is that is not what it should be.
const NO_DATUM: &str = "a value is cut off, or no Datum of Caffe's";

/// Folders of them.
pub(super) const KIND: Kind = Kind { name: "LMDBs", looks: "x_train_lmdb/data.mdb", find: Find::Pictures(find), file: None };

/// The databases of a folder, or beside each other in it.
fn find(folder: &Folder) -> Result<Option<Found>> {
    let folder = folder.path();
    if folder.join(FILE).is_file() {
        return open_one(&folder.join(FILE)).map(Some);
    }
    let mut databases: Vec<(Split, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let split = path.file_name().and_then(|name| name.to_str()).and_then(Split::of);
        if let (Some(split), true) = (split, path.join(FILE).is_file()) {
            databases.push((split, path.join(FILE)));
        }
    }
    databases.sort();
    let of = |split| databases.iter().find(|(s, _)| *s == split).map(|(_, path)| path);
    let Some(train) = of(Split::Train) else { return Ok(None) };
    let mut found = open_one(train)?;
    if let Some(test) = of(Split::Validation).or(of(Split::Test)) {
        let mut index = Index::default();
        scan(test, &mut index, &mut |label| found.classes.number(&label.to_string()))?;
        found.test = Some(index);
    }
    Ok(Some(found))
}

/// One database file.
fn open_one(path: &Path) -> Result<Found> {
    let mut found = Found { numbering: Numbering::Labels, ..Found::default() };
    scan(path, &mut found.train, &mut |label| found.classes.number(&label.to_string()))?;
    Ok(found)
}

fn scan(path: &Path, index: &mut Index, class: &mut dyn FnMut(u64) -> u32) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
    let number = index.add_path(path.to_owned());
    let mut database = Database { file, length, page: 4096, left: 0 };
    let mut add = |key: &[u8], place: Place, label: u64| index.push(&String::from_utf8_lossy(key), place, class(label));
    database.walk(number, &mut add).map_err(|why| Error::Lmdb { path: path.to_owned(), why })
}

struct Database {
    file: File,
    length: u64,
    /// Bytes of a page.
    page: u64,
    /// Pages that may still be visited.
    left: u64,
}

/// What is told of an image: its key, where it lies, its label.
type Add<'a> = dyn FnMut(&[u8], Place, u64) + 'a;

impl Database {
    fn walk(&mut self, number: u32, add: &mut Add) -> Result<(), String> {
        let mut meta = vec![0; 152];
        self.read(0, &mut meta)?;
        if u32_at(&meta, 16)? != MAGIC || u32_at(&meta, 20)? != 1 {
            return Err("it does not begin as an LMDB file of version 1".to_owned());
        }
        self.page = u64::from(u32_at(&meta, 40)?);
        if !(512..=65_536).contains(&self.page) || !self.page.is_power_of_two() {
            return Err(format!("it claims pages of {} bytes", self.page));
        }
        let mut second = vec![0; 152];
        self.read(self.page, &mut second)?;
        if u32_at(&second, 16)? == MAGIC && u64_at(&second, 144)? > u64_at(&meta, 144)? {
            meta = second;
        }
        let root = u64_at(&meta, 128)?;
        if root == u64::MAX {
            return Ok(());
        }
        self.left = self.length / self.page;
        self.visit(root, 0, number, add)
    }

    fn visit(&mut self, page: u64, depth: usize, number: u32, add: &mut Add) -> Result<(), String> {
        // Each page is part of the tree once: more visits than pages are a circle.
        if depth > DEPTH || self.left == 0 {
            return Err("its tree does not end".to_owned());
        }
        self.left -= 1;
        let start = page.checked_mul(self.page).ok_or("a page lies behind its end")?;
        let mut bytes = vec![0; self.page as usize];
        self.read(start, &mut bytes)?;
        let (kind, lower) = (u16_at(&bytes, 10)?, usize::from(u16_at(&bytes, 12)?));
        if lower < HEADER || lower > bytes.len() {
            return Err(format!("page {page} is damaged"));
        }
        for pointer in (HEADER..lower & !1).step_by(2) {
            let node = usize::from(u16_at(&bytes, pointer)?);
            let (low, flags, key_size) =
                (u32_at(&bytes, node)?, u16_at(&bytes, node + 4)?, usize::from(u16_at(&bytes, node + 6)?));
            if kind & BRANCH != 0 {
                self.visit(u64::from(low) | u64::from(flags) << 32, depth + 1, number, add)?;
            } else if kind & LEAF != 0 {
                let key = bytes.get(node + 8..node + 8 + key_size).ok_or("a key lies behind its page")?;
                let value = node + 8 + key_size;
                let at = if flags & BIG != 0 {
                    let first = u64_at(&bytes, value)?;
                    first
                        .checked_mul(self.page)
                        .and_then(|at| at.checked_add(HEADER as u64))
                        .ok_or("a value lies behind its end")?
                } else {
                    start + value as u64
                };
                let (place, label) = self.datum(number, at, u64::from(low))?;
                add(key, place, label);
            } else {
                return Err(format!("page {page} is of no kind that a tree has"));
            }
        }
        Ok(())
    }

    /// Where the image of a `Datum` of `size` bytes lies, and its label.
    fn datum(&self, file: u32, at: u64, size: u64) -> Result<(Place, u64), String> {
        let end = at.checked_add(size).filter(|&end| end <= self.length).ok_or("a value lies behind its end")?;
        let (mut channels, mut height, mut width, mut label, mut encoded) = (0, 0, 0, 0, false);
        let mut data = None;
        let mut here = at;
        let mut buffer = vec![0; HEAD.min(size as usize)];
        self.read(at, &mut buffer)?;
        let mut rest = buffer.as_slice();
        while here < end {
            let before = rest.len();
            let (field, kind) = key(&mut rest).ok_or(NO_DATUM)?;
            match (field, kind) {
                (1, 0) => channels = number(&mut rest)?,
                (2, 0) => height = number(&mut rest)?,
                (3, 0) => width = number(&mut rest)?,
                (5, 0) => label = number(&mut rest)?,
                (7, 0) => encoded = number(&mut rest)? != 0,
                (4, 2) => {
                    let length = number(&mut rest)?;
                    let from = here + (before - rest.len()) as u64;
                    here = from.checked_add(length).filter(|&to| to <= end).ok_or("an image lies behind its value")?;
                    data = Some((from, length));
                    if end - here > TAIL {
                        return Err("a value goes on behind its image".to_owned());
                    }
                    buffer = vec![0; (end - here) as usize];
                    self.read(here, &mut buffer)?;
                    rest = buffer.as_slice();
                    continue;
                }
                (6, _) => return Err("its images are floats (float_data), not bytes".to_owned()),
                (_, 0) => drop(number(&mut rest)?),
                _ => return Err(NO_DATUM.to_owned()),
            }
            here += (before - rest.len()) as u64;
        }
        let (from, length) = data.ok_or("a value has no image")?;
        if encoded {
            return Ok((Place::Within { file, at: from, bytes: length }, label));
        }
        let extents = [channels, height, width].map(|extent| u16::try_from(extent).ok().filter(|&extent| extent > 0));
        match extents {
            [Some(c @ (1 | 3)), Some(h), Some(w)] if u64::from(c) * u64::from(h) * u64::from(w) == length => {
                Ok((Place::Planes { file, at: from, h, w, c: c as u8 }, label))
            }
            _ => Err(format!("an image has {length} bytes for {height}×{width}×{channels}; 1 or 3 channels are read")),
        }
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        self.file.read_exact_at(bytes, at).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => "it is cut off, or damaged".to_owned(),
            _ => e.to_string(),
        })
    }
}

/// Takes a number of a `Datum`.
fn number(rest: &mut &[u8]) -> Result<u64, String> {
    varint(rest).ok_or_else(|| NO_DATUM.to_owned())
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or_else(|| "a page is damaged".to_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    part(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    part(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, String> {
    part(bytes, at).map(u64::from_le_bytes)
}
