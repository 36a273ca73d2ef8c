//! Response normalisation: kernels/lrn.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, add, vector};
use crate::device::{LrnGeometry, Result, Run, Tensor};
use crate::op::{LrnBackward, LrnForward};

/// Elements of a block's tile, and channels that a window may reach past it: TILE and HALO in the kernels' file.
const TILE: usize = 1024;
const HALO: i32 = 32;

/// Whether windows lie within a tile and its surroundings.
fn in_tiles(g: &LrnGeometry) -> bool {
    g.within == 0 && g.size <= HALO + 1
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

impl Run<LrnForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LrnForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (g, r, elements) = (&op.geometry, &op.response, op.geometry.shape().elements());
        let [alpha, beta, k] = [r.alpha, r.beta, r.k].map(|v| v as f32);
        let [x, seen, y] = self.all_reals([op.x, op.seen.unwrap_or(op.x), op.y], elements)?;
        if op.seen.is_none() && in_tiles(g) {
            return self.launch("lrn_across_forward", tiles(elements), &[g, &alpha, &beta, &k, &vector(&[x, y]), &x, &y]);
        }
        let (grid, vector) = any(self, g, &[x, seen, y]);
        self.launch("lrn_any_forward", grid, &[g, &alpha, &beta, &k, &vector, &x, &seen, &y])
    }
}

impl Run<LrnBackward<Tensor>> for CudaDevice {
    fn scratch(&self, op: &LrnBackward<Tensor>) -> usize {
        if in_tiles(&op.geometry) { 0 } else { op.geometry.shape().elements() * size_of::<f32>() }
    }

    fn run(&mut self, op: &LrnBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let (g, r, elements) = (&op.geometry, &op.response, op.geometry.shape().elements());
        let [alpha, beta, k, factor] = [r.alpha, r.beta, r.k, -2.0 * r.alpha * r.beta].map(|v| v as f32);
        let [x, seen, dy, dx] = self.all_reals([op.x, op.seen.unwrap_or(op.x), op.dy, op.dx.at], elements)?;
        let add = add(&op.dx);
        if in_tiles(g) {
            if op.seen.is_some() || op.dseen.is_some() {
                return Err(self.failed("normalisation across maps sees the tensor that it normalises"));
            }
            let (grid, vector) = (tiles(elements), vector(&[x, dy, dx]));
            return self.launch("lrn_across_backward", grid, &[g, &alpha, &beta, &k, &vector, &x, &dy, &dx, &add]);
        }
        let t = self.scratch_at(scratch, elements * size_of::<f32>())?;
        let (grid, vector) = any(self, g, &[x, seen, dy, dx, t]);
        self.launch("lrn_any_respond", grid, &[g, &alpha, &beta, &k, &vector, &x, &seen, &dy, &dx, &add, &t])?;
        let (d_seen, add) = match op.dseen {
            Some(dseen) => (self.reals(dseen, elements)?, 0),
            None => (dx, 1),
        };
        let (grid, vector) = any(self, g, &[seen, t, d_seen]);
        self.launch("lrn_any_backward", grid, &[g, &factor, &vector, &seen, &t, &d_seen, &add])
    }
}
