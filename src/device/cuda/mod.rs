//! The CUDA device: every operation by a hand-written kernel of `kernels/`, on tensors of f32. One file an operation, under the
//! same name as its kernel file; this one holds the card, its queue and the net's allocation, and hands each call on.
//!
//! Calls queue kernels on one stream and return; batches are copied on a second one ([`feed`](Device::feed)); only
//! [`read`](Device::read) and [`write`](Device::write) wait. How work is cut into blocks and parts depends on the geometry and
//! the card's multiprocessors alone, and sums have a fixed order: the same card model gives the same bits.

mod available;
mod batch_norm;
mod bias;
mod binary_cross_entropy;
mod contrastive;
mod conv;
mod conv_hopper;
mod conv_mma;
mod copy;
mod cost;
mod driver;
mod drop_connect;
mod dropout;
mod elementwise;
mod embedded;
mod feed;
mod gemm;
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
mod operands;
mod parts;
mod pool;
mod prelu;
mod resample;
mod sgd;
mod soft_cross_entropy;
mod softmax;
mod step;

pub use available::{DeviceInfo, available};

use super::{
    BatchNorm, Binary, ConvGeometry, CopyGeometry, Device, DropConnect, Dtype, Error, GraphId, Hinge, ImageGeometry, Into,
    LrnGeometry, METRICS, Merge, Neuron, Op, PoolGeometry, PoolKind, Precision, Product, Response, Result, StepValues, Tensor,
    Update,
};
use cudarc::driver::sys::CUresult;
use driver::{Address, Argument, Context, Failure, Function, Graph, Grid, Memory, Module, Stream};
use std::collections::HashMap;
use std::rc::Rc;

// SAFETY: #[repr(C)] of 32-bit integers; kernels/common.cuh defines it with the same fields and checks its size.
unsafe impl Argument for ConvGeometry {}
// SAFETY: as above.
unsafe impl Argument for PoolGeometry {}
// SAFETY: as above.
unsafe impl Argument for ImageGeometry {}
// SAFETY: as above.
unsafe impl Argument for CopyGeometry {}
// SAFETY: as above.
unsafe impl Argument for LrnGeometry {}
// SAFETY: as above, in kernels/gemm.cu.
unsafe impl Argument for Product {}

/// The kernels, by file: each file of operations lists those that it launches.
const KERNELS: &[(&str, &[&str])] = &[
    ("batch_norm", batch_norm::KERNELS),
    ("bias", bias::KERNELS),
    ("binary_cross_entropy", binary_cross_entropy::KERNELS),
    ("contrastive", contrastive::KERNELS),
    ("conv", conv::KERNELS),
    ("conv_mma", conv_mma::KERNELS),
    ("copy", copy::KERNELS),
    ("cost", cost::KERNELS),
    ("drop_connect", drop_connect::KERNELS),
    ("dropout", dropout::KERNELS),
    ("elementwise", elementwise::KERNELS),
    ("gemm", gemm::KERNELS),
    ("hinge", hinge::KERNELS),
    ("images", images::KERNELS),
    ("lab", lab::KERNELS),
    ("merge", merge::KERNELS),
    ("local", local::KERNELS),
    ("lrn", lrn::KERNELS),
    ("merge", merge::KERNELS),
    ("neuron", neuron::KERNELS),
    ("noisy_relu", noisy_relu::KERNELS),
    ("noise", noise::KERNELS),
    ("norm", norm::KERNELS),
    ("operands", operands::KERNELS),
    ("parts", parts::KERNELS),
    ("pool", pool::KERNELS),
    ("prelu", prelu::KERNELS),
    ("resample", resample::KERNELS),
    ("sgd", sgd::KERNELS),
    ("soft_cross_entropy", soft_cross_entropy::KERNELS),
    ("softmax", softmax::KERNELS),
];

/// Blocks whose shares of two sums have a place on the card (see `shares`).
const MOST_SHARES: usize = 1024;

/// A recorded step.
struct Recording {
    graph: Graph,
    loads: bool,
}

/// A GPU as a [`Device`] whose reals are f32. It stays on the thread that made it.
pub struct CudaDevice {
    info: DeviceInfo,
    /// Of convolutions and products.
    precision: Precision,
    /// See [`CudaDevice::always_wgmma`].
    always_wgmma: bool,
    context: Rc<Context>,
    stream: Stream,
    kernels: HashMap<&'static str, Function>,
    /// Keeps the kernels loaded.
    _modules: Vec<Module>,
    arena: Option<Memory>,
    step: step::Step,
    feed: feed::Feed,
    /// Partial sums of operations that are given no scratch.
    shares: Memory,
    recordings: Vec<Recording>,
    /// While recording: whether images or labels were loaded.
    recording: Option<bool>,
}

impl CudaDevice {
    /// The card of this number: the 0 of `cuda:0`.
    pub fn new(ordinal: usize) -> Result<Self> {
        let (card, info) = available::open(ordinal)?;
        let name = name(&info);
        let failed = |failure: Failure| Error::Failed { device: name.clone(), what: format!("starting: {failure}") };
        let context = Context::new(card).map_err(failed)?;
        let stream = Stream::new(&context).map_err(failed)?;
        let (mut modules, mut kernels) = (Vec::new(), HashMap::new());
        // Of capability 9.0 alone, and only where this build's nvcc knew it.
        let hopper = ("conv_hopper", conv_hopper::KERNELS);
        let has_hopper =
            info.capability == (9, 0) && embedded::FATBINS.iter().any(|(name, _)| *name == hopper.0) && driver::has_tensor_maps();
        for &(file, names) in KERNELS.iter().chain(has_hopper.then_some(&hopper)) {
            let fatbin = embedded::FATBINS.iter().find(|(name, _)| *name == file).ok_or_else(|| Error::Failed {
                device: name.clone(),
                what: format!("this program does not hold the kernels of {file}.cu"),
            })?;
            let failed = |failure| Error::Failed { device: name.clone(), what: format!("loading {file}.cu: {failure}") };
            let module = Module::new(&context, &fatbin.1.0).map_err(failed)?;
            for &kernel in names {
                let failed =
                    |failure| Error::Failed { device: name.clone(), what: format!("loading {kernel} of {file}.cu: {failure}") };
                let function = module.function(kernel).and_then(|function| match conv_hopper::shared(kernel) {
                    0 => Ok(function),
                    bytes => function.with_shared(bytes),
                });
                kernels.insert(kernel, function.map_err(failed)?);
            }
            modules.push(module);
        }
        Ok(Self {
            step: step::Step::new(&context, &stream).map_err(failed)?,
            feed: feed::Feed::new(&context).map_err(failed)?,
            shares: Memory::new(&context, 2 * MOST_SHARES * size_of::<f32>()).map_err(failed)?,
            info,
            precision: Precision::F32,
            always_wgmma: false,
            context,
            stream,
            kernels,
            _modules: modules,
            arena: None,
            recordings: Vec::new(),
            recording: None,
        })
    }

    /// What is known of the card.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Whether it has wgmma and bulk tensor copies, and this program the kernels that use them.
    pub fn has_wgmma(&self) -> bool {
        self.kernels.contains_key(conv_hopper::KERNELS[0])
    }

    /// From here on, convolutions and products that can be computed by wgmma are, even where another kernel should be faster:
    /// for tests of those kernels. Without them nothing changes. To be called before a net is planned, as scratch depends on it.
    pub fn always_wgmma(&mut self) {
        self.always_wgmma = true;
    }

    fn failed(&self, what: impl std::fmt::Display) -> Error {
        Error::Failed { device: self.name(), what: what.to_string() }
    }

    /// Names what was being done when a call failed.
    fn answer<T>(&self, doing: &str, answer: Result<T, Failure>) -> Result<T> {
        answer.map_err(|failure| self.failed(format_args!("{doing}: {failure}")))
    }

    /// Where a tensor lies, all of which the net's allocation must hold.
    fn at(&self, t: Tensor) -> Result<Address> {
        let place = self.arena.as_ref().and_then(|arena| arena.at(t.slot.0, t.bytes()));
        place.ok_or_else(|| self.failed(format_args!("{t:?} is not in the net's {} bytes", self.allocated())))
    }

    /// Where a tensor of reals of so many elements lies.
    fn reals(&self, t: Tensor, elements: usize) -> Result<Address> {
        if t.dtype != Dtype::F32 || t.shape.elements() != elements {
            return Err(self.failed(format_args!("{t:?} is not {elements} f32")));
        }
        self.at(t)
    }

    /// Where scratch of at least so many bytes lies.
    fn scratch_at(&self, t: Tensor, bytes: usize) -> Result<Address> {
        if bytes == 0 {
            return Ok(Address::NULL);
        }
        if t.bytes() < bytes {
            return Err(self.failed(format_args!("{t:?} is not the {bytes} bytes of scratch that were asked for")));
        }
        self.at(t)
    }

    /// Queues a kernel: `arguments` are its parameters. Nothing is queued for an empty grid.
    fn launch(&self, kernel: &'static str, grid: Grid, arguments: &[&dyn Argument]) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let function = self.kernels.get(kernel).ok_or_else(|| self.failed(format_args!("there is no kernel {kernel}")))?;
        // SAFETY: the files of operations are the only callers. Each gives a kernel the parameters that its definition in
        // the .cu of the same name lists, addresses from `at` and the like, which hold the tensors that the geometry speaks
        // of; the conformance table runs every one of them under the emulator, which checks each access.
        let answer = unsafe { self.stream.launch(*function, grid, arguments) };
        self.answer(kernel, answer)
    }

    /// A grid for `items` that a kernel's threads take by themselves, in a loop: enough to fill the card a few times.
    fn over(&self, items: usize) -> Grid {
        Grid { blocks: [items.div_ceil(256).min(self.info.multiprocessors * 32) as u32, 1, 1], threads: 256 }
    }

    /// A grid of one warp an image, in blocks of 128 threads.
    fn warps(&self, images: usize) -> Grid {
        Grid { blocks: [images.div_ceil(4) as u32, 1, 1], threads: 128 }
    }

    /// Blocks that sum up so many elements, each a share for the second pass.
    fn share_blocks(&self, elements: usize) -> usize {
        elements.div_ceil(4096).clamp(1, MOST_SHARES.min(self.info.multiprocessors * 4))
    }

    fn not_recording(&self, doing: &str) -> Result<()> {
        match self.recording {
            None => Ok(()),
            Some(_) => Err(self.failed(format_args!("{doing} cannot be part of a recording"))),
        }
    }

    /// Runs what queues loads, ordered with what is fed.
    fn loading(&mut self, queue: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if let Some(loads) = &mut self.recording {
            *loads = true; // the replay keeps the order
            return queue(self);
        }
        self.answer("load", self.feed.before_load(&self.stream))?;
        queue(self)?;
        self.answer("load", self.feed.after_load(&self.stream))
    }
}

/// As in `cuda:0 (NVIDIA H100)`.
fn name(info: &DeviceInfo) -> String {
    format!("cuda:{} ({})", info.ordinal, info.name)
}

/// Whether all of these allow 16-byte accesses: what kernels call `vector`.
fn vector(addresses: &[Address]) -> i32 {
    i32::from(addresses.iter().all(|address| address.on_16_bytes()))
}

/// What kernels call `add`.
fn add(into: Into) -> i32 {
    i32::from(into == Into::Add)
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // What is queued may use what goes away now.
        let _ = (self.stream.wait(), self.feed.wait());
    }
}

impl Device for CudaDevice {
    fn name(&self) -> String {
        name(&self.info)
    }

    fn real(&self) -> Dtype {
        Dtype::F32
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn set_precision(&mut self, wanted: Option<Precision>) -> Precision {
        self.precision = match wanted.unwrap_or(Precision::Tf32) {
            _ if self.info.capability < (8, 0) => Precision::F32,
            wanted => wanted,
        };
        self.precision
    }

    fn allocate(&mut self, bytes: usize) -> Result<()> {
        self.not_recording("an allocation")?;
        self.answer("allocate", self.stream.wait())?;
        self.recordings.clear();
        self.arena = None;
        let arena = match Memory::new(&self.context, bytes) {
            Err(Failure { code: CUresult::CUDA_ERROR_OUT_OF_MEMORY, .. }) => {
                let free = self.context.free().unwrap_or(0);
                return Err(Error::OutOfMemory { device: self.name(), asked: bytes, free });
            }
            answer => self.answer("allocate", answer)?,
        };
        self.answer("allocate", self.stream.clear(&arena).and_then(|()| self.stream.wait()))?;
        self.arena = Some(arena);
        Ok(())
    }

    fn allocated(&self) -> usize {
        self.arena.as_ref().map_or(0, Memory::bytes)
    }

    fn scratch(&self, op: &Op) -> usize {
        match op {
            Op::LocalBackwardFilters(_) | Op::MeanAbs(_) => 0,
            Op::ConvForward(g) => conv::forward_scratch(self, g),
            Op::ConvBackwardImage(g) => conv::backward_image_scratch(self, g),
            Op::LocalForward(g) => local::forward_scratch(self, g),
            Op::LocalBackwardImage(g) => local::backward_image_scratch(self, g),
            Op::ConvBackwardFilters(g) => conv::backward_filters_scratch(self, g),
            Op::Product(p) => gemm::scratch(self, p),
            Op::PreluBackwardSlope(x, _) => prelu::scratch(self, *x),
            Op::BiasBackward(dy, db) => bias::scratch(self, *dy, *db),
            Op::BatchNorm(x) => batch_norm::scratch(self, *x),
            Op::LrnBackward(g) => lrn::backward_scratch(g),
        }
    }

    fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()> {
        self.not_recording("a write")?;
        let at = self.at(to)?;
        if bytes.len() != to.bytes() {
            return Err(self.failed(format_args!("{} bytes were given to {to:?}", bytes.len())));
        }
        let copy = || {
            self.feed.wait()?;
            self.stream.copy_in(at, bytes)?;
            self.stream.wait()
        };
        self.answer("write", copy())
    }

    fn read(&mut self, from: Tensor, bytes: &mut [u8]) -> Result<()> {
        self.not_recording("a read")?;
        let at = self.at(from)?;
        if bytes.len() != from.bytes() {
            return Err(self.failed(format_args!("{} bytes were asked of {from:?}", bytes.len())));
        }
        let mut copy = || {
            self.feed.before_load(&self.stream)?;
            self.stream.copy_out(at, bytes)
        };
        self.answer("read", copy())
    }

    fn feed(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()> {
        let mut placed = Vec::with_capacity(parts.len());
        for &(to, bytes) in parts {
            if bytes.len() != to.bytes() {
                return Err(self.failed(format_args!("{} bytes were given to {to:?}", bytes.len())));
            }
            placed.push((self.at(to)?, bytes));
        }
        let answer = self.feed.copy(&placed);
        self.answer("feed", answer)
    }

    fn set_step(&mut self, values: StepValues) -> Result<()> {
        self.not_recording("setting the step")?;
        let answer = self.step.set(&values, &self.stream);
        self.answer("set_step", answer)
    }

    fn record(&mut self) -> Result<bool> {
        self.not_recording("a recording")?;
        self.answer("record", self.stream.begin_recording())?;
        self.recording = Some(false);
        Ok(true)
    }

    fn finish_recording(&mut self) -> Result<Option<GraphId>> {
        let Some(loads) = self.recording.take() else { return Ok(None) };
        let graph = self.answer("finish_recording", self.stream.end_recording())?;
        self.recordings.push(Recording { graph, loads });
        Ok(Some(GraphId(self.recordings.len() - 1)))
    }

    fn replay(&mut self, graph: GraphId) -> Result<()> {
        self.not_recording("a replay")?;
        let Some(Recording { graph, loads }) = self.recordings.get(graph.0) else {
            return Err(self.failed(format_args!("{graph:?} was not recorded here")));
        };
        let replay = || {
            if *loads {
                self.feed.before_load(&self.stream)?;
            }
            self.stream.replay(graph)?;
            if *loads { self.feed.after_load(&self.stream) } else { Ok(()) }
        };
        self.answer("replay", replay())
    }

    fn load_images(&mut self, g: &ImageGeometry, x: Tensor, places: Tensor, mean: Tensor, scale: f64, y: Tensor) -> Result<()> {
        self.loading(|d| images::load(d, g, x, places, mean, scale, y))
    }

    fn load_labels(&mut self, x: Tensor, y: Tensor) -> Result<()> {
        self.loading(|d| {
            if x.bytes() != y.bytes() {
                return Err(d.failed(format_args!("{x:?} and {y:?} differ in size")));
            }
            d.answer("load_labels", d.stream.copy(d.at(x)?, d.at(y)?, x.bytes()))
        })
    }

    fn conv_forward(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        neuron: Neuron,
        y: Tensor,
        scratch: Tensor,
    ) -> Result<()> {
        conv::forward(self, g, x, w, b, neuron, y, scratch)
    }

    fn conv_backward_image(
        &mut self,
        g: &ConvGeometry,
        dy: Tensor,
        w: Tensor,
        dx: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        conv::backward_image(self, g, dy, w, dx, into, scratch)
    }

    fn conv_backward_filters(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        dy: Tensor,
        dw: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        conv::backward_filters(self, g, x, dy, dw, into, scratch)
    }

    fn local_forward(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        neuron: Neuron,
        y: Tensor,
        scratch: Tensor,
    ) -> Result<()> {
        local::forward(self, g, x, w, b, neuron, y, scratch)
    }

    fn local_backward_image(
        &mut self,
        g: &ConvGeometry,
        dy: Tensor,
        w: Tensor,
        dx: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        local::backward_image(self, g, dy, w, dx, into, scratch)
    }

    fn local_backward_filters(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        dy: Tensor,
        dw: Tensor,
        into: Into,
        _scratch: Tensor,
    ) -> Result<()> {
        local::backward_filters(self, g, x, dy, dw, into)
    }

    fn bias_backward(&mut self, dy: Tensor, db: Tensor, into: Into, scratch: Tensor) -> Result<()> {
        bias::backward(self, dy, db, into, scratch)
    }

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
    ) -> Result<()> {
        gemm::product(self, p, a, b, bias, neuron, c, into, scratch)
    }

    fn pool_forward(&mut self, g: &PoolGeometry, kind: PoolKind, x: Tensor, y: Tensor) -> Result<()> {
        pool::forward(self, g, kind, x, y)
    }

    fn pool_backward(
        &mut self,
        g: &PoolGeometry,
        kind: PoolKind,
        x: Tensor,
        y: Tensor,
        dy: Tensor,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        pool::backward(self, g, kind, [x, y, dy], dx, into)
    }

    fn lrn_forward(&mut self, g: &LrnGeometry, r: &Response, x: Tensor, seen: Tensor, y: Tensor) -> Result<()> {
        lrn::forward(self, g, r, x, seen, y)
    }

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
    ) -> Result<()> {
        lrn::backward(self, g, r, [x, seen, dy], dx, into, dseen, scratch)
    }

    fn batch_norm_moments(
        &mut self,
        b: &BatchNorm,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        kept: Tensor,
        scratch: Tensor,
    ) -> Result<()> {
        batch_norm::moments(self, b, x, [mean, variance], kept, scratch)
    }

    fn batch_norm_running(&mut self, epsilon: f64, mean: Tensor, variance: Tensor, kept: Tensor) -> Result<()> {
        batch_norm::running(self, epsilon, mean, variance, kept)
    }

    fn batch_norm_apply(
        &mut self,
        kept: Tensor,
        affine: Option<(Tensor, Tensor)>,
        neuron: Neuron,
        x: Tensor,
        y: Tensor,
    ) -> Result<()> {
        batch_norm::apply(self, kept, affine, neuron, x, y)
    }

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
    ) -> Result<()> {
        batch_norm::backward(self, x, kept, gamma, dy, dgamma, dbeta, dx, scratch)
    }

    fn neuron_forward(&mut self, neuron: Neuron, x: Tensor, y: Tensor) -> Result<()> {
        neuron::forward(self, neuron, x, y)
    }

    fn neuron_backward(&mut self, neuron: Neuron, seen: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        neuron::backward(self, neuron, seen, dy, dx, into)
    }

    fn noisy_relu_forward(&mut self, layer: u32, x: Tensor, y: Tensor) -> Result<()> {
        noisy_relu::forward(self, layer, x, y)
    }

    fn noisy_relu_backward(&mut self, layer: u32, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        noisy_relu::backward(self, layer, x, dy, dx, into)
    }

    fn prelu_forward(&mut self, x: Tensor, slope: Tensor, y: Tensor) -> Result<()> {
        prelu::forward(self, x, slope, y)
    }

    fn prelu_backward(&mut self, x: Tensor, slope: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        prelu::backward(self, x, slope, dy, dx, into)
    }

    fn prelu_backward_slope(&mut self, x: Tensor, dy: Tensor, dslope: Tensor, into: Into, scratch: Tensor) -> Result<()> {
        prelu::backward_slope(self, x, dy, dslope, into, scratch)
    }

    fn dropout(&mut self, layer: u32, keep: f64, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()> {
        dropout::apply(self, layer, keep, factor, x, y, into)
    }

    fn drop_connect_forward(
        &mut self,
        m: &DropConnect,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        y: Tensor,
        into: Into,
    ) -> Result<()> {
        drop_connect::forward(self, m, x, w, b, y, into)
    }

    fn drop_connect_backward_input(&mut self, m: &DropConnect, dy: Tensor, w: Tensor, dx: Tensor, into: Into) -> Result<()> {
        drop_connect::backward_input(self, m, dy, w, dx, into)
    }

    fn drop_connect_backward_weights(&mut self, m: &DropConnect, x: Tensor, dy: Tensor, dw: Tensor, into: Into) -> Result<()> {
        drop_connect::backward_weights(self, m, x, dy, dw, into)
    }

    fn noise(&mut self, layer: u32, std: f64, x: Tensor, y: Tensor) -> Result<()> {
        noise::add(self, layer, std, x, y)
    }

    fn softmax_forward(&mut self, x: Tensor, y: Tensor) -> Result<()> {
        softmax::forward(self, x, y)
    }

    fn softmax_backward(&mut self, y: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        softmax::backward(self, y, dy, dx, into)
    }

    fn one_hot(&mut self, labels: Tensor, smoothing: f64, y: Tensor) -> Result<()> {
        cost::one_hot(self, labels, smoothing, y)
    }

    fn logreg_forward(&mut self, x: Tensor, labels: Tensor, smoothing: f64, metrics: Tensor) -> Result<()> {
        cost::of_labels_forward(self, "logreg_forward", x, labels, smoothing, metrics)
    }

    fn logreg_backward(
        &mut self,
        x: Tensor,
        labels: Tensor,
        smoothing: f64,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        cost::logreg_backward(self, x, labels, smoothing, coefficient, dx, into)
    }

    fn cross_entropy_forward(&mut self, x: Tensor, labels: Tensor, smoothing: f64, metrics: Tensor) -> Result<()> {
        cost::of_labels_forward(self, "cross_entropy_forward", x, labels, smoothing, metrics)
    }

    fn cross_entropy_backward(
        &mut self,
        x: Tensor,
        labels: Tensor,
        smoothing: f64,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        cost::cross_entropy_backward(self, x, labels, smoothing, coefficient, dx, into)
    }

    fn soft_cross_entropy_forward(&mut self, softmax: bool, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()> {
        soft_cross_entropy::forward(self, softmax, x, target, metrics)
    }

    fn soft_cross_entropy_backward(
        &mut self,
        softmax: bool,
        x: Tensor,
        target: Tensor,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        soft_cross_entropy::backward(self, softmax, x, target, coefficient, dx, into)
    }

    fn soft_cross_entropy_target_backward(
        &mut self,
        softmax: bool,
        x: Tensor,
        coefficient: f64,
        dt: Tensor,
        into: Into,
    ) -> Result<()> {
        soft_cross_entropy::target_backward(self, softmax, x, coefficient, dt, into)
    }

    fn binary_cross_entropy_forward(&mut self, b: Binary, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()> {
        binary_cross_entropy::forward(self, b, x, target, metrics)
    }

    fn binary_cross_entropy_backward(
        &mut self,
        b: Binary,
        x: Tensor,
        target: Tensor,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        binary_cross_entropy::backward(self, b, x, target, coefficient, dx, into)
    }

    fn binary_cross_entropy_target_backward(
        &mut self,
        b: Binary,
        x: Tensor,
        coefficient: f64,
        dt: Tensor,
        into: Into,
    ) -> Result<()> {
        binary_cross_entropy::target_backward(self, b, x, coefficient, dt, into)
    }

    fn count_detections(&mut self, b: Binary, x: Tensor, target: Tensor, counts: Tensor) -> Result<()> {
        binary_cross_entropy::count_detections(self, b, x, target, counts)
    }

    fn hinge_forward(&mut self, h: Hinge, x: Tensor, labels: Tensor, metrics: Tensor) -> Result<()> {
        hinge::forward(self, h, x, labels, metrics)
    }

    fn hinge_backward(&mut self, h: Hinge, x: Tensor, labels: Tensor, coefficient: f64, dx: Tensor, into: Into) -> Result<()> {
        hinge::backward(self, h, x, labels, coefficient, dx, into)
    }

    fn contrastive_forward(&mut self, margin: f64, a: Tensor, b: Tensor, labels: Tensor, metrics: Tensor) -> Result<()> {
        contrastive::forward(self, margin, a, b, labels, metrics)
    }

    fn contrastive_backward(
        &mut self,
        margin: f64,
        a: Tensor,
        b: Tensor,
        labels: Tensor,
        coefficient: f64,
        da: Tensor,
        into: Into,
    ) -> Result<()> {
        contrastive::backward(self, margin, a, b, labels, coefficient, da, into)
    }

    fn squares_forward(&mut self, x: Tensor, target: Option<Tensor>, metrics: Tensor) -> Result<()> {
        cost::squares_forward(self, x, target, metrics)
    }

    fn squares_backward(&mut self, x: Tensor, target: Option<Tensor>, coefficient: f64, dx: Tensor, into: Into) -> Result<()> {
        cost::squares_backward(self, x, target, coefficient, dx, into)
    }

    fn scale(&mut self, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()> {
        elementwise::scale(self, factor, x, y, into)
    }

    fn copy_box(&mut self, g: &CopyGeometry, x: Tensor, y: Tensor, into: Into) -> Result<()> {
        copy::copy_box(self, g, x, y, into)
    }

    fn resample_forward(&mut self, g: &ImageGeometry, window: Tensor, x: Tensor, y: Tensor) -> Result<()> {
        resample::forward(self, g, window, x, y)
    }

    fn resample_backward(&mut self, g: &ImageGeometry, window: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        resample::backward(self, g, window, dy, dx, into)
    }

    fn random_window(&mut self, layer: u32, g: &ImageGeometry, most: f64, window: Tensor) -> Result<()> {
        resample::random_window(self, layer, g, most, window)
    }

    fn lab_forward(&mut self, centre: f64, x: Tensor, y: Tensor) -> Result<()> {
        lab::forward(self, centre, x, y)
    }

    fn lab_backward(&mut self, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        lab::backward(self, x, dy, dx, into)
    }

    fn merge(&mut self, merge: Merge, a: Tensor, b: Tensor, y: Tensor, into: Into) -> Result<()> {
        merge::merge(self, merge, a, b, y, into)
    }

    fn max_forward(&mut self, number: u32, a: Tensor, b: Tensor, y: Tensor, which: Tensor) -> Result<()> {
        merge::max_forward(self, number, a, b, y, which)
    }

    fn max_backward(&mut self, number: u32, which: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        merge::max_backward(self, number, which, dy, dx, into)
    }

    fn fill(&mut self, x: Tensor, value: f64) -> Result<()> {
        elementwise::fill(self, x, value)
    }

    fn sgd_update(&mut self, u: &Update, w: Tensor, g: Tensor, v: Tensor, factor: Option<Tensor>) -> Result<()> {
        sgd::update(self, u, w, g, v, factor)
    }

    fn sum_squares(&mut self, x: Tensor, sum: Tensor, into: Into) -> Result<()> {
        norm::sum_squares(self, x, sum, into)
    }

    fn clip_factor(&mut self, limit: f64, sum: Tensor, factor: Tensor) -> Result<()> {
        norm::clip_factor(self, limit, sum, factor)
    }

    fn limit_norms(&mut self, limit: f64, w: Tensor) -> Result<()> {
        norm::limit_norms(self, limit, w)
    }

    fn mean_abs(&mut self, x: Tensor, mean: Tensor, _scratch: Tensor) -> Result<()> {
        elementwise::mean_abs(self, x, mean)
    }
}

/// Checks a metrics tensor.
fn metrics_at(d: &CudaDevice, metrics: Tensor) -> Result<Address> {
    d.reals(metrics, METRICS)
}
