//! Batch normalisation: kernels/batch_norm.cu.

use super::driver::{Address, Argument, Grid};
use super::parts::{is_fused, with_neuron};
use super::{Cells, CudaDevice, add, gaps_only};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::{BatchNormApply, BatchNormBackward, BatchNormMoments, BatchNormRunning, Neuron, Target};

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

    /// Queues a kernel that begins with this cut's numbers.
    fn launch(&self, d: &CudaDevice, kernel: &str, arguments: &[&dyn Argument]) -> Result<()> {
        let Self { rows, columns, lanes, part_rows, vector, .. } = self;
        let cut: [&dyn Argument; 5] = [rows, columns, lanes, part_rows, vector];
        d.launch(kernel, self.grid, &[&cut[..], arguments].concat())
    }
}

/// Blocks a multiprocessor of the passes that sum up.
const SUMS: usize = 4;

/// Bytes for the parts of the sums over a tensor of this shape, wherever it lies.
fn part_bytes(d: &CudaDevice, x: Shape) -> usize {
    let parts = |vector| Cut::new(d, x, vector, SUMS).parts;
    let most = if x.c.is_multiple_of(4) { parts(0).max(parts(1)) } else { parts(0) };
    2 * most * x.c * size_of::<f32>()
}

/// Scratch of the passes that sum up: the parts, and two vectors.
fn scratch(d: &CudaDevice, x: Shape) -> usize {
    part_bytes(d, x).next_multiple_of(256) + 2 * x.c * size_of::<f32>()
}

/// What kernels call `vector`, for tensors of this many columns, and vectors that lie there.
fn wide(columns: usize, vectors: &[Address], tensors: &[Cells]) -> i32 {
    let aligned = vectors.iter().all(|v| v.on_16_bytes()) && tensors.iter().all(Cells::on_16_bytes);
    i32::from(columns.is_multiple_of(4) && aligned)
}

/// A grid of a warp a column.
fn warps(columns: i32) -> Grid {
    Grid { blocks: [(columns as u32).div_ceil(4), 1, 1], threads: 128 }
}

impl Run<BatchNormMoments<Tensor>> for CudaDevice {
    fn supports(&self, op: &BatchNormMoments<Tensor>) -> bool {
        gaps_only(op, &["x"])
    }

    fn scratch(&self, op: &BatchNormMoments<Tensor>) -> usize {
        scratch(self, op.x.shape)
    }

    fn run(&mut self, op: &BatchNormMoments<Tensor>, scratch: Tensor) -> Result<()> {
        let (shape, c) = (op.x.shape, op.x.shape.c);
        let part = self.scratch_at(scratch, part_bytes(self, shape))?;
        let x = self.cells(op.x, shape.elements())?;
        let ([mean, variance], saved) = (self.all_reals([op.mean, op.variance], c)?, self.reals(op.saved, 2 * c)?);
        let cut = Cut::new(self, shape, wide(c, &[], &[x]), SUMS);
        cut.launch(self, "batch_norm_parts", &[&x.at, &x.pitch, &part])?;
        let (rows, columns, part_rows) = (cut.rows, cut.columns, cut.part_rows);
        let (parts, epsilon, momentum) = (cut.parts as i32, op.norm.epsilon as f32, op.norm.momentum as f32);
        self.launch(
            "batch_norm_moments",
            warps(columns),
            &[&rows, &columns, &parts, &part_rows, &part, &epsilon, &momentum, &mean, &variance, &saved],
        )
    }
}

impl Run<BatchNormRunning<Tensor>> for CudaDevice {
    fn run(&mut self, op: &BatchNormRunning<Tensor>, _scratch: Tensor) -> Result<()> {
        let c = op.mean.shape.elements();
        let ([mean, variance], saved) = (self.all_reals([op.mean, op.variance], c)?, self.reals(op.saved, 2 * c)?);
        let grid = Grid { blocks: [c.div_ceil(256) as u32, 1, 1], threads: 256 };
        self.launch("batch_norm_running", grid, &[&(c as i32), &(op.epsilon as f32), &mean, &variance, &saved])
    }
}

impl Run<BatchNormApply<Tensor>> for CudaDevice {
    fn supports(&self, op: &BatchNormApply<Tensor>) -> bool {
        // A neuron that is a pass of its own wants y without gaps.
        gaps_only(op, if is_fused(op.neuron) { &["x", "residual", "y"] } else { &["x", "residual"] })
    }

    fn run(&mut self, op: &BatchNormApply<Tensor>, _scratch: Tensor) -> Result<()> {
        let (shape, c, elements) = (op.x.shape, op.x.shape.c, op.x.shape.elements());
        let (gamma, beta) = (self.maybe_reals(op.gamma, c)?, self.maybe_reals(op.beta, c)?);
        let (saved, residual) = (self.reals(op.saved, 2 * c)?, self.maybe_cells(op.residual, elements)?);
        let (x, y) = (self.cells(op.x, elements)?, self.cells(op.y, elements)?);
        let cut = Cut::new(self, shape, wide(c, &[saved], &[x, residual, y]), 4 * SUMS);
        with_neuron(self, op.neuron, op.y, |finish| {
            let Cells { at, pitch } = &residual;
            cut.launch(self, "batch_norm_apply", &[&saved, &gamma, &beta, &finish, &x.at, &x.pitch, at, pitch, &y.at, &y.pitch])
        })
    }
}

impl Run<BatchNormBackward<Tensor>> for CudaDevice {
    fn supports(&self, op: &BatchNormBackward<Tensor>) -> bool {
        [Neuron::NONE, Neuron::Relu].contains(&op.neuron) && gaps_only(op, &["x", "dy", "dx"])
    }

    fn scratch(&self, op: &BatchNormBackward<Tensor>) -> usize {
        scratch(self, op.x.shape)
    }

    fn run(&mut self, op: &BatchNormBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let (shape, c, elements) = (op.x.shape, op.x.shape.c, op.x.shape.elements());
        let (part, totals) = scratch.split(part_bytes(self, shape));
        let (part, totals) =
            (self.scratch_at(part, part_bytes(self, shape))?, self.scratch_at(totals, 2 * c * size_of::<f32>())?);
        let gradient = |g: Option<Target<Tensor>>| match g {
            Some(g) => Ok((self.reals(g.at, c)?, add(&g))),
            None => Ok((Address::NULL, 0)),
        };
        let ((dgamma, add_gamma), (dbeta, add_beta)) = (gradient(op.dgamma)?, gradient(op.dbeta)?);
        let (gamma, beta, saved) = (self.maybe_reals(op.gamma, c)?, self.maybe_reals(op.beta, c)?, self.reals(op.saved, 2 * c)?);
        let (x, dy) = (self.cells(op.x, elements)?, self.cells(op.dy, elements)?);
        let masked = i32::from(op.neuron != Neuron::NONE);
        let cut = Cut::new(self, shape, wide(c, &[saved], &[x, dy]), SUMS);
        cut.launch(self, "batch_norm_sums", &[&masked, &x.at, &x.pitch, &saved, &gamma, &beta, &dy.at, &dy.pitch, &part])?;
        let (rows, columns, parts) = (cut.rows, cut.columns, cut.parts as i32);
        self.launch(
            "batch_norm_totals",
            warps(columns),
            &[&rows, &columns, &parts, &part, &saved, &dgamma, &add_gamma, &dbeta, &add_beta, &totals],
        )?;
        let Some(target) = op.dx else { return Ok(()) };
        let (dx, add) = (self.cells(target.at, elements)?, add(&target));
        let cut = Cut::new(self, shape, wide(c, &[saved, totals], &[x, dy, dx]), 4 * SUMS);
        let Cells { at, pitch } = &dx;
        cut.launch(
            self,
            "batch_norm_backward",
            &[&masked, &x.at, &x.pitch, &saved, &gamma, &beta, &totals, &dy.at, &dy.pitch, at, pitch, &add],
        )
    }
}
