//! Convolution: y[n,p,q,k] = Σ over the window and the group's channels of w[k,r,s,c]·x + b. Filters may be grouped (Krizhevsky
//! 2012), dilated, rectangular; biases shared by all places, untied (one a place), or absent. Each of several inputs has
//! filters of its own, and their convolutions are added up. Cost: k·p·q·r·s·c/groups multiply-adds an image, and as many for
//! each gradient. Backward reads x. `local` layers (local.rs) differ only in their filters: each place has its own.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterSpec, Tape, key};
use crate::config::{Extent, LayerSpec, Padding};
use crate::device::{ConvGeometry, Rounding, Shape, Window, output_size};
use crate::op::{
    BiasBackward, ConvBackwardFilters, ConvBackwardImage, ConvForward, LocalBackwardFilters, LocalBackwardImage, LocalForward,
    Neuron, Scale, Target,
};
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

/// The keys that one of several inputs can have for itself.
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

/// Whether places share filters.
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
}

#[derive(Debug)]
struct Conv {
    /// One for each input.
    geometries: Vec<ConvGeometry>,
    filters: Filters,
    bias: Bias,
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
    Ok(Box::new(Conv { geometries, filters, bias }))
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

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let neuron = Neuron::NONE;
        for (i, &geometry) in self.geometries.iter().enumerate() {
            let (x, w) = (io.input(i), io.parameter(i));
            let b = (i == 0 && self.bias != Bias::None).then(|| io.parameter(self.geometries.len()));
            let y = if i == 0 { io.output() } else { tape.value(self.output()) };
            match self.filters {
                Filters::Shared => tape.push(ConvForward { geometry, neuron, x, w, b, y }),
                Filters::Local => tape.push(LocalForward { geometry, neuron, x, w, b, y }),
            }
            if i > 0 {
                tape.push(Scale { factor: 1.0, x: y, y: Target::add(io.output()) });
            }
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let dy = io.output_gradient();
        for (i, &geometry) in self.geometries.iter().enumerate() {
            if let Some(dw) = io.parameter_gradient(i) {
                let x = io.input(i);
                match self.filters {
                    Filters::Shared => tape.push(ConvBackwardFilters { geometry, x, dy, dw }),
                    Filters::Local => tape.push(LocalBackwardFilters { geometry, x, dy, dw }),
                }
            }
        }
        if self.bias != Bias::None
            && let Some(db) = io.parameter_gradient(self.geometries.len())
        {
            tape.push(BiasBackward { dy, db });
        }
        for (i, &geometry) in self.geometries.iter().enumerate() {
            if let Some(dx) = io.input_gradient(i) {
                let w = io.parameter(i);
                match self.filters {
                    Filters::Shared => tape.push(ConvBackwardImage { geometry, neuron: Neuron::NONE, dy, w, seen: None, dx }),
                    Filters::Local => tape.push(LocalBackwardImage { geometry, dy, w, dx }),
                }
            }
        }
    }
}
