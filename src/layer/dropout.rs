//! Dropout (Srivastava et al. 2014), inverted: in training each element is kept with probability `keep` and divided by it,
//! else 0; testing changes nothing. Or in its first form (cuda-convnet2's dropout2): what is kept stays as it is, and testing
//! multiplies everything by `keep`. The mask is a function of (seed, step, layer, image, element), drawn again in backward
//! instead of being stored.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Phase, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{self, Neuron, NeuronForward, Scale, Target, Value};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "dropout",
    labels: None,
    doc: Doc {
        about: "in training, sets random elements to 0",
        keys: &[
            key("keep", "0.5", "the probability that an element is kept"),
            key("at_test", "nothing", "\"scale\": x·keep in testing, and in training what is kept is not divided by it"),
        ],
        shape: "as its input",
        formula: "training: y = x/keep with probability keep, else 0; testing: y = x",
        source: "Srivastava et al. 2014; cuda-convnet2's dropout and dropout2",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "half")]
    keep: f64,
    #[serde(default)]
    at_test: AtTest,
}

/// What testing does, so that an element's mean is the same in both.
#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum AtTest {
    /// Training divided by `keep` already.
    #[default]
    Nothing,
    /// Multiplies by `keep`.
    Scale,
}

fn half() -> f64 {
    0.5
}

#[derive(Debug)]
struct Dropout {
    keep: f64,
    at_test: AtTest,
    shape: Shape,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let shape = super::one_input(inputs)?;
    if !(keys.keep > 0.0 && keys.keep <= 1.0) {
        let message = format!("keep must be a probability above 0, not {}", keys.keep);
        return Err(Misfit::shape("keep", message, "use 0 < keep ≤ 1: the fraction that is kept"));
    }
    Ok(Box::new(Dropout { keep: keys.keep, at_test: keys.at_test, shape }))
}

impl Layer for Dropout {
    fn form(&self) -> Form<'_> {
        Form::Scale(if self.at_test == AtTest::Scale { self.keep } else { 1.0 })
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let (x, y) = (io.input(0), io.output());
        match (io.phase, self.at_test) {
            (Phase::Test, AtTest::Scale) => {
                tape.push(NeuronForward { neuron: Neuron::Linear { a: self.keep, b: 0.0 }, x, y });
            }
            _ => self.pass(tape, io, x, Target::set(y)),
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        if let Some(dx) = io.input_gradient(0) {
            self.pass(tape, io, io.output_gradient(), dx);
        }
    }
}

impl Dropout {
    /// Both passes: the gradient goes through the same mask.
    fn pass(&self, tape: &mut Tape, io: &Io, x: Value, y: Target<Value>) {
        let (layer, keep) = (io.layer, self.keep);
        match (io.phase, self.at_test) {
            (Phase::Train, AtTest::Nothing) => tape.push(op::Dropout { layer, keep, factor: 1.0 / keep, x, y }),
            (Phase::Train, AtTest::Scale) => tape.push(op::Dropout { layer, keep, factor: 1.0, x, y }),
            (Phase::Test, AtTest::Nothing) => tape.push(Scale { factor: 1.0, x, y }),
            (Phase::Test, AtTest::Scale) => tape.push(Scale { factor: keep, x, y }),
        }
    }
}
