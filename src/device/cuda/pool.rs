//! Pools: kernels/pool.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, PoolGeometry, PoolKind, Result};

pub(super) const KERNELS: &[&str] =
    &["pool_max_forward", "pool_avg_forward", "pool_l2_forward", "pool_max_backward", "pool_avg_backward", "pool_l2_backward"];

/// A grid as wide as an image of `each` elements and as high as there are images, and the kernels' `vector`.
fn over(g: &PoolGeometry, each: usize, tensors: &[Address]) -> (Grid, i32) {
    let vector = if g.c % 4 == 0 { vector(tensors) } else { 0 };
    let items = if vector == 1 { each / 4 } else { each };
    (Grid { blocks: [items.div_ceil(256) as u32, g.n.min(65535) as u32, 1], threads: 256 }, vector)
}

/// y ← the maximum, the mean or the root of the sum of squares over each window of x.
pub(super) fn forward(d: &CudaDevice, g: &PoolGeometry, kind: PoolKind, x: Tensor, y: Tensor) -> Result<()> {
    let kernel = match kind {
        PoolKind::Max => "pool_max_forward",
        PoolKind::Avg => "pool_avg_forward",
        PoolKind::L2 => "pool_l2_forward",
    };
    let (x, y) = (d.reals(x, g.input().elements())?, d.reals(y, g.output().elements())?);
    let (grid, vector) = over(g, g.output().image(), &[x, y]);
    d.launch(kernel, grid, &[g, &vector, &x, &y])
}

/// dx ← the gradient of [`forward`], or dx += …, from x, y and dy. What a kind does not read may be another tensor's memory
/// by now.
pub(super) fn backward(
    d: &CudaDevice,
    g: &PoolGeometry,
    kind: PoolKind,
    [x, y, dy]: [Tensor; 3],
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let (inputs, outputs) = (g.input().elements(), g.output().elements());
    let (dy, dx, add) = (d.reals(dy, outputs)?, d.reals(dx, inputs)?, add(into));
    // The largest values' kernel makes stride × stride cells a thread, where it can.
    let cells = if kind == PoolKind::Max { (g.stride_h * g.stride_w).max(1) as usize } else { 1 };
    let over = |tensors: &[Address]| over(g, g.input().image().div_ceil(cells), tensors);
    match kind {
        PoolKind::Max => {
            let x = d.reals(x, inputs)?;
            let (grid, vector) = over(&[x, dy, dx]);
            d.launch("pool_max_backward", grid, &[g, &vector, &x, &dy, &dx, &add])
        }
        PoolKind::Avg => {
            let (grid, vector) = over(&[dy, dx]);
            d.launch("pool_avg_backward", grid, &[g, &vector, &dy, &dx, &add])
        }
        PoolKind::L2 => {
            let (x, y) = (d.reals(x, inputs)?, d.reals(y, outputs)?);
            let (grid, vector) = over(&[x, y, dy, dx]);
            d.launch("pool_l2_backward", grid, &[g, &vector, &x, &y, &dy, &dx, &add])
        }
    }
}
