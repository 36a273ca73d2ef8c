//! Operations as data: what a step of a net is made of. An operation is a struct, written once, in the file of its family; it
//! says which tensors it reads and writes, which it may write in the place of others, and how many multiply-adds it costs.
//! Layers push operations onto a tape, on [`Value`]s that have no place yet; passes over the program fuse and drop some; the
//! plan gives the values places, and a [`Device`](crate::device::Device) runs the operations.
//!
//! To add one, write `op/x.rs`, name the operation in the list at the end of this file, and implement
//! [`Run`](crate::device::Run) for it in `device/cpu/x.rs` and `device/cuda/x.rs`: until then the crate does not compile.
//!
//! Every tensor is NHWC, channel fastest. Filters are `[K][R][S][C/groups]`, weights of a fully connected layer `[out][in]`.
//! A `real` is the device's floating-point type, [`Device::real`](crate::device::Device::real).

use crate::device::{Location, Run, Tensor};
use std::fmt::{self, Debug, Write as _};

/// What an operation does with one of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Reads,
    /// Writes all of it, without reading it.
    Writes,
    /// Reads and writes it: adds to it, or moves it on.
    Adds,
}

/// Whether a result overwrites what is in its place or is added to it (the second reader of a layer's output adds to its
/// gradient).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// result ← value
    Set,
    /// result ← result + value
    Add,
}

/// Where a result goes, and whether it is set or added there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target<T> {
    /// The tensor.
    pub at: T,
    /// Set, or added.
    pub into: Write,
}

impl<T> Target<T> {
    /// A result that overwrites `at`.
    pub const fn set(at: T) -> Self {
        Self { at, into: Write::Set }
    }

    /// A result that is added to `at`.
    pub const fn add(at: T) -> Self {
        Self { at, into: Write::Add }
    }

    /// Whether it is added.
    pub fn adds(&self) -> bool {
        self.into == Write::Add
    }

    fn access(&self) -> Access {
        if self.adds() { Access::Adds } else { Access::Writes }
    }
}

/// Bytes from the start of a buffer that has no place yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Within {
    /// The buffer's number in its program.
    pub buffer: usize,
    /// Bytes from its start.
    pub bytes: usize,
}

impl Location for Within {
    fn after(self, bytes: usize) -> Self {
        Self { bytes: self.bytes + bytes, ..self }
    }
}

/// A tensor without a place: what layers and passes work with.
pub type Value = Tensor<Within>;

/// What every operation says of itself. [`operation!`] writes it.
pub trait Operation<T> {
    /// Its name, in a device's errors, the conformance table and a program's listing.
    const NAME: &'static str;

    /// Shows `see` every operand, with its name and what is done to it, in the order of the struct's fields.
    fn named_operands(&self, see: &mut dyn FnMut(&'static str, Access, &T));

    /// As [`named_operands`](Self::named_operands), without the names.
    fn operands(&self, see: &mut dyn FnMut(Access, &T)) {
        self.named_operands(&mut |_, access, t| see(access, t));
    }

    /// Shows `see` the pairs of an operand that is written and one that is read of which the first may lie in the place of the
    /// second, exactly: elements are read before they are written. All other operands lie apart from what is written.
    fn shares(&self, see: &mut dyn FnMut(&T, &T));

    /// Multiply-adds of the whole batch, where its geometry tells them: [`Op::multiply_adds`] knows them all.
    fn multiply_adds(&self) -> u64 {
        0
    }

    /// For an operation that does the work of several, those: `fresh` makes a tensor like another, for what lies between them.
    /// They are its definition; a device that does not have the fused form is given them in its place.
    fn parts(&self, _fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Op<T>>> {
        None
    }
}

/// How a parameter of an operation is shown in one line.
trait Describe {
    fn describe(&self, name: &str, text: &mut String);
}

impl Describe for f64 {
    fn describe(&self, name: &str, text: &mut String) {
        let _ = write!(text, " {name} {self}");
    }
}

impl Describe for u32 {
    fn describe(&self, name: &str, text: &mut String) {
        let _ = write!(text, " {name} {self}");
    }
}

impl Describe for bool {
    fn describe(&self, name: &str, text: &mut String) {
        if *self {
            let _ = write!(text, " {name}");
        }
    }
}

/// Parameters whose `Display` says it all.
macro_rules! described_by_display {
    ($($type:ty),+ $(,)?) => {
        $(impl Describe for $type {
            fn describe(&self, _name: &str, text: &mut String) {
                let _ = write!(text, " {self}");
            }
        })+
    };
}
use crate::device::{ConvGeometry, CopyGeometry, ImageGeometry, LrnGeometry, PoolGeometry, ProductGeometry};
described_by_display!(ConvGeometry, CopyGeometry, ImageGeometry, LrnGeometry, PoolGeometry, ProductGeometry);

/// The types of operands' fields, by their roles.
#[allow(non_camel_case_types)]
mod role {
    use super::Target;
    pub type reads<T> = T;
    pub type writes<T> = T;
    pub type adds<T> = T;
    pub type target<T> = Target<T>;
    pub type maybe_reads<T> = Option<T>;
    pub type maybe_writes<T> = Option<T>;
    pub type maybe_target<T> = Option<Target<T>>;
}

/// Shows an operand.
macro_rules! see_operand {
    ($see:ident $x:expr, $name:ident reads) => {
        $see(stringify!($name), $crate::op::Access::Reads, &$x)
    };
    ($see:ident $x:expr, $name:ident writes) => {
        $see(stringify!($name), $crate::op::Access::Writes, &$x)
    };
    ($see:ident $x:expr, $name:ident adds) => {
        $see(stringify!($name), $crate::op::Access::Adds, &$x)
    };
    ($see:ident $x:expr, $name:ident target) => {
        $see(stringify!($name), $x.access(), &$x.at)
    };
    ($see:ident $x:expr, $name:ident maybe_reads) => {
        if let Some(x) = &$x {
            $see(stringify!($name), $crate::op::Access::Reads, x)
        }
    };
    ($see:ident $x:expr, $name:ident maybe_writes) => {
        if let Some(x) = &$x {
            $see(stringify!($name), $crate::op::Access::Writes, x)
        }
    };
    ($see:ident $x:expr, $name:ident maybe_target) => {
        if let Some(x) = &$x {
            $see(stringify!($name), x.access(), &x.at)
        }
    };
}

/// Maps an operand.
macro_rules! map_operand {
    ($f:ident $x:expr, target) => {
        $crate::op::Target { at: $f(&$x.at), into: $x.into }
    };
    ($f:ident $x:expr, maybe_target) => {
        $x.as_ref().map(|x| $crate::op::Target { at: $f(&x.at), into: x.into })
    };
    ($f:ident $x:expr, maybe_reads) => {
        $x.as_ref().map(|x| $f(x))
    };
    ($f:ident $x:expr, maybe_writes) => {
        $x.as_ref().map(|x| $f(x))
    };
    ($f:ident $x:expr, $role:ident) => {
        $f(&$x)
    };
}

/// Shows a target, to be changed.
macro_rules! retarget_operand {
    ($f:ident $x:expr, target) => {
        $f(&mut $x)
    };
    ($f:ident $x:expr, maybe_target) => {
        if let Some(x) = &mut $x {
            $f(x)
        }
    };
    ($f:ident $x:expr, $role:ident) => {};
}

/// The tensor of an operand, where it is there; of a target, where it is set.
macro_rules! tensor_of_operand {
    ($x:expr, target) => {
        (!$x.adds()).then_some(&$x.at)
    };
    ($x:expr, maybe_target) => {
        $x.as_ref().filter(|x| !x.adds()).map(|x| &x.at)
    };
    ($x:expr, maybe_reads) => {
        $x.as_ref()
    };
    ($x:expr, maybe_writes) => {
        $x.as_ref()
    };
    ($x:expr, $role:ident) => {
        Some(&$x)
    };
}

/// Says whether an operand is there, or added to.
macro_rules! describe_operand {
    ($text:ident $x:expr, $name:ident maybe_reads) => {
        if $x.is_some() {
            let _ = write!($text, concat!(" with ", stringify!($name)));
        }
    };
    ($text:ident $x:expr, $name:ident maybe_writes) => {
        if $x.is_some() {
            let _ = write!($text, concat!(" with ", stringify!($name)));
        }
    };
    ($text:ident $x:expr, $name:ident target) => {
        if $x.adds() {
            let _ = write!($text, concat!(" ", stringify!($name), " +="));
        }
    };
    ($text:ident $x:expr, $name:ident maybe_target) => {
        if let Some(x) = &$x {
            let _ = write!($text, " with {}{}", stringify!($name), if x.adds() { " +=" } else { "" });
        }
    };
    ($text:ident $x:expr, $name:ident $role:ident) => {};
}

/// An operation: its documentation, `Struct = "name" { parameters } [ operands: roles ]`, where a role is `reads`, `writes`,
/// `adds` (reads and writes) or `target` ([`Target`]), or one of them that may be missing (`maybe_reads`); the pairs of an operand
/// that is written `in` the place of one that is read; and the other methods of [`Operation`] that it has.
macro_rules! operation {
    (
        $(#[$doc:meta])*
        $name:ident = $text:literal
        { $($param:ident: $type:ty),* $(,)? }
        [ $($operand:ident: $role:ident),* $(,)? ]
        $(shares [ $($written:ident: $written_role:ident in $read:ident: $read_role:ident),* $(,)? ])?
        $(impl { $($method:item)* })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub struct $name<T> {
            $(pub $param: $type,)*
            $(pub $operand: $crate::op::role::$role<T>,)*
        }

        impl<T> $name<T> {
            /// The same operation on what `f` makes of each operand.
            pub fn map<U>(&self, f: &mut dyn FnMut(&T) -> U) -> $name<U> {
                $name { $($param: self.$param,)* $($operand: map_operand!(f self.$operand, $role),)* }
            }

            /// Shows `f` every target, to be changed.
            #[allow(unused_variables)]
            pub fn retarget(&mut self, f: &mut dyn FnMut(&mut $crate::op::Target<T>)) {
                $(retarget_operand!(f self.$operand, $role);)*
            }

            /// Its parameters in one line, each after a space, and which operands are there.
            #[allow(unused_mut, unused_imports)]
            pub fn describe(&self) -> String {
                use std::fmt::Write as _;
                let mut text = String::new();
                $($crate::op::Describe::describe(&self.$param, stringify!($param), &mut text);)*
                $(describe_operand!(text self.$operand, $operand $role);)*
                text
            }
        }

        impl<T: Copy> $crate::op::Operation<T> for $name<T> {
            const NAME: &'static str = $text;

            fn named_operands(&self, see: &mut dyn FnMut(&'static str, $crate::op::Access, &T)) {
                $(see_operand!(see self.$operand, $operand $role);)*
            }

            #[allow(unused_variables)]
            fn shares(&self, see: &mut dyn FnMut(&T, &T)) {
                $($(
                    let pair = (tensor_of_operand!(self.$written, $written_role), tensor_of_operand!(self.$read, $read_role));
                    if let (Some(written), Some(read)) = pair {
                        see(written, read);
                    }
                )*)?
            }

            $($($method)*)?
        }
    };
}

/// The list of all operations, by the file of their family: makes [`Op`], and [`RunsAll`].
macro_rules! operations {
    ($($file:ident::{$($name:ident),+ $(,)?}),+ $(,)?) => {
        $(pub use $file::{$($name),+};)+

        /// Any operation.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Op<T> {
            $($($name($name<T>),)+)+
        }

        $($(
            impl<T> From<$name<T>> for Op<T> {
                fn from(op: $name<T>) -> Self {
                    Self::$name(op)
                }
            }
        )+)+

        impl<T: Copy> Op<T> {
            /// The names of all operations.
            pub const NAMES: &'static [&'static str] = &[$($(<$name<()> as Operation<()>>::NAME,)+)+];

            /// See [`Operation::NAME`].
            pub fn name(&self) -> &'static str {
                match self { $($(Self::$name(_) => <$name<T> as Operation<T>>::NAME,)+)+ }
            }

            /// See [`Operation::operands`].
            pub fn operands(&self, see: &mut dyn FnMut(Access, &T)) {
                match self { $($(Self::$name(op) => op.operands(see),)+)+ }
            }

            /// See [`Operation::named_operands`].
            pub fn named_operands(&self, see: &mut dyn FnMut(&'static str, Access, &T)) {
                match self { $($(Self::$name(op) => op.named_operands(see),)+)+ }
            }

            /// See [`Operation::shares`].
            pub fn shares(&self, see: &mut dyn FnMut(&T, &T)) {
                match self { $($(Self::$name(op) => op.shares(see),)+)+ }
            }

            fn products(&self) -> u64 {
                match self { $($(Self::$name(op) => Operation::multiply_adds(op),)+)+ }
            }

            /// See [`Operation::parts`].
            pub fn parts(&self, fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Self>> {
                match self { $($(Self::$name(op) => op.parts(fresh),)+)+ }
            }

            /// The same operation on what `f` makes of each operand.
            pub fn map<U>(&self, f: &mut dyn FnMut(&T) -> U) -> Op<U> {
                match self { $($(Self::$name(op) => Op::$name(op.map(f)),)+)+ }
            }

            /// Shows `f` every target, to be changed.
            pub fn retarget(&mut self, f: &mut dyn FnMut(&mut Target<T>)) {
                match self { $($(Self::$name(op) => op.retarget(f),)+)+ }
            }

            /// Its parameters in one line, each after a space.
            pub fn describe(&self) -> String {
                match self { $($(Self::$name(op) => op.describe(),)+)+ }
            }
        }

        /// A device that runs every operation. Whatever implements [`Run`] for all of them is one.
        pub trait RunsAll: Sized $($(+ Run<$name<Tensor>>)+)+ {}
        impl<D: Sized $($(+ Run<$name<Tensor>>)+)+> RunsAll for D {}

        impl Op<Tensor> {
            /// Has the device run it.
            pub(crate) fn run_on<D: RunsAll>(&self, device: &mut D, scratch: Tensor) -> crate::device::Result<()> {
                match self { $($(Self::$name(op) => Run::run(device, op, scratch),)+)+ }
            }

            /// Bytes of scratch that the device wants for it.
            pub(crate) fn scratch_on<D: RunsAll>(&self, device: &D) -> usize {
                match self { $($(Self::$name(op) => Run::scratch(device, op),)+)+ }
            }

            /// Whether the device has this form of it.
            pub(crate) fn is_supported_by<D: RunsAll>(&self, device: &D) -> bool {
                match self { $($(Self::$name(op) => Run::supports(device, op),)+)+ }
            }
        }
    };
}

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
mod program;
mod resample;
mod sgd;
mod soft_cross_entropy;
mod softmax;

pub use batch_norm::BatchNorm;
pub use binary_cross_entropy::Binary;
pub use drop_connect::DropConnect;
pub use hinge::HingeLoss;
pub use lrn::Response;
pub use merge::How as Merging;
pub use neuron::Neuron;
pub(crate) use neuron::neuron_table;
pub use pool::PoolKind;
pub use program::{Buffer, Pass, Program, Step};
pub use sgd::Update;

operations! {
    images::{LoadImages, LoadLabels},
    conv::{ConvForward, ConvBackwardImage, ConvBackwardFilters},
    local::{LocalForward, LocalBackwardImage, LocalBackwardFilters},
    bias::{BiasBackward},
    product::{Product},
    pool::{PoolForward, PoolBackward},
    lrn::{LrnForward, LrnBackward},
    batch_norm::{BatchNormMoments, BatchNormRunning, BatchNormApply, BatchNormBackward},
    neuron::{NeuronForward, NeuronBackward},
    noisy_relu::{NoisyReluForward, NoisyReluBackward},
    prelu::{PreluForward, PreluBackward, PreluBackwardSlope},
    dropout::{Dropout},
    drop_connect::{DropConnectForward, DropConnectBackwardInput, DropConnectBackwardWeights},
    noise::{Noise},
    softmax::{SoftmaxForward, SoftmaxBackward},
    one_hot::{OneHot},
    cost::{
        LogregForward, LogregBackward, CrossEntropyForward, CrossEntropyBackward, SquaresForward, SquaresBackward,
    },
    soft_cross_entropy::{SoftCrossEntropyForward, SoftCrossEntropyBackward, SoftCrossEntropyTargetBackward},
    binary_cross_entropy::{
        BinaryCrossEntropyForward, BinaryCrossEntropyBackward, BinaryCrossEntropyTargetBackward, CountDetections,
    },
    hinge::{HingeForward, HingeBackward},
    contrastive::{ContrastiveForward, ContrastiveBackward},
    elementwise::{Scale, Fill, MeanAbs},
    copy::{CopyBox},
    resample::{ResampleForward, ResampleBackward, RandomWindow},
    lab::{LabForward, LabBackward},
    merge::{Merge, MaxForward, MaxBackward},
    sgd::{SgdUpdate},
    norm::{SumSquares, ClipFactor, LimitNorms},
}

impl<P: Location> Op<Tensor<P>> {
    /// Bytes that it reads and writes: each operand once, one that is added to twice. What is read again from a cache or from
    /// memory is the kernel's own affair, but where it cannot be otherwise: the gradient of a batch normalisation is spread over
    /// x once its sums over all of x and dy are known.
    pub fn bytes(&self) -> u64 {
        let mut bytes = match self {
            Self::BatchNormBackward(b) if b.dx.is_some() => (b.x.bytes() + b.dy.bytes()) as u64,
            _ => 0,
        };
        self.operands(&mut |role, t| bytes += t.bytes() as u64 * if role == Access::Adds { 2 } else { 1 });
        bytes
    }

    /// Multiply-adds of the whole batch, those with padding included.
    pub fn multiply_adds(&self) -> u64 {
        let masked = |w: &Tensor<P>, x: &Tensor<P>| w.shape.elements() as u64 * x.shape.n as u64;
        match self {
            Self::DropConnectForward(d) => masked(&d.w, &d.x),
            Self::DropConnectBackwardInput(d) => masked(&d.w, &d.dy),
            Self::DropConnectBackwardWeights(d) => masked(&d.dw.at, &d.x),
            _ => self.products(),
        }
    }

    /// Whether all operands are dense.
    pub fn is_dense(&self) -> bool {
        let mut dense = true;
        self.operands(&mut |_, t| dense &= t.is_dense());
        dense
    }
}

/// Its name and parameters: `pool_forward max 2 of 24×24×20 2×2 s2 from 0 to 12×12`.
impl<T: Copy> fmt::Display for Op<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.describe())
    }
}
