//! All elements of an image as the channels of one cell, in the order row, column, channel. It is a copy, which the plan
//! removes where it can.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Tape};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{Scale, Target};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "flatten",
    labels: None,
    doc: Doc {
        about: "all elements of an image as the channels of one cell",
        keys: &[],
        shape: "1 × 1 × (rows · columns · channels)",
        formula: "y[(i·w + j)·c + o] = x[i,j,o]",
        source: "Caffe's Flatten, with channels last",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

#[derive(Debug)]
struct Flatten {
    output: Shape,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys {} = spec.keys()?;
    let x = super::one_input(inputs)?;
    Ok(Box::new(Flatten { output: Shape::new(x.n, 1, 1, x.image()) }))
}

impl Layer for Flatten {
    fn form(&self) -> Form<'_> {
        Form::Flatten
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(Scale { factor: 1.0, x: io.input(0).reshaped(self.output), y: Target::set(io.output()) });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(Scale { factor: 1.0, x: io.output_gradient().reshaped(dx.at.shape), y: dx });
        }
    }
}
