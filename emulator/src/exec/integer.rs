//! Integer arithmetic, shifts, bit fields and logic, on 16, 32 and 64 bits.

use super::lanes::{Exec, LANES, binary, binary_mode, quaternary, ternary, ternary_mode, unary};
use super::warp::{Step, Warp};
use crate::ir::{Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};

/// One closure for each of three widths.
macro_rules! by_width {
    ($ty:expr, $family:ident, |$($arg:ident),*| $body:expr) => {
        match $ty.bytes() {
            2 => Some($family(|$($arg: u16),*| $body)),
            4 => Some($family(|$($arg: u32),*| $body)),
            8 => Some($family(|$($arg: u64),*| $body)),
            _ => None,
        }
    };
}

/// One closure for each of three widths, signed or not.
macro_rules! by_sign {
    ($ty:expr, $family:ident, |$($arg:ident),*| $body:expr) => {
        match ($ty.bytes(), $ty.signed()) {
            (2, false) => Some($family(|$($arg: u16),*| $body)),
            (4, false) => Some($family(|$($arg: u32),*| $body)),
            (8, false) => Some($family(|$($arg: u64),*| $body)),
            (2, true) => Some($family(|$($arg: i16),*| $body)),
            (4, true) => Some($family(|$($arg: i32),*| $body)),
            (8, true) => Some($family(|$($arg: i64),*| $body)),
            _ => None,
        }
    };
}

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    match d.opcode() {
        "and" | "or" | "xor" | "not" => logic(d),
        "mul" | "mad" => multiply(d),
        "lop3" => lop3(d),
        "addc" | "subc" | "madc" => carry(d, true),
        "shl" | "shr" | "shf" => shift(d),
        "popc" | "clz" | "bfind" => count(d),
        "bfe" | "bfi" | "bmsk" | "fns" | "prmt" => fields(d),
        "min" | "max" if d.words().any(|w| w.ends_with("16x2")) => packed_extreme(d),
        _ => simple(d),
    }
}

fn simple(d: &mut Decoder) -> Result<(), Error> {
    let sat = d.take("sat");
    if d.words().any(|w| w == "cc") {
        return carry(d, false);
    }
    let half = d.take_any(&["lo", "hi"]);
    let ty = d.ty()?;
    let (exec, sources) = match (d.opcode(), sat, half) {
        ("add", false, None) => (by_width!(ty, binary, |a, b| a.wrapping_add(b)), 2),
        ("sub", false, None) => (by_width!(ty, binary, |a, b| a.wrapping_sub(b)), 2),
        ("add", true, None) if ty == Ty::S32 => (Some(binary(|a: i32, b: i32| a.saturating_add(b))), 2),
        ("sub", true, None) if ty == Ty::S32 => (Some(binary(|a: i32, b: i32| a.saturating_sub(b))), 2),
        ("min", false, None) => (by_sign!(ty, binary, |a, b| if a < b { a } else { b }), 2),
        ("max", false, None) => (by_sign!(ty, binary, |a, b| if a > b { a } else { b }), 2),
        ("neg", false, None) => (by_width!(ty, unary, |a| a.wrapping_neg()), 1),
        ("abs", false, None) => {
            let exec = match ty {
                Ty::S16 => Some(unary(|a: i16| a.wrapping_abs())),
                Ty::S32 => Some(unary(|a: i32| a.wrapping_abs())),
                Ty::S64 => Some(unary(|a: i64| a.wrapping_abs())),
                _ => None,
            };
            (exec, 1)
        }
        // Division by zero is unspecified in PTX; GPUs give all ones, and the dividend as the rest.
        ("div", false, None) => {
            let exec = match ty {
                Ty::U16 => Some(binary(|a: u16, b: u16| a.checked_div(b).unwrap_or(u16::MAX))),
                Ty::U32 => Some(binary(|a: u32, b: u32| a.checked_div(b).unwrap_or(u32::MAX))),
                Ty::U64 => Some(binary(|a: u64, b: u64| a.checked_div(b).unwrap_or(u64::MAX))),
                Ty::S16 => Some(binary(|a: i16, b: i16| if b == 0 { -1 } else { a.wrapping_div(b) })),
                Ty::S32 => Some(binary(|a: i32, b: i32| if b == 0 { -1 } else { a.wrapping_div(b) })),
                Ty::S64 => Some(binary(|a: i64, b: i64| if b == 0 { -1 } else { a.wrapping_div(b) })),
                _ => None,
            };
            (exec, 2)
        }
        ("rem", false, None) => (by_sign!(ty, binary, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }), 2),
        ("mul24", false, Some("lo")) => {
            let exec = match ty {
                Ty::U32 => Some(binary(|a: u32, b: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff))),
                Ty::S32 => Some(binary(|a: i32, b: i32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8))),
                _ => None,
            };
            (exec, 2)
        }
        ("mad24", false, Some("lo")) => {
            let exec = match ty {
                Ty::U32 => Some(ternary(|a: u32, b: u32, c: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff).wrapping_add(c))),
                Ty::S32 => Some(ternary(|a: i32, b: i32, c: i32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8).wrapping_add(c))),
                _ => None,
            };
            (exec, 3)
        }
        ("sad", false, None) => {
            (by_sign!(ty, ternary, |a, b, c| c.wrapping_add(if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) })), 3)
        }
        ("cnot", false, None) => (by_width!(ty, unary, |a| if a == 0 { 1 } else { 0 }), 1),
        ("brev", false, None) if ty.bytes() > 2 => (by_width!(ty, unary, |a| a.reverse_bits()), 1),
        _ => return Err(d.unknown()),
    };
    let exec = exec.ok_or_else(|| d.unknown())?;
    let mut ops = [d.dest(0, ty.wide())?, 0, 0, 0, 0];
    for (k, op) in ops.iter_mut().enumerate().skip(1).take(sources) {
        *op = d.source(k, ty)?;
    }
    d.emit(exec, ops)
}

fn logic(d: &mut Decoder) -> Result<(), Error> {
    let ty = d.ty()?;
    if ty == Ty::Pred {
        let dest = d.dest_pred_of(d.operand(0)?)?;
        let (a, a_negated) = d.source_pred(1)?;
        let (b, b_negated) = if d.opcode() == "not" { (0, false) } else { d.source_pred(2)? };
        d.mode = a_negated as u32 | (b_negated as u32) << 1;
        fn with(warp: &mut Warp, inst: &Inst, f: impl Fn(u32, u32) -> u32) -> Step {
            let flip = |bit: u32| 0u32.wrapping_sub(inst.mode >> bit & 1);
            let result = f(warp.pred(inst.a()) ^ flip(0), warp.pred(inst.b()) ^ flip(1));
            warp.set_pred(inst.d(), result);
            Step::Next
        }
        let exec: Exec = match d.opcode() {
            "and" => |w, i| with(w, i, |a, b| a & b),
            "or" => |w, i| with(w, i, |a, b| a | b),
            "xor" => |w, i| with(w, i, |a, b| a ^ b),
            _ => |w, i| with(w, i, |a, _| !a),
        };
        return d.emit(exec, [dest, a, b, 0, 0]);
    }
    let exec = match d.opcode() {
        "and" => by_width!(ty, binary, |a, b| a & b),
        "or" => by_width!(ty, binary, |a, b| a | b),
        "xor" => by_width!(ty, binary, |a, b| a ^ b),
        _ => by_width!(ty, unary, |a| !a),
    }
    .ok_or_else(|| d.unknown())?;
    let second = if d.opcode() == "not" { 0 } else { d.source(2, ty)? };
    let ops = [d.dest(0, ty.wide())?, d.source(1, ty)?, second, 0, 0];
    d.emit(exec, ops)
}

fn multiply(d: &mut Decoder) -> Result<(), Error> {
    if d.words().any(|w| w == "cc") {
        return carry(d, false);
    }
    let mad = d.opcode() == "mad";
    let half = d.take_any(&["lo", "hi", "wide"]).ok_or_else(|| d.unknown())?;
    let sat = d.take("sat");
    let ty = d.ty()?;
    let exec = match (half, mad, ty, sat) {
        ("lo", false, _, false) => by_width!(ty, binary, |a, b| a.wrapping_mul(b)),
        ("lo", true, _, false) => by_width!(ty, ternary, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("hi", false, Ty::U16, false) => Some(binary(|a: u16, b: u16| ((a as u32 * b as u32) >> 16) as u16)),
        ("hi", false, Ty::S16, false) => Some(binary(|a: i16, b: i16| ((a as i32 * b as i32) >> 16) as i16)),
        ("hi", false, Ty::U32, false) => Some(binary(|a: u32, b: u32| ((a as u64 * b as u64) >> 32) as u32)),
        ("hi", false, Ty::S32, false) => Some(binary(|a: i32, b: i32| ((a as i64 * b as i64) >> 32) as i32)),
        ("hi", false, Ty::U64, false) => Some(binary(|a: u64, b: u64| ((a as u128 * b as u128) >> 64) as u64)),
        ("hi", false, Ty::S64, false) => Some(binary(|a: i64, b: i64| ((a as i128 * b as i128) >> 64) as i64)),
        ("hi", true, Ty::U16, false) => {
            Some(ternary(|a: u16, b: u16, c: u16| (((a as u32 * b as u32) >> 16) as u16).wrapping_add(c)))
        }
        ("hi", true, Ty::S16, false) => {
            Some(ternary(|a: i16, b: i16, c: i16| (((a as i32 * b as i32) >> 16) as i16).wrapping_add(c)))
        }
        ("hi", true, Ty::U32, false) => {
            Some(ternary(|a: u32, b: u32, c: u32| (((a as u64 * b as u64) >> 32) as u32).wrapping_add(c)))
        }
        ("hi", true, Ty::S32, false) => {
            Some(ternary(|a: i32, b: i32, c: i32| (((a as i64 * b as i64) >> 32) as i32).wrapping_add(c)))
        }
        ("hi", true, Ty::S32, true) => {
            Some(ternary(|a: i32, b: i32, c: i32| (((a as i64 * b as i64) >> 32) as i32).saturating_add(c)))
        }
        ("hi", true, Ty::U64, false) => {
            Some(ternary(|a: u64, b: u64, c: u64| (((a as u128 * b as u128) >> 64) as u64).wrapping_add(c)))
        }
        ("hi", true, Ty::S64, false) => {
            Some(ternary(|a: i64, b: i64, c: i64| (((a as i128 * b as i128) >> 64) as i64).wrapping_add(c)))
        }
        ("wide", false, Ty::U16, false) => Some(binary(|a: u16, b: u16| a as u32 * b as u32)),
        ("wide", false, Ty::S16, false) => Some(binary(|a: i16, b: i16| a as i32 * b as i32)),
        ("wide", false, Ty::U32, false) => Some(binary(|a: u32, b: u32| a as u64 * b as u64)),
        ("wide", false, Ty::S32, false) => Some(binary(|a: i32, b: i32| a as i64 * b as i64)),
        ("wide", true, Ty::U16, false) => Some(ternary(|a: u16, b: u16, c: u32| (a as u32 * b as u32).wrapping_add(c))),
        ("wide", true, Ty::S16, false) => Some(ternary(|a: i16, b: i16, c: i32| (a as i32 * b as i32).wrapping_add(c))),
        ("wide", true, Ty::U32, false) => Some(ternary(|a: u32, b: u32, c: u64| (a as u64 * b as u64).wrapping_add(c))),
        ("wide", true, Ty::S32, false) => Some(ternary(|a: i32, b: i32, c: i64| (a as i64 * b as i64).wrapping_add(c))),
        _ => None,
    }
    .ok_or_else(|| d.unknown())?;
    let to = match (half, ty) {
        ("wide", Ty::U16 | Ty::S16) => Ty::B32,
        ("wide", _) => Ty::B64,
        _ => ty,
    };
    let third = if mad { d.source(3, to)? } else { 0 };
    let ops = [d.dest(0, to.wide())?, d.source(1, ty)?, d.source(2, ty)?, third, 0];
    d.emit(exec, ops)
}

/// `lop3.b32 d, a, b, c, table`; also `lop3.or.b32 d|p, a, b, c, table, q`, whose p is "d ≠ 0" combined with q.
fn lop3(d: &mut Decoder) -> Result<(), Error> {
    if d.take_any(&["and", "or"]).is_some() {
        return Err(d.unknown());
    }
    d.take("b32");
    let Operand::Integer(table) = d.operand(4)? else { return Err(d.bad("the table is not a constant")) };
    d.mode = *table as u32;
    let ops = [d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, d.source(3, Ty::B32)?, 0];
    let exec = match d.mode {
        0x96 => ternary(|a: u32, b: u32, c: u32| a ^ b ^ c),
        0x80 => ternary(|a: u32, b: u32, c: u32| a & b & c),
        0xfe => ternary(|a: u32, b: u32, c: u32| a | b | c),
        0xca => ternary(|a: u32, b: u32, c: u32| a & b | !a & c),
        0xf8 => ternary(|a: u32, b: u32, c: u32| a | b & c),
        0xea => ternary(|a: u32, b: u32, c: u32| a & b | c),
        _ => ternary_mode(|table, a: u32, b: u32, c: u32| {
            let mut out = 0;
            for k in 0..8u32 {
                let term =
                    (if k & 4 != 0 { a } else { !a }) & (if k & 2 != 0 { b } else { !b }) & (if k & 1 != 0 { c } else { !c });
                out |= term & 0u32.wrapping_sub(table >> k & 1);
            }
            out
        }),
    };
    d.emit(exec, ops)
}

fn shift(d: &mut Decoder) -> Result<(), Error> {
    if d.opcode() == "shf" {
        let left = d.take("l");
        if !left && !d.take("r") {
            return Err(d.unknown());
        }
        let clamp = d.take("clamp");
        if !clamp && !d.take("wrap") {
            return Err(d.unknown());
        }
        d.take("b32");
        let ops = [d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, d.source(3, Ty::B32)?, 0];
        let exec = match (left, clamp) {
            (true, true) => ternary(|a: u32, b: u32, c: u32| (((b as u64) << 32 | a as u64) << c.min(32) >> 32) as u32),
            (true, false) => ternary(|a: u32, b: u32, c: u32| (((b as u64) << 32 | a as u64) << (c & 31) >> 32) as u32),
            (false, true) => ternary(|a: u32, b: u32, c: u32| (((b as u64) << 32 | a as u64) >> c.min(32)) as u32),
            (false, false) => ternary(|a: u32, b: u32, c: u32| (((b as u64) << 32 | a as u64) >> (c & 31)) as u32),
        };
        return d.emit(exec, ops);
    }
    let left = d.opcode() == "shl";
    let ty = d.ty()?;
    // Amounts above the width count as the width.
    let exec = match (left, ty.bytes(), ty.signed()) {
        (true, 2, _) => binary(|a: u16, n: u32| if n > 15 { 0 } else { a << n }),
        (true, 4, _) => binary(|a: u32, n: u32| if n > 31 { 0 } else { a << (n & 31) }),
        (true, 8, _) => binary(|a: u64, n: u32| if n > 63 { 0 } else { a << (n & 63) }),
        (false, 2, false) => binary(|a: u16, n: u32| if n > 15 { 0 } else { a >> n }),
        (false, 4, false) => binary(|a: u32, n: u32| if n > 31 { 0 } else { a >> (n & 31) }),
        (false, 8, false) => binary(|a: u64, n: u32| if n > 63 { 0 } else { a >> (n & 63) }),
        (false, 2, true) => binary(|a: i16, n: u32| a >> n.min(15)),
        (false, 4, true) => binary(|a: i32, n: u32| a >> n.min(31)),
        (false, 8, true) => binary(|a: i64, n: u32| a >> n.min(63)),
        _ => return Err(d.unknown()),
    };
    let ops = [d.dest(0, ty.wide())?, d.source(1, ty)?, d.source(2, Ty::U32)?, 0, 0];
    d.emit(exec, ops)
}

fn count(d: &mut Decoder) -> Result<(), Error> {
    let amount = d.take("shiftamt");
    let ty = d.ty()?;
    let exec = match (d.opcode(), ty, amount) {
        ("popc", Ty::B32, false) => unary(|a: u32| a.count_ones()),
        ("popc", Ty::B64, false) => unary(|a: u64| a.count_ones()),
        ("clz", Ty::B32, false) => unary(|a: u32| a.leading_zeros()),
        ("clz", Ty::B64, false) => unary(|a: u64| a.leading_zeros()),
        ("bfind", Ty::U32, false) => unary(|a: u32| 31u32.wrapping_sub(a.leading_zeros())),
        ("bfind", Ty::U32, true) => unary(|a: u32| if a == 0 { u32::MAX } else { a.leading_zeros() }),
        ("bfind", Ty::S32, false) => unary(|a: i32| 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros())),
        ("bfind", Ty::S32, true) => unary(|a: i32| {
            let bits = a ^ (a >> 31);
            if bits == 0 { u32::MAX } else { bits.leading_zeros() }
        }),
        ("bfind", Ty::U64, false) => unary(|a: u64| 63u32.wrapping_sub(a.leading_zeros())),
        ("bfind", Ty::S64, false) => unary(|a: i64| 63u32.wrapping_sub((a ^ (a >> 63)).leading_zeros())),
        _ => return Err(d.unknown()),
    };
    let ops = [d.dest(0, false)?, d.source(1, ty)?, 0, 0, 0];
    d.emit(exec, ops)
}

/// The field of `len` bits at `pos`, sign-extended from its top bit (or the value's, where the field goes beyond it).
fn extract(a: u64, pos: u32, len: u32, width: u32, signed: bool) -> u64 {
    let (pos, len) = (pos & 255, len & 255);
    let sign = signed && len > 0 && a >> (pos + len - 1).min(width - 1) & 1 != 0;
    let shifted = if pos >= width { 0 } else { a >> pos };
    let here = len.min(width.saturating_sub(pos));
    let keep = if here >= 64 { u64::MAX } else { (1 << here) - 1 };
    shifted & keep | if sign { !keep } else { 0 }
}

/// `a`'s low bits put into `b` at `pos`.
fn insert(a: u64, b: u64, pos: u32, len: u32, width: u32) -> u64 {
    let (pos, len) = (pos & 255, len & 255);
    if pos >= width {
        return b;
    }
    let len = len.min(width - pos);
    let keep = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    b & !(keep << pos) | (a & keep) << pos
}

fn fields(d: &mut Decoder) -> Result<(), Error> {
    match d.opcode() {
        "bfe" => {
            let ty = d.ty()?;
            let exec = match ty {
                Ty::U32 => ternary(|a: u32, p: u32, n: u32| extract(a as u64, p, n, 32, false) as u32),
                Ty::S32 => ternary(|a: u32, p: u32, n: u32| extract(a as u64, p, n, 32, true) as u32),
                Ty::U64 => ternary(|a: u64, p: u32, n: u32| extract(a, p, n, 64, false)),
                Ty::S64 => ternary(|a: u64, p: u32, n: u32| extract(a, p, n, 64, true)),
                _ => return Err(d.unknown()),
            };
            let ops = [d.dest(0, ty.wide())?, d.source(1, ty)?, d.source(2, Ty::U32)?, d.source(3, Ty::U32)?, 0];
            d.emit(exec, ops)
        }
        "bfi" => {
            let ty = d.ty()?;
            let exec = match ty {
                Ty::B32 => quaternary(|a: u32, b: u32, p: u32, n: u32| insert(a as u64, b as u64, p, n, 32) as u32),
                Ty::B64 => quaternary(|a: u64, b: u64, p: u32, n: u32| insert(a, b, p, n, 64)),
                _ => return Err(d.unknown()),
            };
            let ops = [d.dest(0, ty.wide())?, d.source(1, ty)?, d.source(2, ty)?, d.source(3, Ty::U32)?, d.source(4, Ty::U32)?];
            d.emit(exec, ops)
        }
        "bmsk" => {
            let clamp = d.take("clamp");
            if !clamp && !d.take("wrap") {
                return Err(d.unknown());
            }
            d.take("b32");
            let ops = [d.dest(0, false)?, d.source(1, Ty::U32)?, d.source(2, Ty::U32)?, 0, 0];
            let exec = if clamp {
                binary(|p: u32, n: u32| insert(u64::MAX, 0, p.min(32), n.min(32), 32) as u32)
            } else {
                binary(|p: u32, n: u32| insert(u64::MAX, 0, p & 31, n & 31, 32) as u32)
            };
            d.emit(exec, ops)
        }
        "prmt" => {
            d.take("b32");
            if d.take_any(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]).is_some() {
                return Err(d.unknown());
            }
            let ops = [d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, d.source(3, Ty::B32)?, 0];
            let exec = ternary(|a: u32, b: u32, c: u32| {
                let bytes = (b as u64) << 32 | a as u64;
                (0..4u32).fold(0, |out, k| {
                    let s = c >> (4 * k);
                    let byte = (bytes >> (8 * (s & 7))) as u8;
                    let byte = if s & 8 != 0 { 0u8.wrapping_sub(byte >> 7) } else { byte };
                    out | (byte as u32) << (8 * k)
                })
            });
            d.emit(exec, ops)
        }
        _ => Err(d.unknown()),
    }
}

/// Two 16-bit integers a register.
fn packed_extreme(d: &mut Decoder) -> Result<(), Error> {
    let kind = d.take_any(&["u16x2", "s16x2"]).ok_or_else(|| d.unknown())?;
    d.mode = (d.opcode() == "max") as u32 | ((kind == "s16x2") as u32 * 2);
    let exec = binary_mode(|mode, a: u32, b: u32| {
        let pick = |a: u16, b: u16| {
            let less = if mode & 2 != 0 { (a as i16) < b as i16 } else { a < b };
            if less != (mode & 1 != 0) { a } else { b }
        };
        pick(a as u16, b as u16) as u32 | (pick((a >> 16) as u16, (b >> 16) as u16) as u32) << 16
    });
    let ops = [d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, 0, 0];
    d.emit(exec, ops)
}

/// What a carry instruction computes, in `mode`.
const CARRY_OUT: u32 = 1;
const CARRY_IN: u32 = 2;
const SUBTRACT: u32 = 4;
const HIGH: u32 = 8;
const SIGNED: u32 = 16;
const MULTIPLY: u32 = 32;

/// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc`: the carry flag is a predicate of its own.
fn carry(d: &mut Decoder, carry_in: bool) -> Result<(), Error> {
    let half = d.take_any(&["lo", "hi"]);
    let out = d.take("cc");
    let ty = d.ty()?;
    let opcode = d.opcode();
    d.mode = if out { CARRY_OUT } else { 0 }
        | if carry_in { CARRY_IN } else { 0 }
        | if opcode.starts_with("sub") { SUBTRACT } else { 0 }
        | if half == Some("hi") { HIGH } else { 0 }
        | if ty.signed() { SIGNED } else { 0 }
        | if opcode.starts_with("mad") { MULTIPLY } else { 0 };
    let flag = d.carry_flag(carry_in, out);
    let third = if d.mode & MULTIPLY != 0 { d.source(3, ty)? } else { 0 };
    let ops = [d.dest(0, ty.wide())?, d.source(1, ty)?, d.source(2, ty)?, third, flag];
    d.emit(if ty.wide() { with_carry_64 } else { with_carry_32 }, ops)
}

fn with_carry_32(warp: &mut Warp, inst: &Inst) -> Step {
    with_carry(
        warp,
        inst,
        32,
        |warp, slot, lane| warp.row::<u32>(slot)[lane] as u64,
        |warp, slot, out| {
            warp.write(slot, &out.map(|v| v as u32));
        },
    )
}

fn with_carry_64(warp: &mut Warp, inst: &Inst) -> Step {
    with_carry(warp, inst, 64, |warp, slot, lane| warp.row::<u64>(slot)[lane], |warp, slot, out| warp.write(slot, &out))
}

fn with_carry(
    warp: &mut Warp,
    inst: &Inst,
    width: u32,
    read: impl Fn(&Warp, u32, usize) -> u64,
    write: impl Fn(&mut Warp, u32, [u64; LANES]),
) -> Step {
    let mode = inst.mode;
    let before = warp.pred(inst.e());
    let (mut out, mut after) = ([0; LANES], 0u32);
    for (lane, out) in out.iter_mut().enumerate() {
        let (a, b) = (read(warp, inst.a(), lane), read(warp, inst.b(), lane));
        let flag = (mode & CARRY_IN != 0 && before >> lane & 1 != 0) as u128;
        let (x, y) = if mode & MULTIPLY != 0 {
            let product = match (mode & SIGNED != 0, width) {
                (false, _) => a as u128 * b as u128,
                (true, 32) => (a as i32 as i64 as i128 * b as i32 as i64 as i128) as u128,
                (true, _) => (a as i64 as i128 * b as i64 as i128) as u128,
            };
            let part = if mode & HIGH != 0 { product >> width } else { product };
            (part & ((1 << width) - 1), read(warp, inst.c(), lane) as u128)
        } else {
            (a as u128, b as u128)
        };
        let sum = if mode & SUBTRACT != 0 { x.wrapping_sub(y).wrapping_sub(flag) } else { x + y + flag };
        *out = (sum & ((1 << width) - 1)) as u64;
        after |= ((sum >> width & 1 != 0) as u32) << lane;
    }
    write(warp, inst.d(), out);
    if mode & CARRY_OUT != 0 {
        warp.set_pred(inst.e(), after);
    }
    Step::Next
}
