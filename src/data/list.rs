//! List files: a line an image, its path and its label, apart by spaces or a tab; `train.txt` with `val.txt` or `test.txt`
//! beside it, or one file. Paths are relative to the list's folder. A label is a class's number or its name.

use super::index::{Classes, Index, Numbering, Place, Split};
use super::pictures::Found;
use super::sources::{Find, Folder, Kind, SingleFile};
use super::{Error, Result};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of the longest line.
const LONGEST: u64 = 1 << 16;
/// How lists are named.
const ENDS: [&str; 3] = [".txt", ".lst", ".tsv"];

/// Lists, and folders of them.
pub(super) const KIND: Kind = Kind {
    name: "lists",
    looks: "train.txt",
    find: Find::Pictures(find),
    file: Some(SingleFile { name: "a list (.txt)", ends: &ENDS, open: open_one }),
};

/// The lists of a folder, from its files' names.
fn find(folder: &Folder) -> Result<Option<Found>> {
    let of = |split| folder.part(split, &ENDS);
    let Some(train) = of(Split::Train) else { return Ok(None) };
    let folder = folder.path();
    let mut found = open_one(&folder.join(train))?;
    if let Some(test) = of(Split::Validation).or(of(Split::Test)) {
        let mut index = Index::default();
        read(&folder.join(test), &mut index, &mut found.classes)?;
        found.test = Some(index);
    }
    Ok(Some(found))
}

/// One list.
fn open_one(path: &Path) -> Result<Found> {
    let mut found = Found { numbering: Numbering::Labels, ..Found::default() };
    read(path, &mut found.train, &mut found.classes)?;
    Ok(found)
}

fn read(path: &Path, index: &mut Index, classes: &mut Classes) -> Result<()> {
    let failed = |e| Error::io(path, e);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::Unrecognised { path: path.to_owned() });
    }
    let folder = index.add_path(path.parent().unwrap_or(Path::new(".")).to_owned());
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        if (&mut file).take(LONGEST).read_line(&mut line).map_err(failed)? == 0 {
            break;
        }
        let wrong = |why: &str| Error::List { path: path.to_owned(), line: number, why: why.to_owned() };
        if line.len() as u64 == LONGEST {
            return Err(wrong("the line is too long"));
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        // After a tab, a class's name may have spaces.
        let Some((name, label)) = text.rsplit_once('\t').or_else(|| text.rsplit_once(' ')) else {
            return Err(wrong("a line is the path of an image, a space, and its label"));
        };
        if name.contains('\0') {
            return Err(wrong("the path holds a zero byte"));
        }
        index.push(name.trim_end(), Place::Below { folder }, classes.number(label));
    }
    Ok(())
}
