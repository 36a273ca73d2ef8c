//! The 32 lanes of a register, and the loops that apply an operation to all of them.
//!
//! A register is a row: 32 cells, one a lane, next to each other. A cell has 32 bits for registers up to 32 bits wide (a
//! 16-bit value lies in the low half, the high half is zero) and 64 for wide ones. An operation is a closure over the
//! values of one lane; the families below turn it into a function over rows whose inner loop the compiler vectorises.
//! Predicates are not rows but masks, one bit a lane.
//!
//! Each function exists twice, compiled for AVX2 and FMA and for the baseline, and `pick` takes the one the machine runs.

use std::marker::PhantomData;

use half::{bf16, f16};

use super::warp::{Step, Warp};
use crate::ir::Inst;

/// Lanes of a warp.
pub const LANES: usize = 32;
/// The mask of a whole warp.
pub const FULL: u32 = u32::MAX;

/// What executes one instruction for the lanes in `warp.mask`.
pub type Exec = fn(&mut Warp, &Inst) -> Step;

/// A cell of a row: `u32` or `u64`.
pub trait Cell: Copy + Default + PartialEq + 'static {}
impl Cell for u32 {}
impl Cell for u64 {}

/// A value as it lies in a cell.
pub trait Lane: Copy + 'static {
    /// The cell it lies in.
    type Cell: Cell;
    /// Out of a cell.
    fn get(cell: Self::Cell) -> Self;
    /// Into a cell.
    fn put(self) -> Self::Cell;
}

/// A value in the low bits of a wide cell.
#[derive(Clone, Copy)]
pub struct Low<T>(pub T);

/// An integer in either kind of cell.
pub trait Value {
    /// The integer's type.
    type Of;
    /// The integer.
    fn value(self) -> Self::Of;
}

macro_rules! values {
    ($($t:ty)*) => {$(
        impl Value for $t {
            type Of = $t;
            #[inline(always)]
            fn value(self) -> $t { self }
        }
    )*};
}
values! { u8 i8 u16 i16 u32 i32 u64 i64 }

impl<T> Value for Low<T> {
    type Of = T;
    #[inline(always)]
    fn value(self) -> T {
        self.0
    }
}

macro_rules! lanes {
    ($($t:ty, $cell:ty, |$c:ident| $get:expr, |$v:ident| $put:expr;)*) => {$(
        impl Lane for $t {
            type Cell = $cell;
            #[inline(always)]
            fn get($c: $cell) -> Self { $get }
            #[inline(always)]
            fn put(self) -> $cell { let $v = self; $put }
        }
    )*};
}

lanes! {
    u8, u32, |c| c as u8, |v| v as u32;
    i8, u32, |c| c as i8, |v| v as i32 as u32;
    u16, u32, |c| c as u16, |v| v as u32;
    i16, u32, |c| c as i16, |v| v as u16 as u32;
    u32, u32, |c| c, |v| v;
    i32, u32, |c| c as i32, |v| v as u32;
    f32, u32, |c| f32::from_bits(c), |v| v.to_bits();
    u64, u64, |c| c, |v| v;
    i64, u64, |c| c as i64, |v| v as u64;
    f64, u64, |c| f64::from_bits(c), |v| v.to_bits();
    f16, u32, |c| f16::from_bits(c as u16), |v| v.to_bits() as u32;
    Low<u8>, u64, |c| Low(c as u8), |v| v.0 as u64;
    Low<i8>, u64, |c| Low(c as i8), |v| v.0 as u64;
    Low<u16>, u64, |c| Low(c as u16), |v| v.0 as u64;
    Low<i16>, u64, |c| Low(c as i16), |v| v.0 as u64;
    Low<u32>, u64, |c| Low(c as u32), |v| v.0 as u64;
    Low<i32>, u64, |c| Low(c as i32), |v| v.0 as u64;
    bf16, u32, |c| bf16::from_bits(c as u16), |v| v.to_bits() as u32;
}

/// What a function over rows does; the type carries the closure.
pub trait Op: 'static {
    /// Executes for the lanes in `warp.mask`.
    fn run(warp: &mut Warp, inst: &Inst) -> Step;
}

fn baseline<O: Op>(warp: &mut Warp, inst: &Inst) -> Step {
    O::run(warp, inst)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx2<O: Op>(warp: &mut Warp, inst: &Inst) -> Step {
    O::run(warp, inst)
}

#[cfg(target_arch = "x86_64")]
fn avx2<O: Op>(warp: &mut Warp, inst: &Inst) -> Step {
    // SAFETY: `pick` hands this out only where the machine has these features.
    unsafe { with_avx2::<O>(warp, inst) }
}

/// The function that executes `O` on this machine.
pub fn pick<O: Op>() -> Exec {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        return avx2::<O>;
    }
    baseline::<O>
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// A closure without captures, from its type.
#[inline(always)]
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "operations capture nothing") };
    // SAFETY: F has no bytes, and the caller was handed a value of it, so the type is inhabited.
    unsafe { std::mem::zeroed() }
}

macro_rules! family {
    ($(#[$doc:meta])* $name:ident, $op:ident, ($($arg:ident: $A:ident),*), $($slot:ident),*) => {
        struct $op<$($A,)* D, F>(PhantomData<($($A,)* D, F)>);
        impl<$($A: Lane,)* D: Lane, F: Fn($($A),*) -> D + Copy + 'static> Op for $op<$($A,)* D, F> {
            #[inline(always)]
            fn run(warp: &mut Warp, inst: &Inst) -> Step {
                let f = conjure::<F>();
                let mut out = [D::Cell::default(); LANES];
                {
                    $(let $arg = warp.row::<$A::Cell>(inst.$slot());)*
                    for lane in 0..LANES {
                        out[lane] = f($($A::get($arg[lane])),*).put();
                    }
                }
                warp.write(inst.d(), &out);
                Step::Next
            }
        }
        $(#[$doc])*
        pub fn $name<$($A: Lane,)* D: Lane, F: Fn($($A),*) -> D + Copy + 'static>(_: F) -> Exec {
            pick::<$op<$($A,)* D, F>>()
        }
    };
}

macro_rules! family_with_mode {
    ($(#[$doc:meta])* $name:ident, $op:ident, ($($arg:ident: $A:ident),*), $($slot:ident),*) => {
        struct $op<$($A,)* D, F>(PhantomData<($($A,)* D, F)>);
        impl<$($A: Lane,)* D: Lane, F: Fn(u32, $($A),*) -> D + Copy + 'static> Op for $op<$($A,)* D, F> {
            #[inline(always)]
            fn run(warp: &mut Warp, inst: &Inst) -> Step {
                let f = conjure::<F>();
                let mode = inst.mode;
                let mut out = [D::Cell::default(); LANES];
                {
                    $(let $arg = warp.row::<$A::Cell>(inst.$slot());)*
                    for lane in 0..LANES {
                        out[lane] = f(mode, $($A::get($arg[lane])),*).put();
                    }
                }
                warp.write(inst.d(), &out);
                Step::Next
            }
        }
        $(#[$doc])*
        pub fn $name<$($A: Lane,)* D: Lane, F: Fn(u32, $($A),*) -> D + Copy + 'static>(_: F) -> Exec {
            pick::<$op<$($A,)* D, F>>()
        }
    };
}

family!(
    /// d = f(a)
    unary, Unary, (a: A), a
);
family!(
    /// d = f(a, b)
    binary, Binary, (a: A, b: B), a, b
);
family!(
    /// d = f(a, b, c)
    ternary, Ternary, (a: A, b: B, c: C), a, b, c
);
family!(
    /// d = f(a, b, c, e)
    quaternary, Quaternary, (a: A, b: B, c: C, e: E), a, b, c, e
);
family_with_mode!(
    /// d = f(mode, a)
    unary_mode, UnaryMode, (a: A), a
);
family_with_mode!(
    /// d = f(mode, a, b)
    binary_mode, BinaryMode, (a: A, b: B), a, b
);
family_with_mode!(
    /// d = f(mode, a, b, c)
    ternary_mode, TernaryMode, (a: A, b: B, c: C), a, b, c
);

struct Compare<A, F>(PhantomData<(A, F)>);
impl<A: Lane, F: Fn(A, A) -> bool + Copy + 'static> Op for Compare<A, F> {
    #[inline(always)]
    fn run(warp: &mut Warp, inst: &Inst) -> Step {
        let f = conjure::<F>();
        let (a, b) = (warp.row::<A::Cell>(inst.a()), warp.row::<A::Cell>(inst.b()));
        let mut bits = [0u32; LANES];
        for lane in 0..LANES {
            bits[lane] = (f(A::get(a[lane]), A::get(b[lane])) as u32) << lane;
        }
        let result = bits.iter().fold(0, |all, bit| all | bit);
        super::compare::finish(warp, inst, result);
        Step::Next
    }
}

/// A comparison; what becomes of its result is the instruction's matter (see `compare::finish`).
pub fn comparison<A: Lane, F: Fn(A, A) -> bool + Copy + 'static>(_: F) -> Exec {
    pick::<Compare<A, F>>()
}
