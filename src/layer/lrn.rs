//! Local response normalisation: y = x / (k + alpha/N·Σx²)^beta. Across maps the sum is over the N = size channels around each,
//! at the same place (Krizhevsky et al. 2012), or over its block of size channels; within a map over the N = size² places
//! around it. The window of element c starts at c − size/2, as in cuda-convnet, and is clipped at the borders; N is that of a
//! whole window. Cost: forward reads x and writes y; backward reads x and dy, computes the sums again (which moves fewer bytes
//! than saving them) and writes dx.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Tape, key};
use crate::config::LayerSpec;
use crate::device::{LrnGeometry, Shape};
use crate::op::{LrnBackward, LrnForward, Response};
use serde::Deserialize;
use std::num::NonZeroU32;

pub(super) const KIND: Kind = Kind {
    name: "lrn",
    labels: None,
    doc: Doc {
        about: "local response normalisation: divides by the strength of the neighbouring maps, or places",
        keys: &[
            key("region", "across-maps", "\"across-maps\": neighbouring channels; \"within-map\": neighbouring places"),
            key("size", "5", "channels of a window, or its rows and columns"),
            key("alpha", "0.0001", "multiplies the mean square of a whole window"),
            key("beta", "0.75", "the power"),
            key("k", "1", "what is added to the sum; more than 0"),
            key("blocked", "false", "across maps: the window of a channel is its block of size channels"),
        ],
        shape: "as its input",
        formula: "y = x / (k + alpha/N·Σx²)^beta, N = size across maps, size² within one; windows are clipped",
        source: "Krizhevsky et al. 2012; cuda-convnet's cmrnorm and rnorm, Caffe's LRN",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    region: Region,
    #[serde(default = "five")]
    size: NonZeroU32,
    #[serde(default = "alpha")]
    alpha: f64,
    #[serde(default = "beta")]
    beta: f64,
    #[serde(default = "one")]
    k: f64,
    #[serde(default)]
    blocked: bool,
}

pub(super) fn five() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(4)
}

pub(super) fn alpha() -> f64 {
    1e-4
}

pub(super) fn beta() -> f64 {
    0.75
}

pub(super) fn one() -> f64 {
    1.0
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Region {
    #[default]
    AcrossMaps,
    WithinMap,
}

#[derive(Debug)]
struct Lrn {
    geometry: LrnGeometry,
    response: Response,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let within = keys.region == Region::WithinMap;
    if keys.blocked && within {
        return Err(Misfit::shape("blocked", "blocks are of channels, and this one is within a map", "leave out blocked"));
    }
    let size = f64::from(keys.size.get());
    let response = response(keys.alpha, if within { size * size } else { size }, keys.beta, keys.k)?;
    let geometry = geometry(x, keys.size, within, keys.blocked)?;
    Ok(Box::new(Lrn { geometry, response }))
}

/// The windows of an input: a larger size than one that reaches past both borders from everywhere is cut to that.
pub(super) fn geometry(x: Shape, size: NonZeroU32, within: bool, blocked: bool) -> Result<LrnGeometry, Misfit> {
    let cells = if within { x.h.max(x.w) } else { x.c };
    let size = (size.get() as usize).min(2 * cells);
    super::geometry([x.n, x.h, x.w, x.c, size], |[n, h, w, c, size]| LrnGeometry {
        n,
        h,
        w,
        c,
        size,
        within: i32::from(within),
        blocked: i32::from(blocked),
    })
}

/// The weights of windows of `elements`, checked so that nothing is divided by 0.
pub(super) fn response(alpha: f64, elements: f64, beta: f64, k: f64) -> Result<Response, Misfit> {
    let fault = |key, message: String, help| Err(Misfit::shape(key, message, help));
    if !(alpha.is_finite() && alpha >= 0.0) {
        return fault("alpha", format!("alpha is {alpha}, and the sum of squares would be no strength"), "use alpha ≥ 0");
    }
    if !beta.is_finite() {
        return fault("beta", format!("beta is {beta}"), "use a finite power; 0.75 is the default");
    }
    if !(k.is_finite() && k > 0.0) {
        return fault("k", format!("k is {k}, and where the input is 0 it would be divided by 0"), "use k > 0; 1 is the default");
    }
    Ok(Response { alpha: alpha / elements, beta, k })
}

impl Layer for Lrn {
    fn form(&self) -> Form<'_> {
        Form::Lrn(self.geometry, self.response)
    }

    fn output(&self) -> Shape {
        self.geometry.shape()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (geometry, response) = (self.geometry, self.response);
        tape.push(LrnForward { geometry, response, x: io.input(0), seen: None, y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let (geometry, response, dy) = (self.geometry, self.response, io.output_gradient());
        tape.push(LrnBackward { geometry, response, x: io.input(0), seen: None, dy, dx, dseen: None });
    }
}
