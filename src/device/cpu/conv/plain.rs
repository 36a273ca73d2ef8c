//! Convolution as its definition says it: loop nests over outputs and taps, no packing, no scratch, every sum in one order.
//! This is what f64 runs on (gradient checks, references); f32 is measured against it. Only the outermost loop is spread
//! over threads, each piece of the result made by one thread. A locally connected layer is the same with filters of each
//! place's own, one place's after the other's.

use crate::device::ConvGeometry;
use crate::device::cpu::{Real, Workers, neuron};
use crate::op::{Neuron, Target};

/// Whose filters are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Owner {
    /// All places share them: a convolution.
    All,
    /// Each place has its own: a locally connected layer.
    Place,
}

/// The loop nests of a geometry.
pub struct Nest {
    n: usize,
    h: usize,
    w: usize,
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
    /// Elements from one place's filters to the next one's; 0 where all share them.
    place: usize,
    /// Elements from one cell of the image, and of the output, to the next.
    pitches: [usize; 2],
}

impl Nest {
    /// Those of this geometry.
    pub fn new(g: &ConvGeometry, owner: Owner) -> Self {
        let u = |x: i32| x as usize;
        Self {
            place: if owner == Owner::Place { u(g.k) * g.filters().image() } else { 0 },
            n: u(g.n),
            h: u(g.h),
            w: u(g.w),
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
            pitches: [u(g.c), u(g.k)],
        }
    }

    /// The same on tensors whose cells are so far apart: the image's, and the output's.
    pub fn pitched(self, pitches: [usize; 2]) -> Self {
        Self { pitches, ..self }
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
        ((n * self.h + h) * self.w + w) * self.pitches[0] + k / self.kg * self.cg
    }

    /// y ← neuron(x ∗ w + b).
    pub fn forward<T: Real>(&self, workers: &Workers, x: &[T], w: &[T], b: Option<&[T]>, neuron: Neuron, y: &mut [T]) {
        let untied = b.is_some_and(|b| b.len() != self.k);
        let row = |index: usize, y: &mut [T]| {
            let (n, p) = (index / self.p, index % self.p);
            for (q, y) in y.chunks_mut(self.pitches[1]).enumerate() {
                let y = &mut y[..self.k];
                let w = &w[(p * self.q + q) * self.place..];
                for (k, y) in y.iter_mut().enumerate() {
                    let mut sum = b.map_or(T::ZERO, |b| if untied { b[(p * self.q + q) * self.k + k] } else { b[k] });
                    for i in 0..self.r {
                        let Some(h) = self.row(p, i) else { continue };
                        for j in 0..self.s {
                            let Some(v) = self.column(q, j) else { continue };
                            let (x, w) = (&x[self.pixel(n, h, v, k)..][..self.cg], &w[self.tap(k, i, j)..][..self.cg]);
                            x.iter().zip(w).for_each(|(x, w)| sum += *x * *w);
                        }
                    }
                    *y = sum;
                }
                neuron::apply(neuron, y);
            }
        };
        workers.pieces(usize::MAX, self.q * self.pitches[1], y, row);
    }

    /// dx ← dy ∗ᵀ w, or dx += …; then multiplied by the derivative of the relu whose outputs, and the distance of their cells,
    /// are `seen`.
    pub fn backward_image<T: Real>(
        &self,
        workers: &Workers,
        dy: &[T],
        w: &[T],
        dx: Target<&mut [T]>,
        seen: Option<(&[T], usize)>,
    ) {
        let (set, [pitch, dy_pitch]) = (!dx.adds(), self.pitches);
        let channels = self.k / self.kg * self.cg;
        let image = |n: usize, dx: &mut [T]| {
            if set {
                dx.chunks_mut(pitch).for_each(|dx| dx[..channels].fill(T::ZERO));
            }
            for p in 0..self.p {
                for q in 0..self.q {
                    let dy = &dy[((n * self.p + p) * self.q + q) * dy_pitch..][..self.k];
                    let w = &w[(p * self.q + q) * self.place..];
                    for i in 0..self.r {
                        let Some(h) = self.row(p, i) else { continue };
                        for j in 0..self.s {
                            let Some(v) = self.column(q, j) else { continue };
                            for (k, dy) in dy.iter().enumerate() {
                                let (dx, w) = (&mut dx[self.pixel(0, h, v, k)..][..self.cg], &w[self.tap(k, i, j)..][..self.cg]);
                                dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += *dy * *w);
                            }
                        }
                    }
                }
            }
            if let Some((seen, pitch)) = seen {
                let seen = (&seen[n * self.h * self.w * pitch..], pitch);
                neuron::mask(Neuron::Relu, channels, seen, (dx, self.pitches[0]));
            }
        };
        workers.pieces(usize::MAX, self.h * self.w * pitch, dx.at, image);
    }

    /// dw ← Σ over images, and over the places that share dw, of dy · x, or dw += ….
    pub fn backward_filters<T: Real>(&self, workers: &Workers, x: &[T], dy: &[T], dw: Target<&mut [T]>) {
        let set = !dw.adds();
        let filter = |index: usize, dw: &mut [T]| {
            if set {
                dw.fill(T::ZERO);
            }
            let (k, own) = (index % self.k, index / self.k);
            let places = if self.place > 0 { own..own + 1 } else { 0..self.p * self.q };
            for n in 0..self.n {
                for (p, q) in places.clone().map(|place| (place / self.q, place % self.q)) {
                    let dy = dy[((n * self.p + p) * self.q + q) * self.pitches[1] + k];
                    for i in 0..self.r {
                        let Some(h) = self.row(p, i) else { continue };
                        for j in 0..self.s {
                            let Some(v) = self.column(q, j) else { continue };
                            let (dw, x) = (&mut dw[self.tap(0, i, j)..][..self.cg], &x[self.pixel(n, h, v, k)..][..self.cg]);
                            dw.iter_mut().zip(x).for_each(|(dw, x)| *dw += dy * *x);
                        }
                    }
                }
            }
        };
        workers.pieces(usize::MAX, self.r * self.s * self.cg, dw.at, filter);
    }
}
