//! Binary cross entropy of outputs that are probabilities, each of something by itself: −Σ w·t·log p + (1 − t)·log(1 − p) of each
//! image, where w is the weight of what is positive. Behind a logistic neuron the two are computed together from the neuron's
//! input x, stable for any finite x, with the gradient (1 − t)·p − w·t·(1 − p). An image's error is the fraction of its outputs on
//! the other side of ½ than their target. Both inputs get a gradient where they learn.
//!
//! Detection cross entropy is the same cost, and counts for each output, which is a class there, what precision and recall are
//! made of: true positives, false positives and false negatives.

use super::cost::{coefficient, of_target, one};
use super::{Counts, Doc, Domain, Io, Key, Kind, Layer, Misfit, Reads, Role, key};
use crate::config::LayerSpec;
use crate::device::{self, Binary, Device, Neuron, Shape};
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
        let message = format!("positive_weight is a number above 0, not {positive_weight}");
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

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn counts(&self) -> Counts {
        if self.detection { Counts::DETECTIONS } else { Counts::ERRORS }
    }

    fn domain(&self) -> Domain {
        if self.binary.logistic { Domain::Reals } else { Domain::Unit }
    }

    fn take(&mut self, before: Role) -> bool {
        self.binary.logistic = before == Role::Neuron(Neuron::Logistic);
        self.binary.logistic
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, t) = (io.input(0), io.input(1));
        device.binary_cross_entropy_forward(self.binary, x, t, io.metrics())?;
        if self.detection { device.count_detections(self.binary, x, t, io.counts()) } else { Ok(()) }
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, t) = (io.input(0), io.input(1));
        if let Some((dx, into)) = io.input_gradient(0) {
            device.binary_cross_entropy_backward(self.binary, x, t, self.coefficient, dx, into)?;
        }
        match io.input_gradient(1) {
            Some((dt, into)) => device.binary_cross_entropy_target_backward(self.binary, x, self.coefficient, dt, into),
            None => Ok(()),
        }
    }
}
