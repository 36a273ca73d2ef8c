//! Pools: kernels/pool.cu.

use super::driver::{Address, Grid};
use super::{CudaDevice, add, is_dense, vector};
use crate::device::{PoolGeometry, Result, Run, Tensor};
use crate::op::{Neuron, PoolBackward, PoolForward, PoolKind};

/// The kernel of this pass.
fn kernel(kind: PoolKind, pass: &str) -> String {
    let kind = match kind {
        PoolKind::Max => "max",
        PoolKind::Avg => "avg",
        PoolKind::L2 => "l2",
    };
    format!("pool_{kind}_{pass}")
}

/// A grid as wide as an image of `each` elements and as high as there are images, and the kernels' `vector`.
fn over(g: &PoolGeometry, each: usize, tensors: &[Address]) -> (Grid, i32) {
    let vector = if g.c % 4 == 0 { vector(tensors) } else { 0 };
    let items = if vector == 1 { each / 4 } else { each };
    (Grid { blocks: [items.div_ceil(256) as u32, g.n.min(65535) as u32, 1], threads: 256 }, vector)
}

impl Run<PoolForward<Tensor>> for CudaDevice {
    fn run(&mut self, op: &PoolForward<Tensor>, _scratch: Tensor) -> Result<()> {
        let g = &op.geometry;
        let (x, y) = (self.reals(op.x, g.input().elements())?, self.reals(op.y, g.output().elements())?);
        let (grid, vector) = over(g, g.output().image(), &[x, y]);
        self.launch(&kernel(op.kind, "forward"), grid, &[g, &vector, &x, &y])
    }
}

impl Run<PoolBackward<Tensor>> for CudaDevice {
    fn supports(&self, op: &PoolBackward<Tensor>) -> bool {
        is_dense(op) && [Neuron::NONE, Neuron::Relu].contains(&op.neuron)
    }

    fn run(&mut self, op: &PoolBackward<Tensor>, _scratch: Tensor) -> Result<()> {
        let (g, kind) = (&op.geometry, op.kind);
        let (inputs, outputs) = (g.input().elements(), g.output().elements());
        let x = self.reals_if(kind.gradient_reads_input(), op.x, inputs)?;
        let seen = self.reals_if(op.neuron != Neuron::NONE, op.x, inputs)?;
        let y = self.reals_if(kind.gradient_reads_output(), op.y, outputs)?;
        let (dy, dx) = (self.reals(op.dy, outputs)?, self.reals(op.dx.at, inputs)?);
        // A thread of the maximum's kernel makes stride × stride cells, where it can.
        let cells = if kind == PoolKind::Max { (g.stride_h * g.stride_w).max(1) as usize } else { 1 };
        let (grid, vector) = over(g, g.input().image().div_ceil(cells), &[x, y, dy, dx, seen]);
        self.launch(&kernel(kind, "backward"), grid, &[g, &vector, &x, &y, &dy, &dx, &add(&op.dx), &seen])
    }
}
