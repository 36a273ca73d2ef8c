//! A box of the image, the same in training and testing: y[i,j,c] = x[i + row, j + column, c], 0 where that is outside the
//! image, so that a crop can also pad. Cost: one read and one write of the box; backward writes all of dx.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Tape, key};
use crate::config::{Extent, LayerSpec, Offset};
use crate::device::{CopyGeometry, Shape};
use crate::op::{CopyBox, Target};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "crop",
    labels: None,
    doc: Doc {
        about: "a part of the image",
        keys: &[
            key("size", "required", "rows and columns of the part: one number, or [height, width]"),
            key("start", "0", "its first row and column; negative is outside: one number, or [row, column]"),
        ],
        shape: "size × channels",
        formula: "y[i,j,c] = x[i + row, j + column, c], 0 outside the image",
        source: "cuda-convnet2's crop",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    size: Extent,
    #[serde(default)]
    start: Offset,
}

/// A layer that copies a box of its input to its output.
#[derive(Debug)]
pub(super) struct Cut {
    copy: CopyGeometry,
}

impl Cut {
    /// A layer whose output, of shape `y`, is the box of its input that starts at [row, column, channel]; mirrored or not.
    pub(super) fn layer(x: Shape, y: Shape, from: [i32; 3], mirror: bool) -> Result<Box<dyn Layer>, Misfit> {
        let [from_h, from_w, from_c] = from;
        let copy = super::geometry([x.n, x.h, x.w, x.c, y.h, y.w, y.c], |[n, h, w, c, p, q, k]| {
            let (rows, columns, channels, mirror) = (p, q, k, i32::from(mirror));
            let to = CopyGeometry::default();
            CopyGeometry { n, h, w, c, p, q, k, rows, columns, channels, from_h, from_w, from_c, mirror, ..to }
        })?;
        Ok(Box::new(Self { copy }))
    }
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let meets = |axis: usize, cells: usize| {
        let start = i64::from(keys.start.axis(axis));
        start < cells as i64 && start + keys.size.axis(axis) as i64 > 0
    };
    if !(meets(0, x.h) && meets(1, x.w)) {
        let message = format!("the crop lies outside its {}×{} input", x.h, x.w);
        return Err(Misfit::shape("start", message, "it must hold a cell of the image: change start or size"));
    }
    let y = Shape { h: keys.size.height, w: keys.size.width, ..x };
    Cut::layer(x, y, [keys.start.row, keys.start.column, 0], false)
}

impl Layer for Cut {
    fn form(&self) -> Form<'_> {
        Form::Copy(self.copy)
    }

    fn output(&self) -> Shape {
        self.copy.output()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(CopyBox { geometry: self.copy, x: io.input(0), y: Target::set(io.output()) });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            tape.push(CopyBox { geometry: self.copy.back(), x: io.output_gradient(), y: dx });
        }
    }
}
