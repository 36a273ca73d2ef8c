//! Cross entropy of class probabilities and target probabilities: −Σ t·log p of each image, where the target may be any layer,
//! such as a one-hot layer's smoothed labels or another net's output. After a softmax the two are computed together from the
//! softmax's input, stable for any finite scores, with the gradient p·Σt − t: a pass over the program replaces the operations
//! written here. Errors, top-5 too, are those of the largest output against the target's largest. Each input that learns gets a
//! gradient.

use super::cost::{coefficient, of_target, one};
use super::{Counts, Doc, Domain, Io, Kind, Layer, Misfit, Role, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{SoftCrossEntropyBackward, SoftCrossEntropyForward, SoftCrossEntropyTargetBackward};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "cross-entropy",
    labels: None,
    doc: Doc {
        about: "cost: cross entropy of class probabilities and a layer of target probabilities",
        keys: &[key("coefficient", "1", "multiplies the cost's gradient")],
        shape: "none; reads probabilities (a softmax before it is computed with it) and a target of as many elements",
        formula: "−Σ t·log x, averaged over the images",
        source: "cuda-convnet2's cost.crossent",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "one")]
    coefficient: f64,
}

#[derive(Debug)]
struct CrossEntropy {
    coefficient: f64,
    input: Shape,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let coefficient = coefficient(keys.coefficient)?;
    Ok(Box::new(CrossEntropy { coefficient, input: of_target("cross entropy", inputs)? }))
}

impl Layer for CrossEntropy {
    fn output(&self) -> Shape {
        self.input
    }

    fn counts(&self) -> Counts {
        Counts::TOP5
    }

    fn domain(&self) -> Domain {
        Domain::Positive
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (x, target, metrics) = (io.input(0), io.input(1), io.metrics());
        tape.push(SoftCrossEntropyForward { softmax: false, x, target, metrics });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let (softmax, coefficient, x) = (false, self.coefficient, io.input(0));
        if let Some(dx) = io.input_gradient(0) {
            tape.push(SoftCrossEntropyBackward { softmax, coefficient, x, target: io.input(1), dx });
        }
        if let Some(dt) = io.input_gradient(1) {
            tape.push(SoftCrossEntropyTargetBackward { softmax, coefficient, x, dt });
        }
    }
}
