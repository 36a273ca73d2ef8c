//! Locally connected layers: kernels/local.cu.

use super::conv::Tile;
use super::driver::{Address, Grid};
use super::parts::{self, Finish};
use super::{CudaDevice, Tensor, add, vector};
use crate::device::{ConvGeometry, Into, Neuron, Result};

pub(super) const KERNELS: &[&str] = &[
    "local_forward_large_vector",
    "local_forward_large_scalar",
    "local_forward_small_vector",
    "local_forward_small_scalar",
    "local_backward_image_large_vector",
    "local_backward_image_large_scalar",
    "local_backward_image_small_vector",
    "local_backward_image_small_scalar",
    "local_backward_filters_large_vector",
    "local_backward_filters_large_scalar",
    "local_backward_filters_small_vector",
    "local_backward_filters_small_scalar",
];

/// Sizes of one group's products, and how many there are of each.
struct Sizes {
    images: usize,
    channels: usize,
    filters: usize,
    /// r·s·channels.
    depth: usize,
    places: usize,
    cells: usize,
    groups: usize,
}

impl Sizes {
    fn new(g: &ConvGeometry) -> Self {
        let (filters, groups) = (g.filters(), g.groups as usize);
        Self {
            images: g.n as usize,
            channels: filters.c,
            filters: filters.n / groups,
            depth: filters.image(),
            places: g.output().h * g.output().w,
            cells: g.input().h * g.input().w,
            groups,
        }
    }

    /// Whether four channels and four filters go by one access.
    fn vector(&self, addresses: &[Address]) -> bool {
        self.channels.is_multiple_of(4) && self.filters.is_multiple_of(4) && vector(addresses) == 1
    }
}

/// How a pass of `times` products of so many rows, columns and terms is cut: tile, parts, steps of each.
#[derive(Clone, Copy)]
struct Plan {
    tile: Tile,
    rows: usize,
    columns: usize,
    times: usize,
    parts: usize,
    steps_each: usize,
}

impl Plan {
    /// `elements` are the result's, of which each part makes its own.
    fn new(d: &CudaDevice, [rows, columns, terms]: [usize; 3], times: usize, elements: usize) -> Self {
        let tile = Tile::of(d, rows, columns, times);
        let (parts, steps_each) = parts::split(d, tile.tiles(rows, columns) * times, terms.div_ceil(tile.depth), elements);
        Self { tile, rows, columns, times, parts, steps_each }
    }

    fn forward(d: &CudaDevice, g: &ConvGeometry) -> Self {
        let s = Sizes::new(g);
        Self::new(d, [s.images, s.filters, s.depth], s.places * s.groups, g.output().elements())
    }

    fn backward_image(d: &CudaDevice, g: &ConvGeometry) -> Self {
        let s = Sizes::new(g);
        // The taps that meet a cell, at most: those that the stride leaves out lie between them.
        let taps = |taps: i32, stride: i32, dilation: i32, places: i32| {
            let step = (1..stride).find(|step| step * dilation % stride == 0).unwrap_or(stride);
            (taps as usize).div_ceil(step as usize).min(places as usize)
        };
        let (rows, columns) = (taps(g.r, g.stride_h, g.dilation_h, g.p), taps(g.s, g.stride_w, g.dilation_w, g.q));
        let terms = rows * columns * s.filters;
        Self::new(d, [s.images, s.channels, terms], s.cells * s.groups, g.input().elements())
    }

    fn scratch(&self, elements: usize) -> usize {
        if self.parts == 1 { 0 } else { self.parts * elements * size_of::<f32>() }
    }

    fn kernel(&self, pass: usize, vector: bool) -> &'static str {
        KERNELS[pass * 4 + usize::from(self.tile == super::conv::SMALL) * 2 + usize::from(!vector)]
    }

    /// Tiles of rows of every product by tiles of columns by parts.
    fn grid(&self) -> Grid {
        let rows = self.rows.div_ceil(self.tile.rows) * self.times;
        let blocks = [rows, self.columns.div_ceil(self.tile.columns), self.parts].map(|b| b as u32);
        Grid { blocks, threads: self.tile.threads }
    }
}

/// Scratch of [`forward`]: the parts.
pub(super) fn forward_scratch(d: &CudaDevice, g: &ConvGeometry) -> usize {
    Plan::forward(d, g).scratch(g.output().elements())
}

/// Scratch of [`backward_image`]: the parts.
pub(super) fn backward_image_scratch(d: &CudaDevice, g: &ConvGeometry) -> usize {
    Plan::backward_image(d, g).scratch(g.input().elements())
}

/// y ← neuron(x ∗ w + b), each place with its own w.
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
    let (sizes, plan, output) = (Sizes::new(g), Plan::forward(d, g), g.output());
    let (bias, columns) = match b {
        None => (Address::NULL, output.c),
        Some(b) if b.shape.elements() == output.c => (d.reals(b, output.c)?, output.c),
        Some(b) => (d.reals(b, output.image())?, output.image()),
    };
    let pitch = if columns == output.c { 0 } else { g.k };
    let (x, w) = (d.reals(x, g.input().elements())?, d.reals(w, g.local_filters().elements())?);
    let kernel = plan.kernel(0, sizes.channels.is_multiple_of(4) && vector(&[x, w]) == 1);
    let at = d.reals(y, output.elements())?;
    let launch = |bias: &Address, finish: &Finish, out: &Address| {
        d.launch(kernel, plan.grid(), &[g, &x, &w, bias, &pitch, finish, out, &(plan.steps_each as i32)])
    };
    parts::with_neuron(d, neuron, y, |finish| {
        if plan.parts == 1 {
            return launch(&bias, finish, &at);
        }
        let part = d.scratch_at(scratch, plan.scratch(output.elements()))?;
        launch(&Address::NULL, &Finish::NONE, &part)?;
        parts::sum(d, plan.parts, output.elements(), part, bias, columns, finish, at, Into::Set)
    })
}

/// dx ← dy ∗ᵀ w, each place with its own w, or dx += ….
pub(super) fn backward_image(
    d: &CudaDevice,
    g: &ConvGeometry,
    dy: Tensor,
    w: Tensor,
    dx: Tensor,
    into: Into,
    scratch: Tensor,
) -> Result<()> {
    let (sizes, plan, elements) = (Sizes::new(g), Plan::backward_image(d, g), g.input().elements());
    let (dy, w) = (d.reals(dy, g.output().elements())?, d.reals(w, g.local_filters().elements())?);
    let dx = d.reals(dx, elements)?;
    let kernel = plan.kernel(1, sizes.vector(&[dy, w]));
    let launch = |out: &Address, into| d.launch(kernel, plan.grid(), &[g, &dy, &w, out, &(plan.steps_each as i32), &add(into)]);
    if plan.parts == 1 {
        return launch(&dx, into);
    }
    let part = d.scratch_at(scratch, plan.scratch(elements))?;
    launch(&part, Into::Set)?;
    parts::sum(d, plan.parts, elements, part, Address::NULL, 1, &Finish::NONE, dx, into)
}

/// dw ← Σ dy·x over the images, at each place, or dw += ….
pub(super) fn backward_filters(d: &CudaDevice, g: &ConvGeometry, x: Tensor, dy: Tensor, dw: Tensor, into: Into) -> Result<()> {
    let s = Sizes::new(g);
    let (x, dy) = (d.reals(x, g.input().elements())?, d.reals(dy, g.output().elements())?);
    let dw = d.reals(dw, g.local_filters().elements())?;
    let tile = Tile::of(d, s.filters, s.depth, s.places * s.groups);
    // The columns' tiles go with the places: there may be many of both.
    let plan = Plan { tile, rows: s.filters, columns: s.depth, times: s.places * s.groups, parts: 1, steps_each: 0 };
    let across = s.depth.div_ceil(tile.columns) * plan.times;
    let grid = Grid { blocks: [across as u32, s.filters.div_ceil(tile.rows) as u32, 1], threads: tile.threads };
    d.launch(plan.kernel(2, s.vector(&[x, dy])), grid, &[g, &x, &dy, &dw, &add(into)])
}
