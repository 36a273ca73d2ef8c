//! A Gaussian blur of each channel: the filter exp(−d²/2·std²) of `size` cells, divided by its sum, along the rows and then
//! down the columns; outside the image is 0. Two depthwise convolutions by filters that are not learned. Cost: 2·size
//! multiply-adds an element, and as many for the gradient.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Tape, key};
use crate::config::LayerSpec;
use crate::device::{ConvGeometry, Shape};
use crate::op::{ConvBackwardImage, ConvForward, Neuron, Target, Value};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "blur",
    labels: None,
    doc: Doc {
        about: "a Gaussian blur of each channel",
        keys: &[
            key("size", "required", "rows and columns of the filter: an odd number"),
            key("std", "required", "its standard deviation, in cells"),
        ],
        shape: "as its input",
        formula: "y = x ∗ g ∗ gᵀ, g[d] = exp(−d²/(2·std²)) divided by their sum, 0 outside the image",
        source: "cuda-convnet2's blur",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    size: std::num::NonZeroU16,
    std: f64,
}

#[derive(Debug)]
struct Blur {
    along_rows: ConvGeometry,
    down_columns: ConvGeometry,
    filter: Vec<f64>,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let size = i32::from(keys.size.get());
    if size % 2 == 0 {
        return Err(Misfit::shape("size", format!("the filter has {size} cells and no middle"), "use an odd number"));
    }
    if !(keys.std > 0.0 && keys.std.is_finite()) {
        return Err(Misfit::shape(
            "std",
            format!("std must be a number above 0, not {}", keys.std),
            "it is the standard deviation, in cells",
        ));
    }
    let weight = |i: i32| (-f64::from(i - size / 2).powi(2) / (2.0 * keys.std * keys.std)).exp();
    let sum: f64 = (0..size).map(weight).sum();
    let along_rows = super::geometry([x.n, x.h, x.w, x.c], |[n, h, w, c]| ConvGeometry {
        n,
        h,
        w,
        c,
        k: c,
        r: 1,
        s: size,
        p: h,
        q: w,
        stride_h: 1,
        stride_w: 1,
        padding_h: 0,
        padding_w: size / 2,
        dilation_h: 1,
        dilation_w: 1,
        groups: c,
    })?;
    let down_columns = ConvGeometry { r: size, s: 1, padding_h: size / 2, padding_w: 0, ..along_rows };
    Ok(Box::new(Blur { along_rows, down_columns, filter: (0..size).map(|i| weight(i) / sum).collect() }))
}

impl Blur {
    /// The filters of both convolutions, which are the same.
    fn filters(&self, io: &Io) -> [Value; 2] {
        [io.parameter(0), io.parameter(0).reshaped(self.down_columns.filters())]
    }
}

impl Layer for Blur {
    fn output(&self) -> Shape {
        self.along_rows.output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let shape = self.along_rows.filters();
        vec![ParameterSpec::fixed("filters", shape, self.filter.repeat(shape.n))]
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let ([along, down], neuron, between) = (self.filters(io), Neuron::NONE, tape.value(self.output()));
        tape.push(ConvForward { geometry: self.along_rows, neuron, x: io.input(0), w: along, b: None, y: between });
        tape.push(ConvForward { geometry: self.down_columns, neuron, x: between, w: down, b: None, y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let ([along, down], between) = (self.filters(io), tape.value(self.output()));
        let (dy, dbetween) = (io.output_gradient(), Target::set(between));
        tape.push(ConvBackwardImage { geometry: self.down_columns, neuron: Neuron::NONE, dy, w: down, seen: None, dx: dbetween });
        tape.push(ConvBackwardImage { geometry: self.along_rows, neuron: Neuron::NONE, dy: between, w: along, seen: None, dx });
    }
}
