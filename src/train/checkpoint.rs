//! Checkpoints: `step-N/` with `weights.safetensors` (parameters and the data's mean: enough to test and predict),
//! `optimizer.safetensors` (momenta, and the metrics counted since the last line) and `state.json` (where training stood,
//! and the others' checksums; its own is over its text with that field empty). A checkpoint appears whole, by a rename.

use super::{Error, Result, files};
use crate::format::safetensors;
use crate::net::Labels;
use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
/// The format that this code writes, and reads.
const FORMAT: u32 = 1;

/// A named tensor on the host, in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// `conv1.weights`.
    pub name: String,
    /// Extents without leading ones.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// What a test found, for choosing the best checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Total loss.
    pub loss: f64,
    /// Top-1 error.
    pub error: f64,
}

impl Tested {
    fn is_better_than(&self, other: &Self) -> bool {
        (self.error, self.loss) < (other.error, other.loss)
    }
}

/// The data as the run saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataState {
    /// Height, width, channels of an image.
    pub shape: [usize; 3],
    /// Training images.
    pub train_images: usize,
    /// Classes of labels, or values of each image.
    pub classes: usize,
    /// Their names, by label.
    pub class_names: Vec<String>,
    /// Whether images have values rather than a class.
    #[serde(default, skip_serializing_if = "is_false")]
    pub values: bool,
    /// What the mean-subtracted pixels are multiplied by.
    pub scale: f64,
}

impl DataState {
    /// What the net is told of each image.
    pub fn labels(&self) -> Labels {
        if self.values { Labels::Values(self.classes) } else { Labels::Classes(self.classes) }
    }
}

fn is_false(v: &bool) -> bool {
    !v
}

/// Where training stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The format's number.
    pub format: u32,
    /// The net's name.
    pub net: String,
    /// Parameter updates done.
    pub step: u64,
    /// The seed.
    pub seed: u64,
    /// Images of the training stream that were used.
    pub position: u64,
    /// Bytes of metrics.jsonl that belong to the steps so far.
    pub metrics_bytes: u64,
    /// Step of the last line of train metrics: the optimizer file holds what was counted since.
    pub line_step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The test of this very step, if there was one.
    pub tested: Option<Tested>,
    /// The data.
    pub data: DataState,
    /// SHA-256 of the other files, by name.
    pub files: BTreeMap<String, String>,
    /// SHA-256 of this file's text with this field empty.
    pub checksum: String,
}

impl State {
    /// Reads the state of a checkpoint's folder, after checking its checksum.
    ///
    /// # Errors
    /// The file is missing or not what was written.
    pub fn load(path: &Path) -> Result<Self> {
        let damaged = |what: String| damaged(path, format!("{STATE}: {what}"));
        let text = fs::read(path.join(STATE)).map_err(|e| damaged(e.to_string()))?;
        let state: Self = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if state.format != FORMAT {
            return Err(damaged(format!("format {}, this version reads {FORMAT}", state.format)));
        }
        if state.sealed().text().as_bytes() != text {
            return Err(damaged("the checksum does not match".into()));
        }
        Ok(state)
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a state has a form in JSON") + "\n"
    }

    fn sealed(&self) -> Self {
        let open = Self { checksum: String::new(), ..self.clone() };
        Self { checksum: checksum(open.text().as_bytes()), ..open }
    }
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Parameters and `data.mean`.
    pub weights: Vec<HostTensor>,
    /// Momenta and `metrics`.
    pub optimizer: Vec<HostTensor>,
    /// The rest. `files` and `checksum` are filled in when it is saved.
    pub state: State,
}

impl Checkpoint {
    /// Saves it as `step-N` in the folder; one of that name that is there already is replaced.
    ///
    /// # Errors
    /// The files cannot be written; nothing appears then.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(format!("step-{}", self.state.step));
        if path.exists() {
            // Only a damaged one is ever written again.
            fs::remove_dir_all(&path).map_err(Error::file("replace", &path))?;
        }
        files::new_folder(&path, |new| {
            let mut state = self.state.clone();
            state.files.clear();
            for (name, tensors) in [(WEIGHTS, &self.weights), (OPTIMIZER, &self.optimizer)] {
                let bytes = serialise(tensors);
                state.files.insert(name.into(), checksum(&bytes));
                files::write_synced(&new.join(name), &bytes)?;
            }
            files::write_synced(&new.join(STATE), state.sealed().text().as_bytes())
        })
    }

    /// Loads a checkpoint's folder, after checking every checksum. The optimizer's file is read where `optimizer` asks for
    /// it.
    ///
    /// # Errors
    /// A file is missing or not what was written.
    pub fn load(path: &Path, optimizer: bool) -> Result<Self> {
        let damaged = |what: String| damaged(path, what);
        let read = |name: &str| fs::read(path.join(name)).map_err(|e| damaged(format!("{name}: {e}")));
        let state = State::load(path)?;
        let tensors = |name: &str| -> Result<Vec<HostTensor>> {
            let bytes = read(name)?;
            if state.files.get(name).is_none_or(|sum| *sum != checksum(&bytes)) {
                return Err(damaged(format!("{name}: the checksum does not match")));
            }
            tensors_of(&bytes).map_err(|e| damaged(format!("{name}: {e}")))
        };
        let weights = tensors(WEIGHTS)?;
        let optimizer = if optimizer { tensors(OPTIMIZER)? } else { Vec::new() };
        Ok(Self { weights, optimizer, state })
    }
}

/// The checkpoints in a folder, oldest first, whole or not.
pub fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> =
        entries.filter_map(|e| Some((e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?, e.path()))).collect();
    found.sort();
    found
}

/// Loads the newest whole checkpoint; each damaged one on the way is told to `warn`.
///
/// # Errors
/// There is none.
pub fn newest(folder: &Path, optimizer: bool, mut warn: impl FnMut(String)) -> Result<Checkpoint> {
    for (_, path) in list(folder).into_iter().rev() {
        match Checkpoint::load(&path, optimizer) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(e) => warn(format!("{e}; trying the one before")),
        }
    }
    Err(Error::NoRun { path: folder.to_owned(), what: "has no whole checkpoint; restore one, or train the net anew".into() })
}

/// The checkpoints that were tested, oldest first, with what was found; those whose state is damaged are left out.
fn tested(folder: &Path) -> impl Iterator<Item = (u64, Tested)> {
    list(folder).into_iter().filter_map(|(step, path)| Some((step, State::load(&path).ok()?.tested?)))
}

/// The step of the best checkpoint: the least test error, then the least loss, then the earliest.
pub fn best(folder: &Path) -> Option<u64> {
    let least = tested(folder).reduce(|a, b| if b.1.is_better_than(&a.1) { b } else { a });
    least.map(|(step, _)| step)
}

/// Whether what a test found after `step` is better than each checkpoint before it.
pub fn would_be_best(folder: &Path, step: u64, found: &Tested) -> bool {
    tested(folder).filter(|(earlier, _)| *earlier < step).all(|(_, other)| found.is_better_than(&other))
}

/// Removes the checkpoints that are neither among the last `keep` nor the best.
///
/// # Errors
/// One cannot be removed.
pub fn prune(folder: &Path, keep: usize) -> Result<()> {
    let all = list(folder);
    let best = best(folder);
    for (step, path) in all.iter().rev().skip(keep) {
        if Some(*step) != best {
            files::remove_folder(path)?;
        }
    }
    Ok(())
}

fn damaged(path: &Path, what: String) -> Error {
    Error::Damaged { path: path.to_owned(), what }
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn serialise(tensors: &[HostTensor]) -> Vec<u8> {
    let all = tensors.iter().map(|t| (t.name.as_str(), &t.shape[..], &t.values[..]));
    safetensors::write(all).expect("the header of a checkpoint fits")
}

/// The tensors of a checkpoint's file, whose checksum has been looked at before.
///
/// # Errors
/// What is wrong with it.
pub fn tensors_of(bytes: &[u8]) -> Result<Vec<HostTensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let tensor = |(name, view): (String, TensorView)| {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} is {:?}, not F32", view.dtype()));
        }
        let values = safetensors::floats(&view, |v| v as f32).unwrap_or_default();
        Ok(HostTensor { name, shape: view.shape().to_vec(), values })
    };
    file.tensors().into_iter().map(tensor).collect()
}
