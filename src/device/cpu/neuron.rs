//! Neurons, forward and backward: y = f(x), dx = dy·f′. Backward takes f′ from the output y where that is possible, so that
//! the forward pass may overwrite its input. Cost: forward reads x and writes y; backward reads what it sees and dy, and
//! writes dx; the f32 exponentials are vectors too (`math.rs`).
//!
//! f′ is 0 at the corners of relu, brelu and abs, and of sqrt at 0; at leaky's it is a.

use super::elementwise::{PIECE, map, zip, zip2};
use super::{Real, Workers};
use crate::device::{Into, Neuron};

/// Binds `$f` to the neuron's function and runs `$then`, once for each kind, so that every loop is compiled for its own.
macro_rules! with_function {
    ($neuron:expr, |$f:ident| $then:expr) => {
        match $neuron {
            Neuron::Linear { a, b } => {
                let (a, b) = (T::of(a), T::of(b));
                let $f = move |x: T| a * x + b;
                $then
            }
            Neuron::Relu | Neuron::Nrelu => {
                let $f = |x: T| if x < T::ZERO { T::ZERO } else { x };
                $then
            }
            Neuron::Brelu { a } => {
                let a = T::of(a);
                let $f = move |x: T| {
                    let x = if x < T::ZERO { T::ZERO } else { x };
                    if x > a { a } else { x }
                };
                $then
            }
            // log(1 + eˣ) = max(0, x) + log(1 + e^−|x|): nothing overflows.
            Neuron::Softrelu => {
                let $f = |x: T| (if x < T::ZERO { T::ZERO } else { x }) + (-x.abs()).exp().ln_1p();
                $then
            }
            Neuron::Tanh { a, b } => {
                let (a, b) = (T::of(a), T::of(b));
                let $f = move |x: T| a * (b * x).tanh();
                $then
            }
            Neuron::Logistic => {
                let $f = |x: T| T::ONE / (T::ONE + (-x).exp());
                $then
            }
            Neuron::Abs => {
                let $f = |x: T| x.abs();
                $then
            }
            Neuron::Square => {
                let $f = |x: T| x * x;
                $then
            }
            Neuron::Sqrt => {
                let $f = |x: T| x.sqrt();
                $then
            }
            Neuron::Log { a } => {
                let a = T::of(a);
                let $f = move |x: T| (a + x).ln();
                $then
            }
            Neuron::Drelu { a } => {
                let (unit, a) = (T::of(1.0 / a), T::of(a));
                let $f = move |x: T| x - a * (x * unit).tanh();
                $then
            }
            Neuron::Leaky { a } => {
                let a = T::of(a);
                let $f = move |x: T| if x < T::ZERO { a * x } else { x };
                $then
            }
            // eˣ − 1 = 2t/(1 − t) with t = tanh(x/2), exact to a few units where eˣ is near 1; x is below 0 there.
            Neuron::Elu { a } => {
                let (a, half) = (T::of(a), T::of(0.5));
                let $f = move |x: T| {
                    let t = (x * half).tanh();
                    if x < T::ZERO { a * ((t + t) / (T::ONE - t)) } else { x }
                };
                $then
            }
            Neuron::Swish => {
                let $f = |x: T| x / (T::ONE + (-x).exp());
                $then
            }
        }
    };
}

/// As [`with_function`], of the gradient as a function of dy and of what is seen: the neuron's input where
/// [`Neuron::derivative_reads_input`] says so, else its output. Linear sees nothing and is not here.
macro_rules! with_gradient {
    ($neuron:expr, |$f:ident| $then:expr) => {
        match $neuron {
            Neuron::Linear { a, .. } => {
                let a = T::of(a);
                let $f = move |_: T, dy: T| dy * a;
                $then
            }
            Neuron::Relu | Neuron::Nrelu => {
                let $f = |y: T, dy: T| if y > T::ZERO { dy } else { T::ZERO };
                $then
            }
            Neuron::Brelu { a } => {
                let a = T::of(a);
                let $f = move |y: T, dy: T| if (y > T::ZERO) & (y < a) { dy } else { T::ZERO };
                $then
            }
            // f′ = eˣ/(1 + eˣ) = 1 − e^−y
            Neuron::Softrelu => {
                let $f = |y: T, dy: T| dy * (T::ONE - (-y).exp());
                $then
            }
            // f′ = a·b·(1 − (y/a)²)
            Neuron::Tanh { a, b } => {
                let (ab, unit) = (T::of(a * b), T::of(if a == 0.0 { 0.0 } else { 1.0 / a }));
                let $f = move |y: T, dy: T| {
                    let t = y * unit;
                    dy * (ab * (T::ONE - t * t))
                };
                $then
            }
            Neuron::Logistic => {
                let $f = |y: T, dy: T| dy * (y * (T::ONE - y));
                $then
            }
            Neuron::Abs => {
                let $f = |x: T, dy: T| {
                    let down = if x < T::ZERO { -dy } else { T::ZERO };
                    if x > T::ZERO { dy } else { down }
                };
                $then
            }
            Neuron::Square => {
                let $f = |x: T, dy: T| dy * (x + x);
                $then
            }
            Neuron::Sqrt => {
                let $f = |y: T, dy: T| if y > T::ZERO { dy / (y + y) } else { T::ZERO };
                $then
            }
            // f′ = 1/(a + x) = e^−y
            Neuron::Log { .. } => {
                let $f = |y: T, dy: T| dy * (-y).exp();
                $then
            }
            Neuron::Drelu { a } => {
                let unit = T::of(1.0 / a);
                let $f = move |x: T, dy: T| {
                    let t = (x * unit).tanh();
                    dy * (t * t)
                };
                $then
            }
            Neuron::Leaky { a } => {
                let a = T::of(a);
                let $f = move |y: T, dy: T| if y > T::ZERO { dy } else { dy * a };
                $then
            }
            // f′ = a·eˣ = y + a
            Neuron::Elu { a } => {
                let a = T::of(a);
                let $f = move |y: T, dy: T| if y > T::ZERO { dy } else { dy * (y + a) };
                $then
            }
            // f′ = s + x·s·(1 − s) with s = 1/(1 + e⁻ˣ)
            Neuron::Swish => {
                let $f = |x: T, dy: T| {
                    let s = T::ONE / (T::ONE + (-x).exp());
                    dy * (s * (T::ONE + x * (T::ONE - s)))
                };
                $then
            }
        }
    };
}

/// y ← neuron(y), on the calling thread: the last thing that a fused operation does to what it has just made.
pub(super) fn apply<T: Real>(neuron: Neuron, y: &mut [T]) {
    if neuron != Neuron::NONE {
        with_function!(neuron, |f| map(y, f));
    }
}

/// Nanoseconds that so many elements take one core, roughly.
fn nanoseconds(neuron: Neuron, elements: usize) -> usize {
    match neuron {
        Neuron::Softrelu | Neuron::Log { .. } => elements * 8,
        Neuron::Tanh { .. } | Neuron::Logistic | Neuron::Drelu { .. } | Neuron::Elu { .. } | Neuron::Swish => elements,
        _ => elements / 4,
    }
}

/// y ← neuron(x), or y ← neuron(y) where there is no x.
pub(super) fn forward<T: Real>(workers: &Workers, neuron: Neuron, x: Option<&[T]>, y: &mut [T]) {
    let ns = nanoseconds(neuron, y.len());
    match x {
        None => workers.pieces(ns, PIECE, y, |_, y| apply(neuron, y)),
        Some(x) => {
            assert_eq!(x.len(), y.len());
            workers.pieces(ns, PIECE, y, |i, y| {
                let x = &x[i * PIECE..][..y.len()];
                with_function!(neuron, |f| zip(x, y, |x, _| f(x)))
            });
        }
    }
}

/// dx ← dy·neuron′ (or dx += …); without a dy, dx is dy. A neuron that is linear sees nothing: `seen` may be empty.
pub(super) fn backward<T: Real>(workers: &Workers, neuron: Neuron, seen: &[T], dy: Option<&[T]>, dx: &mut [T], into: Into) {
    let ns = nanoseconds(neuron, dx.len());
    if let Neuron::Linear { a, .. } = neuron {
        let a = T::of(a);
        return workers.pieces(ns, PIECE, dx, |i, dx| match (dy, into) {
            (None, Into::Set) => map(dx, |dy| dy * a),
            (None, Into::Add) => map(dx, |dy| dy + dy * a),
            (Some(dy), Into::Set) => zip(&dy[i * PIECE..][..dx.len()], dx, |dy, _| dy * a),
            (Some(dy), Into::Add) => zip(&dy[i * PIECE..][..dx.len()], dx, |dy, dx| dx + dy * a),
        });
    }
    assert_eq!(seen.len(), dx.len());
    workers.pieces(ns, PIECE, dx, |i, dx| {
        let seen = &seen[i * PIECE..][..dx.len()];
        with_gradient!(neuron, |f| match (dy, into) {
            (None, Into::Set) => zip(seen, dx, f),
            (None, Into::Add) => zip(seen, dx, |seen, dy| dy + f(seen, dy)),
            (Some(dy), Into::Set) => zip2(seen, &dy[i * PIECE..][..dx.len()], dx, |seen, dy, _| f(seen, dy)),
            (Some(dy), Into::Add) => zip2(seen, &dy[i * PIECE..][..dx.len()], dx, |seen, dy, dx| dx + f(seen, dy)),
        })
    });
}
