//! Neurons as passes of their own: kernels/neuron.cu.

use super::driver::{Address, Argument};
use super::parts::Output;
use super::{CudaDevice, add, bias, gaps_only, is_dense, vector};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::{Neuron, NeuronBackward, NeuronForward};

/// `Neuron` in kernels/neuron.cuh, whose kinds are in the order of the table in op/neuron.rs.
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
        neuron.show(|kind, _, parameters| {
            let [a, b] = [0, 1].map(|i| parameters.get(i).copied().unwrap_or(0.0));
            let unit = if a == 0.0 { 0.0 } else { 1.0 / a };
            Self { kind, a: a as f32, b: b as f32, unit: unit as f32 }
        })
    }
}

/// y ← neuron(x); y may be x.
pub(super) fn forward(d: &CudaDevice, neuron: Neuron, x: Tensor, y: Tensor) -> Result<()> {
    let count = y.shape.elements();
    let [x, y] = d.all_reals([x, y], count)?;
    d.launch("neuron_forward", d.over(count.div_ceil(4)), &[&Kind::from(neuron), &(count as i64), &vector(&[x, y]), &x, &y])
}

impl Run<NeuronForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &NeuronForward<Tensor>, _scratch: Tensor) -> Result<()> {
        forward(self, op.neuron, op.x, op.y)
    }
}

/// The shape of the biases whose gradient is summed up, or of what shares the sum's cut where none is.
fn summed(op: &NeuronBackward<Tensor>) -> Shape {
    op.db.map_or(Shape::new(1, 1, 1, op.dx.at.shape.c), |db| db.at.shape)
}

impl Run<NeuronBackward<Tensor>> for CudaDevice {
    fn supports(&self, op: &NeuronBackward<Tensor>) -> bool {
        gaps_only(op, bias::gaps(op.dx.at.shape, summed(op), &["seen", "dy", "dx"]))
    }

    fn scratch(&self, op: &NeuronBackward<Tensor>) -> usize {
        op.db.map_or(0, |db| bias::plan(self, op.dx.at.shape, db.at.shape).1.bytes())
    }

    fn run(&mut self, op: &NeuronBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let (shape, count) = (op.dx.at.shape, op.dx.at.shape.elements());
        let reads = !matches!(op.neuron, Neuron::Linear { .. });
        let seen = op.seen.filter(|_| reads);
        if reads && seen.is_none() {
            return Err(self.failed("an operand that is read is missing"));
        }
        let (kind, dx_add) = (Kind::from(op.neuron), add(&op.dx));
        let [dy, dx] = [self.cells(op.dy, count)?.at, self.cells(op.dx.at, count)?.at];
        let seen_at = self.maybe_cells(seen, count)?.at;
        if op.db.is_none() && is_dense(op) {
            return self.launch(
                "neuron_backward",
                self.over(count.div_ceil(4)),
                &[&kind, &(count as i64), &vector(&[seen_at, dy, dx]), &seen_at, &dy, &dx, &dx_add],
            );
        }
        let (rows, split) = bias::plan(self, shape, summed(op));
        let columns = split.elements;
        let pitch = |t: Tensor| bias::pitch(t, columns);
        let pitches = [seen.map_or(0, pitch), pitch(op.dy), pitch(op.dx.at)];
        let [rows, part_rows, width] = [rows, split.steps_each, columns].map(|v| v as i32);
        let launch = |db: Address, db_add: i32| {
            let cut: [&dyn Argument; 4] = [&kind, &rows, &width, &part_rows];
            let [of_seen, of_dy, of_dx] = &pitches;
            let tensors: [&dyn Argument; 9] = [&seen_at, of_seen, &dy, of_dy, &dx, of_dx, &dx_add, &db, &db_add];
            self.launch("neuron_backward_rows", bias::grid(&split), &[&cut[..], &tensors].concat())
        };
        let Some(db) = op.db else { return launch(Address::NULL, 0) };
        let part = self.scratch_at(scratch, split.bytes())?;
        let out = Output::plain(self.reals(db.at, columns)?, add(&db));
        split.queue(self, part, &out, |out| launch(out.at, out.add))
    }
}
