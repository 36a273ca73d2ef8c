//! What a layer computes in testing, in numbers: for code that writes nets in other programs' formats, or looks through layers
//! that keep the order of elements. A layer defines it next to its passes.

use crate::device::{ConvGeometry, CopyGeometry, LrnGeometry, PoolGeometry};
use crate::op::{Neuron, PoolKind, Response};

/// What a layer computes in testing. Parameters are those of [`Layer::parameters`](super::Layer::parameters), in their order.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// The sum of the convolutions of its inputs.
    Conv(&'a [ConvGeometry]),
    /// The image gradient of a convolution from its output to its input.
    Deconv(ConvGeometry),
    /// The sum of the products of its inputs.
    Fc {
        /// Groups of outputs and channels.
        groups: usize,
    },
    /// The largest, mean or norm of each window.
    Pool(PoolGeometry, PoolKind),
    /// Response normalisation.
    Lrn(LrnGeometry, Response),
    /// Batch normalisation with running moments.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// A neuron.
    Neuron(Neuron),
    /// A relu with a learned slope.
    Prelu,
    /// The channels of its inputs, one after the other.
    Concat,
    /// The sum of its inputs with these coefficients.
    Sum(&'a [f64]),
    /// The largest of its inputs.
    Max,
    /// The product of its inputs.
    Product,
    /// A box of its input.
    Copy(CopyGeometry),
    /// The input as the channels of one cell.
    Flatten,
    /// The input times a number.
    Scale(f64),
    /// Probabilities.
    Softmax,
    /// Something else.
    Other,
}
