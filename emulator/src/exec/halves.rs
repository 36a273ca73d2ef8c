//! Arithmetic of f16 and bf16, one or two a register.
//!
//! An operation is computed in f64, exactly (products and sums of halves fit), and rounded once.

use half::{bf16, f16};

use super::lanes::{Exec, Lane, binary_mode, ternary_mode, unary_mode};
use super::rounding::{FTZ, NEAREST, SAT};
use crate::ir::{Class, Decoder, Ty};
use crate::ptx::Error;

/// Flag in `mode`: negative results become 0.
const RELU: u32 = 16;
/// Flag in `mode`: min and max return NaN when an operand is.
const PROPAGATE: u32 = 32;

/// A 16-bit float.
trait Half: Lane<Cell = u32> {
    const NAN: u16;
    fn bits(self) -> u16;
    fn from(bits: u16) -> Self;
    fn wide(self) -> f64;
    fn round(v: f64) -> Self;
    fn flushed(self) -> Self;
}

impl Half for f16 {
    const NAN: u16 = 0x7fff;
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn from(bits: u16) -> Self {
        f16::from_bits(bits)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn round(v: f64) -> Self {
        f16::from_bits(super::convert::narrow(NEAREST, v, 0.0, 5, 10))
    }
    fn flushed(self) -> Self {
        if self.to_bits() & 0x7c00 == 0 { f16::from_bits(self.to_bits() & 0x8000) } else { self }
    }
}

impl Half for bf16 {
    const NAN: u16 = 0x7fff;
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn from(bits: u16) -> Self {
        bf16::from_bits(bits)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn round(v: f64) -> Self {
        bf16::from_bits(super::convert::narrow(NEAREST, v, 0.0, 8, 7))
    }
    fn flushed(self) -> Self {
        self
    }
}

fn out<H: Half>(mode: u32, v: f64) -> u16 {
    let mut v = v;
    if v.is_nan() {
        return if mode & SAT != 0 { 0 } else { H::NAN };
    }
    if mode & SAT != 0 {
        v = if v > 0.0 { v.min(1.0) } else { 0.0 };
    }
    if mode & RELU != 0 && v <= 0.0 {
        v = 0.0;
    }
    let h = H::round(v);
    if mode & FTZ != 0 { h.flushed() } else { h }.bits()
}

fn into<H: Half>(mode: u32, bits: u16) -> f64 {
    let h = H::from(bits);
    if mode & FTZ != 0 { h.flushed() } else { h }.wide()
}

/// The sum of an exact product and a half, rounded to odd in f64 so that rounding to a half is right.
fn exact_sum(product: f64, c: f64) -> f64 {
    let (s, e) = super::rounding::two_sum(product, c);
    if e == 0.0 || !s.is_finite() || s.to_bits() & 1 == 1 {
        return s;
    }
    if e > 0.0 { s.next_up() } else { s.next_down() }
}

fn extreme<H: Half>(mode: u32, max: bool, a: u16, b: u16) -> u16 {
    let (x, y) = (into::<H>(mode, a), into::<H>(mode, b));
    if x.is_nan() && y.is_nan() || mode & PROPAGATE != 0 && (x.is_nan() || y.is_nan()) {
        return H::NAN;
    }
    let first = if x == y { x.is_sign_negative() != max } else { (x < y) != max };
    let take_first = y.is_nan() || !x.is_nan() && first;
    out::<H>(mode, if take_first { x } else { y })
}

/// One lane of one half: the closure families below apply these to one or two halves.
macro_rules! forms {
    ($ty:expr, $family:ident, $H:ident, |$mode:ident, $($arg:ident),*| $body:expr) => {
        match $ty {
            Ty::F16 => { type $H = f16; $family(|$mode, $($arg: u16),*| -> u16 { $body }) }
            Ty::BF16 => { type $H = bf16; $family(|$mode, $($arg: u16),*| -> u16 { $body }) }
            Ty::F16x2 => {
                type $H = f16;
                $family(|$mode, $($arg: u32),*| {
                    let f = |$($arg: u16),*| -> u16 { $body };
                    f($($arg as u16),*) as u32 | (f($(($arg >> 16) as u16),*) as u32) << 16
                })
            }
            _ => {
                type $H = bf16;
                $family(|$mode, $($arg: u32),*| {
                    let f = |$($arg: u16),*| -> u16 { $body };
                    f($($arg as u16),*) as u32 | (f($(($arg >> 16) as u16),*) as u32) << 16
                })
            }
        }
    };
}

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    let approx = d.take("approx");
    d.take("rn");
    let (ftz, sat, relu, nan) = (d.take("ftz"), d.take("sat"), d.take("relu"), d.take("NaN"));
    d.mode =
        if ftz { FTZ } else { 0 } | if sat { SAT } else { 0 } | if relu { RELU } else { 0 } | if nan { PROPAGATE } else { 0 };
    let ty = d.ty()?;
    let opcode = d.opcode();
    let (exec, sources): (Exec, usize) = match (opcode, approx) {
        ("add", false) => (forms!(ty, binary_mode, H, |m, a, b| out::<H>(m, exact_sum(into::<H>(m, a), into::<H>(m, b)))), 2),
        ("sub", false) => (forms!(ty, binary_mode, H, |m, a, b| out::<H>(m, exact_sum(into::<H>(m, a), -into::<H>(m, b)))), 2),
        ("mul", false) => (forms!(ty, binary_mode, H, |m, a, b| out::<H>(m, into::<H>(m, a) * into::<H>(m, b))), 2),
        ("fma", false) => (
            forms!(ty, ternary_mode, H, |m, a, b, c| out::<H>(m, exact_sum(into::<H>(m, a) * into::<H>(m, b), into::<H>(m, c)))),
            3,
        ),
        ("min", false) => (forms!(ty, binary_mode, H, |m, a, b| extreme::<H>(m, false, a, b)), 2),
        ("max", false) => (forms!(ty, binary_mode, H, |m, a, b| extreme::<H>(m, true, a, b)), 2),
        ("neg", false) => (forms!(ty, unary_mode, _H, |_m, a| a ^ 0x8000), 1),
        ("abs", false) => (forms!(ty, unary_mode, _H, |_m, a| a & 0x7fff), 1),
        ("ex2", true) => (forms!(ty, unary_mode, H, |m, a| out::<H>(m, into::<H>(m, a).exp2())), 1),
        ("tanh", true) => (forms!(ty, unary_mode, H, |m, a| out::<H>(m, into::<H>(m, a).tanh())), 1),
        _ => return Err(d.unknown()),
    };
    let two = matches!(ty, Ty::F16x2 | Ty::BF16x2) as u32 + 1;
    (d.class, d.flops) = match opcode {
        "fma" => (Class::Float, 2 * two),
        "add" | "sub" | "mul" => (Class::Float, two),
        "ex2" | "tanh" => (Class::Special, two),
        _ => (Class::Float, 0),
    };
    let mut ops = [d.dest(0, false)?, 0, 0, 0, 0];
    for (k, op) in ops.iter_mut().enumerate().skip(1).take(sources) {
        *op = d.source(k, ty)?;
    }
    d.emit(exec, ops)
}
