//! The cases: awkward geometries by hand, a file for each family of operations, and random ones. To add a family's, write its
//! file and name it in [`cases`].

mod batch_norm;
mod bias;
mod binary_cross_entropy;
mod contrastive;
mod conv;
mod copy;
mod cost;
mod drop_connect;
mod dropout;
mod elementwise;
mod hinge;
mod images;
mod lab;
mod local;
mod lrn;
mod merge;
mod neuron;
mod noise;
mod noisy_relu;
mod norm;
mod one_hot;
mod pool;
mod prelu;
mod product;
mod resample;
mod sgd;
mod soft_cross_entropy;
mod softmax;

use super::case::Case;
use crate::device::philox::{Purpose, Stream};
use crate::device::{ProductGeometry, Rounding, Shape};
use crate::op::{Neuron, Write};
use conv::{Bias, Conv};

/// The conformance table.
pub fn cases() -> Vec<Case> {
    let families = [
        images::cases(),
        conv::cases(),
        local::cases(),
        bias::cases(),
        product::cases(),
        pool::cases(),
        lrn::cases(),
        batch_norm::cases(),
        neuron::cases(),
        noisy_relu::cases(),
        prelu::cases(),
        dropout::cases(),
        drop_connect::cases(),
        noise::cases(),
        softmax::cases(),
        one_hot::cases(),
        cost::cases(),
        soft_cross_entropy::cases(),
        binary_cross_entropy::cases(),
        hinge::cases(),
        contrastive::cases(),
        elementwise::cases(),
        copy::cases(),
        resample::cases(),
        lab::cases(),
        merge::cases(),
        sgd::cases(),
        norm::cases(),
    ];
    families.into_iter().flatten().zip(1..).map(|(case, seed)| Case { seed, ..case }).collect()
}

const WRITES: [Write; 2] = [Write::Set, Write::Add];

/// Neurons that ride on convolutions and products.
const FUSED: [Neuron; 6] = [
    Neuron::NONE,
    Neuron::Relu,
    Neuron::Tanh { a: 1.75, b: 0.625 },
    Neuron::Logistic,
    Neuron::Leaky { a: 0.125 },
    Neuron::Elu { a: 0.75 },
];

/// Shapes for what goes element by element: one; less and more than a vector; more than the pieces of several threads.
const SHAPES: [Shape; 5] = [
    Shape::new(1, 1, 1, 1),
    Shape::new(3, 2, 5, 7),
    Shape::new(2, 1, 1, 1000),
    Shape::new(5, 13, 11, 67),
    Shape::new(2, 1, 1, 33_333),
];

/// Batches of outputs for softmax and costs, and the images that count.
const OUTPUTS: [(Shape, usize); 6] = [
    (Shape::new(1, 1, 1, 1), 1),
    (Shape::new(4, 1, 1, 10), 4),
    (Shape::new(7, 1, 1, 10), 5),
    (Shape::new(3, 1, 1, 1000), 2),
    (Shape::new(65, 1, 1, 101), 64),
    (Shape::new(2, 3, 3, 2), 0),
];

/// A case drawn at random, the same for the same seed: operations of which much depends on the geometry, and geometries that are
/// small and awkward.
pub fn random_case(seed: u64) -> Case {
    let mut random = Stream::new(seed, Purpose::Data, u32::MAX, 1);
    let mut draw = |from: u32, to: u32| (from + random.below(to - from + 1)) as usize;
    loop {
        let into = WRITES[draw(0, 1)];
        let shape = Shape::new(draw(1, 5), draw(1, 6), draw(1, 6), draw(1, 70));
        let images = draw(0, shape.n as u32);
        let case = match draw(0, 15) {
            0..=5 => {
                let groups = [1, 1, 1, 2, 3, 5][draw(0, 5)];
                let conv = Conv {
                    n: draw(1, 4),
                    image: [draw(1, 13), draw(1, 13)],
                    c: groups * draw(1, if groups == 1 { 20 } else { 5 }),
                    k: groups * draw(1, if groups == 1 { 35 } else { 5 }),
                    size: [draw(1, 5), draw(1, 5)],
                    stride: [draw(1, 4), draw(1, 4)],
                    padding: [draw(0, 3), draw(0, 3)],
                    dilation: [draw(1, 3), draw(1, 3)],
                    groups,
                    rounding: [Rounding::Floor, Rounding::Ceil][draw(0, 1)],
                };
                let bias = [Bias::None, Bias::Shared, Bias::Untied][draw(0, 2)];
                let (which, neuron) = (draw(0, 2), FUSED[draw(0, 5)]);
                conv.geometry().map(|g| match which {
                    0 => conv::forward(g, bias, neuron),
                    1 => conv::backward_image(g, into),
                    _ => conv::backward_filters(g, into),
                })
            }
            6..=8 => {
                let (size, stride) = ([draw(1, 5), draw(1, 5)], [draw(1, 4), draw(1, 4)]);
                let padding = [draw(0, size[0] as u32 - 1), draw(0, size[1] as u32 - 1)];
                let rounding = [Rounding::Floor, Rounding::Ceil][draw(0, 1)];
                let image = [draw(1, 12), draw(1, 12)];
                let g = pool::pool(draw(1, 3), image, draw(1, 70), size, stride, padding, rounding);
                let (forward, kind) = (draw(0, 1) == 0, pool::KINDS[draw(0, 2)]);
                g.map(|g| if forward { pool::forward(g, kind) } else { pool::backward(g, kind, into) })
            }
            9 | 10 => {
                let [m, n, k] = [draw(1, 70), draw(1, 70), draw(0, 200)].map(|v| v as i32);
                let [transpose_a, transpose_b] = [draw(0, 1), draw(0, 1)].map(|v| v as i32);
                let g = ProductGeometry { m, n, k, transpose_a, transpose_b };
                let (set, neuron) = (into == Write::Set, FUSED[draw(0, 5)]);
                let neuron = if set { neuron } else { Neuron::NONE };
                Some(product::product(g, set && draw(0, 1) == 1, neuron, into))
            }
            11 => Some(bias::backward(shape, draw(0, 1) == 1, into)),
            12 => {
                let neurons = neuron::neurons();
                Some(neuron::backward(neurons[draw(0, neurons.len() as u32 - 1)], shape, into, false))
            }
            13 => {
                let keep = draw(1, 99) as f64 / 100.0;
                Some(dropout::dropout(shape, draw(0, 40) as u32, keep, 1.0 / keep, into, false))
            }
            14 => Some(cost::logreg_backward(shape, images, draw(1, 100) as f64, 0.0, into)),
            _ => Some(cost::logreg_forward(shape, images, draw(1, 100) as f64, draw(0, 3) as f64 / 4.0)),
        };
        if let Some(case) = case {
            return Case { seed, ..case };
        }
    }
}
