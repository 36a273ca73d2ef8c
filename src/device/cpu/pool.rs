//! Max, average and L2 pooling. Windows are clipped to the image; averages divide by the cells that are left, as cuda-convnet
//! does. A window with no cell inside gives 0 and takes no gradient.
//!
//! Channels are the fastest axis, so every loop runs over them, cell by cell of the window. Forward cuts by
//! output rows; backward, where windows may share cells, by images. Cost: one read of x and one write of y; backward of max
//! reads x again to find the maxima, reads dy and writes dx, of avg reads dy and writes dx, of l2 x, y and dy. A NaN is the maximum where
//! it is the window's first cell and is passed over elsewhere, forward and backward alike.

use super::dispatch::simd;
use super::{Real, Workers};
use crate::device::{Into, PoolGeometry, PoolKind};
use std::ops::Range;

/// Channels at a time where a window's largest cells are sought: a few vectors, which stay in registers.
const LANES: usize = 32;
/// Channels at a time of those that are left.
const FEW: usize = 8;

/// The geometry in machine words.
#[derive(Clone, Copy)]
struct G {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    p: usize,
    q: usize,
    size: [i32; 2],
    stride: [i32; 2],
    start: [i32; 2],
}

impl G {
    fn new(g: &PoolGeometry) -> Self {
        let [n, h, w, c, p, q] = [g.n, g.h, g.w, g.c, g.p, g.q].map(|v| v as usize);
        let (size, stride, start) = ([g.size_h, g.size_w], [g.stride_h, g.stride_w], [g.start_h, g.start_w]);
        Self { n, h, w, c, p, q, size, stride, start }
    }

    /// The cells of the window at `output` along an axis of `cells`, clipped.
    #[inline(always)]
    fn window(&self, axis: usize, output: usize, cells: usize) -> Range<usize> {
        if self.stride[axis] == 0 {
            let windows = [self.p, self.q][axis];
            return output * cells / windows..((output + 1) * cells).div_ceil(windows);
        }
        let from = i64::from(self.start[axis]) + output as i64 * i64::from(self.stride[axis]);
        let to = from + i64::from(self.size[axis]);
        from.clamp(0, cells as i64) as usize..to.clamp(0, cells as i64) as usize
    }
}

/// max(x, y) as pools take it: y stays unless x is larger.
#[inline(always)]
fn larger<T: Real>(y: T, x: T) -> T {
    if x > y { x } else { y }
}

simd! {
    /// One row of outputs: y ← f over the cells of each window, starting with the first; then y·(1/cells) for a mean.
    fn forward_row<T: Real, F: Fn(T, T) -> T>(g: G, mean: bool, p: usize, x: &[T], y: &mut [T], f: F) {
        let rows = g.window(0, p, g.h);
        for (q, y) in y.chunks_exact_mut(g.c).enumerate() {
            let columns = g.window(1, q, g.w);
            let cells = rows.len() * columns.len();
            if cells == 0 {
                y.fill(T::ZERO);
                continue;
            }
            let at = |row: usize, column: usize| &x[(row * g.w + column) * g.c..][..g.c];
            let factor = if mean { T::ONE / T::of(cells as f64) } else { T::ONE };
            // Windows of four and of nine cells in one go, which is what nets have; others cell by cell.
            match (rows.len(), columns.len()) {
                (2, 2) => {
                    let (a, b) = (at(rows.start, columns.start), at(rows.start, columns.start + 1));
                    let (c, d) = (at(rows.start + 1, columns.start), at(rows.start + 1, columns.start + 1));
                    for i in 0..g.c {
                        y[i] = f(f(f(a[i], b[i]), c[i]), d[i]) * factor;
                    }
                }
                (3, 3) => {
                    for (j, row) in rows.clone().enumerate() {
                        let (a, b, c) = (at(row, columns.start), at(row, columns.start + 1), at(row, columns.start + 2));
                        if j == 0 {
                            for i in 0..g.c {
                                y[i] = f(f(a[i], b[i]), c[i]);
                            }
                        } else {
                            let factor = if j == 2 { factor } else { T::ONE };
                            for i in 0..g.c {
                                y[i] = f(f(f(y[i], a[i]), b[i]), c[i]) * factor;
                            }
                        }
                    }
                }
                _ => {
                    y.copy_from_slice(at(rows.start, columns.start));
                    for row in rows.clone() {
                        for column in columns.clone() {
                            if (row, column) != (rows.start, columns.start) {
                                for (y, &x) in y.iter_mut().zip(at(row, column)) {
                                    *y = f(*y, x);
                                }
                            }
                        }
                    }
                    if mean {
                        for y in y {
                            *y *= factor;
                        }
                    }
                }
            }
        }
    }
}

simd! {
    /// One row of outputs: y ← the root of the sum of squares over each window.
    fn l2_row<T: Real>(g: G, p: usize, x: &[T], y: &mut [T]) {
        let rows = g.window(0, p, g.h);
        for (q, y) in y.chunks_exact_mut(g.c).enumerate() {
            y.fill(T::ZERO);
            for row in rows.clone() {
                for column in g.window(1, q, g.w) {
                    for (y, &x) in y.iter_mut().zip(&x[(row * g.w + column) * g.c..]) {
                        *y += x * x;
                    }
                }
            }
            for y in y {
                *y = y.sqrt();
            }
        }
    }
}

/// y ← the maximum, the mean or the root of the sum of squares over each window of x.
pub(super) fn forward<T: Real>(workers: &Workers, g: &PoolGeometry, kind: PoolKind, x: &[T], y: &mut [T]) {
    let g = G::new(g);
    assert!(x.len() == g.n * g.h * g.w * g.c && y.len() == g.n * g.p * g.q * g.c);
    let ns = y.len().saturating_mul((g.size[0] as usize).saturating_mul(g.size[1] as usize)).min(x.len() * 4) / 4;
    workers.pieces(ns, g.q * g.c, y, |i, y| {
        let (image, p) = (i / g.p, i % g.p);
        let x = &x[image * g.h * g.w * g.c..][..g.h * g.w * g.c];
        match kind {
            PoolKind::Max => forward_row(g, false, p, x, y, larger),
            PoolKind::Avg => forward_row(g, true, p, x, y, |y, x| y + x),
            PoolKind::L2 => l2_row(g, p, x, y),
        }
    });
}

simd! {
    /// One image's gradient of max, added to dx. The place of the maximum is kept as a number of `T`: comparisons and
    /// selections then have one width.
    fn backward_max<T: Real>(g: G, x: &[T], dy: &[T], dx: &mut [T]) {
        for p in 0..g.p {
            let rows = g.window(0, p, g.h);
            for q in 0..g.q {
                let columns = g.window(1, q, g.w);
                if rows.is_empty() || columns.is_empty() {
                    continue;
                }
                let dy = &dy[(p * g.q + q) * g.c..][..g.c];
                if rows.len() == 2 && columns.len() == 2 {
                    let start = (rows.start * g.w + columns.start) * g.c;
                    let (x, x_below) = x[start..].split_at(g.w * g.c);
                    let (dx, dx_below) = dx[start..].split_at_mut(g.w * g.c);
                    let ((xa, xb), (xc, xd)) = (x[..2 * g.c].split_at(g.c), x_below[..2 * g.c].split_at(g.c));
                    let (da, db) = dx[..2 * g.c].split_at_mut(g.c);
                    let (dc, dd) = dx_below[..2 * g.c].split_at_mut(g.c);
                    for i in 0..g.c {
                        // Each cell against the largest before it; the last that wins is the maximum.
                        let b = xb[i] > xa[i];
                        let most = larger(xa[i], xb[i]);
                        let c = xc[i] > most;
                        let d = xd[i] > larger(most, xc[i]);
                        let dy = dy[i];
                        da[i] += if !b & !c & !d { dy } else { T::ZERO };
                        db[i] += if b & !c & !d { dy } else { T::ZERO };
                        dc[i] += if c & !d { dy } else { T::ZERO };
                        dd[i] += if d { dy } else { T::ZERO };
                    }
                    continue;
                }
                let mut from = 0;
                while from + LANES <= g.c {
                    give_to_largest::<T, LANES>(g, rows.clone(), columns.clone(), from, x, dy, dx);
                    from += LANES;
                }
                while from + FEW <= g.c {
                    give_to_largest::<T, FEW>(g, rows.clone(), columns.clone(), from, x, dy, dx);
                    from += FEW;
                }
                for from in from..g.c {
                    give_to_largest::<T, 1>(g, rows.clone(), columns.clone(), from, x, dy, dx);
                }
            }
        }
    }
}

/// Adds dy of one window and of N channels to the first of its largest cells.
#[inline(always)]
fn give_to_largest<T: Real, const N: usize>(
    g: G,
    rows: Range<usize>,
    columns: Range<usize>,
    from: usize,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    let cell = |row: usize, column: usize| (row * g.w + column) * g.c + from;
    let mut most: [T; N] = array(&x[cell(rows.start, columns.start)..]);
    let mut place = [T::ZERO; N];
    let mut number = T::ZERO;
    for row in rows.clone() {
        for column in columns.clone() {
            let x: [T; N] = array(&x[cell(row, column)..]);
            for i in 0..N {
                place[i] = if x[i] > most[i] { number } else { place[i] };
                most[i] = larger(most[i], x[i]);
            }
            number += T::ONE;
        }
    }
    let dy: [T; N] = array(&dy[from..]);
    let mut number = T::ZERO;
    for row in rows {
        for column in columns.clone() {
            let dx = &mut dx[cell(row, column)..][..N];
            for i in 0..N {
                dx[i] += if place[i] == number { dy[i] } else { T::ZERO };
            }
            number += T::ONE;
        }
    }
}

/// The first N elements.
#[inline(always)]
fn array<T: Real, const N: usize>(x: &[T]) -> [T; N] {
    *x.first_chunk().expect("a cell holds all channels")
}

simd! {
    /// One image's gradient of avg, added to dx.
    fn backward_avg<T: Real>(g: G, dy: &[T], dx: &mut [T]) {
        for p in 0..g.p {
            let rows = g.window(0, p, g.h);
            for q in 0..g.q {
                let columns = g.window(1, q, g.w);
                let factor = T::ONE / T::of((rows.len() * columns.len()) as f64);
                let dy = &dy[(p * g.q + q) * g.c..][..g.c];
                for row in rows.clone() {
                    for column in columns.clone() {
                        let dx = &mut dx[(row * g.w + column) * g.c..][..g.c];
                        for (dx, &dy) in dx.iter_mut().zip(dy) {
                            *dx += dy * factor;
                        }
                    }
                }
            }
        }
    }
}

simd! {
    /// One image's gradient of l2, added to dx: x·dy/y, 0 where y is.
    fn backward_l2<T: Real>(g: G, x: &[T], y: &[T], dy: &[T], dx: &mut [T]) {
        for p in 0..g.p {
            for q in 0..g.q {
                let at = (p * g.q + q) * g.c;
                let (y, dy) = (&y[at..][..g.c], &dy[at..][..g.c]);
                for row in g.window(0, p, g.h) {
                    for column in g.window(1, q, g.w) {
                        let at = (row * g.w + column) * g.c;
                        let (x, dx) = (&x[at..][..g.c], &mut dx[at..][..g.c]);
                        for i in 0..g.c {
                            dx[i] += if y[i] > T::ZERO { x[i] * (dy[i] / y[i]) } else { T::ZERO };
                        }
                    }
                }
            }
        }
    }
}

/// dx ← the gradient of `forward` (or dx += …), from x, y and dy. What a kind does not read may be empty.
pub(super) fn backward<T: Real>(
    workers: &Workers,
    g: &PoolGeometry,
    kind: PoolKind,
    [x, y, dy]: [&[T]; 3],
    dx: &mut [T],
    into: Into,
) {
    let g = G::new(g);
    let (image, outputs) = (g.h * g.w * g.c, g.p * g.q * g.c);
    assert!(dx.len() == g.n * image && dy.len() == g.n * outputs);
    assert!(!kind.gradient_reads_input() || x.len() == dx.len());
    assert!(!kind.gradient_reads_output() || y.len() == dy.len());
    workers.pieces(dx.len() / 2, image, dx, |i, dx| {
        let dy = &dy[i * outputs..][..outputs];
        if into == Into::Set {
            dx.fill(T::ZERO);
        }
        match kind {
            PoolKind::Max => backward_max(g, &x[i * image..][..image], dy, dx),
            PoolKind::Avg => backward_avg(g, dy, dx),
            PoolKind::L2 => backward_l2(g, &x[i * image..][..image], &y[i * outputs..][..outputs], dy, dx),
        }
    });
}
