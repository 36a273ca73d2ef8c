//! Hinge losses: kernels/hinge.cu.

use super::cost::{of_labels, one_block};
use super::driver::Argument;
use super::{CudaDevice, Tensor, add, metrics_at};
use crate::device::{self, Into, Result};

pub(super) const KERNELS: &[&str] = &["hinge_forward", "hinge_backward"];

/// As the kernels see it: `Hinge` in kernels/hinge.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Hinge {
    one_vs_all: i32,
    squared: i32,
    margin: f32,
}
const _: () = assert!(size_of::<Hinge>() == 12);
// SAFETY: #[repr(C)] of 32-bit numbers; kernels/hinge.cu defines it with the same fields and checks its size.
unsafe impl Argument for Hinge {}

impl From<device::Hinge> for Hinge {
    fn from(h: device::Hinge) -> Self {
        Self { one_vs_all: i32::from(h.one_vs_all), squared: i32::from(h.squared), margin: h.margin as f32 }
    }
}

/// Adds the loss and the errors to the metrics.
pub(super) fn forward(d: &CudaDevice, h: device::Hinge, x: Tensor, labels: Tensor, metrics: Tensor) -> Result<()> {
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    let (h, metrics) = (Hinge::from(h), metrics_at(d, metrics)?);
    d.launch("hinge_forward", one_block(1024), &[&d.step.at(), &images, &elements, &h, &x, &labels, &metrics])
}

/// dx ← coefficient·gradient_scale·the gradient, or dx += ….
pub(super) fn backward(
    d: &CudaDevice,
    h: device::Hinge,
    x: Tensor,
    labels: Tensor,
    coefficient: f64,
    dx: Tensor,
    into: Into,
) -> Result<()> {
    let dx = d.reals(dx, x.shape.elements())?;
    let (images, elements, x, labels) = of_labels(d, x, labels)?;
    d.launch(
        "hinge_backward",
        d.warps(images as usize),
        &[&d.step.at(), &images, &elements, &Hinge::from(h), &x, &labels, &(coefficient as f32), &dx, &add(into)],
    )
}
