//! Convolution as its definition says it: loop nests over outputs and taps, no packing, no scratch, every sum in one order.
//! This is what f64 runs on (gradient checks, references); f32 is measured against it. Only the outermost loop is spread
//! over threads, each piece of the result made by one thread. A locally connected layer is the same with filters of each
//! place's own, one place's after the other's.

use crate::device::cpu::{Real, Workers, neuron};
use crate::device::{ConvGeometry, Into, Neuron};
use rayon::prelude::*;

/// Whose filters are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Owner {
    /// All places share them: a convolution.
    All,
    /// Each place has its own: a locally connected layer.
    Place,
}

/// The geometry as `usize`, with what the nests ask of it.
#[derive(Clone, Copy)]
struct Nest {
    h: usize,
    w: usize,
    c: usize,
    k: usize,
    r: usize,
    s: usize,
    p: usize,
    q: usize,
    cg: usize,
    kg: usize,
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
    /// Elements from one place's filters to the next one's.
    place: usize,
}

impl Nest {
    fn new(g: &ConvGeometry, owner: Owner) -> Self {
        let u = |x: i32| x as usize;
        Self {
            place: if owner == Owner::Place { u(g.k) * g.filters().image() } else { 0 },
            h: u(g.h),
            w: u(g.w),
            c: u(g.c),
            k: u(g.k),
            r: u(g.r),
            s: u(g.s),
            p: u(g.p),
            q: u(g.q),
            cg: u(g.c / g.groups),
            kg: u(g.k / g.groups),
            stride: (u(g.stride_h), u(g.stride_w)),
            padding: (u(g.padding_h), u(g.padding_w)),
            dilation: (u(g.dilation_h), u(g.dilation_w)),
        }
    }

    /// The image row that tap i of output row p sees, if it lies in the image.
    fn row(&self, p: usize, i: usize) -> Option<usize> {
        (p * self.stride.0 + i * self.dilation.0).checked_sub(self.padding.0).filter(|&h| h < self.h)
    }

    /// The image column that tap j of output column q sees, if it lies in the image.
    fn column(&self, q: usize, j: usize) -> Option<usize> {
        (q * self.stride.1 + j * self.dilation.1).checked_sub(self.padding.1).filter(|&w| w < self.w)
    }

    /// Where the filter of output k starts its tap (i, j).
    fn tap(&self, k: usize, i: usize, j: usize) -> usize {
        ((k * self.r + i) * self.s + j) * self.cg
    }

    /// Where the channels that output k reads start, in pixel (h, w) of image n.
    fn pixel(&self, n: usize, h: usize, w: usize, k: usize) -> usize {
        ((n * self.h + h) * self.w + w) * self.c + k / self.kg * self.cg
    }
}

/// y ← neuron(x ∗ w + b).
#[allow(clippy::too_many_arguments)]
pub fn forward<T: Real>(
    workers: &Workers,
    g: &ConvGeometry,
    owner: Owner,
    x: &[T],
    w: &[T],
    b: Option<&[T]>,
    neuron: Neuron,
    y: &mut [T],
) {
    let t = Nest::new(g, owner);
    let untied = b.is_some_and(|b| b.len() != t.k);
    let row = |index: usize, y: &mut [T]| {
        let (n, p) = (index / t.p, index % t.p);
        for (q, y) in y.chunks_exact_mut(t.k).enumerate() {
            let w = &w[(p * t.q + q) * t.place..];
            for (k, y) in y.iter_mut().enumerate() {
                let mut sum = b.map_or(T::ZERO, |b| if untied { b[(p * t.q + q) * t.k + k] } else { b[k] });
                for i in 0..t.r {
                    let Some(h) = t.row(p, i) else { continue };
                    for j in 0..t.s {
                        let Some(v) = t.column(q, j) else { continue };
                        let (x, w) = (&x[t.pixel(n, h, v, k)..][..t.cg], &w[t.tap(k, i, j)..][..t.cg]);
                        x.iter().zip(w).for_each(|(x, w)| sum += *x * *w);
                    }
                }
                *y = sum;
            }
        }
        if neuron != Neuron::NONE {
            neuron::apply(neuron, y);
        }
    };
    workers.run(|| y.par_chunks_mut(t.q * t.k).enumerate().for_each(|(index, y)| row(index, y)));
}

/// dx ← dy ∗ᵀ w, or dx += ….
pub fn backward_image<T: Real>(workers: &Workers, g: &ConvGeometry, owner: Owner, dy: &[T], w: &[T], dx: &mut [T], into: Into) {
    let t = Nest::new(g, owner);
    let image = |n: usize, dx: &mut [T]| {
        if into == Into::Set {
            dx.fill(T::ZERO);
        }
        for p in 0..t.p {
            for q in 0..t.q {
                let dy = &dy[((n * t.p + p) * t.q + q) * t.k..][..t.k];
                let w = &w[(p * t.q + q) * t.place..];
                for i in 0..t.r {
                    let Some(h) = t.row(p, i) else { continue };
                    for j in 0..t.s {
                        let Some(v) = t.column(q, j) else { continue };
                        for (k, dy) in dy.iter().enumerate() {
                            let (dx, w) = (&mut dx[t.pixel(0, h, v, k)..][..t.cg], &w[t.tap(k, i, j)..][..t.cg]);
                            dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += *dy * *w);
                        }
                    }
                }
            }
        }
    };
    workers.run(|| dx.par_chunks_mut(t.h * t.w * t.c).enumerate().for_each(|(n, dx)| image(n, dx)));
}

/// dw ← Σ over images, and over the places that share dw, of dy · x, or dw += ….
pub fn backward_filters<T: Real>(workers: &Workers, g: &ConvGeometry, owner: Owner, x: &[T], dy: &[T], dw: &mut [T], into: Into) {
    let t = Nest::new(g, owner);
    let filter = |index: usize, dw: &mut [T]| {
        if into == Into::Set {
            dw.fill(T::ZERO);
        }
        let (k, own) = (index % t.k, index / t.k);
        let places = if owner == Owner::Place { own..own + 1 } else { 0..t.p * t.q };
        for n in 0..g.n as usize {
            for (p, q) in places.clone().map(|place| (place / t.q, place % t.q)) {
                let dy = dy[((n * t.p + p) * t.q + q) * t.k + k];
                for i in 0..t.r {
                    let Some(h) = t.row(p, i) else { continue };
                    for j in 0..t.s {
                        let Some(v) = t.column(q, j) else { continue };
                        let (dw, x) = (&mut dw[t.tap(0, i, j)..][..t.cg], &x[t.pixel(n, h, v, k)..][..t.cg]);
                        dw.iter_mut().zip(x).for_each(|(dw, x)| *dw += dy * *x);
                    }
                }
            }
        }
    };
    workers.run(|| dw.par_chunks_mut(t.r * t.s * t.cg).enumerate().for_each(|(index, dw)| filter(index, dw)));
}
