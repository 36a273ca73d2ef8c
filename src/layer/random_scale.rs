//! A random scale, one for the whole batch: in training the image is scaled, bilinearly, to r times the output's rows and columns, r
//! from 1 to `max`, and a part of the output's size is taken at a random place; in testing r is 1. Scales are as probable as
//! there are places for the part, as in cuda-convnet2: (p·(r − 1) + 1)². Both are functions of (seed, step, layer), drawn on the
//! device and kept for the backward pass. Cost: as resize's.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Phase, key, resize};
use crate::config::{Extent, LayerSpec};
use crate::device::{self, Device, ImageGeometry, Shape};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "random-scale",
    labels: None,
    doc: Doc {
        about: "in training, a random part of the image scaled to the output's size",
        keys: &[
            key("max", "required", "the largest scale, at least 1"),
            key("size", "the input's", "rows and columns of the output: one number, or [height, width]"),
        ],
        shape: "size × channels",
        formula: "training: p × q cells, at a random place, of the image scaled to r·p × r·q; testing: r = 1, all of the image",
        source: "cuda-convnet2's rscale (maxScale, tgtSize)",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    max: f64,
    size: Option<Extent>,
}

#[derive(Debug)]
struct RandomScale {
    geometry: ImageGeometry,
    max: f64,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    if !(keys.max >= 1.0 && keys.max <= 100.0) {
        let message = format!("the largest scale is {}", keys.max);
        return Err(Misfit::shape("max", message, "use a number of 1 (no other scale) or more, up to 100"));
    }
    let size = keys.size.map_or([x.h, x.w], |size| [size.height, size.width]);
    Ok(Box::new(RandomScale { geometry: resize::geometry(x, size)?, max: keys.max }))
}

impl Layer for RandomScale {
    fn output(&self) -> Shape {
        self.geometry.output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![resize::whole(&self.geometry)]
    }

    /// The window.
    fn kept(&self) -> usize {
        4
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let window = match io.phase {
            Phase::Train => {
                device.random_window(io.layer, &self.geometry, self.max, io.kept())?;
                io.kept()
            }
            Phase::Test => io.parameter(0),
        };
        device.resample_forward(&self.geometry, window, io.input(0), io.output())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        device.resample_backward(&self.geometry, io.kept(), io.output_gradient(), dx, into)
    }
}
