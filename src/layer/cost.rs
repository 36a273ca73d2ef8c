//! The costs: what is minimised, and the errors that are counted with it.
//!
//! Logistic regression is −Σ q·log p of each image, where q is 1 for its label, or what label smoothing leaves of that (Szegedy
//! et al. 2016). After a softmax the two are computed together from the softmax's input x, as log Σeˣ − Σ q·x, stable for any
//! finite x, with the gradient p − q: a pass over the program replaces the operations written here. Where labels are mixed
//! (mixup), q is the mixture. Sum of squares is Σ (x − target)², or Σ x² without a target (cuda-convnet's sum2). Gradients are
//! multiplied by the coefficient and averaged over the batch.

use super::{Counts, Doc, Domain, Io, Kind, Layer, Misfit, Role, Tape, key, one_hot};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{
    CrossEntropyBackward, CrossEntropyForward, SoftCrossEntropyBackward, SoftCrossEntropyForward, SquaresBackward, SquaresForward,
};
use serde::Deserialize;

pub(super) const LOGISTIC_REGRESSION: Kind = Kind {
    name: "logistic-regression",
    labels: Some(1),
    doc: Doc {
        about: "cost: cross entropy of class probabilities and labels; counts top-1 and top-5 errors",
        keys: &[
            key("coefficient", "1", "multiplies the cost's gradient"),
            key("smoothing", "0", "the part of a label's probability that all classes share alike"),
        ],
        shape: "none; reads probabilities (a softmax before it is computed with it) and labels",
        formula: "−Σ q·log x, averaged over the images; q[i] = (1 − smoothing)·1[label = i] + smoothing/classes",
        source: "cuda-convnet's cost.logreg, Caffe's SoftmaxWithLoss; smoothing: Szegedy et al. 2016",
    },
    build: build_logistic_regression,
};

pub(super) const SUM_OF_SQUARES: Kind = Kind {
    name: "sum-of-squares",
    labels: None,
    doc: Doc {
        about: "cost: squared distance of a layer and a target, or of a layer and 0",
        keys: &[key("coefficient", "1", "multiplies the cost's gradient")],
        shape: "none; reads one layer, or two of as many elements",
        formula: "Σ (x − target)², averaged over the images",
        source: "cuda-convnet's cost.sum2; Caffe's EuclideanLoss is half of it",
    },
    build: build_sum_of_squares,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogisticRegressionKeys {
    #[serde(default = "one")]
    coefficient: f64,
    #[serde(default)]
    smoothing: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SumOfSquaresKeys {
    #[serde(default = "one")]
    coefficient: f64,
}

/// The default of a coefficient.
pub(super) fn one() -> f64 {
    1.0
}

/// Checks that a coefficient is finite.
pub(super) fn coefficient(coefficient: f64) -> Result<f64, Misfit> {
    if coefficient.is_finite() {
        return Ok(coefficient);
    }
    Err(Misfit::shape("coefficient", "coefficient must be a finite number", "1 is the default"))
}

/// Checks that a cost's second input is labels.
pub(super) fn labels(cost: &str, inputs: &[Shape]) -> Result<Shape, Misfit> {
    let &[input, labels] = inputs else {
        return Err(Misfit::shape("inputs", format!("a {cost} reads a layer and the labels"), "name one layer"));
    };
    if labels.image() != 1 {
        let message = format!("the second input has {labels} values an image, not a label");
        return Err(Misfit::shape("inputs", message, "use \"labels\", of a set of classes, and no mixup"));
    }
    Ok(input)
}

/// Checks that a cost's inputs are a layer and a target of as many elements.
pub(super) fn of_target(cost: &str, inputs: &[Shape]) -> Result<Shape, Misfit> {
    match *inputs {
        [input, target] if input.image() == target.image() => Ok(input),
        _ => {
            let shapes: Vec<_> = inputs.iter().map(Shape::to_string).collect();
            let message = format!("a {cost} reads a layer and a target of as many elements, not {}", shapes.join(" and "));
            Err(Misfit::shape("inputs", message, "name two layers of the same size; a one-hot layer makes a target of labels"))
        }
    }
}

#[derive(Debug)]
struct LogisticRegression {
    coefficient: f64,
    smoothing: f64,
    input: Shape,
    /// The labels are a probability for each class.
    soft: bool,
}

pub(super) fn build_logistic_regression(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: LogisticRegressionKeys = spec.keys()?;
    let (coefficient, smoothing) = (coefficient(keys.coefficient)?, one_hot::smoothing(keys.smoothing)?);
    let soft = matches!(inputs, [x, labels] if labels.image() > 1 && labels.image() == x.image());
    let input = if soft { inputs[0] } else { labels("logistic regression", inputs)? };
    if soft && smoothing > 0.0 {
        let message = "smoothing is of labels that are classes, and these are probabilities already";
        return Err(Misfit::shape("smoothing", message, "remove it, or augment.mixup"));
    }
    Ok(Box::new(LogisticRegression { coefficient, smoothing, input, soft }))
}

impl Layer for LogisticRegression {
    fn output(&self) -> Shape {
        self.input
    }

    fn classes(&self) -> Option<usize> {
        Some(self.input.image())
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
        let (smoothing, x, labels, metrics) = (self.smoothing, io.input(0), io.input(1), io.metrics());
        if self.soft {
            tape.push(SoftCrossEntropyForward { softmax: false, x, target: labels, metrics });
        } else {
            tape.push(CrossEntropyForward { smoothing, x, labels, metrics });
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let (smoothing, coefficient, x, labels) = (self.smoothing, self.coefficient, io.input(0), io.input(1));
        if self.soft {
            tape.push(SoftCrossEntropyBackward { softmax: false, coefficient, x, target: labels, dx });
        } else {
            tape.push(CrossEntropyBackward { smoothing, coefficient, x, labels, dx });
        }
    }
}

#[derive(Debug)]
struct SumOfSquares {
    coefficient: f64,
    inputs: Vec<Shape>,
}

pub(super) fn build_sum_of_squares(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: SumOfSquaresKeys = spec.keys()?;
    let coefficient = coefficient(keys.coefficient)?;
    if inputs.len() > 2 || inputs.iter().any(|i| i.elements() != inputs[0].elements()) {
        let shapes: Vec<_> = inputs.iter().map(Shape::to_string).collect();
        return Err(Misfit::shape(
            "inputs",
            format!("a sum of squares reads a layer and a target of as many values, not {}", shapes.join(", ")),
            "name one layer, or two of the same size",
        ));
    }
    Ok(Box::new(SumOfSquares { coefficient, inputs: inputs.to_vec() }))
}

impl Layer for SumOfSquares {
    fn output(&self) -> Shape {
        self.inputs[0]
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        tape.push(SquaresForward { x: io.input(0), target: io.inputs.get(1).copied(), metrics: io.metrics() });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        for (i, &x) in io.inputs.iter().enumerate() {
            if let Some(dx) = io.input_gradient(i) {
                tape.push(SquaresBackward { coefficient: self.coefficient, x, target: io.inputs.get(1 - i).copied(), dx });
            }
        }
    }
}
