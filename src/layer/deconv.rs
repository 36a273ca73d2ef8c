//! Transposed convolution ("deconvolution"): the image gradient of a convolution as a layer. It maps `[p, q, k]` to
//! `[h, w, channels]` with the filters `[k][size][size][channels/groups]` of the convolution that goes the other way, so that
//! with `weight_source` it is that layer's tied decoder; of a 1×1 input it is a fully connected layer's. Cost: as that
//! convolution's. Backward reads x.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterSpec, Tape, key};
use crate::config::{Extent, LayerSpec, Padding};
use crate::device::{ConvGeometry, ProductGeometry, Rounding, Shape, Window, output_size};
use crate::op::{BiasBackward, ConvBackwardFilters, ConvBackwardImage, ConvForward, Neuron, Product, Scale, Target, Value};
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
    /// A product of no terms: its result is the bias at every place.
    bias: Option<ProductGeometry>,
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
    let bias = keys.bias.then_some(ProductGeometry { m: places, n: geometry.c, k: 0, transpose_a: 0, transpose_b: 0 });
    Ok(Box::new(Deconv { geometry, bias }))
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
        let bias = self.bias.map(|p| ParameterSpec::bias(Shape::new(1, 1, 1, p.n as usize), fan_in, fan_out));
        std::iter::once(ParameterSpec::weights(0, filters, fan_in, fan_out)).chain(bias).collect()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let mut dx = Target::set(io.output());
        if let Some(p) = self.bias {
            let (bias, rows, columns) = (io.parameter(1), p.m as usize, p.n as usize);
            let no_terms = |rows, columns| Value::new(bias.slot, Shape::new(rows, 1, 1, columns), bias.dtype);
            let (a, b) = (no_terms(rows, 0), no_terms(0, columns));
            let c = Target::set(dx.at.reshaped(Shape::new(rows, 1, 1, columns)));
            tape.push(Product { geometry: p, neuron: Neuron::NONE, a, b, bias: Some(bias), c });
            dx = Target::add(dx.at);
        }
        tape.push(ConvBackwardImage {
            geometry: self.geometry,
            neuron: Neuron::NONE,
            dy: io.input(0),
            w: io.parameter(0),
            seen: None,
            dx,
        });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let (geometry, dy) = (self.geometry, io.output_gradient());
        if let Some(dw) = io.parameter_gradient(0) {
            tape.push(ConvBackwardFilters { geometry, x: dy, dy: io.input(0), dw });
        }
        if self.bias.is_some()
            && let Some(db) = io.parameter_gradient(1)
        {
            tape.push(BiasBackward { dy, db });
        }
        let Some(dx) = io.input_gradient(0) else { return };
        // A convolution sets its result.
        let y = if dx.adds() { tape.value(geometry.output()) } else { dx.at };
        tape.push(ConvForward { geometry, neuron: Neuron::NONE, x: dy, w: io.parameter(0), b: None, y });
        if dx.adds() {
            tape.push(Scale { factor: 1.0, x: y, y: dx });
        }
    }
}
