//! Convolution and its gradients: kernels/conv.cu in f32, kernels/conv_mma.cu on tensor cores.

use super::conv_mma::{self, Pass};
use super::driver::{Address, Grid};
use super::parts::{self, Finish};
use super::{CudaDevice, Tensor, add};
use crate::device::{ConvGeometry, Into, Neuron, Result};

pub(super) const KERNELS: &[&str] = &[
    "conv_forward_large_vector",
    "conv_forward_large_scalar",
    "conv_forward_small_vector",
    "conv_forward_small_scalar",
    "conv_backward_image_large_vector",
    "conv_backward_image_large_scalar",
    "conv_backward_image_small_vector",
    "conv_backward_image_small_scalar",
    "conv_backward_filters_large_vector",
    "conv_backward_filters_large_scalar",
    "conv_backward_filters_small_vector",
    "conv_backward_filters_small_scalar",
];

/// A block's tile of a product: `Large` and `Small` of kernels/tile.cuh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tile {
    pub rows: usize,
    pub columns: usize,
    /// Of one step along the sum.
    pub depth: usize,
    pub threads: u32,
}
pub(super) const LARGE: Tile = Tile { rows: 128, columns: 128, depth: 8, threads: 256 };
pub(super) const SMALL: Tile = Tile { rows: 64, columns: 32, depth: 16, threads: 128 };

impl Tile {
    /// The tile for a product of so many rows and columns, made so many times: the large one where its edges waste little
    /// and it fills the card.
    pub(super) fn of(d: &CudaDevice, rows: usize, columns: usize, times: usize) -> Self {
        let wide = |size: usize| size > 96;
        let fills = LARGE.tiles(rows, columns) * times >= d.info().multiprocessors;
        if wide(rows) && wide(columns) && fills { LARGE } else { SMALL }
    }

    /// How many cover so many rows and columns.
    pub(super) fn tiles(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    pub(super) fn grid(&self, rows: usize, columns: usize, layers: usize) -> Grid {
        let blocks = [rows.div_ceil(self.rows) as u32, columns.div_ceil(self.columns) as u32, layers as u32];
        Grid { blocks, threads: self.threads }
    }
}

/// One of the four kernels of a pass, as [`KERNELS`] lists them.
fn kernel(pass: usize, tile: Tile, vector: bool) -> &'static str {
    KERNELS[pass * 4 + usize::from(tile == SMALL) * 2 + usize::from(!vector)]
}

/// Channels and filters of one group.
fn group(g: &ConvGeometry) -> (usize, usize) {
    ((g.c / g.groups) as usize, (g.k / g.groups) as usize)
}

/// Of a pass that has none.
const NO_BIAS: (Address, usize, i32) = (Address::NULL, 1, 0);

fn aligned(addresses: &[Address]) -> bool {
    super::vector(addresses) == 1
}

/// Scratch of [`forward`]: what tensor cores need, if they make it.
pub(super) fn forward_scratch(d: &CudaDevice, g: &ConvGeometry) -> usize {
    conv_mma::plan(d, g, Pass::Forward).map_or(0, |plan| plan.scratch())
}

/// y ← neuron(x ∗ w + b).
#[allow(clippy::too_many_arguments)]
pub(super) fn forward(
    d: &CudaDevice,
    g: &ConvGeometry,
    x: Tensor,
    w: Tensor,
    b: Option<Tensor>,
    neuron: Neuron,
    y: Tensor,
    scratch: Tensor,
) -> Result<()> {
    let (channels, filters) = group(g);
    let (rows, groups, output) = ((g.n * g.p * g.q) as usize, g.groups as usize, g.output());
    let (bias, bias_pitch) = match b {
        None => (Address::NULL, 0),
        Some(b) if b.shape.elements() == output.c => (d.reals(b, output.c)?, 0),
        Some(b) => (d.reals(b, output.image())?, g.k),
    };
    let (x, w) = (d.reals(x, g.input().elements())?, d.reals(w, g.filters().elements())?);
    let at = d.reals(y, output.elements())?;
    if let Some(plan) = conv_mma::plan(d, g, Pass::Forward).filter(|plan| plan.reads([x, w])) {
        let bias = (bias, if bias_pitch == 0 { output.c } else { output.image() }, bias_pitch);
        return parts::with_neuron(d, neuron, y, |finish| {
            plan.run(d, g, Pass::Forward, [x, w], bias, finish, at, Into::Set, scratch)
        });
    }
    let tile = Tile::of(d, rows, filters, groups);
    let kernel = kernel(0, tile, channels.is_multiple_of(4) && aligned(&[x, w]));
    parts::with_neuron(d, neuron, y, |finish| {
        d.launch(kernel, tile.grid(rows, filters, groups), &[g, &x, &w, &bias, &bias_pitch, finish, &at])
    })
}

/// Scratch of [`backward_image`]: what tensor cores need, if they make it.
pub(super) fn backward_image_scratch(d: &CudaDevice, g: &ConvGeometry) -> usize {
    conv_mma::plan(d, g, Pass::Image).map_or(0, |plan| plan.scratch())
}

/// dx ← dy ∗ᵀ w, or dx += ….
pub(super) fn backward_image(
    d: &CudaDevice,
    g: &ConvGeometry,
    dy: Tensor,
    w: Tensor,
    dx: Tensor,
    into: Into,
    scratch: Tensor,
) -> Result<()> {
    let (channels, filters) = group(g);
    let (groups, phases) = (g.groups as usize, (g.stride_h * g.stride_w) as usize);
    let (dy, w) = (d.reals(dy, g.output().elements())?, d.reals(w, g.filters().elements())?);
    let dx = d.reals(dx, g.input().elements())?;
    if let Some(plan) = conv_mma::plan(d, g, Pass::Image).filter(|plan| plan.reads([dy, w])) {
        return plan.run(d, g, Pass::Image, [dy, w], NO_BIAS, &Finish::NONE, dx, into, scratch);
    }
    // The first phase is the largest.
    let rows = g.n as usize * (g.h as usize).div_ceil(g.stride_h as usize) * (g.w as usize).div_ceil(g.stride_w as usize);
    let tile = Tile::of(d, rows, channels, groups * phases);
    let vector = channels.is_multiple_of(4) && filters.is_multiple_of(4) && aligned(&[dy, w]);
    d.launch(kernel(1, tile, vector), tile.grid(rows, channels, groups * phases), &[g, &dy, &w, &dx, &add(into)])
}

/// How the filter gradient is cut: tile, parts, steps of each.
fn filters_plan(d: &CudaDevice, g: &ConvGeometry) -> (Tile, usize, usize) {
    let (_, filters) = group(g);
    let (depth, groups) = (g.filters().image(), g.groups as usize);
    // The sum is long, and split to fill the card: only waste at the edges speaks against the large tile.
    let tile = if filters > 96 && depth > 96 { LARGE } else { SMALL };
    let steps = ((g.n * g.p * g.q) as usize).div_ceil(tile.depth);
    let (parts, steps_each) = parts::split(d, tile.tiles(filters, depth) * groups, steps, g.filters().elements());
    (tile, parts, steps_each)
}

/// Scratch of [`backward_filters`]: the parts, and what tensor cores need, if they make it.
pub(super) fn backward_filters_scratch(d: &CudaDevice, g: &ConvGeometry) -> usize {
    let parts = match filters_plan(d, g) {
        (_, 1, _) => 0,
        (_, parts, _) => parts * g.filters().elements() * size_of::<f32>(),
    };
    // Where the tensors lie decides which of the two it is.
    conv_mma::plan(d, g, Pass::Filters).map_or(parts, |plan| plan.scratch().max(parts))
}

/// dw ← Σ dy·x, or dw += ….
pub(super) fn backward_filters(
    d: &CudaDevice,
    g: &ConvGeometry,
    x: Tensor,
    dy: Tensor,
    dw: Tensor,
    into: Into,
    scratch: Tensor,
) -> Result<()> {
    let (channels, filters) = group(g);
    let (depth, groups, elements) = (g.filters().image(), g.groups as usize, g.filters().elements());
    let (x, dy) = (d.reals(x, g.input().elements())?, d.reals(dy, g.output().elements())?);
    let dw = d.reals(dw, elements)?;
    if let Some(plan) = conv_mma::plan(d, g, Pass::Filters).filter(|plan| plan.reads([x, dy])) {
        return plan.run(d, g, Pass::Filters, [x, dy], NO_BIAS, &Finish::NONE, dw, into, scratch);
    }
    let (tile, parts, steps_each) = filters_plan(d, g);
    let kernel = kernel(2, tile, channels.is_multiple_of(4) && filters.is_multiple_of(4) && aligned(&[x, dy]));
    let grid = tile.grid(filters, depth, groups * parts);
    let launch = |out: Address, into| d.launch(kernel, grid, &[g, &x, &dy, &out, &(steps_each as i32), &add(into)]);
    if parts == 1 {
        return launch(dw, into);
    }
    let part = d.scratch_at(scratch, backward_filters_scratch(d, g))?;
    launch(part, Into::Set)?;
    parts::sum(d, parts, elements, part, Address::NULL, 1, &Finish::NONE, dw, into)
}
