//! Conversions between all types, with the rounding and saturation the PTX ISA gives them.
//!
//! Float to integer always saturates; NaN becomes 0, or the top bit alone where f64 or 64-bit integers take part.

use half::{bf16, f16};

use super::lanes::{Exec, Low, Value, binary_mode, unary, unary_mode};
use super::rounding::{DOWN, FTZ, NAN, NEAREST, SAT, UP, ZERO, finish, flush_if, round_f32, to_integer};
use crate::ir::{Class, Decoder, Ty};
use crate::ptx::Error;

/// Flag in `mode`: negative results become 0.
const RELU: u32 = 16;
/// Flag in `mode`: the result is rounded to an integer first.
const INTEGER: u32 = 32;
/// Where in `mode` the width of a destination integer lies, with its sign above.
const WIDTH_SHIFT: u32 = 8;
const SIGNED: u32 = 1 << 16;

/// The 16-bit float with that many bits of exponent and mantissa to which `s + e` rounds.
pub fn narrow(mode: u32, s: f64, e: f64, exponent_bits: u32, mantissa_bits: u32) -> u16 {
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let infinity = ((1u32 << exponent_bits) - 1) << mantissa_bits;
    if s.is_nan() {
        return 0x7fff;
    }
    let sign = (s.is_sign_negative() as u32) << 15;
    if s.is_infinite() || s == 0.0 {
        return (sign | if s == 0.0 { 0 } else { infinity }) as u16;
    }
    let s = match e {
        _ if e == 0.0 || s.to_bits() & 1 == 1 => s,
        _ if e > 0.0 => s.next_up(),
        _ => s.next_down(),
    };
    let bits = s.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let place = exponent.max(1 - bias);
    // How many of the 52 bits behind the point go.
    let shift = (52 - mantissa_bits as i32 + place - exponent).min(63) as u32;
    let (kept, rest, half) = (mantissa >> shift, mantissa & ((1 << shift) - 1), 1u64 << (shift - 1));
    let up = match mode & 3 {
        NEAREST => rest > half || rest == half && kept & 1 == 1,
        ZERO => false,
        DOWN => rest != 0 && sign != 0,
        _ => rest != 0 && sign == 0,
    };
    let kept = kept as u32 + up as u32;
    let magnitude =
        if exponent < 1 - bias { kept } else { (((exponent + bias) as u32) << mantissa_bits) + kept - (1 << mantissa_bits) };
    if magnitude < infinity {
        return (sign | magnitude) as u16;
    }
    let stays = match mode & 3 {
        ZERO => true,
        DOWN => sign == 0,
        UP => sign != 0,
        _ => false,
    };
    (sign | if stays { infinity - 1 } else { infinity }) as u16
}

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    d.class = Class::Convert;
    if d.words().any(|w| w == "pack") {
        return pack(d);
    }
    let away = d.take("rna");
    let integer = d.take_any(&["rni", "rzi", "rmi", "rpi"]);
    let rounding = match integer.or_else(|| d.take_any(&["rn", "rz", "rm", "rp"])) {
        Some("rz" | "rzi") => ZERO,
        Some("rm" | "rmi") => DOWN,
        Some("rp" | "rpi") => UP,
        _ => NEAREST,
    };
    let (ftz, sat, relu) = (d.take("ftz"), d.take("sat") || d.take("satfinite"), d.take("relu"));
    d.mode = rounding
        | if ftz { FTZ } else { 0 }
        | if sat { SAT } else { 0 }
        | if relu { RELU } else { 0 }
        | if integer.is_some() { INTEGER } else { 0 };
    let (to, from) = (d.ty()?, d.ty()?);
    if matches!(to, Ty::F16x2 | Ty::BF16x2) {
        return two(d, to, from);
    }
    if to == Ty::TF32 {
        if from != Ty::F32 || relu || sat || ftz {
            return Err(d.unknown());
        }
        let exec = match (away, rounding) {
            (true, _) => unary(|a: f32| tf32(a, |b| b.wrapping_add(0x1000))),
            (false, NEAREST) => unary(|a: f32| tf32(a, |b| b.wrapping_add(0xfff + (b >> 13 & 1)))),
            _ => unary(|a: f32| tf32(a, |b| b)),
        };
        let ops = [d.dest(0, false)?, d.source(1, Ty::F32)?, 0, 0, 0];
        return d.emit(exec, ops);
    }
    if away {
        return Err(d.unknown());
    }
    let floating = |ty: Ty| matches!(ty, Ty::F16 | Ty::BF16 | Ty::F32 | Ty::F64);
    let dest_wide = d.is_wide(d.operand(0)?);
    let (source, source_wide) = d.loose_source(d.operand(1)?, from)?;
    let exec = match (floating(from), floating(to)) {
        (false, false) => integers(d, to, from, dest_wide, source_wide, sat),
        (false, true) => from_integer(to, from, source_wide),
        (true, false) => into_integer(d, to, from, dest_wide),
        (true, true) => floats(d, to, from),
    }
    .ok_or_else(|| d.unknown())?;
    let dest = d.dest(0, dest_wide)?;
    d.emit(exec, [dest, source, 0, 0, 0])
}

#[inline(always)]
fn tf32(a: f32, round: impl Fn(u32) -> u32) -> u32 {
    let bits = a.to_bits();
    if a.is_nan() {
        NAN.to_bits()
    } else if a.is_infinite() {
        bits
    } else {
        round(bits) & !0x1fff
    }
}

/// Puts the shape of a destination integer into the mode.
fn describe(d: &mut Decoder, to: Ty) {
    d.mode |= (to.bytes() * 8) << WIDTH_SHIFT | if to.signed() { SIGNED } else { 0 };
}

/// An integer cut or clamped to the destination's type, extended to 64 bits as the type has it.
#[inline(always)]
fn fit(mode: u32, v: i128) -> u64 {
    let width = mode >> WIDTH_SHIFT & 0xff;
    let signed = mode & SIGNED != 0;
    if mode & SAT != 0 {
        let (low, high) = if signed { (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1) } else { (0, (1i128 << width) - 1) };
        return v.clamp(low, high) as u64;
    }
    v as u64
}

fn integers(d: &mut Decoder, to: Ty, from: Ty, dest_wide: bool, source_wide: bool, sat: bool) -> Option<Exec> {
    describe(d, to);
    macro_rules! from {
        ($t:ty) => {
            match (sat, to, dest_wide) {
                (false, Ty::U32 | Ty::S32 | Ty::B32, false) => unary(|a: $t| a.value() as u32),
                (false, Ty::U64 | Ty::S64 | Ty::B64, true) => unary(|a: $t| a.value() as u64),
                (false, Ty::U16 | Ty::B16, false) => unary(|a: $t| a.value() as u16 as u32),
                (_, _, false) => unary_mode(|m, a: $t| extend(m, fit(m, a.value() as i128)) as u32),
                (_, _, true) => unary_mode(|m, a: $t| extend(m, fit(m, a.value() as i128))),
            }
        };
    }
    Some(match (from, source_wide) {
        (Ty::U8 | Ty::B8, false) => from!(u8),
        (Ty::S8, false) => from!(i8),
        (Ty::U16 | Ty::B16, false) => from!(u16),
        (Ty::S16, false) => from!(i16),
        (Ty::U32 | Ty::B32, false) => from!(u32),
        (Ty::S32, false) => from!(i32),
        (Ty::U64 | Ty::B64, true) => from!(u64),
        (Ty::S64, true) => from!(i64),
        (Ty::U8 | Ty::B8, true) => from!(Low<u8>),
        (Ty::S8, true) => from!(Low<i8>),
        (Ty::U16 | Ty::B16, true) => from!(Low<u16>),
        (Ty::S16, true) => from!(Low<i16>),
        (Ty::U32 | Ty::B32, true) => from!(Low<u32>),
        (Ty::S32, true) => from!(Low<i32>),
        _ => return None,
    })
}

/// Sign-extends from the destination type's width.
#[inline(always)]
fn extend(mode: u32, v: u64) -> u64 {
    let up = 64 - (mode >> WIDTH_SHIFT & 0xff);
    if mode & SIGNED != 0 { ((v << up) as i64 >> up) as u64 } else { v << up >> up }
}

/// The nearest f64 and the rest.
fn split(v: i128) -> (f64, f64) {
    let s = v as f64;
    (s, (v - s as i128) as f64)
}

fn from_integer(to: Ty, from: Ty, source_wide: bool) -> Option<Exec> {
    macro_rules! from {
        ($t:ty) => {
            match to {
                Ty::F32 => unary_mode(|m, a: $t| {
                    if m & 3 == NEAREST {
                        return a.value() as f32;
                    }
                    let (s, e) = split(a.value() as i128);
                    round_f32(m, s, e)
                }),
                Ty::F64 => unary_mode(|m, a: $t| {
                    let (s, e) = split(a.value() as i128);
                    match m & 3 {
                        DOWN if e < 0.0 => s.next_down(),
                        UP if e > 0.0 => s.next_up(),
                        ZERO if s > 0.0 && e < 0.0 => s.next_down(),
                        ZERO if s < 0.0 && e > 0.0 => s.next_up(),
                        _ => s,
                    }
                }),
                Ty::F16 => unary_mode(|m, a: $t| {
                    let (s, e) = split(a.value() as i128);
                    narrow(m, s, e, 5, 10)
                }),
                _ => unary_mode(|m, a: $t| {
                    let (s, e) = split(a.value() as i128);
                    narrow(m, s, e, 8, 7)
                }),
            }
        };
    }
    Some(match (from, source_wide) {
        (Ty::U8, false) => from!(u8),
        (Ty::S8, false) => from!(i8),
        (Ty::U16, false) => from!(u16),
        (Ty::S16, false) => from!(i16),
        (Ty::U32, false) => from!(u32),
        (Ty::S32, false) => from!(i32),
        (Ty::U64, true) => from!(u64),
        (Ty::S64, true) => from!(i64),
        (Ty::U32, true) => from!(Low<u32>),
        (Ty::S32, true) => from!(Low<i32>),
        _ => return None,
    })
}

/// A float to the integer type in the mode, extended to 64 bits.
#[inline(always)]
fn float_to_integer(mode: u32, v: f64, from_f64: bool) -> u64 {
    let width = mode >> WIDTH_SHIFT & 0xff;
    if v.is_nan() {
        return if from_f64 || width == 64 { extend(mode, 1 << (width - 1)) } else { 0 };
    }
    fit(mode | SAT, to_integer(mode, v) as i128)
}

fn into_integer(d: &mut Decoder, to: Ty, from: Ty, dest_wide: bool) -> Option<Exec> {
    if d.mode & INTEGER == 0 {
        return None;
    }
    describe(d, to);
    let quick = d.mode & 3 == ZERO && d.mode & FTZ == 0 && from == Ty::F32 && !dest_wide;
    Some(match (from, dest_wide) {
        (Ty::F32, false) if quick && to == Ty::S32 => unary(|a: f32| a as i32),
        (Ty::F32, false) if quick && to == Ty::U32 => unary(|a: f32| a as u32),
        (Ty::F32, false) => unary_mode(|m, a: f32| float_to_integer(m, flush_if(m, a) as f64, false) as u32),
        (Ty::F32, true) => unary_mode(|m, a: f32| float_to_integer(m, flush_if(m, a) as f64, false)),
        (Ty::F64, false) => unary_mode(|m, a: f64| float_to_integer(m, a, true) as u32),
        (Ty::F64, true) => unary_mode(|m, a: f64| float_to_integer(m, a, true)),
        (Ty::F16, false) => unary_mode(|m, a: f16| float_to_integer(m, a.to_f64(), false) as u32),
        (Ty::F16, true) => unary_mode(|m, a: f16| float_to_integer(m, a.to_f64(), false)),
        (Ty::BF16, false) => unary_mode(|m, a: bf16| float_to_integer(m, a.to_f64(), false) as u32),
        (Ty::BF16, true) => unary_mode(|m, a: bf16| float_to_integer(m, a.to_f64(), false)),
        _ => return None,
    })
}

/// relu and saturation before rounding; they commute with it.
#[inline(always)]
fn clamp(mode: u32, v: f64) -> f64 {
    if mode & SAT != 0 {
        return if v > 0.0 { v.min(1.0) } else { 0.0 };
    }
    // Of the two zeros relu gives the positive one, as max(v, +0) does by the ISA's order of zeros; halves.rs does the same.
    if mode & RELU != 0 && v <= 0.0 { 0.0 } else { v }
}

#[inline(always)]
fn to_f16(mode: u32, v: f64) -> u16 {
    narrow(mode, clamp(mode, v), 0.0, 5, 10)
}

#[inline(always)]
fn to_bf16(mode: u32, v: f64) -> u16 {
    narrow(mode, clamp(mode, v), 0.0, 8, 7)
}

fn floats(d: &mut Decoder, to: Ty, from: Ty) -> Option<Exec> {
    let integer = d.mode & INTEGER != 0;
    Some(match (to, from) {
        (Ty::F32, Ty::F32) if integer => unary_mode(|m, a: f32| finish(m, to_integer(m, flush_if(m, a) as f64) as f32)),
        (Ty::F32, Ty::F32) => unary_mode(|m, a: f32| finish(m, flush_if(m, a))),
        (Ty::F64, Ty::F64) if integer => unary_mode(|m, a: f64| clamp(m, to_integer(m, a))),
        (Ty::F64, Ty::F64) => unary_mode(|m, a: f64| clamp(m, a)),
        (Ty::F16, Ty::F16) if integer => unary_mode(|m, a: f16| to_f16(m, to_integer(m, a.to_f64()))),
        (Ty::BF16, Ty::BF16) if integer => unary_mode(|m, a: bf16| to_bf16(m, to_integer(m, a.to_f64()))),
        _ if integer => return None,
        (Ty::F32, Ty::F64) => unary_mode(|m, a: f64| finish(m, round_f32(m, a, 0.0))),
        (Ty::F64, Ty::F32) => unary_mode(|m, a: f32| clamp(m, flush_if(m, a) as f64)),
        (Ty::F32, Ty::F16) => unary_mode(|m, a: f16| finish(m & !FTZ, a.to_f32())),
        (Ty::F32, Ty::BF16) => unary_mode(|m, a: bf16| finish(m, a.to_f32())),
        (Ty::F64, Ty::F16) => unary_mode(|m, a: f16| clamp(m, a.to_f64())),
        (Ty::F64, Ty::BF16) => unary_mode(|m, a: bf16| clamp(m, a.to_f64())),
        (Ty::F16, Ty::F32) => unary_mode(|m, a: f32| to_f16(m, flush_if(m, a) as f64)),
        (Ty::F16, Ty::F64) => unary_mode(|m, a: f64| to_f16(m, a)),
        (Ty::F16, Ty::F16) => unary_mode(|m, a: f16| to_f16(m, a.to_f64())),
        (Ty::F16, Ty::BF16) => unary_mode(|m, a: bf16| to_f16(m, a.to_f64())),
        (Ty::BF16, Ty::F32) => unary_mode(|m, a: f32| to_bf16(m, flush_if(m, a) as f64)),
        (Ty::BF16, Ty::F64) => unary_mode(|m, a: f64| to_bf16(m, a)),
        (Ty::BF16, Ty::F16) => unary_mode(|m, a: f16| to_bf16(m, a.to_f64())),
        (Ty::BF16, Ty::BF16) => unary_mode(|m, a: bf16| to_bf16(m, a.to_f64())),
        _ => return None,
    })
}

/// `cvt.rn.f16x2.f32 d, a, b`: a into the upper half, b into the lower.
fn two(d: &mut Decoder, to: Ty, from: Ty) -> Result<(), Error> {
    if from != Ty::F32 || d.mode & (SAT | INTEGER) != 0 {
        return Err(d.unknown());
    }
    let exec = if to == Ty::F16x2 {
        binary_mode(|m, a: f32, b: f32| (to_f16(m, a as f64) as u32) << 16 | to_f16(m, b as f64) as u32)
    } else {
        binary_mode(|m, a: f32, b: f32| (to_bf16(m, a as f64) as u32) << 16 | to_bf16(m, b as f64) as u32)
    };
    let ops = [d.dest(0, false)?, d.source(1, Ty::F32)?, d.source(2, Ty::F32)?, 0, 0];
    d.emit(exec, ops)
}

/// `cvt.pack.sat.s16.s32 d, a, b`, also to bytes with a third operand.
fn pack(d: &mut Decoder) -> Result<(), Error> {
    d.take("pack");
    d.take("sat");
    let to = d.ty()?;
    if d.ty()? != Ty::S32 {
        return Err(d.unknown());
    }
    describe(d, to);
    let third = if to.bytes() == 1 {
        d.take("b32");
        d.source(3, Ty::B32)?
    } else {
        d.constant(0, false)
    };
    let ops = [d.dest(0, false)?, d.source(1, Ty::S32)?, d.source(2, Ty::S32)?, third, 0];
    let exec = super::lanes::ternary_mode(|m, a: i32, b: i32, c: u32| {
        let width = m >> WIDTH_SHIFT & 0xff;
        let keep = (1u32 << width) - 1;
        let part = |v: i32| fit(m | SAT, v as i128) as u32 & keep;
        c.checked_shl(2 * width).unwrap_or(0) | part(a) << width | part(b)
    });
    d.emit(exec, ops)
}
