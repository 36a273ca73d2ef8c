//! Laying one buffer into another: the values in it become values of a part of the other.

use super::{Use, anywhere, uses};
use crate::device::Device;
use crate::op::{Access, Program, Value};

/// Buffers that move into others, while the program still names the old ones.
pub(super) struct Moves<'a> {
    pub program: &'a mut Program,
    device: &'a dyn Device,
    /// The uses of each buffer as it is by now.
    uses: Vec<Vec<Use>>,
    /// Where a buffer has gone.
    to: Vec<Option<Value>>,
}

impl<'a> Moves<'a> {
    pub fn new(program: &'a mut Program, device: &'a dyn Device) -> Self {
        let (uses, to) = (uses(program), vec![None; program.buffers.len()]);
        Self { program, device, uses, to }
    }

    /// What a value of the program is by now.
    pub fn now(&self, value: &Value) -> Value {
        let mut value = *value;
        while let Some(to) = &self.to[value.slot.buffer] {
            value = within(&value, to).expect("what has moved fits");
        }
        value
    }

    /// Uses of a buffer other than by step `link`.
    pub fn uses_of(&self, buffer: usize, link: usize) -> impl Iterator<Item = &Use> {
        self.uses[buffer].iter().filter(move |u| u.step != link)
    }

    /// Uses by steps other than `link` that touch elements of a value.
    pub fn uses_over(&self, value: Value, link: usize) -> impl Iterator<Item = &Use> {
        self.uses[value.slot.buffer].iter().filter(move |u| u.step != link && overlap(&u.value, &value))
    }

    /// Forgets a step that will be dropped.
    pub fn forget(&mut self, step: usize) {
        self.uses.iter_mut().for_each(|uses| uses.retain(|u| u.step != step));
    }

    /// Whether a buffer is free to move, whole, to the place of a value: no value in it is of another form, and the device has the
    /// operations on them with the gaps that they get, but for step `link`, which will be dropped.
    pub fn fits(&self, buffer: usize, to: &Value, link: Option<usize>) -> bool {
        if buffer == to.slot.buffer || self.program.buffers[buffer].bytes != to.bytes() {
            return false;
        }
        let moved = |v: &Value| {
            let v = self.now(v);
            if v.slot.buffer == buffer { within(&v, to) } else { Some(v) }
        };
        self.uses[buffer].iter().filter(|u| Some(u.step) != link).all(|u| {
            let mut fit = true;
            let op = self.program.steps[u.step].op;
            op.operands(&mut |_, v| fit &= moved(v).is_some());
            fit && (to.is_dense() || self.device.supports(&anywhere(&op.map(&mut |v| moved(v).unwrap_or(*v)))))
        })
    }

    /// Lays a buffer into the place of a value.
    pub fn lay(&mut self, buffer: usize, to: Value) {
        self.to[buffer] = Some(to);
        let moved = std::mem::take(&mut self.uses[buffer]);
        let all = &mut self.uses[to.slot.buffer];
        all.extend(moved.into_iter().map(|u| Use { value: within(&u.value, &to).expect("it fits"), ..u }));
        all.sort_by_key(|u| u.step);
    }

    /// Writes the moves into the program.
    pub fn finish(self) {
        let Self { program, to, .. } = self;
        program.replace(&mut |value| {
            let mut value = *value;
            while let Some(to) = &to[value.slot.buffer] {
                value = within(&value, to).expect("what has moved fits");
            }
            value
        });
    }
}

/// A value of a buffer that goes to the place of `to`; `None` where it is no part of that.
fn within(value: &Value, to: &Value) -> Option<Value> {
    let slot = crate::op::Within { buffer: to.slot.buffer, bytes: to.slot.bytes + value.slot.bytes };
    if to.is_dense() {
        return Some(Value { slot, ..*value });
    }
    // With gaps it must be channels of the same cells.
    let cells = |v: &Value| (v.shape.n * v.shape.h * v.shape.w, v.pitch * v.dtype.size());
    let row = to.shape.c * to.dtype.size();
    let fits = cells(value).0 == cells(to).0 && cells(value).1 == row && value.slot.bytes < row;
    fits.then_some(Value { slot, pitch: to.pitch, ..*value })
}

/// Whether two values of one buffer may share elements.
fn overlap(a: &Value, b: &Value) -> bool {
    let size = a.dtype.size();
    if a.pitch == b.pitch && a.dtype == b.dtype && a.pitch > 0 {
        // Both in rows of one length, each some columns of them.
        let columns = |v: &Value| {
            let first = v.slot.bytes / size % v.pitch;
            (first, first + v.shape.c)
        };
        let ((a0, a1), (b0, b1)) = (columns(a), columns(b));
        if a1 <= a.pitch && b1 <= b.pitch && (a1 <= b0 || b1 <= a0) {
            return false;
        }
    }
    let bytes = |v: &Value| (v.slot.bytes, v.slot.bytes + v.span());
    let ((a0, a1), (b0, b1)) = (bytes(a), bytes(b));
    a0 < b1 && b0 < a1
}

/// Whether a use changes what is there.
pub(super) fn writes(u: &&Use) -> bool {
    u.access != Access::Reads
}
