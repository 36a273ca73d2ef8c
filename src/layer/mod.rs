//! The layers: one file a type, each with its config keys, shape rule, parameters, cost, forward and backward in terms of
//! the [`Device`] trait. To add one, write its file and name it in [`KINDS`].

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

pub use data::Part;
pub use form::Form;
pub use neuron::NeuronLayer;

use crate::config::{ConfigError, Init, LayerSpec};
use crate::device::{self, Device, Into, METRICS, Neuron, Shape, Tensor};
use std::borrow::Cow;
use std::fmt::Debug;

/// Makes a layer from its keys and its inputs' shapes.
pub type Build = fn(&LayerSpec, &[Shape]) -> Result<Box<dyn Layer>, Misfit>;

/// One layer type: its name in configs, what it is, and how a layer of it is made. Each layer's file defines its own.
pub struct Kind {
    /// The value of `type`.
    pub name: &'static str,
    /// Which input is the labels: where the config names those before it and no more, it is the data's. No other input may
    /// be labels.
    pub labels: Option<usize>,
    /// What `convnet layers NAME` prints.
    pub doc: Doc,
    /// How a layer of it is made.
    pub build: Build,
}

/// What there is to know of a layer type.
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
    /// What it is where it is not given; `required` where it must be.
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
    key("name", "required", "unlike any other layer's"),
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

/// One tensor that a layer keeps from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// `weights`, `bias`, …: unlike the layer's others.
    pub name: Cow<'static, str>,
    /// What it is to the layer.
    pub role: ParameterRole,
    /// Its extents.
    pub shape: Shape,
    /// Inputs that one output sums over: for the initialisers that scale by it.
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
    /// Not learned: the forward pass changes it in training, as batch normalisation its running means. Saved with the
    /// weights.
    Statistic,
    /// Never changed: a filter that is given. It is made anew with the net, and saved nowhere.
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

    /// A tensor of given values, which nothing changes.
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

    /// Whether each output depends on the inputs at the same place alone, so that the output may overwrite the first or the
    /// second input (where backward does not read it) and an input's gradient the output's. The forward pass reads those two
    /// before any other; the backward pass makes the gradient that is in the output's place last.
    fn elementwise(&self) -> bool {
        false
    }

    /// Whether the gradient of this input is the output's, unchanged, so that it may lie in the same place, even with those of
    /// others.
    fn passes_gradient(&self, _input: usize) -> bool {
        false
    }

    /// Whether the output is the input under another shape, which then may lie in the input's place even where that is read
    /// again. Such a layer is elementwise too.
    fn is_view(&self) -> bool {
        false
    }

    /// Reals that the forward pass leaves for the backward pass, beside its output.
    fn kept(&self) -> usize {
        0
    }

    /// The classes that a layer which reads labels has room for; none where its labels are no classes.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// What is wrong where the data has more `classes` than that.
    fn too_few(&self, classes: usize) -> Misfit {
        let outputs = self.classes().unwrap_or_default();
        let help = format!("give the last layer before the cost {classes} outputs");
        Misfit::shape("inputs", format!("{outputs} outputs for {classes} classes"), help)
    }

    /// Bytes of scratch that a pass wants on this device.
    fn scratch(&self, _device: &dyn Device, _pass: Pass) -> usize {
        0
    }

    /// Takes a neuron into the layer's own forward pass, if it can: true if it did. (Its gradient stays a pass of its own.)
    fn fuse(&mut self, _neuron: Neuron) -> bool {
        false
    }

    /// Takes on a scale and a shift of each output channel, and a neuron behind them, in its own forward pass: weights, of which
    /// it has one tensor with the output channel outermost, are multiplied, biases multiplied and added to. True if it did; one
    /// without biases has a bias for each channel then, its second parameter.
    fn take_channel_map(&mut self, _then: Neuron) -> bool {
        false
    }

    /// Takes the layer before it into itself, reading that layer's input in its place, if it can: true if it did. A cost is
    /// asked about its first input.
    fn take(&mut self, _before: Role) -> bool {
        false
    }

    /// Which numbers its inputs should be.
    fn domain(&self) -> Domain {
        Domain::Reals
    }

    /// What a cost counts beside its loss and the images.
    fn counts(&self) -> Counts {
        Counts::default()
    }

    /// What it computes in testing, where other programs have it too.
    fn form(&self) -> Form<'_> {
        Form::Other
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
    /// A softmax, which a cross entropy takes into itself.
    Softmax,
    /// A neuron; a logistic one is taken into itself by a binary cross entropy.
    Neuron(Neuron),
    /// A batch normalisation, which the layer before takes into itself for testing. Its last two parameters are the running
    /// mean and variance, and before them there may be gamma and beta.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
        /// What it computes behind it.
        neuron: Neuron,
    },
    /// A cost: it has metrics and starts the backward pass. The coefficient multiplies its gradient.
    Cost {
        /// The weight of this cost in the sum that is minimised.
        coefficient: f64,
    },
}

/// Which numbers a layer's inputs should be: what gradient checks draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Any.
    Reals,
    /// Above 0: it takes logarithms.
    Positive,
    /// Between 0 and 1.
    Unit,
}

/// What a cost counts beside its loss and the images.
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
    /// The parameters' gradients, and whether a layer behind this one, or an input before, that shares the parameter has
    /// set it; `None` where it is not learned.
    pub parameter_gradients: Vec<Option<(Tensor, Into)>>,
    /// What the forward pass leaves for the backward pass.
    pub kept: Option<Tensor>,
    /// Scratch for the forward pass.
    pub forward_scratch: Option<Tensor>,
    /// Scratch for the backward pass.
    pub backward_scratch: Option<Tensor>,
    /// A cost's metrics: [`METRICS`] reals, and those of its own counts.
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

    /// Where parameter `i`'s gradient goes, if it is learned. A layer asks for its parameters in ascending order.
    pub fn parameter_gradient(&self, i: usize) -> Option<(Tensor, Into)> {
        let (gradient, into) = self.tensors.parameter_gradients[i]?;
        Some((gradient, if into == Into::Add { Into::Add } else { self.accumulate }))
    }

    /// What the forward pass leaves for the backward pass: [`Layer::kept`] reals.
    pub fn kept(&self) -> Tensor {
        self.tensors.kept.expect("the plan gives a layer what it keeps")
    }

    /// The pass's scratch, of the bytes that [`Layer::scratch`] asked for.
    pub fn scratch(&self, pass: Pass) -> Tensor {
        let scratch = match pass {
            Pass::Forward => self.tensors.forward_scratch,
            Pass::Backward => self.tensors.backward_scratch,
        };
        scratch.expect("the plan gives every layer scratch, if of no bytes")
    }

    /// A cost's metrics, [`METRICS`] reals.
    pub fn metrics(&self) -> Tensor {
        self.all_metrics().part(0, METRICS)
    }

    /// What a cost counts of its own: the names in [`Counts::own`] one after the other.
    pub fn counts(&self) -> Tensor {
        let all = self.all_metrics();
        all.part(METRICS, all.shape.elements() - METRICS)
    }

    fn all_metrics(&self) -> Tensor {
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

/// Checks that several inputs make outputs of one shape, which are then added up; `key` is to blame where they do not.
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
