//! Dropout (Srivastava et al. 2014), inverted: in training each element is kept with probability `keep` and divided by it,
//! else 0; in testing nothing changes. The mask is a function of (seed, step, layer, image, element), drawn again in
//! backward instead of being stored.

use super::{Doc, Io, Kind, Layer, Misfit, Phase, key};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, Shape};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "dropout",
    labels: None,
    doc: Doc {
        about: "in training, sets random elements to 0",
        keys: &[key("keep", "0.5", "the probability that an element is kept")],
        shape: "as its input",
        formula: "training: y = x/keep with probability keep, else 0; testing: y = x",
        source: "Srivastava et al. 2014",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "half")]
    keep: f64,
}

fn half() -> f64 {
    0.5
}

#[derive(Debug)]
struct Dropout {
    keep: f64,
    shape: Shape,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let shape = super::one_input(inputs)?;
    if !(keys.keep > 0.0 && keys.keep <= 1.0) {
        let message = format!("keep is a probability, {} is none", keys.keep);
        return Err(Misfit::shape("keep", message, "use 0 < keep ≤ 1: the fraction that is kept"));
    }
    Ok(Box::new(Dropout { keep: keys.keep, shape }))
}

impl Layer for Dropout {
    fn output(&self) -> Shape {
        self.shape
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, y) = (io.input(0), io.output());
        match io.phase {
            Phase::Train => device.dropout(io.layer, self.keep, x, y, Into::Set),
            Phase::Test if x.slot == y.slot => Ok(()),
            Phase::Test => device.scale(1.0, x, y, Into::Set),
        }
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let dy = io.output_gradient();
        match io.phase {
            Phase::Train => device.dropout(io.layer, self.keep, dy, dx, into),
            Phase::Test if dx.slot == dy.slot => Ok(()),
            Phase::Test => device.scale(1.0, dy, dx, into),
        }
    }
}
