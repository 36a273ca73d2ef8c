//! What a layer writes its operations on, and the values that it writes them with.

use super::Phase;
use crate::device::{Dtype, METRICS, Shape};
use crate::op::{Op, Pass, Program, Step, Target, Value};

/// Takes the operations of one layer's pass.
pub struct Tape<'a> {
    program: &'a mut Program,
    node: usize,
    pass: Pass,
    real: Dtype,
    saved: &'a mut Vec<Value>,
}

impl<'a> Tape<'a> {
    /// A tape that writes a pass of layer `node` at the end of a program for a device of these reals. What the forward pass saves
    /// for the backward pass goes to `saved`.
    pub fn new(program: &'a mut Program, node: usize, pass: Pass, real: Dtype, saved: &'a mut Vec<Value>) -> Self {
        Self { program, node, pass, real, saved }
    }

    /// Writes an operation.
    pub fn push(&mut self, op: impl Into<Op<Value>>) {
        self.program.steps.push(Step { op: op.into(), node: self.node, pass: self.pass });
    }

    /// A tensor of reals for what lies between operations of this pass.
    pub fn value(&mut self, shape: Shape) -> Value {
        self.program.value(shape, self.real)
    }

    /// A tensor of reals that this pass writes and the backward pass reads: [`Io::saved`], in the order of the calls.
    pub fn save(&mut self, shape: Shape) -> Value {
        let value = self.value(shape);
        self.saved.push(value);
        value
    }
}

/// The values of one layer.
#[derive(Clone, Debug)]
pub struct Io {
    /// The inputs.
    pub inputs: Vec<Value>,
    /// The output; a cost has none.
    pub output: Option<Value>,
    /// Parameters.
    pub parameters: Vec<Value>,
    /// Where each input's gradient goes; `None` where nobody needs it.
    pub input_gradients: Vec<Option<Target<Value>>>,
    /// The output's gradient, where there is one.
    pub output_gradient: Option<Value>,
    /// Where the parameters' gradients go; `None` where one is not learned. One that is shared is set by its first user in
    /// backward order, and of one layer's inputs by the first; the others add.
    pub parameter_gradients: Vec<Option<Target<Value>>>,
    /// What the forward pass saved for the backward pass.
    pub saved: Vec<Value>,
    /// A cost's metrics: [`METRICS`] reals, and those of its own counts.
    pub metrics: Option<Value>,
    /// Learning or testing.
    pub phase: Phase,
    /// The layer's number in its net: the key of its random numbers.
    pub layer: u32,
}

impl Io {
    /// Input `i`.
    pub fn input(&self, i: usize) -> Value {
        self.inputs[i]
    }

    /// The output.
    pub fn output(&self) -> Value {
        self.output.expect("every layer but a cost has an output")
    }

    /// Parameter `i`.
    pub fn parameter(&self, i: usize) -> Value {
        self.parameters[i]
    }

    /// Where input `i`'s gradient goes, if anyone needs it.
    pub fn input_gradient(&self, i: usize) -> Option<Target<Value>> {
        self.input_gradients[i]
    }

    /// The output's gradient.
    pub fn output_gradient(&self) -> Value {
        self.output_gradient.expect("a backward pass is written where the output has a gradient")
    }

    /// Where parameter `i`'s gradient goes, if it is learned. A layer asks for its parameters in ascending order.
    pub fn parameter_gradient(&self, i: usize) -> Option<Target<Value>> {
        self.parameter_gradients[i]
    }

    /// What the forward pass saved by its call number `i` of [`Tape::save`].
    pub fn saved(&self, i: usize) -> Value {
        self.saved[i]
    }

    /// A cost's metrics, [`METRICS`] reals.
    pub fn metrics(&self) -> Value {
        self.all_metrics().part(0, METRICS)
    }

    /// What a cost counts of its own: the names in [`Counts::own`](super::Counts::own) one after the other.
    pub fn counts(&self) -> Value {
        let all = self.all_metrics();
        all.part(METRICS, all.shape.elements() - METRICS)
    }

    fn all_metrics(&self) -> Value {
        self.metrics.expect("every cost has metrics")
    }
}
