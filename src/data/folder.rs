//! Folders of class folders: `train/CLASS/…/NAME.jpg` with `val/` or `test/` beside `train/`, or class folders alone. A class
//! folder may have folders in it; files that are no images by name are passed over.

use super::index::{Classes, Index, Place, Split};
use super::pictures::Found;
use super::sources::{Find, Folder, Kind};
use super::{Error, Result, decode};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Folders within a class folder, at most: a link to a folder above it would be followed for ever.
const DEPTH: usize = 16;

/// Folders of class folders by what they are for.
pub(super) const SPLITS: Kind =
    Kind { name: "class folders", looks: "train/CLASS/NAME.jpg", find: Find::Pictures(find_splits), file: None };

/// Folders of class folders. Any folder with image files in folders is one, so that it must be looked for last.
pub(super) const CLASSES: Kind =
    Kind { name: "class folders without a test set", looks: "CLASS/NAME.jpg", find: Find::Pictures(find_classes), file: None };

/// The images of a folder with a folder `train`.
fn find_splits(folder: &Folder) -> Result<Option<Found>> {
    let folder = folder.path();
    let folders: Vec<String> = entries(folder)?.into_iter().filter_map(|(name, is_folder)| is_folder.then_some(name)).collect();
    let of = |split| folders.iter().find(|name| Split::of(name) == Some(split) && name.chars().all(|c| c.is_ascii_alphabetic()));
    let Some(train) = of(Split::Train) else { return Ok(None) };
    let mut found = Found::default();
    class_folders(folder, train, &mut found.train, &mut found.classes, &mut found.warnings)?;
    if found.train.len() == 0 {
        return Ok(None);
    }
    if let Some(test) = of(Split::Validation).or(of(Split::Test)) {
        let mut index = Index::default();
        class_folders(folder, test, &mut index, &mut found.classes, &mut found.warnings)?;
        found.test = Some(index);
    }
    Ok(Some(found))
}

/// The images of a folder of class folders.
fn find_classes(folder: &Folder) -> Result<Option<Found>> {
    let mut found = Found::default();
    class_folders(folder.path(), "", &mut found.train, &mut found.classes, &mut found.warnings)?;
    Ok((found.train.len() > 0).then_some(found))
}

/// The images of each class folder in `root`/`split`.
fn class_folders(root: &Path, split: &str, index: &mut Index, classes: &mut Classes, warnings: &mut Vec<String>) -> Result<()> {
    let folder = root.join(split);
    let below = index.add_path(folder.clone());
    for (class, is_folder) in entries(&folder)? {
        if !is_folder || class.starts_with('.') {
            continue;
        }
        let before = index.len();
        let mut name = class.clone();
        // A class folder may be a link to one elsewhere.
        walk(&folder.join(&class), &mut name, 0, &mut |name| {
            let number = classes.number(&class);
            index.push(name, Place::Below { folder: below }, number);
        })?;
        if index.len() == before {
            warnings.push(format!("{} holds no images: it makes no class", folder.join(&class).display()));
        }
    }
    Ok(())
}

/// Calls `found` with the name of each image in a folder and those in it, in order; `name` is the folder's.
fn walk(folder: &Path, name: &mut String, depth: usize, found: &mut impl FnMut(&str)) -> Result<()> {
    let length = name.len();
    for (entry, is_folder) in entries(folder)? {
        name.push('/');
        name.push_str(&entry);
        if is_folder && depth < DEPTH && !folder.join(&entry).is_symlink() {
            walk(&folder.join(&entry), name, depth + 1, found)?;
        } else if !is_folder && decode::is_named_as_one(&entry) {
            found(name);
        }
        name.truncate(length);
    }
    Ok(())
}

/// What is in a folder, in the order of names: each name, and whether it is a folder. Names that are no UTF-8 are passed over.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>> {
    let failed = |e| Error::io(folder, e);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        // Only a link needs a look at what it leads to, which takes a call for each.
        let is_folder = kind.is_dir() || (kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|about| about.is_dir()));
        if let Ok(name) = OsString::into_string(entry.file_name()) {
            all.push((name, is_folder));
        }
    }
    all.sort_unstable();
    Ok(all)
}
