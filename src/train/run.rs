//! The folder of a run: `config.toml` (resolved), `metrics.jsonl`, `log.txt`, `checkpoints/step-N/`, `tensorboard/` on request,
//! and `lock`, an empty file that whoever trains the run holds locked. The system unlocks it when the process ends, however it
//! does.

use super::checkpoint::{self, Checkpoint};
use super::events::Events;
use super::{Error, Line, Result, files, read_lines};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// An open run folder.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    metrics: File,
    /// TensorBoard's, where they are asked for.
    events: Option<Events>,
    /// There was no metrics.jsonl.
    lost_metrics: bool,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Run {
    /// Makes the folder with its config and first checkpoint. It appears whole: a folder of this name can always be
    /// resumed.
    ///
    /// # Errors
    /// The folder is there already, or cannot be written.
    pub fn create(folder: &Path, config: &str, first: &Checkpoint) -> Result<Self> {
        if folder.exists() {
            return Err(Error::Taken { path: folder.to_owned() });
        }
        let parent = folder.parent().unwrap_or(Path::new(""));
        if !parent.as_os_str().is_empty() {
            fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        }
        files::new_folder(folder, |new| {
            files::write_synced(&new.join("config.toml"), config.as_bytes())?;
            files::write_synced(&new.join("metrics.jsonl"), b"")?;
            files::write_synced(&new.join("log.txt"), b"")?;
            let checkpoints = new.join("checkpoints");
            fs::create_dir(&checkpoints).map_err(Error::file("create", &checkpoints))?;
            first.save(&checkpoints)
        })
        .map_err(|e| match e {
            // Another process has made one since the first look.
            Error::File { action: "rename to", .. } if folder.exists() => Error::Taken { path: folder.to_owned() },
            other => other,
        })?;
        Self::open(folder)
    }

    /// Opens a folder that [`create`](Run::create) made, to go on with it.
    ///
    /// # Errors
    /// It is none, another process has it open, or it cannot be written.
    pub fn open(folder: &Path) -> Result<Self> {
        check(folder)?;
        // Before anything is touched: temporary files may be the other process's.
        let lock = lock(folder)?;
        files::remove_temporary(folder);
        files::remove_temporary(&folder.join("checkpoints"));
        let path = folder.join("metrics.jsonl");
        let lost_metrics = !path.exists();
        let metrics = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::file("open", &path))?;
        Ok(Self { folder: folder.to_owned(), metrics, events: None, lost_metrics, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The config's path.
    pub fn config(folder: &Path) -> Result<PathBuf> {
        check(folder)?;
        Ok(folder.join("config.toml"))
    }

    /// Replaces the config by one with changed settings.
    pub fn set_config(&self, config: &str) -> Result<()> {
        files::replace(&self.folder.join("config.toml"), config.as_bytes())
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    /// Cuts metrics.jsonl back to what a checkpoint knew of, so that going on repeats no line. Where there was no such file, a
    /// new one is begun, which is told to `warn`.
    ///
    /// # Errors
    /// It is shorter than what the checkpoint knew of, or cannot be written.
    pub fn rewind(&mut self, bytes: u64, warn: impl FnOnce(String)) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let length = self.metrics_bytes()?;
        if self.lost_metrics && bytes > 0 {
            warn(format!("{} is not there; a new one is begun", path.display()));
            return Ok(());
        }
        if length < bytes {
            let what = format!(
                "has lost lines of metrics.jsonl: {length} bytes, {bytes} were written; put them back from a copy, or remove \
                 the file to go on without any: the weights do not depend on it"
            );
            return Err(Error::NoRun { path: self.folder.clone(), what });
        }
        self.metrics.set_len(bytes).and_then(|()| self.metrics.sync_all()).map_err(Error::file("write", &path))
    }

    /// Bytes of metrics.jsonl, after making sure that they are on the disk.
    pub fn metrics_bytes(&self) -> Result<u64> {
        let path = self.folder.join("metrics.jsonl");
        let length = self.metrics.sync_all().and_then(|()| self.metrics.metadata());
        length.map(|m| m.len()).map_err(Error::file("write", &path))
    }

    /// Appends a line to metrics.jsonl.
    pub fn append(&mut self, line: &Line) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let mut text = serde_json::to_string(line).expect("a line has a form in JSON");
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(Error::file("write", &path))?;
        self.events.as_mut().map_or(Ok(()), |events| events.append(line))
    }

    /// Writes TensorBoard's events too: those of the metrics so far, and each line's from here on.
    ///
    /// # Errors
    /// The metrics cannot be read, or the events not written.
    pub fn write_events(&mut self) -> Result<()> {
        let lines = read_lines(&self.folder.join("metrics.jsonl"))?;
        self.events = Some(Events::create(&self.folder, &lines)?);
        Ok(())
    }

    /// Appends a line to log.txt. It is for people: what cannot be logged does not stop a run.
    pub fn log(&self, text: &str) {
        let path = self.folder.join("log.txt");
        let _ = OpenOptions::new().create(true).append(true).open(path).and_then(|mut f| writeln!(f, "{text}"));
    }

    /// Saves a checkpoint and removes those that are neither among the last `keep` nor the best.
    pub fn save(&self, checkpoint: &Checkpoint, keep: usize) -> Result<()> {
        checkpoint.save(&self.checkpoints())?;
        self.prune(keep)
    }

    /// Removes the checkpoints that are neither among the last `keep` nor the best.
    pub fn prune(&self, keep: usize) -> Result<()> {
        checkpoint::prune(&self.checkpoints(), keep)
    }
}

/// Locks a run's folder, as long as the answer is kept.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = options.map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: folder.to_owned() }),
        // Some network file systems lock nothing. Runs go on there as they are, guarded by nobody.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn check(folder: &Path) -> Result<()> {
    if folder.join("config.toml").is_file() {
        return Ok(());
    }
    let what = if folder.is_dir() { "is no run: it has no config.toml" } else { "is no folder" };
    Err(Error::NoRun { path: folder.to_owned(), what: format!("{what}; give the folder that `convnet train` made") })
}
