//! Transposed convolution ("deconvolution"): the image gradient of a convolution as a layer. It maps `[p, q, k]` to
//! `[h, w, channels]` with the filters `[k][size][size][channels/groups]` of the convolution that goes the other way, so that
//! with `weight_source` it is that layer's tied decoder; of a 1×1 input it is a fully connected layer's. Cost: as that
//! convolution's. Backward reads x.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterSpec, Pass, Reads, key};
use crate::config::{Extent, LayerSpec, Padding};
use crate::device::{self, ConvGeometry, Device, Into, Neuron, Op, Product, Rounding, Shape, Tensor, Window, output_size};
use serde::Deserialize;
use std::num::NonZeroU32;

pub(super) const KIND: Kind = Kind {
    name: "deconv",
    labels: None,
    doc: Doc {
        about: "transposed convolution: a convolution's image gradient as a layer, a decoder with tied weights",
        keys: &[
            key("channels", "required", "output channels"),
            key("size", "required", "rows and columns of a filter: one number, or [height, width]"),
            key("stride", "1", "cells of the output between two filters"),
            key("padding", "0", "cells cut off the output on every side"),
            key("dilation", "1", "cells between two taps of a filter"),
            key("groups", "1", "groups of channels that do not see each other"),
            key("outputs", "by the rule", "rows and columns of the output, where several are possible"),
            key("bias", "true", "false: no biases"),
        ],
        shape: "rows: (p − 1)·stride + (size − 1)·dilation + 1 − 2·padding, columns alike, × channels",
        formula: "y[h,w,c] = b[c] + Σ w[k,r,s,c]·x[p,q,k] over p·stride − padding + r·dilation = h, and columns alike",
        source: "Zeiler et al. 2010; tied decoders: Vincent et al. 2010",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    channels: NonZeroU32,
    size: Extent,
    #[serde(default)]
    stride: Extent,
    #[serde(default)]
    padding: Padding,
    #[serde(default)]
    dilation: Extent,
    #[serde(default = "one")]
    groups: NonZeroU32,
    outputs: Option<Extent>,
    #[serde(default = "yes")]
    bias: bool,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct Deconv {
    /// The convolution from the output to the input.
    geometry: ConvGeometry,
    /// Of no terms: what is left is the bias at every place.
    bias: Option<Product>,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let (channels, groups) = (keys.channels.get() as usize, keys.groups.get() as usize);
    if !x.c.is_multiple_of(groups) || !channels.is_multiple_of(groups) {
        let message = format!("{groups} groups divide neither evenly: {} input channels, {channels} output channels", x.c);
        return Err(Misfit::shape("groups", message, "use a number of groups that divides both"));
    }
    let axis = |i: usize| Window {
        size: keys.size.axis(i),
        stride: keys.stride.axis(i),
        padding: keys.padding.axis(i),
        dilation: keys.dilation.axis(i),
    };
    let mut outputs = [0; 2];
    for (i, cells) in [x.h, x.w].into_iter().enumerate() {
        let w = axis(i);
        let by_rule = ((cells - 1) * w.stride + w.span()).saturating_sub(2 * w.padding);
        outputs[i] = keys.outputs.map_or(by_rule, |o| o.axis(i));
        let back = [Rounding::Floor, Rounding::Ceil].map(|r| output_size(outputs[i], w, r));
        if outputs[i] == 0 || !back.contains(&Some(cells)) {
            let key = if keys.outputs.is_some() { "outputs" } else { "padding" };
            let message = format!("a convolution of {} cells does not give the input's {cells}", outputs[i]);
            return Err(Misfit::shape(key, message, format!("with this size, stride and padding {by_rule} cells do")));
        }
    }
    let sizes = [x.n, outputs[0], outputs[1], channels, x.c, keys.size.axis(0), keys.size.axis(1), x.h, x.w];
    let geometry = super::geometry(sizes, |[n, h, w, c, k, r, s, p, q]| ConvGeometry {
        n,
        h,
        w,
        c,
        k,
        r,
        s,
        p,
        q,
        stride_h: axis(0).stride as i32,
        stride_w: axis(1).stride as i32,
        padding_h: axis(0).padding as i32,
        padding_w: axis(1).padding as i32,
        dilation_h: axis(0).dilation as i32,
        dilation_w: axis(1).dilation as i32,
        groups: groups as i32,
    })?;
    let places = super::geometry([x.n * outputs[0] * outputs[1]], |[m]| m)?;
    let bias = keys.bias.then_some(Product { m: places, n: geometry.c, k: 0, transpose_a: 0, transpose_b: 0 });
    Ok(Box::new(Deconv { geometry, bias }))
}

impl Deconv {
    fn bias_shape(&self) -> Shape {
        Shape::new(1, 1, 1, self.output().c)
    }

    /// Bytes of an input's gradient, which is added in a pass of its own where the layer's input has other readers.
    fn term_bytes(&self, device: &dyn Device) -> usize {
        (self.geometry.output().elements() * device.real().size()).next_multiple_of(256)
    }
}

impl Layer for Deconv {
    fn form(&self) -> Form<'_> {
        Form::Deconv(self.geometry)
    }

    fn output(&self) -> Shape {
        self.geometry.input()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let g = &self.geometry;
        let filters = g.filters();
        let (fan_in, fan_out) = ((g.k / g.groups) as usize * filters.h * filters.w, filters.image());
        let bias = self.bias.map(|_| ParameterSpec::bias(self.bias_shape(), fan_in, fan_out));
        std::iter::once(ParameterSpec::weights(0, filters, fan_in, fan_out)).chain(bias).collect()
    }

    fn multiply_adds(&self) -> u64 {
        self.geometry.multiply_adds()
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let g = self.geometry;
        match pass {
            Pass::Forward => {
                let bias = self.bias.map_or(0, |p| device.scratch(&Op::Product(p)));
                device.scratch(&Op::ConvBackwardImage(g)).max(bias)
            }
            Pass::Backward => {
                let bias = device.scratch(&Op::BiasBackward(self.output(), self.bias_shape()));
                let filters = device.scratch(&Op::ConvBackwardFilters(g));
                filters.max(bias).max(self.term_bytes(device) + device.scratch(&Op::ConvForward(g)))
            }
        }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, w, y, scratch) = (io.input(0), io.parameter(0), io.output(), io.scratch(Pass::Forward));
        let mut into = Into::Set;
        if let Some(p) = self.bias {
            let nothing = |n: usize| Tensor { shape: Shape::new(n, 1, 1, 0), ..y };
            let (a, b) = (nothing(p.m as usize), Tensor { shape: Shape::new(0, 1, 1, p.n as usize), ..y });
            let rows = y.reshaped(Shape::new(p.m as usize, 1, 1, p.n as usize));
            device.product(&p, a, b, Some(io.parameter(1)), Neuron::NONE, rows, Into::Set, scratch)?;
            into = Into::Add;
        }
        device.conv_backward_image(&self.geometry, x, w, y, into, scratch)
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (g, dy, scratch) = (&self.geometry, io.output_gradient(), io.scratch(Pass::Backward));
        if let Some((dw, into)) = io.parameter_gradient(0) {
            device.conv_backward_filters(g, dy, io.input(0), dw, into, scratch)?;
        }
        if self.bias.is_some()
            && let Some((db, into)) = io.parameter_gradient(1)
        {
            device.bias_backward(dy, db, into, scratch)?;
        }
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let (term, scratch) = scratch.split(self.term_bytes(device));
        match into {
            Into::Set => device.conv_forward(g, dy, io.parameter(0), None, Neuron::NONE, dx, scratch),
            Into::Add => {
                let term = Tensor { shape: dx.shape, dtype: dx.dtype, ..term };
                device.conv_forward(g, dy, io.parameter(0), None, Neuron::NONE, term, scratch)?;
                device.scale(1.0, term, dx, Into::Add)
            }
        }
    }
}
