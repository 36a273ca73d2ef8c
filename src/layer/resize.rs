//! The image at another size, bilinearly: cells are squares whose centres lie half a cell inside, so that both images' edges
//! meet, as in PyTorch's interpolate with align_corners = False; an image that gets smaller is not smoothed first. Cost: one
//! write of y and four reads of x, most from the cache; the same backward.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Tape, key};
use crate::config::{Extent, LayerSpec};
use crate::device::{ImageGeometry, Shape};
use crate::op::{ResampleBackward, ResampleForward};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "resize",
    labels: None,
    doc: Doc {
        about: "the image at another size, bilinearly",
        keys: &[
            key("size", "by scale", "rows and columns of the output: one number, or [height, width]"),
            key("scale", "by size", "input over output, as in cuda-convnet2: 2 halves rows and columns; they are rounded down"),
        ],
        shape: "size × channels, or floor(rows/scale) × floor(columns/scale) × channels",
        formula: "y[i,j,c] = x at row (i + ½)·h/p − ½ and column (j + ½)·w/q − ½, between its four neighbours",
        source: "cuda-convnet2's resize; PyTorch's interpolate, bilinear, align_corners = False",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    size: Option<Extent>,
    scale: Option<f64>,
}

#[derive(Debug)]
struct Resize {
    geometry: ImageGeometry,
}

/// The geometry of images of p × q cells made from x.
pub(super) fn geometry(x: Shape, [p, q]: [usize; 2]) -> Result<ImageGeometry, Misfit> {
    super::geometry([x.n, x.h, x.w, x.c, p, q], |[n, h, w, c, p, q]| ImageGeometry { n, h, w, c, p, q })
}

/// The window of all of the image.
pub(super) fn whole(g: &ImageGeometry) -> ParameterSpec {
    let axis = |cells: i32, outputs: i32| {
        let step = f64::from(cells) / f64::from(outputs);
        [0.5 * step - 0.5, step]
    };
    let ([a, b], [c, d]) = (axis(g.h, g.p), axis(g.w, g.q));
    ParameterSpec::fixed("window", Shape::new(1, 1, 1, 4), vec![a, b, c, d])
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let size = match (keys.size, keys.scale) {
        (Some(size), None) => [size.height, size.width],
        (None, Some(scale)) if scale.is_finite() && scale > 0.0 => {
            // A quotient that is a whole number but for its rounding error is that number.
            let scaled = [x.h, x.w].map(|cells| (cells as f64 / scale + 1e-6).floor());
            if scaled.iter().any(|&s| !(1.0..=1e6).contains(&s)) {
                let message = format!("a {}×{} image over {scale} is {}×{}", x.h, x.w, scaled[0], scaled[1]);
                return Err(Misfit::shape("scale", message, "use a scale that leaves at least one cell"));
            }
            scaled.map(|s| s as usize)
        }
        (None, Some(scale)) => {
            return Err(Misfit::shape(
                "scale",
                format!("scale must be a number above 0, not {scale}"),
                "it is input over output",
            ));
        }
        (None, None) => return Err(Misfit::shape("type", "a resize layer needs a size or a scale", "add, say, size = 32")),
        (Some(_), Some(_)) => {
            return Err(Misfit::shape("scale", "size and scale say the same thing twice", "keep one of them"));
        }
    };
    Ok(Box::new(Resize { geometry: geometry(x, size)? }))
}

impl Layer for Resize {
    fn output(&self) -> Shape {
        self.geometry.output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![whole(&self.geometry)]
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(ResampleForward { geometry: self.geometry, window: io.parameter(0), x: io.input(0), y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            let (window, dy) = (io.parameter(0), io.output_gradient());
            tape.push(ResampleBackward { geometry: self.geometry, window, dy, dx });
        }
    }
}
