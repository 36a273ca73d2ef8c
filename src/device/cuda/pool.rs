//! Pools: kernels/pool.cu.

use super::{CudaDevice, Tensor, add};
use crate::device::{Into, PoolGeometry, PoolKind, Result};

pub(super) const KERNELS: &[&str] =
    &["pool_max_forward", "pool_avg_forward", "pool_l2_forward", "pool_max_backward", "pool_avg_backward", "pool_l2_backward"];

/// y ← the maximum, the mean or the root of the sum of squares over each window of x.
pub(super) fn forward(d: &CudaDevice, g: &PoolGeometry, kind: PoolKind, x: Tensor, y: Tensor) -> Result<()> {
    let kernel = match kind {
        PoolKind::Max => "pool_max_forward",
        PoolKind::Avg => "pool_avg_forward",
        PoolKind::L2 => "pool_l2_forward",
    };
    let outputs = g.output().elements();
    d.launch(kernel, d.over(outputs), &[g, &d.reals(x, g.input().elements())?, &d.reals(y, outputs)?])
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
    let (dy, dx, grid) = (d.reals(dy, outputs)?, d.reals(dx, inputs)?, d.over(inputs));
    match kind {
        PoolKind::Max => d.launch("pool_max_backward", grid, &[g, &d.reals(x, inputs)?, &dy, &dx, &add(into)]),
        PoolKind::Avg => d.launch("pool_avg_backward", grid, &[g, &dy, &dx, &add(into)]),
        PoolKind::L2 => {
            let (x, y) = (d.reals(x, inputs)?, d.reals(y, outputs)?);
            d.launch("pool_l2_backward", grid, &[g, &x, &y, &dy, &dx, &add(into)])
        }
    }
}
