//! Files that are whole or not there: written under a temporary name, synced, renamed.

use super::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The name that a path has until it is whole.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp-{}", std::process::id()))
}

/// Writes a file under its name and syncs it: for folders that are renamed as a whole.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::file("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", path))
}

/// Replaces a file, so that at any moment the old or the new one is there whole.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = temporary(path);
    let done = write_synced(&new, bytes).and_then(|()| fs::rename(&new, path).map_err(Error::file("rename to", path)));
    if done.is_err() {
        // The error that is reported is the first; a temporary file that stays does no harm.
        let _ = fs::remove_file(&new);
    }
    done.and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("."))))
}

/// As [`replace`], of a file that `fill` writes piece by piece.
pub fn replace_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let new = temporary(path);
    let written = File::create(&new).map_err(Error::file("create", path)).and_then(|file| {
        let mut buffered = std::io::BufWriter::new(file);
        fill(&mut buffered)?;
        let file = buffered.into_inner().map_err(|e| Error::file("write", path)(e.into_error()))?;
        file.sync_all().map_err(Error::file("write", path))
    });
    let done = written.and_then(|()| fs::rename(&new, path).map_err(Error::file("rename to", path)));
    if done.is_err() {
        // As in `replace`.
        let _ = fs::remove_file(&new);
    }
    done.and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("."))))
}

/// Makes a folder that appears under its name only when `fill` has filled it.
pub fn new_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = temporary(path);
    let _ = fs::remove_dir_all(&new);
    let done = fs::create_dir(&new)
        .map_err(Error::file("create", path))
        .and_then(|()| fill(&new))
        .and_then(|()| sync_folder(&new))
        .and_then(|()| fs::rename(&new, path).map_err(Error::file("rename to", path)));
    if done.is_err() {
        // As in `replace`.
        let _ = fs::remove_dir_all(&new);
    }
    done.and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("."))))
}

/// Removes a folder; it is never there in part under its name.
pub fn remove_folder(path: &Path) -> Result<()> {
    let old = temporary(path);
    fs::rename(path, &old).and_then(|()| fs::remove_dir_all(&old)).map_err(Error::file("remove", path))
}

/// Removes what processes that were killed have left in a folder under temporary names.
pub fn remove_temporary(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| n.starts_with('.') && n.contains(".tmp-")) {
            // What cannot be removed does no harm.
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// Syncs a folder's list of names.
pub fn sync_folder(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::file("sync", path))
}
