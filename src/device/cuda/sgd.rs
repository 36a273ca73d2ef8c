//! The momentum update: kernels/sgd.cu.

use super::driver::Address;
use super::{CudaDevice, Tensor, vector};
use crate::device::{Result, Update};

pub(super) const KERNELS: &[&str] = &["sgd_update"];

/// The update of [`Device::sgd_update`](crate::device::Device::sgd_update). A negative momentum stands for the step's.
pub(super) fn update(d: &CudaDevice, u: &Update, w: Tensor, g: Tensor, v: Tensor, factor: Option<Tensor>) -> Result<()> {
    let count = w.shape.elements();
    let (w, g, v) = (d.reals(w, count)?, d.reals(g, count)?, d.reals(v, count)?);
    let factor = factor.map_or(Ok(Address::NULL), |factor| d.reals(factor, 1))?;
    d.launch(
        "sgd_update",
        d.over(count.div_ceil(4)),
        &[
            &d.step.at(),
            &(count as i64),
            &vector(&[w, g, v]),
            &(u.rate as f32),
            &(u.decay as f32),
            &(u.l1_decay as f32),
            &(u.momentum.unwrap_or(-1.0) as f32),
            &i32::from(u.nesterov),
            &factor,
            &w,
            &g,
            &v,
        ],
    )
}
