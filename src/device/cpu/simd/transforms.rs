//! The transforms of Winograd's convolutions F(4 × 4, 3 × 3) and F(2 × 2, 5 × 5) (Lavin and Gray 2016, "Fast algorithms for
//! convolutional neural networks"), vectors of channels at a time.
//!
//! y = Aᵀ[(G·w·Gᵀ) ⊙ (Bᵀ·x·B)]·A makes 4 × 4 (or 2 × 2) outputs of 6 × 6 inputs with 36 products instead of 144 (or 100). The
//! matrices interpolate at 0, ±a, ±b and ∞, and B is the same for both; with a = 1/√2 and b = √2 their entries stay between 1/6
//! and 2√2, and rounding errors come out about 1.5 times those of the sum by its definition, where the usual ±1 and ±2 make it 4
//! times.
//!
//! Widening makes 6 of 6 (Bᵀ, inputs), of 4 or 2 (A, output gradients) or of 3 or 5 (G, filters); narrowing makes 4 or 2 of 6
//! (Aᵀ, outputs) or 3 or 5 (Gᵀ, filter gradients). Each is some 12 multiply-adds, applied to the columns and then to the rows.

use super::Lanes;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Where a transform's square lies, and which of its rows and columns there are: the others are 0 where they are read, and not
/// written.
#[derive(Clone, Copy, Debug)]
pub struct Square {
    /// Rows and columns: 2 to 6.
    pub size: usize,
    /// Elements from a row to the next, and from a column to the next.
    pub steps: [usize; 2],
    /// The first row and the first column that there are.
    pub first: [usize; 2],
    /// Behind the last row and the last column that there are.
    pub end: [usize; 2],
}

impl Square {
    /// The elements before the first and before the last that there are; `None` where there are none.
    pub fn extremes(&self) -> Option<[usize; 2]> {
        let there = (0..2).all(|i| self.first[i] < self.end[i]);
        let at = |cell: [usize; 2]| cell[0] * self.steps[0] + cell[1] * self.steps[1];
        there.then(|| [at(self.first), at(self.end.map(|end| end - 1))])
    }
}

/// What becomes of a narrowed square.
#[derive(Clone, Copy)]
pub(super) struct Then {
    pub bias: *const f32,
    pub add: bool,
    pub relu: bool,
    /// A relu's outputs, or null, and the elements from a row of them to the next, and from a column to the next.
    pub seen: *const f32,
    pub seen_steps: [usize; 2],
}

pub(super) type WidenFn = unsafe fn(*const f32, &Square, *mut f32, [usize; 2], usize);
pub(super) type NarrowFn = unsafe fn(*const f32, [usize; 2], *mut f32, &Square, usize, Then);

/// c + x·v.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn plus<S: Lanes>(c: S::V, x: f32, v: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::multiply_add(S::splat(x), v, c) }
}

/// x·v.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn times<S: Lanes>(x: f32, v: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::multiply_add(S::splat(x), v, S::splat(0.0)) }
}

/// Six values of the first N of `x`.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn widened<S: Lanes, const N: usize>(x: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the caller's promise.
    unsafe {
        // Even and odd parts at ±a and at ±b.
        let (first, even_a, odd_a, even_b, odd_b, last);
        if N == 6 {
            first = S::add(x[0], plus::<S>(x[4], -2.5, x[2]));
            (even_a, odd_a) = (plus::<S>(x[4], -2.0, x[2]), plus::<S>(x[3], -2.0, x[1]));
            (even_b, odd_b) = (plus::<S>(x[4], -0.5, x[2]), plus::<S>(x[3], -0.5, x[1]));
            last = S::add(x[1], plus::<S>(x[5], -2.5, x[3]));
        } else if N == 4 {
            first = x[0];
            (even_a, odd_a) = (plus::<S>(x[0], 0.5, x[2]), plus::<S>(x[1], 0.5, x[3]));
            (even_b, odd_b) = (plus::<S>(x[0], 2.0, x[2]), plus::<S>(x[1], 2.0, x[3]));
            last = x[3];
        } else if N == 2 {
            first = x[0];
            (even_a, odd_a) = (x[0], x[1]);
            (even_b, odd_b) = (x[0], x[1]);
            last = x[1];
        } else if N == 5 {
            first = x[0];
            even_a = plus::<S>(plus::<S>(times::<S>(-2.0 / 3.0, x[0]), -1.0 / 3.0, x[2]), -1.0 / 6.0, x[4]);
            odd_a = plus::<S>(times::<S>(-2.0 / 3.0, x[1]), -1.0 / 3.0, x[3]);
            even_b = plus::<S>(plus::<S>(times::<S>(1.0 / 6.0, x[0]), 1.0 / 3.0, x[2]), 2.0 / 3.0, x[4]);
            odd_b = plus::<S>(times::<S>(1.0 / 6.0, x[1]), 1.0 / 3.0, x[3]);
            last = x[4];
        } else {
            first = x[0];
            (even_a, odd_a) = (plus::<S>(times::<S>(-2.0 / 3.0, x[0]), -1.0 / 3.0, x[2]), times::<S>(-2.0 / 3.0, x[1]));
            (even_b, odd_b) = (plus::<S>(times::<S>(1.0 / 6.0, x[0]), 1.0 / 3.0, x[2]), times::<S>(1.0 / 6.0, x[1]));
            last = x[2];
        }
        [
            first,
            plus::<S>(even_a, FRAC_1_SQRT_2, odd_a),
            plus::<S>(even_a, -FRAC_1_SQRT_2, odd_a),
            plus::<S>(even_b, SQRT_2, odd_b),
            plus::<S>(even_b, -SQRT_2, odd_b),
            last,
        ]
    }
}

/// N values of six, in the first places.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn narrowed<S: Lanes, const N: usize>(x: [S::V; 6]) -> [S::V; 5] {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = S::splat(0.0);
        let (sum_a, sum_b) = (S::add(x[1], x[2]), S::add(x[3], x[4]));
        let (difference_a, difference_b) = (plus::<S>(x[1], -1.0, x[2]), plus::<S>(x[3], -1.0, x[4]));
        match N {
            4 => [
                S::add(x[0], S::add(sum_a, sum_b)),
                plus::<S>(times::<S>(FRAC_1_SQRT_2, difference_a), SQRT_2, difference_b),
                plus::<S>(times::<S>(0.5, sum_a), 2.0, sum_b),
                plus::<S>(plus::<S>(x[5], FRAC_1_SQRT_2 / 2.0, difference_a), 2.0 * SQRT_2, difference_b),
                zero,
            ],
            2 => [
                S::add(x[0], S::add(sum_a, sum_b)),
                plus::<S>(plus::<S>(x[5], FRAC_1_SQRT_2, difference_a), SQRT_2, difference_b),
                zero,
                zero,
                zero,
            ],
            _ => {
                let first = plus::<S>(plus::<S>(x[0], -2.0 / 3.0, sum_a), 1.0 / 6.0, sum_b);
                let second = plus::<S>(times::<S>(-SQRT_2 / 3.0, difference_a), SQRT_2 / 6.0, difference_b);
                if N == 3 {
                    return [first, second, plus::<S>(plus::<S>(x[5], -1.0 / 3.0, sum_a), 1.0 / 3.0, sum_b), zero, zero];
                }
                [
                    first,
                    second,
                    plus::<S>(times::<S>(-1.0 / 3.0, sum_a), 1.0 / 3.0, sum_b),
                    plus::<S>(times::<S>(-SQRT_2 / 6.0, difference_a), SQRT_2 / 3.0, difference_b),
                    plus::<S>(plus::<S>(x[5], -1.0 / 6.0, sum_a), 2.0 / 3.0, sum_b),
                ]
            }
        }
    }
}

/// The first, or all, elements of a vector.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn load<S: Lanes>(p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { if n >= S::LANES { S::load(p) } else { S::load_first(p, n) } }
}

/// `count` elements of each cell of a square at `x` to 6 × 6 cells `to[0]` apart, whose vectors are `to[1]` apart; the last
/// vector is filled up with zeros.
///
/// # Safety
/// As for [`Lanes`]; bounds were checked by `Simd::widen`. `x` itself may lie outside where its first cells are not there, and
/// y may hold it where a vector is only written over after it was read.
#[allow(clippy::needless_range_loop)] // rows and columns are what the loops are about
#[inline(always)]
pub(super) unsafe fn widen<S: Lanes, const N: usize>(x: *const f32, s: &Square, y: *mut f32, to: [usize; 2], count: usize) {
    // SAFETY: see above.
    unsafe {
        let zero = S::splat(0.0);
        let whole = s.first == [0; 2] && s.end == [N; 2];
        for (vector, at) in (0..count).step_by(S::LANES).enumerate() {
            let n = count - at;
            let mut half = [[zero; 6]; 6];
            for j in 0..N {
                let x = x.wrapping_add(j * s.steps[1] + at);
                let mut line = [zero; 6];
                if whole && n >= S::LANES {
                    for i in 0..N {
                        line[i] = S::load(x.add(i * s.steps[0]));
                    }
                } else if (s.first[1]..s.end[1]).contains(&j) {
                    for i in 0..N {
                        if i >= s.first[0] && i < s.end[0] {
                            line[i] = load::<S>(x.wrapping_add(i * s.steps[0]), n);
                        }
                    }
                }
                let line = widened::<S, N>(line);
                for i in 0..6 {
                    half[i][j] = line[i];
                }
            }
            let y = y.add(vector * to[1]);
            for i in 0..6 {
                let line = widened::<S, N>(half[i]);
                for j in 0..6 {
                    S::store(y.add((i * 6 + j) * to[0]), line[j]);
                }
            }
        }
    }
}

/// 6 × 6 cells `from[0]` apart, whose vectors are `from[1]` apart, to `count` elements of each cell of a square at `y`.
///
/// # Safety
/// As for [`Lanes`]; bounds were checked by `Simd::narrow`.
#[allow(clippy::needless_range_loop)] // as above
#[inline(always)]
pub(super) unsafe fn narrow<S: Lanes, const N: usize>(
    x: *const f32,
    from: [usize; 2],
    y: *mut f32,
    s: &Square,
    count: usize,
    then: Then,
) {
    // SAFETY: see above.
    unsafe {
        let zero = S::splat(0.0);
        for (vector, at) in (0..count).step_by(S::LANES).enumerate() {
            let n = count - at;
            let x = x.add(vector * from[1]);
            let mut half = [[zero; 6]; 5];
            for j in 0..6 {
                let mut line = [zero; 6];
                for i in 0..6 {
                    line[i] = S::load(x.add((i * 6 + j) * from[0]));
                }
                let line = narrowed::<S, N>(line);
                for i in 0..N {
                    half[i][j] = line[i];
                }
            }
            let bias = if then.bias.is_null() { zero } else { load::<S>(then.bias.add(at), n) };
            for i in 0..N {
                if i < s.first[0] || i >= s.end[0] {
                    continue;
                }
                let line = narrowed::<S, N>(half[i]);
                for j in 0..N {
                    if j < s.first[1] || j >= s.end[1] {
                        continue;
                    }
                    let y = y.add(i * s.steps[0] + j * s.steps[1] + at);
                    let mut v = S::add(line[j], bias);
                    if then.add {
                        v = S::add(v, load::<S>(y, n));
                    }
                    if then.relu {
                        v = S::relu(v);
                    }
                    if !then.seen.is_null() {
                        let seen = then.seen.add(i * then.seen_steps[0] + j * then.seen_steps[1] + at);
                        v = S::where_positive(load::<S>(seen, n), v);
                    }
                    if n >= S::LANES { S::store(y, v) } else { S::store_first(y, n, v) }
                }
            }
        }
    }
}
