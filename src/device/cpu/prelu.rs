//! Parametric relu: y = x above 0, slope·x below, a slope for each channel or one for all. Cost: one pass over each tensor;
//! the slopes' gradient is one more over x and dy, whose rows are cut into parts that are summed in order.

use super::dispatch::simd;
use super::{Real, Workers};
use crate::device::{Into, Shape};

/// Elements that one thread takes at a time, roughly: whole rows.
const PIECE: usize = 1 << 14;
/// Elements worth a part of a sum.
const PART: usize = 1 << 12;
/// At most so many parts.
const PARTS: usize = 64;

simd! {
    /// y ← f(x, slope, y) over rows of channels; an x that is not there is y, one slope is all channels'.
    fn rows<T: Real, F: Fn(T, T, T) -> T>(channels: usize, x: Option<&[T]>, slope: &[T], y: &mut [T], f: F) {
        if slope.len() == 1 {
            let slope = slope[0];
            match x {
                Some(x) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x, slope, *y)),
                None => y.iter_mut().for_each(|y| *y = f(*y, slope, *y)),
            }
            return;
        }
        for (i, y) in y.chunks_exact_mut(channels).enumerate() {
            match x {
                Some(x) => {
                    let x = &x[i * channels..][..channels];
                    y.iter_mut().zip(x).zip(slope).for_each(|((y, &x), &slope)| *y = f(x, slope, *y));
                }
                None => y.iter_mut().zip(slope).for_each(|(y, &slope)| *y = f(*y, slope, *y)),
            }
        }
    }
}

/// y ← x above 0, slope·x below; without an x, x is y.
pub(super) fn forward<T: Real>(workers: &Workers, channels: usize, x: Option<&[T]>, slope: &[T], y: &mut [T]) {
    assert!(x.is_none_or(|x| x.len() == y.len()) && (slope.len() == 1 || slope.len() == channels));
    let piece = PIECE.next_multiple_of(channels);
    workers.pieces(y.len() / 4, piece, y, |i, y| {
        let x = x.map(|x| &x[i * piece..][..y.len()]);
        rows(channels, x, slope, y, |x, slope, _| if x > T::ZERO { x } else { slope * x });
    });
}

simd! {
    /// dx ← f(x, slope, dy, dx) over rows of channels; a dy that is not there is dx.
    fn gradient_rows<T: Real>(channels: usize, x: &[T], slope: &[T], dy: Option<&[T]>, dx: &mut [T], add: bool) {
        let each = |x: T, slope: T, dy: T, dx: T| {
            let gradient = if x > T::ZERO { dy } else { slope * dy };
            if add { dx + gradient } else { gradient }
        };
        for (i, dx) in dx.chunks_exact_mut(channels).enumerate() {
            let x = &x[i * channels..][..channels];
            for (c, dx) in dx.iter_mut().enumerate() {
                let slope = if slope.len() == 1 { slope[0] } else { slope[c] };
                let dy = dy.map_or(*dx, |dy| dy[i * channels + c]);
                *dx = each(x[c], slope, dy, *dx);
            }
        }
    }
}

/// dx ← dy where x is above 0, else slope·dy, or dx += …; without a dy, dx is dy.
pub(super) fn backward<T: Real>(
    workers: &Workers,
    channels: usize,
    x: &[T],
    slope: &[T],
    dy: Option<&[T]>,
    dx: &mut [T],
    into: Into,
) {
    assert!(x.len() == dx.len() && dy.is_none_or(|dy| dy.len() == dx.len()));
    assert!(slope.len() == 1 || slope.len() == channels);
    let piece = PIECE.next_multiple_of(channels);
    workers.pieces(dx.len() / 4, piece, dx, |i, dx| {
        let (at, n) = (i * piece, dx.len());
        gradient_rows(channels, &x[at..at + n], slope, dy.map(|dy| &dy[at..at + n]), dx, into == Into::Add);
    });
}

/// Parts that the rows are cut into: the shape decides, not the threads.
fn parts(x: Shape) -> usize {
    (x.elements() / PART).clamp(1, PARTS)
}

/// Bytes of scratch of [`backward_slope`]: a row for each part.
pub(super) fn scratch<T: Real>(x: Shape) -> usize {
    parts(x) * x.c * size_of::<T>()
}

simd! {
    /// sum ← Σ min(0, x)·dy over rows of as many channels as there are sums.
    fn sum_rows<T: Real>(x: &[T], dy: &[T], sum: &mut [T]) {
        sum.fill(T::ZERO);
        let channels = sum.len();
        for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
            for ((sum, &x), &dy) in sum.iter_mut().zip(x).zip(dy) {
                *sum += if x > T::ZERO { T::ZERO } else { x * dy };
            }
        }
    }
}

/// dslope ← Σ min(0, x)·dy over what a slope is shared by, or dslope += ….
pub(super) fn backward_slope<T: Real>(
    workers: &Workers,
    shape: Shape,
    x: &[T],
    dy: &[T],
    dslope: &mut [T],
    into: Into,
    scratch: &mut [T],
) {
    let (channels, parts) = (shape.c, parts(shape));
    let rows = shape.elements() / channels;
    assert!(x.len() == shape.elements() && dy.len() == x.len() && (dslope.len() == 1 || dslope.len() == channels));
    let scratch = &mut scratch[..parts * channels];
    workers.pieces(x.len() / 2, channels, scratch, |part, sum| {
        let (start, end) = (rows * part / parts * channels, rows * (part + 1) / parts * channels);
        sum_rows(&x[start..end], &dy[start..end], sum);
    });
    if into == Into::Set {
        dslope.fill(T::ZERO);
    }
    for sum in scratch.chunks_exact(channels) {
        if let [one] = dslope {
            let mut total = T::ZERO;
            sum.iter().for_each(|&sum| total += sum);
            *one += total;
        } else {
            dslope.iter_mut().zip(sum).for_each(|(slope, &sum)| *slope += sum);
        }
    }
}
