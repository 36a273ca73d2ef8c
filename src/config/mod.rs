//! From a config to a [`NetSpec`]: the net's layers by name and what they read, the data, and how to train.
//!
//! A reader turns a file into a tree of [`Node`]s, values that know their places (TOML, Caffe, darknet); `--set` changes
//! the tree; and one serde deserializer reads everything from it. An error about a config, at whatever stage it is
//! found, is a [`ConfigError`], which shows the line with a label. To add a format, write a reader that makes the same
//! tree as the TOML would, and give it to [`NetSpec::from_node`].

mod caffe;
mod cuda_convnet;
mod darknet;
mod data;
mod de;
mod error;
mod graph;
mod init;
mod layer;
mod neuron;
mod node;
mod pretrain;
mod read;
mod schedule;
mod set;
mod source;
mod toml;
mod train;
mod tree;
pub mod types;

pub use data::{Augment, DataSpec, Mean, Scale, SyntheticSpec};
pub use error::ConfigError;
pub use init::{Fan, Init, InitKind};
pub use layer::{InputSpec, LayerSpec, Source, WeightSource};
pub use node::{Entry, Node, Table, Value};
pub use pretrain::PretrainSpec;
pub use schedule::{Schedule, ScheduleKind, Warmup};
pub use set::set_text;
pub use source::{SourceId, Sources, Span};
pub use train::TrainSpec;
pub use types::{Extent, Momenta, Multipliers, Offset, Padding, Rates};

pub(crate) use error::nearest;
use error::{did_you_mean, list, quote};
use serde::Serialize;
use std::fmt::Display;

/// A net, its data and its training, as a config has them; everything is checked but what depends on the layers' types and
/// on shapes. Two are equal when they say the same, wherever it is written.
#[derive(Clone, Debug)]
pub struct NetSpec {
    /// The net's name; the file's, if it has none of its own.
    pub name: String,
    /// `[data]`
    pub data: DataSpec,
    /// `[train]`
    pub train: TrainSpec,
    /// `[pretrain]`
    pub pretrain: Option<PretrainSpec>,
    /// The layers, each after those it reads; otherwise as they were written.
    pub layers: Vec<LayerSpec>,
    /// The texts that it was read from.
    pub sources: Sources,
    /// The tree that it was read from, `--set` included.
    pub root: Node,
    /// What its file says that has no effect here, for people: a reader of another program's format fills it.
    pub notes: Vec<String>,
    /// Images as its file describes them, where their source is another: what to make up where that is not there, and only
    /// shapes matter. A reader of another program's format fills it.
    pub images: Option<SyntheticSpec>,
}

impl PartialEq for NetSpec {
    fn eq(&self, other: &Self) -> bool {
        let all = |s: &Self| (s.name.clone(), s.data.clone(), s.train.clone(), s.pretrain.clone());
        all(self) == all(other) && self.layers == other.layers
    }
}

impl NetSpec {
    /// The layer of a name, with its index.
    pub fn layer(&self, name: &str) -> Option<(usize, &LayerSpec)> {
        self.layers.iter().enumerate().find(|(_, l)| l.name == name)
    }

    /// Checks that every layer is of a known type.
    ///
    /// # Errors
    /// The first layer that is not, with the known types and the nearest of them.
    pub fn check_kinds(&self, known: &[&str]) -> Result<(), ConfigError> {
        let Some(layer) = self.layers.iter().find(|l| !known.contains(&l.kind.as_str())) else { return Ok(()) };
        let label = did_you_mean(&layer.kind, known, "not a type that is known here");
        let help = format!("known types: {}", list(known));
        Err(layer.error("type", format!("unknown type {}", quote(&layer.kind)), label, help))
    }

    /// An error about a place in this config: a message, a label for the place (or ""), and what to do (or "").
    pub fn error_at(&self, span: Span, message: impl Display, label: impl Display, help: impl Display) -> ConfigError {
        ConfigError::new(message).at(&self.sources, span, label).help(help)
    }

    /// An error about a key of a layer (its type, where it has no such key); the layer's name goes before the message.
    pub fn layer_error(
        &self,
        layer: &LayerSpec,
        key: &str,
        message: impl Display,
        label: impl Display,
        help: impl Display,
    ) -> ConfigError {
        layer.error(key, message, label, help)
    }

    /// The config that this is, as TOML, with the defaults of `[data]` and `[train]` written out. Reading it gives an equal
    /// spec.
    pub fn to_toml(&self) -> String {
        let mut above = "data";
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let default = matches!(layer.inputs.as_slice(), [one] if one.name == above);
            layers.push(layer.as_written(default));
            if !layer.is_labels() {
                above = &layer.name;
            }
        }
        let written =
            Written { name: &self.name, data: &self.data, train: &self.train, pretrain: self.pretrain.as_ref(), layer: layers };
        ::toml::to_string(&written).expect("every value of a spec has a form in TOML")
    }
}

#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    data: &'a DataSpec,
    train: &'a TrainSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pretrain: Option<&'a PretrainSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layer: Vec<Node>,
}
