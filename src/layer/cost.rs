//! The costs: what is minimised, and the errors that are counted beside.
//!
//! Logistic regression is −Σ q·log p of each image, where q is 1 for its label, or what label smoothing leaves of that (Szegedy
//! et al. 2016); behind a softmax the two are computed together from the softmax's input x, as log Σeˣ − Σ q·x, stable for any
//! finite x, with the gradient p − q. Where labels are mixed (mixup), q is what they are mixed to. Sum of squares is Σ (x − target)²,
//! or Σ x² without a target (cuda-convnet's sum2). Gradients are multiplied by the coefficient and averaged over the batch.

use super::{Counts, Doc, Domain, Io, Kind, Layer, Misfit, Reads, Role, key, one_hot};
use crate::config::LayerSpec;
use crate::device::{self, Device, Shape};
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

/// A coefficient, which is finite.
pub(super) fn coefficient(coefficient: f64) -> Result<f64, Misfit> {
    if coefficient.is_finite() {
        return Ok(coefficient);
    }
    Err(Misfit::shape("coefficient", "the coefficient is not a number", "use a finite one; 1 is the default"))
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
    softmax: bool,
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
    Ok(Box::new(LogisticRegression { coefficient, smoothing, input, softmax: false, soft }))
}

impl Layer for LogisticRegression {
    fn output(&self) -> Shape {
        self.input
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn classes(&self) -> Option<usize> {
        Some(self.input.image())
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
        let (x, labels, metrics) = (io.input(0), io.input(1), io.metrics());
        if self.soft {
            device.soft_cross_entropy_forward(self.softmax, x, labels, metrics)
        } else if self.softmax {
            device.logreg_forward(x, labels, self.smoothing, metrics)
        } else {
            device.cross_entropy_forward(x, labels, self.smoothing, metrics)
        }
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let (x, labels) = (io.input(0), io.input(1));
        if self.soft {
            device.soft_cross_entropy_backward(self.softmax, x, labels, self.coefficient, dx, into)
        } else if self.softmax {
            device.logreg_backward(x, labels, self.smoothing, self.coefficient, dx, into)
        } else {
            device.cross_entropy_backward(x, labels, self.smoothing, self.coefficient, dx, into)
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

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn role(&self) -> Role {
        Role::Cost { coefficient: self.coefficient }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        device.squares_forward(io.input(0), io.tensors.inputs.get(1).copied(), io.metrics())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let inputs = &io.tensors.inputs;
        for (i, gradient) in io.tensors.input_gradients.iter().enumerate() {
            if let Some((dx, into)) = *gradient {
                device.squares_backward(inputs[i], inputs.get(1 - i).copied(), self.coefficient, dx, into)?;
            }
        }
        Ok(())
    }
}
