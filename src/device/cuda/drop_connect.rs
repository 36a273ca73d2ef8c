//! DropConnect: kernels/drop_connect.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Tensor};
use crate::op::{DropConnect, DropConnectBackwardInput, DropConnectBackwardWeights, DropConnectForward};

/// Images, outputs and inputs, and what the kernels know of the masks.
struct Masked {
    images: usize,
    outputs: usize,
    inputs: usize,
    stream: u32,
    threshold: u32,
    factor: f32,
}

impl Masked {
    fn new(m: &DropConnect, x: Tensor, y: Tensor) -> Self {
        Self {
            images: x.shape.n,
            outputs: y.shape.image(),
            inputs: x.shape.image(),
            stream: m.stream,
            threshold: m.threshold(),
            factor: (1.0 / m.keep) as f32,
        }
    }

    /// Where x, y and w, or their gradients, lie.
    fn places(&self, d: &CudaDevice, [x, y, w]: [Tensor; 3]) -> Result<[Address; 3]> {
        let (x, y) = (d.reals(x, self.images * self.inputs)?, d.reals(y, self.images * self.outputs)?);
        Ok([x, y, d.reals(w, self.outputs * self.inputs)?])
    }

    /// A gradient of `rows` rows of inputs, out of two operands.
    fn backward(&self, d: &CudaDevice, kernel: &str, rows: usize, [a, b, out]: [Address; 3], add: i32) -> Result<()> {
        let vector = if self.inputs.is_multiple_of(4) { vector(&[a, b, out]) } else { 0 };
        let across = if vector == 1 { self.inputs / 4 } else { self.inputs };
        let [images, outputs, inputs] = [self.images, self.outputs, self.inputs].map(|v| v as i32);
        let Self { stream, threshold, factor, .. } = self;
        d.launch(
            kernel,
            d.over(rows * across),
            &[&d.step.at(), stream, threshold, factor, &images, &outputs, &inputs, &vector, &a, &b, &out, &add],
        )
    }
}

impl Run<DropConnectForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &DropConnectForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let m = Masked::new(&op.masks, op.x, op.y.at);
        let [x, y, w] = m.places(self, [op.x, op.y.at, op.w])?;
        let (bias, add) = (self.maybe_reals(op.b, m.outputs)?, add(&op.y));
        let grid = Grid { blocks: [(m.images.div_ceil(8) * m.outputs) as u32, 1, 1], threads: 256 };
        let [images, outputs, inputs] = [m.images, m.outputs, m.inputs].map(|v| v as i32);
        let Masked { stream, threshold, factor, .. } = &m;
        self.launch(
            "drop_connect_forward",
            grid,
            &[&self.step.at(), stream, threshold, factor, &images, &outputs, &inputs, &x, &w, &bias, &y, &add],
        )
    }
}

impl Run<DropConnectBackwardInput<Tensor>> for CudaDevice {
    fn run(&mut self, op: &DropConnectBackwardInput<Tensor>, _scratch: Tensor) -> Result<()> {
        let m = Masked::new(&op.masks, op.dx.at, op.dy);
        let [dx, dy, w] = m.places(self, [op.dx.at, op.dy, op.w])?;
        m.backward(self, "drop_connect_backward_input", m.images, [dy, w, dx], add(&op.dx))
    }
}

impl Run<DropConnectBackwardWeights<Tensor>> for CudaDevice {
    fn run(&mut self, op: &DropConnectBackwardWeights<Tensor>, _scratch: Tensor) -> Result<()> {
        let m = Masked::new(&op.masks, op.x, op.dy);
        let [x, dy, dw] = m.places(self, [op.x, op.dy, op.dw.at])?;
        m.backward(self, "drop_connect_backward_weights", m.outputs, [x, dy, dw], add(&op.dw))
    }
}
