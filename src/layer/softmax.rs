//! Softmax over the elements of each image: y = eˣ/Σeˣ. A pass over the program computes it together with a cross entropy that
//! follows. Backward reads the output.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Role, Tape};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{SoftmaxBackward, SoftmaxForward};
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

    fn role(&self) -> Role {
        Role::Softmax
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(SoftmaxForward { x: io.input(0), y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(SoftmaxBackward { y: io.output(), dy: io.output_gradient(), dx });
        }
    }
}
