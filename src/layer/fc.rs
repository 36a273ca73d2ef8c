//! Fully connected: y = W·x + b over all elements of an image, W `[out][in]`. Cost: out·in multiply-adds an image, and as
//! many for each gradient. Backward reads x.

use super::{Io, Layer, Misfit, ParameterSpec, Pass, Reads};
use crate::config::LayerSpec;
use crate::device::{self, Device, Into, Neuron, Op, Product, Shape};
use serde::Deserialize;

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
    /// `[images][in]`, `[images][out]`.
    input: Shape,
    output: Shape,
    bias: bool,
    neuron: Neuron,
    forward: Product,
    input_gradient: Product,
    weight_gradient: Product,
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let [n, i, o] = super::geometry([x.n, x.image(), keys.outputs.get() as usize], |sizes| sizes)?;
    Ok(Box::new(Fc {
        input: x,
        output: Shape::new(x.n, 1, 1, o as usize),
        bias: keys.bias,
        neuron: Neuron::NONE,
        forward: Product { m: n, n: o, k: i, transpose_a: 0, transpose_b: 1 },
        input_gradient: Product { m: n, n: i, k: o, transpose_a: 0, transpose_b: 0 },
        weight_gradient: Product { m: o, n: i, k: n, transpose_a: 1, transpose_b: 0 },
    }))
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
        let (fan_in, fan_out) = (self.input.image(), self.output.c);
        let weights = ParameterSpec { name: "weights", shape: Shape::new(fan_out, 1, 1, fan_in), fan_in, fan_out };
        let bias = ParameterSpec { name: "bias", shape: self.bias_shape(), fan_in, fan_out };
        std::iter::once(weights).chain(self.bias.then_some(bias)).collect()
    }

    fn multiply_adds(&self) -> u64 {
        (self.input.image() * self.output.c) as u64
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        match pass {
            Pass::Forward => device.scratch(&Op::Product(self.forward)),
            Pass::Backward => {
                let bias = device.scratch(&Op::BiasBackward(self.output, self.bias_shape()));
                let weights = device.scratch(&Op::Product(self.weight_gradient));
                device.scratch(&Op::Product(self.input_gradient)).max(weights).max(bias)
            }
        }
    }

    fn fuse(&mut self, neuron: Neuron) -> bool {
        self.neuron = neuron;
        true
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let bias = self.bias.then(|| io.parameter(1));
        let (x, w, y, scratch) = (io.input(0), io.parameter(0), io.output(), io.scratch(Pass::Forward));
        device.product(&self.forward, x, w, bias, self.neuron, y, Into::Set, scratch)
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (dy, scratch) = (io.output_gradient(), io.scratch(Pass::Backward));
        if let Some(dw) = io.parameter_gradient(0) {
            let x = io.input(0);
            device.product(&self.weight_gradient, dy, x, None, Neuron::NONE, dw, io.accumulate, scratch)?;
        }
        if self.bias
            && let Some(db) = io.parameter_gradient(1)
        {
            device.bias_backward(dy, db, io.accumulate, scratch)?;
        }
        if let Some((dx, into)) = io.input_gradient(0) {
            device.product(&self.input_gradient, dy, io.parameter(0), None, Neuron::NONE, dx, into, scratch)?;
        }
        Ok(())
    }
}
