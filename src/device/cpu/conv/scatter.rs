//! The image gradient scattered from dy: dx[p·stride + r][q·stride .. + s][c] += dy[p, q][k]·w[k][r][s, c].
//!
//! Where there is no padding, gathering (`gather.rs`) multiplies with zeros: the 12 × 12 gradient of LeNet's second layer has
//! 2.25 times as many (cell, tap) pairs as dy has places and taps, and its 20 channels pay for 32. Here a tile is some
//! neighbouring places by two or more vectors of one row of taps' (s, c), which is contiguous in dx (100 columns, paid as
//! 112); its depth is k, and it is added to dx, whose rows of one tile overlap. So dx is loaded and stored r·s/stride² times,
//! once every k multiply-adds. A task is an image.

use super::gather::Axis;
use super::{Conv, phases, size};
use crate::device::ConvGeometry;
use crate::device::cpu::neuron::mask;
use crate::device::cpu::simd::{Finish, Left, Place, Rows, Shared, Simd, Walk};
use crate::op::{Neuron, Target};

/// Panels of one row of taps, and the columns of each.
fn panels(g: &ConvGeometry, simd: &Simd) -> (usize, usize) {
    let columns = size(g.s * g.c);
    let panel = simd.vectors(size(g.q), columns) * simd.lanes;
    (columns.div_ceil(panel), panel)
}

/// Multiply-adds of vectors where this geometry can be scattered, with enough images that each is a task.
pub fn cost(g: &ConvGeometry, simd: &Simd) -> Option<usize> {
    let inside =
        |outputs: i32, stride: i32, taps: i32, dilation: i32, input: i32| (outputs - 1) * stride + (taps - 1) * dilation < input;
    let contiguous = g.groups == 1 && g.dilation_w == 1 && g.padding_h == 0 && g.padding_w == 0;
    let whole = inside(g.p, g.stride_h, g.r, g.dilation_h, g.h) && inside(g.q, g.stride_w, g.s, g.dilation_w, g.w);
    // Four instructions to add a vector to dx.
    let scattered = || size(g.p * g.q * g.r) * size(g.s * g.c).div_ceil(simd.lanes) * (size(g.k) + 4);
    (contiguous && whole && g.n >= 8).then(scattered)
}

/// Whether scattering takes fewer multiply-adds than gathering.
pub fn wins(g: &ConvGeometry, simd: &Simd) -> bool {
    let Some(scattered) = cost(g, simd) else { return false };
    let mut gathered = 0;
    phases(g, |rows, columns| {
        let Axis { outputs, taps, .. } = columns.axis;
        gathered += rows.axis.pairs() * outputs * taps * size(g.c).div_ceil(simd.lanes) * size(g.k);
    });
    scattered + scattered / 8 < gathered
}

/// Floats of scratch that [`run`] wants.
pub fn scratch(g: &ConvGeometry, simd: &Simd) -> usize {
    let (panels, panel) = panels(g, simd);
    size(g.r * g.k) * panels * panel
}

/// Floats of an image that stays in the cache until all is scattered.
const CACHED: usize = 1 << 16;

/// Whether an image is still in the cache when it is done, to be multiplied by a neuron's derivative.
pub fn ends_in_cache(g: &ConvGeometry) -> bool {
    g.input().image() <= CACHED
}

/// dx ← dy ∗ᵀ w, or dx += …; then multiplied by the derivative of the relu whose outputs, and the distance of their cells, are
/// `seen`.
pub fn run(
    &Conv { workers, g, pitches, .. }: &Conv<'_>,
    dy: &[f32],
    w: &[f32],
    seen: Option<(&[f32], usize)>,
    dx: Target<&mut [f32]>,
    scratch: &mut [f32],
) {
    let (simd, set) = (Simd::best(), !dx.adds());
    let (panels, panel) = panels(g, simd);
    let (r, s, c, k, p, q) = (size(g.r), size(g.s), size(g.c), size(g.k), size(g.p), size(g.q));
    let columns = |i: usize| panel.min(s * c - i * panel);
    let packed = &mut scratch[..r * k * panels * panel];
    workers.large_pieces(packed.len() / 2, panel * k, packed, |i, packed| {
        let (row, i) = (i / panels, i % panels);
        let pitch = columns(i).next_multiple_of(simd.lanes);
        simd.copy(&w[row * s * c + i * panel..], [0, r * s * c], packed, [0, pitch], columns(i), [1, k]);
        super::clear_tails(&mut packed[..k * pitch], pitch, columns(i));
    });
    let packed = &*packed;
    let image = g.input().image();
    let nanoseconds = size(g.n) * p * q * r * s * c * k / 50;
    workers.large_pieces(nanoseconds, image, dx.at, |n, dx| {
        if set {
            dx.fill(0.0);
        }
        let to = Shared::new(&mut *dx);
        for (part, packed) in packed.chunks_exact(panel * k).enumerate() {
            let (row, i) = (part / panels, part % panels);
            let walk = Walk { rows: Rows::Apart(pitches[1]), loops: [(1, 0), (1, 0), (k, 1)] };
            for line in 0..p {
                let to = to.after((line * size(g.stride_h) + row * size(g.dilation_h)) * size(g.w) * c + i * panel);
                let to = Place { c: to, pitch: size(g.stride_w) * c, columns: columns(i) };
                let left = Left { a: &dy[(n * p + line) * q * pitches[1]..], rows: q, walk };
                // SAFETY: this task alone writes this image.
                unsafe { simd.tiles(&left, packed, &to, &Finish::sums(true)) }
            }
        }
        if let Some((seen, pitch)) = seen {
            mask(Neuron::Relu, c, (&seen[n * size(g.h * g.w) * pitch..], pitch), (dx, c));
        }
    });
}
