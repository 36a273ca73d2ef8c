//! Batch normalisation (Ioffe and Szegedy 2015): y = gamma·(x − mean)/√(variance + epsilon) + beta, channel by channel. In
//! training the moments are the batch's, over images and places, and running means of them are updated; testing uses those.
//! gamma starts at 1, beta at 0, the running mean at 0 and variance at 1; the running variance is the unbiased one, as in
//! PyTorch. Each micro-batch has its own moments. Cost: forward reads x twice and writes y; backward reads x and dy twice and
//! writes dx.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterRole, ParameterSpec, Phase, Role, Tape, key};
use crate::config::{Init, LayerSpec};
use crate::device::Shape;
use crate::op::{BatchNorm, BatchNormApply, BatchNormBackward, BatchNormMoments, BatchNormRunning, Neuron};
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
    Ok(Box::new(Normalised { shape, moments, affine: keys.affine }))
}

impl Normalised {
    /// The running mean's number among the parameters; the variance is the next.
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

    fn role(&self) -> Role {
        Role::BatchNorm { epsilon: self.moments.epsilon }
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (x, running) = (io.input(0), self.running());
        let (mean, variance) = (io.parameter(running), io.parameter(running + 1));
        let saved = tape.save(Shape::new(1, 1, 1, 2 * self.shape.c));
        match io.phase {
            Phase::Train => tape.push(BatchNormMoments { norm: self.moments, x, mean, variance, saved }),
            Phase::Test => tape.push(BatchNormRunning { epsilon: self.moments.epsilon, mean, variance, saved }),
        }
        let [gamma, beta] = [0, 1].map(|i| self.affine.then(|| io.parameter(i)));
        tape.push(BatchNormApply { neuron: Neuron::NONE, saved, gamma, beta, x, residual: None, y: io.output() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let [dgamma, dbeta] = [0, 1].map(|i| if self.affine { io.parameter_gradient(i) } else { None });
        let gamma = self.affine.then(|| io.parameter(0));
        let (x, dy, dx) = (io.input(0), io.output_gradient(), io.input_gradient(0));
        tape.push(BatchNormBackward { neuron: Neuron::NONE, beta: None, x, saved: io.saved(0), gamma, dy, dgamma, dbeta, dx });
    }
}
