//! DropConnect: kernels/drop_connect.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{DropConnect, Into, Result};

pub(super) const KERNELS: &[&str] = &["drop_connect_forward", "drop_connect_backward_input", "drop_connect_backward_weights"];

/// Images, outputs and inputs, and what the kernels know of the masks.
struct Sizes {
    images: usize,
    outputs: usize,
    inputs: usize,
    threshold: u32,
    factor: f32,
}

impl Sizes {
    fn new(m: &DropConnect, x: Tensor, y: Tensor) -> Self {
        let factor = (1.0 / m.keep) as f32;
        Self { images: x.shape.n, outputs: y.shape.image(), inputs: x.shape.image(), threshold: m.threshold(), factor }
    }
}

/// y ← Σ m·w·x + b, or y += ….
pub(super) fn forward(
    d: &CudaDevice,
    m: &DropConnect,
    x: Tensor,
    w: Tensor,
    b: Option<Tensor>,
    y: Tensor,
    into: Into,
) -> Result<()> {
    let s = Sizes::new(m, x, y);
    let [images, outputs, inputs] = [s.images, s.outputs, s.inputs].map(|v| v as i32);
    let bias = b.map_or(Ok(Address::NULL), |b| d.reals(b, s.outputs))?;
    let (x, w) = (d.reals(x, s.images * s.inputs)?, d.reals(w, s.outputs * s.inputs)?);
    let y = d.reals(y, s.images * s.outputs)?;
    let grid = Grid { blocks: [(s.images.div_ceil(8) * s.outputs) as u32, 1, 1], threads: 256 };
    d.launch(
        "drop_connect_forward",
        grid,
        &[&d.step.at(), &m.stream, &s.threshold, &s.factor, &images, &outputs, &inputs, &x, &w, &bias, &y, &add(into)],
    )
}

/// dx ← Σ m·w·dy over the outputs, or dx += ….
pub(super) fn backward_input(d: &CudaDevice, m: &DropConnect, dy: Tensor, w: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let s = Sizes::new(m, dx, dy);
    let (dy, w) = (d.reals(dy, s.images * s.outputs)?, d.reals(w, s.outputs * s.inputs)?);
    let dx = d.reals(dx, s.images * s.inputs)?;
    backward(d, "drop_connect_backward_input", m, &s, s.images, [dy, w], dx, into)
}

/// dw ← Σ m·dy·x over the images, or dw += ….
pub(super) fn backward_weights(d: &CudaDevice, m: &DropConnect, x: Tensor, dy: Tensor, dw: Tensor, into: Into) -> Result<()> {
    let s = Sizes::new(m, x, dy);
    let (x, dy) = (d.reals(x, s.images * s.inputs)?, d.reals(dy, s.images * s.outputs)?);
    let dw = d.reals(dw, s.outputs * s.inputs)?;
    backward(d, "drop_connect_backward_weights", m, &s, s.outputs, [x, dy], dw, into)
}

/// A gradient of `rows` rows of inputs.
#[allow(clippy::too_many_arguments)]
fn backward(
    d: &CudaDevice,
    kernel: &'static str,
    m: &DropConnect,
    s: &Sizes,
    rows: usize,
    [a, b]: [Address; 2],
    out: Address,
    into: Into,
) -> Result<()> {
    let vector = if s.inputs.is_multiple_of(4) { vector(&[a, b, out]) } else { 0 };
    let across = if vector == 1 { s.inputs / 4 } else { s.inputs };
    let [images, outputs, inputs] = [s.images, s.outputs, s.inputs].map(|v| v as i32);
    d.launch(
        kernel,
        d.over(rows * across),
        &[&d.step.at(), &m.stream, &s.threshold, &s.factor, &images, &outputs, &inputs, &vector, &a, &b, &out, &add(into)],
    )
}
