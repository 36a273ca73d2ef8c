//! The net's inputs as layers: the normalised images, or their labels. A config without such a layer has both, named `data` and
//! `labels`.

use super::{Doc, Io, Kind, Layer, Misfit, Role, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use serde::Deserialize;

/// The part of a batch that a source holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The images.
    #[default]
    Images,
    /// The labels: one class number an image.
    Labels,
}

pub(super) const KIND: Kind = Kind {
    name: "data",
    labels: None,
    doc: Doc {
        about: "the net's input under a name of its own; without one, the images are 'data' and their labels 'labels'",
        keys: &[key("part", "images", "\"images\" or \"labels\"")],
        shape: "that of the images, or one label an image",
        formula: "images: (pixel − mean)·scale, as [data] says",
        source: "cuda-convnet's data layers",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    part: Part,
}

#[derive(Debug)]
struct Data {
    part: Part,
    shape: Shape,
}

/// The net passes the images' and the labels' shapes as inputs.
pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys { part } = spec.keys()?;
    Ok(Box::new(Data { part, shape: inputs[part as usize] }))
}

impl Layer for Data {
    fn output(&self) -> Shape {
        self.shape
    }

    fn role(&self) -> Role {
        Role::Source(self.part)
    }

    /// The net loads a batch before the first layer runs.
    fn forward(&self, _: &mut Tape, _: &Io) {}

    fn backward(&self, _: &mut Tape, _: &Io) {}
}
