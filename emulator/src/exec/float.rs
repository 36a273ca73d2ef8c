//! Arithmetic of f32 and f64.
//!
//! The common forms (round to nearest, with or without ftz) have closures of their own, which vectorise; the others go
//! through `rounding`. Approximations (`.approx`) are computed in f64 and rounded once, which is closer than a GPU's.

use super::lanes::{Exec, binary, binary_mode, ternary, ternary_mode, unary, unary_mode};
use super::rounding::{self, FTZ, NAN, SAT, canonical, finish, flush, flush_if};
use crate::ir::{Class, Decoder, Ty};
use crate::ptx::Error;

/// Takes the rounding mode and the flags ftz and sat.
pub(super) fn take_mode(d: &mut Decoder) -> u32 {
    let rounding = match d.take_any(&["rn", "rz", "rm", "rp"]) {
        Some("rz") => rounding::ZERO,
        Some("rm") => rounding::DOWN,
        Some("rp") => rounding::UP,
        _ => rounding::NEAREST,
    };
    rounding | if d.take("ftz") { FTZ } else { 0 } | if d.take("sat") { SAT } else { 0 }
}

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    let approx = d.take_any(&["approx", "full"]).is_some();
    let nan = d.take("NaN");
    let xor_sign = d.take("xorsign");
    if d.take("abs") && d.opcode() != "abs" && !xor_sign {
        return Err(d.unknown());
    }
    d.mode = take_mode(d);
    let ty = d.ty()?;
    if d.words().any(|w| w == "f32x2") || xor_sign {
        return Err(d.unknown());
    }
    let opcode = d.opcode();
    let exec = if ty == Ty::F32 { single(opcode, d.mode, approx, nan) } else { double(opcode, d.mode, approx, nan) };
    let (exec, sources) = exec.ok_or_else(|| d.unknown())?;
    (d.class, d.flops) = match opcode {
        "fma" | "mad" => (Class::Float, 2),
        "add" | "sub" | "mul" => (Class::Float, 1),
        "min" | "max" | "abs" | "neg" | "copysign" => (Class::Float, 0),
        _ => (Class::Special, 1),
    };
    let mut ops = [d.dest(0, ty.wide())?, 0, 0, 0, 0];
    for (k, op) in ops.iter_mut().enumerate().skip(1).take(sources) {
        *op = d.source(k, ty)?;
    }
    d.emit(exec, ops)
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b || b.is_nan() || (a == b && a.is_sign_negative()) { a } else { b }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || b.is_nan() || (a == b && a.is_sign_positive()) { a } else { b }
}

/// What executes an operation on f32 and its number of sources.
fn single(opcode: &str, mode: u32, approx: bool, nan: bool) -> Option<(Exec, usize)> {
    let exec = match (opcode, mode, approx, nan) {
        ("add", 0, false, false) => (binary(|a: f32, b: f32| canonical(a + b)), 2),
        ("add", FTZ, false, false) => (binary(|a: f32, b: f32| canonical(flush(flush(a) + flush(b)))), 2),
        ("add", _, false, false) => (binary_mode(rounding::add), 2),
        ("sub", 0, false, false) => (binary(|a: f32, b: f32| canonical(a - b)), 2),
        ("sub", FTZ, false, false) => (binary(|a: f32, b: f32| canonical(flush(flush(a) - flush(b)))), 2),
        ("sub", _, false, false) => (binary_mode(|m, a: f32, b: f32| rounding::add(m, a, -b)), 2),
        ("mul", 0, false, false) => (binary(|a: f32, b: f32| canonical(a * b)), 2),
        ("mul", FTZ, false, false) => (binary(|a: f32, b: f32| canonical(flush(flush(a) * flush(b)))), 2),
        ("mul", _, false, false) => (binary_mode(rounding::mul), 2),
        ("fma" | "mad", 0, false, false) => (ternary(|a: f32, b: f32, c: f32| canonical(a.mul_add(b, c))), 3),
        ("fma" | "mad", FTZ, false, false) => {
            (ternary(|a: f32, b: f32, c: f32| canonical(flush(flush(a).mul_add(flush(b), flush(c))))), 3)
        }
        ("fma" | "mad", _, false, false) => (ternary_mode(rounding::fma), 3),
        ("min", 0, false, false) => (binary(|a: f32, b: f32| canonical(smaller(a, b))), 2),
        ("max", 0, false, false) => (binary(|a: f32, b: f32| canonical(larger(a, b))), 2),
        ("min", FTZ, false, false) => (binary(|a: f32, b: f32| canonical(smaller(flush(a), flush(b)))), 2),
        ("max", FTZ, false, false) => (binary(|a: f32, b: f32| canonical(larger(flush(a), flush(b)))), 2),
        ("min", 0 | FTZ, false, true) => (
            binary_mode(|m, a: f32, b: f32| {
                let (a, b) = (flush_if(m, a), flush_if(m, b));
                if a.is_nan() || b.is_nan() { NAN } else { smaller(a, b) }
            }),
            2,
        ),
        ("max", 0 | FTZ, false, true) => (
            binary_mode(|m, a: f32, b: f32| {
                let (a, b) = (flush_if(m, a), flush_if(m, b));
                if a.is_nan() || b.is_nan() { NAN } else { larger(a, b) }
            }),
            2,
        ),
        ("abs", 0, false, false) => (unary(|a: u32| a & 0x7fff_ffff), 1),
        ("neg", 0, false, false) => (unary(|a: u32| a ^ 0x8000_0000), 1),
        ("abs", FTZ, false, false) => (unary(|a: f32| flush(a).abs()), 1),
        ("neg", FTZ, false, false) => (unary(|a: f32| -flush(a)), 1),
        // copysign.f32 d, a, b: the magnitude of b with the sign of a.
        ("copysign", 0, false, false) => (binary(|a: u32, b: u32| a & 0x8000_0000 | b & 0x7fff_ffff), 2),
        ("div", _, false, false) => (binary_mode(rounding::div), 2),
        ("rcp", _, false, false) => (unary_mode(|m, a: f32| rounding::div(m, 1.0, a)), 1),
        ("sqrt", _, false, false) => (unary_mode(rounding::sqrt), 1),
        ("div", 0 | FTZ, true, false) => (binary_mode(|m, a: f32, b: f32| finish(m, flush_if(m, a) / flush_if(m, b))), 2),
        ("rcp", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, 1.0 / flush_if(m, a))), 1),
        ("sqrt", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, flush_if(m, a).sqrt())), 1),
        ("rsqrt", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, (1.0 / (flush_if(m, a) as f64).sqrt()) as f32)), 1),
        ("sin", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, (flush_if(m, a) as f64).sin() as f32)), 1),
        ("cos", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, (flush_if(m, a) as f64).cos() as f32)), 1),
        ("lg2", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, (flush_if(m, a) as f64).log2() as f32)), 1),
        ("ex2", 0 | FTZ, true, false) => (unary_mode(|m, a: f32| finish(m, (flush_if(m, a) as f64).exp2() as f32)), 1),
        ("tanh", 0, true, false) => (unary(|a: f32| canonical((a as f64).tanh() as f32)), 1),
        _ => return None,
    };
    Some(exec)
}

/// What executes an operation on f64 and its number of sources. NaN payloads pass through, as on a GPU.
fn double(opcode: &str, mode: u32, approx: bool, nan: bool) -> Option<(Exec, usize)> {
    if nan || mode & SAT != 0 || mode & FTZ != 0 && !approx {
        return None;
    }
    let exec = match (opcode, mode, approx) {
        ("add", 0, false) => (binary(|a: f64, b: f64| a + b), 2),
        ("add", _, false) => (binary_mode(rounding::add_f64), 2),
        ("sub", 0, false) => (binary(|a: f64, b: f64| a - b), 2),
        ("sub", _, false) => (binary_mode(|m, a: f64, b: f64| rounding::add_f64(m, a, -b)), 2),
        ("mul", 0, false) => (binary(|a: f64, b: f64| a * b), 2),
        ("mul", _, false) => (binary_mode(rounding::mul_f64), 2),
        ("fma" | "mad", 0, false) => (ternary(|a: f64, b: f64, c: f64| a.mul_add(b, c)), 3),
        ("fma" | "mad", _, false) => (ternary_mode(rounding::fma_f64), 3),
        ("min", 0, false) => {
            (binary(|a: f64, b: f64| if a < b || b.is_nan() || (a == b && a.is_sign_negative()) { a } else { b }), 2)
        }
        ("max", 0, false) => {
            (binary(|a: f64, b: f64| if a > b || b.is_nan() || (a == b && a.is_sign_positive()) { a } else { b }), 2)
        }
        ("abs", 0, false) => (unary(|a: u64| a & !(1 << 63)), 1),
        ("neg", 0, false) => (unary(|a: u64| a ^ 1 << 63), 1),
        ("copysign", 0, false) => (binary(|a: u64, b: u64| a & 1 << 63 | b & !(1 << 63)), 2),
        ("div", _, false) => (binary_mode(rounding::div_f64), 2),
        ("rcp", _, false) => (unary_mode(|m, a: f64| rounding::div_f64(m, 1.0, a)), 1),
        ("sqrt", _, false) => (unary_mode(rounding::sqrt_f64), 1),
        // rcp.approx.ftz.f64 and rsqrt.approx.f64 look at the upper half only and give an upper half.
        ("rcp", FTZ, true) => (unary(|a: u64| upper(1.0 / f64::from_bits(a & !0xffff_ffff))), 1),
        ("rsqrt", FTZ, true) => (unary(|a: u64| upper(1.0 / f64::from_bits(a & !0xffff_ffff).sqrt())), 1),
        ("rsqrt", 0, true) => (unary(|a: f64| 1.0 / a.sqrt()), 1),
        _ => return None,
    };
    Some(exec)
}

/// The upper half of an f64, denormals flushed.
fn upper(v: f64) -> u64 {
    let bits = v.to_bits();
    (if v.is_subnormal() { bits & 1 << 63 } else { bits }) & !0xffff_ffff
}
