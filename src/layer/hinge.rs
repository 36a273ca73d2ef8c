//! Hinge losses of class scores x and a label y, the costs of support vector machines. Of several classes (Weston and Watkins,
//! "Support vector machines for multi-class pattern recognition", 1999) every other class's score should be a margin below the
//! label's: Σ max(0, margin + x[j] − x[y])^norm. One against all (Caffe's HingeLoss, with a margin of 1) it should be the
//! margin below 0, and the label's the margin above: max(0, margin − x[y])^norm + Σ max(0, margin + x[j])^norm.

use super::cost::{coefficient, labels, one};
use super::{Counts, Doc, Io, Kind, Layer, Misfit, Role, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{HingeBackward, HingeForward, HingeLoss};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "hinge",
    labels: Some(1),
    doc: Doc {
        about: "cost: hinge loss of class scores and labels, as of support vector machines; counts top-1 and top-5 errors",
        keys: &[
            key("coefficient", "1", "multiplies the cost's gradient"),
            key("norm", "1", "1, or 2: what is too large is squared"),
            key("margin", "1", "how far apart scores should be"),
            key("kind", "multi-class", "\"multi-class\": the label's score against the others'; \"one-vs-all\": each against 0"),
        ],
        shape: "none; reads scores and labels",
        formula: "Σ max(0, margin + x[j] − x[label])^norm over j ≠ label; one-vs-all: max(0, margin − x[label])^norm + \
                  Σ max(0, margin + x[j])^norm; averaged over the images",
        source: "Weston and Watkins 1999; one-vs-all: Caffe's HingeLoss",
    },
    build,
};

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Classes {
    #[default]
    MultiClass,
    OneVsAll,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "one")]
    coefficient: f64,
    #[serde(default = "first")]
    norm: u32,
    #[serde(default = "one")]
    margin: f64,
    #[serde(default)]
    kind: Classes,
}

fn first() -> u32 {
    1
}

/// Checks that a margin is above 0.
pub(super) fn margin(margin: f64) -> Result<f64, Misfit> {
    if margin > 0.0 && margin.is_finite() {
        return Ok(margin);
    }
    Err(Misfit::shape("margin", format!("margin must be a number above 0, not {margin}"), "1 is the default"))
}

#[derive(Debug)]
struct Hinge {
    coefficient: f64,
    input: Shape,
    loss: HingeLoss,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let (coefficient, margin) = (coefficient(keys.coefficient)?, margin(keys.margin)?);
    if !(1..=2).contains(&keys.norm) {
        return Err(Misfit::shape("norm", format!("norm must be 1 or 2, not {}", keys.norm), "1 is the default"));
    }
    let loss = HingeLoss { one_vs_all: keys.kind == Classes::OneVsAll, squared: keys.norm == 2, margin };
    Ok(Box::new(Hinge { coefficient, input: labels("hinge loss", inputs)?, loss }))
}

impl Layer for Hinge {
    fn output(&self) -> Shape {
        self.input
    }

    fn classes(&self) -> Option<usize> {
        Some(self.input.image())
    }

    fn counts(&self) -> Counts {
        Counts::TOP5
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(HingeForward { loss: self.loss, x: io.input(0), labels: io.input(1), metrics: io.metrics() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            let (loss, coefficient) = (self.loss, self.coefficient);
            tape.push(HingeBackward { loss, coefficient, x: io.input(0), labels: io.input(1), dx });
        }
    }
}
