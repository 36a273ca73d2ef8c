//! Batch normalisation (Ioffe and Szegedy 2015): y = gamma·(x − mean)/√(variance + epsilon) + beta, channel by channel. In
//! training the moments are the batch's, over images and places, and running means of them are kept; in testing those stand
//! in. gamma starts at 1, beta at 0, the running mean at 0 and variance at 1; the running variance is the unbiased one, as
//! PyTorch's. Micro-batches have moments of their own each. Cost: forward reads x twice and writes y; backward reads x and dy
//! twice and writes dx.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterRole, ParameterSpec, Pass, Phase, Reads, Role, key};
use crate::config::{Init, LayerSpec};
use crate::device::{self, BatchNorm, Device, Neuron, Op, Shape};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "batch-norm",
    labels: None,
    doc: Doc {
        about: "each channel brought to mean 0 and variance 1 over the batch, then scaled and shifted by what is learned",
        keys: &[
            key("epsilon", "0.00001", "added to the variance"),
            key("running_momentum", "0.1", "the weight of each batch in the running mean and variance, which tests use"),
            key("affine", "true", "false: without gamma and beta"),
        ],
        shape: "as its input",
        formula: "y = gamma·(x − mean)/√(variance + epsilon) + beta; moments of the batch, or in testing the running ones",
        source: "Ioffe and Szegedy 2015",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "epsilon")]
    epsilon: f64,
    #[serde(default = "running_momentum")]
    running_momentum: f64,
    #[serde(default = "yes")]
    affine: bool,
}

fn epsilon() -> f64 {
    1e-5
}

fn running_momentum() -> f64 {
    0.1
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct Normalised {
    shape: Shape,
    moments: BatchNorm,
    affine: bool,
    neuron: Neuron,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let shape = super::one_input(inputs)?;
    if !(keys.epsilon.is_finite() && keys.epsilon > 0.0) {
        let message = format!("epsilon is {}, and a channel that is the same everywhere would be divided by 0", keys.epsilon);
        return Err(Misfit::shape("epsilon", message, "use epsilon > 0; 0.00001 is the default"));
    }
    if !(0.0..=1.0).contains(&keys.running_momentum) {
        let message = format!("running_momentum is {}, and it is a share of 1", keys.running_momentum);
        return Err(Misfit::shape("running_momentum", message, "use 0 ≤ running_momentum ≤ 1: the weight of the new batch"));
    }
    let moments = BatchNorm { epsilon: keys.epsilon, momentum: keys.running_momentum };
    Ok(Box::new(Normalised { shape, moments, affine: keys.affine, neuron: Neuron::NONE }))
}

impl Normalised {
    /// Where the running mean is among the parameters; the variance is behind it.
    fn running(&self) -> usize {
        if self.affine { 2 } else { 0 }
    }
}

impl Layer for Normalised {
    fn form(&self) -> Form<'_> {
        Form::BatchNorm { epsilon: self.moments.epsilon }
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let shape = Shape::new(1, 1, 1, self.shape.c);
        let mut parameters = Vec::new();
        if self.affine {
            let gamma = ParameterSpec { init: Init::constant(1.0), ..ParameterSpec::weights(0, shape, 1, 1) };
            parameters.extend([gamma, ParameterSpec::bias(shape, 1, 1)]);
        }
        let running = |name: &'static str, start| ParameterSpec {
            name: name.into(),
            role: ParameterRole::Statistic,
            shape,
            fan_in: 1,
            fan_out: 1,
            init: Init::constant(start),
        };
        parameters.extend([running("mean", 0.0), running("variance", 1.0)]);
        parameters
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    /// Both passes read a tensor whole before they write it.
    fn elementwise(&self) -> bool {
        true
    }

    /// The moments: a mean and an inverse deviation a channel.
    fn kept(&self) -> usize {
        2 * self.shape.c
    }

    fn scratch(&self, device: &dyn Device, _pass: Pass) -> usize {
        device.scratch(&Op::BatchNorm(self.shape))
    }

    fn fuse(&mut self, neuron: Neuron) -> bool {
        self.neuron = neuron;
        true
    }

    fn role(&self) -> Role {
        Role::BatchNorm { epsilon: self.moments.epsilon, neuron: self.neuron }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (x, kept, running) = (io.input(0), io.kept(), self.running());
        let (mean, variance) = (io.parameter(running), io.parameter(running + 1));
        match io.phase {
            Phase::Train => device.batch_norm_moments(&self.moments, x, mean, variance, kept, io.scratch(Pass::Forward))?,
            Phase::Test => device.batch_norm_running(self.moments.epsilon, mean, variance, kept)?,
        }
        let affine = self.affine.then(|| (io.parameter(0), io.parameter(1)));
        device.batch_norm_apply(kept, affine, self.neuron, x, io.output())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let gradient = |i: usize| if self.affine { io.parameter_gradient(i) } else { None };
        let (dgamma, dbeta) = (gradient(0), gradient(1));
        let gamma = self.affine.then(|| io.parameter(0));
        let (x, dy, scratch) = (io.input(0), io.output_gradient(), io.scratch(Pass::Backward));
        device.batch_norm_backward(x, io.kept(), gamma, dy, dgamma, dbeta, io.input_gradient(0), scratch)
    }
}
