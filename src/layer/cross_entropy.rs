//! Cross entropy of class probabilities and a target of the same: −Σ t·log p of each image, where the target may be any layer,
//! such as a one-hot layer's smoothed labels or another net's output. Behind a softmax the two are computed together from the
//! softmax's input, stable for any finite scores, with the gradient p·Σt − t. Errors are those of the largest output against
//! the target's largest, top-5 too. Both inputs get a gradient where they learn.

use super::cost::{coefficient, of_target, one};
use super::{Counts, Doc, Domain, Io, Kind, Layer, Misfit, Reads, Role, key};
use crate::config::LayerSpec;
use crate::device::{self, Device, Shape};
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
    softmax: bool,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let coefficient = coefficient(keys.coefficient)?;
    Ok(Box::new(CrossEntropy { coefficient, input: of_target("cross entropy", inputs)?, softmax: false }))
}

impl Layer for CrossEntropy {
    fn output(&self) -> Shape {
        self.input
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn counts(&self) -> Counts {
        Counts::TOP5
    }

    fn domain(&self) -> Domain {
        if self.softmax { Domain::Reals } else { Domain::Positive }
    }

    fn take(&mut self, before: Role) -> bool {
        self.softmax = before == Role::Softmax;
        self.softmax
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        device.soft_cross_entropy_forward(self.softmax, io.input(0), io.input(1), io.metrics())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, t) = (io.input(0), io.input(1));
        if let Some((dx, into)) = io.input_gradient(0) {
            device.soft_cross_entropy_backward(self.softmax, x, t, self.coefficient, dx, into)?;
        }
        match io.input_gradient(1) {
            Some((dt, into)) => device.soft_cross_entropy_target_backward(self.softmax, x, self.coefficient, dt, into),
            None => Ok(()),
        }
    }
}
