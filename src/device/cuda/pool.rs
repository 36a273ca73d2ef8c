//! Pools: kernels/pool.cu.

use super::{CudaDevice, Tensor, add};
use crate::device::{Into, PoolGeometry, PoolKind, Result};

pub(super) const KERNELS: &[&str] = &["pool_max_forward", "pool_avg_forward", "pool_max_backward", "pool_avg_backward"];

/// y ← the maximum or the mean over each window of x.
pub(super) fn forward(d: &CudaDevice, g: &PoolGeometry, kind: PoolKind, x: Tensor, y: Tensor) -> Result<()> {
    let kernel = match kind {
        PoolKind::Max => "pool_max_forward",
        PoolKind::Avg => "pool_avg_forward",
    };
    let outputs = g.output().elements();
    d.launch(kernel, d.over(outputs), &[g, &d.reals(x, g.input().elements())?, &d.reals(y, outputs)?])
}

/// dx ← the gradient of [`forward`], or dx += …. A mean does not read x, whose memory may be another tensor's by now.
pub(super) fn backward(
    d: &CudaDevice,
    g: &PoolGeometry,
    kind: PoolKind,
    x: Tensor,
    dy: Tensor,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let inputs = g.input().elements();
    let (dy, dx) = (d.reals(dy, g.output().elements())?, d.reals(dx, inputs)?);
    match kind {
        PoolKind::Max => d.launch("pool_max_backward", d.over(inputs), &[g, &d.reals(x, inputs)?, &dy, &dx, &add(into)]),
        PoolKind::Avg => d.launch("pool_avg_backward", d.over(inputs), &[g, &dy, &dx, &add(into)]),
    }
}
