//! Locally connected: a convolution in which each place has its own filters, `[p·q][k][r][s][c/groups]`, and by default its own
//! biases: y[n,p,q,k] = Σ over the window and the group's channels of w[p,q,k,r,s,c]·x + b[p,q,k]. The keys
//! and passes are conv's (conv.rs). Cost: k·p·q·r·s·c/groups multiply-adds an image as in a convolution, and as many weights.

use super::conv::{self, Filters};
use super::{Doc, Kind, Layer, Misfit, key};
use crate::config::LayerSpec;
use crate::device::Shape;

pub(super) const KIND: Kind = Kind {
    name: "local",
    labels: None,
    doc: Doc {
        about: "locally connected: a convolution in which each place has filters of its own",
        keys: &[
            key("filters", "required", "output channels"),
            key("size", "required", "rows and columns of a filter: one number, or [height, width]"),
            key("stride", "1", "cells between two windows"),
            key("padding", "0", "zeros around the image, on both sides"),
            key("dilation", "1", "cells between two taps of a filter"),
            key("groups", "1", "groups of channels that do not see each other"),
            key("rounding", "floor", "\"ceil\" has a last, partial window, as cuda-convnet has"),
            key("bias", "untied", "\"untied\" (one a place), \"shared\" by all places, \"none\""),
            key(
                "per_input",
                "none",
                "with several inputs: an array of { size, stride, padding, dilation, groups }, one for each",
            ),
        ],
        shape: "as conv's",
        formula: "y[p,q,k] = b[p,q,k] + Σ w[p,q,k,r,s,c]·x[p·stride − padding + r·dilation, q·stride − padding + s·dilation, c]",
        source: "LeCun 1989; cuda-convnet's local; Taigman et al. 2014",
    },
    build,
};

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    conv::build_with(spec, inputs, Filters::Local)
}
