//! What a net needs from the machine it runs on: the [`Device`] trait, the tensors it is given, and the geometry of its
//! operations. A device knows shapes and places in its one allocation, never a layer; a layer knows this trait, never a
//! device. Everything is queued in order; only [`Device::read`] waits.
//!
//! Every tensor is NHWC, channel fastest. Filters are `[K][R][S][C/groups]`, weights of a fully connected layer
//! `[out][in]`. `real` below is the device's floating-point type, [`Device::real`].

pub mod cpu;
pub mod cuda;
mod geometry;
mod open;
pub mod philox;
mod precision;

pub use geometry::{
    ConvGeometry, CopyGeometry, ImageGeometry, LrnGeometry, PoolGeometry, Product, Rounding, Window, output_size,
};
pub use open::{DeviceInfo, list, open};
pub use precision::Precision;

use bytemuck::{Pod, Zeroable};
use std::fmt;

/// Why a device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device's memory does not hold the net.
    #[error("{device}: out of memory: {asked} bytes asked for, {free} free")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// Bytes asked for.
        asked: usize,
        /// Bytes that were free.
        free: usize,
    },
    /// No device has this name.
    #[error("there is no device '{0}'; there are: auto, cpu, cuda, cuda:0, cuda:1 and so on (`convnet devices` lists them)")]
    Unknown(String),
    /// The device cannot be used.
    #[error("{0}")]
    Unavailable(String),
    /// A call of the driver or a kernel failed.
    #[error("{device}: {what}")]
    Failed {
        /// The device's name.
        device: String,
        /// What failed and how.
        what: String,
    },
}

/// What device calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The extents of a tensor, outermost first: `n` images of `h` rows, `w` columns and `c` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// `n` images of `h` × `w` × `c`.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// `n` × `h` × `w` × `c`.
    pub const fn elements(&self) -> usize {
        self.n * self.image()
    }

    /// Elements of one image: `h` × `w` × `c`.
    pub const fn image(&self) -> usize {
        self.h * self.w * self.c
    }
}

/// Shown without the batch, as nets are drawn: `24×24×20`, or `500` for a vector.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.h == 1 && self.w == 1 { self.c.to_string() } else { format!("{}×{}×{}", self.h, self.w, self.c) };
        f.pad(&text)
    }
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE double: gradient checks and references, on the CPU only.
    F64,
    /// Bytes: images as they come from files, and scratch.
    U8,
    /// 32-bit integers: labels and places.
    I32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 => 8,
            Self::U8 => 1,
        }
    }
}

/// A place in the net's one allocation: bytes from its start. The plan keeps places on 256-byte boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// A tensor is a place in the net's one allocation, a shape and a type. Copy, comparable, printable: a layer may hold it,
/// only a device may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Where it lies.
    pub slot: Slot,
    /// Its extents.
    pub shape: Shape,
    /// Its elements' type.
    pub dtype: Dtype,
}

impl Tensor {
    /// Bytes it takes.
    pub const fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }

    /// Scratch cut in two: its first `bytes`, and what is left behind them from the next 256-byte boundary on.
    pub fn split(self, bytes: usize) -> (Self, Self) {
        let whole = self.bytes();
        let cut = |from: usize, to: usize| {
            let shape = Shape::new(1, 1, 1, to - from);
            Self { slot: Slot(self.slot.0 + from), shape, dtype: Dtype::U8 }
        };
        (cut(0, bytes.min(whole)), cut(bytes.next_multiple_of(256).min(whole), whole))
    }

    /// `count` elements from number `first` on.
    pub fn part(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.shape.elements(), "a part lies within its tensor");
        Self { slot: Slot(self.slot.0 + first * self.dtype.size()), shape: Shape::new(1, 1, 1, count), ..self }
    }

    /// The same elements seen under another shape of as many elements.
    pub fn reshaped(self, shape: Shape) -> Self {
        assert_eq!(self.shape.elements(), shape.elements(), "a reshape keeps the number of elements");
        Self { shape, ..self }
    }
}

/// Whether an operation overwrites its result or adds to it (the second reader of a layer's output adds to its gradient).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// result ← value
    Set,
    /// result ← result + value
    Add,
}

/// An elementwise nonlinearity, named as in cuda-convnet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Neuron {
    /// a·x + b
    Linear {
        /// Slope.
        a: f64,
        /// Offset.
        b: f64,
    },
    /// max(0, x)
    Relu,
    /// min(a, max(0, x))
    Brelu {
        /// Upper bound.
        a: f64,
    },
    /// log(1 + eˣ)
    Softrelu,
    /// a·tanh(b·x)
    Tanh {
        /// Height.
        a: f64,
        /// Slope at the origin over a.
        b: f64,
    },
    /// 1 / (1 + e⁻ˣ)
    Logistic,
    /// |x|
    Abs,
    /// x²
    Square,
    /// √x
    Sqrt,
    /// log(a + x)
    Log {
        /// Added to x.
        a: f64,
    },
    /// x − a·tanh(x/a): flat around 0.
    Drelu {
        /// How far from 0.
        a: f64,
    },
    /// max(0, x + noise), the noise of [`Device::noisy_relu_forward`], which the neuron's layer calls in training; else, and to
    /// [`Device::neuron_forward`], it is relu.
    Nrelu,
    /// x, or a·x where x is below 0
    Leaky {
        /// The slope below 0, at least 0.
        a: f64,
    },
    /// x, or a·(eˣ − 1) where x is below 0
    Elu {
        /// The limit is −a; at least 0.
        a: f64,
    },
    /// x/(1 + e⁻ˣ)
    Swish,
}

impl Neuron {
    /// The neuron that changes nothing: what a layer without one passes to a fused operation.
    pub const NONE: Self = Self::Linear { a: 1.0, b: 0.0 };

    /// Whether the derivative is computed from the neuron's input x; otherwise its output y is enough (or nothing is
    /// needed), and the neuron may overwrite its input.
    pub const fn derivative_reads_input(self) -> bool {
        matches!(self, Self::Abs | Self::Square | Self::Drelu { .. } | Self::Nrelu | Self::Swish)
    }
}

/// How two tensors are merged, element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Merge {
    /// The first times a, plus the second times b.
    Sum {
        /// Multiplies the first.
        a: f64,
        /// Multiplies the second.
        b: f64,
    },
    /// The first times the second.
    Product,
}

/// What changes from step to step. It is handed to the device apart from the operations, so that a whole step can be
/// recorded once and replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepValues {
    /// The run's seed: the Philox key.
    pub seed: u64,
    /// Parameter updates done before this step.
    pub step: u64,
    /// Index of the first image of this micro-batch within its batch.
    pub first_image: u32,
    /// Images of this micro-batch that count; the rest is padding and adds to no loss, error or gradient.
    pub images: u32,
    /// 1 / images of the whole batch: what a cost multiplies its gradients by.
    pub gradient_scale: f64,
    /// The scheduled learning rate.
    pub learning_rate: f64,
    /// The momentum.
    pub momentum: f64,
}

/// The masks of [`Device::drop_connect_forward`]: weight e = output·inputs + input has the factor 1/keep for image j where the
/// Philox number of (seed, step, stream, first_image + j, e) is below keep, and 0 where it is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropConnect {
    /// Stands for the layer, and keeps its inputs apart.
    pub stream: u32,
    /// The probability that a weight is kept, above 0.
    pub keep: f64,
}

impl DropConnect {
    /// Of 2²⁴ equally likely numbers, those below it are kept.
    pub fn threshold(&self) -> u32 {
        (self.keep * 16_777_216.0).ceil() as u32
    }
}

/// One parameter tensor's part of the update, [`Device::sgd_update`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Multiplies the step's learning rate.
    pub rate: f64,
    /// Weight decay, its multiplier included.
    pub decay: f64,
    /// L1 decay, its multiplier included.
    pub l1_decay: f64,
    /// In place of the step's momentum.
    pub momentum: Option<f64>,
    /// Whether the weights go on by Nesterov's rule.
    pub nesterov: bool,
}

impl Update {
    /// The plain update, with the step's momentum.
    pub const fn new(rate: f64, decay: f64) -> Self {
        Self { rate, decay, l1_decay: 0.0, momentum: None, nesterov: false }
    }
}

/// One image's place in its source, as the augmentation drew it: the output's pixel (y, x) is the source's
/// (y + top, x + left), mirrored left to right first if `flip` is 1; outside the source the mean is put, that is, 0 after
/// its subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Place {
    /// Rows down from the source's top; may be negative.
    pub top: i32,
    /// Columns right of the source's left; may be negative.
    pub left: i32,
    /// 1: mirrored left to right.
    pub flip: i32,
}

/// The numbers a cost adds to its metrics tensor: four reals, in this order.
pub const METRICS: usize = 4;
/// Index of Σ loss (before the coefficient) in a metrics tensor.
pub const METRIC_LOSS: usize = 0;
/// Index of the number of images whose largest output is not their label's.
pub const METRIC_ERRORS: usize = 1;
/// Index of the number of images whose label is not among the five largest outputs.
pub const METRIC_ERRORS_TOP5: usize = 2;
/// Index of the number of images.
pub const METRIC_IMAGES: usize = 3;

/// How a binary cross entropy reads its outputs x, and weighs them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binary {
    /// p is σ(x), the output of a logistic neuron whose input x is read in its place; otherwise p is x.
    pub logistic: bool,
    /// w, the weight of what is positive.
    pub positive_weight: f64,
}

/// A hinge loss of class scores x and a label y. With h(v) = max(0, v): Σ h(margin + x\[j] − x\[y]) over the other classes
/// (Weston and Watkins 1999), or one against all h(margin − x\[y]) + Σ h(margin + x\[j]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hinge {
    /// One against all.
    pub one_vs_all: bool,
    /// h(v) is squared.
    pub squared: bool,
    /// How far apart scores should be.
    pub margin: f64,
}

/// A recording of queued operations that a device can queue again at once: what [`Device::finish_recording`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphId(pub usize);

/// An operation that may want scratch memory; [`Device::scratch`] answers how much. The plan sets it aside.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// [`Device::conv_forward`].
    ConvForward(ConvGeometry),
    /// [`Device::conv_backward_image`].
    ConvBackwardImage(ConvGeometry),
    /// [`Device::conv_backward_filters`].
    ConvBackwardFilters(ConvGeometry),
    /// [`Device::local_forward`].
    LocalForward(ConvGeometry),
    /// [`Device::local_backward_image`].
    LocalBackwardImage(ConvGeometry),
    /// [`Device::local_backward_filters`].
    LocalBackwardFilters(ConvGeometry),
    /// [`Device::product`].
    Product(Product),
    /// [`Device::bias_backward`], of a gradient dy of this shape into biases of that shape.
    BiasBackward(Shape, Shape),
    /// [`Device::prelu_backward_slope`] of x of this shape and slopes of that.
    PreluBackwardSlope(Shape, Shape),
    /// [`Device::mean_abs`] of so many elements.
    MeanAbs(usize),
    /// [`Device::batch_norm_moments`] and [`Device::batch_norm_backward`] of a tensor of this shape.
    BatchNorm(Shape),
    /// [`Device::lrn_backward`].
    LrnBackward(LrnGeometry),
}

/// What a net needs from the machine it runs on. Calls are queued in order; [`read`](Device::read) is the only one that
/// waits. Tensors of one call do not overlap unless the operation says that it works in place. `scratch` is a tensor of at
/// least [`Device::scratch`] bytes whose contents are nobody's before and after the call.
///
/// The same calls give the same bits: sums have a fixed order, whatever the number of threads.
pub trait Device {
    /// Its name, for people: `cpu (2 threads, avx512)`, `cuda:0 (NVIDIA H100)`.
    fn name(&self) -> String;

    /// The floating-point type of its reals.
    fn real(&self) -> Dtype;

    /// What it rounds the operands of convolutions and matrix products to.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Chooses the precision, `None`: the device's own, before any memory is planned, and answers what it is then: f32 where
    /// the device has no other one.
    fn set_precision(&mut self, _wanted: Option<Precision>) -> Precision {
        Precision::F32
    }

    /// Makes the net's one allocation, filled with zeros. Once, before anything else.
    fn allocate(&mut self, bytes: usize) -> Result<()>;

    /// Bytes that the net's allocation takes on the device.
    fn allocated(&self) -> usize;

    /// Bytes of scratch that an operation wants; 0 for most.
    fn scratch(&self, op: &Op) -> usize;

    /// Copies host bytes into a tensor of exactly that many bytes.
    fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()>;

    /// Copies a tensor to the host, after everything queued before.
    fn read(&mut self, from: Tensor, bytes: &mut [u8]) -> Result<()>;

    /// As [`write`](Device::write), but beside the queue: the copy runs while earlier operations still do. It waits for the
    /// operations queued so far that read these tensors ([`load_images`](Device::load_images) and
    /// [`load_labels`](Device::load_labels)), and the next such operation waits for it.
    fn feed(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()>;

    /// Whether convolutions may take fewer multiply-adds than their definition has (Winograd's), for somewhat larger rounding
    /// errors; allowed at first. Asked for before [`scratch`](Device::scratch); a device that has no such way ignores it.
    fn set_winograd(&mut self, _allowed: bool) {}

    /// Sets the values that the operations queued from here on read.
    fn set_step(&mut self, values: StepValues) -> Result<()>;

    /// Starts to record what is queued, which is then not run, so that a whole step costs one call afterwards. `false`:
    /// this device records nothing, and goes on as before. A recording holds operations on tensors only: no write, read or
    /// set_step. Let the step run once before it is recorded: a driver may load kernels at their first use.
    fn record(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Ends a recording; `None` where none was begun. Its tensors are those of the calls, its step values those that are
    /// set when it is replayed.
    fn finish_recording(&mut self) -> Result<Option<GraphId>> {
        Ok(None)
    }

    /// Queues a recording, as if its operations were called again.
    fn replay(&mut self, graph: GraphId) -> Result<()> {
        Err(Error::Failed { device: self.name(), what: format!("{graph:?}: this device records nothing") })
    }

    /// y ← (x at its place − mean)·scale. x: u8 `[n, g.h, g.w, c]`, places: i32 `[n][3]` ([`Place`]), mean: real, c values
    /// or an image of the source's size (`[1, g.h, g.w, c]`, moved with the image), y: real `[n, p, q, c]`.
    fn load_images(&mut self, g: &ImageGeometry, x: Tensor, places: Tensor, mean: Tensor, scale: f64, y: Tensor) -> Result<()>;

    /// y ← x, both i32 or both reals: labels out of the tensor that [`feed`](Device::feed) writes.
    fn load_labels(&mut self, x: Tensor, y: Tensor) -> Result<()>;

    /// y ← neuron(x ∗ w + b). x: `[n, h, w, c]`, w: `[k, r, s, c/groups]`, y: `[n, p, q, k]`; b: k values shared by all
    /// places (`[1, 1, 1, k]`), or untied, one a place (`[1, p, q, k]`).
    #[allow(clippy::too_many_arguments)]
    fn conv_forward(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        neuron: Neuron,
        y: Tensor,
        scratch: Tensor,
    ) -> Result<()>;

    /// dx ← dy ∗ᵀ w (or dx += …).
    fn conv_backward_image(
        &mut self,
        g: &ConvGeometry,
        dy: Tensor,
        w: Tensor,
        dx: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()>;

    /// dw ← Σ over images and places of dy · x (or dw += …).
    fn conv_backward_filters(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        dy: Tensor,
        dw: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()>;

    /// y ← neuron(x ∗ w + b) where each place has filters of its own: w is `[p·q, k, r, s, c/groups]`, all else as in
    /// [`conv_forward`](Device::conv_forward) (a locally connected layer, LeCun 1989; cuda-convnet's local).
    #[allow(clippy::too_many_arguments)]
    fn local_forward(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        neuron: Neuron,
        y: Tensor,
        scratch: Tensor,
    ) -> Result<()>;

    /// dx ← Σ over the places that see a cell of dy · w, each place with its own w (or dx += …).
    fn local_backward_image(
        &mut self,
        g: &ConvGeometry,
        dy: Tensor,
        w: Tensor,
        dx: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()>;

    /// dw ← Σ over images of dy · x, at each place (or dw += …).
    fn local_backward_filters(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        dy: Tensor,
        dw: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()>;

    /// db ← Σ dy over what the biases are shared by: images, and places when db is `[1, 1, 1, k]`.
    fn bias_backward(&mut self, dy: Tensor, db: Tensor, into: Into, scratch: Tensor) -> Result<()>;

    /// C ← neuron(op(A) · op(B) + bias), row-major: C `[m][n]`, op(A) `[m][k]`, op(B) `[k][n]`, bias n values. With
    /// [`Into::Add`] the product is added to C; then there is no bias and no neuron.
    #[allow(clippy::too_many_arguments)]
    fn product(
        &mut self,
        p: &Product,
        a: Tensor,
        b: Tensor,
        bias: Option<Tensor>,
        neuron: Neuron,
        c: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()>;

    /// y ← the maximum, the mean or the root of the sum of squares over each window of x, windows clipped to the image.
    fn pool_forward(&mut self, g: &PoolGeometry, kind: PoolKind, x: Tensor, y: Tensor) -> Result<()>;

    /// dx ← the gradient of [`pool_forward`](Device::pool_forward). Of equal maxima the first in row-major order takes it
    /// all; a root's is 0 at 0. A mean looks at neither x nor y, a maximum not at y.
    #[allow(clippy::too_many_arguments)]
    fn pool_backward(
        &mut self,
        g: &PoolGeometry,
        kind: PoolKind,
        x: Tensor,
        y: Tensor,
        dy: Tensor,
        dx: Tensor,
        into: Into,
    ) -> Result<()>;

    /// Response normalisation: y ← x·s^−beta, s = k + alpha·Σ seen² over the window of each element. `seen` is x
    /// (Krizhevsky et al. 2012), or, within a map, how far x is from its neighbourhood's mean (Jarrett et al. 2009).
    fn lrn_forward(&mut self, g: &LrnGeometry, r: &Response, x: Tensor, seen: Tensor, y: Tensor) -> Result<()>;

    /// dx ← dy·s^−beta and dseen ← −2·alpha·beta·seen·Σ dy·x·s^(−beta − 1) over the windows that hold each element. `into` is
    /// for dx; without a dseen, where `seen` is x, that is added to dx.
    #[allow(clippy::too_many_arguments)]
    fn lrn_backward(
        &mut self,
        g: &LrnGeometry,
        r: &Response,
        x: Tensor,
        seen: Tensor,
        dy: Tensor,
        dx: Tensor,
        into: Into,
        dseen: Option<Tensor>,
        scratch: Tensor,
    ) -> Result<()>;

    /// kept ← the mean of each of x's channels over images and places, and behind them 1/√(variance + epsilon): 2·c reals. The
    /// running mean and variance move towards the batch's: running ← (1 − momentum)·running + momentum·batch, of the variance
    /// the unbiased one (Ioffe and Szegedy 2015, as PyTorch has it). Exact also where the mean is large beside the deviation.
    fn batch_norm_moments(
        &mut self,
        b: &BatchNorm,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        kept: Tensor,
        scratch: Tensor,
    ) -> Result<()>;

    /// As [`batch_norm_moments`](Device::batch_norm_moments), of the running mean and variance, which stay.
    fn batch_norm_running(&mut self, epsilon: f64, mean: Tensor, variance: Tensor, kept: Tensor) -> Result<()>;

    /// y ← neuron((x − kept mean)·kept 1/√…·gamma + beta), without an affine pair as if it were 1 and 0; y may be x.
    fn batch_norm_apply(
        &mut self,
        kept: Tensor,
        affine: Option<(Tensor, Tensor)>,
        neuron: Neuron,
        x: Tensor,
        y: Tensor,
    ) -> Result<()>;

    /// The gradients of what a batch's own moments normalised, x̂ = (x − kept mean)·kept 1/√…: dgamma ← Σ dy·x̂,
    /// dbeta ← Σ dy, dx ← gamma·kept 1/√…·(dy − mean of dy − x̂·mean of dy·x̂); dx may be dy.
    #[allow(clippy::too_many_arguments)]
    fn batch_norm_backward(
        &mut self,
        x: Tensor,
        kept: Tensor,
        gamma: Option<Tensor>,
        dy: Tensor,
        dgamma: Option<(Tensor, Into)>,
        dbeta: Option<(Tensor, Into)>,
        dx: Option<(Tensor, Into)>,
        scratch: Tensor,
    ) -> Result<()>;

    /// y ← neuron(x); y may be x.
    fn neuron_forward(&mut self, neuron: Neuron, x: Tensor, y: Tensor) -> Result<()>;

    /// dx ← dy · neuron′; dx may be dy. `seen` is the neuron's input where
    /// [`derivative_reads_input`](Neuron::derivative_reads_input) says so, its output otherwise.
    fn neuron_backward(&mut self, neuron: Neuron, seen: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// y ← max(0, x + √σ(x)·g), where σ is the logistic function and g, of element i of image j, a standard normal number of
    /// (seed, step, layer, first_image + j, i) ([`philox::gaussians`]): relu with noise of variance σ(x) (Nair and Hinton 2010).
    fn noisy_relu_forward(&mut self, layer: u32, x: Tensor, y: Tensor) -> Result<()>;

    /// dx ← the gradient of [`noisy_relu_forward`](Device::noisy_relu_forward), whose numbers are drawn again; dx may be dy.
    fn noisy_relu_backward(&mut self, layer: u32, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// y ← x where that is above 0, else slope·x: a slope for each channel, or one. y may be x.
    fn prelu_forward(&mut self, x: Tensor, slope: Tensor, y: Tensor) -> Result<()>;

    /// dx ← dy where x is above 0, else slope·dy; dx may be dy.
    fn prelu_backward(&mut self, x: Tensor, slope: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// dslope ← Σ min(0, x)·dy over what a slope is shared by.
    fn prelu_backward_slope(&mut self, x: Tensor, dy: Tensor, dslope: Tensor, into: Into, scratch: Tensor) -> Result<()>;

    /// y ← x·mask·factor; y may be x. Element i of image j is kept where the Philox number of (seed, step, layer,
    /// first_image + j, i) is below keep ([`philox::uniform`]); the backward pass is the same call on the gradients.
    fn dropout(&mut self, layer: u32, keep: f64, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()>;

    /// y ← Σ m·w·x + b over the inputs, or y += …: a fully connected layer whose weights are masked for each image by itself
    /// ([`DropConnect`]; Wan et al. 2013). x: `[n, in]`, w: `[out, in]`, b: out values, y: `[n, out]`. The masks are made
    /// anew in each of the three passes.
    fn drop_connect_forward(
        &mut self,
        m: &DropConnect,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        y: Tensor,
        into: Into,
    ) -> Result<()>;

    /// dx ← Σ m·w·dy over the outputs (or dx += …).
    fn drop_connect_backward_input(&mut self, m: &DropConnect, dy: Tensor, w: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// dw ← Σ m·dy·x over the images (or dw += …).
    fn drop_connect_backward_weights(&mut self, m: &DropConnect, x: Tensor, dy: Tensor, dw: Tensor, into: Into) -> Result<()>;

    /// y ← x + std·g; y may be x. g is the standard normal number of (seed, step, layer, first_image + j, i) for element i of
    /// image j ([`philox::gaussians`]).
    fn noise(&mut self, layer: u32, std: f64, x: Tensor, y: Tensor) -> Result<()>;

    /// y ← eˣ/Σeˣ over the elements of each image.
    fn softmax_forward(&mut self, x: Tensor, y: Tensor) -> Result<()>;

    /// dx ← y·(dy − Σ y·dy).
    fn softmax_backward(&mut self, y: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// y ← q of each image's label, as many classes as y has elements an image: q[i] = (1 − smoothing)·1[label = i] +
    /// smoothing/classes (Szegedy et al. 2016).
    fn one_hot(&mut self, labels: Tensor, smoothing: f64, y: Tensor) -> Result<()>;

    /// Adds −Σ q·log softmax(x) of each counted image, and its errors, to the metrics; q is that of
    /// [`one_hot`](Device::one_hot): without smoothing the loss is −log softmax(x)[label]. An image is an error when any
    /// other output is larger than or equal to its label's and comes before it, or is larger: the first of equal maxima is
    /// the prediction.
    fn logreg_forward(&mut self, x: Tensor, labels: Tensor, smoothing: f64, metrics: Tensor) -> Result<()>;

    /// dx ← coefficient·gradient_scale·(softmax(x) − q), 0 for images that do not count.
    fn logreg_backward(
        &mut self,
        x: Tensor,
        labels: Tensor,
        smoothing: f64,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()>;

    /// As [`logreg_forward`](Device::logreg_forward) for x that are probabilities already: −Σ q·log max(x, 1e-30).
    fn cross_entropy_forward(&mut self, x: Tensor, labels: Tensor, smoothing: f64, metrics: Tensor) -> Result<()>;

    /// dx ← −coefficient·gradient_scale·q/max(x, 1e-30).
    fn cross_entropy_backward(
        &mut self,
        x: Tensor,
        labels: Tensor,
        smoothing: f64,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()>;

    /// As [`logreg_forward`](Device::logreg_forward) against a target of class probabilities t: adds −Σ t·log p of each counted
    /// image to the metrics, where p is softmax(x), or max(x, 1e-30) of x that are probabilities already. A class whose t is 0
    /// has no term. Errors are those against the first of t's largest.
    fn soft_cross_entropy_forward(&mut self, softmax: bool, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()>;

    /// dx ← coefficient·gradient_scale·(softmax(x)·Σt − t), or −coefficient·gradient_scale·t/max(x, 1e-30) of probabilities.
    #[allow(clippy::too_many_arguments)]
    fn soft_cross_entropy_backward(
        &mut self,
        softmax: bool,
        x: Tensor,
        target: Tensor,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()>;

    /// dt ← −coefficient·gradient_scale·log p: the target's gradient.
    fn soft_cross_entropy_target_backward(
        &mut self,
        softmax: bool,
        x: Tensor,
        coefficient: f64,
        dt: Tensor,
        into: Into,
    ) -> Result<()>;

    /// Adds −Σ w·t·log p + (1 − t)·log(1 − p) of each counted image's outputs to the metrics ([`Binary`] says what p is), and as
    /// its error the fraction of its outputs that are on the other side of ½ than their target; counts no top-5 errors.
    fn binary_cross_entropy_forward(&mut self, b: Binary, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()>;

    /// dx ← coefficient·gradient_scale·((1 − t)·σ(x) − w·t·σ(−x)) of a logistic neuron's input, or
    /// coefficient·gradient_scale·((1 − t)/max(1 − x, 1e-30) − w·t/max(x, 1e-30)) of probabilities.
    fn binary_cross_entropy_backward(
        &mut self,
        b: Binary,
        x: Tensor,
        target: Tensor,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()>;

    /// dt ← coefficient·gradient_scale·(log(1 − p) − w·log p): the target's gradient.
    fn binary_cross_entropy_target_backward(
        &mut self,
        b: Binary,
        x: Tensor,
        coefficient: f64,
        dt: Tensor,
        into: Into,
    ) -> Result<()>;

    /// Adds to counts, `[3][outputs of an image]` reals, over the counted images: true positives, false positives, false
    /// negatives. An output is declared positive where p > ½, and is where t > ½.
    fn count_detections(&mut self, b: Binary, x: Tensor, target: Tensor, counts: Tensor) -> Result<()>;

    /// Adds the [`Hinge`] loss of each counted image to the metrics, and its errors as
    /// [`logreg_forward`](Device::logreg_forward).
    fn hinge_forward(&mut self, h: Hinge, x: Tensor, labels: Tensor, metrics: Tensor) -> Result<()>;

    /// dx ← coefficient·gradient_scale·the gradient of [`hinge_forward`](Device::hinge_forward); 0 where a term is.
    fn hinge_backward(&mut self, h: Hinge, x: Tensor, labels: Tensor, coefficient: f64, dx: Tensor, into: Into) -> Result<()>;

    /// Adds the contrastive loss of each counted pair to the metrics: with d = ‖a − b‖, ½·d² where the label is not 0 (a pair of
    /// one class), ½·max(0, margin − d)² where it is (Hadsell et al. 2006). A pair of one class is an error from d = margin/2
    /// on, another one below that; counts no top-5 errors.
    fn contrastive_forward(&mut self, margin: f64, a: Tensor, b: Tensor, labels: Tensor, metrics: Tensor) -> Result<()>;

    /// da ← coefficient·gradient_scale·(a − b), or for another pair that times −max(0, margin − d)/d, 0 where d is. The gradient
    /// by b is the same with a and b changed.
    #[allow(clippy::too_many_arguments)]
    fn contrastive_backward(
        &mut self,
        margin: f64,
        a: Tensor,
        b: Tensor,
        labels: Tensor,
        coefficient: f64,
        da: Tensor,
        into: Into,
    ) -> Result<()>;

    /// Adds Σ (x − target)² over each counted image's elements to the metrics (cuda-convnet's sum2); without a target,
    /// Σ x². Counts no errors.
    fn squares_forward(&mut self, x: Tensor, target: Option<Tensor>, metrics: Tensor) -> Result<()>;

    /// dx ← coefficient·gradient_scale·2·(x − target), 0 for images that do not count.
    /// The gradient of the target is the same with the tensors' parts changed.
    fn squares_backward(&mut self, x: Tensor, target: Option<Tensor>, coefficient: f64, dx: Tensor, into: Into) -> Result<()>;

    /// y ← factor·x, or y += factor·x.
    fn scale(&mut self, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()>;

    /// The box of y ← the box of x (or += …), 0 where it reaches out of x; mirrored where the geometry says so. The rest of y
    /// stays as it is.
    fn copy_box(&mut self, g: &CopyGeometry, x: Tensor, y: Tensor, into: Into) -> Result<()>;

    /// y ← x at other places, bilinearly: y's cell (i, j) is x at row a + i·b and column c + j·d, held between x's first and last
    /// cell; the fraction between two cells is the share of the second. window: the reals a, b, c, d; b and d are above 0.
    fn resample_forward(&mut self, g: &ImageGeometry, window: Tensor, x: Tensor, y: Tensor) -> Result<()>;

    /// dx ← the gradient of [`resample_forward`](Device::resample_forward).
    fn resample_backward(&mut self, g: &ImageGeometry, window: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// window ← that of [`resample_forward`](Device::resample_forward) which scales all of x to r·p × r·q cells and takes p × q of
    /// them at a random place. r, from 1 to `most`, has a probability of (p·(r − 1) + 1)², about as many as there are such places
    /// (cuda-convnet2's); r and the place are of the numbers of (seed, step, layer).
    fn random_window(&mut self, layer: u32, g: &ImageGeometry, most: f64, window: Tensor) -> Result<()>;

    /// y ← L*a*b* of x, both of 3 channels: with (X, Y, Z) of the linear (R, G, B) and f(t) = ∛t above 0.0088564517, else
    /// 7.787037·t + 0.13793103, the channels 116·f(Y) − 16 − `centre`, 500·(f(X) − f(Y)) and 200·(f(Y) − f(Z)).
    fn lab_forward(&mut self, centre: f64, x: Tensor, y: Tensor) -> Result<()>;

    /// dx ← the gradient of [`lab_forward`](Device::lab_forward).
    fn lab_backward(&mut self, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// y ← a and b merged, or y += …; y may be a or b where it is set.
    fn merge(&mut self, merge: Merge, a: Tensor, b: Tensor, y: Tensor, into: Into) -> Result<()>;

    /// y ← max(a, b), where b is input number `number` of a maximum of several, 1 or more, and a is that of those before: which
    /// ← `number` where b is larger than a, elsewhere what it was, or 0 where `number` is 1. y may be a or b. which: real, as
    /// many as y's.
    fn max_forward(&mut self, number: u32, a: Tensor, b: Tensor, y: Tensor, which: Tensor) -> Result<()>;

    /// dx ← dy where which is `number`, 0 elsewhere (or dx += …): the gradient of input number `number`, from 0. dx may be dy.
    fn max_backward(&mut self, number: u32, which: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()>;

    /// x ← value, in every element.
    fn fill(&mut self, x: Tensor, value: f64) -> Result<()>;

    /// The momentum update of one parameter tensor: s = lr·rate·(g + decay·w + l1_decay·sign w), v ← momentum·v − s,
    /// w ← w + v; by Nesterov's rule w ← w + momentum·v − s with the new v (Sutskever et al. 2013, as Caffe and PyTorch
    /// have it). With a factor, one real, g is multiplied by it first: what [`clip_factor`](Device::clip_factor) made.
    fn sgd_update(&mut self, u: &Update, w: Tensor, g: Tensor, v: Tensor, factor: Option<Tensor>) -> Result<()>;

    /// sum ← Σ x² over all elements, one real (or sum += …).
    fn sum_squares(&mut self, x: Tensor, sum: Tensor, into: Into) -> Result<()>;

    /// factor ← min(1, limit/√sum), of one real each: what scales gradients whose squares sum up to `sum` to a norm of at
    /// most `limit` (Pascanu et al. 2013).
    fn clip_factor(&mut self, limit: f64, sum: Tensor, factor: Tensor) -> Result<()>;

    /// w[i] ← w[i]·min(1, limit/√(Σ w[i]²)) for each of the w.shape.n rows: weight vectors held to an L2 norm (Srebro and
    /// Shraibman 2005; Srivastava et al. 2014).
    fn limit_norms(&mut self, limit: f64, w: Tensor) -> Result<()>;

    /// mean ← (Σ |x|) / elements, one real.
    fn mean_abs(&mut self, x: Tensor, mean: Tensor, scratch: Tensor) -> Result<()>;
}

/// How batch normalisation takes its moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// The weight of a batch in the running mean and variance.
    pub momentum: f64,
}

/// How response normalisation weighs its window: s = k + alpha·Σ seen², y = x·s^−beta. alpha is of one element: a config's,
/// divided by the elements of a whole window.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Response {
    pub alpha: f64,
    pub beta: f64,
    pub k: f64,
}

/// What a pool makes of its window: `max`, `avg` or `l2` in a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolKind {
    /// The largest value.
    Max,
    /// The mean over the cells of the window that lie inside the image.
    Avg,
    /// The root of the sum of squares.
    L2,
}

impl PoolKind {
    /// Whether its gradient is computed from its input.
    pub const fn gradient_reads_input(self) -> bool {
        matches!(self, Self::Max | Self::L2)
    }

    /// Whether its gradient is computed from its output.
    pub const fn gradient_reads_output(self) -> bool {
        matches!(self, Self::L2)
    }
}
