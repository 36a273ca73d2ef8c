//! What instructions do, one file a subject. A subject's `decode` reads the opcode's words and names the closure that is
//! its meaning for one lane; `lanes` turns that into a function over the 32 lanes of a warp.

#![allow(clippy::needless_range_loop, reason = "the lane is the subject, and names the same cell of several rows")]

mod atomic;
mod block;
mod bulk;
pub(crate) mod compare;
mod control;
mod convert;
mod copy;
mod float;
mod halves;
mod integer;
mod lanes;
mod launch;
mod matrix;
mod mbarrier;
mod memory;
mod print;
pub mod rounding;
mod sync;
mod video;
mod warp;
mod warpgroup;

pub use block::run_block;
pub use control::{BRANCH, EXIT, INDIRECT};
pub use lanes::{Exec, FULL, LANES};
pub use launch::{Launch, launch};
pub use memory::Access;
pub use print::{assert_fail, print};
pub use warp::{CONSTANT, LOCAL_WINDOW, PARAM_WINDOW, Row, SHARED_WINDOW, Step, Surroundings, Warp};

use crate::ir::Decoder;
use crate::ptx::Error;

/// Decodes an instruction that is not control flow.
pub fn decode(d: &mut Decoder) -> Result<(), Error> {
    match d.opcode() {
        "mov" | "cvta" | "isspacep" | "selp" | "slct" => copy::decode(d),
        "setp" | "set" | "testp" => compare::decode(d),
        "add" | "sub" | "mul" | "mad" | "fma" | "min" | "max" | "abs" | "neg" | "div" | "rem" | "rcp" | "sqrt" | "rsqrt"
        | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "copysign" => arithmetic(d),
        "mul24" | "mad24" | "sad" | "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "bfe" | "bfi" | "bmsk"
        | "popc" | "clz" | "brev" | "bfind" | "fns" | "lop3" | "prmt" | "addc" | "subc" | "madc" => integer::decode(d),
        "dp4a" | "dp2a" | "szext" => video::decode(d),
        "cvt" => convert::decode(d),
        "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "applypriority" | "discard" => memory::decode(d),
        "atom" | "red" => atomic::decode(d),
        "bar" | "barrier" | "membar" | "fence" | "shfl" | "vote" | "match" | "activemask" | "redux" | "nanosleep" | "trap"
        | "brkpt" | "griddepcontrol" | "elect" | "pmevent" | "setmaxnreg" => sync::decode(d),
        "ldmatrix" | "stmatrix" | "movmatrix" | "mma" | "cp" => matrix::decode(d),
        "mbarrier" => mbarrier::decode(d),
        "wgmma" => warpgroup::decode(d),
        _ => Err(d.unknown()),
    }
}

/// Opcodes that integers and floating point share: the type decides.
fn arithmetic(d: &mut Decoder) -> Result<(), Error> {
    use crate::ir::Ty;
    let before = d.words().filter_map(Ty::named).next_back();
    match before {
        Some(Ty::F32 | Ty::F64) => float::decode(d),
        Some(Ty::F16 | Ty::BF16 | Ty::F16x2 | Ty::BF16x2) => halves::decode(d),
        Some(_) => integer::decode(d),
        None => Err(d.unknown()),
    }
}
