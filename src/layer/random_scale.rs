//! A random scale, one for the whole batch: in training the image is scaled, bilinearly, to r times the output's rows and
//! columns, r from 1 to `max`, and a part of the output's size is taken at a random place; in testing r is 1. A scale is as
//! probable as it has places for the part, as in cuda-convnet2: (p·(r − 1) + 1)². Both are functions of (seed, step, layer),
//! drawn on the device and saved for the backward pass. Cost: as resize's.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Phase, Tape, key, resize};
use crate::config::{Extent, LayerSpec};
use crate::device::{ImageGeometry, Shape};
use crate::op::{RandomWindow, ResampleBackward, ResampleForward, Scale, Target};
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
        let message = format!("max must be a number from 1 to 100, not {}", keys.max);
        return Err(Misfit::shape("max", message, "it is the largest scale; 1 never scales"));
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

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (geometry, whole) = (self.geometry, io.parameter(0));
        let window = tape.save(whole.shape);
        match io.phase {
            Phase::Train => tape.push(RandomWindow { layer: io.layer, geometry, largest: self.max, window }),
            Phase::Test => tape.push(Scale { factor: 1.0, x: whole, y: Target::set(window) }),
        }
        tape.push(ResampleForward { geometry, window, x: io.input(0), y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(ResampleBackward { geometry: self.geometry, window: io.saved(0), dy: io.output_gradient(), dx });
        }
    }
}
