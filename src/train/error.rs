//! What can go wrong in training, each with what to do about it.

use crate::{config::ConfigError, data, device};
use std::path::{Path, PathBuf};

/// Why training, testing or resuming stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config, or an argument that changes it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The device.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// The net does not fit the device's memory.
    #[error("{source}; {advice}")]
    TooLarge {
        /// What was asked for, and what is free.
        source: device::Error,
        /// What would fit.
        advice: String,
    },
    /// A file of the run cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `write`, `create`, `read`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The output folder is there already.
    #[error("{} is there already; `convnet resume {}` goes on with it, `--out` names another folder", path.display(), path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Another process goes on with the run.
    #[error("{path} is being trained by another process; wait until it is done, or stop it: Ctrl-C saves a checkpoint first")]
    Busy {
        /// The run's folder.
        path: PathBuf,
    },
    /// The folder is no run, or nothing in it can be loaded.
    #[error("{path} {what}")]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A checkpoint's files are not what was written.
    #[error("checkpoint {path} is damaged: {what}")]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A checkpoint belongs to another net.
    #[error("checkpoint {path} is of another net: {what}; use the config it was trained with, config.toml in its run's folder")]
    OtherNet {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The first difference.
        what: String,
    },
    /// An argument that does not fit the config.
    #[error("{0}")]
    Argument(String),
    /// A setting that a run cannot change once it has begun.
    #[error("--set {key}: a run cannot change this when it is resumed; train a new one")]
    Fixed {
        /// The setting.
        key: String,
    },
    /// The loss or a parameter is no longer a finite number.
    #[error(
        "step {step}: {what} is no longer a finite number; training stopped, earlier checkpoints are kept. Try a lower learning rate (it was {learning_rate}), or learning_rate.warmup"
    )]
    Diverged {
        /// The step after which it was seen.
        step: u64,
        /// The loss, or a parameter's name.
        what: String,
        /// The learning rate then.
        learning_rate: f64,
    },
}

impl Error {
    /// The error of a file operation, for `map_err`.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// The exit status of the command that ends with this error: 2 for arguments and configs, 1 for the rest.
    pub fn exit_status(&self) -> u8 {
        if matches!(self, Self::Config(_) | Self::Argument(_) | Self::Fixed { .. } | Self::Device(device::Error::Unknown(_))) {
            2
        } else {
            1
        }
    }
}
