//! The contrastive loss of two vectors a and b that a net computes from the two images of a pair: with their distance d = ‖a −
//! b‖, ½·d² of a pair of one class (label 1), ½·max(0, margin − d)² of a pair of two classes (label 0) (Hadsell, Chopra and
//! LeCun, "Dimensionality reduction by learning an invariant mapping", 2006). A pair counts as wrong where d is on the wrong
//! side of half the margin. Where d is 0, a pair of two classes has no direction to move apart in: its gradient is 0.

use super::cost::{coefficient, one};
use super::{Counts, Doc, Io, Kind, Layer, Misfit, Role, Tape, hinge, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{ContrastiveBackward, ContrastiveForward};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "contrastive",
    labels: Some(2),
    doc: Doc {
        about: "cost: draws the two vectors of a pair of one class together, and others a margin apart; see data.pairs",
        keys: &[key("coefficient", "1", "multiplies the cost's gradient"), key("margin", "1", "how far apart others should be")],
        shape: "none; reads two layers of as many elements, and labels: 1 for a pair of one class, 0 for others",
        formula: "½·d², or ½·max(0, margin − d)² where the label is 0, averaged over the pairs; d = √Σ (a − b)²",
        source: "Hadsell et al. 2006, Caffe's ContrastiveLoss",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "one")]
    coefficient: f64,
    #[serde(default = "one")]
    margin: f64,
}

#[derive(Debug)]
struct Contrastive {
    coefficient: f64,
    margin: f64,
    input: Shape,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let (coefficient, margin) = (coefficient(keys.coefficient)?, hinge::margin(keys.margin)?);
    match *inputs {
        [a, b, labels] if a.image() == b.image() && labels.image() == 1 => {
            Ok(Box::new(Contrastive { coefficient, margin, input: a }))
        }
        _ => Err(Misfit::shape(
            "inputs",
            "a contrastive loss reads two layers of as many elements, and the labels",
            "name the layers that make the two vectors: inputs = [\"a\", \"b\"]",
        )),
    }
}

impl Layer for Contrastive {
    fn output(&self) -> Shape {
        self.input
    }

    fn classes(&self) -> Option<usize> {
        Some(2)
    }

    fn too_few(&self, classes: usize) -> Misfit {
        let message = format!("labels of {classes} classes do not say whether a pair is of one class");
        Misfit::shape("inputs", message, "set pairs = true in [data]: it makes pairs of images, labelled 1 or 0")
    }

    fn counts(&self) -> Counts {
        Counts::ERRORS
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (a, b, labels) = (io.input(0), io.input(1), io.input(2));
        tape.push(ContrastiveForward { margin: self.margin, a, b, labels, metrics: io.metrics() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let (margin, coefficient, labels) = (self.margin, self.coefficient, io.input(2));
        for (own, other) in [(0, 1), (1, 0)] {
            if let Some(da) = io.input_gradient(own) {
                let (a, b) = (io.input(own), io.input(other));
                tape.push(ContrastiveBackward { margin, coefficient, a, b, labels, da });
            }
        }
    }
}
