//! Several inputs of one shape merged element by element: sum with coefficients, maximum, product. The maximum saves which
//! input it is, and its gradient goes to the first of equal ones; the sum's backward pass reads only the gradient, the
//! product's the inputs too. Cost: one pass over three tensors for two inputs, and another for each further input; backward,
//! one pass for each input. Where a sum's coefficient is 1 that pass is a copy, which the plan removes where it can.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Tape, key};
use crate::config::LayerSpec;
use crate::device::Shape;
use crate::op::{MaxBackward, MaxForward, Merge, Merging, Neuron, NeuronForward, Op, Scale, Target, Value};
use serde::Deserialize;

pub(super) const SUM: Kind = Kind {
    name: "eltsum",
    labels: None,
    doc: Doc {
        about: "the sum of its inputs, element by element",
        keys: &[key("coefficients", "1 for each", "an array of what each input is multiplied by")],
        shape: "as its inputs, which are the same",
        formula: "y = Σ coefficient·x",
        source: "cuda-convnet2's eltsum, Caffe's Eltwise, darknet's shortcut",
    },
    build: build_sum,
};

pub(super) const MAX: Kind = Kind {
    name: "eltmax",
    labels: None,
    doc: Doc {
        about: "the largest of its inputs, element by element",
        keys: &[],
        shape: "as its inputs, which are the same",
        formula: "y = max(x1, x2, …); the gradient goes to the first of equal ones",
        source: "cuda-convnet2's eltmax, Caffe's Eltwise",
    },
    build: build_max,
};

pub(super) const PRODUCT: Kind = Kind {
    name: "eltproduct",
    labels: None,
    doc: Doc {
        about: "the product of its inputs, element by element",
        keys: &[],
        shape: "as its inputs, which are the same",
        formula: "y = x1·x2·…",
        source: "Caffe's Eltwise",
    },
    build: build_product,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SumKeys {
    coefficients: Option<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

/// The shape of the inputs: at least `least`, all of one shape.
fn shape(inputs: &[Shape], least: usize) -> Result<Shape, Misfit> {
    if inputs.len() < least {
        let message = format!("this layer reads {least} inputs or more, not {}", inputs.len());
        return Err(Misfit::shape("inputs", message, "name the layers to merge: inputs = [\"a\", \"b\"]"));
    }
    super::same_shapes(inputs.iter().copied(), "inputs")?;
    Ok(inputs[0])
}

fn build_sum(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: SumKeys = spec.keys()?;
    let shape = shape(inputs, 1)?;
    let coefficients = keys.coefficients.unwrap_or_else(|| vec![1.0; inputs.len()]);
    if coefficients.len() != inputs.len() {
        let message = format!("{} coefficients for {} inputs", coefficients.len(), inputs.len());
        return Err(Misfit::shape("coefficients", message, "give one for each input"));
    }
    if let Some(wrong) = coefficients.iter().find(|c| !c.is_finite()) {
        return Err(Misfit::shape(
            "coefficients",
            format!("coefficients must be finite numbers, not {wrong}"),
            "1 is the default",
        ));
    }
    Ok(Box::new(Sum { shape, coefficients }))
}

fn build_max(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let NoKeys {} = spec.keys()?;
    Ok(Box::new(Max { shape: shape(inputs, 2)? }))
}

fn build_product(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let NoKeys {} = spec.keys()?;
    Ok(Box::new(Product { shape: shape(inputs, 2)? }))
}

/// Merges the inputs one after the other: writes `op` of each input from the second on, with its number, what those before it
/// are merged to, the input itself, and the tensor to write.
fn merge_all(tape: &mut Tape, io: &Io, op: impl Fn(usize, Value, Value, Value) -> Op<Value>) {
    let (mut merged, y) = (io.input(0), io.output());
    let last = io.inputs.len() - 1;
    for i in 1..=last {
        let next = if i == last { y } else { tape.value(y.shape) };
        tape.push(op(i, merged, io.input(i), next));
        merged = next;
    }
}

#[derive(Debug)]
struct Sum {
    shape: Shape,
    coefficients: Vec<f64>,
}

impl Layer for Sum {
    fn form(&self) -> Form<'_> {
        Form::Sum(&self.coefficients)
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let first = self.coefficients[0];
        if self.coefficients.len() == 1 {
            let neuron = Neuron::Linear { a: first, b: 0.0 };
            return tape.push(NeuronForward { neuron, x: io.input(0), y: io.output() });
        }
        merge_all(tape, io, |i, a, b, y| {
            let how = Merging::Sum { a: if i == 1 { first } else { 1.0 }, b: self.coefficients[i] };
            Merge { how, a, b, y: Target::set(y) }.into()
        });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        for (i, &factor) in self.coefficients.iter().enumerate() {
            if let Some(dx) = io.input_gradient(i) {
                tape.push(Scale { factor, x: io.output_gradient(), y: dx });
            }
        }
    }
}

#[derive(Debug)]
struct Max {
    shape: Shape,
}

impl Layer for Max {
    fn form(&self) -> Form<'_> {
        Form::Max
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let which = tape.save(self.shape);
        merge_all(tape, io, |i, a, b, y| {
            let which = if i == 1 { Target::set(which) } else { Target::add(which) };
            MaxForward { number: i as u32, a, b, y, which }.into()
        });
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        for i in 0..io.inputs.len() {
            if let Some(dx) = io.input_gradient(i) {
                tape.push(MaxBackward { number: i as u32, which: io.saved(0), dy: io.output_gradient(), dx });
            }
        }
    }
}

#[derive(Debug)]
struct Product {
    shape: Shape,
}

impl Product {
    /// Writes a·b.
    fn of(a: Value, b: Value, y: Target<Value>) -> Op<Value> {
        Merge { how: Merging::Product, a, b, y }.into()
    }
}

impl Layer for Product {
    fn form(&self) -> Form<'_> {
        Form::Product
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        merge_all(tape, io, |_, a, b, y| Self::of(a, b, Target::set(y)));
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        for i in 0..io.inputs.len() {
            let Some(dx) = io.input_gradient(i) else { continue };
            let mut others = (0..io.inputs.len()).filter(|&j| j != i).map(|j| io.input(j));
            let first = others.next().expect("there are two inputs or more");
            let product = others.fold(first, |product, other| {
                let next = tape.value(self.shape);
                tape.push(Self::of(product, other, Target::set(next)));
                next
            });
            tape.push(Self::of(io.output_gradient(), product, dx));
        }
    }
}
