//! Several inputs of one shape merged element by element: sum with coefficients, maximum, product. The maximum keeps which
//! input it is, and its gradient goes to the first of equal ones; the sum's backward pass reads nothing, the product's the
//! inputs. Cost: two inputs are one pass over three tensors, each further one another; backward a pass for each input, but for
//! those of a sum whose coefficient is 1: where nothing else is in the way, the gradient stays in its place for all of them.

use super::{Doc, Form, Io, Kind, Layer, Misfit, Pass, Reads, key};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, Merge, Neuron, Shape, Tensor};
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

/// The inputs' shape, which must be the same for at least `least` of them.
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
        return Err(Misfit::shape("coefficients", format!("{wrong} is no coefficient"), "use finite numbers"));
    }
    Ok(Box::new(Sum { shape, coefficients }))
}

fn build_max(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let NoKeys {} = spec.keys()?;
    Ok(Box::new(Max { shape: shape(inputs, 2)?, inputs: inputs.len() }))
}

fn build_product(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let NoKeys {} = spec.keys()?;
    Ok(Box::new(Product { shape: shape(inputs, 2)?, inputs: inputs.len() }))
}

/// The inputs whose gradient somebody needs, the one in dy's place last: the others read dy.
fn gradients(io: &Io, inputs: usize) -> impl Iterator<Item = (usize, Tensor, Into)> {
    let dy = io.output_gradient();
    let those = move |in_place: bool| {
        let all = (0..inputs).filter_map(move |i| io.input_gradient(i).map(|(dx, into)| (i, dx, into)));
        all.filter(move |(_, dx, _)| (dx.slot == dy.slot) == in_place)
    };
    those(false).chain(those(true))
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

    fn elementwise(&self) -> bool {
        true
    }

    fn passes_gradient(&self, input: usize) -> bool {
        self.coefficients[input] == 1.0
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let y = io.output();
        let [a, more @ ..] = self.coefficients.as_slice() else { return Ok(()) };
        let Some((b, more)) = more.split_first() else {
            return device.neuron_forward(Neuron::Linear { a: *a, b: 0.0 }, io.input(0), y);
        };
        device.merge(Merge::Sum { a: *a, b: *b }, io.input(0), io.input(1), y, Into::Set)?;
        let mut more = more.iter().enumerate();
        more.try_for_each(|(i, c)| device.merge(Merge::Sum { a: 1.0, b: *c }, y, io.input(2 + i), y, Into::Set))
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let dy = io.output_gradient();
        gradients(io, self.coefficients.len()).try_for_each(|(i, dx, into)| match self.coefficients[i] {
            1.0 if dx.slot == dy.slot => Ok(()),
            a if dx.slot == dy.slot => device.neuron_backward(Neuron::Linear { a, b: 0.0 }, dy, dy, dx, into),
            a => device.scale(a, dy, dx, into),
        })
    }
}

#[derive(Debug)]
struct Max {
    shape: Shape,
    inputs: usize,
}

impl Layer for Max {
    fn form(&self) -> Form<'_> {
        Form::Max
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn elementwise(&self) -> bool {
        true
    }

    /// Which input each output is.
    fn kept(&self) -> usize {
        self.shape.elements()
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (y, which) = (io.output(), io.kept().reshaped(self.shape));
        device.max_forward(1, io.input(0), io.input(1), y, which)?;
        (2..self.inputs).try_for_each(|i| device.max_forward(i as u32, y, io.input(i), y, which))
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (dy, which) = (io.output_gradient(), io.kept().reshaped(self.shape));
        gradients(io, self.inputs).try_for_each(|(i, dx, into)| device.max_backward(i as u32, which, dy, dx, into))
    }
}

#[derive(Debug)]
struct Product {
    shape: Shape,
    inputs: usize,
}

impl Layer for Product {
    fn form(&self) -> Form<'_> {
        Form::Product
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    /// Room for the product of all inputs but one, where those are several.
    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let needed = pass == Pass::Backward && self.inputs > 2;
        if needed { self.shape.elements() * device.real().size() } else { 0 }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let y = io.output();
        device.merge(Merge::Product, io.input(0), io.input(1), y, Into::Set)?;
        (2..self.inputs).try_for_each(|i| device.merge(Merge::Product, y, io.input(i), y, Into::Set))
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let dy = io.output_gradient();
        for (i, dx, into) in gradients(io, self.inputs) {
            let mut others = (0..self.inputs).filter(|&j| j != i).map(|j| io.input(j));
            let mut product = others.next().expect("there are two inputs or more");
            for other in others {
                let scratch = Tensor { shape: self.shape, dtype: device.real(), ..io.scratch(Pass::Backward) };
                device.merge(Merge::Product, product, other, scratch, Into::Set)?;
                product = scratch;
            }
            device.merge(Merge::Product, dy, product, dx, into)?;
        }
        Ok(())
    }
}
