//! Matrix products: kernels/gemm.cu, and kernels/conv_mma.cu on tensor cores.

use super::conv::{LARGE, SMALL, Tile};
use super::conv_mma;
use super::driver::Address;
use super::parts::{self, Finish};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{Into, Neuron, Product, Result};

pub(super) const KERNELS: &[&str] = &[
    "gemm_nn_large",
    "gemm_nn_small",
    "gemm_nt_large",
    "gemm_nt_small",
    "gemm_tn_large",
    "gemm_tn_small",
    "gemm_any_large",
    "gemm_any_small",
];

/// How a product is cut: tile, parts, steps of each.
fn plan(d: &CudaDevice, p: &Product) -> (Tile, usize, usize) {
    let (m, n) = (p.m as usize, p.n as usize);
    let tile = if m > 96 && n > 96 { LARGE } else { SMALL };
    let (parts, steps_each) = parts::split(d, tile.tiles(m, n), (p.k as usize).div_ceil(tile.depth), m * n);
    (tile, parts, steps_each)
}

/// Scratch of [`product`]: the parts, and what tensor cores need, if they make it.
pub(super) fn scratch(d: &CudaDevice, p: &Product) -> usize {
    let parts = match plan(d, p) {
        (_, 1, _) => 0,
        (_, parts, _) => parts * p.m as usize * p.n as usize * size_of::<f32>(),
    };
    // The operands' places and what the result goes through decide which of the two it is.
    let tensor_cores = conv_mma::of_product(p).and_then(|(g, pass, _)| conv_mma::plan(d, &g, pass));
    tensor_cores.map_or(parts, |plan| plan.scratch().max(parts))
}

/// C ← neuron(op(A)·op(B) + bias), or C += op(A)·op(B).
#[allow(clippy::too_many_arguments)]
pub(super) fn product(
    d: &CudaDevice,
    p: &Product,
    a: Tensor,
    b: Tensor,
    bias: Option<Tensor>,
    neuron: Neuron,
    c: Tensor,
    into: Into,
    scratch: Tensor,
) -> Result<()> {
    let [m, n, k] = [p.m, p.n, p.k].map(|v| v as usize);
    let (a, b) = (d.reals(a, m * k)?, d.reals(b, k * n)?);
    let bias = bias.map_or(Ok(Address::NULL), |bias| d.reals(bias, n))?;
    if let Some((g, pass, swapped)) = conv_mma::of_product(p)
        && let Some(plan) = conv_mma::plan(d, &g, pass)
        && plan.reads([a, b])
        && (pass == conv_mma::Pass::Forward || bias == Address::NULL && neuron == Neuron::NONE)
    {
        let (at, operands) = (d.reals(c, m * n)?, if swapped { [b, a] } else { [a, b] });
        return parts::with_neuron(d, neuron, c, |finish| {
            plan.run(d, &g, pass, operands, (bias, n, 0), finish, at, into, scratch)
        });
    }
    let (tile, parts, steps_each) = plan(d, p);
    // 16-byte accesses run along the index that is fastest in memory.
    let pitches = [if p.transpose_a == 1 { m } else { k }, if p.transpose_b == 1 { k } else { n }];
    let fours = pitches.iter().all(|pitch| pitch.is_multiple_of(4)) && vector(&[a, b]) == 1;
    let layout = match (p.transpose_a, p.transpose_b) {
        (0, 0) if fours => 0,
        (0, 1) if fours => 1,
        (1, 0) if fours => 2,
        _ => 3,
    };
    let kernel = KERNELS[layout * 2 + usize::from(tile == SMALL)];
    let at = d.reals(c, m * n)?;
    let launch = |bias: &Address, finish: &Finish, out: &Address, into| {
        d.launch(kernel, tile.grid(m, n, parts), &[p, &a, &b, bias, finish, out, &(steps_each as i32), &add(into)])
    };
    parts::with_neuron(d, neuron, c, |finish| {
        if parts == 1 {
            return launch(&bias, finish, &at, into);
        }
        let part = d.scratch_at(scratch, self::scratch(d, p))?;
        launch(&Address::NULL, &Finish::NONE, &part, Into::Set)?;
        parts::sum(d, parts, m * n, part, bias, n, finish, at, into)
    })
}
