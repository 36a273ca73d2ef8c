//! 3 × 3 and 5 × 5 convolutions of stride 1 by Winograd's F(4 × 4, 3 × 3) and F(2 × 2, 5 × 5): 4 × 4 (2 × 2) outputs of 6 × 6
//! inputs by 36 products a pair of channels instead of 144 (100) (`simd/transforms.rs` has the matrices).
//!
//! Forward and image gradient (a forward pass of dy through the flipped filters), of some 56 squares and one panel of filters
//! at a time: 36 products [squares][channels] · [channels][columns], transformed back into y with bias and relu. Many squares
//! of few channels share the transformed filters, and each task transforms its own squares; few squares of many channels are
//! shared in their turn, and each task transforms its own panel, so that the filters, larger than they were, never go to
//! memory.
//!
//! The filter gradient is the same turned round: dw = Gᵀ[Σ over squares of (A·dy·Aᵀ) ⊙ (Bᵀ·x·B)]·G. A task is a range of
//! filters by a range of channels, whose 36 sums stay in scratch until all its squares are in. Few squares are transformed
//! once and shared; many by each task, in blocks, and where the ranges are too few tasks, squares are dealt to chunks, whose
//! partial dw are added in order.
//!
//! Cost: 36/144 (36/100) of the definition's multiply-adds, times 16·⌈p/4⌉·⌈q/4⌉/(p·q) for squares that are cut off; about 100
//! cycles a square and vector of channels for each transform.
//!
//! Error: rounding is spread over a square. An output is within (4 + √depth)·ε of Σ over the channels of X·W, X the largest |x|
//! of the square's inputs and W the sum of a filter's |w|, and gradients are likewise (`every_pass_is_within_its_bound` holds
//! them to it); for inputs of one size, about 1.5 times the error of the definition's own sum, and 4.5 times for 5 × 5 filter
//! gradients. Where neighbours differ by orders of magnitude, the small ones get the errors of the large ones.

use super::filters::sum_partials;
use super::{axes, scatter, size};
use crate::device::ConvGeometry;
use crate::device::cpu::Workers;
use crate::device::cpu::simd::{Finish, Left, Place, Rows, Shared, Simd, Square, Walk};
use crate::op::Target;
use std::ops::Range;

/// Cells of a transformed square.
const CELLS: usize = 36;
/// Squares of a block, at most: four tiles of rows of the widest vectors.
const BLOCK: usize = 56;
/// Tasks wanted, and slots of scratch at most.
const TASKS: usize = 8;
const SLOTS: usize = 16;
/// Filters and channels of a filter gradient's task, about: where it transforms its own squares, and where they are shared.
const RANGE: usize = 128;
const SHARED_RANGE: usize = 64;
/// Floats of transformed squares that are shared, at most.
const SHARED: usize = 6 << 20;
/// Floats of all partial filter gradients.
const PARTIALS: usize = 1 << 21;
/// With fewer input or output channels than this the scratch that passes through the cache costs more than is won.
const CHANNELS: usize = 24;
/// Cycles to transform a square of one vector of channels, and to transform a vector of filters.
const TRANSFORM: usize = 100;

/// Part `i` of `n` things cut into `parts`.
fn part(n: usize, parts: usize, i: usize) -> Range<usize> {
    i * n / parts..(i + 1) * n / parts
}

/// Squares of an image, and what they are cut out of.
#[derive(Clone, Copy, Debug)]
struct Squares {
    images: usize,
    input: [usize; 2],
    outputs: [usize; 2],
    /// The input row (column) that tap 0 of output 0 sees; it may lie outside.
    offset: [isize; 2],
    /// Rows and columns of a square's outputs: 4 or 2.
    tile: usize,
    /// Rows and columns of squares.
    count: [usize; 2],
    /// Squares of a block, of all images; the last may have fewer.
    block: usize,
}

impl Squares {
    fn new(images: usize, input: [usize; 2], outputs: [usize; 2], offset: [isize; 2], taps: usize) -> Self {
        let tile = 7 - taps;
        let count = outputs.map(|n| n.div_ceil(tile));
        let all = images * count[0] * count[1];
        Self { images, input, outputs, offset, tile, count, block: all.div_ceil(all.div_ceil(BLOCK).max(1)).max(1) }
    }

    fn blocks(&self) -> usize {
        self.all().div_ceil(self.block)
    }

    /// The squares of a block.
    fn of_block(&self, block: usize) -> Range<usize> {
        block * self.block..((block + 1) * self.block).min(self.all())
    }

    /// Of all images.
    fn all(&self) -> usize {
        self.images * self.count[0] * self.count[1]
    }

    /// Image, row and column of square `i`.
    fn place(&self, i: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.count;
        (i / (rows * columns), [i / columns % rows, i % columns])
    }

    /// Where the inputs of square `i` start in x, whose cells are `pitch` apart, and which of them there are.
    fn inputs(&self, i: usize, pitch: usize) -> (isize, Square) {
        let (image, place) = self.place(i);
        let [h, w] = self.input;
        let start = [0, 1].map(|axis| (self.tile * place[axis]) as isize + self.offset[axis]);
        let first = start.map(|start| (-start).clamp(0, 6) as usize);
        let end = [0, 1].map(|axis| (self.input[axis] as isize - start[axis]).clamp(0, 6) as usize);
        let at = (((image * h) as isize + start[0]) * w as isize + start[1]) * pitch as isize;
        (at, Square { size: 6, steps: [w * pitch, pitch], first, end })
    }

    /// Where the outputs of square `i` start in y, whose cells are `pitch` apart, and which of them there are.
    fn outputs(&self, i: usize, pitch: usize) -> (usize, Square) {
        let (image, place) = self.place(i);
        let [p, q] = self.outputs;
        let end = [0, 1].map(|axis| (self.outputs[axis] - self.tile * place[axis]).min(self.tile));
        let at = ((image * p + self.tile * place[0]) * q + self.tile * place[1]) * pitch;
        (at, Square { size: self.tile, steps: [q * pitch, pitch], first: [0; 2], end })
    }
}

/// Whether the filters are 3 × 3 or 5 × 5 without stride or dilation.
fn fits(g: &ConvGeometry) -> bool {
    g.r == g.s && (g.r == 3 || g.r == 5) && [g.stride_h, g.stride_w, g.dilation_h, g.dilation_w] == [1; 4]
}

/// A forward pass, or an image gradient, cut into tasks by its geometry and the instruction set alone.
pub struct Winograd<'a> {
    simd: &'a Simd,
    squares: Squares,
    groups: usize,
    depth: usize,
    outputs: usize,
    /// Columns of a panel; panels.
    panel: usize,
    panels: usize,
    /// Whether tasks share the squares, and are panels; otherwise they share the filters, and are blocks by ranges of panels.
    squares_shared: bool,
    ranges: usize,
    /// Elements from one cell of the input, and of the result, to the next.
    pitches: [usize; 2],
}

impl<'a> Winograd<'a> {
    /// The forward pass, where it wins.
    pub fn forward(g: &ConvGeometry, simd: &'a Simd) -> Option<Self> {
        let pairs = || axes(g)[0].pairs() * size(g.q);
        fits(g).then(|| Self::cut_forward(g, simd)).filter(|cut| cut.wins(cut.gathered(pairs())))
    }

    /// The image gradient, where it wins.
    pub fn image(g: &ConvGeometry, simd: &'a Simd) -> Option<Self> {
        // As many pairs of a row and a tap as forward, of rows that are as long as dx's.
        let gathered = |cut: &Self| cut.gathered(axes(g)[0].pairs() * size(g.w));
        let other = |cut: &Self| scatter::cost(g, simd).map_or(usize::MAX, |n| size(g.n) * n / 2).min(gathered(cut));
        fits(g).then(|| Self::cut_image(g, simd)).filter(|cut| cut.wins(other(cut)))
    }

    /// Cycles of the definition's multiply-adds, of so many pairs of an output of an image and a row of taps.
    fn gathered(&self, pairs: usize) -> usize {
        let vectors = self.groups * self.outputs.div_ceil(self.simd.lanes);
        self.squares.images * pairs * self.taps() * self.depth * vectors / 2
    }

    /// Rows and columns of a filter.
    fn taps(&self) -> usize {
        7 - self.squares.tile
    }

    fn cut_forward(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let offset = [g.padding_h, g.padding_w].map(|padding| -(padding as isize));
        let squares = Squares::new(size(g.n), [size(g.h), size(g.w)], [size(g.p), size(g.q)], offset, size(g.r));
        Self::cut(squares, size(g.groups), size(g.c / g.groups), size(g.k / g.groups), simd)
    }

    fn cut_image(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let offset = [g.padding_h, g.padding_w].map(|padding| padding as isize + 1 - g.r as isize);
        let squares = Squares::new(size(g.n), [size(g.p), size(g.q)], [size(g.h), size(g.w)], offset, size(g.r));
        Self::cut(squares, size(g.groups), size(g.k / g.groups), size(g.c / g.groups), simd)
    }

    fn cut(squares: Squares, groups: usize, depth: usize, outputs: usize, simd: &'a Simd) -> Self {
        let panel = simd.vectors(BLOCK, outputs) * simd.lanes;
        let panels = outputs.div_ceil(panel);
        let shared = CELLS * squares.all() * groups * depth.next_multiple_of(simd.lanes);
        let squares_shared = shared <= SHARED && groups * panels >= TASKS;
        let ranges = TASKS.div_ceil(squares.blocks().max(1) * groups).min(panels.div_ceil(2)).max(1);
        let pitches = [groups * depth, groups * outputs];
        Self { simd, squares, groups, depth, outputs, panel, panels, squares_shared, ranges, pitches }
    }

    /// The same on tensors whose cells are so far apart: the input's, and the result's.
    pub fn pitched(self, pitches: [usize; 2]) -> Self {
        Self { pitches, ..self }
    }

    /// Whether this takes clearly fewer cycles than so many.
    fn wins(&self, others: usize) -> bool {
        let [depths, columns] = [self.depth, self.outputs].map(|n| n.div_ceil(self.simd.lanes));
        let ranges = if self.squares_shared { 1 } else { self.ranges };
        let cycles = self.squares.all() * (CELLS * self.depth * columns / 2 + TRANSFORM * (depths * ranges + columns))
            + TRANSFORM * self.depth * columns;
        self.depth.min(self.outputs) >= CHANNELS && self.groups * (cycles + cycles / 8) < others
    }

    /// Floats between two squares' channels.
    fn pitch(&self) -> usize {
        self.depth.next_multiple_of(self.simd.lanes)
    }

    /// Floats of a panel's transformed filters, of a block's transformed squares, and of the products of the two.
    fn sizes(&self) -> [usize; 3] {
        let block = self.squares.block;
        [self.depth * self.panel, block * self.pitch(), block * self.panel].map(|floats| CELLS * floats)
    }

    /// Floats that all tasks share, and of a task.
    fn parts(&self) -> [usize; 2] {
        let [filters, block, products] = self.sizes();
        if self.squares_shared {
            [self.groups * self.squares.blocks() * block, filters + products]
        } else {
            [self.groups * self.panels * filters, block + products]
        }
    }

    fn tasks(&self) -> usize {
        self.groups * if self.squares_shared { self.panels } else { self.squares.blocks() * self.ranges }
    }

    /// Floats of scratch that [`run`](Self::run) wants.
    pub fn scratch(&self) -> usize {
        let [shared, slot] = self.parts();
        shared + self.tasks().min(SLOTS) * slot
    }

    /// Makes the outputs. `pack(group, columns, panel, pitch)` writes the filters of some columns as
    /// [tap row][tap][channel][pitch].
    pub fn run(
        &self,
        workers: &Workers,
        x: &[f32],
        pack: impl Fn(usize, Range<usize>, &mut [f32], usize) + Send + Sync,
        finish: &Finish<'_>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let [filter_size, block_size, _] = self.sizes();
        let [shared_size, slot] = self.parts();
        let (shared, slots) = scratch.split_at_mut(shared_size);
        let blocks = self.squares.blocks();
        let filters = |group: usize, panel: usize, to: &mut [f32]| {
            let columns = self.columns(panel);
            let pitch = columns.len().next_multiple_of(self.simd.lanes);
            let to = &mut to[..CELLS * self.depth * pitch];
            pack(group, columns, &mut to[(CELLS - self.taps() * self.taps()) * self.depth * pitch..], pitch);
            self.simd.widen_in_place(self.taps(), to);
        };
        if self.squares_shared {
            workers.large_pieces(shared.len() / 8, block_size, shared, |i, to| self.block(i / blocks, i % blocks, x, to));
        } else {
            workers.large_pieces(shared.len() / 8, filter_size, shared, |i, to| filters(i / self.panels, i % self.panels, to));
        }
        let shared = &*shared;
        let tasks = self.tasks();
        let count = tasks.min(SLOTS);
        let nanoseconds = self.squares.all() * CELLS * self.depth * self.groups * self.outputs / 50;
        let y = Shared::new(y);
        workers.large_pieces(nanoseconds, slot, &mut slots[..count * slot], |i, scratch| {
            for task in part(tasks, count, i) {
                if self.squares_shared {
                    let (group, panel) = (task / self.panels, task % self.panels);
                    let (own, products) = scratch.split_at_mut(filter_size);
                    filters(group, panel, own);
                    for block in 0..blocks {
                        let inputs = &shared[(group * blocks + block) * block_size..];
                        self.products([group, block, panel], inputs, own, finish, y, products);
                    }
                } else {
                    let (range, task) = (task % self.ranges, task / self.ranges);
                    let (group, block) = (task / blocks, task % blocks);
                    let (own, products) = scratch.split_at_mut(block_size);
                    self.block(group, block, x, own);
                    for panel in part(self.panels, self.ranges, range) {
                        let filters = &shared[(group * self.panels + panel) * filter_size..];
                        self.products([group, block, panel], own, filters, finish, y, products);
                    }
                }
            }
        });
    }

    /// The columns of a panel.
    fn columns(&self, panel: usize) -> Range<usize> {
        panel * self.panel..((panel + 1) * self.panel).min(self.outputs)
    }

    /// Transforms the inputs of a block: [cell][square][channel].
    fn block(&self, group: usize, block: usize, x: &[f32], to: &mut [f32]) {
        let (squares, pitch) = (self.squares.of_block(block), self.pitch());
        let steps = [squares.len() * pitch, self.simd.lanes];
        for (i, square) in squares.enumerate() {
            let (at, square) = self.squares.inputs(square, self.pitches[0]);
            self.simd.widen(&x[group * self.depth..], at, &square, &mut to[i * pitch..], steps, self.depth);
        }
    }

    /// The outputs of a block and a panel of a group.
    fn products(
        &self,
        [group, block, panel]: [usize; 3],
        inputs: &[f32],
        filters: &[f32],
        finish: &Finish<'_>,
        y: Shared<'_>,
        products: &mut [f32],
    ) {
        let (simd, depth, pitch) = (self.simd, self.depth, self.pitch());
        let (squares, columns) = (self.squares.of_block(block), self.columns(panel));
        let (count, width) = (squares.len(), columns.len().next_multiple_of(simd.lanes));
        let walk = Walk { rows: Rows::Apart(pitch), loops: [(1, 0), (1, 0), (depth, 1)] };
        let to = Shared::new(products);
        for cell in 0..CELLS {
            let (first, filters) = (cell * count, &filters[cell * depth * width..]);
            let left = Left { a: &inputs[first * pitch..], rows: count, walk };
            let to = Place { c: to.after(first * width), pitch: width, columns: width };
            // SAFETY: the products are this task's alone.
            unsafe { simd.tiles(&left, filters, &to, &Finish::sums(false)) }
        }
        let column = group * self.outputs + columns.start;
        let finish = Finish { bias: finish.bias.map(|(bias, _)| (&bias[column..], 0)), ..*finish };
        for (i, number) in squares.enumerate() {
            let (at, square) = self.squares.outputs(number, self.pitches[1]);
            let seen = finish.seen.map(|(seen, pitch)| (&seen[self.squares.outputs(number, pitch).0 + column..], pitch));
            let finish = Finish { seen, ..finish };
            let from = [count * width, simd.lanes];
            // SAFETY: this task alone writes these squares and columns.
            unsafe { simd.narrow(&products[i * width..], from, y.after(at + column), &square, columns.len(), &finish) }
        }
    }
}

/// A filter gradient, cut into tasks by its geometry and the instruction set alone.
pub struct Gradient<'a> {
    simd: &'a Simd,
    squares: Squares,
    groups: usize,
    depth: usize,
    filters: usize,
    /// Channels of a panel; panels; panels of a range, and the ranges.
    panel: usize,
    panels: usize,
    range: usize,
    ranges: usize,
    /// Filters of a range, whole vectors of them, and the ranges.
    height: usize,
    heights: usize,
    /// Whether tasks share the transformed squares; then there is one chunk.
    shared: bool,
    chunks: usize,
    /// Elements from one cell of the image, and of the output's gradient, to the next.
    pitches: [usize; 2],
}

impl<'a> Gradient<'a> {
    /// The filter gradient, where it wins.
    pub fn new(g: &ConvGeometry, simd: &'a Simd) -> Option<Self> {
        fits(g).then(|| Self::cut(g, simd)).filter(Self::wins)
    }

    fn cut(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let (groups, depth, filters) = (size(g.groups), size(g.c / g.groups), size(g.k / g.groups));
        let offset = [g.padding_h, g.padding_w].map(|padding| -(padding as isize));
        let squares = Squares::new(size(g.n), [size(g.h), size(g.w)], [size(g.p), size(g.q)], offset, size(g.r));
        let panel = simd.vectors(SHARED_RANGE, depth) * simd.lanes;
        let panels = depth.div_ceil(panel);
        // Ranges of about so many filters and channels.
        let ranges = |about: usize| {
            let range = panels.div_ceil(panels.div_ceil(about.div_ceil(panel)));
            let height = filters.div_ceil(filters.div_ceil(about)).next_multiple_of(simd.lanes);
            (range, panels.div_ceil(range), height, filters.div_ceil(height))
        };
        let (range, count, height, heights) = ranges(SHARED_RANGE);
        let floats = CELLS * squares.all() * groups * (panels * panel + heights * height);
        let shared = floats <= SHARED && groups * count * heights >= TASKS;
        let (range, count, height, heights) = if shared { (range, count, height, heights) } else { ranges(RANGE) };
        let most = (PARTIALS / (size(g.r * g.s) * size(g.k) * depth)).clamp(1, squares.blocks().max(1));
        let chunks = if shared { 1 } else { (2 * TASKS).div_ceil(groups * count * heights).min(most) };
        #[rustfmt::skip]
        let cut = Self {
            simd, squares, groups, depth, filters, panel, panels, range, ranges: count, height, heights, shared, chunks,
            pitches: [groups * depth, groups * filters],
        };
        cut
    }

    /// The same on tensors whose cells are so far apart: the image's, and the gradient's.
    pub fn pitched(self, pitches: [usize; 2]) -> Self {
        Self { pitches, ..self }
    }

    /// Whether this takes clearly fewer cycles than the definition's multiply-adds.
    fn wins(&self) -> bool {
        let [depths, columns] = [self.depth, self.filters].map(|n| n.div_ceil(self.simd.lanes));
        let [heights, ranges] = if self.shared { [1, 1] } else { [self.heights, self.ranges] };
        let transforms = depths * heights + columns * ranges;
        let cycles = self.squares.all() * (CELLS * self.filters * depths / 2 + TRANSFORM * transforms)
            + TRANSFORM * self.filters * depths * self.chunks;
        let places = self.squares.images * self.squares.outputs[0] * self.squares.outputs[1];
        let direct = places * self.filters * self.filter().div_ceil(self.simd.lanes) / 2;
        self.depth.min(self.filters) >= CHANNELS && cycles + cycles / 8 < direct
    }

    /// Rows and columns of a filter.
    fn taps(&self) -> usize {
        7 - self.squares.tile
    }

    /// Floats of a filter.
    fn filter(&self) -> usize {
        self.taps() * self.taps() * self.depth
    }

    /// Floats of a square's cells in a panel of inputs, and in a range of gradients.
    fn sizes(&self) -> [usize; 2] {
        [self.panel, self.height].map(|floats| CELLS * floats)
    }

    /// Floats of all transformed inputs and gradients, where they are shared.
    fn shared_floats(&self) -> [usize; 2] {
        let [panel, height] = self.sizes();
        let squares = if self.shared { self.groups * self.squares.all() } else { 0 };
        [squares * self.panels * panel, squares * self.heights * height]
    }

    /// Floats of a task's sums, and of the inputs and gradients of a block where they are its own.
    fn parts(&self) -> [usize; 3] {
        let [panel, height] = self.sizes();
        let squares = if self.shared { 0 } else { self.squares.block };
        [self.height * self.range * panel, squares * self.range * panel, squares * height]
    }

    fn tasks(&self) -> usize {
        self.chunks * self.groups * self.heights * self.ranges
    }

    fn partials(&self) -> usize {
        if self.chunks > 1 { self.chunks * self.groups * self.filters * self.filter() } else { 0 }
    }

    /// Floats of scratch that [`run`](Self::run) wants.
    pub fn scratch(&self) -> usize {
        let [inputs, gradients] = self.shared_floats();
        let slots = self.tasks().min(SLOTS) * self.parts().iter().sum::<usize>();
        inputs + gradients + self.partials().next_multiple_of(16) + slots
    }

    /// dw ← Σ dy·x, or dw += ….
    pub fn run(&self, workers: &Workers, x: &[f32], dy: &[f32], dw: Target<&mut [f32]>, scratch: &mut [f32]) {
        let [inputs, gradients] = self.shared_floats();
        let (inputs, scratch) = scratch.split_at_mut(inputs);
        let (gradients, scratch) = scratch.split_at_mut(gradients);
        let (partials, slots) = scratch.split_at_mut(self.partials().next_multiple_of(16));
        let partials = &mut partials[..self.partials()];
        let all = self.squares.all();
        let [panel, height] = self.sizes().map(|size| all * size);
        workers.large_pieces(inputs.len() / 8, panel, inputs, |i, to| {
            self.inputs(i / self.panels, i % self.panels, 0..all, x, to);
        });
        workers.large_pieces(gradients.len() / 8, height, gradients, |i, to| {
            self.gradients(i / self.heights, i % self.heights, 0..all, dy, to);
        });
        let shared = [&*inputs, &*gradients];
        let (tasks, slot) = (self.tasks(), self.parts().iter().sum::<usize>());
        let count = tasks.min(SLOTS);
        let nanoseconds = all * CELLS * self.depth * self.groups * self.filters / 50;
        let add = self.chunks == 1 && dw.adds();
        {
            let to = Shared::new(if self.chunks > 1 { &mut *partials } else { &mut *dw.at });
            workers.large_pieces(nanoseconds, slot, &mut slots[..count * slot], |i, scratch| {
                for task in part(tasks, count, i) {
                    self.task(task, [x, dy], shared, to, add, scratch);
                }
            });
        }
        if self.chunks > 1 {
            sum_partials(workers, partials, dw);
        }
    }

    /// The channels of a panel.
    fn channels(&self, panel: usize) -> Range<usize> {
        panel * self.panel..((panel + 1) * self.panel).min(self.depth)
    }

    /// The filters of a range.
    fn range_of_filters(&self, range: usize) -> Range<usize> {
        range * self.height..((range + 1) * self.height).min(self.filters)
    }

    /// Transforms a panel's channels of some squares' inputs: [cell][square][channel].
    fn inputs(&self, group: usize, panel: usize, squares: Range<usize>, x: &[f32], to: &mut [f32]) {
        let channels = self.channels(panel);
        let pitch = channels.len().next_multiple_of(self.simd.lanes);
        let steps = [squares.len() * pitch, self.simd.lanes];
        let x = &x[group * self.depth + channels.start..];
        for (i, square) in squares.enumerate() {
            let (at, square) = self.squares.inputs(square, self.pitches[0]);
            self.simd.widen(x, at, &square, &mut to[i * pitch..], steps, channels.len());
        }
    }

    /// Transforms a range of filters of some squares' output gradients: [cell][square][filter].
    fn gradients(&self, group: usize, range: usize, squares: Range<usize>, dy: &[f32], to: &mut [f32]) {
        let filters = self.range_of_filters(range);
        let steps = [squares.len() * self.height, self.simd.lanes];
        let dy = &dy[group * self.filters + filters.start..];
        for (i, square) in squares.enumerate() {
            let (at, square) = self.squares.outputs(square, self.pitches[1]);
            self.simd.widen(dy, at as isize, &square, &mut to[i * self.height..], steps, filters.len());
        }
    }

    /// One chunk of the squares, one group, a range of its filters and one of its channels.
    fn task(
        &self,
        task: usize,
        [x, dy]: [&[f32]; 2],
        [all_inputs, all_gradients]: [&[f32]; 2],
        to: Shared<'_>,
        add: bool,
        scratch: &mut [f32],
    ) {
        let (range, task) = (task % self.ranges, task / self.ranges);
        let panels = range * self.range..((range + 1) * self.range).min(self.panels);
        let (height, task) = (task % self.heights, task / self.heights);
        let (group, chunk) = (task % self.groups, task / self.groups);
        let filters = self.range_of_filters(height);
        let first = self.channels(panels.start).start;
        let channels = self.channels(panels.end - 1).end - first;
        let width = self.width(&panels);

        let [sum_size, input_size, _] = self.parts();
        let (sums, rest) = scratch.split_at_mut(sum_size);
        let (inputs, gradients) = rest.split_at_mut(input_size);
        let [panel_size, height_size] = self.sizes();
        if self.shared {
            let all = self.squares.all();
            let inputs = &all_inputs[(group * self.panels + panels.start) * all * panel_size..];
            let gradients = &all_gradients[(group * self.heights + height) * all * height_size..];
            self.accumulate(filters.len(), panels, all, [inputs, gradients], sums, false);
        } else {
            let blocks = part(self.squares.blocks(), self.chunks, chunk);
            for block in blocks.clone() {
                let squares = self.squares.of_block(block);
                let count = squares.len();
                for (i, panel) in panels.clone().enumerate() {
                    self.inputs(group, panel, squares.clone(), x, &mut inputs[i * count * panel_size..]);
                }
                self.gradients(group, height, squares, dy, gradients);
                let add = block > blocks.start;
                self.accumulate(filters.len(), panels.clone(), count, [inputs, gradients], sums, add);
            }
        }

        let base = if self.chunks > 1 { chunk * self.groups * self.filters * self.filter() } else { 0 };
        let size = self.taps();
        let taps = Square { size, steps: [size * self.depth, self.depth], first: [0; 2], end: [size; 2] };
        for (i, filter) in filters.clone().enumerate() {
            let at = base + (group * self.filters + filter) * self.filter() + first;
            let from = [filters.len() * width, self.simd.lanes];
            // SAFETY: this task alone writes these filters and channels of this partial gradient.
            unsafe { self.simd.narrow(&sums[i * width..], from, to.after(at), &taps, channels, &Finish::sums(add)) }
        }
    }

    /// Floats from one filter's sums to the next one's: the channels of some panels, padded to whole vectors.
    fn width(&self, panels: &Range<usize>) -> usize {
        let channels = self.channels(panels.end - 1).end - self.channels(panels.start).start;
        channels.next_multiple_of(self.simd.lanes)
    }

    /// The sums over `count` squares, [cell][filter][channel], of `filters` filters and some panels: set, or added to.
    fn accumulate(
        &self,
        filters: usize,
        panels: Range<usize>,
        count: usize,
        [inputs, gradients]: [&[f32]; 2],
        sums: &mut [f32],
        add: bool,
    ) {
        let width = self.width(&panels);
        let walk = Walk { rows: Rows::Adjacent, loops: [(1, 0), (1, 0), (count, self.height)] };
        let to = Shared::new(sums);
        for cell in 0..CELLS {
            let left = Left { a: &gradients[cell * count * self.height..], rows: filters, walk };
            for (i, panel) in panels.clone().enumerate() {
                let columns = self.channels(panel).len().next_multiple_of(self.simd.lanes);
                let inputs = &inputs[i * count * CELLS * self.panel + cell * count * columns..];
                let to = Place { c: to.after(cell * filters * width + i * self.panel), pitch: width, columns };
                // SAFETY: the sums are this task's alone.
                unsafe { self.simd.tiles(&left, inputs, &to, &Finish::sums(add)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compare, doubles, numbers};
    use super::super::{Conv, Filters, forward_scratch, pack_filters, pack_flipped};
    use super::*;
    use crate::op::{Neuron, Write};

    /// 3 × 3 filters: n, [h, w], c → k in groups, padding.
    fn geometry(n: i32, [h, w]: [i32; 2], [c, k, groups]: [i32; 3], [padding_h, padding_w]: [i32; 2]) -> ConvGeometry {
        let (p, q) = (h + 2 * padding_h - 2, w + 2 * padding_w - 2);
        #[rustfmt::skip]
        let g = ConvGeometry {
            n, h, w, c, k, r: 3, s: 3, p, q, stride_h: 1, stride_w: 1, padding_h, padding_w, dilation_h: 1, dilation_w: 1, groups,
        };
        g
    }

    /// As [`geometry`], of 5 × 5 filters.
    fn five(n: i32, image: [i32; 2], channels: [i32; 3], padding: [i32; 2]) -> ConvGeometry {
        let g = geometry(n, image, channels, padding);
        ConvGeometry { r: 5, s: 5, p: g.p - 2, q: g.q - 2, ..g }
    }

    fn cases() -> Vec<ConvGeometry> {
        vec![
            five(1, [1, 1], [1, 1, 1], [2, 2]),
            five(3, [7, 9], [20, 50, 1], [0, 0]),
            five(2, [6, 5], [36, 66, 2], [2, 1]),
            five(1, [9, 7], [150, 270, 1], [4, 2]),
            five(9, [8, 8], [32, 16, 1], [2, 2]),
            geometry(1, [1, 1], [1, 1, 1], [1, 1]),
            geometry(2, [4, 4], [16, 32, 1], [1, 1]),
            geometry(3, [7, 7], [40, 70, 1], [1, 1]),
            geometry(2, [13, 10], [17, 33, 1], [0, 2]),
            geometry(1, [9, 6], [36, 66, 3], [2, 0]),
            geometry(2, [3, 5], [150, 20, 1], [1, 0]),
            geometry(1, [2, 3], [5, 3, 1], [4, 3]),
            geometry(70, [6, 5], [18, 20, 1], [1, 1]),
            geometry(2, [5, 9], [150, 270, 1], [1, 1]),
            geometry(2, [5, 5], [400, 272, 2], [1, 1]),
        ]
    }

    fn x_w_dy(g: &ConvGeometry) -> [Vec<f32>; 3] {
        [numbers(1, g.input().elements()), numbers(2, g.filters().elements()), numbers(3, g.output().elements())]
    }

    /// The three passes, all by this method, gradients set, or added to what is there.
    fn passes(workers: &Workers, simd: &Simd, g: &ConvGeometry, into: Write) -> [Vec<f32>; 3] {
        let [x, w, dy] = x_w_dy(g);
        let scratch = |floats: usize| vec![1e30_f32; floats];
        let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], numbers(5, x.len()), numbers(6, w.len()));

        let cut = Winograd::cut_forward(g, simd);
        let pack =
            |i: usize, columns: Range<usize>, to: &mut [f32], pitch: usize| pack_filters(simd, g, &w, i, columns, to, pitch);
        cut.run(workers, &x, pack, &Finish::sums(false), &mut y, &mut scratch(cut.scratch()));

        let cut = Winograd::cut_image(g, simd);
        let pack =
            |i: usize, columns: Range<usize>, to: &mut [f32], pitch: usize| pack_flipped(simd, g, &w, i, columns, to, pitch);
        cut.run(workers, &dy, pack, &Finish::sums(into == Write::Add), &mut dx, &mut scratch(cut.scratch()));

        let cut = Gradient::cut(g, simd);
        cut.run(workers, &x, &dy, Target { at: &mut dw[..], into }, &mut scratch(cut.scratch()));
        [y, dx, dw]
    }

    /// The largest |x| of each channel of a square's inputs.
    fn largest(squares: &Squares, i: usize, x: &[f32], channels: usize) -> Vec<f64> {
        let (at, s) = squares.inputs(i, channels);
        let mut most = vec![0.0; channels];
        for row in s.first[0]..s.end[0] {
            for column in s.first[1]..s.end[1] {
                let at = (at + (row * s.steps[0] + column * s.steps[1]) as isize) as usize;
                most.iter_mut().zip(&x[at..]).for_each(|(m, x)| *m = f64::max(*m, f64::from(x.abs())));
            }
        }
        most
    }

    /// Calls `work` with the place of every output of a square.
    fn each_output(squares: &Squares, i: usize, channels: usize, mut work: impl FnMut(usize)) {
        let (at, s) = squares.outputs(i, channels);
        for row in 0..s.end[0] {
            for column in 0..s.end[1] {
                work(at + row * s.steps[0] + column * s.steps[1]);
            }
        }
    }

    /// Σ X·W of each output of a forward pass whose filters' sums of |w| are `sums`[input channel of the group][output].
    fn sizes(cut: &Winograd<'_>, x: &[f32], sums: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let (channels_in, channels_out) = (cut.groups * cut.depth, cut.groups * cut.outputs);
        let s = &cut.squares;
        let mut sizes = vec![0.0; s.images * s.outputs[0] * s.outputs[1] * channels_out];
        for i in 0..s.all() {
            let most = largest(s, i, x, channels_in);
            let of = |k: usize| (0..cut.depth).map(|c| most[k / cut.outputs * cut.depth + c] * sums(c, k)).sum::<f64>();
            let line: Vec<f64> = (0..channels_out).map(of).collect();
            each_output(s, i, channels_out, |at| sizes[at..][..channels_out].copy_from_slice(&line));
        }
        sizes
    }

    /// Each pass, on every instruction set of this machine, within (4 + √depth) half-ulps of Σ X·W.
    #[test]
    fn every_pass_is_within_its_bound() {
        let workers = Workers::new(2);
        for g in cases() {
            let [x, w, dy] = x_w_dy(&g);
            let (cg, kg) = (size(g.c / g.groups), size(g.k / g.groups));
            let mut want = [vec![0.0; dy.len()], doubles(&numbers(5, x.len())), doubles(&numbers(6, w.len()))];
            let [x64, w64, dy64] = [&x, &w, &dy].map(|v| doubles(v));
            let conv = Conv::new(&workers, &g, false);
            conv.forward(&x64, &w64, None, Neuron::NONE, &mut want[0], &mut []);
            conv.backward_image(&dy64, &w64, None, Target::add(&mut want[1][..]), &mut []);
            conv.backward_filters(&x64, &dy64, Target::add(&mut want[2][..]), &mut []);
            let taps = size(g.r * g.s);
            // Σ |w| of filter k's channel c.
            let sum = |k: usize, c: usize| (0..taps).map(|tap| f64::from(w[(k * taps + tap) * cg + c].abs())).sum::<f64>();
            for simd in Simd::all() {
                let got = passes(&workers, simd, &g, Write::Add);
                let cut = Winograd::cut_forward(&g, simd);
                let mut dw_sizes = vec![1.0; w.len()];
                for i in 0..cut.squares.all() {
                    let most = largest(&cut.squares, i, &x, size(g.c));
                    let mut sums = vec![0.0; size(g.k)];
                    each_output(&cut.squares, i, size(g.k), |at| {
                        sums.iter_mut().zip(&dy[at..]).for_each(|(sum, dy)| *sum += f64::from(dy.abs()));
                    });
                    for (j, size) in dw_sizes.iter_mut().enumerate() {
                        let (k, c) = (j / (taps * cg), j % cg);
                        *size += most[k / kg * cg + c] * sums[k];
                    }
                }
                let y_sizes = sizes(&cut, &x, |c, k| sum(k, c));
                let cut = Winograd::cut_image(&g, simd);
                let dx_sizes = sizes(&cut, &dy, |k, c| sum(c / cg * kg + k, c % cg)).iter().map(|s| s + 1.0).collect();
                let sizes = [y_sizes, dx_sizes, dw_sizes];
                let depths = [taps * cg, taps * kg, size(g.n * g.p * g.q)];
                for (pass, name) in ["forward", "image gradient", "filter gradient"].iter().enumerate() {
                    let what = format!("{g:?}, {name}, {}", simd.name);
                    compare(&what, &got[pass], &want[pass], &sizes[pass], depths[pass]);
                }
            }
        }
    }

    /// The errors of wide layers are at most three times those of the sums that the definition has; those of 5 × 5 filter
    /// gradients, whose matrices cancel more, six times.
    #[test]
    fn errors_are_near_those_of_the_definition() {
        for g in [geometry(1, [12, 12], [128, 64, 1], [1, 1]), five(1, [8, 8], [128, 64, 1], [2, 2])] {
            check_errors(&g);
        }
    }

    fn check_errors(g: &ConvGeometry) {
        let (workers, simd) = (Workers::new(2), Simd::best());
        let [x, w, dy] = x_w_dy(g);
        let got = passes(&workers, simd, g, Write::Set);
        let [x64, w64, dy64] = [&x, &w, &dy].map(|v| doubles(v));
        let mut want = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        let conv = Conv::new(&workers, g, false);
        conv.forward(&x64, &w64, None, Neuron::NONE, &mut want[0], &mut []);
        conv.backward_image(&dy64, &w64, None, Target::set(&mut want[1][..]), &mut []);
        conv.backward_filters(&x64, &dy64, Target::set(&mut want[2][..]), &mut []);
        let mut direct = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        let scratch = &mut vec![0.0; forward_scratch::<f32>(g, false)];
        conv.forward(&x, &w, None, Neuron::NONE, &mut direct[0], scratch);
        conv.backward_image(&dy, &w, None, Target::set(&mut direct[1][..]), scratch);
        let filters = Filters::new(g, simd);
        filters.run(&workers, &x, &dy, Target::set(&mut direct[2][..]), &mut vec![0.0; filters.scratch()]);
        for pass in 0..3 {
            let error = |got: &[f32]| {
                let squares = got.iter().zip(&want[pass]).map(|(&got, want)| (f64::from(got) - want).powi(2));
                (squares.sum::<f64>() / got.len() as f64).sqrt()
            };
            let (ours, theirs) = (error(&got[pass]), error(&direct[pass]));
            let most = if g.r == 5 && pass == 2 { 6.0 } else { 3.0 };
            assert!(ours <= most * theirs, "pass {pass}: root mean square error {ours:e} beside {theirs:e}");
        }
    }

    /// Any number of threads gives the same bits.
    #[test]
    fn threads_do_not_change_bits() {
        for g in cases() {
            let bits = |threads| passes(&Workers::new(threads), Simd::best(), &g, Write::Add).map(to_bits);
            let one = bits(1);
            assert!(one == bits(2) && one == bits(3), "{g:?}: other bits on other numbers of threads");
        }
    }

    fn to_bits(x: Vec<f32>) -> Vec<u32> {
        x.into_iter().map(f32::to_bits).collect()
    }

    /// It is taken for wide layers and left for thin or small ones.
    #[test]
    fn it_is_taken_where_it_wins() {
        let simd = Simd::best();
        let taken = |g: &ConvGeometry| {
            [Winograd::forward(g, simd).is_some(), Winograd::image(g, simd).is_some(), Gradient::new(g, simd).is_some()]
        };
        assert_eq!(taken(&geometry(16, [56, 56], [64, 64, 1], [1, 1])), [true; 3]);
        assert_eq!(taken(&geometry(8, [14, 14], [512, 512, 1], [1, 1])), [true; 3]);
        assert_eq!(taken(&five(128, [16, 16], [32, 32, 1], [2, 2])), [true; 3]);
        assert_eq!(taken(&five(32, [27, 27], [96, 256, 2], [2, 2])), [true; 3]);
        assert_eq!(taken(&five(64, [12, 12], [20, 50, 1], [0, 0])), [false; 3]);
        assert_eq!(taken(&geometry(8, [224, 224], [3, 64, 1], [1, 1])), [false; 3]);
        assert_eq!(taken(&geometry(1, [1, 1], [512, 512, 1], [1, 1])), [false; 3]);
        assert_eq!(taken(&ConvGeometry { stride_w: 2, ..geometry(16, [56, 56], [64, 64, 1], [1, 1]) }), [false; 3]);
    }
}
