//! Batch normalisation: kernels/batch_norm.cu.

use super::driver::{Address, Grid};
use super::parts::with_neuron;
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{BatchNorm, Into, Neuron, Result, Shape};

pub(super) const KERNELS: &[&str] = &[
    "batch_norm_parts",
    "batch_norm_moments",
    "batch_norm_running",
    "batch_norm_apply",
    "batch_norm_sums",
    "batch_norm_totals",
    "batch_norm_backward",
];

/// Threads of a block, in the kernels' file too.
const THREADS: usize = 256;

/// How rows and columns are cut into blocks.
struct Cut {
    rows: i32,
    columns: i32,
    /// Threads side by side: a power of two.
    lanes: i32,
    part_rows: i32,
    vector: i32,
    parts: usize,
    grid: Grid,
}

impl Cut {
    /// Rows are cut into enough parts for `waves` blocks a multiprocessor, but not into shorter ones than a few rows a thread.
    fn new(d: &CudaDevice, x: Shape, vector: i32, waves: usize) -> Self {
        let (rows, columns) = (x.elements() / x.c, x.c);
        let groups = if vector == 1 { columns / 4 } else { columns };
        let lanes = groups.next_power_of_two().min(32);
        let (across, deep) = (groups.div_ceil(lanes), THREADS / lanes);
        let wanted = (waves * d.info().multiprocessors).div_ceil(across);
        let part_rows = rows.div_ceil(wanted.clamp(1, rows.div_ceil(8 * deep).clamp(1, 1 << 15))).max(1);
        let parts = rows.div_ceil(part_rows).max(1);
        let grid = Grid { blocks: [across as u32, parts as u32, 1], threads: THREADS as u32 };
        let [rows, columns, lanes, part_rows] = [rows, columns, lanes, part_rows].map(|v| v as i32);
        Self { rows, columns, lanes, part_rows, vector, parts, grid }
    }
}

/// Blocks a multiprocessor of the passes that sum up.
const SUMS: usize = 4;

/// Bytes for the parts of the sums over a tensor of this shape, whatever its alignment.
fn part_bytes(d: &CudaDevice, x: Shape) -> usize {
    let parts = |vector| Cut::new(d, x, vector, SUMS).parts;
    let most = if x.c.is_multiple_of(4) { parts(0).max(parts(1)) } else { parts(0) };
    2 * most * x.c * size_of::<f32>()
}

/// Scratch of [`moments`] and [`backward`]: the parts, and two vectors.
pub(super) fn scratch(d: &CudaDevice, x: Shape) -> usize {
    part_bytes(d, x).next_multiple_of(256) + 2 * x.c * size_of::<f32>()
}

/// What kernels call `vector`, for tensors of so many columns.
fn wide(columns: usize, tensors: &[Address]) -> i32 {
    if columns.is_multiple_of(4) { vector(tensors) } else { 0 }
}

/// A grid of a warp a column.
fn warps(columns: i32) -> Grid {
    Grid { blocks: [(columns as u32).div_ceil(4), 1, 1], threads: 128 }
}

/// kept ← the channels' means and 1/√(variance + ε); the running mean and variance move towards this batch's.
pub(super) fn moments(
    d: &CudaDevice,
    b: &BatchNorm,
    x: Tensor,
    [mean, variance]: [Tensor; 2],
    kept: Tensor,
    scratch: Tensor,
) -> Result<()> {
    let (shape, c) = (x.shape, x.shape.c);
    let part = d.scratch_at(scratch, part_bytes(d, shape))?;
    let x = d.reals(x, shape.elements())?;
    let (mean, variance, kept) = (d.reals(mean, c)?, d.reals(variance, c)?, d.reals(kept, 2 * c)?);
    let cut = Cut::new(d, shape, wide(c, &[x]), SUMS);
    let Cut { rows, columns, lanes, part_rows, vector, .. } = cut;
    d.launch("batch_norm_parts", cut.grid, &[&rows, &columns, &lanes, &part_rows, &vector, &x, &part])?;
    let (parts, epsilon, momentum) = (cut.parts as i32, b.epsilon as f32, b.momentum as f32);
    d.launch(
        "batch_norm_moments",
        warps(columns),
        &[&rows, &columns, &parts, &part_rows, &part, &epsilon, &momentum, &mean, &variance, &kept],
    )
}

/// kept ← the running means and 1/√(variance + ε).
pub(super) fn running(d: &CudaDevice, epsilon: f64, mean: Tensor, variance: Tensor, kept: Tensor) -> Result<()> {
    let c = mean.shape.elements();
    let (mean, variance, kept) = (d.reals(mean, c)?, d.reals(variance, c)?, d.reals(kept, 2 * c)?);
    let grid = Grid { blocks: [c.div_ceil(256) as u32, 1, 1], threads: 256 };
    d.launch("batch_norm_running", grid, &[&(c as i32), &(epsilon as f32), &mean, &variance, &kept])
}

/// y ← neuron((x − mean)·spread·gamma + beta); y may be x.
pub(super) fn apply(
    d: &CudaDevice,
    kept: Tensor,
    affine: Option<(Tensor, Tensor)>,
    neuron: Neuron,
    x: Tensor,
    y: Tensor,
) -> Result<()> {
    let (shape, c) = (x.shape, x.shape.c);
    let at = |t: Option<Tensor>| t.map_or(Ok(Address::NULL), |t| d.reals(t, c));
    let (gamma, beta) = (at(affine.map(|a| a.0))?, at(affine.map(|a| a.1))?);
    let (kept, from, to) = (d.reals(kept, 2 * c)?, d.reals(x, shape.elements())?, d.reals(y, shape.elements())?);
    let Cut { rows, columns, lanes, part_rows, vector, grid, .. } =
        Cut::new(d, shape, wide(c, &[kept, gamma, beta, from, to]), 4 * SUMS);
    with_neuron(d, neuron, y, |finish| {
        d.launch(
            "batch_norm_apply",
            grid,
            &[&rows, &columns, &lanes, &part_rows, &vector, &kept, &gamma, &beta, finish, &from, &to],
        )
    })
}

/// The gradients of a training pass; dx may be dy.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    d: &CudaDevice,
    x: Tensor,
    kept: Tensor,
    gamma: Option<Tensor>,
    dy: Tensor,
    dgamma: Option<(Tensor, Into)>,
    dbeta: Option<(Tensor, Into)>,
    dx: Option<(Tensor, Into)>,
    scratch: Tensor,
) -> Result<()> {
    let (shape, c) = (x.shape, x.shape.c);
    let (part, totals) = scratch.split(part_bytes(d, shape));
    let (part, totals) = (d.scratch_at(part, part_bytes(d, shape))?, d.scratch_at(totals, 2 * c * size_of::<f32>())?);
    let gradient = |g: Option<(Tensor, Into)>, elements| match g {
        Some((t, into)) => Ok((d.reals(t, elements)?, add(into))),
        None => Ok((Address::NULL, 0)),
    };
    let gamma = gamma.map_or(Ok(Address::NULL), |gamma| d.reals(gamma, c))?;
    let ((dgamma, add_gamma), (dbeta, add_beta)) = (gradient(dgamma, c)?, gradient(dbeta, c)?);
    let (x, kept, dy) = (d.reals(x, shape.elements())?, d.reals(kept, 2 * c)?, d.reals(dy, shape.elements())?);
    let cut = Cut::new(d, shape, wide(c, &[x, kept, dy]), SUMS);
    let Cut { rows, columns, lanes, part_rows, vector, .. } = cut;
    let parts = cut.parts as i32;
    d.launch("batch_norm_sums", cut.grid, &[&rows, &columns, &lanes, &part_rows, &vector, &x, &kept, &dy, &part])?;
    d.launch(
        "batch_norm_totals",
        warps(columns),
        &[&rows, &columns, &parts, &part, &kept, &dgamma, &add_gamma, &dbeta, &add_beta, &totals],
    )?;
    if dx.is_none() {
        return Ok(());
    }
    let (dx, add) = gradient(dx, shape.elements())?;
    let Cut { rows, columns, lanes, part_rows, vector, grid, .. } =
        Cut::new(d, shape, wide(c, &[x, kept, gamma, totals, dy, dx]), 4 * SUMS);
    d.launch(
        "batch_norm_backward",
        grid,
        &[&rows, &columns, &lanes, &part_rows, &vector, &x, &kept, &gamma, &totals, &dy, &dx, &add],
    )
}
