//! L*a*b* of linear RGB from 0 to 1, with cuda-convnet2's coefficients, but an exact cube root where cuda-convnet2 has the power
//! 0.3333. Cost: one pass over x and y with three cube roots a cell; backward reads x.

use super::{Doc, Io, Kind, Layer, Misfit, Tape, key, rgb2yuv};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{LabBackward, LabForward};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "rgb2lab",
    labels: None,
    doc: Doc {
        about: "L*a*b* of linear RGB from 0 to 1",
        keys: &[key("center", "false", "true: 50 is subtracted from L*, so that it lies around 0")],
        shape: "as its input, which has 3 channels",
        formula: "L* = 116·f(Y) − 16, a* = 500·(f(X) − f(Y)), b* = 200·(f(Y) − f(Z)); f(t) = ∛t, below 0.0088564517 \
                  7.787037·t + 0.13793103; X = 0.49·r + 0.31·g + 0.2·b, Y = 0.17697·r + 0.8124·g + 0.01063·b, Z = 0.01·g + 0.99·b",
        source: "cuda-convnet2's rgb2lab; CIE 1976",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    center: bool,
}

#[derive(Debug)]
struct Rgb2Lab {
    shape: Shape,
    /// Subtracted from L*.
    centre: f64,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    Ok(Box::new(Rgb2Lab { shape: rgb2yuv::colours(inputs)?, centre: if keys.center { 50.0 } else { 0.0 } }))
}

impl Layer for Rgb2Lab {
    fn output(&self) -> Shape {
        self.shape
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(LabForward { centre: self.centre, x: io.input(0), y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(LabBackward { x: io.input(0), dy: io.output_gradient(), dx });
        }
    }
}
