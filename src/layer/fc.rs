//! Fully connected: y = W·x + b over all elements of an image, W `[out][in]`. Several inputs have weights of their own each,
//! and their products are added up. Cost: out·in multiply-adds an image, and as many for each gradient. Backward reads x.

use super::{Doc, Io, Kind, Layer, Misfit, ParameterSpec, Pass, Reads, key};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, Neuron, Op, Product, Shape};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "fc",
    labels: None,
    doc: Doc {
        about: "fully connected: every output sees every element of its input",
        keys: &[key("outputs", "required", "output channels"), key("bias", "true", "false: no biases")],
        shape: "1 × 1 × outputs",
        formula: "y[o] = b[o] + Σ W[o,i]·x[i], the elements i in the order row, column, channel",
        source: "cuda-convnet's fc, Caffe's InnerProduct",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    outputs: std::num::NonZeroU32,
    #[serde(default = "yes")]
    bias: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct Fc {
    output: Shape,
    bias: bool,
    neuron: Neuron,
    /// One for each input.
    products: Vec<Products>,
}

/// The products of one input.
#[derive(Clone, Copy, Debug)]
struct Products {
    /// Elements of an image.
    inputs: usize,
    forward: Product,
    input_gradient: Product,
    weight_gradient: Product,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let of_input = |x: &Shape| {
        let [n, i, o] = super::geometry([x.n, x.image(), keys.outputs.get() as usize], |sizes| sizes)?;
        Ok(Products {
            inputs: x.image(),
            forward: Product { m: n, n: o, k: i, transpose_a: 0, transpose_b: 1 },
            input_gradient: Product { m: n, n: i, k: o, transpose_a: 0, transpose_b: 0 },
            weight_gradient: Product { m: o, n: i, k: n, transpose_a: 1, transpose_b: 0 },
        })
    };
    let products = inputs.iter().map(of_input).collect::<Result<_, Misfit>>()?;
    let output = Shape::new(inputs[0].n, 1, 1, keys.outputs.get() as usize);
    Ok(Box::new(Fc { output, bias: keys.bias, neuron: Neuron::NONE, products }))
}

impl Fc {
    fn bias_shape(&self) -> Shape {
        Shape { n: 1, ..self.output }
    }
}

impl Layer for Fc {
    fn output(&self) -> Shape {
        self.output
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let outputs = self.output.c;
        let weights = self
            .products
            .iter()
            .enumerate()
            .map(|(i, p)| ParameterSpec::weights(i, Shape::new(outputs, 1, 1, p.inputs), p.inputs, outputs));
        let bias = self.bias.then(|| ParameterSpec::bias(self.bias_shape(), self.products[0].inputs, outputs));
        weights.chain(bias).collect()
    }

    fn multiply_adds(&self) -> u64 {
        self.products.iter().map(|p| (p.inputs * self.output.c) as u64).sum()
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let most =
            |of: fn(&Products) -> Product| self.products.iter().map(|p| device.scratch(&Op::Product(of(p)))).max().unwrap_or(0);
        match pass {
            Pass::Forward => most(|p| p.forward),
            Pass::Backward => {
                let bias = device.scratch(&Op::BiasBackward(self.output, self.bias_shape()));
                most(|p| p.input_gradient).max(most(|p| p.weight_gradient)).max(bias)
            }
        }
    }

    fn fuse(&mut self, neuron: Neuron) -> bool {
        if self.products.len() > 1 {
            return false; // it comes after the sum
        }
        self.neuron = neuron;
        true
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let bias = self.bias.then(|| io.parameter(self.products.len()));
        let (y, scratch) = (io.output(), io.scratch(Pass::Forward));
        for (i, p) in self.products.iter().enumerate() {
            let (x, w) = (io.input(i), io.parameter(i));
            if i == 0 {
                device.product(&p.forward, x, w, bias, self.neuron, y, Into::Set, scratch)?;
            } else {
                device.product(&p.forward, x, w, None, Neuron::NONE, y, Into::Add, scratch)?;
            }
        }
        Ok(())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (dy, scratch) = (io.output_gradient(), io.scratch(Pass::Backward));
        for (i, p) in self.products.iter().enumerate() {
            if let Some((dw, into)) = io.parameter_gradient(i) {
                device.product(&p.weight_gradient, dy, io.input(i), None, Neuron::NONE, dw, into, scratch)?;
            }
        }
        if self.bias
            && let Some((db, into)) = io.parameter_gradient(self.products.len())
        {
            device.bias_backward(dy, db, into, scratch)?;
        }
        for (i, p) in self.products.iter().enumerate() {
            if let Some((dx, into)) = io.input_gradient(i) {
                device.product(&p.input_gradient, dy, io.parameter(i), None, Neuron::NONE, dx, into, scratch)?;
            }
        }
        Ok(())
    }
}
