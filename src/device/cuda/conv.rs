//! Convolution and its gradients: kernels/conv.cu in f32, kernels/conv_mma.cu on tensor cores.

use super::conv_mma::{self, Pass};
use super::driver::{Address, Grid};
use super::parts::{self, Bias, Output, Split};
use super::{CudaDevice, add, gaps_only};
use crate::device::{ConvGeometry, Result, Run, Shape, Tensor};
use crate::op::{ConvBackwardFilters, ConvBackwardImage, ConvForward, Neuron};

/// A block's tile of a product: `Large` and `Small` of kernels/tile.cuh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tile {
    /// As the kernels' names have it.
    pub name: &'static str,
    pub rows: usize,
    pub columns: usize,
    /// Of one step along the sum.
    pub depth: usize,
    pub threads: u32,
}
pub(super) const LARGE: Tile = Tile { name: "large", rows: 128, columns: 128, depth: 8, threads: 256 };
pub(super) const SMALL: Tile = Tile { name: "small", rows: 64, columns: 32, depth: 16, threads: 128 };

impl Tile {
    /// The tile for a product of `rows` by `columns`, made `times` times: the large one where its edges waste little and it fills
    /// the card.
    pub(super) fn of(d: &CudaDevice, rows: usize, columns: usize, times: usize) -> Self {
        let wide = |size: usize| size > 96;
        let fills = LARGE.tiles(rows, columns) * times >= d.info().multiprocessors;
        if wide(rows) && wide(columns) && fills { LARGE } else { SMALL }
    }

    /// How many cover a product.
    pub(super) fn tiles(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    pub(super) fn grid(&self, rows: usize, columns: usize, layers: usize) -> Grid {
        let blocks = [rows.div_ceil(self.rows) as u32, columns.div_ceil(self.columns) as u32, layers as u32];
        Grid { blocks, threads: self.threads }
    }
}

/// The kernel of `layer` (conv or local) for a pass.
pub(super) fn kernel(layer: &str, pass: Pass, tile: Tile, vector: bool) -> String {
    format!("{layer}_{}_{}_{}", pass.name(), tile.name, if vector { "vector" } else { "scalar" })
}

/// The biases of such an output: one a channel, or one a channel of each place.
pub(super) fn bias(d: &CudaDevice, b: Option<Tensor>, output: Shape) -> Result<Bias> {
    let untied = b.is_some_and(|b| b.shape.elements() != output.c);
    let (count, pitch) = if untied { (output.image(), output.c as i32) } else { (output.c, 0) };
    Ok(Bias { at: d.maybe_reals(b, count)?, count, pitch })
}

/// Channels and filters of one group.
fn group(g: &ConvGeometry) -> (usize, usize) {
    ((g.c / g.groups) as usize, (g.k / g.groups) as usize)
}

/// The distance in elements between two places of an output with `filters` filters.
fn pitch(output: Tensor, filters: i32) -> i32 {
    if output.is_dense() { filters } else { output.pitch as i32 }
}

fn aligned(addresses: &[Address]) -> bool {
    super::vector(addresses) == 1
}

/// Which operand may have gaps: the output or its gradient, where there is one group.
fn gaps<'a>(g: &ConvGeometry, output: &'a [&'a str]) -> &'a [&'a str] {
    if g.groups == 1 { output } else { &[] }
}

impl Run<ConvForward<Tensor>> for CudaDevice {
    fn supports(&self, op: &ConvForward<Tensor>) -> bool {
        // Sums of parts, and neurons that are passes of their own, want y without gaps.
        let at_once = || conv_mma::plan(self, &op.geometry, Pass::Forward).is_none_or(|plan| plan.is_whole());
        gaps_only(op, &[]) || parts::is_fused(op.neuron) && gaps_only(op, gaps(&op.geometry, &["y"])) && at_once()
    }

    /// What tensor cores need, if they compute it.
    fn scratch(&self, op: &ConvForward<Tensor>) -> usize {
        conv_mma::plan(self, &op.geometry, Pass::Forward).map_or(0, |plan| plan.scratch())
    }

    fn run(&mut self, op: &ConvForward<Tensor>, scratch: Tensor) -> Result<()> {
        let (g, output) = (&op.geometry, op.geometry.output());
        let (channels, filters) = group(g);
        let bias = bias(self, op.b, output)?;
        let (x, w) = (self.reals(op.x, g.input().elements())?, self.reals(op.w, g.filters().elements())?);
        let y = self.cells(op.y, output.elements())?;
        if let Some(plan) = conv_mma::plan(self, g, Pass::Forward).filter(|plan| plan.reads([x, w])) {
            return parts::with_neuron(self, op.neuron, op.y, |finish| {
                plan.with(op.y).run(self, [x, w], &Output::finished(bias, finish, y.at, 0), scratch)
            });
        }
        let (rows, groups) = ((g.n * g.p * g.q) as usize, g.groups as usize);
        let (tile, y_pitch) = (Tile::of(self, rows, filters, groups), pitch(op.y, g.k));
        let kernel = kernel("conv", Pass::Forward, tile, channels.is_multiple_of(4) && aligned(&[x, w]));
        parts::with_neuron(self, op.neuron, op.y, |finish| {
            self.launch(&kernel, tile.grid(rows, filters, groups), &[g, &x, &w, &bias.at, &bias.pitch, &finish, &y.at, &y_pitch])
        })
    }
}

impl Run<ConvBackwardImage<Tensor>> for CudaDevice {
    fn supports(&self, op: &ConvBackwardImage<Tensor>) -> bool {
        [Neuron::NONE, Neuron::Relu].contains(&op.neuron) && gaps_only(op, gaps(&op.geometry, &["dy"]))
    }

    /// What tensor cores need, if they compute it.
    fn scratch(&self, op: &ConvBackwardImage<Tensor>) -> usize {
        conv_mma::plan(self, &op.geometry, Pass::Image).map_or(0, |plan| plan.scratch())
    }

    fn run(&mut self, op: &ConvBackwardImage<Tensor>, scratch: Tensor) -> Result<()> {
        let g = &op.geometry;
        let (channels, filters) = group(g);
        let (dy, w) = (self.cells(op.dy, g.output().elements())?.at, self.reals(op.w, g.filters().elements())?);
        let (dx, add) = (self.reals(op.dx.at, g.input().elements())?, add(&op.dx));
        let seen = self.reals_if(op.neuron != Neuron::NONE, op.seen, g.input().elements())?;
        if let Some(plan) = conv_mma::plan(self, g, Pass::Image).filter(|plan| plan.reads([dy, w])) {
            return plan.with(op.dy).run(self, [dy, w], &Output { seen, ..Output::plain(dx, add) }, scratch);
        }
        let layers = (g.groups * g.stride_h * g.stride_w) as usize;
        // The first phase is the largest.
        let rows = g.n as usize * (g.h as usize).div_ceil(g.stride_h as usize) * (g.w as usize).div_ceil(g.stride_w as usize);
        let tile = Tile::of(self, rows, channels, layers);
        let vector = channels.is_multiple_of(4) && filters.is_multiple_of(4) && aligned(&[dy, w]);
        let (kernel, dy_pitch) = (kernel("conv", Pass::Image, tile, vector), pitch(op.dy, g.k));
        self.launch(&kernel, tile.grid(rows, channels, layers), &[g, &dy, &dy_pitch, &w, &dx, &add, &seen])
    }
}

/// How the filter gradient is cut in f32.
fn filters_plan(d: &CudaDevice, g: &ConvGeometry) -> (Tile, Split) {
    let (_, filters) = group(g);
    let (depth, groups) = (g.filters().image(), g.groups as usize);
    // The sum is long, and split to fill the card: only waste at the edges speaks against the large tile.
    let tile = if filters > 96 && depth > 96 { LARGE } else { SMALL };
    let steps = ((g.n * g.p * g.q) as usize).div_ceil(tile.depth);
    (tile, Split::new(d, tile.tiles(filters, depth) * groups, steps, g.filters().elements()))
}

impl Run<ConvBackwardFilters<Tensor>> for CudaDevice {
    fn supports(&self, op: &ConvBackwardFilters<Tensor>) -> bool {
        gaps_only(op, gaps(&op.geometry, &["dy"]))
    }

    /// The larger of what the parts take and what tensor cores need: where the tensors lie decides between them.
    fn scratch(&self, op: &ConvBackwardFilters<Tensor>) -> usize {
        let parts = filters_plan(self, &op.geometry).1.bytes();
        conv_mma::plan(self, &op.geometry, Pass::Filters).map_or(parts, |plan| plan.scratch().max(parts))
    }

    fn run(&mut self, op: &ConvBackwardFilters<Tensor>, scratch: Tensor) -> Result<()> {
        let g = &op.geometry;
        let (channels, filters) = group(g);
        let (x, dy) = (self.reals(op.x, g.input().elements())?, self.cells(op.dy, g.output().elements())?.at);
        let out = Output::plain(self.reals(op.dw.at, g.filters().elements())?, add(&op.dw));
        if let Some(plan) = conv_mma::plan(self, g, Pass::Filters).filter(|plan| plan.reads([x, dy])) {
            return plan.with(op.dy).run(self, [x, dy], &out, scratch);
        }
        let (tile, split) = filters_plan(self, g);
        let vector = channels.is_multiple_of(4) && filters.is_multiple_of(4) && aligned(&[x, dy]);
        let (kernel, dy_pitch) = (kernel("conv", Pass::Filters, tile, vector), pitch(op.dy, g.k));
        let grid = tile.grid(filters, g.filters().image(), g.groups as usize * split.parts);
        let part = self.scratch_at(scratch, split.bytes())?;
        split.queue(self, part, &out, |out| {
            self.launch(&kernel, grid, &[g, &x, &dy, &dy_pitch, &out.at, &(split.steps_each as i32), &out.add])
        })
    }
}
