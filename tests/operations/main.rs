//! The operations of the CPU device: against the f64 reference over the conformance table and at random (`table.rs`), the
//! reference against the definitions written plainly (`plain.rs`) and against PyTorch (`golden.rs`, `norms.rs`), and single facts
//! (`facts.rs`).

mod facts;
mod golden;
mod norms;
mod plain;
mod table;

use convnet::device::cpu::{CpuDevice, Real};
use convnet::device::{Device, Dtype, PoolGeometry, Shape, Slot, StepValues, Tensor};
use convnet::op::{Neuron, Op, PoolBackward, PoolKind, Target};

/// A device with room for a test's tensors, put one after the other.
struct Machine<T: Real> {
    device: CpuDevice<T>,
    end: usize,
}

impl<T: Real> Machine<T> {
    fn new() -> Self {
        let mut device = CpuDevice::new(1);
        device.allocate(1 << 23).unwrap();
        Self { device, end: 0 }
    }

    fn place(&mut self, shape: Shape, dtype: Dtype) -> Tensor {
        let t = Tensor::new(Slot(self.end), shape, dtype);
        self.end = (self.end + t.bytes()).next_multiple_of(256);
        t
    }

    /// A tensor of reals to be written.
    fn room(&mut self, shape: Shape) -> Tensor {
        self.place(shape, T::DTYPE)
    }

    /// A tensor of reals.
    fn put(&mut self, shape: Shape, values: &[f64]) -> Tensor {
        assert_eq!(shape.elements(), values.len());
        let t = self.room(shape);
        let values: Vec<T> = values.iter().map(|&v| T::of(v)).collect();
        self.device.write(t, bytemuck::cast_slice(&values)).unwrap();
        t
    }

    /// A tensor of integers.
    fn integers(&mut self, values: &[i32]) -> Tensor {
        let t = self.place(Shape::new(1, 1, 1, values.len()), Dtype::I32);
        self.device.write(t, bytemuck::cast_slice(values)).unwrap();
        t
    }

    /// Runs an operation, with scratch of its own.
    fn run(&mut self, op: impl Into<Op<Tensor>>) {
        let op = op.into();
        let scratch = self.place(Shape::new(1, 1, 1, self.device.scratch(&op)), Dtype::U8);
        self.device.run(&op, scratch).unwrap();
    }

    fn get(&mut self, t: Tensor) -> Vec<f64> {
        let mut bytes = vec![T::ZERO; t.shape.elements()];
        self.device.read(t, bytemuck::cast_slice_mut(&mut bytes)).unwrap();
        bytes.into_iter().map(Real::f64).collect()
    }
}

/// Values of a step in which all images count.
fn step() -> StepValues {
    StepValues { seed: 1, step: 0, first_image: 0, images: u32::MAX, gradient_scale: 1.0, learning_rate: 0.1, momentum: 0.9 }
}

/// A pool's gradient, with x and y where the kind reads them.
fn pool_backward(kind: PoolKind, geometry: PoolGeometry, [x, y, dy]: [Tensor; 3], dx: Target<Tensor>) -> PoolBackward<Tensor> {
    let (reads_x, reads_y) = (kind.gradient_reads_input(), kind.gradient_reads_output());
    PoolBackward { kind, geometry, neuron: Neuron::NONE, x: reads_x.then_some(x), y: reads_y.then_some(y), dy, dx }
}

/// Panics where two tensors differ by more than `bound` times (1 + |expected|), naming the worst element.
fn assert_near(what: &str, got: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: as many elements");
    let share = |i: &usize| {
        let share = (got[*i] - expected[*i]).abs() / (bound * (1.0 + expected[*i].abs()));
        if share.is_nan() { f64::INFINITY } else { share }
    };
    let Some(i) = (0..got.len()).max_by(|i, j| share(i).total_cmp(&share(j))) else { return };
    let most = bound * (1.0 + expected[i].abs());
    let error = (got[i] - expected[i]).abs();
    assert!(error <= most, "{what}: at {i} got {}, expected {}: off by {error:e}, bound {most:e}", got[i], expected[i]);
}
