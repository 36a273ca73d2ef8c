//! Fully connected: y = W·x + b over all elements of an image, W `[out][in]`. In groups, each output sees the channels of its
//! group alone, of all pixels, W `[out][in/groups]`: cuda-convnet2's split fc layer, and a locally connected layer of one
//! place. Several inputs have weights of their own each, and their products are added up. With `drop_connect` (Wan et al. 2013)
//! every weight is kept with that probability for each image of a training step by itself, and divided by it; testing has the
//! plain weights. Cost: out·in/groups multiply-adds an image, and as many for each gradient. Backward reads x.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterSpec, Pass, Phase, Reads, key};
use crate::config::LayerSpec;
use crate::device::{self, ConvGeometry, Device, DropConnect, Dtype, Into, Neuron, Op, Product, Shape, Tensor};
use serde::Deserialize;

pub(super) const KIND: Kind = Kind {
    name: "fc",
    labels: None,
    doc: Doc {
        about: "fully connected: every output sees every element of its input",
        keys: &[
            key("outputs", "required", "output channels"),
            key("bias", "true", "false: no biases"),
            key("groups", "1", "groups of input channels and outputs that do not see each other"),
            key("drop_connect", "1", "in training, the probability that a weight is kept, for each image by itself"),
        ],
        shape: "1 × 1 × outputs",
        formula: "y[o] = b[o] + Σ W[o,i]·x[i], the elements i (of o's group) in the order row, column, channel",
        source: "cuda-convnet's fc and sfc, Caffe's InnerProduct; drop_connect: Wan et al. 2013",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    outputs: std::num::NonZeroU32,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "one")]
    groups: std::num::NonZeroU32,
    #[serde(default = "all")]
    drop_connect: f64,
}

fn yes() -> bool {
    true
}

fn all() -> f64 {
    1.0
}

fn one() -> std::num::NonZeroU32 {
    std::num::NonZeroU32::MIN
}

#[derive(Debug)]
struct Fc {
    output: Shape,
    groups: usize,
    /// The probability that a weight is kept.
    keep: f64,
    bias: bool,
    neuron: Neuron,
    /// One for each input.
    maps: Vec<Map>,
}

/// What is done to one input.
#[derive(Clone, Copy, Debug)]
enum Map {
    /// Every output sees every element.
    Whole(Products),
    /// Every output sees the channels of its group.
    Groups(ConvGeometry),
}

/// The products of one input.
#[derive(Clone, Copy, Debug)]
struct Products {
    forward: Product,
    input_gradient: Product,
    weight_gradient: Product,
}

impl Map {
    fn new(x: Shape, outputs: usize, groups: usize) -> Result<Self, Misfit> {
        if !x.c.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let message = format!("{groups} groups divide neither evenly: {} input channels, {outputs} outputs", x.c);
            return Err(Misfit::shape("groups", message, "use a number of groups that divides both"));
        }
        let [n, h, w, c, i, k, groups] = super::geometry([x.n, x.h, x.w, x.c, x.image(), outputs, groups], |sizes| sizes)?;
        if groups > 1 {
            let (stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w) = (1, 1, 0, 0, 1, 1);
            let (r, s, p, q) = (h, w, 1, 1);
            #[rustfmt::skip]
            let g = ConvGeometry {
                n, h, w, c, k, r, s, p, q, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups,
            };
            return Ok(Self::Groups(g));
        }
        Ok(Self::Whole(Products {
            forward: Product { m: n, n: k, k: i, transpose_a: 0, transpose_b: 1 },
            input_gradient: Product { m: n, n: i, k, transpose_a: 0, transpose_b: 0 },
            weight_gradient: Product { m: k, n: i, k: n, transpose_a: 1, transpose_b: 0 },
        }))
    }

    /// Elements of the input that an output sees.
    fn seen(&self) -> usize {
        match self {
            Self::Whole(p) => p.forward.k as usize,
            Self::Groups(g) => g.filters().image(),
        }
    }

    fn forward(&self) -> Op {
        match *self {
            Self::Whole(p) => Op::Product(p.forward),
            Self::Groups(g) => Op::LocalForward(g),
        }
    }

    fn backward(&self) -> [Op; 2] {
        match *self {
            Self::Whole(p) => [Op::Product(p.weight_gradient), Op::Product(p.input_gradient)],
            Self::Groups(g) => [Op::LocalBackwardFilters(g), Op::LocalBackwardImage(g)],
        }
    }
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let (outputs, groups) = (keys.outputs.get() as usize, keys.groups.get() as usize);
    let keep = keys.drop_connect;
    if !(keep > 0.0 && keep <= 1.0) {
        let message = format!("drop_connect is a probability, {keep} is none");
        return Err(Misfit::shape("drop_connect", message, "use 0 < drop_connect ≤ 1: the fraction that is kept"));
    }
    if keep < 1.0 && groups > 1 {
        return Err(Misfit::shape("drop_connect", "drop_connect does not go with groups", "use several fc layers and a concat"));
    }
    // The masks' numbers have 34 bits for a weight's place, and the products' sizes are checked when its parameters are made.
    if keep < 1.0 && inputs.iter().any(|x| x.image().saturating_mul(outputs) > 1 << 34) {
        return Err(Misfit::shape("drop_connect", "more than 2³⁴ weights have no masks of their own", "use fewer outputs"));
    }
    let maps = inputs.iter().map(|&x| Map::new(x, outputs, groups)).collect::<Result<_, Misfit>>()?;
    let output = Shape::new(inputs[0].n, 1, 1, outputs);
    Ok(Box::new(Fc { output, groups, keep, bias: keys.bias, neuron: Neuron::NONE, maps }))
}

impl Fc {
    /// The masks of input `i`'s weights.
    fn masks(&self, io: &Io, i: usize) -> DropConnect {
        DropConnect { stream: io.layer ^ (i as u32) << 24, keep: self.keep }
    }

    fn bias_shape(&self) -> Shape {
        Shape { n: 1, ..self.output }
    }

    /// Bytes of an output of which several grouped inputs' results are the terms.
    fn term_bytes(&self, real: Dtype) -> usize {
        let grouped = self.groups > 1 && self.maps.len() > 1;
        if grouped { (self.output.elements() * real.size()).next_multiple_of(256) } else { 0 }
    }
}

impl Layer for Fc {
    fn form(&self) -> Form<'_> {
        Form::Fc { groups: self.groups }
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let (outputs, fan_out) = (self.output.c, self.output.c / self.groups);
        let weights = self
            .maps
            .iter()
            .enumerate()
            .map(|(i, map)| ParameterSpec::weights(i, Shape::new(outputs, 1, 1, map.seen()), map.seen(), fan_out));
        let bias = self.bias.then(|| ParameterSpec::bias(self.bias_shape(), self.maps[0].seen(), fan_out));
        weights.chain(bias).collect()
    }

    fn multiply_adds(&self) -> u64 {
        self.maps.iter().map(|map| (map.seen() * self.output.c) as u64).sum()
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: true, output: false }
    }

    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let most = |ops: &mut dyn Iterator<Item = Op>| ops.map(|op| device.scratch(&op)).max().unwrap_or(0);
        match pass {
            Pass::Forward => self.term_bytes(device.real()) + most(&mut self.maps.iter().map(Map::forward)),
            Pass::Backward => {
                let bias = Op::BiasBackward(self.output, self.bias_shape());
                most(&mut self.maps.iter().flat_map(Map::backward).chain([bias]))
            }
        }
    }

    fn fuse(&mut self, neuron: Neuron) -> bool {
        if self.maps.len() > 1 || self.keep < 1.0 {
            return false; // it comes after the sum, and a masked product ends with none
        }
        self.neuron = neuron;
        true
    }

    fn take_channel_map(&mut self, then: Neuron) -> bool {
        let takes = self.maps.len() == 1 && self.neuron == Neuron::NONE && self.fuse(then);
        self.bias |= takes;
        takes
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (y, scratch) = (io.output(), io.scratch(Pass::Forward));
        let (term, scratch) = scratch.split(self.term_bytes(device.real()));
        let term = Tensor { shape: y.shape, dtype: y.dtype, ..term };
        for (i, map) in self.maps.iter().enumerate() {
            let (x, w) = (io.input(i), io.parameter(i));
            let bias = (i == 0 && self.bias).then(|| io.parameter(self.maps.len()));
            let (neuron, into) = if i == 0 { (self.neuron, Into::Set) } else { (Neuron::NONE, Into::Add) };
            match map {
                Map::Whole(_) if self.keep < 1.0 && io.phase == Phase::Train => {
                    device.drop_connect_forward(&self.masks(io, i), x, w, bias, y, into)?;
                }
                Map::Whole(p) => device.product(&p.forward, x, w, bias, neuron, y, into, scratch)?,
                Map::Groups(g) if i == 0 => device.local_forward(g, x, w, bias, neuron, y, scratch)?,
                Map::Groups(g) => {
                    device.local_forward(g, x, w, bias, neuron, term, scratch)?;
                    device.scale(1.0, term, y, Into::Add)?;
                }
            }
        }
        Ok(())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let (dy, scratch) = (io.output_gradient(), io.scratch(Pass::Backward));
        for (i, map) in self.maps.iter().enumerate() {
            if let Some((dw, into)) = io.parameter_gradient(i) {
                let x = io.input(i);
                match map {
                    Map::Whole(_) if self.keep < 1.0 => {
                        device.drop_connect_backward_weights(&self.masks(io, i), x, dy, dw, into)?;
                    }
                    Map::Whole(p) => device.product(&p.weight_gradient, dy, x, None, Neuron::NONE, dw, into, scratch)?,
                    Map::Groups(g) => device.local_backward_filters(g, x, dy, dw, into, scratch)?,
                }
            }
        }
        if self.bias
            && let Some((db, into)) = io.parameter_gradient(self.maps.len())
        {
            device.bias_backward(dy, db, into, scratch)?;
        }
        for (i, map) in self.maps.iter().enumerate() {
            if let Some((dx, into)) = io.input_gradient(i) {
                let w = io.parameter(i);
                match map {
                    Map::Whole(_) if self.keep < 1.0 => {
                        device.drop_connect_backward_input(&self.masks(io, i), dy, w, dx, into)?;
                    }
                    Map::Whole(p) => device.product(&p.input_gradient, dy, w, None, Neuron::NONE, dx, into, scratch)?,
                    Map::Groups(g) => device.local_backward_image(g, dy, w, dx, into, scratch)?,
                }
            }
        }
        Ok(())
    }
}
