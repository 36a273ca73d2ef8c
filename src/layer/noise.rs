//! Gaussian noise: in training y = x + std·g with g standard normal, in testing y = x. The numbers are a function of (seed,
//! step, layer, image, element). The gradient passes unchanged.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Phase, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{self, Scale, Target};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "noise",
    labels: None,
    doc: Doc {
        about: "in training, adds Gaussian noise",
        keys: &[key("std", "required", "the noise's standard deviation")],
        shape: "as its input",
        formula: "training: y = x + std·g, g standard normal; testing: y = x",
        source: "Sietsma and Dow 1991; Vincent et al. 2010",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    std: f64,
}

#[derive(Debug)]
struct Noise {
    std: f64,
    shape: Shape,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    if !(keys.std >= 0.0 && keys.std.is_finite()) {
        let message = format!("std must be a number of 0 or more, not {}", keys.std);
        return Err(Misfit::shape("std", message, "0 adds no noise"));
    }
    Ok(Box::new(Noise { std: keys.std, shape: super::one_input(inputs)? }))
}

impl Layer for Noise {
    fn form(&self) -> Form<'_> {
        Form::Scale(1.0)
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (x, y) = (io.input(0), io.output());
        match io.phase {
            Phase::Train => tape.push(op::Noise { layer: io.layer, std: self.std, x, y }),
            Phase::Test => tape.push(Scale { factor: 1.0, x, y: Target::set(y) }),
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(Scale { factor: 1.0, x: io.output_gradient(), y: dx });
        }
    }
}
