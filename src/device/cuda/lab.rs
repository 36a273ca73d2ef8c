//! L*a*b* of linear RGB: kernels/lab.cu.

use super::{CudaDevice, Tensor, add};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["lab_forward", "lab_backward"];

/// y ← L*a*b* of x, L* less `centre`.
pub(super) fn forward(d: &CudaDevice, centre: f64, x: Tensor, y: Tensor) -> Result<()> {
    let cells = y.shape.elements() / 3;
    let offset = (16.0 + centre) as f32;
    d.launch("lab_forward", d.over(cells), &[&(cells as i64), &offset, &d.reals(x, 3 * cells)?, &d.reals(y, 3 * cells)?])
}

/// dx ← the gradient of [`forward`], or dx += ….
pub(super) fn backward(d: &CudaDevice, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let cells = dx.shape.elements() / 3;
    let (x, dy, dx) = (d.reals(x, 3 * cells)?, d.reals(dy, 3 * cells)?, d.reals(dx, 3 * cells)?);
    d.launch("lab_backward", d.over(cells), &[&(cells as i64), &x, &dy, &dx, &add(into)])
}
