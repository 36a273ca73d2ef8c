//! Two tensors merged element by element: kernels/merge.cu.

use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Merge, Result};

pub(super) const KERNELS: &[&str] = &["merge_sum", "merge_product", "max_forward", "max_backward"];

/// y ← a and b merged, or y += …; y may be a or b.
pub(super) fn merge(d: &CudaDevice, merge: Merge, a: Tensor, b: Tensor, y: Tensor, into: Into) -> Result<()> {
    let count = y.shape.elements();
    let (a, b, y) = (d.reals(a, count)?, d.reals(b, count)?, d.reals(y, count)?);
    let (grid, many, wide) = (d.over(count.div_ceil(4)), count as i64, vector(&[a, b, y]));
    match merge {
        Merge::Sum { a: alpha, b: beta } => {
            d.launch("merge_sum", grid, &[&many, &wide, &(alpha as f32), &(beta as f32), &a, &b, &y, &add(into)])
        }
        Merge::Product => d.launch("merge_product", grid, &[&many, &wide, &a, &b, &y, &add(into)]),
    }
}

/// y ← max(a, b), and which of them it is; y may be a or b.
pub(super) fn max_forward(d: &CudaDevice, number: u32, a: Tensor, b: Tensor, y: Tensor, which: Tensor) -> Result<()> {
    let count = y.shape.elements();
    let (a, b, y, which) = (d.reals(a, count)?, d.reals(b, count)?, d.reals(y, count)?, d.reals(which, count)?);
    let wide = vector(&[a, b, y, which]);
    d.launch("max_forward", d.over(count.div_ceil(4)), &[&(count as i64), &wide, &number, &a, &b, &y, &which])
}

/// dx ← dy where which is `number`, else 0, or dx += …; dx may be dy.
pub(super) fn max_backward(d: &CudaDevice, number: u32, which: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
    let count = dx.shape.elements();
    let (which, dy, dx) = (d.reals(which, count)?, d.reals(dy, count)?, d.reals(dx, count)?);
    let wide = vector(&[which, dy, dx]);
    d.launch("max_backward", d.over(count.div_ceil(4)), &[&(count as i64), &wide, &number, &which, &dy, &dx, &add(into)])
}
