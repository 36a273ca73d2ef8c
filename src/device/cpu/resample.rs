//! Bilinear resampling: each cell of y is a mixture of the four cells of x around a place that goes up evenly with rows and
//! columns. Forward cuts by rows of y, backward, where cells of y share cells of x, by images. Cost: one write of y, four reads of
//! x from the cache; backward as much of dx.

use super::dispatch::simd;
use super::{CpuDevice, Real};
use crate::device::philox::{self, Purpose};
use crate::device::{ImageGeometry, Result, Run, Tensor};
use crate::op::{RandomWindow, ResampleBackward, ResampleForward};

/// Where a row or a column of y is in x: between two cells, and the share of the second.
type Place<T> = (usize, usize, T);

/// The place of cell `i` of y along an axis of x of `cells` cells.
#[inline(always)]
fn place<T: Real>(first: T, step: T, i: usize, cells: usize) -> Place<T> {
    let last = cells - 1;
    let at = (first + T::of(i as f64) * step).max(T::ZERO).min(T::of(last as f64));
    let cell = (at.f64() as usize).min(last);
    (cell, (cell + 1).min(last), at - T::of(cell as f64))
}

/// The geometry in machine words, and the window.
#[derive(Clone, Copy)]
struct G<T> {
    h: usize,
    w: usize,
    c: usize,
    p: usize,
    q: usize,
    window: [T; 4],
}

impl<T: Real> G<T> {
    fn new(g: &ImageGeometry, window: &[T]) -> Self {
        let [h, w, c, p, q] = [g.h, g.w, g.c, g.p, g.q].map(|v| v as usize);
        Self { h, w, c, p, q, window: *window.first_chunk().expect("a window is four numbers") }
    }

    #[inline(always)]
    fn row(&self, i: usize) -> Place<T> {
        place(self.window[0], self.window[1], i, self.h)
    }

    #[inline(always)]
    fn column(&self, j: usize) -> Place<T> {
        place(self.window[2], self.window[3], j, self.w)
    }
}

/// The shares of the four cells around a place: above left, above right, below left, below right.
#[inline(always)]
fn shares<T: Real>(down: T, right: T) -> [T; 4] {
    let (up, left) = (T::ONE - down, T::ONE - right);
    [up * left, up * right, down * left, down * right]
}

simd! {
    /// Row `i` of one image.
    fn forward_row<T: Real>(g: G<T>, i: usize, x: &[T], y: &mut [T]) {
        let (above, below, down) = g.row(i);
        for (j, y) in y.chunks_exact_mut(g.c).enumerate() {
            let (left, right, part) = g.column(j);
            let shares = shares(down, part);
            let cell = |row: usize, column: usize| &x[(row * g.w + column) * g.c..][..g.c];
            let (a, b, c, d) = (cell(above, left), cell(above, right), cell(below, left), cell(below, right));
            for k in 0..g.c {
                y[k] = (shares[0] * a[k] + shares[1] * b[k]) + (shares[2] * c[k] + shares[3] * d[k]);
            }
        }
    }
}

simd! {
    /// One image's gradient, added to dx.
    fn backward_image<T: Real>(g: G<T>, dy: &[T], dx: &mut [T]) {
        for i in 0..g.p {
            let (above, below, down) = g.row(i);
            for j in 0..g.q {
                let (left, right, part) = g.column(j);
                let dy = &dy[(i * g.q + j) * g.c..][..g.c];
                let cells = [(above, left), (above, right), (below, left), (below, right)];
                for ((row, column), share) in cells.into_iter().zip(shares(down, part)) {
                    let dx = &mut dx[(row * g.w + column) * g.c..][..g.c];
                    for (dx, &dy) in dx.iter_mut().zip(dy) {
                        *dx += share * dy;
                    }
                }
            }
        }
    }
}

impl<T: Real> Run<ResampleForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ResampleForward<Tensor>, _: Tensor) -> Result<()> {
        let (input, output) = (op.geometry.input(), op.geometry.output());
        let mut b = self.arena.borrow();
        let (window, x, y) = (b.read::<T>(op.window), b.read::<T>(op.x), b.write::<T>(op.y));
        assert!(x.len() == input.elements() && y.len() == output.elements());
        let (g, image) = (G::new(&op.geometry, window), input.image());
        self.workers.pieces(y.len(), g.q * g.c, y, |i, y| forward_row(g, i % g.p, &x[i / g.p * image..][..image], y));
        Ok(())
    }
}

impl<T: Real> Run<ResampleBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ResampleBackward<Tensor>, _: Tensor) -> Result<()> {
        let (input, output, add) = (op.geometry.input(), op.geometry.output(), op.dx.adds());
        let mut b = self.arena.borrow();
        let (window, dy, dx) = (b.read::<T>(op.window), b.read::<T>(op.dy), b.write::<T>(op.dx.at));
        assert!(dx.len() == input.elements() && dy.len() == output.elements());
        let (g, inputs, outputs) = (G::new(&op.geometry, window), input.image(), output.image());
        self.workers.pieces(dy.len() * 2, inputs, dx, |i, dx| {
            if !add {
                dx.fill(T::ZERO);
            }
            backward_image(g, &dy[i * outputs..][..outputs], dx);
        });
        Ok(())
    }
}

impl<T: Real> Run<RandomWindow<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &RandomWindow<Tensor>, _: Tensor) -> Result<()> {
        let [u, v, w, _] = philox::block(self.step.seed, Purpose::Noise, op.layer, self.step.step, 0);
        let [u, v, w] = [u, v, w].map(|bits| f64::from(philox::uniform(bits)));
        let ImageGeometry { h, w: columns, p, q, .. } = op.geometry;
        let [rows, columns, p, q] = [h, columns, p, q].map(f64::from);
        // The cubes of the places' numbers are uniform.
        let places = p * (op.largest - 1.0) + 1.0;
        let scaled = (p - 1.0 + (1.0 + u * (places * places * places - 1.0)).cbrt()).clamp(p, p * op.largest);
        let ratio = scaled / p;
        let window = self.arena.borrow().write::<T>(op.window);
        for (window, (cells, size, at)) in window.chunks_exact_mut(2).zip([(rows, p, v), (columns, q, w)]) {
            let step = cells / (size * ratio);
            let start = at * (size * ratio - size);
            window[0] = T::of((start + 0.5) * step - 0.5);
            window[1] = T::of(step);
        }
        Ok(())
    }
}
