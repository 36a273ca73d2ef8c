//! An elementwise nonlinearity as a layer of its own, or riding on another layer (`neuron = "relu"`): the net then adds this
//! layer after that one, and a pass over the program computes it in the other layer's operation where it can. Backward reads
//! the output, or for abs, square, drelu, nrelu and swish the input. Nrelu's noise is drawn in training, a function of (seed,
//! step, layer, image, element) that backward draws again; in testing it is relu.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Phase, Role, Tape};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{Neuron, NeuronBackward, NeuronForward, NoisyReluBackward, NoisyReluForward};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "neuron",
    labels: None,
    doc: Doc {
        about: "a nonlinearity, element by element; the key neuron says which",
        keys: &[],
        shape: "as its input",
        formula: Neuron::FORMULAS,
        source: "cuda-convnet's neurons; nrelu: Nair and Hinton 2010; leaky: Maas et al. 2013; elu: Clevert et al. 2015; swish, \
                 also called silu: Ramachandran et al. 2017",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

/// The layer of a neuron.
#[derive(Debug)]
pub struct NeuronLayer {
    /// What it computes.
    pub neuron: Neuron,
    /// Its input's and output's shape.
    pub shape: Shape,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let Keys {} = spec.keys()?;
    let shape = super::one_input(inputs)?;
    let Some(neuron) = spec.neuron else {
        return Err(Misfit::shape("type", "a neuron layer needs the key neuron", "add, say, neuron = \"relu\""));
    };
    Ok(Box::new(NeuronLayer { neuron, shape }))
}

impl Layer for NeuronLayer {
    fn form(&self) -> Form<'_> {
        Form::Neuron(self.neuron)
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn role(&self) -> Role {
        Role::Neuron(self.neuron)
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (neuron, x, y) = (self.neuron, io.input(0), io.output());
        match (neuron, io.phase) {
            (Neuron::Nrelu, Phase::Train) => tape.push(NoisyReluForward { layer: io.layer, x, y }),
            _ => tape.push(NeuronForward { neuron, x, y }),
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let (neuron, dy) = (self.neuron, io.output_gradient());
        let seen = match (neuron, io.phase) {
            (Neuron::Nrelu, Phase::Train) => {
                return tape.push(NoisyReluBackward { layer: io.layer, x: io.input(0), dy, dx });
            }
            (Neuron::Linear { .. }, _) => None,
            _ if neuron.derivative_reads_input() => Some(io.input(0)),
            _ => Some(io.output()),
        };
        tape.push(NeuronBackward { neuron, seen, dy, dx, db: None });
    }
}
