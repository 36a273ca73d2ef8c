//! Some of the channels: y[i,j,o] = x[i,j,from + o]. Cost: one read and one write of them; backward writes all of dx.

use super::crop::Cut;
use super::{Doc, Kind, Layer, Misfit, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "slice",
    labels: None,
    doc: Doc {
        about: "some of the channels",
        keys: &[key("channels", "required", "[from, to]: the first channel, and the one after the last")],
        shape: "rows × columns of its input × (to − from)",
        formula: "y[i,j,o] = x[i,j,from + o]",
        source: "Caffe's Slice along the channels, one of its outputs",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    channels: [u32; 2],
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let [from, to] = keys.channels;
    if from >= to || to as usize > x.c {
        let message = format!("channels {from} to {to} are not a part of its input's {}", x.c);
        return Err(Misfit::shape("channels", message, format!("use 0 ≤ from < to ≤ {}", x.c)));
    }
    Cut::layer(x, Shape { c: (to - from) as usize, ..x }, [0, 0, from as i32], false)
}
