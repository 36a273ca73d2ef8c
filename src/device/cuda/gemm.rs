//! Matrix products: kernels/gemm.cu, and kernels/conv_mma.cu on tensor cores.

use super::conv::{LARGE, SMALL, Tile};
use super::conv_mma;
use super::driver::Address;
use super::parts::{self, Bias, Output, Split};
use super::{CudaDevice, add, vector};
use crate::device::{ProductGeometry, Result, Run, Tensor};
use crate::op::{Neuron, Product};

/// How a product is cut in f32.
fn plan(d: &CudaDevice, p: &ProductGeometry) -> (Tile, Split) {
    let (m, n) = (p.m as usize, p.n as usize);
    let tile = if m > 96 && n > 96 { LARGE } else { SMALL };
    (tile, Split::new(d, tile.tiles(m, n), (p.k as usize).div_ceil(tile.depth), m * n))
}

impl Run<Product<Tensor>> for CudaDevice {
    /// The larger of what the parts take and what tensor cores need: where the operands lie and what follows the product decide
    /// between them.
    fn scratch(&self, op: &Product<Tensor>) -> usize {
        let parts = plan(self, &op.geometry).1.bytes();
        let tensor_cores = conv_mma::of_product(&op.geometry).and_then(|(g, pass)| conv_mma::plan(self, &g, pass));
        tensor_cores.map_or(parts, |plan| plan.scratch().max(parts))
    }

    fn run(&mut self, op: &Product<Tensor>, scratch: Tensor) -> Result<()> {
        let p = &op.geometry;
        let [m, n, k] = [p.m, p.n, p.k].map(|v| v as usize);
        let (a, b) = (self.reals(op.a, m * k)?, self.reals(op.b, k * n)?);
        let bias = Bias { at: self.maybe_reals(op.bias, n)?, count: n, pitch: 0 };
        let (at, add) = (self.reals(op.c.at, m * n)?, add(&op.c));
        if let Some((g, pass)) = conv_mma::of_product(p)
            && let Some(plan) = conv_mma::plan(self, &g, pass)
            && plan.reads([a, b])
            && (pass == conv_mma::Pass::Forward || bias.at == Address::NULL && op.neuron == Neuron::NONE)
        {
            let operands = if pass == conv_mma::Pass::Filters { [b, a] } else { [a, b] };
            return parts::with_neuron(self, op.neuron, op.c.at, |finish| {
                plan.run(self, operands, &Output::finished(bias, finish, at, add), scratch)
            });
        }
        let (tile, split) = plan(self, p);
        // 16-byte accesses run along the index that is fastest in memory.
        let pitches = [if p.transpose_a == 1 { m } else { k }, if p.transpose_b == 1 { k } else { n }];
        let fours = pitches.iter().all(|pitch| pitch.is_multiple_of(4)) && vector(&[a, b]) == 1;
        let layout = match (p.transpose_a, p.transpose_b) {
            (0, 0) if fours => "nn",
            (0, 1) if fours => "nt",
            (1, 0) if fours => "tn",
            _ => "any",
        };
        let (kernel, grid) = (format!("gemm_{layout}_{}", tile.name), tile.grid(m, n, split.parts));
        let part = self.scratch_at(scratch, split.bytes())?;
        parts::with_neuron(self, op.neuron, op.c.at, |finish| {
            split.queue(self, part, &Output::finished(bias, finish, at, add), |out| {
                let steps = split.steps_each as i32;
                self.launch(&kernel, grid, &[p, &a, &b, &out.bias.at, &out.finish, &out.at, &steps, &out.add])
            })
        })
    }
}
