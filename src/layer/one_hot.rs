//! Labels as class probabilities: 1 for the image's class and 0 for the others, or with smoothing slightly less and slightly
//! more, so that a net trained on them does not drive its scores apart without end (Szegedy et al., "Rethinking the Inception
//! architecture for computer vision", 2016). No gradient passes through it.

use super::{Doc, Io, Kind, Layer, Misfit, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op;
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "one-hot",
    labels: Some(0),
    doc: Doc {
        about: "class probabilities out of labels, as targets of costs: inputs = [\"labels\"]",
        keys: &[
            key("classes", "required", "how many there are"),
            key("smoothing", "0", "the part of the probability that all classes share alike"),
        ],
        shape: "classes; reads labels",
        formula: "y[i] = (1 − smoothing)·1[label = i] + smoothing/classes",
        source: "Szegedy et al. 2016 (label smoothing)",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    classes: std::num::NonZeroU32,
    #[serde(default)]
    smoothing: f64,
}

#[derive(Debug)]
struct OneHot {
    output: Shape,
    smoothing: f64,
}

/// Checks that a smoothing is a part of 1.
pub(super) fn smoothing(smoothing: f64) -> Result<f64, Misfit> {
    if (0.0..1.0).contains(&smoothing) {
        return Ok(smoothing);
    }
    let message = format!("smoothing must be at least 0 and below 1, not {smoothing}");
    Err(Misfit::shape("smoothing", message, "0.1 is usual"))
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let labels = super::one_input(inputs)?;
    if labels.image() != 1 {
        let message = format!("the labels are {} values an image already", labels.image());
        return Err(Misfit::shape("inputs", message, "read \"labels\" in place of this layer"));
    }
    let output = Shape::new(labels.n, 1, 1, keys.classes.get() as usize);
    super::geometry([output.n, output.c], |sizes| sizes)?;
    Ok(Box::new(OneHot { output, smoothing: smoothing(keys.smoothing)? }))
}

impl Layer for OneHot {
    fn output(&self) -> Shape {
        self.output
    }

    fn classes(&self) -> Option<usize> {
        Some(self.output.c)
    }

    fn too_few(&self, classes: usize) -> Misfit {
        let message = format!("{} classes for the data's {classes}", self.output.c);
        Misfit::shape("classes", message, format!("use classes = {classes}"))
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(op::OneHot { smoothing: self.smoothing, labels: io.input(0), y: io.output() });
    }

    /// Labels have no gradient.
    fn backward(&self, _: &mut Tape, _: &Io) {}
}
