//! The layers: one file a type, each with its config keys, shape rule, parameters, cost, forward and backward in terms of
//! the [`Device`] trait. To add one, write its file and name it in [`KINDS`].

mod conv;
mod cost;
mod data;
mod dropout;
mod fc;
mod neuron;
mod pool;
mod softmax;

pub use data::Part;
pub use neuron::NeuronLayer;

use crate::config::{ConfigError, LayerSpec};
use crate::device::{self, Device, Into, Neuron, Shape, Tensor};
use std::fmt::Debug;

/// Makes a layer from its keys and its inputs' shapes.
pub type Build = fn(&LayerSpec, &[Shape]) -> Result<Box<dyn Layer>, Misfit>;

/// One layer type: its name in configs and how a layer of it is made.
pub struct Kind {
    /// The value of `type`.
    pub name: &'static str,
    /// A cost's second input is the labels unless the config names another.
    pub labels: bool,
    /// How a layer of it is made.
    pub build: Build,
}

/// Every layer type.
pub const KINDS: &[Kind] = &[
    Kind { name: "data", labels: false, build: data::build },
    Kind { name: "conv", labels: false, build: conv::build },
    Kind { name: "pool", labels: false, build: pool::build },
    Kind { name: "fc", labels: false, build: fc::build },
    Kind { name: "neuron", labels: false, build: neuron::build },
    Kind { name: "dropout", labels: false, build: dropout::build },
    Kind { name: "softmax", labels: false, build: softmax::build },
    Kind { name: "logistic-regression", labels: true, build: cost::build_logistic_regression },
    Kind { name: "sum-of-squares", labels: false, build: cost::build_sum_of_squares },
];

/// Why a layer cannot be made.
#[derive(Debug)]
pub enum Misfit {
    /// Its keys do not read.
    Keys(ConfigError),
    /// Its keys do not fit its inputs.
    Shape {
        /// The key to point at.
        key: &'static str,
        /// What is wrong: `the 7×7 filter does not fit its 5×5 input`.
        message: String,
        /// What to do.
        help: String,
    },
}

impl From<ConfigError> for Misfit {
    fn from(e: ConfigError) -> Self {
        Self::Keys(e)
    }
}

impl Misfit {
    /// A misfit of one key.
    pub fn shape(key: &'static str, message: impl ToString, help: impl ToString) -> Self {
        Self::Shape { key, message: message.to_string(), help: help.to_string() }
    }
}

/// Whether a net is run to learn or to be tested: dropout differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Masks are drawn.
    Train,
    /// Nothing is random.
    Test,
}

/// Forward or backward: which of a layer's passes scratch is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// [`Layer::forward`].
    Forward,
    /// [`Layer::backward`].
    Backward,
}

/// One parameter tensor of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// `weights` or `bias`.
    pub name: &'static str,
    /// Its extents.
    pub shape: Shape,
    /// Inputs that one output sums over: for the initialisers that scale by it.
    pub fan_in: usize,
    /// Outputs that one input reaches.
    pub fan_out: usize,
}

impl ParameterSpec {
    /// Whether the biases' learning rate, decay and initialiser apply.
    pub fn is_bias(&self) -> bool {
        self.name == "bias"
    }
}

/// Which of a layer's forward tensors its backward pass reads: they are kept until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reads {
    /// The inputs.
    pub inputs: bool,
    /// The output.
    pub output: bool,
}

/// A layer: a function of its inputs, with its gradients.
pub trait Layer: Debug + Send {
    /// The output's shape, batch included.
    fn output(&self) -> Shape;

    /// The parameter tensors, in the order that [`Io::parameter`] counts them.
    fn parameters(&self) -> Vec<ParameterSpec> {
        Vec::new()
    }

    /// Multiply-adds of one image's forward pass.
    fn multiply_adds(&self) -> u64 {
        0
    }

    /// What the backward pass reads.
    fn backward_reads(&self) -> Reads {
        Reads::default()
    }

    /// Whether each output depends on the input at the same place alone, so that the output may overwrite the input (where
    /// backward does not read it) and the input's gradient the output's.
    fn elementwise(&self) -> bool {
        false
    }

    /// Bytes of scratch that a pass wants on this device.
    fn scratch(&self, _device: &dyn Device, _pass: Pass) -> usize {
        0
    }

    /// Takes a neuron into the layer's own forward pass, if it can: true if it did. (Its gradient stays a pass of its own.)
    fn fuse(&mut self, _neuron: Neuron) -> bool {
        false
    }

    /// Takes the softmax before it into itself, reading that layer's input in its place: true for the one that can.
    fn fuse_softmax(&mut self) -> bool {
        false
    }

    /// What the layer is, where the net has to know.
    fn role(&self) -> Role {
        Role::Inner
    }

    /// Queues the forward pass.
    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()>;

    /// Queues the backward pass: from the output's gradient (a cost's from its inputs) to those of inputs and parameters.
    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()>;
}

/// What a net has to know of a layer beside its functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// An input of the net.
    Source(Part),
    /// A layer between inputs and costs.
    Inner,
    /// A softmax, which a logistic-regression cost takes into itself.
    Softmax,
    /// A cost: it has metrics and starts the backward pass. The coefficient multiplies its gradient.
    Cost {
        /// The weight of this cost in the sum that is minimised.
        coefficient: f64,
    },
}

/// The tensors of one layer in a plan.
#[derive(Clone, Debug, Default)]
pub struct Tensors {
    /// The inputs.
    pub inputs: Vec<Tensor>,
    /// The output; a cost has none.
    pub output: Option<Tensor>,
    /// Parameters.
    pub parameters: Vec<Tensor>,
    /// Each input's gradient, and whether to add to it; `None` where nobody needs it.
    pub input_gradients: Vec<Option<(Tensor, Into)>>,
    /// The output's gradient, where there is one.
    pub output_gradient: Option<Tensor>,
    /// The parameters' gradients.
    pub parameter_gradients: Vec<Option<Tensor>>,
    /// Scratch for the forward pass.
    pub forward_scratch: Option<Tensor>,
    /// Scratch for the backward pass.
    pub backward_scratch: Option<Tensor>,
    /// A cost's metrics.
    pub metrics: Option<Tensor>,
}

/// What a layer is given to run: its tensors, and how this run differs from others.
#[derive(Clone, Copy, Debug)]
pub struct Io<'a> {
    /// Its tensors.
    pub tensors: &'a Tensors,
    /// Learning or testing.
    pub phase: Phase,
    /// Whether parameter gradients are set (the first micro-batch) or added to (the others).
    pub accumulate: Into,
    /// The layer's number in its net: the key of its random numbers.
    pub layer: u32,
}

impl Io<'_> {
    /// Input `i`.
    pub fn input(&self, i: usize) -> Tensor {
        self.tensors.inputs[i]
    }

    /// The output.
    pub fn output(&self) -> Tensor {
        self.tensors.output.expect("the plan gives every layer but costs an output")
    }

    /// Parameter `i`.
    pub fn parameter(&self, i: usize) -> Tensor {
        self.tensors.parameters[i]
    }

    /// Where input `i`'s gradient goes, if anyone needs it.
    pub fn input_gradient(&self, i: usize) -> Option<(Tensor, Into)> {
        self.tensors.input_gradients[i]
    }

    /// The output's gradient.
    pub fn output_gradient(&self) -> Tensor {
        self.tensors.output_gradient.expect("backward runs where the output has a gradient")
    }

    /// Where parameter `i`'s gradient goes, if it is learned.
    pub fn parameter_gradient(&self, i: usize) -> Option<Tensor> {
        self.tensors.parameter_gradients[i]
    }

    /// The pass's scratch, of the bytes that [`Layer::scratch`] asked for.
    pub fn scratch(&self, pass: Pass) -> Tensor {
        let scratch = match pass {
            Pass::Forward => self.tensors.forward_scratch,
            Pass::Backward => self.tensors.backward_scratch,
        };
        scratch.expect("the plan gives every layer scratch, if of no bytes")
    }

    /// A cost's metrics.
    pub fn metrics(&self) -> Tensor {
        self.tensors.metrics.expect("the plan gives every cost metrics")
    }
}

/// The one input of a layer that takes one.
fn one_input(inputs: &[Shape]) -> Result<Shape, Misfit> {
    match inputs {
        [x] => Ok(*x),
        _ => Err(Misfit::shape("inputs", format!("this layer reads one input, not {}", inputs.len()), "name one layer")),
    }
}

/// A geometry's 32-bit sizes from the shapes' wide ones, or the misfit of a tensor too large for them.
fn geometry<const N: usize, G>(sizes: [usize; N], make: impl FnOnce([i32; N]) -> G) -> Result<G, Misfit> {
    let mut narrow = [0; N];
    for (to, from) in narrow.iter_mut().zip(sizes) {
        *to = i32::try_from(from)
            .map_err(|_| Misfit::shape("type", format!("{from} is too large a size"), "use smaller layers or a smaller batch"))?;
    }
    Ok(make(narrow))
}
