//! Boxes copied from tensor to tensor: kernels/copy.cu.

use super::driver::Grid;
use super::{CudaDevice, add, vector};
use crate::device::{CopyGeometry, Result, Run, Tensor};
use crate::op::CopyBox;

impl Run<CopyBox<Tensor>> for CudaDevice {
    fn run(&mut self, op: &CopyBox<Tensor>, _scratch: Tensor) -> Result<()> {
        let g = &op.geometry;
        let (x, y) = (self.reals(op.x, g.input().elements())?, self.reals(op.y.at, g.output().elements())?);
        let g = as_one_image(g.in_runs());
        let fours = [g.c, g.k, g.channels, g.from_c, g.to_c].iter().all(|v| v % 4 == 0);
        let vector = if fours { vector(&[x, y]) } else { 0 };
        let channels = if vector == 1 { g.channels / 4 } else { g.channels };
        let items = g.rows as usize * g.columns as usize * channels as usize;
        let blocks = [items.div_ceil(256) as u32, g.n.min(65535) as u32, 1];
        self.launch("copy_box", Grid { blocks, threads: 256 }, &[&g, &vector, &x, &y, &add(&op.y)])
    }
}

/// Images of one row each are the rows of one image, so that few channels fill a block.
fn as_one_image(g: CopyGeometry) -> CopyGeometry {
    let elements = i64::from(g.n) * i64::from(g.c * g.w).max(i64::from(g.k * g.q));
    let row = (g.h, g.p, g.rows, g.from_h, g.to_h) == (1, 1, 1, 0, 0);
    if row && elements <= i64::from(i32::MAX) { CopyGeometry { n: 1, h: g.n, p: g.n, rows: g.n, ..g } } else { g }
}
