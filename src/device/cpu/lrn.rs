//! Response normalisation: y = x·s^−beta, s = k + alpha·Σ seen² over a window of maps or of places, clipped to the image.
//!
//! Work is cut by image rows. A window's sum is made one offset at a time, so that every loop runs along a row: of the
//! channels of a place (across maps), or of the places of an image row (within a map). Backward first leaves
//! t = dy·x·s^(−beta − 1) in scratch, then sums t over the windows that hold an element, which are those of the mirrored
//! window. Cost: x (and seen) once from memory and y, then size (or size²) passes over what the cache holds; backward x and
//! dy, t written and read, dx. Powers of ½, ¾ and 1 are roots, which are vectors; others a logarithm and an exponential.

use super::dispatch::simd;
use super::elementwise::zip;
use super::{CpuDevice, Real, scratch_of};
use crate::device::{LrnGeometry, Result, Run, Tensor};
use crate::op::{LrnBackward, LrnForward, Response, Write};
use std::ops::Range;

/// The geometry in machine words.
#[derive(Clone, Copy)]
struct G {
    h: usize,
    /// Elements of an image row.
    line: usize,
    /// Elements of a row that windows stay in, and from one of its cells to the next.
    row: usize,
    step: usize,
    size: usize,
    within: bool,
    blocked: bool,
}

impl G {
    fn new(g: &LrnGeometry) -> Self {
        let [h, w, c, size] = [g.h, g.w, g.c, g.size].map(|v| v as usize);
        let (line, within) = (w * c, g.within == 1);
        let (row, step) = if within { (line, c) } else { (c, 1) };
        Self { h, line, row, step, size, within, blocked: g.blocked == 1 }
    }

    /// The cells around cell `at` of `cells` that its window holds, or, mirrored, whose windows hold it.
    #[inline(always)]
    fn window(&self, at: usize, cells: usize, mirrored: bool) -> Range<usize> {
        let before = if mirrored { self.size - self.size / 2 - 1 } else { self.size / 2 };
        at.saturating_sub(before)..(at + self.size).saturating_sub(before).min(cells)
    }
}

simd! {
    /// y[i] ← f(own[i], x[j], y[i]) for every j of element i's window in the same row, offset by offset.
    fn along_rows<T: Real, F: Fn(T, T, T) -> T>(g: G, mirrored: bool, own: &[T], x: &[T], y: &mut [T], f: F) {
        let cells = g.row / g.step;
        // The offsets that some cell's window has: those of a cell far from both ends.
        let window = g.window(cells, 2 * cells, mirrored);
        for ((own, x), y) in own.chunks_exact(g.row).zip(x.chunks_exact(g.row)).zip(y.chunks_exact_mut(g.row)) {
            for offset in window.clone() {
                let (back, ahead) = (cells.saturating_sub(offset) * g.step, offset.saturating_sub(cells) * g.step);
                if back.max(ahead) >= g.row {
                    continue;
                }
                let n = g.row - back.max(ahead);
                let (own, x, y) = (&own[back..][..n], &x[ahead..][..n], &mut y[back..][..n]);
                for i in 0..n {
                    y[i] = f(own[i], x[i], y[i]);
                }
            }
        }
    }
}

simd! {
    /// y[i] ← f(own[i], Σ x or Σ x² over element i's block, y[i]).
    fn along_blocks<T: Real, F: Fn(T, T, T) -> T>(g: G, squared: bool, own: &[T], x: &[T], y: &mut [T], f: F) {
        for ((own, x), y) in own.chunks_exact(g.row).zip(x.chunks_exact(g.row)).zip(y.chunks_exact_mut(g.row)) {
            for ((own, x), y) in own.chunks(g.size).zip(x.chunks(g.size)).zip(y.chunks_mut(g.size)) {
                let mut total = T::ZERO;
                for &x in x {
                    total += if squared { x * x } else { x };
                }
                for (&own, y) in own.iter().zip(y) {
                    *y = f(own, total, *y);
                }
            }
        }
    }
}

/// sum ← Σ seen² over the windows of image row `i`.
fn squares<T: Real>(g: G, i: usize, seen: &[T], sum: &mut [T]) {
    sum.fill(T::ZERO);
    let line = |i: usize| &seen[i * g.line..][..g.line];
    if g.blocked {
        return along_blocks(g, true, line(i), line(i), sum, |_, x, sum| sum + x);
    }
    for i in lines(g, i, false) {
        along_rows(g, false, line(i), line(i), sum, |_, x, sum| sum + x * x);
    }
}

/// The image rows that the windows of image row `i` reach over.
fn lines(g: G, i: usize, mirrored: bool) -> Range<usize> {
    if !g.within {
        return i..i + 1;
    }
    let first = i / g.h * g.h;
    let rows = g.window(i - first, g.h, mirrored);
    first + rows.start..first + rows.end
}

/// Binds `$f` to s ↦ s^−beta and runs `$then`, once for each kind of power.
macro_rules! with_power {
    ($beta:expr, |$f:ident| $then:expr) => {
        if $beta == 0.75 {
            let $f = |s: T| T::ONE / (s.sqrt() * s.sqrt().sqrt());
            $then
        } else if $beta == 0.5 {
            let $f = |s: T| T::ONE / s.sqrt();
            $then
        } else if $beta == 1.0 {
            let $f = |s: T| T::ONE / s;
            $then
        } else {
            let power = T::of(-$beta);
            let $f = move |s: T| (power * s.ln()).exp();
            $then
        }
    };
}

/// Nanoseconds of one pass on one core, roughly.
fn nanoseconds(g: &LrnGeometry, elements: usize) -> usize {
    let terms = if g.within == 1 { g.size.min(g.h) as usize * g.size.min(g.w) as usize } else { g.size.min(g.c) as usize };
    elements.saturating_mul(4 + terms) / 8
}

impl<T: Real> Run<LrnForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LrnForward<Tensor>, _: Tensor) -> Result<()> {
        let Response { alpha, beta, k } = op.response;
        let mut b = self.arena.borrow();
        let x = b.read::<T>(op.x);
        let (seen, y) = (op.seen.map_or(x, |t| b.read::<T>(t)), b.write::<T>(op.y));
        let (g, elements) = (G::new(&op.geometry), op.geometry.shape().elements());
        assert!(x.len() == elements && seen.len() == elements && y.len() == elements);
        let (alpha, k) = (T::of(alpha), T::of(k));
        self.workers.pieces(nanoseconds(&op.geometry, elements), g.line, y, |i, y| {
            squares(g, i, seen, y);
            let x = &x[i * g.line..][..g.line];
            with_power!(beta, |power| zip(x, y, |x, sum| x * power(k + alpha * sum)));
        });
        Ok(())
    }
}

simd! {
    /// Of x and dy, dx ← dy·s^−beta (or dx += …) and t ← dy·x·s^(−beta − 1), where t is Σ seen² at first.
    fn respond<T: Real, F: Fn(T) -> T>(k: T, alpha: T, from: [&[T]; 2], dx: &mut [T], into: Write, t: &mut [T], power: F) {
        let n = t.len();
        let [x, dy] = from.map(|v| &v[..n]);
        let dx = &mut dx[..n];
        if into == Write::Set {
            dx.fill(T::ZERO);
        }
        for i in 0..n {
            let s = k + alpha * t[i];
            let direct = dy[i] * power(s);
            t[i] = direct * x[i] / s;
            dx[i] += direct;
        }
    }
}

/// Scratch holds t.
impl<T: Real> Run<LrnBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LrnBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let Response { alpha, beta, k } = op.response;
        let (mut b, into) = (self.arena.borrow(), op.dx.into);
        let (x, dy, dx) = (b.read::<T>(op.x), b.read::<T>(op.dy), b.write::<T>(op.dx.at));
        let (seen, dseen) = (op.seen.map_or(x, |t| b.read::<T>(t)), op.dseen.map(|t| b.write::<T>(t)));
        let (g, elements) = (G::new(&op.geometry), op.geometry.shape().elements());
        assert!([x.len(), seen.len(), dy.len(), dx.len()].iter().all(|&len| len == elements));
        let (factor, alpha, k) = (T::of(-2.0 * alpha * beta), T::of(alpha), T::of(k));
        let (ns, t) = (nanoseconds(&op.geometry, elements), &mut scratch_of::<T>(&mut b, scratch)[..elements]);
        self.workers.pieces2(ns, g.line, dx, t, |i, dx, t| {
            squares(g, i, seen, t);
            let (x, dy) = (&x[i * g.line..][..g.line], &dy[i * g.line..][..g.line]);
            with_power!(beta, |power| respond(k, alpha, [x, dy], dx, into, t, power));
        });
        let t: &[T] = t;
        let apart = dseen.is_some();
        self.workers.pieces(ns, g.line, dseen.unwrap_or(dx), |i, d| {
            if apart {
                d.fill(T::ZERO);
            }
            let (seen, t) = (&seen[i * g.line..][..g.line], |i: usize| &t[i * g.line..][..g.line]);
            if g.blocked {
                return along_blocks(g, false, seen, t(i), d, |seen, t, d| d + factor * seen * t);
            }
            for i in lines(g, i, true) {
                along_rows(g, true, seen, t(i), d, |seen, t, d| d + factor * seen * t);
            }
        });
        Ok(())
    }

    fn scratch(&self, op: &LrnBackward<Tensor>) -> usize {
        op.geometry.shape().elements() * size_of::<T>()
    }
}
