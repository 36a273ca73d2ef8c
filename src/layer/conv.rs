//! Convolution: y[n,p,q,k] = Σ over the window and the group's channels of w[k,r,s,c]·x + b. Filters may be grouped
//! (Krizhevsky 2012), dilated, rectangular; biases shared by all places, untied (one a place), or absent. Several inputs have
//! filters of their own each, and their convolutions are added up. Cost: k·p·q·r·s·c/groups multiply-adds an image, and as
//! many for each gradient. Backward reads x. `local` layers (local.rs) are the same but for the filters, which each place has
//! for itself.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterSpec, Pass, Reads, key};
use crate::config::{Extent, LayerSpec, Padding};
use crate::device::{self, ConvGeometry, Device, Dtype, Into, Neuron, Op, Rounding, Shape, Tensor, Window, output_size};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "conv",
    labels: None,
    doc: Doc {
        about: "convolution with learned filters",
        keys: &[
            key("filters", "required", "output channels"),
            key("size", "required", "rows and columns of a filter: one number, or [height, width]"),
            key("stride", "1", "cells between two windows"),
            key("padding", "0", "zeros around the image, on both sides"),
            key("dilation", "1", "cells between two taps of a filter"),
            key("groups", "1", "groups of channels that do not see each other; as many as channels: depthwise"),
            key("rounding", "floor", "\"ceil\" has a last, partial window, as cuda-convnet has"),
            key("bias", "shared", "\"shared\" by all places, \"untied\" (one a place), \"none\""),
            key(
                "per_input",
                "none",
                "with several inputs: an array of { size, stride, padding, dilation, groups }, one for each",
            ),
        ],
        shape: "rows: floor((h + 2·padding − (size − 1)·dilation − 1)/stride) + 1, columns alike, × filters",
        formula: "y[p,q,k] = b[k] + Σ w[k,r,s,c]·x[p·stride − padding + r·dilation, q·stride − padding + s·dilation, c]",
        source: "LeCun et al. 1998; groups: Krizhevsky et al. 2012",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    filters: std::num::NonZeroU32,
    size: Extent,
    #[serde(default)]
    stride: Extent,
    #[serde(default)]
    padding: Padding,
    #[serde(default)]
    dilation: Extent,
    #[serde(default = "one")]
    groups: std::num::NonZeroU32,
    #[serde(default)]
    rounding: Rounding,
    bias: Option<Bias>,
    per_input: Option<Vec<Overrides>>,
}

/// What one input of several has of its own.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default, deny_unknown_fields)]
struct Overrides {
    size: Option<Extent>,
    stride: Option<Extent>,
    padding: Option<Padding>,
    dilation: Option<Extent>,
    groups: Option<std::num::NonZeroU32>,
}

fn one() -> std::num::NonZeroU32 {
    std::num::NonZeroU32::MIN
}

#[derive(Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Bias {
    Shared,
    Untied,
    None,
}

/// Whose the filters are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Filters {
    /// All places share them.
    Shared,
    /// Each place has its own.
    Local,
}

impl Filters {
    fn shape(self, g: &ConvGeometry) -> Shape {
        match self {
            Self::Shared => g.filters(),
            Self::Local => g.local_filters(),
        }
    }

    /// The operations of a pass, for their scratch.
    fn forward(self, g: ConvGeometry) -> Op {
        match self {
            Self::Shared => Op::ConvForward(g),
            Self::Local => Op::LocalForward(g),
        }
    }

    fn backward_image(self, g: ConvGeometry) -> Op {
        match self {
            Self::Shared => Op::ConvBackwardImage(g),
            Self::Local => Op::LocalBackwardImage(g),
        }
    }

    fn backward_filters(self, g: ConvGeometry) -> Op {
        match self {
            Self::Shared => Op::ConvBackwardFilters(g),
            Self::Local => Op::LocalBackwardFilters(g),
        }
    }
}

#[derive(Debug)]
struct Conv {
    /// One for each input.
    geometries: Vec<ConvGeometry>,
    filters: Filters,
    bias: Bias,
    neuron: Neuron,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    build_with(spec, inputs, Filters::Shared)
}

/// A convolution whose filters are shared, or a locally connected layer.
pub(super) fn build_with(spec: &LayerSpec, inputs: &[Shape], filters: Filters) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let own = keys.per_input.as_deref().unwrap_or_default();
    if !own.is_empty() && own.len() != inputs.len() {
        let message = format!("per_input has {} entries, the layer {} inputs", own.len(), inputs.len());
        return Err(Misfit::shape("per_input", message, "give one entry for each input, {} where nothing differs"));
    }
    let geometries = inputs.iter().enumerate().map(|(i, &x)| geometry(&keys, own.get(i).copied().unwrap_or_default(), x));
    let geometries: Vec<ConvGeometry> = geometries.collect::<Result<_, _>>()?;
    super::same_shapes(geometries.iter().map(ConvGeometry::output), "size")?;
    let bias = keys.bias.unwrap_or(if filters == Filters::Local { Bias::Untied } else { Bias::Shared });
    Ok(Box::new(Conv { geometries, filters, bias, neuron: Neuron::NONE }))
}

/// The convolution of one input.
fn geometry(keys: &Keys, own: Overrides, x: Shape) -> Result<ConvGeometry, Misfit> {
    let (k, groups) = (keys.filters.get() as usize, own.groups.unwrap_or(keys.groups).get() as usize);
    if !x.c.is_multiple_of(groups) || !k.is_multiple_of(groups) {
        return Err(Misfit::shape(
            "groups",
            format!("{groups} groups divide neither evenly: {} input channels, {k} filters", x.c),
            "use a number of groups that divides both",
        ));
    }
    let (size, stride) = (own.size.unwrap_or(keys.size), own.stride.unwrap_or(keys.stride));
    let (padding, dilation) = (own.padding.unwrap_or(keys.padding), own.dilation.unwrap_or(keys.dilation));
    let axis =
        |i: usize| Window { size: size.axis(i), stride: stride.axis(i), padding: padding.axis(i), dilation: dilation.axis(i) };
    let (rows, columns) = (axis(0), axis(1));
    let fit = output_size(x.h, rows, keys.rounding).zip(output_size(x.w, columns, keys.rounding));
    let Some((p, q)) = fit else {
        let (h, w) = (x.h + 2 * rows.padding, x.w + 2 * columns.padding);
        return Err(Misfit::shape(
            "size",
            format!("the {}×{} filter does not fit its {}×{} input", rows.span(), columns.span(), x.h, x.w),
            format!("use size ≤ {}, or padding ≥ {}", h.min(w), needed_padding(x, rows, columns)),
        ));
    };
    super::geometry([x.n, x.h, x.w, x.c, k, rows.size, columns.size, p, q], |[n, h, w, c, k, r, s, p, q]| ConvGeometry {
        n,
        h,
        w,
        c,
        k,
        r,
        s,
        p,
        q,
        stride_h: rows.stride as i32,
        stride_w: columns.stride as i32,
        padding_h: rows.padding as i32,
        padding_w: columns.padding as i32,
        dilation_h: rows.dilation as i32,
        dilation_w: columns.dilation as i32,
        groups: groups as i32,
    })
}

/// The least padding on both sides with which a filter fits.
fn needed_padding(x: Shape, rows: Window, columns: Window) -> usize {
    rows.span().saturating_sub(x.h).max(columns.span().saturating_sub(x.w)).div_ceil(2)
}

impl Conv {
    fn bias_shape(&self) -> Option<Shape> {
        let y = self.output();
        match self.bias {
            Bias::None => None,
            Bias::Shared => Some(Shape::new(1, 1, 1, y.c)),
            Bias::Untied => Some(Shape { n: 1, ..y }),
        }
    }

    /// Bytes of an output of which several inputs' convolutions are the terms; 0 of one input.
    fn term_bytes(&self, real: Dtype) -> usize {
        if self.geometries.len() == 1 { 0 } else { (self.output().elements() * real.size()).next_multiple_of(256) }
    }
}

impl Layer for Conv {
    fn form(&self) -> Form<'_> {
        match self.filters {
            Filters::Shared => Form::Conv(&self.geometries),
            Filters::Local => Form::Other,
        }
    }

    fn output(&self) -> Shape {
        self.geometries[0].output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let fans = |g: &ConvGeometry| (g.filters().image(), g.filters().h * g.filters().w * (g.k / g.groups) as usize);
        let weights = self.geometries.iter().enumerate().map(|(i, g)| {
            let (fan_in, fan_out) = fans(g);
            ParameterSpec::weights(i, self.filters.shape(g), fan_in, fan_out)
        });
        let (fan_in, fan_out) = fans(&self.geometries[0]);
        weights.chain(self.bias_shape().map(|shape| ParameterSpec::bias(shape, fan_in, fan_out))).collect()
    }

    fn multiply_adds(&self) -> u64 {
        self.geometries.iter().map(ConvGeometry::multiply_adds).sum()
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let most = |of: &dyn Fn(ConvGeometry) -> Op| self.geometries.iter().map(|&g| device.scratch(&of(g))).max().unwrap_or(0);
        match pass {
            Pass::Forward => self.term_bytes(device.real()) + most(&|g| self.filters.forward(g)),
            Pass::Backward => {
                let bias = self.bias_shape().map_or(0, |b| device.scratch(&Op::BiasBackward(self.output(), b)));
                most(&|g| self.filters.backward_image(g)).max(most(&|g| self.filters.backward_filters(g))).max(bias)
            }
        }
    }

    fn fuse(&mut self, neuron: Neuron) -> bool {
        if self.geometries.len() > 1 {
            return false; // it comes after the sum
        }
        self.neuron = neuron;
        true
    }

    fn take_channel_map(&mut self, then: Neuron) -> bool {
        if self.geometries.len() > 1 || self.neuron != Neuron::NONE {
            return false;
        }
        if self.bias == Bias::None {
            self.bias = Bias::Shared;
        }
        self.fuse(then)
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let bias = (self.bias != Bias::None).then(|| io.parameter(self.geometries.len()));
        let (scratch, y) = (io.scratch(Pass::Forward), io.output());
        let (term, scratch) = scratch.split(self.term_bytes(device.real()));
        let term = Tensor { shape: y.shape, dtype: y.dtype, ..term };
        for (i, g) in self.geometries.iter().enumerate() {
            let (x, w) = (io.input(i), io.parameter(i));
            let (bias, neuron, y) = if i == 0 { (bias, self.neuron, y) } else { (None, Neuron::NONE, term) };
            match self.filters {
                Filters::Shared => device.conv_forward(g, x, w, bias, neuron, y, scratch)?,
                Filters::Local => device.local_forward(g, x, w, bias, neuron, y, scratch)?,
            }
            if i > 0 {
                device.scale(1.0, term, io.output(), Into::Add)?;
            }
        }
        Ok(())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (dy, scratch) = (io.output_gradient(), io.scratch(Pass::Backward));
        for (i, g) in self.geometries.iter().enumerate() {
            if let Some((dw, into)) = io.parameter_gradient(i) {
                match self.filters {
                    Filters::Shared => device.conv_backward_filters(g, io.input(i), dy, dw, into, scratch)?,
                    Filters::Local => device.local_backward_filters(g, io.input(i), dy, dw, into, scratch)?,
                }
            }
        }
        if self.bias != Bias::None
            && let Some((db, into)) = io.parameter_gradient(self.geometries.len())
        {
            device.bias_backward(dy, db, into, scratch)?;
        }
        for (i, g) in self.geometries.iter().enumerate() {
            if let Some((dx, into)) = io.input_gradient(i) {
                match self.filters {
                    Filters::Shared => device.conv_backward_image(g, dy, io.parameter(i), dx, into, scratch)?,
                    Filters::Local => device.local_backward_image(g, dy, io.parameter(i), dx, into, scratch)?,
                }
            }
        }
        Ok(())
    }
}
