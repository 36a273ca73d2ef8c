//! Concatenation: the channels of several inputs of the same rows and columns, one input's after the other's. Cost: every
//! value is read and written once, forward and backward.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Tape};
use crate::config::LayerSpec;
use crate::device::{CopyGeometry, Shape};
use crate::op::{CopyBox, Target};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "concat",
    labels: None,
    doc: Doc {
        about: "the channels of its inputs, one after the other",
        keys: &[],
        shape: "rows and columns of its inputs, which are the same × the sum of their channels",
        formula: "y[i,j,·] = x1[i,j,·], x2[i,j,·], …",
        source: "cuda-convnet2's concat and pass, Caffe's Concat along the channels",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

#[derive(Debug)]
struct Concat {
    /// One for each input.
    copies: Vec<CopyGeometry>,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys {} = spec.keys()?;
    let first = inputs[0];
    if inputs.iter().any(|x| (x.h, x.w) != (first.h, first.w)) {
        let sizes: Vec<String> = inputs.iter().map(|x| format!("{}×{}", x.h, x.w)).collect();
        let message = format!("its inputs have different rows and columns: {}", sizes.join(", "));
        return Err(Misfit::shape("inputs", message, "make them the same, or flatten them first"));
    }
    let channels = inputs.iter().map(|x| x.c).sum();
    let mut to = 0;
    let copy = |x: &Shape| {
        let copy = super::geometry([x.n, x.h, x.w, x.c, channels, to], |[n, h, w, c, k, to_c]| {
            let (rows, columns, channels) = (h, w, c);
            CopyGeometry { n, h, w, c, p: h, q: w, k, rows, columns, channels, to_c, ..CopyGeometry::default() }
        });
        to += x.c;
        copy
    };
    let copies = inputs.iter().map(copy).collect::<Result<_, _>>()?;
    Ok(Box::new(Concat { copies }))
}

impl Layer for Concat {
    fn form(&self) -> Form<'_> {
        Form::Concat
    }

    fn output(&self) -> Shape {
        self.copies[0].output()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        for (i, &geometry) in self.copies.iter().enumerate() {
            tape.push(CopyBox { geometry, x: io.input(i), y: Target::set(io.output()) });
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        for (i, copy) in self.copies.iter().enumerate() {
            if let Some(dx) = io.input_gradient(i) {
                tape.push(CopyBox { geometry: copy.back(), x: io.output_gradient(), y: dx });
            }
        }
    }
}
