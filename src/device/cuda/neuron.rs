//! Neurons as passes of their own: kernels/neuron.cu.

use super::driver::{Address, Argument};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Neuron, Result};

pub(super) const KERNELS: &[&str] = &["neuron_forward", "neuron_backward"];

/// `Neuron` in kernels/neuron.cuh.
#[repr(C)]
struct Kind {
    kind: i32,
    a: f32,
    b: f32,
    /// 1/a of tanh and drelu.
    unit: f32,
}
const _: () = assert!(size_of::<Kind>() == 16);
// SAFETY: #[repr(C)] of an int and three floats, as in kernels/neuron.cuh, which checks the size too.
unsafe impl Argument for Kind {}

impl From<Neuron> for Kind {
    fn from(neuron: Neuron) -> Self {
        let (kind, a, b) = match neuron {
            Neuron::Linear { a, b } => (0, a, b),
            Neuron::Relu | Neuron::Nrelu => (1, 0.0, 0.0),
            Neuron::Brelu { a } => (2, a, 0.0),
            Neuron::Softrelu => (3, 0.0, 0.0),
            Neuron::Tanh { a, b } => (4, a, b),
            Neuron::Logistic => (5, 0.0, 0.0),
            Neuron::Abs => (6, 0.0, 0.0),
            Neuron::Square => (7, 0.0, 0.0),
            Neuron::Sqrt => (8, 0.0, 0.0),
            Neuron::Log { a } => (9, a, 0.0),
            Neuron::Drelu { a } => (10, a, 0.0),
            Neuron::Leaky { a } => (11, a, 0.0),
            Neuron::Elu { a } => (12, a, 0.0),
            Neuron::Swish => (13, 0.0, 0.0),
        };
        let unit = if a == 0.0 { 0.0 } else { 1.0 / a };
        Self { kind, a: a as f32, b: b as f32, unit: unit as f32 }
    }
}

/// y ← neuron(x); y may be x.
pub(super) fn forward(d: &CudaDevice, neuron: Neuron, x: Tensor, y: Tensor) -> Result<()> {
    let count = y.shape.elements();
    let (x, y) = (d.reals(x, count)?, d.reals(y, count)?);
    d.launch("neuron_forward", d.over(count.div_ceil(4)), &[&Kind::from(neuron), &(count as i64), &vector(&[x, y]), &x, &y])
}

/// dx ← dy·neuron′(seen), or dx += …; dx may be dy. A linear neuron sees nothing.
pub(super) fn backward(d: &CudaDevice, neuron: Neuron, seen: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let count = dx.shape.elements();
    let seen = if matches!(neuron, Neuron::Linear { .. }) { Address::NULL } else { d.reals(seen, count)? };
    let (dy, dx) = (d.reals(dy, count)?, d.reals(dx, count)?);
    d.launch(
        "neuron_backward",
        d.over(count.div_ceil(4)),
        &[&Kind::from(neuron), &(count as i64), &vector(&[seen, dy, dx]), &seen, &dy, &dx, &add(into)],
    )
}
