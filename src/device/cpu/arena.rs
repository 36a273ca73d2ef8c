//! The net's one allocation on the CPU, and how an operation gets at the tensors in it.

use crate::device::Tensor;
use crate::op::{Access, Operation, Target};
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;

/// A cache line, so that every tensor on a 64-byte boundary of the plan is on one in memory.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// One allocation, filled with zeros.
#[derive(Default)]
pub struct Arena {
    lines: Box<[Line]>,
}

impl Arena {
    /// An allocation of at least `bytes` bytes; `None` where memory is short.
    pub fn new(bytes: usize) -> Option<Self> {
        bytemuck::allocation::try_zeroed_slice_box(bytes.div_ceil(size_of::<Line>())).ok().map(|lines| Self { lines })
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// Starts one operation's borrowing of tensors.
    pub fn borrow(&mut self) -> Borrow<'_> {
        Borrow {
            start: self.lines.as_mut_ptr().cast(),
            bytes: self.bytes(),
            taken: [(0, 0, false); MAX],
            count: 0,
            arena: PhantomData,
        }
    }
}

/// Tensors that one operation may hold at once.
const MAX: usize = 10;

/// Hands out tensors of the arena as slices, any number to read and others to write, as long as what is written overlaps
/// nothing else.
pub struct Borrow<'a> {
    start: *mut u8,
    bytes: usize,
    taken: [(usize, usize, bool); MAX],
    count: usize,
    arena: PhantomData<&'a mut Arena>,
}

impl<'a> Borrow<'a> {
    /// Checks a tensor's place and remembers it. Panics where a layer or the plan handed an operation overlapping tensors:
    /// a bug, never a user's input.
    fn take<T: Pod>(&mut self, t: Tensor, write: bool) -> *mut T {
        let (start, end) = (t.slot.0, t.slot.0 + t.span());
        assert!(end <= self.bytes, "{t:?} ends behind the arena's {} bytes", self.bytes);
        assert!(start.is_multiple_of(align_of::<T>()) && t.span().is_multiple_of(size_of::<T>()), "{t:?} is misaligned");
        assert!(align_of::<T>() <= align_of::<Line>());
        for &(a, b, w) in &self.taken[..self.count] {
            assert!(!(write || w) || end <= a || b <= start, "{t:?} overlaps a tensor of the same operation at {a}..{b}");
        }
        self.taken[self.count] = (start, end, write);
        self.count += 1;
        // SAFETY: start ≤ end ≤ the allocation's length, so the pointer stays inside it.
        unsafe { self.start.add(start) }.cast()
    }

    /// The tensor's bytes as a slice of `T`, to read.
    pub fn read<T: Pod>(&mut self, t: Tensor) -> &'a [T] {
        assert!(t.is_dense(), "{t:?} has gaps between its cells");
        self.read_cells(t).0
    }

    /// The tensor's bytes as a slice of `T`, to write.
    pub fn write<T: Pod>(&mut self, t: Tensor) -> &'a mut [T] {
        assert!(t.is_dense(), "{t:?} has gaps between its cells");
        self.write_cells(t).0
    }

    /// As [`read`](Self::read), of a tensor that may have gaps: all from its first element to its last, and the elements from
    /// one cell to the next.
    pub fn read_cells<T: Pod>(&mut self, t: Tensor) -> (&'a [T], usize) {
        let p = self.take::<T>(t, false);
        // SAFETY: in bounds and aligned (checked in `take`), initialised (allocated as zeros), any bits are a T (Pod), and
        // nothing that was or will be handed out for writing in this borrow, which has the arena to itself for 'a, overlaps.
        (unsafe { std::slice::from_raw_parts(p, t.span() / size_of::<T>()) }, t.pitch)
    }

    /// As [`write`](Self::write), of a tensor that may have gaps. What is in them is another tensor's and must stay.
    pub fn write_cells<T: Pod>(&mut self, t: Tensor) -> (&'a mut [T], usize) {
        let p = self.take::<T>(t, true);
        // SAFETY: as in `read_cells`; moreover no other slice of this borrow overlaps this one.
        (unsafe { std::slice::from_raw_parts_mut(p, t.span() / size_of::<T>()) }, t.pitch)
    }

    /// As [`write`](Self::write), with whether the result is set or added.
    pub fn target<T: Pod>(&mut self, t: Target<Tensor>) -> Target<&'a mut [T]> {
        Target { at: self.write(t.at), into: t.into }
    }
}

/// Whether only the operands that `may` names have gaps between their cells, and none of these lies in the gaps of one that is
/// written: slices from first element to last would overlap.
pub fn gaps_fit(op: &impl Operation<Tensor>, may: &[&str]) -> bool {
    let mut fit = true;
    op.named_operands(&mut |name, access, t| {
        fit &= t.is_dense() || may.contains(&name);
        op.operands(&mut |_, other| {
            let apart = t.slot.0 + t.span() <= other.slot.0 || other.slot.0 + other.span() <= t.slot.0;
            let gaps = !t.is_dense() && t.pitch == other.pitch && !other.is_dense();
            fit &= access == Access::Reads || !gaps || apart || t.slot == other.slot;
        });
    });
    fit
}

#[cfg(test)]
pub mod tests {
    use crate::device::cpu::CpuDevice;
    use crate::device::cpu::conv::tests::numbers;
    use crate::device::{Device, Dtype, Shape, Slot, Tensor};
    use crate::op::Op;

    /// What is in gaps.
    const GAP: f32 = 1e30;

    /// The bits of tensors, each a shape and the elements between its cells, after an operation in f32, or after its parts;
    /// `None` where the device does not have it.
    fn bits(op: &Op<usize>, tensors: &[(Shape, usize)], threads: usize, in_parts: bool) -> Option<Vec<Vec<u32>>> {
        let mut device = CpuDevice::<f32>::new(threads);
        let mut end = 0;
        let place = |&(shape, gap): &(Shape, usize)| {
            let t = Tensor { pitch: shape.c + gap, ..Tensor::new(Slot(end), shape, Dtype::F32) };
            end = (end + t.span()).next_multiple_of(256);
            t
        };
        let tensors: Vec<Tensor> = tensors.iter().map(place).collect();
        let op = op.map(&mut |&i| tensors[i]);
        if !device.supports(&op) {
            return None;
        }
        let ops = if in_parts { op.parts(&mut |t| *t).expect("the operation has parts") } else { vec![op] };
        let bytes = ops.iter().map(|op| device.scratch(op)).max().unwrap_or(0);
        let scratch = Tensor::new(Slot(end), Shape::new(1, 1, 1, bytes), Dtype::U8);
        device.allocate(end + bytes).unwrap();
        let all = |t: &Tensor| Tensor::new(t.slot, Shape::new(1, 1, 1, t.span()), Dtype::U8);
        for (seed, t) in (1..).zip(&tensors) {
            let mut start = vec![GAP; t.span() / 4];
            let values = numbers(seed, t.shape.elements());
            start.chunks_mut(t.pitch).zip(values.chunks(t.shape.c)).for_each(|(to, cell)| to[..cell.len()].copy_from_slice(cell));
            device.write(all(t), bytemuck::cast_slice(&start)).unwrap();
        }
        for op in &ops {
            device.run(op, scratch).unwrap();
        }
        let mut read = |t: &Tensor| {
            let mut held = vec![0.0_f32; t.span() / 4];
            device.read(all(t), bytemuck::cast_slice_mut(&mut held)).unwrap();
            let gaps = held.chunks(t.pitch).flat_map(|cell| &cell[t.shape.c..]);
            assert!(gaps.into_iter().all(|x| *x == GAP), "{op} of {tensors:?}: a gap was written");
            held.chunks(t.pitch).flat_map(|cell| cell[..t.shape.c].iter().map(|x| x.to_bits())).collect()
        };
        Some(tensors.iter().map(&mut read).collect())
    }

    /// Holds a fused operation to the bits of its parts, on one thread and on two; whether the device has it.
    pub fn has_the_bits_of_its_parts(op: impl Into<Op<usize>>, tensors: &[(Shape, usize)]) -> bool {
        let op = op.into();
        let Some(want) = bits(&op, tensors, 1, true) else { return false };
        for threads in [1, 2] {
            let same = bits(&op, tensors, threads, false).is_some_and(|bits| bits == want);
            assert!(same, "{op} of {tensors:?}: other bits than its parts on {threads} threads");
        }
        true
    }

    /// Holds an operation on tensors with gaps to the bits that it makes without any, on one thread and on two; whether the
    /// device has it.
    pub fn has_the_bits_of_dense_tensors(op: impl Into<Op<usize>>, tensors: &[(Shape, usize)]) -> bool {
        let op = op.into();
        let dense: Vec<_> = tensors.iter().map(|&(shape, _)| (shape, 0)).collect();
        let Some(want) = bits(&op, &dense, 1, false) else { return false };
        [1, 2].into_iter().all(|threads| {
            let got = bits(&op, tensors, threads, false);
            assert!(got.as_ref().is_none_or(|got| *got == want), "{op} of {tensors:?}: other bits on {threads} threads");
            got.is_some()
        })
    }
}
