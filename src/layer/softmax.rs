//! Softmax over the elements of each image: y = eˣ/Σeˣ. A cross entropy on it takes it into itself. Backward
//! reads the output.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Reads, Role};
use crate::config::LayerSpec;
use crate::device::{self, Device, Shape};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "softmax",
    labels: None,
    doc: Doc {
        about: "probabilities out of scores, over all elements of an image",
        keys: &[],
        shape: "as its input",
        formula: "y[i] = eˣ[i] / Σ eˣ[j]",
        source: "Bridle 1990",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

#[derive(Debug)]
struct Softmax {
    shape: Shape,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys {} = spec.keys()?;
    Ok(Box::new(Softmax { shape: super::one_input(inputs)? }))
}

impl Layer for Softmax {
    fn form(&self) -> Form<'_> {
        Form::Softmax
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: false, output: true }
    }

    fn role(&self) -> Role {
        Role::Softmax
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        device.softmax_forward(io.input(0), io.output())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        device.softmax_backward(io.output(), io.output_gradient(), dx, into)
    }
}
