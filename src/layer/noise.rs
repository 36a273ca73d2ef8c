//! Gaussian noise: in training y = x + std·g with g standard normal, in testing y = x. The numbers are a function of (seed,
//! step, layer, image, element). The gradient passes as it is.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Phase, key};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, Shape};
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
        let message = format!("{} is no standard deviation", keys.std);
        return Err(Misfit::shape("std", message, "use a number from 0 on"));
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

    fn elementwise(&self) -> bool {
        true
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, y) = (io.input(0), io.output());
        match io.phase {
            Phase::Train => device.noise(io.layer, self.std, x, y),
            Phase::Test if x.slot == y.slot => Ok(()),
            Phase::Test => device.scale(1.0, x, y, Into::Set),
        }
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let dy = io.output_gradient();
        if dx.slot == dy.slot { Ok(()) } else { device.scale(1.0, dy, dx, into) }
    }
}
