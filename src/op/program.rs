//! A program: the operations of a net in their order, each with the layer and the pass that it came from. On values it is what
//! passes work on (`net/passes/`); once memory is planned, its operands are tensors.

use super::{Access, Op, Target, Value, Within, Write};
use crate::device::{Dtype, Shape, Slot, Tensor};

/// The part of a training step that an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// Takes the batch out of what was fed.
    Load,
    /// From images to costs.
    Forward,
    /// From costs to gradients.
    Backward,
    /// Changes the parameters.
    Update,
}

/// An operation of a program.
#[derive(Clone, Copy, Debug)]
pub struct Step<T = Value> {
    /// What is done.
    pub op: Op<T>,
    /// The layer that it is done for: its number in the graph; the load's is the number of layers.
    pub node: usize,
    /// In which pass.
    pub pass: Pass,
}

/// Memory that values are in.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Its bytes.
    pub bytes: usize,
    /// Where it lies for the whole run; `None`: the plan finds a place for the time that it is needed.
    pub place: Option<Slot>,
}

/// A list of operations.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The operations, in order.
    pub steps: Vec<Step>,
    /// What their values lie in.
    pub buffers: Vec<Buffer>,
    /// Each layer's output; `None` where it has none, or where a pass did away with it.
    pub outputs: Vec<Option<Value>>,
    /// Values that are read from outside after the last operation of a pass.
    pub read: Vec<(Value, Pass)>,
}

impl Program {
    /// A program of `nodes` layers, with nothing in it.
    pub fn new(nodes: usize) -> Self {
        Self { outputs: vec![None; nodes], ..Self::default() }
    }

    /// A value of its own, in a place that the plan finds.
    pub fn value(&mut self, shape: Shape, dtype: Dtype) -> Value {
        self.in_buffer(shape, dtype, None)
    }

    /// A value that lies where the tensor does.
    pub fn placed(&mut self, t: Tensor) -> Value {
        assert!(t.is_dense(), "what is kept for the whole run has no gaps");
        self.in_buffer(t.shape, t.dtype, Some(t.slot))
    }

    fn in_buffer(&mut self, shape: Shape, dtype: Dtype, place: Option<Slot>) -> Value {
        let value = Value::new(Within { buffer: self.buffers.len(), bytes: 0 }, shape, dtype);
        self.buffers.push(Buffer { bytes: value.bytes(), place });
        value
    }

    /// Replaces every value by what `f` makes of it.
    pub fn replace(&mut self, f: &mut dyn FnMut(&Value) -> Value) {
        for step in &mut self.steps {
            step.op = step.op.map(f);
        }
        for output in self.outputs.iter_mut().flatten() {
            *output = f(output);
        }
        for (value, _) in &mut self.read {
            *value = f(value);
        }
    }
}

impl<T: Copy + PartialEq> Op<T> {
    /// Every operand with what is done to it.
    pub fn accesses(&self) -> Vec<(Access, T)> {
        let mut all = Vec::new();
        self.operands(&mut |role, t| all.push((role, *t)));
        all
    }

    /// The same operation, which adds to its targets where `is` says so.
    #[must_use]
    pub fn adding(mut self, is: &dyn Fn(&T) -> bool) -> Self {
        self.retarget(&mut |target: &mut Target<T>| {
            if is(&target.at) {
                target.into = Write::Add;
            }
        });
        self
    }
}
