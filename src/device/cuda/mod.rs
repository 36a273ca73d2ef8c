//! The CUDA device: every operation by a hand-written kernel of `kernels/`, on tensors of f32. Each family of operations has a
//! file, named as its kernel file is; this one holds the card, its queue and the net's allocation.
//!
//! Operations queue kernels on one stream and return; batches are copied on a second one ([`feed`](Device::feed)); only
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
    ConvGeometry, CopyGeometry, Device, Dtype, Error, GraphId, ImageGeometry, LrnGeometry, PoolGeometry, Precision,
    ProductGeometry, Result, StepValues, Tensor,
};
use crate::op::{Op, Operation, Target};
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
unsafe impl Argument for ProductGeometry {}

/// The most blocks that `share_blocks` answers: the card has room for a share of two sums from each.
const MAX_SHARES: usize = 1024;

/// A recorded step.
struct Recording {
    graph: Graph,
    loads: bool,
}

/// Where the cells of a tensor lie: the first, and elements from one to the next.
#[derive(Clone, Copy)]
struct Cells {
    at: Address,
    pitch: i32,
}

impl Cells {
    const NULL: Self = Self { at: Address::NULL, pitch: 0 };

    /// Whether every cell begins on 16 bytes.
    fn on_16_bytes(&self) -> bool {
        self.at.on_16_bytes() && self.pitch % 4 == 0
    }
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
    /// Partial sums of operations that take no scratch: two for each block.
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
        let has_hopper = info.capability == (9, 0) && driver::has_tensor_maps();
        for file in embedded::FILES.iter().filter(|file| has_hopper || file.name != conv_hopper::FILE) {
            let failed = |what: &str, failure| Error::Failed {
                device: name.clone(),
                what: format!("loading {what}{}.cu: {failure}", file.name),
            };
            let module = Module::new(&context, &file.fatbin.0).map_err(|failure| failed("", failure))?;
            for &kernel in file.kernels {
                let function = module.function(kernel).and_then(|function| match conv_hopper::shared(kernel) {
                    0 => Ok(function),
                    bytes => function.with_shared(bytes),
                });
                kernels.insert(kernel, function.map_err(|failure| failed(&format!("{kernel} of "), failure))?);
            }
            modules.push(module);
        }
        Ok(Self {
            step: step::Step::new(&context, &stream).map_err(failed)?,
            feed: feed::Feed::new(&context).map_err(failed)?,
            shares: Memory::new(&context, 2 * MAX_SHARES * size_of::<f32>()).map_err(failed)?,
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
        self.kernels.contains_key(conv_hopper::TRANSPOSE)
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

    /// Where a tensor lies: without gaps, and all of it in the net's allocation.
    fn at(&self, t: Tensor) -> Result<Address> {
        if !t.is_dense() {
            return Err(self.failed(format_args!("{t:?} has gaps between its cells")));
        }
        self.place(t)
    }

    /// Where a tensor lies, with or without gaps.
    fn place(&self, t: Tensor) -> Result<Address> {
        let place = self.arena.as_ref().and_then(|arena| arena.at(t.slot.0, t.span()));
        place.ok_or_else(|| self.failed(format_args!("{t:?} is not in the net's {} bytes", self.allocated())))
    }

    /// Where a tensor of `elements` reals lies.
    fn reals(&self, t: Tensor, elements: usize) -> Result<Address> {
        self.check(t, elements)?;
        self.at(t)
    }

    fn check(&self, t: Tensor, elements: usize) -> Result<()> {
        if t.dtype == Dtype::F32 && t.shape.elements() == elements {
            return Ok(());
        }
        Err(self.failed(format_args!("{t:?} is not {elements} f32")))
    }

    /// Where the cells of a tensor of `elements` reals lie, with or without gaps.
    fn cells(&self, t: Tensor, elements: usize) -> Result<Cells> {
        self.check(t, elements)?;
        Ok(Cells { at: self.place(t)?, pitch: t.pitch as i32 })
    }

    /// The address of a tensor of `elements` reals, whose cells may have gaps; null if the tensor is missing.
    fn maybe_cells(&self, t: Option<Tensor>, elements: usize) -> Result<Cells> {
        t.map_or(Ok(Cells::NULL), |t| self.cells(t, elements))
    }

    /// Where several tensors of `elements` reals lie.
    fn all_reals<const N: usize>(&self, tensors: [Tensor; N], elements: usize) -> Result<[Address; N]> {
        let mut places = [Address::NULL; N];
        for (place, t) in places.iter_mut().zip(tensors) {
            *place = self.reals(t, elements)?;
        }
        Ok(places)
    }

    /// The address of a tensor of `elements` reals; null if the tensor is missing.
    fn maybe_reals(&self, t: Option<Tensor>, elements: usize) -> Result<Address> {
        t.map_or(Ok(Address::NULL), |t| self.reals(t, elements))
    }

    /// Where an operand of `elements` reals lies; null if it is not read. One that is read must be there.
    fn reals_if(&self, is_read: bool, t: Option<Tensor>, elements: usize) -> Result<Address> {
        match t.filter(|_| is_read) {
            None if is_read => Err(self.failed("an operand that is read is missing")),
            t => self.maybe_reals(t, elements),
        }
    }

    /// Where scratch of at least `bytes` bytes lies.
    fn scratch_at(&self, t: Tensor, bytes: usize) -> Result<Address> {
        if bytes == 0 {
            return Ok(Address::NULL);
        }
        if t.bytes() < bytes {
            return Err(self.failed(format_args!("{t:?} is less than the {bytes} bytes of scratch that were asked for")));
        }
        self.at(t)
    }

    /// Queues a kernel: `arguments` are its parameters. Nothing is queued for an empty grid.
    fn launch(&self, kernel: &str, grid: Grid, arguments: &[&dyn Argument]) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let function = self.kernels.get(kernel).ok_or_else(|| self.failed(format_args!("there is no kernel {kernel}")))?;
        // SAFETY: the families' files are the only callers. Each passes a kernel the parameters that its definition in the .cu
        // of the same name lists, addresses from `at` and the like, which hold the tensors that the geometry describes; the
        // conformance table runs every one of them under the emulator, which checks each access.
        let answer = unsafe { self.stream.launch(*function, grid, arguments) };
        self.answer(kernel, answer)
    }

    /// A grid for `items` that a kernel's threads loop over: enough blocks to fill the card a few times.
    fn over(&self, items: usize) -> Grid {
        Grid { blocks: [items.div_ceil(256).min(self.info.multiprocessors * 32) as u32, 1, 1], threads: 256 }
    }

    /// A grid of one warp an image, in blocks of 128 threads.
    fn warps(&self, images: usize) -> Grid {
        Grid { blocks: [images.div_ceil(4) as u32, 1, 1], threads: 128 }
    }

    /// Blocks that sum up `elements` elements, each a share for the second pass.
    fn share_blocks(&self, elements: usize) -> usize {
        elements.div_ceil(4096).clamp(1, MAX_SHARES.min(self.info.multiprocessors * 4))
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

/// Whether the operands of an operation have no gaps, apart from those that `may` says can have them. Gaps must leave the width of
/// accesses as it is without them: what is cut into parts by it has the same bits then.
fn gaps_only(op: &impl Operation<Tensor>, may: &[&str]) -> bool {
    let mut fit = true;
    op.named_operands(&mut |name, _, t| {
        let wide = !t.shape.c.is_multiple_of(4) || t.pitch.is_multiple_of(4) && t.slot.0.is_multiple_of(16);
        fit &= t.is_dense() || wide && may.contains(&name);
    });
    fit
}

/// Whether the operands of an operation have no gaps.
fn is_dense(op: &impl Operation<Tensor>) -> bool {
    gaps_only(op, &[])
}

/// Whether all of these allow 16-byte accesses: what kernels call `vector`.
fn vector(addresses: &[Address]) -> i32 {
    i32::from(addresses.iter().all(|address| address.on_16_bytes()))
}

/// What kernels call `add`.
fn add(result: &Target<Tensor>) -> i32 {
    i32::from(result.adds())
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

    fn supports(&self, op: &Op<Tensor>) -> bool {
        op.is_supported_by(self)
    }

    fn scratch(&self, op: &Op<Tensor>) -> usize {
        op.scratch_on(self)
    }

    fn run(&mut self, op: &Op<Tensor>, scratch: Tensor) -> Result<()> {
        op.run_on(self, scratch)
    }

    fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()> {
        self.not_recording("a write")?;
        let at = self.at(to)?;
        if bytes.len() != to.bytes() {
            return Err(self.failed(format_args!("{} bytes cannot be written to {to:?}", bytes.len())));
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
            return Err(self.failed(format_args!("{} bytes cannot be read from {from:?}", bytes.len())));
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
                return Err(self.failed(format_args!("{} bytes cannot be written to {to:?}", bytes.len())));
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
}
