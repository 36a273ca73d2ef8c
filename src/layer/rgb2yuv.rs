//! YUV of RGB: a 1×1 convolution with filters that are not learned, of cuda-convnet2's coefficients (BT.709). Cost: 9
//! multiply-adds a cell, and as many for the gradient.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Tape};
use crate::config::LayerSpec;
use crate::device::{ConvGeometry, Shape};
use crate::op::{ConvBackwardImage, ConvForward, Neuron};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "rgb2yuv",
    labels: None,
    doc: Doc {
        about: "YUV of RGB",
        keys: &[],
        shape: "as its input, which has 3 channels",
        formula: "y = 0.2126·r + 0.7152·g + 0.0722·b; u = −0.09991·r − 0.33609·g + 0.436·b; v = 0.615·r − 0.55861·g − 0.05639·b",
        source: "cuda-convnet2's rgb2yuv",
    },
    build,
};

/// Rows: Y, U, V; columns: R, G, B.
const COEFFICIENTS: [[f64; 3]; 3] = [[0.2126, 0.7152, 0.0722], [-0.09991, -0.33609, 0.436], [0.615, -0.55861, -0.05639]];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

#[derive(Debug)]
struct Rgb2Yuv {
    geometry: ConvGeometry,
}

/// The one input of a layer of colours.
pub(super) fn colours(inputs: &[Shape]) -> Result<Shape, Misfit> {
    let x = super::one_input(inputs)?;
    if x.c != 3 {
        let message = format!("colours are 3 channels, its input has {}", x.c);
        return Err(Misfit::shape("inputs", message, "name a layer of red, green and blue"));
    }
    Ok(x)
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys {} = spec.keys()?;
    let x = colours(inputs)?;
    let geometry = super::geometry([x.n, x.h, x.w], |[n, h, w]| ConvGeometry {
        n,
        h,
        w,
        c: 3,
        k: 3,
        r: 1,
        s: 1,
        p: h,
        q: w,
        stride_h: 1,
        stride_w: 1,
        padding_h: 0,
        padding_w: 0,
        dilation_h: 1,
        dilation_w: 1,
        groups: 1,
    })?;
    Ok(Box::new(Rgb2Yuv { geometry }))
}

impl Layer for Rgb2Yuv {
    fn output(&self) -> Shape {
        self.geometry.output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::fixed("filters", self.geometry.filters(), COEFFICIENTS.concat())]
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (x, w, y) = (io.input(0), io.parameter(0), io.output());
        tape.push(ConvForward { geometry: self.geometry, neuron: Neuron::NONE, x, w, b: None, y });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(ConvBackwardImage {
                geometry: self.geometry,
                neuron: Neuron::NONE,
                dy: io.output_gradient(),
                w: io.parameter(0),
                seen: None,
                dx,
            });
        }
    }
}
