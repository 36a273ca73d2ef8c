//! Parametric relu: y = x above 0, slope·x below, a slope for each channel or one for all. Cost: one pass over each tensor;
//! the slopes' gradient is one more over x and dy, whose rows are cut into parts that are summed in order.

use super::dispatch::simd;
use super::{CpuDevice, Real, in_place, scratch_of};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::{PreluBackward, PreluBackwardSlope, PreluForward};

/// Elements that one thread takes at a time, roughly: whole rows.
const PIECE: usize = 1 << 14;
/// Elements worth a part of a sum.
const PART: usize = 1 << 12;
/// At most so many parts.
const PARTS: usize = 64;

simd! {
    /// y ← f(x, slope, y) over rows of channels; an x that is missing is y, one slope is all channels'.
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

impl<T: Real> Run<PreluForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &PreluForward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, channels) = (self.arena.borrow(), op.y.shape.c);
        let slope = b.read::<T>(op.slope);
        let (x, y) = in_place::<T>(&mut b, op.x, op.y);
        assert!(x.is_none_or(|x| x.len() == y.len()) && (slope.len() == 1 || slope.len() == channels));
        let piece = PIECE.next_multiple_of(channels);
        self.workers.pieces(y.len() / 4, piece, y, |i, y| {
            let x = x.map(|x| &x[i * piece..][..y.len()]);
            rows(channels, x, slope, y, |x, slope, _| if x > T::ZERO { x } else { slope * x });
        });
        Ok(())
    }
}

simd! {
    /// dx ← the gradient (or dx += …) over rows of channels; a dy that is missing is dx.
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

impl<T: Real> Run<PreluBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &PreluBackward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, channels, add) = (self.arena.borrow(), op.dx.at.shape.c, op.dx.adds());
        let (x, slope) = (b.read::<T>(op.x), b.read::<T>(op.slope));
        let (dy, dx) = in_place::<T>(&mut b, op.dy, op.dx.at);
        assert!(x.len() == dx.len() && dy.is_none_or(|dy| dy.len() == dx.len()));
        assert!(slope.len() == 1 || slope.len() == channels);
        let piece = PIECE.next_multiple_of(channels);
        self.workers.pieces(dx.len() / 4, piece, dx, |i, dx| {
            let (at, n) = (i * piece, dx.len());
            gradient_rows(channels, &x[at..at + n], slope, dy.map(|dy| &dy[at..at + n]), dx, add);
        });
        Ok(())
    }
}

/// Parts that the rows are cut into: the shape decides, not the threads.
fn parts(x: Shape) -> usize {
    (x.elements() / PART).clamp(1, PARTS)
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

impl<T: Real> Run<PreluBackwardSlope<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &PreluBackwardSlope<Tensor>, scratch: Tensor) -> Result<()> {
        let (mut b, shape) = (self.arena.borrow(), op.x.shape);
        let (x, dy, dslope) = (b.read::<T>(op.x), b.read::<T>(op.dy), b.write::<T>(op.dslope.at));
        let (channels, parts) = (shape.c, parts(shape));
        let rows = shape.elements() / channels;
        assert!(dy.len() == x.len() && (dslope.len() == 1 || dslope.len() == channels));
        let scratch = &mut scratch_of::<T>(&mut b, scratch)[..parts * channels];
        self.workers.pieces(x.len() / 2, channels, scratch, |part, sum| {
            let (start, end) = (rows * part / parts * channels, rows * (part + 1) / parts * channels);
            sum_rows(&x[start..end], &dy[start..end], sum);
        });
        if !op.dslope.adds() {
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
        Ok(())
    }

    /// A row for each part.
    fn scratch(&self, op: &PreluBackwardSlope<Tensor>) -> usize {
        parts(op.x.shape) * op.x.shape.c * size_of::<T>()
    }
}
