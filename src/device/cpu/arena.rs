//! The net's one allocation on the CPU, and how an operation gets at the tensors in it.

use crate::device::Tensor;
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
    /// An allocation of at least so many bytes; `None` where the system has not that much.
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
            taken: [(0, 0, false); MOST],
            count: 0,
            arena: PhantomData,
        }
    }
}

/// Tensors that one operation may hold at once.
const MOST: usize = 8;

/// Hands out tensors of the arena as slices, any number to read and others to write, as long as what is written overlaps
/// nothing else.
pub struct Borrow<'a> {
    start: *mut u8,
    bytes: usize,
    taken: [(usize, usize, bool); MOST],
    count: usize,
    arena: PhantomData<&'a mut Arena>,
}

impl<'a> Borrow<'a> {
    /// Checks a tensor's place and remembers it. Panics where a layer or the plan handed an operation overlapping tensors:
    /// a bug, never a user's input.
    fn take<T: Pod>(&mut self, t: Tensor, write: bool) -> *mut T {
        let (start, end) = (t.slot.0, t.slot.0 + t.bytes());
        assert!(end <= self.bytes, "{t:?} ends behind the arena's {} bytes", self.bytes);
        assert!(start.is_multiple_of(align_of::<T>()) && t.bytes().is_multiple_of(size_of::<T>()), "{t:?} is misaligned");
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
        let p = self.take::<T>(t, false);
        // SAFETY: in bounds and aligned (checked in `take`), initialised (allocated as zeros), any bits are a T (Pod), and
        // nothing that was or will be handed out for writing in this borrow, which has the arena to itself for 'a, overlaps.
        unsafe { std::slice::from_raw_parts(p, t.bytes() / size_of::<T>()) }
    }

    /// The tensor's bytes as a slice of `T`, to write.
    pub fn write<T: Pod>(&mut self, t: Tensor) -> &'a mut [T] {
        let p = self.take::<T>(t, true);
        // SAFETY: as in `read`; moreover no other slice of this borrow overlaps this one.
        unsafe { std::slice::from_raw_parts_mut(p, t.bytes() / size_of::<T>()) }
    }
}
