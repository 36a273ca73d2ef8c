//! The internal code: what a kernel becomes before it runs.
//!
//! Lowering (`lower`) resolves names, inlines device functions and asks `exec::decode` for the function that executes each
//! instruction; `layout` orders the blocks so that diverged lanes meet again as early as they can; `allocate` packs the
//! registers that PTX has without number into few rows, which then fit the CPU's first-level cache.

mod allocate;
mod decoder;
mod layout;
mod lower;
mod types;

use std::sync::Arc;

pub use decoder::Decoder;
pub use lower::lower;
pub use types::Ty;

use crate::exec::{Exec, Row};
use crate::ptx::Variable;

/// Predicate number that is true in all lanes: the guard of instructions without one.
pub const TRUE: u32 = 1;
/// Predicate number that is false in all lanes.
pub const FALSE: u32 = 0;

/// One instruction, ready to run.
pub struct Inst {
    /// What executes it.
    pub exec: Exec,
    /// Rows (or predicates) it works on: destination first. Unused ones are 0.
    pub ops: [u32; 5],
    /// The guard's predicate number.
    pub guard: u32,
    /// All ones when the guard is negated.
    pub guard_flip: u32,
    /// What the executing function wants to know beyond its operands.
    pub mode: u32,
    /// A number: address offset, jump target, …
    pub imm: i64,
    /// Further rows, for vectors and matrices.
    pub more: Box<[u32]>,
}

impl Inst {
    /// Destination.
    #[inline(always)]
    pub fn d(&self) -> u32 {
        self.ops[0]
    }
    /// First source.
    #[inline(always)]
    pub fn a(&self) -> u32 {
        self.ops[1]
    }
    /// Second source.
    #[inline(always)]
    pub fn b(&self) -> u32 {
        self.ops[2]
    }
    /// Third source.
    #[inline(always)]
    pub fn c(&self) -> u32 {
        self.ops[3]
    }
    /// Fourth source.
    #[inline(always)]
    pub fn e(&self) -> u32 {
        self.ops[4]
    }
}

/// What an instruction is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Integer arithmetic, logic and moves.
    Integer,
    /// Floating point: add, mul, fma, …
    Float,
    /// Conversions between types.
    Convert,
    /// Approximations: ex2, rcp, sin, …
    Special,
    /// Tensor cores.
    Matrix,
    /// Device memory.
    Global,
    /// Shared memory.
    Shared,
    /// Local memory and parameters.
    Local,
    /// Atomics of any space.
    Atomic,
    /// Jumps and exits.
    Control,
    /// Barriers, shuffles, votes, fences.
    Sync,
}

impl Class {
    /// All classes with their names in reports.
    pub const NAMES: [(Class, &str); 11] = [
        (Class::Integer, "integer"),
        (Class::Float, "float"),
        (Class::Convert, "convert"),
        (Class::Special, "special"),
        (Class::Matrix, "matrix"),
        (Class::Global, "global"),
        (Class::Shared, "shared"),
        (Class::Local, "local"),
        (Class::Atomic, "atomic"),
        (Class::Control, "control"),
        (Class::Sync, "sync"),
    ];
}

/// Where an instruction stands in the sources, and how it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Line of the PTX.
    pub line: u32,
    /// File number and line of the `.loc` in force.
    pub source: (u32, u32),
    /// How it is counted.
    pub class: Class,
    /// Floating-point operations a lane.
    pub flops: u32,
    /// The basic block, in layout order.
    pub block: u32,
    /// Whether it is a barrier, and of what.
    pub barrier: Barrier,
}

/// Who an instruction makes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Nobody.
    No,
    /// `bar.warp.sync`, which lanes may also meet at from different places.
    Warp,
    /// `bar.sync` and its kin.
    Block,
}

/// A special register that has its row filled before a warp runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `%tid`, by axis.
    Tid(u8),
    /// `%ntid`
    Ntid(u8),
    /// `%ctaid`
    Ctaid(u8),
    /// `%nctaid`
    Nctaid(u8),
    /// `%laneid`
    LaneId,
    /// `%warpid`
    WarpId,
    /// `%nwarpid`
    WarpCount,
    /// `%lanemask_eq` and its kin, by the comparison: eq, le, lt, ge, gt.
    LaneMask(u8),
    /// `%dynamic_smem_size`
    DynamicShared,
    /// `%total_smem_size`
    TotalShared,
    /// `%gridid`, `%smid`, … : 0
    Zero,
    /// `%nsmid`, `%cluster_nctaid` and the like: 1
    One,
}

/// The rows of registers that an instruction touches.
#[derive(Clone, Debug, Default)]
pub struct Touch {
    /// Rows it reads.
    pub reads: Box<[u32]>,
    /// Rows it writes.
    pub writes: Box<[u32]>,
    /// Whether it only copies a row.
    pub copies: bool,
    /// Whether it is a wgmma.mma_async, which writes its rows later.
    pub product: bool,
}

/// A kernel, ready to run.
pub struct Program {
    /// The kernel's symbol.
    pub name: String,
    /// Its instructions, in layout order.
    pub code: Vec<Inst>,
    /// Where each stands.
    pub places: Vec<Place>,
    /// Rows of registers a warp needs.
    pub rows: u32,
    /// Predicates a warp needs.
    pub preds: u32,
    /// Rows of constants.
    pub constants: Vec<Row>,
    /// Rows (from 0) to fill with special registers.
    pub specials: Vec<Special>,
    /// Bytes of shared memory declared with a size.
    pub static_shared: u64,
    /// Where dynamic shared memory begins.
    pub dynamic_shared_at: u64,
    /// Bytes of local memory a thread.
    pub local: u64,
    /// Parameters and their offsets.
    pub params: Vec<(u64, Variable)>,
    /// Bytes of parameters.
    pub params_size: u64,
    /// Most threads a block may have.
    pub max_threads: u32,
    /// Most registers alive at once, as a hint of what ptxas would use.
    pub registers: u32,
    /// For each block that holds a block barrier: the blocks that every thread which passes it comes to later, `ret` apart.
    pub after_barrier: Vec<(u32, Vec<u32>)>,
    /// Of each instruction, the rows that it reads and writes; empty unless the kernel has wgmma or bulk copies, which work
    /// while the warp goes on.
    pub touches: Vec<Touch>,
    /// `.file` names.
    pub files: Arc<Vec<(u32, String)>>,
}

impl Program {
    /// "file.cu:12" of a place, or nothing.
    pub fn source(&self, place: &Place) -> Option<String> {
        let (file, line) = place.source;
        self.files.iter().find(|f| f.0 == file && line != 0).map(|f| format!("{}:{line}", f.1))
    }
}
