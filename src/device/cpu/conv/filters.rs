//! The filter gradient: dw[k][r, s, c] = Σ over images and places of dy[place][k]·x[place + tap][c], the product dyᵀ·columns(x)
//! whose depth is the places.
//!
//! The columns of x are never made as a whole. The places are cut into slabs of about 768 (some images, or a band of rows of
//! one); of a slab one panel at a time is copied out of x, [place][two or more vectors of (r, s, c)], 96 KB in the
//! second-level cache, and meets every tile of up to 14 filters: the columns are one sequence over all taps, so only the last
//! panel pads (25 columns of a 1-channel 5 × 5 filter pay for 32, the 363 of AlexNet's first layer for 368). A copy of two
//! vectors a place is used by all filters of the task, K/14 tiles of 14 cycles a place. dy is repacked a tile wide where at
//! least four panels use it. Sums stay in registers for a slab and are added to dw in memory between slabs.
//!
//! The slabs are dealt to a fixed number of chunks, each with its own partial dw while all of them take at most 8 MB, and the
//! partial ones are added in order; large dw has few partials or none and is cut by filters instead.

use super::{pad, size};
use crate::device::ConvGeometry;
use crate::device::cpu::Workers;
use crate::device::cpu::simd::{Finish, Left, Place, Rows, Shared, Simd, Walk};
use crate::op::Target;
use std::ops::Range;

/// Places of a slab, about.
const SLAB: usize = 768;
/// Floats of a slab's padded images, at most where one row needs no more.
const BAND: usize = 1 << 16;
/// Floats of all partial gradients.
const PARTIALS: usize = 1 << 21;
/// Tasks wanted, and slots of scratch at most.
const TASKS: usize = 16;
const SLOTS: usize = 32;

/// How a filter gradient is cut: computed from the geometry and the instruction set alone.
pub struct Filters<'a> {
    simd: &'a Simd,
    g: ConvGeometry,
    /// Channels and filters of a group.
    depth: usize,
    filters: usize,
    /// Columns of dw: r·s·depth; of a panel; and the panels.
    columns: usize,
    panel: usize,
    panels: usize,
    /// Tiles of filters of a group, and the ranges that they are dealt to.
    tiles: usize,
    ranges: usize,
    /// Images of a slab, or if 1, output rows of a slab and slabs of an image.
    images: usize,
    rows: usize,
    bands: usize,
    slabs: usize,
    chunks: usize,
    /// Whether slabs are copied with their padding, and then the input rows and columns of one image of a slab.
    copied: bool,
    input: [usize; 2],
    /// Elements from one cell of the image, and of the output's gradient, to the next.
    pitches: [usize; 2],
}

impl<'a> Filters<'a> {
    /// Cuts the gradient of this geometry.
    pub fn new(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let (depth, filters) = (size(g.c / g.groups), size(g.k / g.groups));
        let (n, p, q) = (size(g.n), size(g.p), size(g.q));
        let columns = size(g.r * g.s) * depth;
        let vectors = simd.vectors(filters, columns);
        let panel = vectors * simd.lanes;
        let tiles = filters.div_ceil(simd.most_rows(vectors));

        let span = |outputs: usize, stride: i32, taps: i32, dilation: i32| {
            (outputs - 1) * size(stride) + (size(taps) - 1) * size(dilation) + 1
        };
        let height = |rows| span(rows, g.stride_h, g.r, g.dilation_h);
        let width = span(q, g.stride_w, g.s, g.dilation_w);
        let copied = g.padding_h != 0 || g.padding_w != 0 || height(p) > size(g.h) || width > size(g.w);
        let (mut images, mut rows) = ((SLAB / (p * q)).clamp(1, n), p);
        if images == 1 {
            rows = p.div_ceil(((p * q + SLAB / 2) / SLAB).max(1));
        }
        while copied && images > 1 && images * height(p) * width * depth > BAND {
            images = images.div_ceil(2);
        }
        while copied && rows > 1 && height(rows) * width * depth > BAND {
            rows = rows.div_ceil(2);
        }
        if rows < p {
            images = 1;
        }
        images = n.div_ceil(n.div_ceil(images));
        rows = p.div_ceil(p.div_ceil(rows));
        let bands = p.div_ceil(rows);
        let slabs = n.div_ceil(images) * bands;

        let chunks = (PARTIALS / (size(g.k) * columns)).clamp(1, TASKS).min(slabs);
        let ranges = TASKS.div_ceil(chunks * size(g.groups)).min(filters.div_ceil(64)).clamp(1, tiles);
        Self {
            simd,
            g: *g,
            depth,
            filters,
            columns,
            panel,
            panels: columns.div_ceil(panel),
            tiles,
            ranges,
            images,
            rows,
            bands,
            slabs,
            chunks,
            copied,
            input: [height(rows), width],
            pitches: [size(g.c), size(g.k)],
        }
    }

    /// The same on tensors whose cells are so far apart: the image's, and the gradient's.
    pub fn pitched(self, pitches: [usize; 2]) -> Self {
        Self { pitches, ..self }
    }

    /// Places of the largest slab.
    fn places(&self) -> usize {
        self.images * self.rows * size(self.g.q)
    }

    /// Floats of a slab's padded images, of its part of dy, of a panel.
    fn parts(&self) -> [usize; 3] {
        let padded = if self.copied { self.images * self.input[0] * self.input[1] * self.depth } else { 0 };
        let rows = self.tiles.div_ceil(self.ranges) * self.filters.div_ceil(self.tiles);
        let dy = if self.repacked() { self.places() * rows } else { 0 };
        [padded, dy, self.places() * self.panel].map(|x| x.next_multiple_of(16))
    }

    fn repacked(&self) -> bool {
        self.panels >= 4
    }

    fn tasks(&self) -> usize {
        self.chunks * size(self.g.groups) * self.ranges
    }

    /// Floats of the partial gradients.
    fn partials(&self) -> usize {
        if self.chunks > 1 { self.chunks * size(self.g.k) * self.columns } else { 0 }
    }

    /// Floats of scratch that [`run`](Self::run) wants.
    pub fn scratch(&self) -> usize {
        self.partials().next_multiple_of(16) + self.tasks().min(SLOTS) * self.parts().iter().sum::<usize>()
    }

    /// dw ← Σ dy·x, or dw += ….
    pub fn run(&self, workers: &Workers, x: &[f32], dy: &[f32], dw: Target<&mut [f32]>, scratch: &mut [f32]) {
        let (partials, slots) = scratch.split_at_mut(self.partials().next_multiple_of(16));
        let partials = &mut partials[..self.partials()];
        let (tasks, slot_size) = (self.tasks(), self.parts().iter().sum::<usize>());
        let slot_count = tasks.min(SLOTS);
        let slots = &mut slots[..slot_count * slot_size];
        let add = self.chunks == 1 && dw.adds();
        let flops = self.places() * self.slabs * size(self.g.k) * self.columns;
        {
            let to = Shared::new(if self.chunks > 1 { &mut *partials } else { &mut *dw.at });
            workers.large_pieces(flops / 50, slot_size, slots, |slot, scratch| {
                for task in slot * tasks / slot_count..(slot + 1) * tasks / slot_count {
                    self.task(task, x, dy, to, add, scratch);
                }
            });
        }
        if self.chunks > 1 {
            sum_partials(workers, partials, dw);
        }
    }

    /// One chunk of slabs, one group, one range of its filters.
    fn task(&self, task: usize, x: &[f32], dy: &[f32], to: Shared<'_>, add: bool, scratch: &mut [f32]) {
        let g = &self.g;
        let (simd, k, q, pitch) = (self.simd, size(g.k), size(g.q), self.pitches[1]);
        let (chunk, group, range) =
            (task / self.ranges / size(g.groups), task / self.ranges % size(g.groups), task % self.ranges);
        let tiles = range * self.tiles / self.ranges..(range + 1) * self.tiles / self.ranges;
        let tile = |t: usize| (t * self.filters / self.tiles, (t + 1) * self.filters / self.tiles);
        let first_filter = tile(tiles.start).0;
        let [padded_size, dy_size, _] = self.parts();
        let (padded, rest) = scratch.split_at_mut(padded_size);
        let (packed, panel) = rest.split_at_mut(dy_size);
        let base = if self.chunks > 1 { chunk * k * self.columns } else { 0 };

        let slabs = chunk * self.slabs / self.chunks..(chunk + 1) * self.slabs / self.chunks;
        for slab in slabs.clone() {
            let image = slab / self.bands * self.images;
            let images = self.images.min(size(g.n) - image);
            let row = slab % self.bands * self.rows;
            let rows = self.rows.min(size(g.p) - row);
            let places = images * rows * q;

            let dy = &dy[(image * size(g.p) + row) * q * pitch + group * self.filters..];
            if self.repacked() {
                for t in tiles.clone() {
                    let (start, end) = tile(t);
                    let to = &mut packed[(start - first_filter) * places..];
                    simd.copy(&dy[start..], [0, pitch], to, [0, end - start], end - start, [1, places]);
                }
            }
            let x = self.slab(x, image..image + images, row..row + rows, group, padded);
            for p in 0..self.panels {
                let first = p * self.panel;
                let columns = self.panel.min(self.columns - first);
                self.pack(&x, images, rows, first, columns, panel);
                for t in tiles.clone() {
                    let (start, end) = tile(t);
                    let (a, step) = if self.repacked() {
                        (&packed[(start - first_filter) * places..], end - start)
                    } else {
                        (&dy[start..], pitch)
                    };
                    let walk = Walk { rows: Rows::Adjacent, loops: [(1, 0), (1, 0), (places, step)] };
                    let to = to.after(base + (group * self.filters + start) * self.columns + first);
                    let (left, to) = (Left { a, rows: end - start, walk }, Place { c: to, pitch: self.columns, columns });
                    // SAFETY: this task alone writes these filters of this partial gradient.
                    unsafe { simd.tile(&left, panel, &to, &Finish::sums(add || slab > slabs.start)) }
                }
            }
        }
    }

    /// The part of x that a slab's windows see, with its padding.
    fn slab<'x>(&self, x: &'x [f32], images: Range<usize>, rows: Range<usize>, group: usize, padded: &'x mut [f32]) -> Seen<'x> {
        let g = &self.g;
        let (h, w, pitch) = (size(g.h), size(g.w), self.pitches[0]);
        let (top, channel) = (rows.start * size(g.stride_h), group * self.depth);
        if !self.copied {
            let x = &x[(images.start * h + top) * w * pitch + channel..];
            return Seen { x, image: h * w * pitch, row: w * pitch, cell: pitch };
        }
        let height = (rows.len() - 1) * size(g.stride_h) + (size(g.r) - 1) * size(g.dilation_h) + 1;
        let row = self.input[1] * self.depth;
        for (i, image) in images.enumerate() {
            let from = &x[image * h * w * pitch..];
            let start = [top as isize - g.padding_h as isize, -(g.padding_w as isize)];
            let to = &mut padded[i * height * row..][..height * row];
            pad(self.simd, from, [h, w, pitch], channel..channel + self.depth, start, [height, self.input[1]], to);
        }
        Seen { x: padded, image: height * row, row, cell: self.depth }
    }

    /// Copies the columns `first` .. `first + columns` of dw's rows for every place of a slab: [place][columns, padded].
    fn pack(&self, x: &Seen<'_>, images: usize, rows: usize, first: usize, columns: usize, panel: &mut [f32]) {
        let g = &self.g;
        let (q, s) = (size(g.q), size(g.s));
        let pitch = columns.next_multiple_of(self.simd.lanes);
        let merged = size(g.dilation_w) * x.cell == self.depth;
        let run = if merged { s * self.depth } else { self.depth };
        let mut column = first;
        while column < first + columns {
            let (tap, inner) = (column / run, column % run);
            let (i, j) = if merged { (tap, 0) } else { (tap / s, tap % s) };
            let len = (run - inner).min(first + columns - column);
            let from = i * size(g.dilation_h) * x.row + j * size(g.dilation_w) * x.cell + inner;
            for image in 0..images {
                let to = &mut panel[image * rows * q * pitch + column - first..];
                let steps = [size(g.stride_h) * x.row, size(g.stride_w) * x.cell];
                self.simd.copy(&x.x[image * x.image + from..], steps, to, [q * pitch, pitch], len, [rows, q]);
            }
            column += len;
        }
        super::clear_tails(&mut panel[..images * rows * q * pitch], pitch, columns);
    }
}

/// dw ← the sum of partial gradients, in order, or dw += ….
pub fn sum_partials(workers: &Workers, partials: &[f32], dw: Target<&mut [f32]>) {
    let (len, set) = (dw.at.len(), !dw.adds());
    workers.large_pieces(partials.len() / 10, 1 << 12, dw.at, |piece, dw| {
        for (i, part) in partials.chunks_exact(len).enumerate() {
            let part = &part[piece << 12..][..dw.len()];
            if i == 0 && set {
                dw.copy_from_slice(part);
            } else {
                dw.iter_mut().zip(part).for_each(|(dw, part)| *dw += part);
            }
        }
    });
}

/// Images as a slab sees them: the first window's first cell, and the distances of images, rows and cells.
struct Seen<'a> {
    x: &'a [f32],
    image: usize,
    row: usize,
    cell: usize,
}
