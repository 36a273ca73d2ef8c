//! The kinds of data sets, in a table: what each is called, what it looks like, and how it is opened. A kind's entry stands in its
//! own file; a set is of the first kind here that recognises it.

use super::index::{Split, file_name};
use super::pictures::{self, Found};
use super::{DataSet, Error, Options, Result};
use super::{batches, cifar, folder, idx, ilsvrc, list, lmdb, shards, synthetic, targets};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The sets that need no files. They go before a folder of the same name; `./NAME` is the folder.
const BUILT_IN: [(&str, Make); 2] = [("mnist-10k", idx::mnist_10k), ("synthetic", synthetic::open)];

/// How a built-in set is made.
type Make = fn(&Options) -> Result<DataSet>;

/// The kinds of sets in files.
const KINDS: [Kind; 11] = [
    idx::KIND,
    cifar::KIND_10,
    cifar::KIND_100,
    batches::KIND,
    ilsvrc::KIND,
    shards::KIND,
    lmdb::KIND,
    folder::SPLITS,
    targets::KIND,
    list::KIND,
    folder::CLASSES,
];

/// A kind of data set.
pub(super) struct Kind {
    /// What it is called: `idx files`.
    pub name: &'static str,
    /// Names by which its folder is recognised: `train-images-idx3-ubyte`.
    pub looks: &'static str,
    /// What it makes of a folder.
    pub find: Find,
    /// How a single file is opened, where one can be a set.
    pub file: Option<SingleFile>,
}

/// What a kind makes of a folder; nothing where the folder is not of that kind.
pub(super) enum Find {
    /// A set whose images it reads itself.
    Set(fn(&Folder) -> Result<Option<DataSet>>),
    /// Where image files lie, for [`pictures`] to read.
    Pictures(fn(&Folder) -> Result<Option<Found>>),
}

/// Files that are a set each.
pub(super) struct SingleFile {
    /// `a .tar file`.
    pub name: &'static str,
    /// The endings of their names.
    pub ends: &'static [&'static str],
    /// Where the images lie.
    pub open: fn(&Path) -> Result<Found>,
}

/// A folder that is looked at.
pub(super) struct Folder<'a> {
    /// As it was asked for.
    pub name: &'a str,
    /// The names of its files, sorted, without those that are not UTF-8, since no source looks for them.
    pub files: Vec<String>,
    pub options: &'a Options,
}

impl<'a> Folder<'a> {
    fn read(name: &'a str, options: &'a Options) -> Result<Self> {
        let path = Path::new(name);
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| Error::io(path, e))? {
            let entry = entry.map_err(|e| Error::io(path, e))?;
            if let (Ok(name), Ok(about)) = (entry.file_name().into_string(), fs::metadata(entry.path()))
                && about.is_file()
            {
                files.push(name);
            }
        }
        files.sort();
        Ok(Self { name, files, options })
    }

    pub fn path(&self) -> &'a Path {
        Path::new(self.name)
    }

    /// Whether it has a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
    }

    /// The file that is named after a part of the set alone, with one of these endings: `train.txt`.
    pub fn part(&self, split: Split, ends: &[&str]) -> Option<&String> {
        let named = |name: &&String| {
            let stem = ends.iter().find_map(|end| name.strip_suffix(end));
            stem.is_some_and(|stem| stem.chars().all(|c| c.is_ascii_alphabetic())) && Split::of(name) == Some(split)
        };
        self.files.iter().find(named)
    }
}

/// The names of the built-in sets.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    BUILT_IN.into_iter().map(|(name, _)| name)
}

/// What is looked for in a folder, for people: `idx files (train-images-idx3-ubyte), … and lists (train.txt)`.
pub(super) fn looked_for() -> String {
    listed(KINDS.iter().map(|kind| format!("{} ({})", kind.name, kind.looks)).collect(), "and")
}

/// The single files that are a set, for people: `a .tar file, a .csv file or a list (.txt)`.
pub(super) fn single_files() -> String {
    listed(KINDS.iter().filter_map(|kind| kind.file.as_ref()).map(|file| file.name.to_owned()).collect(), "or")
}

fn listed(mut items: Vec<String>, word: &str) -> String {
    let last = items.pop().unwrap_or_default();
    if items.is_empty() { last } else { format!("{} {word} {last}", items.join(", ")) }
}

/// Opens a built-in set, or what is at a path.
pub(super) fn open(source: &str, options: &Options) -> Result<DataSet> {
    if let Some((_, open)) = BUILT_IN.iter().find(|(name, _)| *name == source) {
        return open(options);
    }
    let path = Path::new(source);
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => open_folder(&Folder::read(source, options)?),
        Ok(_) => {
            let is_named =
                |file: &&SingleFile| file_name(path).is_some_and(|name| file.ends.iter().any(|end| name.ends_with(end)));
            let file = KINDS.iter().filter_map(|kind| kind.file.as_ref()).find(is_named);
            let file = file.ok_or_else(|| Error::NotAFolder { path: path.to_owned() })?;
            pictures::assemble((file.open)(path)?, source, options)
        }
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) || source.contains('\0') => {
            Err(Error::unknown(source))
        }
        Err(e) => Err(Error::io(path, e)),
    }
}

fn open_folder(folder: &Folder) -> Result<DataSet> {
    for kind in &KINDS {
        let set = match kind.find {
            Find::Set(find) => find(folder)?,
            Find::Pictures(find) => {
                find(folder)?.map(|found| pictures::assemble(found, folder.name, folder.options)).transpose()?
            }
        };
        if let Some(set) = set {
            return Ok(set);
        }
    }
    Err(Error::Unrecognised { path: folder.path().to_owned() })
}
