//! Softmax: kernels/softmax.cu.

use super::{CudaDevice, Tensor, add};
use crate::device::{Into, Result};

pub(super) const KERNELS: &[&str] = &["softmax_forward", "softmax_backward"];

/// y ← eˣ/Σeˣ over the elements of each image.
pub(super) fn forward(d: &CudaDevice, x: Tensor, y: Tensor) -> Result<()> {
    let (images, elements) = (x.shape.n, x.shape.image());
    let (x, y) = (d.reals(x, images * elements)?, d.reals(y, images * elements)?);
    d.launch("softmax_forward", d.warps(images), &[&(images as i32), &(elements as i32), &x, &y])
}

/// dx ← y·(dy − Σ y·dy), or dx += ….
pub(super) fn backward(d: &CudaDevice, y: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let (images, elements) = (y.shape.n, y.shape.image());
    let [y, dy, dx] = [y, dy, dx].map(|t| d.reals(t, images * elements));
    let arguments = (images as i32, elements as i32);
    d.launch("softmax_backward", d.warps(images), &[&arguments.0, &arguments.1, &y?, &dy?, &dx?, &add(into)])
}
