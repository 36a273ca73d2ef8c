//! A bed of nails: the cells at every stride-th row and column, which is a pool of one cell. Cost: one read and one write of those
//! cells; backward writes all of dx.

use super::pool::Pool;
use super::{Doc, Form, Kind, Layer, Misfit, key};
use crate::config::{Extent, LayerSpec, Offset};
use crate::device::{PoolGeometry, Shape};
use crate::op::PoolKind;
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "nailbed",
    labels: None,
    doc: Doc {
        about: "the cells at every stride-th row and column",
        keys: &[
            key("stride", "required", "cells from one to the next: one number, or [height, width]"),
            key("start", "centred", "the first row and column that is taken: one number, or [row, column]"),
        ],
        shape: "ceil((rows − start)/stride), columns alike, × channels",
        formula: "y[i,j,c] = x[start + i·stride, start + j·stride, c]",
        source: "cuda-convnet2's nailbed",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    stride: Extent,
    start: Option<Offset>,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let (mut starts, mut outputs) = ([0; 2], [0; 2]);
    for (axis, cells) in [x.h, x.w].into_iter().enumerate() {
        let stride = keys.stride.axis(axis);
        let start = match keys.start {
            Some(start) => i64::from(start.axis(axis)),
            // As many cells are left before the first as after the last.
            None => ((cells - stride * (cells.div_ceil(stride) - 1)) / 2) as i64,
        };
        if start < 0 || start >= cells as i64 {
            let message = format!("the first cell, {start}, is not one of its input's {cells}");
            return Err(Misfit::shape("start", message, format!("use 0 to {}", cells - 1)));
        }
        starts[axis] = start as usize;
        outputs[axis] = (cells - starts[axis]).div_ceil(stride);
    }
    let sizes = [x.n, x.h, x.w, x.c, outputs[0], outputs[1], keys.stride.height, keys.stride.width, starts[0], starts[1]];
    let geometry = super::geometry(sizes, |[n, h, w, c, p, q, stride_h, stride_w, start_h, start_w]| PoolGeometry {
        n,
        h,
        w,
        c,
        p,
        q,
        size_h: 1,
        size_w: 1,
        stride_h,
        stride_w,
        start_h,
        start_w,
    })?;
    Ok(Box::new(Pool { geometry, kind: PoolKind::Avg, output: geometry.output(), form: Form::Other }))
}
