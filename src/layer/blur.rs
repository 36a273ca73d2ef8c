//! A Gaussian blur of each channel: the filter exp(−d²/2·std²) of `size` cells, divided by its sum, along the rows and then down the
//! columns; outside the image is 0. Two depthwise convolutions by filters that are not learned. Cost: 2·size multiply-adds an
//! element, and as many for the gradient.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Pass, key};
use crate::config::LayerSpec;
use crate::device::{self, ConvGeometry, Device, Dtype, Into, Neuron, Op, Shape, Tensor};
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
        return Err(Misfit::shape("std", format!("{} is no standard deviation", keys.std), "use a number above 0"));
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
    /// Bytes of what is between the two convolutions.
    fn between(&self, real: Dtype) -> usize {
        (self.output().elements() * real.size()).next_multiple_of(256)
    }

    /// The room for what is between, the scratch of each convolution, and the filters of both, which are the same.
    fn tensors(&self, device: &dyn Device, io: &Io, pass: Pass) -> (Tensor, Tensor, [Tensor; 2]) {
        let (between, scratch) = io.scratch(pass).split(self.between(device.real()));
        let filters = io.parameter(0);
        (
            Tensor { shape: self.output(), dtype: device.real(), ..between },
            scratch,
            [filters, filters.reshaped(self.down_columns.filters())],
        )
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

    fn multiply_adds(&self) -> u64 {
        self.along_rows.multiply_adds() + self.down_columns.multiply_adds()
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let op = match pass {
            Pass::Forward => Op::ConvForward,
            Pass::Backward => Op::ConvBackwardImage,
        };
        let most = device.scratch(&op(self.along_rows)).max(device.scratch(&op(self.down_columns)));
        self.between(device.real()) + most
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (between, scratch, [along, down]) = self.tensors(device, io, Pass::Forward);
        device.conv_forward(&self.along_rows, io.input(0), along, None, Neuron::NONE, between, scratch)?;
        device.conv_forward(&self.down_columns, between, down, None, Neuron::NONE, io.output(), scratch)
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let (between, scratch, [along, down]) = self.tensors(device, io, Pass::Backward);
        device.conv_backward_image(&self.down_columns, io.output_gradient(), down, between, Into::Set, scratch)?;
        device.conv_backward_image(&self.along_rows, between, along, dx, into, scratch)
    }
}
