//! The layers: one file a type, each with its config keys, shape rule, parameters, cost, forward and backward as
//! [operations](crate::op) on a [`Tape`]. To add one, write its file and name it in [`KINDS`].

mod batch_norm;
mod binary_cross_entropy;
mod blur;
mod concat;
mod contrast_norm;
mod contrastive;
mod conv;
mod cost;
mod crop;
mod cross_entropy;
mod cross_map_pool;
mod data;
mod deconv;
mod dropout;
mod eltwise;
mod fc;
mod flatten;
mod form;
mod hinge;
mod local;
mod lrn;
mod nailbed;
mod neuron;
mod noise;
mod one_hot;
mod pool;
mod prelu;
mod random_scale;
mod reflect;
mod resize;
mod rgb2lab;
mod rgb2yuv;
mod slice;
mod softmax;
mod spatial_pyramid;
mod tape;

pub use data::Part;
pub use form::Form;
pub use neuron::NeuronLayer;
pub use tape::{Io, Tape};

use crate::config::{ConfigError, Init, LayerSpec};
use crate::device::Shape;
use crate::op::Neuron;
use std::borrow::Cow;
use std::fmt::Debug;

/// Makes a layer from its keys and its inputs' shapes.
pub type Build = fn(&LayerSpec, &[Shape]) -> Result<Box<dyn Layer>, Misfit>;

/// One layer type: its name in configs, what it is, and how a layer of it is made. Each layer's file defines its own.
pub struct Kind {
    /// The value of `type`.
    pub name: &'static str,
    /// Which input is the labels: where the config names only the inputs before it, it is the data's. No other input may be
    /// labels.
    pub labels: Option<usize>,
    /// What `convnet layers NAME` prints.
    pub doc: Doc,
    /// How a layer of it is made.
    pub build: Build,
}

/// The documentation of a layer type.
pub struct Doc {
    /// What it is, in a line.
    pub about: &'static str,
    /// Its own keys, in the order of its `Keys` struct; [`COMMON_KEYS`] are those of every layer.
    pub keys: &'static [Key],
    /// The output's shape.
    pub shape: &'static str,
    /// What it computes.
    pub formula: &'static str,
    /// The paper or program that it is from.
    pub source: &'static str,
}

/// A key of a layer's config.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its value where the config does not set it; `required` where it must.
    pub default: &'static str,
    /// What it says.
    pub about: &'static str,
}

/// A key, for the lists in the layers' files.
const fn key(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, default, about }
}

/// The keys that every layer has.
pub const COMMON_KEYS: &[Key] = &[
    key("name", "required", "unique among the layers"),
    key("type", "required", "the layer's type"),
    key("inputs", "the layer above", "the name of what it reads, or an array of names"),
    key("neuron", "none", "a nonlinearity that rides on it: \"relu\", \"tanh[1.7, 0.67]\"; see `convnet layers neuron`"),
    key("init", "msra", "how weights start: { kind = \"gaussian\", std = 0.01 }, uniform, xavier, msra, constant, file"),
    key("init_bias", "0", "how biases start"),
    key("learning_rate", "1", "multiplies train.learning_rate: a number, a schedule, or { weights = …, bias = … }; 0 is frozen"),
    key("weight_decay", "1", "multiplies train.weight_decay: a number, or { weights = …, bias = … }"),
    key("momentum", "train.momentum", "a momentum of its own: a number, or { weights = …, bias = … }"),
    key("max_norm", "none", "the largest L2 norm of each output's weights; longer ones are scaled to it after each update"),
    key("weight_source", "own weights", "shares the weights of \"layer\" or \"layer[input]\"; an array has one for each input"),
    key("bias_source", "own biases", "shares the biases of a layer"),
    key("gpu", "any", "cuda-convnet2's placement: kept, but one device runs all"),
];

/// Every layer type.
pub const KINDS: &[Kind] = &[
    data::KIND,
    conv::KIND,
    deconv::KIND,
    local::KIND,
    fc::KIND,
    pool::KIND,
    cross_map_pool::KIND,
    spatial_pyramid::KIND,
    concat::KIND,
    eltwise::SUM,
    eltwise::MAX,
    eltwise::PRODUCT,
    slice::KIND,
    crop::KIND,
    reflect::KIND,
    flatten::KIND,
    nailbed::KIND,
    resize::KIND,
    random_scale::KIND,
    blur::KIND,
    rgb2yuv::KIND,
    rgb2lab::KIND,
    lrn::KIND,
    batch_norm::KIND,
    contrast_norm::CONTRAST,
    contrast_norm::MEAN,
    neuron::KIND,
    prelu::KIND,
    dropout::KIND,
    noise::KIND,
    softmax::KIND,
    one_hot::KIND,
    cost::LOGISTIC_REGRESSION,
    cost::SUM_OF_SQUARES,
    cross_entropy::KIND,
    binary_cross_entropy::BINARY,
    binary_cross_entropy::DETECTION,
    hinge::KIND,
    contrastive::KIND,
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

/// Whether a net learns or is tested: some layers differ, such as dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Masks are drawn.
    Train,
    /// Nothing is random.
    Test,
}

/// One tensor that a layer keeps from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// `weights`, `bias`, …: unique in its layer.
    pub name: Cow<'static, str>,
    /// What it is to the layer.
    pub role: ParameterRole,
    /// Its extents.
    pub shape: Shape,
    /// Inputs that one output sums over, for the initialisers that scale by it.
    pub fan_in: usize,
    /// Outputs that one input reaches.
    pub fan_out: usize,
    /// How it starts where the config does not say.
    pub init: Init,
}

/// What a parameter tensor is to its layer.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterRole {
    /// Learned; the keys for weights apply.
    Weights,
    /// Learned; the keys for biases apply.
    Bias,
    /// Not learned: the forward pass changes it in training, as batch normalisation does its running means. Saved with the
    /// weights.
    Statistic,
    /// Never changed: a fixed filter. It is made anew with the net, and not saved.
    Fixed(Vec<f64>),
}

impl ParameterSpec {
    /// Weights, by default from [`Init::default`]: those of input number `input`.
    pub fn weights(input: usize, shape: Shape, fan_in: usize, fan_out: usize) -> Self {
        let name = if input == 0 { "weights".into() } else { format!("weights{input}").into() };
        Self { name, role: ParameterRole::Weights, shape, fan_in, fan_out, init: Init::default() }
    }

    /// Biases, by default 0.
    pub fn bias(shape: Shape, fan_in: usize, fan_out: usize) -> Self {
        Self { name: "bias".into(), role: ParameterRole::Bias, shape, fan_in, fan_out, init: Init::constant(0.0) }
    }

    /// A tensor of these values, which nothing changes.
    pub fn fixed(name: &'static str, shape: Shape, values: Vec<f64>) -> Self {
        let role = ParameterRole::Fixed(values);
        Self { name: name.into(), role, shape, fan_in: 1, fan_out: 1, init: Init::constant(0.0) }
    }

    /// Whether the biases' learning rate, decay and initialiser apply.
    pub fn is_bias(&self) -> bool {
        self.role == ParameterRole::Bias
    }

    /// Whether it has a gradient and a momentum.
    pub fn is_learned(&self) -> bool {
        matches!(self.role, ParameterRole::Weights | ParameterRole::Bias)
    }

    /// Whether a checkpoint has it.
    pub fn is_saved(&self) -> bool {
        !matches!(self.role, ParameterRole::Fixed(_))
    }
}

/// A layer: a function of its inputs, with its gradients.
pub trait Layer: Debug + Send {
    /// The output's shape, batch included.
    fn output(&self) -> Shape;

    /// The parameter tensors, in the order that [`Io::parameter`] counts them.
    fn parameters(&self) -> Vec<ParameterSpec> {
        Vec::new()
    }

    /// The number of classes of a layer that reads labels; none where its labels are not classes.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// The misfit of data that has more `classes` than that.
    fn too_few(&self, classes: usize) -> Misfit {
        let outputs = self.classes().unwrap_or_default();
        let help = format!("give the last layer before the cost {classes} outputs");
        Misfit::shape("inputs", format!("{outputs} outputs for {classes} classes"), help)
    }

    /// The numbers that its inputs should be.
    fn domain(&self) -> Domain {
        Domain::Reals
    }

    /// What a cost counts besides its loss and the images.
    fn counts(&self) -> Counts {
        Counts::default()
    }

    /// What it computes in testing, in the terms that other programs share.
    fn form(&self) -> Form<'_> {
        Form::Other
    }

    /// What the layer is to the net.
    fn role(&self) -> Role {
        Role::Inner
    }

    /// Writes the forward pass.
    fn forward(&self, tape: &mut Tape, io: &Io);

    /// Writes the backward pass: from the output's gradient (a cost's from its inputs) to those of inputs and parameters.
    fn backward(&self, tape: &mut Tape, io: &Io);
}

/// What a net has to know about a layer besides its passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// An input of the net.
    Source(Part),
    /// A layer between inputs and costs.
    Inner,
    /// A softmax.
    Softmax,
    /// A neuron.
    Neuron(Neuron),
    /// A batch normalisation. Its last two parameters are the running mean and variance; gamma and beta, if it has them, come
    /// first.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// A cost: it has metrics and starts the backward pass. The coefficient multiplies its gradient.
    Cost {
        /// The weight of this cost in the sum that is minimised.
        coefficient: f64,
    },
}

/// The numbers that a layer's inputs should be: what gradient checks draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Any.
    Reals,
    /// Above 0: it takes logarithms.
    Positive,
    /// Between 0 and 1.
    Unit,
}

/// What a cost counts besides its loss and the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Errors.
    pub errors: bool,
    /// Top-5 errors.
    pub top5: bool,
    /// Counts of its own by name, each one number for each element of the cost's first input.
    pub own: &'static [&'static str],
}

impl Counts {
    /// Errors alone.
    pub const ERRORS: Self = Self { errors: true, top5: false, own: &[] };
    /// Errors and top-5 errors.
    pub const TOP5: Self = Self { errors: true, top5: true, own: &[] };
    /// Errors, and what precision and recall are made of.
    pub const DETECTIONS: Self = Self { own: &["true_positives", "false_positives", "false_negatives"], ..Self::ERRORS };
}

/// The input of a layer that reads exactly one.
fn one_input(inputs: &[Shape]) -> Result<Shape, Misfit> {
    match inputs {
        [x] => Ok(*x),
        _ => Err(Misfit::shape("inputs", format!("this layer reads one input, not {}", inputs.len()), "name one layer")),
    }
}

/// Checks that several inputs make outputs of one shape, so that they can be added up; the error points at `key`.
fn same_shapes(outputs: impl IntoIterator<Item = Shape>, key: &'static str) -> Result<(), Misfit> {
    let outputs: Vec<Shape> = outputs.into_iter().collect();
    if outputs.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    let shapes: Vec<String> = outputs.iter().map(Shape::to_string).collect();
    let message = format!("its inputs make outputs of different shapes: {}", shapes.join(", "));
    Err(Misfit::shape(key, message, "choose sizes so that all inputs make the same shape"))
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
