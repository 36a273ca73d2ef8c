//! The geometry of windows that slide over images, in one place: output sizes, and the structs that operations are given.
//! They are `#[repr(C)]` of 32-bit integers, passed by value to the kernels, which define them again in
//! `kernels/common.cuh`.

use super::Shape;
use bytemuck::{Pod, Zeroable};

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
            let mut outputs = room.unwrap_or(0).div_ceil(w.stride) + 1;
            while outputs > 1 && (outputs - 1) * w.stride >= input + w.padding {
                outputs -= 1;
            }
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
/// and the columns alike, clipped to the image.
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

/// Images of h × w × c out of which p × q × c are taken, each at its own place.
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

/// A matrix product C `[m][n]` = op(A) `[m][k]` · op(B) `[k][n]`, row-major; a transposed A is stored `[k][m]`, a
/// transposed B `[n][k]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Product {
    pub m: i32,
    pub n: i32,
    pub k: i32,
    /// 1: A is stored `[k][m]`.
    pub transpose_a: i32,
    /// 1: B is stored `[n][k]`.
    pub transpose_b: i32,
}
