//! eˣ and tanh in f32 without a branch or a call, so that loops over them become vectors. They multiply and add without
//! fusing, so that all vector widths give the same bits. Within 2 and 4 units in the last place of the exact value (the tests
//! below walk over them).

/// eˣ: 2ⁿ·e^r with n = round(x·log₂e), |r| ≤ ½·log 2, e^r by the polynomial of Cephes' expf (S. L. Moshier), 2ⁿ in two halves
/// so that the ends of the range (subnormals, infinity) come out of the multiplication.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5·2²³: adding it rounds to an integer, which then stands in the lower bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * power(n >> 1) * power(n.wrapping_sub(n >> 1))
}

/// tanh x: x·P(x²)/Q(x²), the rational approximation of Eigen's generic_fast_tanh_float.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let c = if x > 7.905_311 { 7.905_311 } else { x };
    let c = if c < -7.905_311 { -7.905_311 } else { c };
    let s = c * c;
    let mut p = -2.760_768_5e-16;
    p = p * s + 2.000_188e-13;
    p = p * s + -8.604_672e-11;
    p = p * s + 5.122_297_1e-8;
    p = p * s + 1.485_722_4e-5;
    p = p * s + 6.372_619_3e-4;
    p = p * s + 4.893_524_6e-3;
    let mut q = 1.198_258_4e-6;
    q = q * s + 1.185_347_1e-4;
    q = q * s + 2.268_434_6e-3;
    q = q * s + 4.893_525e-3;
    let t = c * p / q;
    let t = if t > 1.0 { 1.0 } else { t };
    let t = if t < -1.0 { -1.0 } else { t };
    if x.abs() < 4e-4 { x } else { t }
}

#[cfg(test)]
mod tests {
    /// The largest error over a walk through all binades, in units of the last place of the exact value.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..0x7f80_0000_u32).step_by(509) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let (got, want) = (f64::from(f(x)), exact(f64::from(x)));
                if want > f64::from(f32::MAX) {
                    assert_eq!(got, f64::INFINITY, "at {x}");
                    continue;
                }
                let unit = (want.abs() * f64::from(f32::EPSILON)).max(f64::from(f32::from_bits(1)));
                let error = (got - want).abs() / unit;
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        worst
    }

    #[test]
    fn exp_is_within_two_units() {
        let (error, x) = worst(super::exp, f64::exp);
        assert!(error <= 2.0, "{error} units at {x}");
        assert!(super::exp(f32::NAN).is_nan());
        assert_eq!((super::exp(f32::INFINITY), super::exp(f32::NEG_INFINITY), super::exp(0.0)), (f32::INFINITY, 0.0, 1.0));
    }

    #[test]
    fn tanh_is_within_four_units() {
        let (error, x) = worst(super::tanh, f64::tanh);
        assert!(error <= 4.0, "{error} units at {x}");
        assert!(super::tanh(f32::NAN).is_nan());
        assert!((1.0 - super::tanh(f32::INFINITY)) < 1e-6 && (super::tanh(f32::NEG_INFINITY) + 1.0) < 1e-6);
    }
}
