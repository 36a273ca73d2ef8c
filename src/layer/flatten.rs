//! All elements of an image as the channels of one cell, in the order row, column, channel. The output lies in its input's
//! place where nobody else reads that; else it is a copy.

use super::{Doc, Form, Io, Kind, Layer, Misfit};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, Shape};
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

    fn elementwise(&self) -> bool {
        true
    }

    fn is_view(&self) -> bool {
        true
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, y) = (io.input(0), io.output());
        if x.slot == y.slot { Ok(()) } else { device.scale(1.0, x, y, Into::Set) }
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let dy = io.output_gradient();
        if dx.slot == dy.slot { Ok(()) } else { device.scale(1.0, dy, dx, into) }
    }
}
