//! Sums that are split into parts, the second pass that adds the parts up, and what a product's result goes through:
//! kernels/parts.cu.

use super::driver::{Address, Argument};
use super::{CudaDevice, neuron, vector};
use crate::device::{Result, Tensor};
use crate::op::Neuron;

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
    const NONE: Self = Self { a: 1.0, b: 0.0, below: 1.0, low: f32::NEG_INFINITY, high: f32::INFINITY };

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

/// Whether a neuron at the end of an operation is fused, or else a pass of its own.
pub(super) fn is_fused(neuron: Neuron) -> bool {
    Finish::of(neuron).is_some()
}

/// Queues an operation that ends with a neuron: fused where that can be, else as a pass of its own over the result.
pub(super) fn with_neuron(d: &CudaDevice, neuron: Neuron, y: Tensor, queue: impl FnOnce(Finish) -> Result<()>) -> Result<()> {
    match Finish::of(neuron) {
        Some(finish) => queue(finish),
        None => {
            queue(Finish::NONE)?;
            neuron::forward(d, neuron, y, y)
        }
    }
}

/// Biases: where they lie, how many there are, and how many lie between those of one place and the next, 0 where places share
/// them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bias {
    pub at: Address,
    pub count: usize,
    pub pitch: i32,
}

impl Bias {
    pub(super) const NONE: Self = Self { at: Address::NULL, count: 1, pitch: 0 };
}

/// Where a sum goes, and what it goes through: finish(Σ + bias). `add` and `seen` are what kernels call those.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Output {
    pub bias: Bias,
    pub finish: Finish,
    pub at: Address,
    pub add: i32,
    /// The output of a relu whose derivative the result is then multiplied by, or null.
    pub seen: Address,
}

impl Output {
    /// The sum as it is.
    pub(super) fn plain(at: Address, add: i32) -> Self {
        Self::finished(Bias::NONE, Finish::NONE, at, add)
    }

    /// finish(Σ + bias).
    pub(super) fn finished(bias: Bias, finish: Finish, at: Address, add: i32) -> Self {
        Self { bias, finish, at, add, seen: Address::NULL }
    }
}

/// How sums are split into parts, each of which makes its own copy of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Split {
    pub parts: usize,
    /// Steps of a part along the sum.
    pub steps_each: usize,
    /// Elements of the result.
    pub elements: usize,
}

impl Split {
    /// The split that fills the card, given the number of tiles before it. A part is at least eight steps long, and all parts take
    /// at most 256 MiB.
    pub(super) fn new(d: &CudaDevice, tiles: usize, steps: usize, elements: usize) -> Self {
        let wanted = (2 * d.info().multiprocessors).div_ceil(tiles.max(1));
        let most = (steps / 8).min((1 << 26) / elements.max(1)).clamp(1, 64);
        let steps_each = steps.div_ceil(wanted.clamp(1, most)).max(1);
        Self { parts: steps.div_ceil(steps_each).max(1), steps_each, elements }
    }

    /// The split of sums over rows, each a step, by blocks of 32 columns. A part has at least 64 rows.
    pub(super) fn of_rows(d: &CudaDevice, rows: usize, columns: usize) -> Self {
        let wanted = (4 * d.info().multiprocessors).div_ceil(columns.div_ceil(32).max(1));
        let steps_each = rows.div_ceil(wanted.clamp(1, rows.div_ceil(64).clamp(1, 1024))).max(1);
        Self { parts: rows.div_ceil(steps_each).max(1), steps_each, elements: columns }
    }

    /// Bytes of the parts; 0 where the sum is not split.
    pub(super) fn bytes(&self) -> usize {
        if self.parts == 1 { 0 } else { self.parts * self.elements * size_of::<f32>() }
    }

    /// Queues the sums: `launch` is asked to store them whole in `out`, or their parts at `part`, which are then added up.
    pub(super) fn queue(
        &self,
        d: &CudaDevice,
        part: Address,
        out: &Output,
        launch: impl Fn(&Output) -> Result<()>,
    ) -> Result<()> {
        if self.parts == 1 {
            return launch(out);
        }
        launch(&Output::plain(part, 0))?;
        self.sum(d, part, out)
    }

    /// Queues the second pass: adds up the parts.
    pub(super) fn sum(&self, d: &CudaDevice, part: Address, out: &Output) -> Result<()> {
        let Output { bias, finish, at, add, seen } = out;
        let elements = self.elements;
        let vector = if elements.is_multiple_of(4) { vector(&[part, *at, *seen]) } else { 0 };
        d.launch(
            "sum_parts",
            d.over(if vector == 1 { elements / 4 } else { elements }),
            &[&(self.parts as i32), &(elements as i64), &vector, &part, &bias.at, &(bias.count as i32), finish, at, add, seen],
        )
    }
}
