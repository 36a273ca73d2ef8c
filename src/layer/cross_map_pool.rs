//! Pooling over neighbouring channels, at each place by itself: the maximum (Goodfellow et al. 2013, "Maxout networks"), the
//! mean, or the L2 norm. The first window starts at `start`, and the last ones are clipped to the last channel. It is the
//! `pool` of rows of channels: each place is seen as an image of one row, whose columns are the channels. Cost: one read of x
//! and one write of y; backward as a pool's.

use super::pool::Pool;
use super::{Doc, Form, Kind, Layer, Misfit, key};
use crate::config::LayerSpec;
use crate::device::{PoolGeometry, Rounding, Shape, Window, output_size};
use crate::op::PoolKind;
use serde::Deserialize;
use std::num::NonZeroU32;

pub(super) const KIND: Kind = Kind {
    name: "cross-map-pool",
    labels: None,
    doc: Doc {
        about: "the largest value, the mean or the L2 norm of neighbouring channels",
        keys: &[
            key("pool", "required", "\"max\", \"avg\" or \"l2\""),
            key("size", "required", "channels of a window"),
            key("stride", "size", "channels between two windows"),
            key("start", "0", "where the first window starts; negative is before the first channel"),
            key("outputs", "ceil((channels − start − size)/stride) + 1", "windows: channels of the output"),
        ],
        shape: "rows and columns of its input × outputs",
        formula: "y[p,q,o] = max, mean or L2 norm of x[p,q,c] over the channels of window o",
        source: "cuda-convnet2's cmpool; maxout: Goodfellow et al. 2013",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    pool: PoolKind,
    size: NonZeroU32,
    stride: Option<NonZeroU32>,
    #[serde(default)]
    start: i32,
    outputs: Option<NonZeroU32>,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let size = keys.size.get() as usize;
    let stride = keys.stride.unwrap_or(keys.size).get() as usize;
    let (start, channels) = (i64::from(keys.start), x.c as i64);
    let outputs = match keys.outputs {
        Some(outputs) => outputs.get() as usize,
        None => {
            let seen = usize::try_from(channels - start).unwrap_or(0);
            output_size(seen, Window { size, stride, padding: 0, dilation: 1 }, Rounding::Ceil).unwrap_or(1)
        }
    };
    let last = start + ((outputs - 1) * stride) as i64;
    if start + size as i64 <= 0 || last >= channels {
        let key = if keys.outputs.is_some() { "outputs" } else { "start" };
        return Err(Misfit::shape(
            key,
            format!("a window would hold none of the {channels} channels (first from {start}, last from {last})"),
            "every window must hold a channel: change start, size, stride or outputs",
        ));
    }
    let geometry = super::geometry([x.n * x.h * x.w, x.c, outputs, size, stride], |[n, w, q, size_w, stride_w]| PoolGeometry {
        n,
        h: 1,
        w,
        c: 1,
        p: 1,
        q,
        size_h: 1,
        size_w,
        stride_h: 1,
        stride_w,
        start_h: 0,
        start_w: keys.start,
    })?;
    Ok(Box::new(Pool { geometry, kind: keys.pool, output: Shape { c: outputs, ..x }, form: Form::Other }))
}
