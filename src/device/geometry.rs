//! The geometry of windows that slide over images, in one place: output sizes, and the structs that operations are given.
//! They are `#[repr(C)]` of 32-bit integers, passed by value to the kernels, which define them again in
//! `kernels/common.cuh`.

use super::Shape;
use bytemuck::{Pod, Zeroable};
use std::fmt;

/// How a division that does not come out even makes an output size: Caffe's convolution rounds down; cuda-convnet's
/// convolution and pooling and Caffe's pooling round up, and clip the last window to the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// Only whole windows.
    #[default]
    Floor,
    /// A last, partial window too.
    Ceil,
}

/// One axis of a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Cells of the filter or pool along this axis.
    pub size: usize,
    /// Cells between two windows' starts.
    pub stride: usize,
    /// Cells of padding before the first cell; as many are assumed behind the last.
    pub padding: usize,
    /// Cells between two taps; 1 is dense.
    pub dilation: usize,
}

impl Window {
    /// Cells from the first tap to the last: (size − 1)·dilation + 1.
    pub const fn span(&self) -> usize {
        (self.size - 1) * self.dilation + 1
    }
}

/// The number of windows along an axis of `input` cells, or `None` where not even one fits. Rounding up, a window that
/// would start behind the image and its leading padding is dropped (as Caffe does), so that every window holds a cell.
pub fn output_size(input: usize, w: Window, rounding: Rounding) -> Option<usize> {
    let room = (input + 2 * w.padding).checked_sub(w.span());
    match rounding {
        Rounding::Floor => room.map(|r| r / w.stride + 1),
        Rounding::Ceil => {
            let inside = (input + w.padding).saturating_sub(1) / w.stride + 1;
            let outputs = (room.unwrap_or(0).div_ceil(w.stride) + 1).min(inside);
            (input + w.padding > 0 && (room.is_some() || w.span() > w.padding)).then_some(outputs)
        }
    }
}

/// A convolution: x `[n, h, w, c]`, filters `[k, r, s, c/groups]`, y `[n, p, q, k]`. Output (p, q) sees the inputs
/// (p·stride_h − padding_h + i·dilation_h, q·stride_w − padding_w + j·dilation_w) for i < r, j < s; outside the image they
/// are 0. Output channel o belongs to group o / (k/groups), which reads the c/groups input channels of that group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ConvGeometry {
    pub n: i32,
    pub h: i32,
    pub w: i32,
    pub c: i32,
    pub k: i32,
    pub r: i32,
    pub s: i32,
    pub p: i32,
    pub q: i32,
    pub stride_h: i32,
    pub stride_w: i32,
    pub padding_h: i32,
    pub padding_w: i32,
    pub dilation_h: i32,
    pub dilation_w: i32,
    pub groups: i32,
}

impl ConvGeometry {
    /// The input's shape.
    pub const fn input(&self) -> Shape {
        Shape::new(self.n as usize, self.h as usize, self.w as usize, self.c as usize)
    }

    /// The filters' shape.
    pub const fn filters(&self) -> Shape {
        Shape::new(self.k as usize, self.r as usize, self.s as usize, (self.c / self.groups) as usize)
    }

    /// The filters' shape where each place has its own: `[p·q·k, r, s, c/groups]`, one place's after the other's.
    pub const fn local_filters(&self) -> Shape {
        let f = self.filters();
        Shape::new(self.p as usize * self.q as usize * f.n, f.h, f.w, f.c)
    }

    /// The output's shape.
    pub const fn output(&self) -> Shape {
        Shape::new(self.n as usize, self.p as usize, self.q as usize, self.k as usize)
    }

    /// Multiply-adds of one image, those with padding included.
    pub const fn multiply_adds(&self) -> u64 {
        let f = self.filters();
        self.output().image() as u64 * f.image() as u64
    }
}

/// A pool: x `[n, h, w, c]`, y `[n, p, q, c]`. Window (p, q) covers the rows from start_h + p·stride_h for size_h rows,
/// and the columns alike, clipped to the image. A stride of 0 divides the axis evenly among its windows: window p of P takes
/// the rows from ⌊p·h/P⌋ to ⌈(p + 1)·h/P⌉, so that none is left out and none is empty, and sizes and starts are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct PoolGeometry {
    pub n: i32,
    pub h: i32,
    pub w: i32,
    pub c: i32,
    pub p: i32,
    pub q: i32,
    pub size_h: i32,
    pub size_w: i32,
    pub stride_h: i32,
    pub stride_w: i32,
    pub start_h: i32,
    pub start_w: i32,
}

impl PoolGeometry {
    /// The input's shape.
    pub const fn input(&self) -> Shape {
        Shape::new(self.n as usize, self.h as usize, self.w as usize, self.c as usize)
    }

    /// The output's shape.
    pub const fn output(&self) -> Shape {
        Shape::new(self.n as usize, self.p as usize, self.q as usize, self.c as usize)
    }
}

/// Response normalisation of x `[n, h, w, c]`. The window of (h, w, c) is, across maps, the channels from c − size/2 for size
/// channels, or in blocks those of its block of size channels; within a map, the rows from h − size/2 for size rows and the
/// columns alike. It is clipped to the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct LrnGeometry {
    pub n: i32,
    pub h: i32,
    pub w: i32,
    pub c: i32,
    pub size: i32,
    /// 1: within each map.
    pub within: i32,
    /// 1: across maps, in blocks.
    pub blocked: i32,
}

impl LrnGeometry {
    /// The shape of x and y.
    pub const fn shape(&self) -> Shape {
        Shape::new(self.n as usize, self.h as usize, self.w as usize, self.c as usize)
    }
}

/// Images of h × w × c out of which p × q × c are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ImageGeometry {
    pub n: i32,
    pub h: i32,
    pub w: i32,
    pub c: i32,
    pub p: i32,
    pub q: i32,
}

impl ImageGeometry {
    /// The input's shape.
    pub const fn input(&self) -> Shape {
        Shape::new(self.n as usize, self.h as usize, self.w as usize, self.c as usize)
    }

    /// The output's shape.
    pub const fn output(&self) -> Shape {
        Shape::new(self.n as usize, self.p as usize, self.q as usize, self.c as usize)
    }
}

/// A box of rows × columns × channels that is copied, image by image, from x `[n, h, w, c]` to y `[n, p, q, k]`. Cell
/// (i, j, o) of the box is x's (from_h + i, from_w + j, from_c + o), or 0 where x has no such cell, and goes to y's
/// (to_h + i, to_w + j, to_c + o), which y has. Mirrored, x's columns are taken from the box's last to its first. What of y
/// is not in the box stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct CopyGeometry {
    pub n: i32,
    pub h: i32,
    pub w: i32,
    pub c: i32,
    pub p: i32,
    pub q: i32,
    pub k: i32,
    pub rows: i32,
    pub columns: i32,
    pub channels: i32,
    pub from_h: i32,
    pub from_w: i32,
    pub from_c: i32,
    pub to_h: i32,
    pub to_w: i32,
    pub to_c: i32,
    /// 1: from right to left.
    pub mirror: i32,
}

impl CopyGeometry {
    /// The shape of x.
    pub const fn input(&self) -> Shape {
        Shape::new(self.n as usize, self.h as usize, self.w as usize, self.c as usize)
    }

    /// The shape of y.
    pub const fn output(&self) -> Shape {
        Shape::new(self.n as usize, self.p as usize, self.q as usize, self.k as usize)
    }

    /// The way of the gradient, from y to all of x, for a box that is all of y or holds all of x: where the copy took nothing of
    /// x, 0 is put.
    pub const fn back(&self) -> Self {
        // Mirrored, y's column to_w + j was x's from_w + columns − 1 − j.
        let from_w = if self.mirror == 1 { self.to_w + self.from_w + self.columns - self.w } else { self.to_w - self.from_w };
        Self {
            n: self.n,
            h: self.p,
            w: self.q,
            c: self.k,
            p: self.h,
            q: self.w,
            k: self.c,
            rows: self.h,
            columns: self.w,
            channels: self.c,
            from_h: self.to_h - self.from_h,
            from_w,
            from_c: self.to_c - self.from_c,
            to_h: 0,
            to_w: 0,
            to_c: 0,
            mirror: self.mirror,
        }
    }

    /// The same copy with as few and as long runs of neighbours as there are: columns whose channels are all copied are
    /// channels of one long column, and rows whose columns all are, alike.
    pub(crate) fn in_runs(mut self) -> Self {
        let whole = |g: &Self| (g.c, g.from_c, g.to_c) == (g.channels, 0, 0) && g.c == g.k;
        if whole(&self) && self.mirror == 0 {
            let c = self.c;
            (self.c, self.k, self.channels) = (c * self.w, c * self.q, c * self.columns);
            (self.from_c, self.to_c) = (c * self.from_w, c * self.to_w);
            (self.w, self.q, self.columns, self.from_w, self.to_w) = (1, 1, 1, 0, 0);
            if whole(&self) {
                let c = self.c;
                (self.c, self.k, self.channels) = (c * self.h, c * self.p, c * self.rows);
                (self.from_c, self.to_c) = (c * self.from_h, c * self.to_h);
                (self.h, self.p, self.rows, self.from_h, self.to_h) = (1, 1, 1, 0, 0);
            }
        }
        self
    }
}

/// A matrix product C `[m][n]` = op(A) `[m][k]` · op(B) `[k][n]`, row-major; a transposed A is stored `[k][m]`, a
/// transposed B `[n][k]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ProductGeometry {
    pub m: i32,
    pub n: i32,
    pub k: i32,
    /// 1: A is stored `[k][m]`.
    pub transpose_a: i32,
    /// 1: B is stored `[n][k]`.
    pub transpose_b: i32,
}

/// As `2` or `2×3`.
fn pair(f: &mut fmt::Formatter<'_>, a: i32, b: i32) -> fmt::Result {
    if a == b { write!(f, "{a}") } else { write!(f, "{a}×{b}") }
}

/// As in `2 of 5×7×3 k4 3×2 s2×1 p1 d1 g1`.
impl fmt::Display for ConvGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}×{}×{} k{} {}×{} s", self.n, self.h, self.w, self.c, self.k, self.r, self.s)?;
        pair(f, self.stride_h, self.stride_w)?;
        f.write_str(" p")?;
        pair(f, self.padding_h, self.padding_w)?;
        f.write_str(" d")?;
        pair(f, self.dilation_h, self.dilation_w)?;
        write!(f, " g{}", self.groups)
    }
}

/// As in `2 of 24×24×20 2×2 s2 from 0 to 12×12`.
impl fmt::Display for PoolGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}×{}×{} {}×{} s", self.n, self.h, self.w, self.c, self.size_h, self.size_w)?;
        pair(f, self.stride_h, self.stride_w)?;
        f.write_str(" from ")?;
        pair(f, self.start_h, self.start_w)?;
        write!(f, " to {}×{}", self.p, self.q)
    }
}

/// As in `2 of 13×13×96 size 5 within map`.
impl fmt::Display for LrnGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}×{}×{} size {}", self.n, self.h, self.w, self.c, self.size)?;
        let [within, blocked] =
            [(self.within, " within map"), (self.blocked, " blocked")].map(|(is, t)| if is == 1 { t } else { "" });
        write!(f, "{within}{blocked}")
    }
}

/// As in `2 of 28×28×1 to 24×24`.
impl fmt::Display for ImageGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}×{}×{} to {}×{}", self.n, self.h, self.w, self.c, self.p, self.q)
    }
}

/// As in `2 of 5×5×3 to 5×5×8, box 5×5×3 from 0,0,0 to 0,0,3`.
impl fmt::Display for CopyGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}×{}×{} to {}×{}×{}, ", self.n, self.h, self.w, self.c, self.p, self.q, self.k)?;
        write!(f, "box {}×{}×{} from {},{},{}", self.rows, self.columns, self.channels, self.from_h, self.from_w, self.from_c)?;
        write!(f, " to {},{},{}{}", self.to_h, self.to_w, self.to_c, if self.mirror == 1 { " mirrored" } else { "" })
    }
}

/// As in `64×10×500 A·Bᵀ`: m × n × k.
impl fmt::Display for ProductGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = [self.transpose_a, self.transpose_b].map(|t| if t == 1 { "ᵀ" } else { "" });
        write!(f, "{}×{}×{} A{a}·B{b}", self.m, self.n, self.k)
    }
}
