//! Locally connected layers: kernels/local.cu.

use super::conv::{Tile, bias, kernel};
use super::conv_mma::Pass;
use super::driver::{Address, Grid};
use super::parts::{self, Output, Split};
use super::{CudaDevice, add, vector};
use crate::device::{ConvGeometry, Result, Run, Tensor};
use crate::op::{LocalBackwardFilters, LocalBackwardImage, LocalForward};

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

/// How a pass is cut.
struct Plan {
    tile: Tile,
    split: Split,
    /// Tiles of rows of every product by tiles of columns by parts.
    grid: Grid,
}

impl Plan {
    /// For `times` products of `rows` by `columns`, each sum of `terms` terms. `elements` are the result's.
    fn new(d: &CudaDevice, [rows, columns, terms]: [usize; 3], times: usize, elements: usize) -> Self {
        let tile = Tile::of(d, rows, columns, times);
        let split = Split::new(d, tile.tiles(rows, columns) * times, terms.div_ceil(tile.depth), elements);
        let blocks = [rows.div_ceil(tile.rows) * times, columns.div_ceil(tile.columns), split.parts].map(|b| b as u32);
        Self { tile, split, grid: Grid { blocks, threads: tile.threads } }
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
}

impl Run<LocalForward<Tensor>> for CudaDevice {
    fn scratch(&self, op: &LocalForward<Tensor>) -> usize {
        Plan::forward(self, &op.geometry).split.bytes()
    }

    fn run(&mut self, op: &LocalForward<Tensor>, scratch: Tensor) -> Result<()> {
        let (g, output) = (&op.geometry, op.geometry.output());
        let (sizes, Plan { tile, split, grid }) = (Sizes::new(g), Plan::forward(self, g));
        let bias = bias(self, op.b, output)?;
        let (x, w) = (self.reals(op.x, g.input().elements())?, self.reals(op.w, g.local_filters().elements())?);
        let kernel = kernel("local", Pass::Forward, tile, sizes.channels.is_multiple_of(4) && vector(&[x, w]) == 1);
        let at = self.reals(op.y, output.elements())?;
        let part = self.scratch_at(scratch, split.bytes())?;
        parts::with_neuron(self, op.neuron, op.y, |finish| {
            split.queue(self, part, &Output::finished(bias, finish, at, 0), |out| {
                let steps = split.steps_each as i32;
                self.launch(&kernel, grid, &[g, &x, &w, &out.bias.at, &bias.pitch, &out.finish, &out.at, &steps])
            })
        })
    }
}

impl Run<LocalBackwardImage<Tensor>> for CudaDevice {
    fn scratch(&self, op: &LocalBackwardImage<Tensor>) -> usize {
        Plan::backward_image(self, &op.geometry).split.bytes()
    }

    fn run(&mut self, op: &LocalBackwardImage<Tensor>, scratch: Tensor) -> Result<()> {
        let g = &op.geometry;
        let Plan { tile, split, grid } = Plan::backward_image(self, g);
        let (dy, w) = (self.reals(op.dy, g.output().elements())?, self.reals(op.w, g.local_filters().elements())?);
        let out = Output::plain(self.reals(op.dx.at, g.input().elements())?, add(&op.dx));
        let kernel = kernel("local", Pass::Image, tile, Sizes::new(g).vector(&[dy, w]));
        let part = self.scratch_at(scratch, split.bytes())?;
        split.queue(self, part, &out, |out| {
            self.launch(&kernel, grid, &[g, &dy, &w, &out.at, &(split.steps_each as i32), &out.add])
        })
    }
}

impl Run<LocalBackwardFilters<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LocalBackwardFilters<Tensor>, _scratch: Tensor) -> Result<()> {
        let (g, s) = (&op.geometry, Sizes::new(&op.geometry));
        let (x, dy) = (self.reals(op.x, g.input().elements())?, self.reals(op.dy, g.output().elements())?);
        let dw = self.reals(op.dw.at, g.local_filters().elements())?;
        let times = s.places * s.groups;
        let tile = Tile::of(self, s.filters, s.depth, times);
        // The columns' tiles go with the places: there may be many of both.
        let across = s.depth.div_ceil(tile.columns) * times;
        let grid = Grid { blocks: [across as u32, s.filters.div_ceil(tile.rows) as u32, 1], threads: tile.threads };
        let kernel = kernel("local", Pass::Filters, tile, s.vector(&[x, dy]));
        self.launch(&kernel, grid, &[g, &x, &dy, &dw, &add(&op.dw)])
    }
}
