//! Binary cross entropy of outputs that are independent probabilities: −Σ w·t·log p + (1 − t)·log(1 − p) of each image, where w
//! is the weight of positives. After a logistic neuron the two are computed together from the neuron's input x, stable for any
//! finite x, with the gradient (1 − t)·p − w·t·(1 − p): a pass over the program replaces the operations written here. An
//! image's error is the fraction of its outputs that are on the other side of ½ from their target. Each input that learns gets
//! a gradient.
//!
//! Detection cross entropy is the same cost, and counts true positives, false positives and false negatives of each output,
//! which is a class: precision and recall follow from them.

use super::cost::{coefficient, of_target, one};
use super::{Counts, Doc, Domain, Io, Key, Kind, Layer, Misfit, Role, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{
    Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, BinaryCrossEntropyTargetBackward, CountDetections,
};
use serde::Deserialize;

const KEYS: &[Key] = &[
    key("coefficient", "1", "multiplies the cost's gradient"),
    key("positive_weight", "1", "how much more what is positive counts than what is not"),
];

pub(super) const BINARY: Kind = Kind {
    name: "binary-cross-entropy",
    labels: None,
    doc: Doc {
        about: "cost: cross entropy of outputs that are each true or not, and targets",
        keys: KEYS,
        shape: "none; reads probabilities (a logistic neuron before it is computed with it) and a target of as many elements",
        formula: "−Σ positive_weight·t·log x + (1 − t)·log(1 − x), averaged over the images",
        source: "cuda-convnet2's cost.bce, Caffe's SigmoidCrossEntropyLoss",
    },
    build: |spec, inputs| build(spec, inputs, false),
};

pub(super) const DETECTION: Kind = Kind {
    name: "detection-cross-entropy",
    labels: None,
    doc: Doc {
        about: "cost: binary cross entropy that counts each class's true positives, false positives and false negatives",
        keys: KEYS,
        shape: "none; reads a probability a class (a logistic neuron before it is computed with it) and a target a class",
        formula: "−Σ positive_weight·t·log x + (1 − t)·log(1 − x), averaged over the images",
        source: "cuda-convnet2's cost.dce",
    },
    build: |spec, inputs| build(spec, inputs, true),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "one")]
    coefficient: f64,
    #[serde(default = "one")]
    positive_weight: f64,
}

#[derive(Debug)]
struct BinaryCrossEntropy {
    coefficient: f64,
    input: Shape,
    binary: Binary,
    detection: bool,
}

fn build(spec: &LayerSpec, inputs: &[Shape], detection: bool) -> Result<Box<dyn Layer>, Misfit> {
    let Keys { coefficient: c, positive_weight } = spec.keys()?;
    let coefficient = coefficient(c)?;
    if !(positive_weight > 0.0 && positive_weight.is_finite()) {
        let message = format!("positive_weight must be a number above 0, not {positive_weight}");
        return Err(Misfit::shape("positive_weight", message, "1 weighs what is positive and what is not alike"));
    }
    let input = of_target("binary cross entropy", inputs)?;
    if detection && input.image() != input.c {
        let message = format!("detections are counted by class, and the input is {input}");
        return Err(Misfit::shape("inputs", message, "read a layer of one output a class, or use binary-cross-entropy"));
    }
    let binary = Binary { logistic: false, positive_weight };
    Ok(Box::new(BinaryCrossEntropy { coefficient, input, binary, detection }))
}

impl Layer for BinaryCrossEntropy {
    fn output(&self) -> Shape {
        self.input
    }

    fn counts(&self) -> Counts {
        if self.detection { Counts::DETECTIONS } else { Counts::ERRORS }
    }

    fn domain(&self) -> Domain {
        Domain::Unit
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (binary, x, target) = (self.binary, io.input(0), io.input(1));
        tape.push(BinaryCrossEntropyForward { binary, x, target, metrics: io.metrics() });
        if self.detection {
            tape.push(CountDetections { binary, x, target, counts: io.counts() });
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let (binary, coefficient, x) = (self.binary, self.coefficient, io.input(0));
        if let Some(dx) = io.input_gradient(0) {
            tape.push(BinaryCrossEntropyBackward { binary, coefficient, x, target: io.input(1), dx });
        }
        if let Some(dt) = io.input_gradient(1) {
            tape.push(BinaryCrossEntropyTargetBackward { binary, coefficient, x, dt });
        }
    }
}
