//! Bilinear resampling: each cell of y is a mixture of the four cells of x around a place that goes up evenly with rows and
//! columns. Forward cuts by rows of y, backward, where cells of y share cells of x, by images. Cost: one write of y, four reads of
//! x from the cache; backward as much of dx.

use super::dispatch::simd;
use super::{Real, Workers};
use crate::device::philox::{self, Purpose};
use crate::device::{ImageGeometry, Into, StepValues};

/// Where a row or a column of y is in x: between two cells, and the share of the second.
type Place<T> = (usize, usize, T);

/// The place of cell `i` of y along an axis of x of so many cells.
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

/// y ← x at the places that the window says.
pub(super) fn forward<T: Real>(workers: &Workers, g: &ImageGeometry, window: &[T], x: &[T], y: &mut [T]) {
    assert!(x.len() == g.input().elements() && y.len() == g.output().elements());
    let (g, image) = (G::new(g, window), g.input().image());
    workers.pieces(y.len(), g.q * g.c, y, |i, y| forward_row(g, i % g.p, &x[i / g.p * image..][..image], y));
}

/// dx ← the gradient of [`forward`], or dx += ….
pub(super) fn backward<T: Real>(workers: &Workers, g: &ImageGeometry, window: &[T], dy: &[T], dx: &mut [T], into: Into) {
    assert!(dx.len() == g.input().elements() && dy.len() == g.output().elements());
    let (g, inputs, outputs) = (G::new(g, window), g.input().image(), g.output().image());
    workers.pieces(dy.len() * 2, inputs, dx, |i, dx| {
        if into == Into::Set {
            dx.fill(T::ZERO);
        }
        backward_image(g, &dy[i * outputs..][..outputs], dx);
    });
}

/// window ← a random part of x scaled to p × q cells up to `most` times as many.
pub(super) fn random_window<T: Real>(step: &StepValues, layer: u32, g: &ImageGeometry, most: f64, window: &mut [T]) {
    let [u, v, w] = {
        let [u, v, w, _] = philox::block(step.seed, Purpose::Noise, layer, step.step, 0);
        [u, v, w].map(|bits| f64::from(philox::uniform(bits)))
    };
    let [rows, columns, p, q] = [g.h, g.w, g.p, g.q].map(f64::from);
    // The cubes of the places' numbers are uniform.
    let places = p * (most - 1.0) + 1.0;
    let scaled = (p - 1.0 + (1.0 + u * (places * places * places - 1.0)).cbrt()).clamp(p, p * most);
    let ratio = scaled / p;
    for (window, (cells, size, at)) in window.chunks_exact_mut(2).zip([(rows, p, v), (columns, q, w)]) {
        let step = cells / (size * ratio);
        let start = at * (size * ratio - size);
        window[0] = T::of((start + 0.5) * step - 0.5);
        window[1] = T::of(step);
    }
}
