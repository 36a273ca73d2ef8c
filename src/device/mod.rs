//! What a net needs from the machine it runs on: the [`Device`] trait, which runs [operations](crate::op), the tensors that they
//! are given, and the geometry of their windows. A device knows operations, shapes and places in its one allocation, never a
//! layer. Everything is queued in order; only [`Device::read`] waits.

pub mod cpu;
pub mod cuda;
mod geometry;
mod open;
pub mod philox;
mod precision;
mod tensor;

pub use geometry::{
    ConvGeometry, CopyGeometry, ImageGeometry, LrnGeometry, PoolGeometry, ProductGeometry, Rounding, Window, output_size,
};
pub use open::{DeviceInfo, list, open};
pub use precision::Precision;
pub use tensor::{Dtype, Location, Shape, Slot, Tensor};

use crate::op::{Access, Op, Operation};
use bytemuck::{Pod, Zeroable};

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

/// A recording of queued operations that a device can queue again at once: what [`Device::finish_recording`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphId(pub usize);

/// What a net needs from the machine it runs on. Calls are queued in order; [`read`](Device::read) is the only one that
/// waits. Tensors of one operation do not overlap unless it says that it works in place ([`Operation::shares`]).
///
/// The same operations give the same bits: sums have a fixed order, whatever the number of threads.
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

    /// Whether it has this form of an operation: a fused one, or one on tensors with gaps between their cells. Of the others
    /// it has all.
    fn supports(&self, op: &Op<Tensor>) -> bool;

    /// Bytes of scratch that an operation wants, wherever its tensors lie; 0 for most.
    fn scratch(&self, op: &Op<Tensor>) -> usize;

    /// Queues an operation. `scratch` is a tensor of at least [`scratch`](Device::scratch) bytes whose contents are undefined before
    /// and after.
    fn run(&mut self, op: &Op<Tensor>, scratch: Tensor) -> Result<()>;

    /// Copies host bytes into a tensor of exactly that many bytes.
    fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()>;

    /// Copies a tensor to the host, after everything queued before.
    fn read(&mut self, from: Tensor, bytes: &mut [u8]) -> Result<()>;

    /// As [`write`](Device::write), but beside the queue: the copy runs while earlier operations still do. It waits for the
    /// operations queued so far that read these tensors ([`LoadImages`](crate::op::LoadImages) and
    /// [`LoadLabels`](crate::op::LoadLabels)), and the next such operation waits for it.
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
}

/// How a device runs one operation: it has an implementation for each, in the file of the operation's family.
pub trait Run<O: Operation<Tensor>> {
    /// See [`Device::run`].
    fn run(&mut self, op: &O, scratch: Tensor) -> Result<()>;

    /// See [`Device::scratch`].
    fn scratch(&self, _op: &O) -> usize {
        0
    }

    /// See [`Device::supports`].
    fn supports(&self, op: &O) -> bool {
        let mut dense = true;
        op.operands(&mut |_: Access, t: &Tensor| dense &= t.is_dense());
        dense
    }
}
