//! Convolution with as many groups as channels and filters: y[p, q][c] = Σ over taps of x[tap][c]·w[c][tap].
//!
//! Nothing is shared between channels, so tiles have nothing to reuse; the channels are the vector, and every tap of every
//! place is one elementwise y += x·w along them, with the filters transposed to [tap][channel] once a call. FLOPs:
//! 2·places·taps·channels at three loads and a store a multiply-add, in the first-level cache; x and y are passed once.

use super::{Conv, size};
use crate::device::ConvGeometry;
use crate::device::cpu::neuron::mask;
use crate::device::cpu::simd::Simd;
use crate::op::{Neuron, Target};
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

/// y ← x ∗ w + b, or relu of that.
pub fn forward(
    &Conv { workers, g, pitches, .. }: &Conv<'_>,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    relu: bool,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let simd = Simd::best();
    let (c, taps) = (size(g.c), size(g.r * g.s));
    simd.transpose(w, taps, scratch, c, c, taps);
    let w = &scratch[..taps * c];
    workers.large_pieces(y.len() * taps / 10, size(g.q) * pitches[1], y, |index, y| {
        let (n, p) = (index / size(g.p), index % size(g.p));
        for (q, y) in y.chunks_mut(pitches[1]).enumerate() {
            match b {
                Some(b) if b.len() == c => y[..c].copy_from_slice(b),
                Some(b) => y[..c].copy_from_slice(&b[(p * size(g.q) + q) * c..][..c]),
                None => y[..c].fill(0.0),
            }
        }
        for i in 0..size(g.r) {
            let Some(h) = cell(p, i, g.stride_h, g.dilation_h, g.padding_h, g.h) else { continue };
            for j in 0..size(g.s) {
                let (outputs, first) = columns(g, j);
                let x = &x[((n * size(g.h) + h) * size(g.w) + first) * pitches[0]..];
                let (w, y) = (&w[(i * size(g.s) + j) * c..], &mut y[outputs.start * pitches[1]..]);
                simd.accumulate(x, w, y, [size(g.stride_w) * pitches[0], 0, pitches[1]], c, outputs.len());
            }
        }
        if relu {
            for y in y.chunks_mut(pitches[1]) {
                y[..c].iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
            }
        }
    });
}

/// dx ← dy ∗ᵀ w, or dx += …; then multiplied by the derivative of the relu whose outputs, and the distance of their cells, are
/// `seen`.
pub fn backward_image(
    &Conv { workers, g, pitches, .. }: &Conv<'_>,
    dy: &[f32],
    w: &[f32],
    seen: Option<(&[f32], usize)>,
    dx: Target<&mut [f32]>,
    scratch: &mut [f32],
) {
    let (simd, set) = (Simd::best(), !dx.adds());
    let (c, taps) = (size(g.c), size(g.r * g.s));
    simd.transpose(w, taps, scratch, c, c, taps);
    let w = &scratch[..taps * c];
    workers.large_pieces(dy.len() * taps / 10, size(g.w) * pitches[0], dx.at, |index, dx| {
        let (n, h) = (index / size(g.h), index % size(g.h));
        if set {
            dx.chunks_mut(pitches[0]).for_each(|dx| dx[..c].fill(0.0));
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
                let (dy, w) = (&dy[(row + outputs.start) * pitches[1]..], &w[(i * size(g.s) + j) * c..]);
                let steps = [pitches[1], 0, size(g.stride_w) * pitches[0]];
                simd.accumulate(dy, w, &mut dx[first * pitches[0]..], steps, c, outputs.len());
            }
        }
        if let Some((seen, pitch)) = seen {
            mask(Neuron::Relu, c, (&seen[index * size(g.w) * pitch..], pitch), (dx, pitches[0]));
        }
    });
}

/// dw ← Σ over images and places of dy·x, or dw += ….
pub fn backward_filters(
    &Conv { workers, g, pitches, .. }: &Conv<'_>,
    x: &[f32],
    dy: &[f32],
    dw: Target<&mut [f32]>,
    scratch: &mut [f32],
) {
    let (simd, add) = (Simd::best(), dw.adds());
    let (n, c, taps) = (size(g.n), size(g.c), size(g.r * g.s));
    let chunks = CHUNKS.min(n);
    let (partials, total) = scratch.split_at_mut(chunks * taps * c);
    let total = &mut total[..taps * c];
    workers.large_pieces(dy.len() * taps / 10, taps * c, partials, |chunk, sums| {
        sums.fill(0.0);
        for n in chunk * n / chunks..(chunk + 1) * n / chunks {
            for p in 0..size(g.p) {
                for i in 0..size(g.r) {
                    let Some(h) = cell(p, i, g.stride_h, g.dilation_h, g.padding_h, g.h) else { continue };
                    for j in 0..size(g.s) {
                        let (outputs, first) = columns(g, j);
                        let x = &x[((n * size(g.h) + h) * size(g.w) + first) * pitches[0]..];
                        let dy = &dy[((n * size(g.p) + p) * size(g.q) + outputs.start) * pitches[1]..];
                        let sums = &mut sums[(i * size(g.s) + j) * c..];
                        simd.accumulate(x, dy, sums, [size(g.stride_w) * pitches[0], pitches[1], 0], c, outputs.len());
                    }
                }
            }
        }
    });
    total.fill(0.0);
    for part in partials.chunks_exact(taps * c) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    for (k, dw) in dw.at.chunks_exact_mut(taps).enumerate() {
        for (tap, dw) in dw.iter_mut().enumerate() {
            let sum = total[tap * c + k];
            *dw = if add { *dw + sum } else { sum };
        }
    }
}
