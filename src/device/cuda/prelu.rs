//! Parametric relu: kernels/prelu.cu.

use super::driver::{Address, Grid};
use super::parts::{Output, Split};
use super::{CudaDevice, add, vector};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::{PreluBackward, PreluBackwardSlope, PreluForward};

/// Whether four neighbours may be moved at once: they are of one row, or share one slope.
fn wide(channels: usize, slopes: usize, all: &[Address]) -> i32 {
    if slopes == 1 || channels.is_multiple_of(4) { vector(all) } else { 0 }
}

impl Run<PreluForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &PreluForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (count, slopes) = (op.y.shape.elements(), op.slope.shape.elements());
        let ([x, y], slope) = (self.all_reals([op.x, op.y], count)?, self.reals(op.slope, slopes)?);
        let wide = wide(op.y.shape.c, slopes, &[x, y]);
        let grid = self.over(count.div_ceil(4));
        self.launch("prelu_forward", grid, &[&(count as i64), &wide, &(slopes as i32), &x, &slope, &y])
    }
}

impl Run<PreluBackward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &PreluBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (count, slopes) = (op.x.shape.elements(), op.slope.shape.elements());
        let ([x, dy, dx], slope) = (self.all_reals([op.x, op.dy, op.dx.at], count)?, self.reals(op.slope, slopes)?);
        let wide = wide(op.dx.at.shape.c, slopes, &[x, dy, dx]);
        let grid = self.over(count.div_ceil(4));
        self.launch("prelu_backward", grid, &[&(count as i64), &wide, &(slopes as i32), &x, &slope, &dy, &dx, &add(&op.dx)])
    }
}

/// Rows of x, and how they are split.
fn plan(d: &CudaDevice, x: Shape) -> (usize, Split) {
    let rows = x.elements() / x.c.max(1);
    (rows, Split::of_rows(d, rows, x.c))
}

impl Run<PreluBackwardSlope<Tensor>> for CudaDevice {
    /// A row for each part, also where there is one.
    fn scratch(&self, op: &PreluBackwardSlope<Tensor>) -> usize {
        plan(self, op.x.shape).1.parts * op.x.shape.c * size_of::<f32>()
    }

    fn run(&mut self, op: &PreluBackwardSlope<Tensor>, scratch: Tensor) -> Result<()> {
        let (channels, slopes) = (op.x.shape.c, op.dslope.at.shape.elements());
        let (rows, split) = plan(self, op.x.shape);
        let part = self.scratch_at(scratch, Run::scratch(self, op))?;
        let [x, dy] = self.all_reals([op.x, op.dy], rows * channels)?;
        let (dslope, add) = (self.reals(op.dslope.at, slopes)?, add(&op.dslope));
        let grid = Grid { blocks: [channels.div_ceil(32) as u32, split.parts as u32, 1], threads: 256 };
        let [rows, columns, part_rows] = [rows, channels, split.steps_each].map(|v| v as i32);
        self.launch("prelu_backward_slope", grid, &[&rows, &columns, &part_rows, &x, &dy, &part])?;
        if slopes == channels {
            return split.sum(self, part, &Output::plain(dslope, add));
        }
        let one = Grid { blocks: [1, 1, 1], threads: 256 };
        self.launch("prelu_sum", one, &[&((split.parts * channels) as i32), &part, &dslope, &add])
    }
}
