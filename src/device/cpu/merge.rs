//! Two tensors merged element by element: sums, products, maxima. Cost: one read of both and one write; the maximum also
//! writes which of its inputs it is, so that the backward pass reads that and dy alone.

use super::elementwise::{PIECE, map, zip, zip2};
use super::{Real, Workers};
use crate::device::{Into, Merge};

/// y ← f(a, b, y), where an a or b that is not there is y.
fn apply<T: Real>(
    workers: &Workers,
    a: Option<&[T]>,
    b: Option<&[T]>,
    y: &mut [T],
    f: impl Fn(T, T, T) -> T + Copy + Send + Sync,
) {
    assert!(a.iter().chain(&b).all(|x| x.len() == y.len()));
    workers.pieces(y.len() / 2, PIECE, y, |i, y| {
        let piece = |x: &'_ [T]| -> std::ops::Range<usize> { i * PIECE..(i * PIECE + y.len()).min(x.len()) };
        match (a, b) {
            (Some(a), Some(b)) => zip2(&a[piece(a)], &b[piece(b)], y, f),
            (Some(a), None) => zip(&a[piece(a)], y, |a, y| f(a, y, y)),
            (None, Some(b)) => zip(&b[piece(b)], y, |b, y| f(y, b, y)),
            (None, None) => map(y, |y| f(y, y, y)),
        }
    });
}

/// y ← a and b merged, or y += …; an a or b that is not there is y.
pub(super) fn merge<T: Real>(workers: &Workers, merge: Merge, a: Option<&[T]>, b: Option<&[T]>, y: &mut [T], into: Into) {
    match (merge, into) {
        (Merge::Sum { a: alpha, b: beta }, Into::Set) => {
            let (alpha, beta) = (T::of(alpha), T::of(beta));
            apply(workers, a, b, y, move |a, b, _| alpha * a + beta * b);
        }
        (Merge::Sum { a: alpha, b: beta }, Into::Add) => {
            let (alpha, beta) = (T::of(alpha), T::of(beta));
            apply(workers, a, b, y, move |a, b, y| y + (alpha * a + beta * b));
        }
        (Merge::Product, Into::Set) => apply(workers, a, b, y, |a, b, _| a * b),
        (Merge::Product, Into::Add) => apply(workers, a, b, y, |a, b, y| y + a * b),
    }
}

/// y ← max(a, b), and which ← `number` where that is b; elsewhere 0 where `number` is 1, else what it was. An a or b that is
/// not there is y.
pub(super) fn max_forward<T: Real>(
    workers: &Workers,
    number: u32,
    a: Option<&[T]>,
    b: Option<&[T]>,
    y: &mut [T],
    which: &mut [T],
) {
    assert!(a.iter().chain(&b).all(|x| x.len() == y.len()) && which.len() == y.len());
    let (first, number) = (number == 1, T::of(f64::from(number)));
    workers.pieces2(y.len() / 2, PIECE, y, which, |i, y, which| {
        let at = i * PIECE;
        for (j, (y, which)) in y.iter_mut().zip(which).enumerate() {
            let a = a.map_or(*y, |a| a[at + j]);
            let b = b.map_or(*y, |b| b[at + j]);
            let before = if first { T::ZERO } else { *which };
            *which = if b > a { number } else { before };
            *y = if b > a { b } else { a };
        }
    });
}

/// dx ← dy where which is `number`, else 0 (or dx += …); without a dy, dx is dy.
pub(super) fn max_backward<T: Real>(workers: &Workers, number: u32, which: &[T], dy: Option<&[T]>, dx: &mut [T], into: Into) {
    let number = T::of(f64::from(number));
    let mine = move |which: T, dy: T| if which == number { dy } else { T::ZERO };
    match into {
        Into::Set => apply(workers, Some(which), dy, dx, move |which, dy, _| mine(which, dy)),
        Into::Add => apply(workers, Some(which), dy, dx, move |which, dy, dx| dx + mine(which, dy)),
    }
}
