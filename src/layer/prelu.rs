//! Parametric relu (He et al. 2015): y = x above 0, slope·x below; the slopes are learned, one for each channel or one for all, and
//! start at 0.25. Cost: one pass over x and y; backward two over x and dy. Backward reads x.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterRole, ParameterSpec, Tape, key};
use crate::config::{Init, LayerSpec};
use crate::device::Shape;
use crate::op::{PreluBackward, PreluBackwardSlope, PreluForward};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "prelu",
    labels: None,
    doc: Doc {
        about: "relu with a learned slope below 0",
        keys: &[key("shared", "false", "true: one slope for all channels")],
        shape: "as its input",
        formula: "y[i,j,c] = x above 0, slope[c]·x below; the slopes are the layer's weights, and start at 0.25",
        source: "He et al. 2015, Caffe's PReLU",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    shared: bool,
}

#[derive(Debug)]
struct Prelu {
    shape: Shape,
    slopes: Shape,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let shape = super::one_input(inputs)?;
    let slopes = Shape::new(1, 1, 1, if keys.shared { 1 } else { shape.c });
    Ok(Box::new(Prelu { shape, slopes }))
}

impl Layer for Prelu {
    fn form(&self) -> Form<'_> {
        Form::Prelu
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec {
            name: "slope".into(),
            role: ParameterRole::Weights,
            shape: self.slopes,
            fan_in: 1,
            fan_out: 1,
            init: Init::constant(0.25),
        }]
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(PreluForward { x: io.input(0), slope: io.parameter(0), y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let (x, dy) = (io.input(0), io.output_gradient());
        if let Some(dslope) = io.parameter_gradient(0) {
            tape.push(PreluBackwardSlope { x, dy, dslope });
        }
        // Last, so that it can overwrite dy.
        if let Some(dx) = io.input_gradient(0) {
            tape.push(PreluBackward { x, slope: io.parameter(0), dy, dx });
        }
    }
}
