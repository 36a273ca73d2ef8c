//! Convolution with as many groups as channels and filters: y[p, q][c] = Σ over taps of x[tap][c]·w[c][tap].
//!
//! Nothing is shared between channels, so tiles have nothing to reuse; the channels are the vector, and every tap of every
//! place is one elementwise y += x·w along them, with the filters transposed to [tap][channel] once a call. FLOPs:
//! 2·places·taps·channels at three loads and a store a multiply-add, in the first-level cache; x and y are passed once.

use super::{size, spread};
use crate::device::cpu::Workers;
use crate::device::cpu::simd::Simd;
use crate::device::{ConvGeometry, Into, Neuron};
use std::ops::Range;

/// Chunks of images that the filter gradient's partial sums are of.
const CHUNKS: usize = 16;

/// Whether every channel has a filter of its own.
pub fn is(g: &ConvGeometry) -> bool {
    g.groups > 1 && g.groups == g.c && g.c == g.k
}

/// Floats of scratch that [`forward`] and [`backward_image`] want.
pub fn scratch(g: &ConvGeometry) -> usize {
    size(g.r * g.s * g.c)
}

/// Floats of scratch that [`backward_filters`] wants.
pub fn filters_scratch(g: &ConvGeometry) -> usize {
    size(g.r * g.s * g.c) * (CHUNKS.min(size(g.n)) + 1)
}

/// The image row or column that a tap of an output sees, if it lies in the image.
fn cell(output: usize, tap: usize, stride: i32, dilation: i32, padding: i32, input: i32) -> Option<usize> {
    (output * size(stride) + tap * size(dilation)).checked_sub(size(padding)).filter(|&x| x < size(input))
}

/// The outputs of a row whose tap j lies in the image, and the column that the first of them sees.
fn columns(g: &ConvGeometry, j: usize) -> (Range<usize>, usize) {
    let cell = |q: &usize| cell(*q, j, g.stride_w, g.dilation_w, g.padding_w, g.w);
    let Some(first) = (0..size(g.q)).find(|q| cell(q).is_some()) else { return (0..0, 0) };
    let last = (first..size(g.q)).rfind(|q| cell(q).is_some()).unwrap_or(first);
    (first..last + 1, cell(&first).unwrap_or(0))
}

/// y ← x ∗ w + b, with relu.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    workers: &Workers,
    g: &ConvGeometry,
    simd: &Simd,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    neuron: Neuron,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let (c, taps) = (size(g.c), size(g.r * g.s));
    simd.transpose(w, taps, scratch, c, c, taps);
    let w = &scratch[..taps * c];
    let row = size(g.q) * c;
    spread(workers, y.len() * taps / 10, row, y, |index, y| {
        let (n, p) = (index / size(g.p), index % size(g.p));
        match b {
            Some(b) if b.len() == c => y.chunks_exact_mut(c).for_each(|y| y.copy_from_slice(b)),
            Some(b) => y.copy_from_slice(&b[p * row..][..row]),
            None => y.fill(0.0),
        }
        for i in 0..size(g.r) {
            let Some(h) = cell(p, i, g.stride_h, g.dilation_h, g.padding_h, g.h) else { continue };
            for j in 0..size(g.s) {
                let (outputs, first) = columns(g, j);
                let x = &x[((n * size(g.h) + h) * size(g.w) + first) * c..];
                let (w, y) = (&w[(i * size(g.s) + j) * c..], &mut y[outputs.start * c..]);
                simd.accumulate(x, w, y, [size(g.stride_w) * c, 0, c], c, outputs.len());
            }
        }
        if neuron == Neuron::Relu {
            y.iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
        }
    });
}

/// dx ← dy ∗ᵀ w, or dx += ….
#[allow(clippy::too_many_arguments)]
pub fn backward_image(
    workers: &Workers,
    g: &ConvGeometry,
    simd: &Simd,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    into: Into,
    scratch: &mut [f32],
) {
    let (c, taps) = (size(g.c), size(g.r * g.s));
    simd.transpose(w, taps, scratch, c, c, taps);
    let w = &scratch[..taps * c];
    spread(workers, dy.len() * taps / 10, size(g.w) * c, dx, |index, dx| {
        let (n, h) = (index / size(g.h), index % size(g.h));
        if into == Into::Set {
            dx.fill(0.0);
        }
        for i in 0..size(g.r) {
            // The output row whose tap i this is.
            let Some(p) = (h + size(g.padding_h)).checked_sub(i * size(g.dilation_h)) else { continue };
            if !p.is_multiple_of(size(g.stride_h)) || p / size(g.stride_h) >= size(g.p) {
                continue;
            }
            for j in 0..size(g.s) {
                let (outputs, first) = columns(g, j);
                let row = (n * size(g.p) + p / size(g.stride_h)) * size(g.q);
                let (dy, w) = (&dy[(row + outputs.start) * c..], &w[(i * size(g.s) + j) * c..]);
                simd.accumulate(dy, w, &mut dx[first * c..], [c, 0, size(g.stride_w) * c], c, outputs.len());
            }
        }
    });
}

/// dw ← Σ over images and places of dy·x, or dw += ….
#[allow(clippy::too_many_arguments)]
pub fn backward_filters(
    workers: &Workers,
    g: &ConvGeometry,
    simd: &Simd,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    into: Into,
    scratch: &mut [f32],
) {
    let (n, c, taps) = (size(g.n), size(g.c), size(g.r * g.s));
    let chunks = CHUNKS.min(n);
    let (partials, total) = scratch.split_at_mut(chunks * taps * c);
    let total = &mut total[..taps * c];
    spread(workers, dy.len() * taps / 10, taps * c, partials, |chunk, sums| {
        sums.fill(0.0);
        for n in chunk * n / chunks..(chunk + 1) * n / chunks {
            for p in 0..size(g.p) {
                for i in 0..size(g.r) {
                    let Some(h) = cell(p, i, g.stride_h, g.dilation_h, g.padding_h, g.h) else { continue };
                    for j in 0..size(g.s) {
                        let (outputs, first) = columns(g, j);
                        let x = &x[((n * size(g.h) + h) * size(g.w) + first) * c..];
                        let dy = &dy[((n * size(g.p) + p) * size(g.q) + outputs.start) * c..];
                        let sums = &mut sums[(i * size(g.s) + j) * c..];
                        simd.accumulate(x, dy, sums, [size(g.stride_w) * c, c, 0], c, outputs.len());
                    }
                }
            }
        }
    });
    total.fill(0.0);
    for part in partials.chunks_exact(taps * c) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    for (k, dw) in dw.chunks_exact_mut(taps).enumerate() {
        for (tap, dw) in dw.iter_mut().enumerate() {
            let sum = total[tap * c + k];
            *dw = if into == Into::Add { *dw + sum } else { sum };
        }
    }
}
