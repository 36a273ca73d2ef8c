//! The image mirrored left to right: y[i,j,c] = x[i, w − 1 − j, c]. Cost: one read and one write, forward and backward.

use super::crop::Cut;
use super::{Doc, Kind, Layer, Misfit};
use crate::config::LayerSpec;
use crate::device::Shape;
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "reflect",
    labels: None,
    doc: Doc {
        about: "the image mirrored left to right",
        keys: &[],
        shape: "as its input",
        formula: "y[i,j,c] = x[i, w − 1 − j, c]",
        source: "cuda-convnet2's href",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys {} = spec.keys()?;
    let x = super::one_input(inputs)?;
    Cut::layer(x, x, [0; 3], true)
}
