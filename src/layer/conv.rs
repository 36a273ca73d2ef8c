//! Convolution: y[n,p,q,k] = Σ over the window and the group's channels of w[k,r,s,c]·x + b. Filters may be grouped
//! (Krizhevsky 2012), dilated, rectangular; biases shared by all places, untied (one a place), or absent. Cost: k·p·q·r·s·c/groups
//! multiply-adds an image, and as many for each gradient. Backward reads x.

use super::{Io, Layer, Misfit, ParameterSpec, Pass, Reads};
use crate::config::{Extent, LayerSpec, Padding};
use crate::device::{self, ConvGeometry, Device, Neuron, Op, Rounding, Shape, Window, output_size};
use serde::Deserialize;

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
    #[serde(default)]
    bias: Bias,
}

fn one() -> std::num::NonZeroU32 {
    std::num::NonZeroU32::MIN
}

#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Bias {
    #[default]
    Shared,
    Untied,
    None,
}

#[derive(Debug)]
struct Conv {
    geometry: ConvGeometry,
    bias: Bias,
    neuron: Neuron,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let (k, groups) = (keys.filters.get() as usize, keys.groups.get() as usize);
    if x.c % groups != 0 || k % groups != 0 {
        return Err(Misfit::shape(
            "groups",
            format!("{groups} groups divide neither evenly: {} input channels, {k} filters", x.c),
            "use a number of groups that divides both",
        ));
    }
    let axis = |i: usize| Window {
        size: keys.size.axis(i),
        stride: keys.stride.axis(i),
        padding: keys.padding.axis(i),
        dilation: keys.dilation.axis(i),
    };
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
    let geometry =
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
        })?;
    Ok(Box::new(Conv { geometry, bias: keys.bias, neuron: Neuron::NONE }))
}

/// The least padding on both sides with which a filter fits.
fn needed_padding(x: Shape, rows: Window, columns: Window) -> usize {
    rows.span().saturating_sub(x.h).max(columns.span().saturating_sub(x.w)).div_ceil(2)
}

impl Layer for Conv {
    fn output(&self) -> Shape {
        self.geometry.output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let (g, f) = (&self.geometry, self.geometry.filters());
        let (fan_in, fan_out) = (f.image(), f.h * f.w * f.n / g.groups as usize);
        let y = g.output();
        let bias = match self.bias {
            Bias::None => None,
            Bias::Shared => Some(Shape::new(1, 1, 1, y.c)),
            Bias::Untied => Some(Shape { n: 1, ..y }),
        };
        let weights = ParameterSpec { name: "weights", shape: f, fan_in, fan_out };
        let bias = bias.map(|shape| ParameterSpec { name: "bias", shape, fan_in, fan_out });
        std::iter::once(weights).chain(bias).collect()
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
            Pass::Forward => device.scratch(&Op::ConvForward(g)),
            Pass::Backward => {
                let bias = self.parameters().get(1).map_or(0, |b| device.scratch(&Op::BiasBackward(g.output(), b.shape)));
                let filters = device.scratch(&Op::ConvBackwardFilters(g));
                device.scratch(&Op::ConvBackwardImage(g)).max(filters).max(bias)
            }
        }
    }

    fn fuse(&mut self, neuron: Neuron) -> bool {
        self.neuron = neuron;
        true
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let bias = (self.bias != Bias::None).then(|| io.parameter(1));
        let scratch = io.scratch(Pass::Forward);
        device.conv_forward(&self.geometry, io.input(0), io.parameter(0), bias, self.neuron, io.output(), scratch)
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (g, dy, scratch) = (&self.geometry, io.output_gradient(), io.scratch(Pass::Backward));
        if let Some(dw) = io.parameter_gradient(0) {
            device.conv_backward_filters(g, io.input(0), dy, dw, io.accumulate, scratch)?;
        }
        if self.bias != Bias::None
            && let Some(db) = io.parameter_gradient(1)
        {
            device.bias_backward(dy, db, io.accumulate, scratch)?;
        }
        if let Some((dx, into)) = io.input_gradient(0) {
            device.conv_backward_image(g, dy, io.parameter(0), dx, into, scratch)?;
        }
        Ok(())
    }
}
