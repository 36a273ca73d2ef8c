//! Max, average and L2 pooling. Windows are clipped to the image; averages divide by what is left of the window, as in
//! cuda-convnet. Output sizes round up unless `rounding = "floor"`. `padding` is Caffe's, assumed on both sides; `start` and
//! `outputs` are cuda-convnet's: where the first window starts (negative is outside), and how many there are. Cost: one read of
//! x and one write of y; backward reads x and dy (of an average dy alone, of L2 y too) and writes dx.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Tape, key};
use crate::config::{Extent, LayerSpec, Offset, Padding};
use crate::device::{PoolGeometry, Rounding, Shape, Window, output_size};
use crate::op::{Neuron, PoolBackward, PoolForward, PoolKind, Target};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "pool",
    labels: None,
    doc: Doc {
        about: "the largest value, the mean or the L2 norm of each window, channel by channel",
        keys: &[
            key("pool", "required", "\"max\", \"avg\" or \"l2\": the root of the sum of squares"),
            key("size", "required unless global", "rows and columns of a window: one number, or [height, width]"),
            key("global", "false", "true: one window that is the whole image, in place of size and all that follows it"),
            key("stride", "1", "cells between two windows"),
            key("padding", "0", "cells around the image that belong to no window's value"),
            key("start", "−padding", "where the first window starts, as in cuda-convnet; negative is outside"),
            key("outputs", "by the rule", "windows along rows and columns, as in cuda-convnet"),
            key("rounding", "ceil", "\"floor\" drops a last, partial window"),
        ],
        shape: "rows: ceil((h + 2·padding − size)/stride) + 1 (or floor), columns alike, × channels",
        formula: "y[p,q,c] = max, mean or L2 norm of x[i,j,c] over the cells of window (p, q) that lie inside the image",
        source: "cuda-convnet, Caffe; overlapping: Krizhevsky et al. 2012; L2: Le et al. 2012; global: Lin et al. 2014",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    pool: PoolKind,
    size: Option<Extent>,
    #[serde(default)]
    global: bool,
    stride: Option<Extent>,
    padding: Option<Padding>,
    start: Option<Offset>,
    outputs: Option<Extent>,
    rounding: Option<Rounding>,
}

/// A layer that is one pool.
#[derive(Debug)]
pub(super) struct Pool {
    /// The pool; it may see the input under another shape.
    pub geometry: PoolGeometry,
    pub kind: PoolKind,
    /// The shape of the layer's output.
    pub output: Shape,
    pub form: Form<'static>,
}

impl Pool {
    /// A pool of images, as other programs have it.
    fn of_images(geometry: PoolGeometry, kind: PoolKind) -> Box<dyn Layer> {
        Box::new(Self { geometry, kind, output: geometry.output(), form: Form::Pool(geometry, kind) })
    }
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    if keys.global {
        let given = [
            ("size", keys.size.is_some()),
            ("stride", keys.stride.is_some()),
            ("padding", keys.padding.is_some()),
            ("start", keys.start.is_some()),
            ("outputs", keys.outputs.is_some()),
            ("rounding", keys.rounding.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(Misfit::shape(key, format!("{key} says nothing of a window that is the whole image"), "leave it out"));
        }
        return Ok(Pool::of_images(even(x, 1)?, keys.pool));
    }
    let Some(size) = keys.size else {
        return Err(Misfit::shape("type", "the pool has no size", "give its windows a size, or global = true"));
    };
    let (stride, rounding) = (keys.stride.unwrap_or_default(), keys.rounding.unwrap_or(Rounding::Ceil));
    if keys.padding.is_some() && keys.start.is_some() {
        return Err(Misfit::shape("start", "start and padding say the same thing twice", "keep one of them"));
    }
    let mut outputs = [0; 2];
    let mut starts = [0; 2];
    for (i, input) in [x.h, x.w].into_iter().enumerate() {
        let (size, stride) = (size.axis(i), stride.axis(i));
        let padding = keys.padding.map_or(0, |p| p.axis(i));
        let start = keys.start.map_or(-(padding as i64), |s| i64::from(s.axis(i)));
        // cuda-convnet assumes no padding after the image: the cells from the first window's start to the image's end.
        let seen = usize::try_from(input as i64 - start).unwrap_or(0);
        let by_rule = match keys.start {
            Some(_) => output_size(seen, Window { size, stride, padding: 0, dilation: 1 }, rounding),
            None => output_size(input, Window { size, stride, padding, dilation: 1 }, rounding),
        };
        let count = match keys.outputs {
            Some(o) => Some(o.axis(i)),
            None => by_rule,
        };
        let Some(count) = count else {
            return Err(Misfit::shape(
                "size",
                format!("the pool of {size} cells does not fit its input of {input}"),
                "use a smaller size, more padding, or rounding = \"ceil\"",
            ));
        };
        let last = start + ((count - 1) * stride) as i64;
        if start + size as i64 <= 0 || last >= input as i64 {
            let key = if keys.outputs.is_some() { "outputs" } else { "size" };
            return Err(Misfit::shape(
                key,
                format!("a window would lie outside its input of {input} cells (first at {start}, last at {last})"),
                "every window must hold a cell of the image: change start, padding or outputs",
            ));
        }
        (outputs[i], starts[i]) = (count, start as i32);
    }
    let [size_h, size_w] = [size.axis(0), size.axis(1)];
    let [stride_h, stride_w] = [stride.axis(0), stride.axis(1)];
    let sizes = [x.n, x.h, x.w, x.c, outputs[0], outputs[1], size_h, size_w, stride_h, stride_w];
    let geometry = super::geometry(sizes, |[n, h, w, c, p, q, size_h, size_w, stride_h, stride_w]| PoolGeometry {
        n,
        h,
        w,
        c,
        p,
        q,
        size_h,
        size_w,
        stride_h,
        stride_w,
        start_h: starts[0],
        start_w: starts[1],
    })?;
    Ok(Pool::of_images(geometry, keys.pool))
}

/// The geometry that divides an image into windows × windows.
pub(super) fn even(x: Shape, windows: usize) -> Result<PoolGeometry, Misfit> {
    let sizes = [x.n, x.h, x.w, x.c, windows, x.h.div_ceil(windows), x.w.div_ceil(windows)];
    super::geometry(sizes, |[n, h, w, c, windows, size_h, size_w]| PoolGeometry {
        n,
        h,
        w,
        c,
        p: windows,
        q: windows,
        size_h,
        size_w,
        stride_h: 0,
        stride_w: 0,
        start_h: 0,
        start_w: 0,
    })
}

impl Layer for Pool {
    fn form(&self) -> Form<'_> {
        self.form
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (kind, geometry) = (self.kind, self.geometry);
        let (x, y) = (io.input(0).reshaped(geometry.input()), io.output().reshaped(geometry.output()));
        tape.push(PoolForward { kind, geometry, x, y });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let (kind, geometry) = (self.kind, self.geometry);
        let x = kind.gradient_reads_input().then(|| io.input(0).reshaped(geometry.input()));
        let y = kind.gradient_reads_output().then(|| io.output().reshaped(geometry.output()));
        let dy = io.output_gradient().reshaped(geometry.output());
        let dx = Target { at: dx.at.reshaped(geometry.input()), ..dx };
        tape.push(PoolBackward { kind, geometry, neuron: Neuron::NONE, x, y, dy, dx });
    }
}
