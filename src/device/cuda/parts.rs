//! The second pass of sums that were split into parts, and what a product's result goes through: kernels/parts.cu.

use super::driver::{Address, Argument};
use super::{CudaDevice, add, neuron, vector};
use crate::device::{Into, Neuron, Result, Tensor};

pub(super) const KERNELS: &[&str] = &["sum_parts"];

/// a·x + b, times `below` where that is below 0, held between low and high: `Finish` in kernels/common.cuh.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Finish {
    a: f32,
    b: f32,
    below: f32,
    low: f32,
    high: f32,
}
const _: () = assert!(size_of::<Finish>() == 20);
// SAFETY: #[repr(C)] of five floats, as in kernels/common.cuh, which checks the size too.
unsafe impl Argument for Finish {}

impl Finish {
    /// Changes nothing.
    pub(super) const NONE: Self = Self { a: 1.0, b: 0.0, below: 1.0, low: f32::NEG_INFINITY, high: f32::INFINITY };

    /// What a neuron does, where this can do it.
    fn of(neuron: Neuron) -> Option<Self> {
        match neuron {
            Neuron::Linear { a, b } => Some(Self { a: a as f32, b: b as f32, ..Self::NONE }),
            Neuron::Relu => Some(Self { low: 0.0, ..Self::NONE }),
            Neuron::Leaky { a } => Some(Self { below: a as f32, ..Self::NONE }),
            Neuron::Brelu { a } => Some(Self { low: 0.0, high: a as f32, ..Self::NONE }),
            _ => None,
        }
    }
}

/// Queues an operation that ends with a neuron: fused where it can be, else as a pass of its own over what was made.
pub(super) fn with_neuron(d: &CudaDevice, neuron: Neuron, y: Tensor, queue: impl FnOnce(&Finish) -> Result<()>) -> Result<()> {
    match Finish::of(neuron) {
        Some(finish) => queue(&finish),
        None => {
            queue(&Finish::NONE)?;
            neuron::forward(d, neuron, y, y)
        }
    }
}

/// How a sum of so many steps is split to fill the card, given the tiles that there are without: (parts, steps of each). A
/// part is at least eight steps long, and all parts of a result of so many elements take at most 256 MiB.
pub(super) fn split(d: &CudaDevice, tiles: usize, steps: usize, elements: usize) -> (usize, usize) {
    let wanted = (2 * d.info().multiprocessors).div_ceil(tiles.max(1));
    let most = (steps / 8).min((1 << 26) / elements.max(1)).clamp(1, 64);
    let steps_each = steps.div_ceil(wanted.clamp(1, most)).max(1);
    (steps.div_ceil(steps_each).max(1), steps_each)
}

/// out ← finish(Σ parts + bias), or out += …; `elements` is the result's, `columns` the bias's.
#[allow(clippy::too_many_arguments)]
pub(super) fn sum(
    d: &CudaDevice,
    parts: usize,
    elements: usize,
    part: Address,
    bias: Address,
    columns: usize,
    finish: &Finish,
    out: Address,
    into: Into,
) -> Result<()> {
    let vector = if elements.is_multiple_of(4) { vector(&[part, out]) } else { 0 };
    d.launch(
        "sum_parts",
        d.over(if vector == 1 { elements / 4 } else { elements }),
        &[&(parts as i32), &(elements as i64), &vector, &part, &bias, &(columns as i32), finish, &out, &add(into)],
    )
}
