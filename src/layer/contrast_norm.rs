//! Contrast normalisation and the subtraction of the local mean, within each map. m is the mean over the size × size places
//! around each, clipped to the image and divided by what is left of the window, and d = x − m. Mean subtraction is y = d;
//! contrast normalisation is y = x / (k + alpha/size²·Σ d²)^beta, the sum over the same places: cuda-convnet's, which divides x
//! itself and not d. Its backward pass leaves out what flows through m and stands d in for x; this one is the gradient.
//!
//! Both are made of the average pool of stride 1 and of response normalisation (`lrn`). Cost: 28 bytes an element for the
//! mean's subtraction and 12 more for the normalisation; backward 20 and 68.

use super::{Doc, Io, Kind, Layer, Misfit, Pass, Reads, key, lrn};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, LrnGeometry, Merge, Op, PoolGeometry, PoolKind, Response, Shape, Tensor};
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

/// Scratch from `bytes` on as a tensor like `t`.
fn scratch_like(t: Tensor, scratch: Tensor) -> Tensor {
    Tensor { slot: scratch.slot, ..t }
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

impl ContrastNorm {
    /// Bytes of the deviations' gradient, at the start of the scratch.
    fn gradient_bytes(&self, device: &dyn Device) -> usize {
        (self.geometry.shape().elements() * device.real().size()).next_multiple_of(256)
    }
}

impl Layer for ContrastNorm {
    fn output(&self) -> Shape {
        self.geometry.shape()
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    /// The deviations from the mean.
    fn kept(&self) -> usize {
        self.geometry.shape().elements()
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let gradient = self.gradient_bytes(device);
        match pass {
            Pass::Forward => 0,
            Pass::Backward => gradient + gradient.max(device.scratch(&Op::LrnBackward(self.geometry))),
        }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, d) = (io.input(0), io.kept().reshaped(self.output()));
        device.pool_forward(&around(&self.geometry), PoolKind::Avg, x, d)?;
        device.merge(Merge::Sum { a: 1.0, b: -1.0 }, x, d, d, Into::Set)?;
        device.lrn_forward(&self.geometry, &self.response, x, d, io.output())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let (x, d, dy) = (io.input(0), io.kept().reshaped(self.output()), io.output_gradient());
        let (dd, scratch) = io.scratch(Pass::Backward).split(self.gradient_bytes(device));
        let dd = scratch_like(x, dd);
        device.lrn_backward(&self.geometry, &self.response, x, d, dy, dx, into, Some(dd), scratch)?;
        through_mean(device, &self.geometry, dd, scratch_like(x, scratch), dx, Into::Add)
    }
}

/// dx ← the gradient of x − mean out of that of the difference, or dx += ….
fn through_mean(
    device: &mut dyn Device,
    g: &LrnGeometry,
    gradient: Tensor,
    of_mean: Tensor,
    dx: Tensor,
    into: Into,
) -> device::Result<()> {
    device.pool_backward(&around(g), PoolKind::Avg, gradient, gradient, gradient, of_mean, Into::Set)?;
    device.merge(Merge::Sum { a: 1.0, b: -1.0 }, gradient, of_mean, dx, into)
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

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        match pass {
            Pass::Forward => 0,
            Pass::Backward => self.geometry.shape().elements() * device.real().size(),
        }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, y) = (io.input(0), io.output());
        device.pool_forward(&around(&self.geometry), PoolKind::Avg, x, y)?;
        device.merge(Merge::Sum { a: 1.0, b: -1.0 }, x, y, y, Into::Set)
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let dy = io.output_gradient();
        through_mean(device, &self.geometry, dy, scratch_like(dy, io.scratch(Pass::Backward)), dx, into)
    }
}
