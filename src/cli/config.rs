//! The arguments that name a config, the same for every command that reads one: a file, or a cuda-convnet pair.

use super::Result;
use crate::config::{DataSpec, NetSpec, set_text};
use crate::layer;
use clap::Args;
use std::path::{Path, PathBuf};

/// The arguments that name a config and change it.
#[derive(Args)]
pub struct ConfigArguments {
    /// The config
    #[arg(required_unless_present_any = ["layer_def", "layer_params"])]
    config: Option<PathBuf>,
    /// The layers of a cuda-convnet net, in place of CONFIG
    #[arg(long, value_name = "FILE", requires = "layer_params", conflicts_with = "config")]
    layer_def: Option<PathBuf>,
    /// The learning settings of a cuda-convnet net, in place of CONFIG
    #[arg(long, value_name = "FILE", requires = "layer_def", conflicts_with = "config")]
    layer_params: Option<PathBuf>,
    /// The images: a built-in set's name or a path [config: data.source]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Change any key of the config: --set train.batch=128
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ConfigArguments {
    /// Reads the config with its changes and `more` of them, says what of it has no effect here, and checks that its layers
    /// are of known types.
    pub fn load(&self, more: impl IntoIterator<Item = String>) -> Result<NetSpec> {
        let spec = self.read(more)?;
        for note in &spec.notes {
            eprintln!("note: {note}");
        }
        Ok(spec)
    }

    /// As [`load`](Self::load), saying nothing.
    pub fn read(&self, more: impl IntoIterator<Item = String>) -> Result<NetSpec> {
        let data = self.data.iter().map(|data| set_text("data.source", data));
        let sets: Vec<String> = self.sets.iter().cloned().chain(data).chain(more).collect();
        let spec = match (&self.config, &self.layer_def, &self.layer_params) {
            (None, Some(layers), Some(params)) => NetSpec::load_pair(layers, params, &sets)?,
            (config, ..) => NetSpec::load(config.as_deref().unwrap_or(Path::new("")), &sets)?,
        };
        check_kinds(&spec)?;
        Ok(spec)
    }

    /// The config's path, where one is given.
    pub fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The `--set` arguments of what is no file of the user's, which brings its own images.
    pub fn sets(&self) -> Result<&[String]> {
        match &self.data {
            Some(_) => Err(super::Failure::usage("--data is for a config; this has images of its own")),
            None => Ok(&self.sets),
        }
    }

    /// What the config is read from, for people.
    pub fn origin(&self) -> String {
        let files = [&self.config, &self.layer_def, &self.layer_params];
        files.into_iter().flatten().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
    }
}

/// Reads a run's config.
pub fn load_run(path: &Path, sets: &[String]) -> Result<NetSpec> {
    let spec = NetSpec::load(path, sets)?;
    check_kinds(&spec)?;
    Ok(spec)
}

/// Makes a path to the data one that means the same from any folder, for a run's config.
pub fn make_absolute(spec: &mut NetSpec) {
    if let Ok(path) = Path::new(&spec.data.source).canonicalize()
        && !crate::data::built_in().any(|name| name == spec.data.source)
        && spec.data.source != DataSpec::NONE
    {
        spec.data.source = path.to_string_lossy().into_owned();
    }
}

fn check_kinds(spec: &NetSpec) -> Result<()> {
    Ok(spec.check_kinds(&layer::KINDS.iter().map(|k| k.name).collect::<Vec<_>>())?)
}
