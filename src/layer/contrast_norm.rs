//! Contrast normalisation and the subtraction of the local mean, within each map. m is the mean over the size × size places
//! around each, clipped to the image and divided by what is left of the window, and d = x − m. Mean subtraction is y = d;
//! contrast normalisation is y = x / (k + alpha/size²·Σ d²)^beta, the sum over the same places: cuda-convnet's, which divides x
//! itself and not d. Its backward pass ignores the gradient through m and uses d in place of x; this one is the exact gradient.
//!
//! Both are made of the average pool of stride 1 and of response normalisation (`lrn`). Cost: 28 bytes an element for the
//! mean's subtraction and 12 more for the normalisation; backward 20 and 68.

use super::{Doc, Io, Kind, Layer, Misfit, Tape, key, lrn};
use crate::config::LayerSpec;
use crate::device::{LrnGeometry, PoolGeometry, Shape};
use crate::op::{LrnBackward, LrnForward, Merge, Merging, Neuron, PoolBackward, PoolForward, PoolKind, Response, Target, Value};
use serde::Deserialize;
use std::num::NonZeroU32;

pub(super) const CONTRAST: Kind = Kind {
    name: "contrast-norm",
    labels: None,
    doc: Doc {
        about: "local contrast normalisation: divides by the deviation of the neighbouring places",
        keys: &[
            key("size", "5", "rows and columns of the window"),
            key("alpha", "0.0001", "multiplies the mean squared deviation of a whole window"),
            key("beta", "0.75", "the power"),
            key("k", "1", "what is added to the sum; more than 0"),
        ],
        shape: "as its input",
        formula: "y = x / (k + alpha/size²·Σ(x − mean)²)^beta, each mean that of its own window; windows are clipped",
        source: "cuda-convnet's cnorm; after Jarrett et al. 2009",
    },
    build: build_contrast,
};

pub(super) const MEAN: Kind = Kind {
    name: "mean-subtraction",
    labels: None,
    doc: Doc {
        about: "subtracts the mean of the neighbouring places",
        keys: &[key("size", "5", "rows and columns of the window")],
        shape: "as its input",
        formula: "y = x − mean of x over size × size places around it, clipped to the image",
        source: "Jarrett et al. 2009, with a box for the Gaussian",
    },
    build: build_mean,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContrastKeys {
    #[serde(default = "lrn::five")]
    size: NonZeroU32,
    #[serde(default = "lrn::alpha")]
    alpha: f64,
    #[serde(default = "lrn::beta")]
    beta: f64,
    #[serde(default = "lrn::one")]
    k: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeanKeys {
    #[serde(default = "lrn::five")]
    size: NonZeroU32,
}

/// The average pool whose window around each place is that of a response normalisation.
fn around(g: &LrnGeometry) -> PoolGeometry {
    let LrnGeometry { n, h, w, c, size, .. } = *g;
    let start = -(size / 2);
    PoolGeometry { n, h, w, c, p: h, q: w, size_h: size, size_w: size, stride_h: 1, stride_w: 1, start_h: start, start_w: start }
}

const DIFFERENCE: Merging = Merging::Sum { a: 1.0, b: -1.0 };

/// d ← x − mean.
fn deviations(tape: &mut Tape, g: &LrnGeometry, x: Value, d: Value) {
    let mean = tape.value(g.shape());
    tape.push(PoolForward { kind: PoolKind::Avg, geometry: around(g), x, y: mean });
    tape.push(Merge { how: DIFFERENCE, a: x, b: mean, y: Target::set(d) });
}

/// dx ← the gradient of [`deviations`] (or dx += …).
fn deviations_backward(tape: &mut Tape, g: &LrnGeometry, dd: Value, dx: Target<Value>) {
    let of_mean = tape.value(g.shape());
    let (kind, geometry) = (PoolKind::Avg, around(g));
    tape.push(PoolBackward { kind, geometry, neuron: Neuron::NONE, x: None, y: None, dy: dd, dx: Target::set(of_mean) });
    tape.push(Merge { how: DIFFERENCE, a: dd, b: of_mean, y: dx });
}

#[derive(Debug)]
struct ContrastNorm {
    geometry: LrnGeometry,
    response: Response,
}

fn build_contrast(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: ContrastKeys = spec.keys()?;
    let geometry = lrn::geometry(super::one_input(inputs)?, keys.size, true, false)?;
    let size = f64::from(keys.size.get());
    Ok(Box::new(ContrastNorm { geometry, response: lrn::response(keys.alpha, size * size, keys.beta, keys.k)? }))
}

impl Layer for ContrastNorm {
    fn output(&self) -> Shape {
        self.geometry.shape()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (x, d) = (io.input(0), tape.save(self.output()));
        deviations(tape, &self.geometry, x, d);
        tape.push(LrnForward { geometry: self.geometry, response: self.response, x, seen: Some(d), y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let (geometry, response, dd) = (self.geometry, self.response, tape.value(self.output()));
        let (x, seen, dy) = (io.input(0), Some(io.saved(0)), io.output_gradient());
        tape.push(LrnBackward { geometry, response, x, seen, dy, dx, dseen: Some(dd) });
        deviations_backward(tape, &geometry, dd, Target::add(dx.at));
    }
}

#[derive(Debug)]
struct MeanSubtraction {
    geometry: LrnGeometry,
}

fn build_mean(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: MeanKeys = spec.keys()?;
    Ok(Box::new(MeanSubtraction { geometry: lrn::geometry(super::one_input(inputs)?, keys.size, true, false)? }))
}

impl Layer for MeanSubtraction {
    fn output(&self) -> Shape {
        self.geometry.shape()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        deviations(tape, &self.geometry, io.input(0), io.output());
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            deviations_backward(tape, &self.geometry, io.output_gradient(), dx);
        }
    }
}
