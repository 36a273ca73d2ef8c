//! IEEE arithmetic beyond what the CPU gives directly: directed rounding, flushing of denormals, the canonical NaN.
//!
//! A result is rounded the hard way from its exact value, written as `s + e`: the nearest f64 and what is missing from it.

/// Rounding modes, as in `mode` of an instruction.
pub const NEAREST: u32 = 0;
/// Towards zero.
pub const ZERO: u32 = 1;
/// Towards minus infinity.
pub const DOWN: u32 = 2;
/// Towards plus infinity.
pub const UP: u32 = 3;
/// Flag in `mode`: denormals of f32 are zero, on the way in and out.
pub const FTZ: u32 = 4;
/// Flag in `mode`: the result is clamped to [0, 1], NaN becomes 0.
pub const SAT: u32 = 8;

/// The NaN that f32 instructions return.
pub const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// NaN made canonical.
#[inline(always)]
pub fn canonical(v: f32) -> f32 {
    if v.is_nan() { NAN } else { v }
}

/// A denormal made zero, its sign kept.
#[inline(always)]
pub fn flush(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

/// Flushes if the mode says so.
#[inline(always)]
pub fn flush_if(mode: u32, v: f32) -> f32 {
    if mode & FTZ != 0 { flush(v) } else { v }
}

/// What becomes of a result: flushed, clamped, NaN canonical.
#[inline(always)]
pub fn finish(mode: u32, v: f32) -> f32 {
    let v = flush_if(mode, v);
    if mode & SAT != 0 {
        return if v > 0.0 { v.min(1.0) } else { 0.0 };
    }
    canonical(v)
}

/// `a + b` as the nearest f64 and the rest, exactly (Knuth).
#[inline(always)]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// The f32 to which the exact value `s + e` rounds. `e` is no more than half a unit in the last place of `s`.
pub fn round_f32(mode: u32, s: f64, e: f64) -> f32 {
    if !s.is_finite() {
        return s as f32;
    }
    let near = s as f32;
    let wide = near as f64;
    if mode & 3 == NEAREST {
        // `s` halfway between two f32 is no tie when something is missing from it.
        if e != 0.0 {
            let odd = nudge_to_odd(s, e);
            return odd as f32;
        }
        return near;
    }
    let above = wide > s || wide == s && e < 0.0;
    let below = wide < s || wide == s && e > 0.0;
    let down = match mode & 3 {
        DOWN => true,
        UP => false,
        _ => s > 0.0 || s == 0.0 && e > 0.0,
    };
    if down && above {
        near.next_down()
    } else if !down && below {
        near.next_up()
    } else {
        near
    }
}

/// `s` with an odd last bit, towards `e`, so that a second rounding goes the right way.
fn nudge_to_odd(s: f64, e: f64) -> f64 {
    if s.to_bits() & 1 == 1 {
        return s;
    }
    if e > 0.0 { s.next_up() } else { s.next_down() }
}

/// The zero that `x + y = 0` gives: negative only when both are, or when rounding down a true cancellation.
fn zero_sum(mode: u32, x: f64, y: f64) -> f32 {
    let (x, y) = (x.is_sign_negative(), y.is_sign_negative());
    if x && y || x != y && mode & 3 == DOWN { -0.0 } else { 0.0 }
}

/// a + b.
pub fn add(mode: u32, a: f32, b: f32) -> f32 {
    fma(mode, a, 1.0, b)
}

/// a · b + c, rounded once.
pub fn fma(mode: u32, a: f32, b: f32, c: f32) -> f32 {
    let (a, b, c) = (flush_if(mode, a), flush_if(mode, b), flush_if(mode, c));
    let product = a as f64 * b as f64;
    let (s, e) = two_sum(product, c as f64);
    let result = if s == 0.0 && e == 0.0 {
        zero_sum(mode, product, c as f64)
    } else {
        round_f32(mode, s, if s.is_finite() { e } else { 0.0 })
    };
    finish(mode, result)
}

/// a · b.
pub fn mul(mode: u32, a: f32, b: f32) -> f32 {
    let (a, b) = (flush_if(mode, a), flush_if(mode, b));
    finish(mode, round_f32(mode, a as f64 * b as f64, 0.0))
}

/// a / b.
pub fn div(mode: u32, a: f32, b: f32) -> f32 {
    let (a, b) = (flush_if(mode, a), flush_if(mode, b));
    let q = a as f64 / b as f64;
    // The sign of what is missing: of (a − q·b) / b.
    let rest = if q.is_finite() { (-q).mul_add(b as f64, a as f64) } else { 0.0 };
    let e = if rest == 0.0 { 0.0 } else { f64::MIN_POSITIVE.copysign(rest) * (b as f64).signum() };
    finish(mode, round_f32(mode, q, e))
}

/// √a.
pub fn sqrt(mode: u32, a: f32) -> f32 {
    let a = flush_if(mode, a) as f64;
    let r = a.sqrt();
    let rest = if r.is_finite() { (-r).mul_add(r, a) } else { 0.0 };
    let e = if rest == 0.0 { 0.0 } else { f64::MIN_POSITIVE.copysign(rest) };
    finish(mode, round_f32(mode, r, e))
}

/// The f64 that `v` rounds to in a direction, when the exact value is `v` plus something of the sign of `e`.
fn directed(mode: u32, v: f64, e: f64) -> f64 {
    if e == 0.0 || !v.is_finite() {
        return v;
    }
    let down = match mode & 3 {
        NEAREST => return v,
        DOWN => true,
        UP => false,
        _ => v > 0.0 || v == 0.0 && e > 0.0,
    };
    if down && e < 0.0 {
        v.next_down()
    } else if !down && e > 0.0 {
        v.next_up()
    } else {
        v
    }
}

/// a · b + c in f64. Where the exact rest underflows the direction may be lost.
pub fn fma_f64(mode: u32, a: f64, b: f64, c: f64) -> f64 {
    let v = a.mul_add(b, c);
    if mode & 3 == NEAREST || !v.is_finite() {
        if v.is_infinite() && a.is_finite() && b.is_finite() && c.is_finite() {
            return overflow_f64(mode, v);
        }
        return v;
    }
    let product = a * b;
    let low = a.mul_add(b, -product);
    let (s, e) = two_sum(product, c);
    let rest = (s - v) + (e + low);
    if v == 0.0 && rest == 0.0 && (product.is_sign_negative() != c.is_sign_negative()) {
        return if mode & 3 == DOWN { -0.0 } else { 0.0 };
    }
    directed(mode, v, rest)
}

fn overflow_f64(mode: u32, v: f64) -> f64 {
    match mode & 3 {
        ZERO => f64::MAX.copysign(v),
        DOWN if v > 0.0 => f64::MAX,
        UP if v < 0.0 => f64::MIN,
        _ => v,
    }
}

/// a + b in f64.
pub fn add_f64(mode: u32, a: f64, b: f64) -> f64 {
    fma_f64(mode, a, 1.0, b)
}

/// a · b in f64.
pub fn mul_f64(mode: u32, a: f64, b: f64) -> f64 {
    let v = a * b;
    if v.is_infinite() && a.is_finite() && b.is_finite() {
        return overflow_f64(mode, v);
    }
    directed(mode, v, a.mul_add(b, -v))
}

/// a / b in f64.
pub fn div_f64(mode: u32, a: f64, b: f64) -> f64 {
    let v = a / b;
    if v.is_infinite() && a.is_finite() && b != 0.0 {
        return overflow_f64(mode, v);
    }
    let rest = (-v).mul_add(b, a);
    directed(mode, v, if v.is_finite() { rest * b.signum() } else { 0.0 })
}

/// √a in f64.
pub fn sqrt_f64(mode: u32, a: f64) -> f64 {
    let v = a.sqrt();
    directed(mode, v, if v.is_finite() { (-v).mul_add(v, a) } else { 0.0 })
}

/// The integer that `v` rounds to, still as f64.
pub fn to_integer(mode: u32, v: f64) -> f64 {
    match mode & 3 {
        ZERO => v.trunc(),
        DOWN => v.floor(),
        UP => v.ceil(),
        _ => v.round_ties_even(),
    }
}
