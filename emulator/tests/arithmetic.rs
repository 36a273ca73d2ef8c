//! The arithmetic against the PTX ISA: exhaustively for 16-bit types, by random numbers against exact f64 for the rest.
//!
//! Each test runs a line of PTX over arrays. The references do not share code with the emulator: they compare with exact
//! values, or with the crate `half`.

mod support;

use cudarc::driver::{LaunchConfig, PushKernelArg};
use half::{bf16, f16};
use support::context;

/// Runs `body` once an element: it reads %a, %b, %c (or %la, %lb, %lc, 64 bits wide) and leaves its result in %d (or %ld).
fn run(body: &str, a: &[u64], b: &[u64], c: &[u64]) -> Vec<u64> {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n
        .visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pd, .param .u32 n) {{
        .reg .pred %p, %q; .reg .b16 %h<8>; .reg .b32 %a, %b, %c, %d, %i, %t, %n, %x<8>; .reg .b64 %la, %lb, %lc, %ld, %at<5>;
        mov.u32 %i, %ctaid.x; mov.u32 %t, %ntid.x; mov.u32 %n, %tid.x; mad.lo.u32 %i, %i, %t, %n;
        ld.param.u32 %n, [n]; setp.ge.u32 %p, %i, %n; @%p bra DONE;
        ld.param.u64 %at0, [pa]; mad.wide.u32 %at0, %i, 8, %at0; ld.global.u64 %la, [%at0]; cvt.u32.u64 %a, %la;
        ld.param.u64 %at1, [pb]; mad.wide.u32 %at1, %i, 8, %at1; ld.global.u64 %lb, [%at1]; cvt.u32.u64 %b, %lb;
        ld.param.u64 %at2, [pc]; mad.wide.u32 %at2, %i, 8, %at2; ld.global.u64 %lc, [%at2]; cvt.u32.u64 %c, %lc;
        cvt.u16.u32 %h0, %a; cvt.u16.u32 %h1, %b; cvt.u16.u32 %h2, %c;
        {body}
        ld.param.u64 %at3, [pd]; mad.wide.u32 %at3, %i, 8, %at3; st.global.u64 [%at3], %ld;
        DONE: ret; }}"
    );
    let (context, stream) = context();
    let f = support::ptx(&context, &text).load_function("k").expect("k");
    let fill = |v: &[u64]| if v.is_empty() { vec![0; a.len()] } else { v.to_vec() };
    let (da, db, dc) =
        (stream.clone_htod(a).unwrap(), stream.clone_htod(&fill(b)).unwrap(), stream.clone_htod(&fill(c)).unwrap());
    let mut dd = stream.alloc_zeros::<u64>(a.len()).unwrap();
    let n = a.len() as u32;
    // SAFETY: the arguments are those the kernel declares, and it stays inside the arrays.
    unsafe { stream.launch_builder(&f).arg(&da).arg(&db).arg(&dc).arg(&mut dd).arg(&n).launch(LaunchConfig::for_num_elems(n)) }
        .unwrap();
    stream.clone_dtoh(&dd).unwrap()
}

/// An operation on 32-bit registers.
fn run32(body: &str, a: &[u32], b: &[u32], c: &[u32]) -> Vec<u32> {
    let wide = |v: &[u32]| v.iter().map(|&x| x as u64).collect::<Vec<_>>();
    run(&format!("{body} cvt.u64.u32 %ld, %d;"), &wide(a), &wide(b), &wide(c)).into_iter().map(|v| v as u32).collect()
}

/// An operation on 16-bit registers, its result in %h3.
fn run16(body: &str, a: &[u32], b: &[u32], c: &[u32]) -> Vec<u16> {
    run32(&format!("{body} cvt.u32.u16 %d, %h3;"), a, b, c).into_iter().map(|v| v as u16).collect()
}

/// A reference.
type Function = fn(f64) -> f64;

/// Random words.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A float with an exponent in a range around 0, so that sums and products of f32 are exact in f64.
    fn float(&mut self, spread: u64) -> f32 {
        let bits = self.next();
        let exponent = 127 - spread / 2 + (bits >> 40) % spread;
        f32::from_bits((bits as u32 & 0x807f_ffff) | (exponent as u32) << 23)
    }
    fn words(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| (self.next() >> 16) as u32).collect()
    }
}

/// Numbers that test corners: zeros, denormals, extremes, infinities, NaN.
const CORNERS: [u32; 16] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0001,
    0xffff_ffff,
];

fn all_pairs(values: &[u32]) -> (Vec<u32>, Vec<u32>) {
    values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b))).unzip()
}

/// Whether `got` is the f32 to which an exact value rounds in a mode. `compare` orders an f32 against the exact value.
fn is_rounded(mode: &str, got: f32, negative: bool, compare: impl Fn(f32) -> std::cmp::Ordering) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match compare(got) {
        Equal => true,
        Less => (mode == "rm" || mode == "rz" && !negative) && compare(got.next_up()) == Greater,
        Greater => (mode == "rp" || mode == "rz" && negative) && compare(got.next_down()) == Less,
    }
}

#[test]
fn directed_rounding_of_add_mul_and_fma() {
    let mut random = Random(1);
    let n = 4000;
    let (a, b): (Vec<f32>, Vec<f32>) = (0..n).map(|_| (random.float(20), random.float(20))).unzip();
    let c: Vec<f32> = (0..n).map(|_| random.float(4)).collect();
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for mode in ["rn", "rz", "rm", "rp"] {
        for (op, exact) in [
            ("add", Box::new(|k: usize| a[k] as f64 + b[k] as f64) as Box<dyn Fn(usize) -> f64>),
            ("sub", Box::new(|k: usize| a[k] as f64 - b[k] as f64)),
            ("mul", Box::new(|k: usize| a[k] as f64 * b[k] as f64)),
        ] {
            let got = run32(&format!("{op}.{mode}.f32 %d, %a, %b;"), &bits(&a), &bits(&b), &[]);
            for k in 0..n {
                let (got, exact) = (f32::from_bits(got[k]), exact(k));
                let right = if mode == "rn" {
                    got == exact as f32
                } else {
                    is_rounded(mode, got, exact < 0.0, |v| (v as f64).total_cmp(&exact))
                };
                assert!(right, "{op}.{mode} of {:e} and {:e}: got {got:e}, exact {exact:e}", a[k], b[k]);
            }
        }
        // a·b is exact in f64; a·b + c is compared by subtracting c, exact while exponents are close.
        let small: Vec<f32> = a.iter().map(|v| f32::from_bits(v.to_bits() & !0xfff)).collect();
        let other: Vec<f32> = b.iter().map(|v| f32::from_bits((v.to_bits() & 0x807f_f000) | 0x3f80_0000)).collect();
        let got = run32(&format!("fma.{mode}.f32 %d, %a, %b, %c;"), &bits(&small), &bits(&other), &bits(&c));
        for k in 0..n {
            // 12 + 12 bits of product against 24 bits whose exponent is within 12: at most 53 bits.
            let exact = small[k] as f64 * other[k] as f64 + c[k] as f64;
            let got = f32::from_bits(got[k]);
            let right = if mode == "rn" {
                got == exact as f32
            } else {
                is_rounded(mode, got, exact < 0.0, |v| (v as f64).total_cmp(&exact))
            };
            assert!(right, "fma.{mode} of {:e}, {:e}, {:e}: got {got:e}, exact {exact:e}", small[k], other[k], c[k]);
        }
    }
}

#[test]
fn fma_rounds_once_even_at_ties_in_f64() {
    // 1 + 2^-24 is halfway between two f32; the product's tail below f64's reach decides.
    let a = [1.0f32 + f32::EPSILON, 1.0 - f32::EPSILON / 2.0, 3.0];
    let b = [2f32.powi(-24), 2f32.powi(-24), 2f32.powi(-80)];
    let c = [1.0f32, 1.0, 1.0];
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let got = run32("fma.rn.f32 %d, %a, %b, %c;", &bits(&a), &bits(&b), &bits(&c));
    assert_eq!(got, [1.0f32.next_up(), 1.0, 1.0].map(f32::to_bits));
    let up = run32("fma.rp.f32 %d, %a, %b, %c;", &bits(&a), &bits(&b), &bits(&c));
    assert_eq!(up, [1.0f32.next_up(); 3].map(f32::to_bits));
}

#[test]
fn directed_rounding_of_div_and_sqrt() {
    let mut random = Random(2);
    let n = 4000;
    let (a, b): (Vec<f32>, Vec<f32>) = (0..n).map(|_| (random.float(20), random.float(20).abs())).unzip();
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for mode in ["rz", "rm", "rp"] {
        let got = run32(&format!("div.{mode}.f32 %d, %a, %b;"), &bits(&a), &bits(&b), &[]);
        for k in 0..n {
            let right =
                is_rounded(mode, f32::from_bits(got[k]), a[k] < 0.0, |v| (v as f64 * b[k] as f64).total_cmp(&(a[k] as f64)));
            assert!(right, "div.{mode} of {:e} and {:e}: got {:e}", a[k], b[k], f32::from_bits(got[k]));
        }
        let got = run32(&format!("sqrt.{mode}.f32 %d, %b;"), &bits(&a), &bits(&b), &[]);
        for k in 0..n {
            let right = is_rounded(mode, f32::from_bits(got[k]), false, |v| (v as f64 * v as f64).total_cmp(&(b[k] as f64)));
            assert!(right, "sqrt.{mode} of {:e}: got {:e}", b[k], f32::from_bits(got[k]));
        }
    }
    let nearest = run32("div.rn.f32 %d, %a, %b;", &bits(&a), &bits(&b), &[]);
    assert!((0..n).all(|k| f32::from_bits(nearest[k]) == a[k] / b[k]));
    let reciprocal = run32("rcp.rn.f32 %d, %b;", &bits(&a), &bits(&b), &[]);
    assert!((0..n).all(|k| f32::from_bits(reciprocal[k]) == 1.0 / b[k]));
}

#[test]
fn corners_of_f32() {
    let (a, b) = all_pairs(&CORNERS);
    let float = |v: u32| f32::from_bits(v);
    let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
    type Reference = fn(f32, f32) -> f32;
    let operations: [(&str, Reference); 3] = [("add", |a, b| a + b), ("mul", |a, b| a * b), ("sub", |a, b| a - b)];
    for (op, reference) in operations {
        let plain = run32(&format!("{op}.f32 %d, %a, %b;"), &a, &b, &[]);
        let flushed = run32(&format!("{op}.ftz.f32 %d, %a, %b;"), &a, &b, &[]);
        let clamped = run32(&format!("{op}.sat.f32 %d, %a, %b;"), &a, &b, &[]);
        for k in 0..a.len() {
            let exact = reference(float(a[k]), float(b[k]));
            let canonical = |v: f32| if v.is_nan() { 0x7fff_ffff } else { v.to_bits() };
            assert_eq!(plain[k], canonical(exact), "{op} {:x} {:x}", a[k], b[k]);
            let ftz = flush(reference(flush(float(a[k])), flush(float(b[k]))));
            assert_eq!(flushed[k], canonical(ftz), "{op}.ftz {:x} {:x}", a[k], b[k]);
            let sat = if exact > 0.0 { exact.min(1.0) } else { 0.0 };
            assert_eq!(clamped[k], sat.to_bits(), "{op}.sat {:x} {:x}", a[k], b[k]);
        }
    }
    let (min, max) = (run32("min.f32 %d, %a, %b;", &a, &b, &[]), run32("max.f32 %d, %a, %b;", &a, &b, &[]));
    for k in 0..a.len() {
        let (x, y) = (float(a[k]), float(b[k]));
        let (low, high) = match (x.is_nan(), y.is_nan()) {
            (true, true) => (0x7fff_ffff, 0x7fff_ffff),
            (true, false) => (b[k], b[k]),
            (false, true) => (a[k], a[k]),
            // The total order puts −0 before +0.
            _ if x.total_cmp(&y).is_lt() => (a[k], b[k]),
            _ => (b[k], a[k]),
        };
        assert_eq!((min[k], max[k]), (low, high), "min, max of {:x} and {:x}", a[k], b[k]);
    }
}

#[test]
fn comparisons_ordered_and_unordered() {
    let (a, b) = all_pairs(&CORNERS);
    type Reference = fn(f32, f32) -> bool;
    let comparisons: [(&str, Reference, bool); 6] = [
        ("eq", |a, b| a == b, false),
        ("ne", |a, b| a != b, false),
        ("lt", |a, b| a < b, false),
        ("le", |a, b| a <= b, false),
        ("gt", |a, b| a > b, false),
        ("ge", |a, b| a >= b, false),
    ];
    for (name, reference, _) in comparisons {
        let ordered = run32(&format!("setp.{name}.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;"), &a, &b, &[]);
        let unordered = run32(&format!("set.{name}u.u32.f32 %d, %a, %b;"), &a, &b, &[]);
        for k in 0..a.len() {
            let (x, y) = (f32::from_bits(a[k]), f32::from_bits(b[k]));
            let nan = x.is_nan() || y.is_nan();
            assert_eq!(ordered[k] == 1, reference(x, y) && !nan, "{name} {x} {y}");
            assert_eq!(unordered[k] == u32::MAX, reference(x, y) || nan, "{name}u {x} {y}");
        }
    }
    let pair = run32("setp.lt.and.s32 %p|%q, %a, %b, !%p; selp.u32 %d, 1, 0, %p; @%q or.b32 %d, %d, 2;", &a, &b, &[]);
    for k in 0..a.len() {
        // %p is false here, so the combination is with true.
        assert_eq!(pair[k], if (a[k] as i32) < b[k] as i32 { 1 } else { 2 });
    }
}

#[test]
fn sixteen_bit_floats_to_f32_and_back_exhaustively() {
    let all: Vec<u32> = (0..=0xffff).collect();
    let canonical = |v: f32| if v.is_nan() { 0x7fff_ffff } else { v.to_bits() };
    let wide = run32("cvt.f32.f16 %d, %h0;", &all, &[], &[]);
    let brain = run32("cvt.f32.bf16 %d, %h0;", &all, &[], &[]);
    for k in 0..=0xffffu16 {
        assert_eq!(wide[k as usize], canonical(f16::from_bits(k).to_f32()), "f16 {k:x}");
        assert_eq!(brain[k as usize], canonical(bf16::from_bits(k).to_f32()), "bf16 {k:x}");
    }
    // Around every half: itself, halfway to the next, and one f32 to each side of halfway.
    for (ty, value) in [("f16", (|k| f16::from_bits(k).to_f32()) as fn(u16) -> f32), ("bf16", |k| bf16::from_bits(k).to_f32())] {
        let mut inputs = Vec::new();
        for k in 0..0xffffu16 {
            let (v, next) = (value(k), value(k + 1));
            if v.is_finite() && next.is_finite() && (k & 0x7fff) != 0x7fff {
                let middle = ((v as f64 + next as f64) / 2.0) as f32;
                inputs.extend([v, middle, middle.next_up(), middle.next_down()].map(f32::to_bits));
            }
        }
        inputs.extend(CORNERS);
        let nearest = run16(&format!("cvt.rn.{ty}.f32 %h3, %a;"), &inputs, &[], &[]);
        let cut = run16(&format!("cvt.rz.{ty}.f32 %h3, %a;"), &inputs, &[], &[]);
        let positive = run16(&format!("cvt.rn.relu.{ty}.f32 %h3, %a;"), &inputs, &[], &[]);
        for (k, &bits) in inputs.iter().enumerate() {
            let v = f32::from_bits(bits);
            if v.is_nan() {
                assert_eq!((nearest[k], cut[k], positive[k]), (0x7fff, 0x7fff, 0x7fff));
                continue;
            }
            let wanted = if ty == "f16" { f16::from_f32(v).to_bits() } else { bf16::from_f32(v).to_bits() };
            assert_eq!(nearest[k], wanted, "cvt.rn.{ty} {v:e}");
            assert_eq!(positive[k], if v <= 0.0 { 0 } else { wanted }, "cvt.rn.relu.{ty} {v:e}");
            let c = value(cut[k]);
            assert!(c.abs() <= v.abs() && (v.is_infinite() || value(cut[k] + 1).abs() > v.abs()), "cvt.rz.{ty} {v:e}: {c:e}");
        }
    }
    let a: Vec<u32> = (0..1000).map(|k| (k as f32 * 0.37 - 100.0).to_bits()).collect();
    let b: Vec<u32> = a.iter().rev().copied().collect();
    let packed = run32("cvt.rn.bf16x2.f32 %d, %a, %b;", &a, &b, &[]);
    for k in 0..a.len() {
        let half = |v: u32| bf16::from_f32(f32::from_bits(v)).to_bits() as u32;
        assert_eq!(packed[k], half(a[k]) << 16 | half(b[k]));
    }
}

/// The half nearest to an exact value, given a guess that is at most one off (`half` cuts an f64 before it rounds it).
fn nearest(value: &dyn Fn(u32) -> f64, guess: u16, exact: f64) -> u16 {
    if exact.is_nan() {
        return 0x7fff;
    }
    if exact.is_infinite() || !value(guess as u32).is_finite() {
        return guess;
    }
    let distance = |k: u16| (value(k as u32) - exact).abs();
    let around = [guess, guess.wrapping_sub(1), guess.wrapping_add(1)];
    let usable = around.into_iter().filter(|&k| k & 0x8000 == guess & 0x8000 && value(k as u32).is_finite());
    usable.min_by(|&x, &y| distance(x).total_cmp(&distance(y)).then((x & 1).cmp(&(y & 1)))).unwrap_or(guess)
}

#[test]
fn sixteen_bit_arithmetic_exhaustively_in_one_operand() {
    let all: Vec<u32> = (0..=0xffff).collect();
    for other in [0x3c00u32, 0x0001, 0x83ff, 0x7bff, 0xc123, 0x5555, 0x7c00] {
        let b = vec![other; all.len()];
        let c: Vec<u32> = all.iter().map(|v| (v * 40503) & 0xffff).collect();
        for ty in ["f16", "bf16"] {
            let value = |v: u32| if ty == "f16" { f16::from_bits(v as u16).to_f64() } else { bf16::from_bits(v as u16).to_f64() };
            let check = |op: &str, got: &[u16], k: usize, exact: f64| {
                let wanted = nearest(
                    &value,
                    if ty == "f16" { f16::from_f64(exact).to_bits() } else { bf16::from_f64(exact).to_bits() },
                    exact,
                );
                assert_eq!(got[k], wanted, "{op}.{ty} {:x} {other:x} {:x}: exact {exact:e}", all[k], c[k]);
            };
            let add = run16(&format!("add.{ty} %h3, %h0, %h1;"), &all, &b, &c);
            let mul = run16(&format!("mul.{ty} %h3, %h0, %h1;"), &all, &b, &c);
            let fma = run16(&format!("fma.rn.{ty} %h3, %h0, %h1, %h2;"), &all, &b, &c);
            for k in 0..all.len() {
                let (x, y, z) = (value(all[k]), value(other), value(c[k]));
                let exact_sum =
                    |p: f64, q: f64| p.is_nan() || q.is_nan() || !(p + q).is_finite() || (p + q) - p == q && (p + q) - q == p;
                if exact_sum(x, y) {
                    check("add", &add, k, x + y);
                }
                check("mul", &mul, k, x * y);
                if exact_sum(x * y, z) {
                    check("fma", &fma, k, x * y + z);
                }
            }
        }
    }
}

#[test]
fn floats_to_integers_round_and_saturate() {
    let mut random = Random(3);
    let mut inputs: Vec<u32> = random.words(4000);
    inputs.extend(CORNERS);
    inputs.extend((-40..40).map(|k| (k as f32 / 4.0).to_bits()));
    inputs.extend(
        [2147483520.0f32, 2147483648.0, -2147483648.0, 4294967040.0, 4294967296.0, 255.5, -128.5, 65535.5].map(f32::to_bits),
    );
    let round: [(&str, Function); 4] =
        [("rni", f64::round_ties_even), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)];
    for (mode, round) in round {
        let s32 = run32(&format!("cvt.{mode}.s32.f32 %d, %a;"), &inputs, &[], &[]);
        let u32s = run32(&format!("cvt.{mode}.u32.f32 %d, %a;"), &inputs, &[], &[]);
        let u8s = run32(&format!("cvt.{mode}.u8.f32 %d, %a;"), &inputs, &[], &[]);
        let s16 = run16(&format!("cvt.{mode}.s16.f32 %h3, %a;"), &inputs, &[], &[]);
        let wide: Vec<u64> = inputs.iter().map(|&v| v as u64).collect();
        let s64 = run(&format!("cvt.{mode}.s64.f32 %ld, %a;"), &wide, &[], &[]);
        let kept = run32(&format!("cvt.{mode}.f32.f32 %d, %a;"), &inputs, &[], &[]);
        for (k, &bits) in inputs.iter().enumerate() {
            let v = f32::from_bits(bits);
            let r = round(v as f64);
            assert_eq!(s32[k] as i32, r as i32, "cvt.{mode}.s32 {v:e}");
            assert_eq!(u32s[k], r as u32, "cvt.{mode}.u32 {v:e}");
            assert_eq!(u8s[k], r as u8 as u32, "cvt.{mode}.u8 {v:e}");
            assert_eq!(s16[k] as i16, r as i16, "cvt.{mode}.s16 {v:e}");
            assert_eq!(s64[k] as i64, if v.is_nan() { i64::MIN } else { r as i64 }, "cvt.{mode}.s64 {v:e}");
            assert!(f32::from_bits(kept[k]) == r as f32 || v.is_nan() && kept[k] == 0x7fff_ffff, "cvt.{mode}.f32 {v:e}");
        }
    }
}

#[test]
fn integers_to_floats_round_as_told() {
    let mut random = Random(4);
    let inputs: Vec<u64> = (0..4000).map(|k| random.next() >> (k % 64)).chain([0, 1, u64::MAX, 1 << 63, (1 << 63) - 1]).collect();
    for mode in ["rn", "rz", "rm", "rp"] {
        let unsigned = run(&format!("cvt.{mode}.f32.u64 %d, %la; cvt.u64.u32 %ld, %d;"), &inputs, &[], &[]);
        let signed = run(&format!("cvt.{mode}.f32.s32 %d, %a; cvt.u64.u32 %ld, %d;"), &inputs, &[], &[]);
        let double = run(&format!("cvt.{mode}.f64.s64 %ld, %la;"), &inputs, &[], &[]);
        for (k, &v) in inputs.iter().enumerate() {
            let check = |got: f32, exact: i128, nearest: f32| {
                let right =
                    if mode == "rn" { got == nearest } else { is_rounded(mode, got, exact < 0, |f| (f as i128).cmp(&exact)) };
                assert!(right, "cvt.{mode}.f32 of {exact}: got {got:e}");
            };
            check(f32::from_bits(unsigned[k] as u32), v as i128, v as f32);
            check(f32::from_bits(signed[k] as u32), v as i32 as i128, v as i32 as f32);
            let d = f64::from_bits(double[k]);
            assert!(mode != "rn" || d == v as i64 as f64);
            assert!(mode != "rz" || (d as i128).abs() <= (v as i64 as i128).abs());
            assert!(mode != "rp" || d as i128 >= v as i64 as i128);
            assert!(mode != "rm" || d as i128 <= v as i64 as i128);
        }
    }
}

#[test]
fn tf32_rounds_to_nearest_away_from_zero() {
    let mut random = Random(5);
    let inputs: Vec<u32> = random.words(4000).into_iter().chain(CORNERS).chain([0x3f80_1000, 0x3f80_0fff, 0xbf80_1000]).collect();
    let got = run32("cvt.rna.tf32.f32 %d, %a;", &inputs, &[], &[]);
    for (k, &bits) in inputs.iter().enumerate() {
        let v = f32::from_bits(bits);
        if v.is_nan() {
            assert!(f32::from_bits(got[k]).is_nan());
            continue;
        }
        if v.is_infinite() {
            assert_eq!(got[k], bits);
            continue;
        }
        assert_eq!(got[k] & 0x1fff, 0);
        let (down, up) = (bits & !0x1fff, (bits & !0x1fff) + 0x2000);
        let wanted = if bits - down >= 0x1000 { up } else { down };
        assert_eq!(got[k], wanted, "{v:e}");
    }
}

#[test]
fn double_precision() {
    let mut random = Random(6);
    let double = |r: &mut Random| f64::from_bits((r.next() & 0x800f_ffff_ffff_ffff) | (1013 + r.next() % 20) << 52);
    let (a, b): (Vec<f64>, Vec<f64>) = (0..2000).map(|_| (double(&mut random), double(&mut random))).unzip();
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let op = |text: &str| run(text, &bits(&a), &bits(&b), &bits(&a)).into_iter().map(f64::from_bits).collect::<Vec<_>>();
    let (fma, div) = (op("fma.rn.f64 %ld, %la, %lb, %lc;"), op("div.rn.f64 %ld, %la, %lb;"));
    let (low, high) = (op("add.rm.f64 %ld, %la, %lb;"), op("add.rp.f64 %ld, %la, %lb;"));
    for k in 0..a.len() {
        assert_eq!(fma[k], a[k].mul_add(b[k], a[k]));
        assert_eq!(div[k], a[k] / b[k]);
        let sum = a[k] + b[k];
        assert!(low[k] <= sum && high[k] >= sum && (high[k] == low[k] || high[k] == low[k].next_up()));
    }
    let narrow = run("cvt.rz.f32.f64 %d, %la; cvt.u64.u32 %ld, %d;", &bits(&a), &[], &[]);
    for k in 0..a.len() {
        assert!(is_rounded("rz", f32::from_bits(narrow[k] as u32), a[k] < 0.0, |v| (v as f64).total_cmp(&a[k])));
    }
}

#[test]
fn approximations_are_close() {
    let mut random = Random(7);
    let a: Vec<f32> = (0..2000).map(|_| random.float(12)).collect();
    let bits: Vec<u32> = a.iter().map(|v| v.to_bits()).collect();
    let functions: [(&str, Function); 7] = [
        ("ex2.approx.f32", f64::exp2),
        ("lg2.approx.f32", f64::log2),
        ("rcp.approx.f32", |v| 1.0 / v),
        ("rsqrt.approx.f32", |v| 1.0 / v.sqrt()),
        ("sin.approx.f32", f64::sin),
        ("cos.approx.f32", f64::cos),
        ("tanh.approx.f32", f64::tanh),
    ];
    for (name, function) in functions {
        let got = run32(&format!("{name} %d, %a;"), &bits, &[], &[]);
        for k in 0..a.len() {
            let (got, wanted) = (f32::from_bits(got[k]) as f64, function(a[k] as f64));
            let near = wanted.is_nan() && got.is_nan() || (got - wanted).abs() <= wanted.abs() * 2f64.powi(-22) + 1e-30;
            assert!(near, "{name} of {}: got {got}, wanted {wanted}", a[k]);
        }
    }
}

#[test]
fn integer_instructions() {
    let mut random = Random(8);
    let n = 3000;
    let (a, b, c) = (random.words(n), random.words(n), random.words(n).into_iter().map(|v| v % 40).collect::<Vec<_>>());
    let check = |text: &str, reference: &dyn Fn(u32, u32, u32) -> u32| {
        let got = run32(text, &a, &b, &c);
        for k in 0..n {
            let wanted = reference(a[k], b[k], c[k]);
            assert_eq!(got[k], wanted, "{text} of {:#x}, {:#x}, {:#x}", a[k], b[k], c[k]);
        }
    };
    check("mul.hi.s32 %d, %a, %b;", &|a, b, _| ((a as i32 as i64 * b as i32 as i64) >> 32) as u32);
    check("mul.hi.u32 %d, %a, %b;", &|a, b, _| ((a as u64 * b as u64) >> 32) as u32);
    check("mad.lo.s32 %d, %a, %b, %c;", &|a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check("sad.s32 %d, %a, %b, %c;", &|a, b, c| c.wrapping_add((a as i32).abs_diff(b as i32)));
    check("shl.b32 %d, %a, %c;", &|a, _, c| a.checked_shl(c).unwrap_or(0));
    check("shr.s32 %d, %a, %c;", &|a, _, c| ((a as i32) >> c.min(31)) as u32);
    check("shf.l.wrap.b32 %d, %a, %b, %c;", &|a, b, c| if c % 32 == 0 { b } else { b << (c % 32) | a >> (32 - c % 32) });
    check("shf.r.clamp.b32 %d, %a, %b, %c;", &|a, b, c| (((b as u64) << 32 | a as u64) >> c.min(32)) as u32);
    check("prmt.b32 %d, %a, %b, 0x7250;", &|a, b, _| (a & 0xff) | (b >> 8 & 0xff) << 8 | (a >> 16 & 0xff) << 16 | b >> 24 << 24);
    check("lop3.b32 %d, %a, %b, %c, 0x1b;", &|a, b, c| {
        (0..32).fold(0, |out, bit| out | (0x1b >> ((a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1)) & 1) << bit)
    });
    check("popc.b32 %d, %a;", &|a, _, _| a.count_ones());
    check("clz.b32 %d, %a;", &|a, _, _| a.leading_zeros());
    check("brev.b32 %d, %a;", &|a, _, _| a.reverse_bits());
    check("bfe.u32 %d, %a, %c, 7;", &|a, _, c| if c > 31 { 0 } else { a >> c & 0x7f });
    check("bfe.s32 %d, %a, 3, 5;", &|a, _, _| ((a << 24) as i32 >> 27) as u32);
    check("bfi.b32 %d, %a, %b, 4, 8;", &|a, b, _| b & !0xff0 | (a & 0xff) << 4);
    check("div.s32 %d, %a, %b;", &|a, b, _| (a as i32).wrapping_div(b as i32) as u32);
    check("rem.u32 %d, %a, %b;", &|a, b, _| a % b);
    check("dp4a.s32.u32 %d, %a, %b, %c;", &|a, b, c| {
        (0..4).fold(c, |sum, k| sum.wrapping_add(((a >> (8 * k)) as i8 as i32 * ((b >> (8 * k)) as u8 as i32)) as u32))
    });
    check("add.cc.u32 %x0, %a, %b; addc.u32 %d, %c, 0;", &|a, b, c| c + a.overflowing_add(b).1 as u32);
    check("max.s32 %d, %a, %b;", &|a, b, _| (a as i32).max(b as i32) as u32);
    check("abs.s32 %d, %a;", &|a, _, _| (a as i32).wrapping_abs() as u32);
    check("cvt.sat.s8.s32 %d, %a;", &|a, _, _| (a as i32).clamp(-128, 127) as u32);
    check("cvt.s32.s8 %d, %a;", &|a, _, _| a as i8 as i32 as u32);
    check("slct.b32.s32 %d, %a, %b, %c;", &|a, _, _| a);
}

/// mma.sync of every shape against a matrix product in f64, fragments laid out as the ISA's figures have them.
#[test]
fn mma_fragments_of_every_shape() {
    struct Case {
        shape: &'static str,
        ty: &'static str,
        k: usize,
    }
    let cases = [
        Case { shape: "m16n8k16", ty: "f16", k: 16 },
        Case { shape: "m16n8k16", ty: "bf16", k: 16 },
        Case { shape: "m16n8k8", ty: "f16", k: 8 },
        Case { shape: "m16n8k8", ty: "bf16", k: 8 },
        Case { shape: "m16n8k8", ty: "tf32", k: 8 },
        Case { shape: "m16n8k4", ty: "tf32", k: 4 },
    ];
    let mut random = Random(9);
    for Case { shape, ty, k } in cases {
        let number = |r: &mut Random| ((r.next() >> 40) % 129) as f64 / 64.0 - 1.0;
        let a: Vec<f64> = (0..16 * k).map(|_| number(&mut random)).collect();
        let b: Vec<f64> = (0..k * 8).map(|_| number(&mut random)).collect();
        let c: Vec<f64> = (0..128).map(|_| number(&mut random)).collect();
        let per = if ty == "tf32" { 1 } else { 2 };
        let (na, nb) = (16 * k / 32 / per, 8 * k / 32 / per);
        let encode = |v: f64| match ty {
            "f16" => f16::from_f64(v).to_bits() as u32,
            "bf16" => bf16::from_f64(v).to_bits() as u32,
            _ => (v as f32).to_bits(),
        };
        let mut words = Vec::new();
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            for r in 0..na {
                words.push((0..per).fold(0, |word, h| {
                    // a_i of the ISA, i = r · per + h.
                    let i = r * per + h;
                    let (row, column) = if ty == "tf32" {
                        (if i % 2 == 0 { g } else { g + 8 }, if i < 2 { t } else { t + 4 })
                    } else {
                        let low = if k == 8 { i < 2 } else { i < 2 || (4..6).contains(&i) };
                        (if low { g } else { g + 8 }, t * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
                    };
                    word | encode(a[row * k + column]) << (16 * h)
                }));
            }
            for r in 0..nb {
                words.push((0..per).fold(0, |word, h| {
                    let i = r * per + h;
                    let row = if ty == "tf32" { t + 4 * i } else { t * 2 + (i & 1) + if i >= 2 { 8 } else { 0 } };
                    word | encode(b[row * 8 + g]) << (16 * h)
                }));
            }
            for i in 0..4 {
                words.push((c[(if i < 2 { g } else { g + 8 }) * 8 + t * 2 + (i & 1)] as f32).to_bits());
            }
        }
        let list = |name: &str, from: usize, n: usize| {
            let names: Vec<String> = (from..from + n).map(|k| format!("%{name}{k}")).collect();
            format!("{{{}}}", names.join(","))
        };
        let per_lane = na + nb + 4;
        let loads: String = (0..per_lane).map(|k| format!("ld.global.u32 %w{k}, [%at+{}];\n", 4 * k)).collect();
        let text = format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out) {{
            .reg .b32 %w<16>, %d<4>, %lane, %o; .reg .b64 %at, %to;
            mov.u32 %lane, %laneid; ld.param.u64 %at, [in]; mad.wide.u32 %at, %lane, {}, %at;
            {loads}
            mma.sync.aligned.{shape}.row.col.f32.{ty}.{ty}.f32 {}, {}, {}, {};
            ld.param.u64 %to, [out]; mad.wide.u32 %to, %lane, 16, %to; st.global.v4.u32 [%to], {}; ret; }}",
            4 * per_lane,
            list("d", 0, 4),
            list("w", 0, na),
            list("w", na, nb),
            list("w", na + nb, 4),
            list("d", 0, 4),
        );
        let (context, stream) = context();
        let f = support::ptx(&context, &text).load_function("k").expect("k");
        let input = stream.clone_htod(&words).unwrap();
        let mut output = stream.alloc_zeros::<f32>(128).unwrap();
        let one_warp = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those the kernel declares.
        unsafe { stream.launch_builder(&f).arg(&input).arg(&mut output).launch(one_warp) }.unwrap();
        let got = stream.clone_dtoh(&output).unwrap();
        for lane in 0..32 {
            for i in 0..4 {
                let (row, column) = ((if i < 2 { lane / 4 } else { lane / 4 + 8 }), lane % 4 * 2 + (i & 1));
                // These numbers have few bits: every product and sum is exact.
                let wanted = c[row * 8 + column] + (0..k).map(|x| a[row * k + x] * b[x * 8 + column]).sum::<f64>();
                assert_eq!(got[lane * 4 + i] as f64, wanted, "{shape} {ty}: row {row}, column {column}");
            }
        }
    }
}
