//! 3 × 3 convolutions of stride 1 by Winograd's F(4 × 4, 3 × 3): 4 × 4 outputs of 6 × 6 inputs by 36 products a pair of
//! channels instead of 144 (`simd/transforms.rs` has the matrices).
//!
//! Forward and image gradient (a forward pass of dy through the flipped filters): the filters are transformed once a call into
//! 36 matrices of panels. A task is some 56 squares of outputs by a range of panels: their inputs are transformed into 36
//! matrices [squares][channels] of scratch, and of one panel at a time the 36 products, [squares][columns], are made and
//! transformed back into y, with bias and relu. The filter gradient is the same turned round: dw = Gᵀ[Σ over squares of
//! (A·dy·Aᵀ) ⊙ (Bᵀ·x·B)]·G. A task is some 64 filters by 64 channels, whose 36 sums stay in scratch until all its squares are
//! in. Where that is too few tasks, the squares are dealt to chunks, whose partial dw are added in order.
//!
//! Cost: 36/144 of the definition's multiply-adds, times 16·⌈p/4⌉·⌈q/4⌉/(p·q) for squares that are cut off; about 100 cycles a
//! square and vector of channels for each transform; four times the filters' bytes in scratch.
//!
//! Error: rounding is spread over a square. An output is within (4 + √depth)·ε of Σ over the channels of X·W, X the largest |x|
//! of the square's inputs and W the sum of the nine |w|, and gradients are likewise (`every_pass_is_within_its_bound` holds
//! them to it); for inputs of one size, about 1.5 times the error of the definition's own sum. Where neighbours differ by
//! orders of magnitude, the small ones get the errors of the large ones.

use super::filters::sum_partials;
use super::{axes, size, spread};
use crate::device::cpu::Workers;
use crate::device::cpu::simd::{Finish, Rows, Shared, Simd, Square, Walk};
use crate::device::{ConvGeometry, Into};
use std::ops::Range;

/// Cells of a transformed square.
const CELLS: usize = 36;
/// Squares of a block, about: four tiles' rows of the widest vectors.
const BLOCK: usize = 56;
/// Tasks wanted, and slots of scratch at most.
const TASKS: usize = 16;
const SLOTS: usize = 32;
/// Columns of a range of panels, filters and channels of a filter gradient's task, at least.
const RANGE: usize = 64;
/// Floats of all partial filter gradients.
const PARTIALS: usize = 1 << 21;
/// Fewer input or output channels than this make products too thin.
const CHANNELS: usize = 16;
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
    /// Rows and columns of squares.
    count: [usize; 2],
}

impl Squares {
    fn new(images: usize, input: [usize; 2], outputs: [usize; 2], offset: [isize; 2]) -> Self {
        Self { images, input, outputs, offset, count: outputs.map(|n| n.div_ceil(4)) }
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

    /// Where the inputs of square `i` start in x, of so many channels, and which of them there are.
    fn inputs(&self, i: usize, channels: usize) -> (isize, Square) {
        let (image, place) = self.place(i);
        let [h, w] = self.input;
        let start = [0, 1].map(|axis| 4 * place[axis] as isize + self.offset[axis]);
        let first = start.map(|start| (-start).clamp(0, 6) as usize);
        let end = [0, 1].map(|axis| (self.input[axis] as isize - start[axis]).clamp(0, 6) as usize);
        let at = (((image * h) as isize + start[0]) * w as isize + start[1]) * channels as isize;
        (at, Square { steps: [w * channels, channels], first, end })
    }

    /// Where the outputs of square `i` start in y, of so many channels, and which of them there are.
    fn outputs(&self, i: usize, channels: usize) -> (usize, Square) {
        let (image, place) = self.place(i);
        let [p, q] = self.outputs;
        let end = [0, 1].map(|axis| (self.outputs[axis] - 4 * place[axis]).min(4));
        let at = ((image * p + 4 * place[0]) * q + 4 * place[1]) * channels;
        (at, Square { steps: [q * channels, channels], first: [0; 2], end })
    }
}

/// Whether the filters are 3 × 3 without stride or dilation.
fn fits(g: &ConvGeometry) -> bool {
    (g.r, g.s, g.stride_h, g.stride_w, g.dilation_h, g.dilation_w) == (3, 3, 1, 1, 1, 1)
}

/// Cycles of the definition's multiply-adds in vectors of so many channels.
fn direct_cycles(g: &ConvGeometry, depth: usize, columns: usize, simd: &Simd) -> usize {
    let [rows, _] = axes(g);
    size(g.n) * rows.pairs() * size(g.q) * 3 * depth * columns.div_ceil(simd.lanes) / 2
}

/// A forward pass, or an image gradient, cut into tasks by its geometry and the instruction set alone.
pub struct Winograd<'a> {
    simd: &'a Simd,
    squares: Squares,
    groups: usize,
    depth: usize,
    outputs: usize,
    /// Columns of a panel; panels; their ranges.
    panel: usize,
    panels: usize,
    ranges: usize,
    blocks: usize,
}

impl<'a> Winograd<'a> {
    /// The forward pass, where it wins.
    pub fn forward(g: &ConvGeometry, simd: &'a Simd) -> Option<Self> {
        fits(g).then(|| Self::cut_forward(g, simd)).filter(|cut| cut.wins(g))
    }

    /// The image gradient, where it wins.
    pub fn image(g: &ConvGeometry, simd: &'a Simd) -> Option<Self> {
        fits(g).then(|| Self::cut_image(g, simd)).filter(|cut| cut.wins(g))
    }

    fn cut_forward(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let offset = [g.padding_h, g.padding_w].map(|padding| -(padding as isize));
        let squares = Squares::new(size(g.n), [size(g.h), size(g.w)], [size(g.p), size(g.q)], offset);
        Self::cut(squares, size(g.groups), size(g.c / g.groups), size(g.k / g.groups), simd)
    }

    fn cut_image(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let offset = [g.padding_h, g.padding_w].map(|padding| padding as isize - 2);
        let squares = Squares::new(size(g.n), [size(g.p), size(g.q)], [size(g.h), size(g.w)], offset);
        Self::cut(squares, size(g.groups), size(g.k / g.groups), size(g.c / g.groups), simd)
    }

    fn cut(squares: Squares, groups: usize, depth: usize, outputs: usize, simd: &'a Simd) -> Self {
        let panel = simd.vectors(BLOCK, outputs) * simd.lanes;
        let panels = outputs.div_ceil(panel);
        let blocks = squares.all().div_ceil(BLOCK).max(1);
        let ranges = TASKS.div_ceil(blocks * groups).min(outputs.div_ceil(RANGE)).clamp(1, panels);
        Self { simd, squares, groups, depth, outputs, panel, panels, ranges, blocks }
    }

    /// Whether this takes clearly fewer cycles than the definition's multiply-adds.
    fn wins(&self, g: &ConvGeometry) -> bool {
        let [depths, columns] = [self.depth, self.outputs].map(|n| n.div_ceil(self.simd.lanes));
        let cycles = self.squares.all() * (CELLS * self.depth * columns / 2 + TRANSFORM * (depths * self.ranges + columns))
            + TRANSFORM * self.depth * columns;
        self.depth.min(self.outputs) >= CHANNELS && cycles + cycles / 8 < direct_cycles(g, self.depth, self.outputs, self.simd)
    }

    /// Floats of the transformed filters.
    fn filters(&self) -> usize {
        self.groups * self.panels * CELLS * self.depth * self.panel
    }

    /// Floats between two squares' channels.
    fn pitch(&self) -> usize {
        self.depth.next_multiple_of(self.simd.lanes)
    }

    /// Floats of a task's inputs and of its products with a panel.
    fn parts(&self) -> [usize; 2] {
        [self.pitch(), self.panel].map(|floats| CELLS * self.squares.all().div_ceil(self.blocks) * floats)
    }

    fn tasks(&self) -> usize {
        self.groups * self.blocks * self.ranges
    }

    /// Floats of scratch that [`run`](Self::run) wants.
    pub fn scratch(&self) -> usize {
        self.filters() + self.tasks().min(SLOTS) * self.parts().iter().sum::<usize>()
    }

    /// Makes the outputs. `pack(group, first column, columns, panel, pitch)` writes the filters of some columns as
    /// [tap row][tap][channel][pitch].
    pub fn run(
        &self,
        workers: &Workers,
        x: &[f32],
        pack: impl Fn(usize, usize, usize, &mut [f32], usize) + Send + Sync,
        finish: &Finish<'_>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (filters, slots) = scratch.split_at_mut(self.filters());
        let whole = CELLS * self.depth * self.panel;
        spread(workers, filters.len() / 2, whole, filters, |i, to| {
            let (group, first) = (i / self.panels, i % self.panels * self.panel);
            let columns = self.panel.min(self.outputs - first);
            let pitch = columns.next_multiple_of(self.simd.lanes);
            let to = &mut to[..CELLS * self.depth * pitch];
            pack(group, first, columns, &mut to[27 * self.depth * pitch..], pitch);
            self.simd.widen_in_place(to);
        });
        let filters = &*filters;
        let (tasks, slot) = (self.tasks(), self.parts().iter().sum::<usize>());
        let count = tasks.min(SLOTS);
        let nanoseconds = self.squares.all() * CELLS * self.depth * self.groups * self.outputs / 50;
        let y = Shared::new(y);
        spread(workers, nanoseconds, slot, &mut slots[..count * slot], |i, scratch| {
            for task in part(tasks, count, i) {
                let (group, task) = (task % self.groups, task / self.groups);
                let squares = part(self.squares.all(), self.blocks, task / self.ranges);
                let panels = part(self.panels, self.ranges, task % self.ranges);
                let filters = &filters[group * self.panels * whole..][..self.panels * whole];
                self.task(group, squares, panels, x, filters, finish, y, scratch);
            }
        });
    }

    /// The outputs of some squares and panels of a group.
    #[allow(clippy::too_many_arguments)]
    fn task(
        &self,
        group: usize,
        squares: Range<usize>,
        panels: Range<usize>,
        x: &[f32],
        filters: &[f32],
        finish: &Finish<'_>,
        y: Shared<'_>,
        scratch: &mut [f32],
    ) {
        let (simd, depth, pitch, count) = (self.simd, self.depth, self.pitch(), squares.len());
        let (inputs, products) = scratch.split_at_mut(self.parts()[0]);
        let x = &x[group * depth..];
        for (i, square) in squares.clone().enumerate() {
            let (at, square) = self.squares.inputs(square, self.groups * depth);
            simd.widen(6, x, at, &square, &mut inputs[i * pitch..], [count * pitch, simd.lanes], depth);
        }
        let walk = Walk { rows: Rows::Apart(pitch), loops: [(1, 0), (1, 0), (depth, 1)] };
        let nothing = Finish { add: false, bias: None, relu: false };
        for panel in panels {
            let first = panel * self.panel;
            let columns = self.panel.min(self.outputs - first);
            let width = columns.next_multiple_of(simd.lanes);
            let tiles = count.div_ceil(simd.most_rows(width / simd.lanes));
            let to = Shared::new(products);
            for cell in 0..CELLS {
                let filters = &filters[panel * CELLS * depth * self.panel + cell * depth * width..];
                for tile in 0..tiles {
                    let rows = part(count, tiles, tile);
                    let (a, at) = (&inputs[(cell * count + rows.start) * pitch..], (cell * count + rows.start) * width);
                    // SAFETY: the products are this task's alone.
                    unsafe { simd.tile(rows.len(), a, &walk, filters, to, at, width, width, &nothing) }
                }
            }
            let column = group * self.outputs + first;
            let finish = Finish { bias: finish.bias.map(|(bias, _)| (&bias[column..], 0)), ..*finish };
            for (i, square) in squares.clone().enumerate() {
                let (at, square) = self.squares.outputs(square, self.groups * self.outputs);
                let from = [count * width, simd.lanes];
                // SAFETY: this task alone writes these squares and columns.
                unsafe { simd.narrow(4, &products[i * width..], from, y, at + column, &square, columns, &finish) }
            }
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
    panel: usize,
    panels: usize,
    /// Ranges of filters, and of panels of channels.
    filter_ranges: usize,
    panel_ranges: usize,
    blocks: usize,
    chunks: usize,
}

impl<'a> Gradient<'a> {
    /// The filter gradient, where it wins.
    pub fn new(g: &ConvGeometry, simd: &'a Simd) -> Option<Self> {
        fits(g).then(|| Self::cut(g, simd)).filter(|cut| cut.wins(g))
    }

    fn cut(g: &ConvGeometry, simd: &'a Simd) -> Self {
        let (groups, depth, filters) = (size(g.groups), size(g.c / g.groups), size(g.k / g.groups));
        let offset = [g.padding_h, g.padding_w].map(|padding| -(padding as isize));
        let squares = Squares::new(size(g.n), [size(g.h), size(g.w)], [size(g.p), size(g.q)], offset);
        let panel = simd.vectors(RANGE, depth) * simd.lanes;
        let panels = depth.div_ceil(panel);
        let filter_ranges = filters.div_ceil(RANGE);
        let panel_ranges = panels.div_ceil(RANGE.div_ceil(panel));
        let blocks = squares.all().div_ceil(BLOCK).max(1);
        let most = (PARTIALS / (9 * size(g.k) * depth)).clamp(1, blocks);
        let chunks = TASKS.div_ceil(groups * filter_ranges * panel_ranges).min(most);
        Self { simd, squares, groups, depth, filters, panel, panels, filter_ranges, panel_ranges, blocks, chunks }
    }

    /// Whether this takes clearly fewer cycles than the definition's multiply-adds.
    fn wins(&self, g: &ConvGeometry) -> bool {
        let [depths, columns] = [self.depth, self.filters].map(|n| n.div_ceil(self.simd.lanes));
        let transforms = depths * self.filter_ranges + columns * self.panel_ranges;
        let cycles = self.squares.all() * (CELLS * self.filters * depths / 2 + TRANSFORM * transforms)
            + TRANSFORM * self.filters * depths * self.chunks;
        self.depth.min(self.filters) >= CHANNELS && cycles + cycles / 8 < direct_cycles(g, self.filters, self.depth, self.simd)
    }

    /// Floats of the filters and of the channels of a range, padded to vectors.
    fn range(&self) -> [usize; 2] {
        let filters = self.filters.div_ceil(self.filter_ranges).next_multiple_of(self.simd.lanes);
        [filters, self.panels.div_ceil(self.panel_ranges) * self.panel]
    }

    /// Floats of the sums of a task, of its inputs and of its gradients of a block.
    fn parts(&self) -> [usize; 3] {
        let ([filters, channels], squares) = (self.range(), self.squares.all().div_ceil(self.blocks));
        [filters * channels, squares * channels, squares * filters].map(|floats| CELLS * floats)
    }

    fn tasks(&self) -> usize {
        self.chunks * self.groups * self.filter_ranges * self.panel_ranges
    }

    fn partials(&self) -> usize {
        if self.chunks > 1 { self.chunks * self.groups * self.filters * 9 * self.depth } else { 0 }
    }

    /// Floats of scratch that [`run`](Self::run) wants.
    pub fn scratch(&self) -> usize {
        self.partials().next_multiple_of(16) + self.tasks().min(SLOTS) * self.parts().iter().sum::<usize>()
    }

    /// dw ← Σ dy·x, or dw += ….
    pub fn run(&self, workers: &Workers, x: &[f32], dy: &[f32], dw: &mut [f32], into: Into, scratch: &mut [f32]) {
        let (partials, slots) = scratch.split_at_mut(self.partials().next_multiple_of(16));
        let partials = &mut partials[..self.partials()];
        let (tasks, slot) = (self.tasks(), self.parts().iter().sum::<usize>());
        let count = tasks.min(SLOTS);
        let nanoseconds = self.squares.all() * CELLS * self.depth * self.groups * self.filters / 50;
        let add = self.chunks == 1 && into == Into::Add;
        {
            let to = Shared::new(if self.chunks > 1 { &mut *partials } else { &mut *dw });
            spread(workers, nanoseconds, slot, &mut slots[..count * slot], |i, scratch| {
                for task in part(tasks, count, i) {
                    self.task(task, x, dy, to, add, scratch);
                }
            });
        }
        if self.chunks > 1 {
            sum_partials(workers, partials, dw, into);
        }
    }

    /// One chunk of the squares, one group, a range of its filters and one of its channels.
    fn task(&self, task: usize, x: &[f32], dy: &[f32], to: Shared<'_>, add: bool, scratch: &mut [f32]) {
        let simd = self.simd;
        let (range, task) = (task % self.panel_ranges, task / self.panel_ranges);
        let panels = part(self.panels, self.panel_ranges, range);
        let (range, task) = (task % self.filter_ranges, task / self.filter_ranges);
        let filters = part(self.filters, self.filter_ranges, range);
        let (group, chunk) = (task % self.groups, task / self.groups);

        let first = panels.start * self.panel;
        let channels = (panels.end * self.panel).min(self.depth) - first;
        let [height, width] = [filters.len(), channels].map(|n| n.next_multiple_of(simd.lanes));
        let [sum_size, input_size, _] = self.parts();
        let (sums, rest) = scratch.split_at_mut(sum_size);
        let (inputs, gradients) = rest.split_at_mut(input_size);
        let x = &x[group * self.depth + first..];
        let dy = &dy[group * self.filters + filters.start..];

        let blocks = part(self.blocks, self.chunks, chunk);
        for block in blocks.clone() {
            let squares = part(self.squares.all(), self.blocks, block);
            let count = squares.len();
            for (i, square) in squares.enumerate() {
                let (at, inner) = self.squares.inputs(square, self.groups * self.depth);
                for column in (0..channels).step_by(self.panel) {
                    let columns = self.panel.min(channels - column);
                    let pitch = columns.next_multiple_of(simd.lanes);
                    let to = &mut inputs[count * column + i * pitch..];
                    simd.widen(6, x, at + column as isize, &inner, to, [count * width, simd.lanes], columns);
                }
                let (at, outer) = self.squares.outputs(square, self.groups * self.filters);
                let to = [count * height, simd.lanes];
                simd.widen(4, dy, at as isize, &outer, &mut gradients[i * height..], to, filters.len());
            }
            let walk = Walk { rows: Rows::Adjacent, loops: [(1, 0), (1, 0), (count, height)] };
            let finish = Finish { add: block > blocks.start, bias: None, relu: false };
            let to = Shared::new(sums);
            for cell in 0..CELLS {
                for column in (0..channels).step_by(self.panel) {
                    let pitch = self.panel.min(channels - column).next_multiple_of(simd.lanes);
                    let panel = &inputs[count * (cell * width + column)..];
                    let tiles = filters.len().div_ceil(simd.most_rows(pitch / simd.lanes));
                    for tile in 0..tiles {
                        let rows = part(filters.len(), tiles, tile);
                        let a = &gradients[cell * count * height + rows.start..];
                        let at = (cell * filters.len() + rows.start) * width + column;
                        // SAFETY: the sums are this task's alone.
                        unsafe { simd.tile(rows.len(), a, &walk, panel, to, at, width, pitch, &finish) }
                    }
                }
            }
        }
        let whole = self.groups * self.filters * 9 * self.depth;
        let base = if self.chunks > 1 { chunk * whole } else { 0 };
        let taps = Square { steps: [3 * self.depth, self.depth], first: [0; 2], end: [3; 2] };
        let finish = Finish { add, bias: None, relu: false };
        for (i, filter) in filters.clone().enumerate() {
            let at = base + (group * self.filters + filter) * 9 * self.depth + first;
            let from = [filters.len() * width, simd.lanes];
            // SAFETY: this task alone writes these filters and channels of this partial gradient.
            unsafe { simd.narrow(3, &sums[i * width..], from, to, at, &taps, channels, &finish) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compare, doubles, numbers};
    use super::super::{Filters, backward_filters, backward_image, flipped, forward};
    use super::*;
    use crate::device::Neuron;

    /// n, [h, w], c → k in groups, padding.
    fn geometry(n: i32, [h, w]: [i32; 2], [c, k, groups]: [i32; 3], [padding_h, padding_w]: [i32; 2]) -> ConvGeometry {
        let (p, q) = (h + 2 * padding_h - 2, w + 2 * padding_w - 2);
        #[rustfmt::skip]
        let g = ConvGeometry {
            n, h, w, c, k, r: 3, s: 3, p, q, stride_h: 1, stride_w: 1, padding_h, padding_w, dilation_h: 1, dilation_w: 1, groups,
        };
        g
    }

    fn cases() -> Vec<ConvGeometry> {
        vec![
            geometry(1, [1, 1], [1, 1, 1], [1, 1]),
            geometry(2, [4, 4], [16, 32, 1], [1, 1]),
            geometry(3, [7, 7], [40, 70, 1], [1, 1]),
            geometry(2, [13, 10], [17, 33, 1], [0, 2]),
            geometry(1, [9, 6], [36, 66, 3], [2, 0]),
            geometry(2, [3, 5], [150, 20, 1], [1, 0]),
            geometry(1, [2, 3], [5, 3, 1], [4, 3]),
            geometry(70, [6, 5], [18, 20, 1], [1, 1]),
        ]
    }

    fn x_w_dy(g: &ConvGeometry) -> [Vec<f32>; 3] {
        [numbers(1, g.input().elements()), numbers(2, g.filters().elements()), numbers(3, g.output().elements())]
    }

    /// The three passes, all by this method, gradients set, or added to what is there.
    fn passes(workers: &Workers, simd: &Simd, g: &ConvGeometry, into: Into) -> [Vec<f32>; 3] {
        let [x, w, dy] = x_w_dy(g);
        let scratch = |floats: usize| vec![1e30_f32; floats];
        let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], numbers(5, x.len()), numbers(6, w.len()));

        let cut = Winograd::cut_forward(g, simd);
        let steps = 9 * cut.depth;
        let pack = |group: usize, first: usize, columns: usize, panel: &mut [f32], pitch: usize| {
            simd.transpose(&w[(group * cut.outputs + first) * steps..], steps, panel, pitch, columns, steps);
            super::super::clear_tails(panel, pitch, columns);
        };
        let finish = Finish { add: false, bias: None, relu: false };
        cut.run(workers, &x, pack, &finish, &mut y, &mut scratch(cut.scratch()));

        let cut = Winograd::cut_image(g, simd);
        let pack = |i: usize, first: usize, n: usize, to: &mut [f32], pitch: usize| flipped(simd, g, &w, i, first, n, to, pitch);
        let finish = Finish { add: into == Into::Add, bias: None, relu: false };
        cut.run(workers, &dy, pack, &finish, &mut dx, &mut scratch(cut.scratch()));

        let cut = Gradient::cut(g, simd);
        cut.run(workers, &x, &dy, &mut dw, into, &mut scratch(cut.scratch()));
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
            forward(&workers, &g, false, &x64, &w64, None, Neuron::NONE, &mut want[0], &mut []);
            backward_image(&workers, &g, false, &dy64, &w64, &mut want[1], Into::Add, &mut []);
            backward_filters(&workers, &g, false, &x64, &dy64, &mut want[2], Into::Add, &mut []);
            // Σ |w| of filter k's channel c.
            let sum = |k: usize, c: usize| (0..9).map(|tap| f64::from(w[(k * 9 + tap) * cg + c].abs())).sum::<f64>();
            for simd in Simd::all() {
                let got = passes(&workers, simd, &g, Into::Add);
                let cut = Winograd::cut_forward(&g, simd);
                let mut dw_sizes = vec![1.0; w.len()];
                for i in 0..cut.squares.all() {
                    let most = largest(&cut.squares, i, &x, size(g.c));
                    let mut sums = vec![0.0; size(g.k)];
                    each_output(&cut.squares, i, size(g.k), |at| {
                        sums.iter_mut().zip(&dy[at..]).for_each(|(sum, dy)| *sum += f64::from(dy.abs()));
                    });
                    for (j, size) in dw_sizes.iter_mut().enumerate() {
                        let (k, c) = (j / (9 * cg), j % cg);
                        *size += most[k / kg * cg + c] * sums[k];
                    }
                }
                let y_sizes = sizes(&cut, &x, |c, k| sum(k, c));
                let cut = Winograd::cut_image(&g, simd);
                let dx_sizes = sizes(&cut, &dy, |k, c| sum(c / cg * kg + k, c % cg)).iter().map(|s| s + 1.0).collect();
                let sizes = [y_sizes, dx_sizes, dw_sizes];
                let depths = [9 * cg, 9 * kg, size(g.n * g.p * g.q)];
                for (pass, name) in ["forward", "image gradient", "filter gradient"].iter().enumerate() {
                    let what = format!("{g:?}, {name}, {}", simd.name);
                    compare(&what, &got[pass], &want[pass], &sizes[pass], depths[pass]);
                }
            }
        }
    }

    /// The errors of wide layers are at most three times those of the sums that the definition has.
    #[test]
    fn errors_are_near_those_of_the_definition() {
        let (workers, simd) = (Workers::new(2), Simd::best());
        let g = geometry(1, [12, 12], [128, 64, 1], [1, 1]);
        let [x, w, dy] = x_w_dy(&g);
        let got = passes(&workers, simd, &g, Into::Set);
        let [x64, w64, dy64] = [&x, &w, &dy].map(|v| doubles(v));
        let mut want = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        forward(&workers, &g, false, &x64, &w64, None, Neuron::NONE, &mut want[0], &mut []);
        backward_image(&workers, &g, false, &dy64, &w64, &mut want[1], Into::Set, &mut []);
        backward_filters(&workers, &g, false, &x64, &dy64, &mut want[2], Into::Set, &mut []);
        let mut direct = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        let scratch = &mut vec![0.0; super::super::forward_scratch::<f32>(&g, false)];
        forward(&workers, &g, false, &x, &w, None, Neuron::NONE, &mut direct[0], scratch);
        backward_image(&workers, &g, false, &dy, &w, &mut direct[1], Into::Set, scratch);
        let filters = Filters::new(&g, simd);
        filters.run(&workers, &x, &dy, &mut direct[2], Into::Set, &mut vec![0.0; filters.scratch()]);
        for pass in 0..3 {
            let error = |got: &[f32]| {
                let squares = got.iter().zip(&want[pass]).map(|(&got, want)| (f64::from(got) - want).powi(2));
                (squares.sum::<f64>() / got.len() as f64).sqrt()
            };
            let (ours, theirs) = (error(&got[pass]), error(&direct[pass]));
            assert!(ours <= 3.0 * theirs, "pass {pass}: root mean square error {ours:e} beside {theirs:e}");
        }
    }

    /// Any number of threads gives the same bits.
    #[test]
    fn threads_do_not_change_bits() {
        for g in cases() {
            let bits = |threads| passes(&Workers::new(threads), Simd::best(), &g, Into::Add).map(to_bits);
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
        assert_eq!(taken(&geometry(8, [224, 224], [3, 64, 1], [1, 1])), [false; 3]);
        assert_eq!(taken(&geometry(1, [1, 1], [512, 512, 1], [1, 1])), [false; 3]);
        assert_eq!(taken(&ConvGeometry { stride_w: 2, ..geometry(16, [56, 56], [64, 64, 1], [1, 1]) }), [false; 3]);
    }
}
