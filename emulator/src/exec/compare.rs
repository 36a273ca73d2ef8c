//! Comparisons: setp and set of every type, testp.
//!
//! Of floating point, `lt` and its kin are false when an operand is NaN, `ltu` and its kin are true. `num` and `nan` ask
//! whether both are numbers or one is not.

use half::{bf16, f16};

use super::lanes::{Exec, comparison};
use super::rounding::flush;
use super::warp::{Step, Warp};
use crate::ir::{Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};

const COMPARISONS: [&str; 18] =
    ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

/// What `finish` does with the result, in `mode`: bits 0-1 the combination, bit 2 whether `c` is negated, bits 3-4 the form
/// of the destination.
const AND: u32 = 1;
const OR: u32 = 2;
const XOR: u32 = 3;
const NEGATED: u32 = 4;
const AS_ONES: u32 = 8;
const AS_FLOAT: u32 = 16;
const AS_HALF: u32 = 24;
const AS_BF16: u32 = 32;
const FORM: u32 = 56;

/// Combines a comparison's result with the third predicate and writes it as the instruction wants it.
#[inline(always)]
pub(crate) fn finish(warp: &mut Warp, inst: &Inst, result: u32) {
    let c = warp.pred(inst.c()) ^ if inst.mode & NEGATED != 0 { u32::MAX } else { 0 };
    let combine = |r: u32| match inst.mode & 3 {
        AND => r & c,
        OR => r | c,
        XOR => r ^ c,
        _ => r,
    };
    let one = match inst.mode & FORM {
        0 => {
            warp.set_pred(inst.d(), combine(result));
            if inst.e() != 0 {
                warp.set_pred(inst.e(), combine(!result));
            }
            return;
        }
        AS_ONES => u32::MAX,
        AS_FLOAT => 1f32.to_bits(),
        AS_HALF => f16::ONE.to_bits() as u32,
        _ => bf16::ONE.to_bits() as u32,
    };
    let all = combine(result);
    warp.write(inst.d(), &std::array::from_fn(|lane| if all >> lane & 1 != 0 { one } else { 0 }));
}

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    if d.opcode() == "testp" {
        return testp(d);
    }
    let set = d.opcode() == "set";
    let comparison = d.take_any(&COMPARISONS).ok_or_else(|| d.unknown())?;
    d.mode = match d.take_any(&["and", "or", "xor"]) {
        Some("and") => AND,
        Some("or") => OR,
        Some(_) => XOR,
        None => 0,
    };
    let combined = d.mode != 0;
    let ftz = d.take("ftz");
    let to = if set { d.ty()? } else { Ty::Pred };
    let ty = d.ty()?;
    if matches!(ty, Ty::F16x2 | Ty::BF16x2) {
        return packed(d, comparison, ty, to, set);
    }
    let (dest, second) = match (set, d.operand(0)?) {
        (true, operand) => (d.dest_of(operand, to.wide())?, 0),
        (false, Operand::Pair(p, q)) => (d.dest_pred_of(p)?, d.dest_pred_of(q)?),
        (false, operand) => (d.dest_pred_of(operand)?, 0),
    };
    d.mode |= match to {
        Ty::Pred => 0,
        Ty::F32 => AS_FLOAT,
        Ty::F16 => AS_HALF,
        Ty::BF16 => AS_BF16,
        Ty::U32 | Ty::S32 | Ty::B32 => AS_ONES,
        _ => return Err(d.unknown()),
    };
    let (a, b) = (d.source(1, ty)?, d.source(2, ty)?);
    let c = if combined {
        let (c, negated) = d.source_pred(3)?;
        d.mode |= if negated { NEGATED } else { 0 };
        c
    } else {
        0
    };
    let exec = function(comparison, ty, ftz).ok_or_else(|| d.unknown())?;
    d.emit(exec, [dest, a, b, c, second])
}

macro_rules! integers {
    ($t:ty, $name:expr) => {
        match $name {
            "eq" => Some(comparison(|a: $t, b: $t| a == b)),
            "ne" => Some(comparison(|a: $t, b: $t| a != b)),
            "lt" | "lo" => Some(comparison(|a: $t, b: $t| a < b)),
            "le" | "ls" => Some(comparison(|a: $t, b: $t| a <= b)),
            "gt" | "hi" => Some(comparison(|a: $t, b: $t| a > b)),
            "ge" | "hs" => Some(comparison(|a: $t, b: $t| a >= b)),
            _ => None,
        }
    };
}

/// A comparison of floats, on the values that their bits stand for.
macro_rules! on_values {
    ($t:ty, $value:expr, |$a:ident, $b:ident| $result:expr) => {
        Some(comparison(|a: $t, b: $t| {
            let ($a, $b) = ($value(a), $value(b));
            $result
        }))
    };
}

macro_rules! floats {
    ($t:ty, $name:expr, $value:expr) => {
        match $name {
            "eq" => on_values!($t, $value, |a, b| a == b),
            "ne" => on_values!($t, $value, |a, b| a < b || a > b),
            "lt" => on_values!($t, $value, |a, b| a < b),
            "le" => on_values!($t, $value, |a, b| a <= b),
            "gt" => on_values!($t, $value, |a, b| a > b),
            "ge" => on_values!($t, $value, |a, b| a >= b),
            "equ" => on_values!($t, $value, |a, b| !(a < b || a > b)),
            "neu" => on_values!($t, $value, |a, b| a != b),
            "ltu" => on_values!($t, $value, |a, b| !(a >= b)),
            "leu" => on_values!($t, $value, |a, b| !(a > b)),
            "gtu" => on_values!($t, $value, |a, b| !(a <= b)),
            "geu" => on_values!($t, $value, |a, b| !(a < b)),
            "num" => on_values!($t, $value, |a, b| a == a && b == b),
            "nan" => on_values!($t, $value, |a, b| a != a || b != b),
            _ => None,
        }
    };
}

#[allow(clippy::neg_cmp_op_on_partial_ord, clippy::eq_op, clippy::double_comparisons, reason = "unordered comparisons are meant")]
fn function(name: &str, ty: Ty, ftz: bool) -> Option<Exec> {
    match (ty, ftz) {
        (Ty::B16 | Ty::U16, false) => integers!(u16, name),
        (Ty::S16, false) => integers!(i16, name),
        (Ty::B32 | Ty::U32, false) => integers!(u32, name),
        (Ty::S32, false) => integers!(i32, name),
        (Ty::B64 | Ty::U64, false) => integers!(u64, name),
        (Ty::S64, false) => integers!(i64, name),
        (Ty::F32, false) => floats!(f32, name, |v: f32| v),
        (Ty::F32, true) => floats!(f32, name, flush),
        (Ty::F64, false) => floats!(f64, name, |v: f64| v),
        (Ty::F16, _) if !ftz => floats!(f16, name, f16::to_f32),
        (Ty::BF16, false) => floats!(bf16, name, bf16::to_f32),
        _ => None,
    }
}

fn compare_values(name: u32, a: f32, b: f32) -> bool {
    let unordered = a.is_nan() || b.is_nan();
    match COMPARISONS[name as usize] {
        "eq" => a == b,
        "ne" => a != b && !unordered,
        "lt" => a < b,
        "le" => a <= b,
        "gt" => a > b,
        "ge" => a >= b,
        "equ" => a == b || unordered,
        "neu" => a != b,
        "ltu" => a < b || unordered,
        "leu" => a <= b || unordered,
        "gtu" => a > b || unordered,
        "geu" => a >= b || unordered,
        "num" => !unordered,
        _ => unordered,
    }
}

/// Two halves at once: `setp.op.f16x2 p|q, a, b` or `set.op.f16x2.f16x2 d, a, b`. `imm` says the type and the form.
fn packed(d: &mut Decoder, comparison: &str, ty: Ty, to: Ty, set: bool) -> Result<(), Error> {
    if d.mode != 0 {
        return Err(d.unknown());
    }
    d.mode = COMPARISONS.iter().position(|c| *c == comparison).unwrap_or_default() as u32;
    d.imm = (ty == Ty::BF16x2) as i64 | (matches!(to, Ty::U32 | Ty::S32) as i64) << 1;
    let ops = if set {
        if to != ty && !matches!(to, Ty::U32 | Ty::S32) {
            return Err(d.unknown());
        }
        [d.dest(0, false)?, d.source(1, ty)?, d.source(2, ty)?, 0, 0]
    } else {
        let Operand::Pair(p, q) = d.operand(0)? else { return Err(d.unknown()) };
        [d.dest_pred_of(p)?, d.source(1, ty)?, d.source(2, ty)?, 0, d.dest_pred_of(q)?]
    };
    let exec: Exec = |warp, inst| {
        let value = |bits: u32| {
            if inst.imm & 1 != 0 { bf16::from_bits(bits as u16).to_f32() } else { f16::from_bits(bits as u16).to_f32() }
        };
        let (a, b) = (warp.row::<u32>(inst.a()), warp.row::<u32>(inst.b()));
        let (mut low, mut high) = (0u32, 0u32);
        for lane in 0..super::lanes::LANES {
            low |= (compare_values(inst.mode, value(a[lane]), value(b[lane])) as u32) << lane;
            high |= (compare_values(inst.mode, value(a[lane] >> 16), value(b[lane] >> 16)) as u32) << lane;
        }
        if inst.e() != 0 {
            warp.set_pred(inst.d(), low);
            warp.set_pred(inst.e(), high);
        } else {
            let one = match inst.imm {
                0 => f16::ONE.to_bits() as u32,
                1 => bf16::ONE.to_bits() as u32,
                _ => 0xffff,
            };
            let out = std::array::from_fn(|l| ((low >> l & 1) * one) | (((high >> l & 1) * one) << 16));
            warp.write(inst.d(), &out);
        }
        Step::Next
    };
    d.emit(exec, ops)
}

fn testp(d: &mut Decoder) -> Result<(), Error> {
    let test = d.take_any(&["finite", "infinite", "number", "notanumber", "normal", "subnormal"]).ok_or_else(|| d.unknown())?;
    let ty = d.ty()?;
    let (dest, a) = (d.dest_pred_of(d.operand(0)?)?, d.source(1, ty)?);
    macro_rules! tests {
        ($t:ty) => {
            match test {
                "finite" => comparison(|a: $t, _: $t| a.is_finite()),
                "infinite" => comparison(|a: $t, _: $t| a.is_infinite()),
                "number" => comparison(|a: $t, _: $t| !a.is_nan()),
                "notanumber" => comparison(|a: $t, _: $t| a.is_nan()),
                "normal" => comparison(|a: $t, _: $t| a.is_normal()),
                _ => comparison(|a: $t, _: $t| a.is_subnormal()),
            }
        };
    }
    let exec = match ty {
        Ty::F32 => tests!(f32),
        Ty::F64 => tests!(f64),
        _ => return Err(d.unknown()),
    };
    d.emit(exec, [dest, a, a, 0, 0])
}
