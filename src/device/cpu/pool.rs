//! Max, average and L2 pooling. Windows are clipped to the image; averages divide by the cells that are left, as cuda-convnet
//! does. A window with no cell inside gives 0 and takes no gradient.
//!
//! Channels are the fastest axis, so every loop runs over them, cell by cell of the window. Forward cuts by
//! output rows; backward, where windows may share cells, by images. Cost: one read of x and one write of y; backward of max
//! reads x again to find the maxima, reads dy and writes dx, of avg reads dy and writes dx, of l2 x, y and dy. The derivative of
//! a neuron that made x is multiplied in row by row, as soon as no window adds to the row any more. A NaN is the
//! maximum where it is the window's first cell and is passed over elsewhere, forward and backward alike.

use super::arena::gaps_fit;
use super::dispatch::simd;
use super::neuron::mask;
use super::{CpuDevice, Real};
use crate::device::{PoolGeometry, Result, Run, Tensor};
use crate::op::{Neuron, PoolBackward, PoolForward, PoolKind};
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
    /// Elements from one output to the next, in y and in its gradient.
    pitch: usize,
    gradient_pitch: usize,
}

impl G {
    fn new(g: &PoolGeometry) -> Self {
        let [n, h, w, c, p, q] = [g.n, g.h, g.w, g.c, g.p, g.q].map(|v| v as usize);
        let (size, stride, start) = ([g.size_h, g.size_w], [g.stride_h, g.stride_w], [g.start_h, g.start_w]);
        Self { n, h, w, c, p, q, size, stride, start, pitch: c, gradient_pitch: c }
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
        for (q, y) in y.chunks_mut(g.pitch).enumerate() {
            let y = &mut y[..g.c];
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
        for (q, y) in y.chunks_mut(g.pitch).enumerate() {
            let y = &mut y[..g.c];
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

impl<T: Real> Run<PoolForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &PoolForward<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, (y, pitch)) = (b.read::<T>(op.x), b.write_cells::<T>(op.y));
        let g = G { pitch, ..G::new(&op.geometry) };
        let outputs = op.y.shape.elements();
        assert!(x.len() == g.n * g.h * g.w * g.c && outputs == g.n * g.p * g.q * g.c);
        let ns = outputs.saturating_mul((g.size[0] as usize).saturating_mul(g.size[1] as usize)).min(x.len() * 4) / 4;
        self.workers.pieces(ns, g.q * pitch, y, |i, y| {
            let (image, p) = (i / g.p, i % g.p);
            let x = &x[image * g.h * g.w * g.c..][..g.h * g.w * g.c];
            match op.kind {
                PoolKind::Max => forward_row(g, false, p, x, y, larger),
                PoolKind::Avg => forward_row(g, true, p, x, y, |y, x| y + x),
                PoolKind::L2 => l2_row(g, p, x, y),
            }
        });
        Ok(())
    }

    fn supports(&self, op: &PoolForward<Tensor>) -> bool {
        gaps_fit(op, &["y"])
    }
}

simd! {
    /// The gradient of max from row `p` of an image's outputs, added to dx. The place of the maximum is kept as a number of `T`:
    /// comparisons and selections then have one width.
    fn backward_max<T: Real>(g: G, p: usize, x: &[T], dy: &[T], dx: &mut [T]) {
        let rows = g.window(0, p, g.h);
        for q in 0..g.q {
            let columns = g.window(1, q, g.w);
            if rows.is_empty() || columns.is_empty() {
                continue;
            }
            let dy = &dy[(p * g.q + q) * g.gradient_pitch..][..g.c];
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
    /// The gradient of avg from row `p` of an image's outputs, added to dx.
    fn backward_avg<T: Real>(g: G, p: usize, dy: &[T], dx: &mut [T]) {
        let rows = g.window(0, p, g.h);
        for q in 0..g.q {
            let columns = g.window(1, q, g.w);
            let factor = T::ONE / T::of((rows.len() * columns.len()) as f64);
            let dy = &dy[(p * g.q + q) * g.gradient_pitch..][..g.c];
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

simd! {
    /// The gradient of l2 from row `p` of an image's outputs, added to dx: x·dy/y, 0 where y is.
    fn backward_l2<T: Real>(g: G, p: usize, x: &[T], y: &[T], dy: &[T], dx: &mut [T]) {
        for q in 0..g.q {
            let output = p * g.q + q;
            let (y, dy) = (&y[output * g.pitch..][..g.c], &dy[output * g.gradient_pitch..][..g.c]);
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

impl<T: Real> Run<PoolBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &PoolBackward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, kind, neuron) = (self.arena.borrow(), op.kind, op.neuron);
        let x = op.x.map(|t| b.read::<T>(t)).unwrap_or_default();
        let (y, pitch) = op.y.map(|t| b.read_cells::<T>(t)).unwrap_or_default();
        let ((dy, gradient_pitch), dx, add) = (b.read_cells::<T>(op.dy), b.write::<T>(op.dx.at), op.dx.adds());
        let g = G { pitch, gradient_pitch, ..G::new(&op.geometry) };
        let (row, image, outputs) = (g.w * g.c, g.h * g.w * g.c, g.p * g.q);
        let shape = op.geometry.output();
        assert!(dx.len() == g.n * image && op.dy.shape.elements() == shape.elements());
        let reads_x = kind.gradient_reads_input() || neuron != Neuron::NONE;
        assert!(!reads_x || x.len() == dx.len());
        assert!(!kind.gradient_reads_output() || op.y.is_some_and(|y| y.shape.elements() == shape.elements()));
        self.workers.pieces(dx.len() / 2, image, dx, |i, dx| {
            let x = if reads_x { &x[i * image..][..image] } else { x };
            let (dy, y) = (&dy[i * outputs * gradient_pitch..], &y[i * outputs * pitch..]);
            if !add {
                dx.fill(T::ZERO);
            }
            let finish = |rows: Range<usize>, dx: &mut [T]| {
                let cells = rows.start * row..rows.end * row;
                mask(neuron, row, (&x[cells.clone()], row), (&mut dx[cells], row));
            };
            // The rows of dx that are done, which are multiplied by the neuron's derivative as soon as they are.
            let mut done = 0;
            for p in 0..g.p {
                match kind {
                    PoolKind::Max => backward_max(g, p, x, dy, dx),
                    PoolKind::Avg => backward_avg(g, p, dy, dx),
                    PoolKind::L2 => backward_l2(g, p, x, y, dy, dx),
                }
                if neuron != Neuron::NONE && p + 1 < g.p {
                    let next = g.window(0, p + 1, g.h).start.max(done);
                    finish(done..next, dx);
                    done = next;
                }
            }
            if neuron != Neuron::NONE {
                finish(done..g.h, dx);
            }
        });
        Ok(())
    }

    /// It has neurons whose derivatives are computed from what the pool reads, their outputs.
    fn supports(&self, op: &PoolBackward<Tensor>) -> bool {
        !op.neuron.derivative_reads_input() && gaps_fit(op, &["y", "dy"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Shape;
    use crate::device::cpu::arena::tests::{has_the_bits_of_dense_tensors, has_the_bits_of_its_parts};
    use crate::op::{Target, Write};

    const KINDS: [PoolKind; 3] = [PoolKind::Max, PoolKind::Avg, PoolKind::L2];

    /// Windows that overlap, that leave cells between them, before them and after them, with no cell inside, of all of the
    /// image, and that divide it evenly.
    fn pools() -> Vec<PoolGeometry> {
        let pool = |[n, h, w, c]: [i32; 4], [p, q]: [i32; 2], size, stride, start| PoolGeometry {
            n,
            h,
            w,
            c,
            p,
            q,
            size_h: size,
            size_w: size,
            stride_h: stride,
            stride_w: stride,
            start_h: start,
            start_w: start,
        };
        vec![
            pool([2, 8, 8, 50], [4, 4], 2, 2, 0),
            pool([3, 13, 11, 67], [6, 5], 3, 2, 0),
            pool([2, 9, 10, 3], [3, 3], 2, 4, 1),
            pool([2, 5, 5, 9], [4, 3], 3, 2, -1),
            pool([1, 3, 2, 5], [1, 1], 6, 1, -1),
            pool([2, 9, 7, 5], [4, 3], 1, 0, 0),
            pool([3, 28, 28, 40], [28, 28], 3, 1, -1),
        ]
    }

    fn backward(kind: PoolKind, geometry: PoolGeometry, neuron: Neuron, into: Write) -> PoolBackward<usize> {
        let x = (kind.gradient_reads_input() || neuron != Neuron::NONE).then_some(0);
        let y = kind.gradient_reads_output().then_some(1);
        PoolBackward { kind, geometry, neuron, x, y, dy: 2, dx: Target { at: 3, into } }
    }

    /// The gradient multiplied by a relu's derivative has the bits of the two, with gaps and without.
    #[test]
    fn fused_gradients_have_the_bits_of_their_parts() {
        for (g, kind) in pools().into_iter().flat_map(|g| KINDS.map(|kind| (g, kind))) {
            for (into, gap) in [(Write::Set, 0), (Write::Add, 0), (Write::Set, 7)] {
                let tensors = [(g.input(), 0), (g.output(), gap), (g.output(), gap), (g.input(), 0)];
                assert!(has_the_bits_of_its_parts(backward(kind, g, Neuron::Relu, into), &tensors));
            }
        }
    }

    #[test]
    fn gaps_change_no_bits() {
        for (g, kind) in pools().into_iter().flat_map(|g| KINDS.map(|kind| (g, kind))) {
            let (x, y): (Shape, Shape) = (g.input(), g.output());
            assert!(has_the_bits_of_dense_tensors(PoolForward { kind, geometry: g, x: 0, y: 1 }, &[(x, 0), (y, 9)]));
            let tensors = [(x, 0), (y, 3), (y, 16), (x, 0)];
            assert!(has_the_bits_of_dense_tensors(backward(kind, g, Neuron::NONE, Write::Set), &tensors));
        }
    }
}
