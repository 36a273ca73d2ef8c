//! The net's inputs as layers: the images, normalised, or their labels. A config without such a layer has both under the
//! names `data` and `labels`.

use super::{Doc, Io, Kind, Layer, Misfit, Role, key};
use crate::config::LayerSpec;
use crate::device::{self, Device, Shape};
use serde::Deserialize;

/// Which part of a batch a source gives.
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

/// Inputs are the images' and the labels' shapes, which the net puts there.
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
    fn forward(&self, _: &mut dyn Device, _: &Io) -> device::Result<()> {
        Ok(())
    }

    fn backward(&self, _: &mut dyn Device, _: &Io) -> device::Result<()> {
        Ok(())
    }
}
