//! Response normalisation: kernels/lrn.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, LrnGeometry, Response, Result};

pub(super) const KERNELS: &[&str] =
    &["lrn_across_forward", "lrn_across_backward", "lrn_any_forward", "lrn_any_respond", "lrn_any_backward"];

/// Elements of a block's tile, and channels that a window may reach past it: TILE and HALO in the kernels' file.
const TILE: usize = 1024;
const HALO: i32 = 32;

/// Whether windows lie within a tile and its surroundings.
fn in_tiles(g: &LrnGeometry) -> bool {
    g.within == 0 && g.size <= HALO + 1
}

/// Scratch of [`backward`].
pub(super) fn backward_scratch(g: &LrnGeometry) -> usize {
    if in_tiles(g) { 0 } else { g.shape().elements() * size_of::<f32>() }
}

/// A grid of a block a tile.
fn tiles(elements: usize) -> Grid {
    Grid { blocks: [elements.div_ceil(TILE) as u32, 1, 1], threads: 256 }
}

/// The grid of the kernels for any window, and their `vector`.
fn any(d: &CudaDevice, g: &LrnGeometry, tensors: &[Address]) -> (Grid, i32) {
    let vector = if g.within == 1 && g.c % 4 == 0 { vector(tensors) } else { 0 };
    let [n, h, w, c] = [g.n, g.h, g.w, g.c].map(|v| v as usize);
    let items = n * if g.within == 1 { h.div_ceil(4) } else { h } * w * c;
    (d.over(if vector == 1 { items / 4 } else { items }), vector)
}

/// y ← x·s^−beta.
pub(super) fn forward(d: &CudaDevice, g: &LrnGeometry, r: &Response, x: Tensor, seen: Tensor, y: Tensor) -> Result<()> {
    let elements = g.shape().elements();
    let [alpha, beta, k] = [r.alpha, r.beta, r.k].map(|v| v as f32);
    let itself = seen.slot == x.slot;
    let (x, seen, y) = (d.reals(x, elements)?, d.reals(seen, elements)?, d.reals(y, elements)?);
    if itself && in_tiles(g) {
        return d.launch("lrn_across_forward", tiles(elements), &[g, &alpha, &beta, &k, &vector(&[x, y]), &x, &y]);
    }
    let (grid, vector) = any(d, g, &[x, seen, y]);
    d.launch("lrn_any_forward", grid, &[g, &alpha, &beta, &k, &vector, &x, &seen, &y])
}

/// dx ← dy·s^−beta, or dx += …, and dseen ← −2·alpha·beta·seen·Σ t, or without a dseen that added to dx.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    d: &CudaDevice,
    g: &LrnGeometry,
    r: &Response,
    [x, seen, dy]: [Tensor; 3],
    dx: Tensor,
    into: Into,
    dseen: Option<Tensor>,
    scratch: Tensor,
) -> Result<()> {
    let elements = g.shape().elements();
    let [alpha, beta, k, factor] = [r.alpha, r.beta, r.k, -2.0 * r.alpha * r.beta].map(|v| v as f32);
    let itself = seen.slot == x.slot && dseen.is_none();
    let [x, seen, dy, dx] = [x, seen, dy, dx].map(|t| d.reals(t, elements));
    let (x, seen, dy, dx) = (x?, seen?, dy?, dx?);
    if itself && in_tiles(g) {
        let arguments: [&dyn super::Argument; 9] = [g, &alpha, &beta, &k, &vector(&[x, dy, dx]), &x, &dy, &dx, &add(into)];
        return d.launch("lrn_across_backward", tiles(elements), &arguments);
    }
    if in_tiles(g) {
        return Err(d.failed("normalisation across maps sees the tensor that it normalises"));
    }
    let t = d.scratch_at(scratch, elements * size_of::<f32>())?;
    let (grid, vector) = any(d, g, &[x, seen, dy, dx, t]);
    d.launch("lrn_any_respond", grid, &[g, &alpha, &beta, &k, &vector, &x, &seen, &dy, &dx, &add(into), &t])?;
    let (d_seen, into) = match dseen {
        Some(dseen) => (d.reals(dseen, elements)?, Into::Set),
        None => (dx, Into::Add),
    };
    let (grid, vector) = any(d, g, &[seen, t, d_seen]);
    d.launch("lrn_any_backward", grid, &[g, &factor, &vector, &seen, &t, &d_seen, &add(into)])
}
