//! Hinge losses: kernels/hinge.cu.

use super::cost::{of_labels, one_block};
use super::driver::Argument;
use super::{CudaDevice, add};
use crate::device::{METRICS, Result, Run, Tensor};
use crate::op::{HingeBackward, HingeForward, HingeLoss};

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

impl From<HingeLoss> for Hinge {
    fn from(h: HingeLoss) -> Self {
        Self { one_vs_all: i32::from(h.one_vs_all), squared: i32::from(h.squared), margin: h.margin as f32 }
    }
}

impl Run<HingeForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &HingeForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (images, elements, x, labels) = of_labels(self, op.x, op.labels)?;
        let (h, metrics) = (Hinge::from(op.loss), self.reals(op.metrics, METRICS)?);
        self.launch("hinge_forward", one_block(1024), &[&self.step.at(), &images, &elements, &h, &x, &labels, &metrics])
    }
}

impl Run<HingeBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &HingeBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let dx = self.reals(op.dx.at, op.x.shape.elements())?;
        let (images, elements, x, labels) = of_labels(self, op.x, op.labels)?;
        let (h, coefficient) = (Hinge::from(op.loss), op.coefficient as f32);
        self.launch(
            "hinge_backward",
            self.warps(op.x.shape.n),
            &[&self.step.at(), &images, &elements, &h, &x, &labels, &coefficient, &dx, &add(&op.dx)],
        )
    }
}
