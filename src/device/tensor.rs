//! Tensors: shapes, element types, and places in the net's one allocation.

use std::fmt;

/// The extents of a tensor, outermost first: `n` images of `h` rows, `w` columns and `c` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// `n` images of `h` × `w` × `c`.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// `n` × `h` × `w` × `c`.
    pub const fn elements(&self) -> usize {
        self.n * self.image()
    }

    /// Elements of one image: `h` × `w` × `c`.
    pub const fn image(&self) -> usize {
        self.h * self.w * self.c
    }
}

/// Shown without the batch, as nets are drawn: `24×24×20`, or `500` for a vector.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.h == 1 && self.w == 1 { self.c.to_string() } else { format!("{}×{}×{}", self.h, self.w, self.c) };
        f.pad(&text)
    }
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE double: gradient checks and references, on the CPU only.
    F64,
    /// Bytes: images as they come from files, and scratch.
    U8,
    /// 32-bit integers: labels and places.
    I32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 => 8,
            Self::U8 => 1,
        }
    }
}

/// A place in the net's one allocation: bytes from its start. The plan keeps places on 256-byte boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// A place that a tensor can start at.
pub trait Location: Copy + PartialEq + fmt::Debug {
    /// The place `bytes` bytes later.
    #[must_use]
    fn after(self, bytes: usize) -> Self;
}

impl Location for Slot {
    fn after(self, bytes: usize) -> Self {
        Self(self.0 + bytes)
    }
}

/// A tensor is a place, a shape and a type. Copy, comparable, printable: anyone may hold it, only a device may follow it. Before
/// memory is planned, its place is one [within](crate::op::Within) a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor<P = Slot> {
    /// Where it starts.
    pub slot: P,
    /// Its extents.
    pub shape: Shape,
    /// Its elements' type.
    pub dtype: Dtype,
    /// Elements from one cell to the next: its channels, or more where it is some channels of a larger tensor.
    pub pitch: usize,
}

impl<P: Location> Tensor<P> {
    /// A tensor without gaps.
    pub const fn new(slot: P, shape: Shape, dtype: Dtype) -> Self {
        Self { slot, shape, dtype, pitch: shape.c }
    }

    /// Bytes of its elements.
    pub const fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }

    /// Bytes from its first element to its last, gaps included.
    pub const fn span(&self) -> usize {
        match self.shape.n * self.shape.h * self.shape.w {
            0 => 0,
            cells => ((cells - 1) * self.pitch + self.shape.c) * self.dtype.size(),
        }
    }

    /// Whether its cells lie one after the other.
    pub const fn is_dense(&self) -> bool {
        self.pitch == self.shape.c
    }

    /// Scratch cut in two: its first `bytes`, and what is left after them from the next 256-byte boundary on.
    pub fn split(self, bytes: usize) -> (Self, Self) {
        let whole = self.bytes();
        let cut = |from: usize, to: usize| Self::new(self.slot.after(from), Shape::new(1, 1, 1, to - from), Dtype::U8);
        (cut(0, bytes.min(whole)), cut(bytes.next_multiple_of(256).min(whole), whole))
    }

    /// `count` elements from number `first` on.
    pub fn part(self, first: usize, count: usize) -> Self {
        assert!(self.is_dense() && first + count <= self.shape.elements(), "a part lies within its tensor");
        Self::new(self.slot.after(first * self.dtype.size()), Shape::new(1, 1, 1, count), self.dtype)
    }

    /// `count` channels from number `first` on, of every cell.
    pub fn channels(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.shape.c, "a tensor has these channels");
        Self { slot: self.slot.after(first * self.dtype.size()), shape: Shape { c: count, ..self.shape }, ..self }
    }

    /// The same elements seen under another shape of as many elements.
    pub fn reshaped(self, shape: Shape) -> Self {
        assert!(self.is_dense() || self.shape.c == shape.c, "a reshape keeps the cells of a tensor with gaps");
        assert_eq!(self.shape.elements(), shape.elements(), "a reshape keeps the number of elements");
        Self { pitch: if self.is_dense() { shape.c } else { self.pitch }, shape, ..self }
    }
}
