//! Fully connected: y = W·x + b over all elements of an image, W `[out][in]`. In groups, each output sees only the channels of
//! its group, of all pixels, W `[out][in/groups]`: cuda-convnet2's split fc layer, and a locally connected layer of one place.
//! Each of several inputs has weights of its own, and their products are added up. With `drop_connect` (Wan et al. 2013) every
//! weight is kept with that probability, for each image of a training step independently, and divided by it; testing uses the
//! plain weights. Cost: out·in/groups multiply-adds an image, and as many for each gradient. Backward reads x.

use super::{Doc, Form, Io, Kind, Layer, Misfit, ParameterSpec, Phase, Tape, key};
use crate::config::LayerSpec;
use crate::device::{ConvGeometry, ProductGeometry, Shape};
use crate::op::{
    BiasBackward, DropConnect, DropConnectBackwardInput, DropConnectBackwardWeights, DropConnectForward, LocalBackwardFilters,
    LocalBackwardImage, LocalForward, Neuron, Product, Scale, Target,
};
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
    forward: ProductGeometry,
    input_gradient: ProductGeometry,
    weight_gradient: ProductGeometry,
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
            forward: ProductGeometry { m: n, n: k, k: i, transpose_a: 0, transpose_b: 1 },
            input_gradient: ProductGeometry { m: n, n: i, k, transpose_a: 0, transpose_b: 0 },
            weight_gradient: ProductGeometry { m: k, n: i, k: n, transpose_a: 1, transpose_b: 0 },
        }))
    }

    /// Elements of the input that an output sees.
    fn seen(&self) -> usize {
        match self {
            Self::Whole(p) => p.forward.k as usize,
            Self::Groups(g) => g.filters().image(),
        }
    }
}

pub(super) fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let (outputs, groups) = (keys.outputs.get() as usize, keys.groups.get() as usize);
    let keep = keys.drop_connect;
    if !(keep > 0.0 && keep <= 1.0) {
        let message = format!("drop_connect must be a probability above 0, not {keep}");
        return Err(Misfit::shape("drop_connect", message, "use 0 < drop_connect ≤ 1: the fraction that is kept"));
    }
    if keep < 1.0 && groups > 1 {
        return Err(Misfit::shape("drop_connect", "drop_connect does not go with groups", "use several fc layers and a concat"));
    }
    // The masks' random numbers have 34 bits for a weight's place.
    if keep < 1.0 && inputs.iter().any(|x| x.image().saturating_mul(outputs) > 1 << 34) {
        return Err(Misfit::shape("drop_connect", "more than 2³⁴ weights have no masks of their own", "use fewer outputs"));
    }
    let maps = inputs.iter().map(|&x| Map::new(x, outputs, groups)).collect::<Result<_, Misfit>>()?;
    let output = Shape::new(inputs[0].n, 1, 1, outputs);
    Ok(Box::new(Fc { output, groups, keep, bias: keys.bias, maps }))
}

impl Fc {
    /// The masks of input `i`'s weights, where they have any.
    fn masks(&self, io: &Io, i: usize) -> Option<DropConnect> {
        let masked = self.keep < 1.0 && io.phase == Phase::Train;
        masked.then_some(DropConnect { stream: io.layer ^ (i as u32) << 24, keep: self.keep })
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
        let bias = self.bias.then(|| ParameterSpec::bias(Shape { n: 1, ..self.output }, self.maps[0].seen(), fan_out));
        weights.chain(bias).collect()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        let neuron = Neuron::NONE;
        for (i, map) in self.maps.iter().enumerate() {
            let (x, w) = (io.input(i), io.parameter(i));
            let b = (i == 0 && self.bias).then(|| io.parameter(self.maps.len()));
            let y = if i == 0 { Target::set(io.output()) } else { Target::add(io.output()) };
            match (*map, self.masks(io, i)) {
                (Map::Whole(_), Some(masks)) => tape.push(DropConnectForward { masks, x, w, b, y }),
                (Map::Whole(p), None) => tape.push(Product { geometry: p.forward, neuron, a: x, b: w, bias: b, c: y }),
                (Map::Groups(geometry), _) if i == 0 => tape.push(LocalForward { geometry, neuron, x, w, b, y: y.at }),
                (Map::Groups(geometry), _) => {
                    let term = tape.value(self.output);
                    tape.push(LocalForward { geometry, neuron, x, w, b, y: term });
                    tape.push(Scale { factor: 1.0, x: term, y });
                }
            }
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let (neuron, bias, dy) = (Neuron::NONE, None, io.output_gradient());
        for (i, map) in self.maps.iter().enumerate() {
            if let Some(dw) = io.parameter_gradient(i) {
                let x = io.input(i);
                match (*map, self.masks(io, i)) {
                    (Map::Whole(_), Some(masks)) => tape.push(DropConnectBackwardWeights { masks, x, dy, dw }),
                    (Map::Whole(Products { weight_gradient: geometry, .. }), None) => {
                        tape.push(Product { geometry, neuron, a: dy, b: x, bias, c: dw });
                    }
                    (Map::Groups(geometry), _) => tape.push(LocalBackwardFilters { geometry, x, dy, dw }),
                }
            }
        }
        if self.bias
            && let Some(db) = io.parameter_gradient(self.maps.len())
        {
            tape.push(BiasBackward { dy, db });
        }
        for (i, map) in self.maps.iter().enumerate() {
            if let Some(dx) = io.input_gradient(i) {
                let w = io.parameter(i);
                match (*map, self.masks(io, i)) {
                    (Map::Whole(_), Some(masks)) => tape.push(DropConnectBackwardInput { masks, dy, w, dx }),
                    (Map::Whole(Products { input_gradient: geometry, .. }), None) => {
                        tape.push(Product { geometry, neuron, a: dy, b: w, bias, c: dx });
                    }
                    (Map::Groups(geometry), _) => tape.push(LocalBackwardImage { geometry, dy, w, dx }),
                }
            }
        }
    }
}
