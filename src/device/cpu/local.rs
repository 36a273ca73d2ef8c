//! Locally connected layers: convolutions whose filters are each place's own, `[p·q][k][r][s][c/groups]`. For one place the
//! batch is a matrix product: forward images × window by window × filters, the filter gradient filters × images by images ×
//! window; for one cell of the image gradient, images × places that see it · filters by those × channels.
//!
//! f64 runs the definition (`conv/plain.rs`). f32 runs on the micro-kernels of `simd.rs`: a task is one place (cell), one
//! group and one panel of columns, and packs its panel itself: two or more vectors of filters (channels, window cells) by the
//! whole sum. Rows are images, read where they lie, a whole image apart; in the filter gradient they are filters, next to each
//! other. Taps outside the image are left out of the walk and of the panel, so nothing is padded.
//!
//! Each pass is 2·n·p·q·k·r·s·c/groups FLOPs, less those with padding, in vectors of 16 columns. Bytes: the weights (or their
//! gradient) once, which is nearly all there is; packing them costs one more store and load each from the cache.

use super::conv::plain::{Nest, Owner};
use super::conv::{Axis, axes, clear_tails, finish_neuron, floats, floats_mut, floats_target, greatest_common_divisor};
use super::simd::{Finish, Left, Place, Rows, Shared, Simd, Walk};
use super::{CpuDevice, Real, Workers, scratch_of};
use crate::device::{ConvGeometry, Dtype, Result, Run, Tensor};
use crate::op::{LocalBackwardFilters, LocalBackwardImage, LocalForward, Neuron, Target};

/// Slots of scratch: tasks are dealt to them in order.
const SLOTS: usize = 32;

/// What the three passes cut alike: `places` × groups × panels of columns.
struct Cut {
    places: usize,
    groups: usize,
    /// Columns of a group's product, and of a panel.
    columns: usize,
    panel: usize,
    panels: usize,
    /// Floats of a packed panel.
    packed: usize,
}

/// A task: one place, group and panel, whose columns start at `column`.
struct Task {
    place: usize,
    group: usize,
    column: usize,
    columns: usize,
    /// Columns with the padding to whole vectors.
    pitch: usize,
}

impl Cut {
    /// `rows` by `columns` products over `depth`.
    fn new(simd: &Simd, places: usize, groups: usize, [rows, columns, depth]: [usize; 3]) -> Self {
        let panel = simd.vectors(rows, columns) * simd.lanes;
        Self { places, groups, columns, panel, panels: columns.div_ceil(panel), packed: (panel * depth).max(16) }
    }

    fn tasks(&self) -> usize {
        self.places * self.groups * self.panels
    }

    /// Floats of scratch that [`Local::run`] wants.
    fn scratch(&self) -> usize {
        self.tasks().min(SLOTS) * self.packed
    }
}

/// The geometry as `usize`, with its axes.
struct Local<'a> {
    workers: &'a Workers,
    simd: &'static Simd,
    n: usize,
    w: usize,
    c: usize,
    k: usize,
    s: usize,
    q: usize,
    /// Channels and filters of a group.
    channels: usize,
    filters: usize,
    groups: usize,
    /// Elements of an input image, of an output image, of a filter.
    image: usize,
    output: usize,
    filter: usize,
    rows: Axis,
    columns: Axis,
}

/// The outputs along an axis that see one cell: `count` from `output` on, `step` apart, through tap `tap` and then every
/// `tap_step`-th before it.
#[derive(Default)]
struct Seen {
    output: usize,
    step: usize,
    tap: usize,
    tap_step: usize,
    count: usize,
}

impl Seen {
    fn new(axis: &Axis, cell: usize) -> Self {
        let at = (cell as isize - axis.offset) as usize;
        let fits = |t: &usize| at >= t * axis.dilation && (at - t * axis.dilation).is_multiple_of(axis.stride);
        let Some(tap) = (0..axis.taps).rfind(fits) else { return Self::default() };
        let (output, divisor) = ((at - tap * axis.dilation) / axis.stride, greatest_common_divisor(axis.stride, axis.dilation));
        let (step, tap_step) = (axis.dilation / divisor, axis.stride / divisor);
        let count = if output < axis.outputs { ((axis.outputs - 1 - output) / step).min(tap / tap_step) + 1 } else { 0 };
        Self { output, step, tap, tap_step, count }
    }
}

impl<'a> Local<'a> {
    fn new(workers: &'a Workers, g: &ConvGeometry) -> Self {
        let size = |x: i32| x as usize;
        let [rows, columns] = axes(g);
        Self {
            workers,
            simd: Simd::best(),
            n: size(g.n),
            w: size(g.w),
            c: size(g.c),
            k: size(g.k),
            s: size(g.s),
            q: size(g.q),
            channels: size(g.c / g.groups),
            filters: size(g.k / g.groups),
            groups: size(g.groups),
            image: g.input().image(),
            output: g.output().image(),
            filter: g.filters().image(),
            rows,
            columns,
        }
    }

    fn places(&self) -> usize {
        self.rows.outputs * self.columns.outputs
    }

    fn forward_cut(&self) -> Cut {
        Cut::new(self.simd, self.places(), self.groups, [self.n, self.filters, self.filter])
    }

    fn image_cut(&self) -> Cut {
        let most = |axis: &Axis| (0..axis.input).map(|cell| Seen::new(axis, cell).count).max().unwrap_or(0);
        let depth = most(&self.rows) * most(&self.columns) * self.filters;
        Cut::new(self.simd, self.rows.input * self.columns.input, self.groups, [self.n, self.channels, depth])
    }

    fn filters_cut(&self) -> Cut {
        Cut::new(self.simd, self.places(), self.groups, [self.filters, self.filter, self.n])
    }

    /// Does every task of a pass, on all threads where that is worth it.
    fn run(&self, cut: &Cut, scratch: &mut [f32], work: impl Fn(&Task, &mut [f32]) + Sync + Send) {
        let (tasks, slots) = (cut.tasks(), cut.tasks().min(SLOTS));
        let nanoseconds = self.n * self.output * self.filter / 50;
        self.workers.large_pieces(nanoseconds, cut.packed, &mut scratch[..slots * cut.packed], |slot, panel| {
            for task in slot * tasks / slots..(slot + 1) * tasks / slots {
                let column = task % cut.panels * cut.panel;
                let columns = cut.panel.min(cut.columns - column);
                let (group, place) = (task / cut.panels % cut.groups, task / cut.panels / cut.groups);
                work(&Task { place, group, column, columns, pitch: columns.next_multiple_of(self.simd.lanes) }, panel);
            }
        });
    }

    fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>, neuron: Neuron, y: &mut [f32], scratch: &mut [f32]) {
        let y = Shared::new(y);
        self.run(&self.forward_cut(), scratch, |t, panel| {
            let (p, q) = (t.place / self.q, t.place % self.q);
            let (h, v) = (self.rows.seen(p), self.columns.seen(q));
            let run = v.len() * self.channels;
            // The filters' taps that lie in the image: [tap][channel][filter].
            let first = (t.place * self.k + t.group * self.filters + t.column) * self.filter;
            for (i, r) in h.clone().enumerate().filter(|_| run > 0) {
                let from = first + (r * self.s + v.start) * self.channels;
                self.simd.transpose(&w[from..], self.filter, &mut panel[i * run * t.pitch..], t.pitch, t.columns, run);
            }
            clear_tails(&mut panel[..h.len() * run * t.pitch], t.pitch, t.columns);
            let cell = |axis: &Axis, i, taps: &std::ops::Range<usize>| axis.cell(i, taps.start).max(0) as usize;
            let window = if h.is_empty() || run == 0 {
                &[][..]
            } else {
                &x[(cell(&self.rows, p, &h) * self.w + cell(&self.columns, q, &v)) * self.c + t.group * self.channels..]
            };
            let steps = [self.rows.dilation * self.w * self.c, self.columns.dilation * self.c];
            let walk = walk(self.image, [h.len(), v.len(), self.channels], steps);
            let column = t.group * self.filters + t.column;
            let finish = Finish {
                add: false,
                bias: bias.map(|b| (if b.len() == self.k { &b[column..] } else { &b[t.place * self.k + column..] }, 0)),
                relu: neuron == Neuron::Relu,
                seen: None,
            };
            let left = Left { a: window, rows: self.n, walk };
            let to = Place { c: y.after(t.place * self.k + column), pitch: self.output, columns: t.columns };
            // SAFETY: this task alone writes these columns of its place.
            unsafe { self.simd.tiles(&left, panel, &to, &finish) }
        });
    }

    fn backward_image(&self, dy: &[f32], w: &[f32], dx: Target<&mut [f32]>, scratch: &mut [f32]) {
        let (finish, dx) = (Finish::sums(dx.adds()), Shared::new(dx.at));
        self.run(&self.image_cut(), scratch, |t, panel| {
            let (h, v) = (Seen::new(&self.rows, t.place / self.w), Seen::new(&self.columns, t.place % self.w));
            let count = h.count * v.count;
            // The filters of the places that see the cell, at its tap: [place][filter][channel].
            let tap_size = self.filters * t.pitch;
            for i in 0..count {
                let (i, j, panel) = (i / v.count, i % v.count, &mut panel[i * tap_size..]);
                let place = (h.output + i * h.step) * self.q + v.output + j * v.step;
                let tap = (h.tap - i * h.tap_step) * self.s + v.tap - j * v.tap_step;
                let from = (place * self.k + t.group * self.filters) * self.filter + tap * self.channels + t.column;
                self.simd.copy(&w[from..], [0, self.filter], panel, [0, t.pitch], t.columns, [1, self.filters]);
            }
            clear_tails(&mut panel[..count * tap_size], t.pitch, t.columns);
            let places =
                if count == 0 { &[][..] } else { &dy[(h.output * self.q + v.output) * self.k + t.group * self.filters..] };
            let walk = walk(self.output, [h.count, v.count, self.filters], [h.step * self.q * self.k, v.step * self.k]);
            let at = t.place * self.c + t.group * self.channels + t.column;
            let left = Left { a: places, rows: self.n, walk };
            let to = Place { c: dx.after(at), pitch: self.image, columns: t.columns };
            // SAFETY: this task alone writes these channels of its cell.
            unsafe { self.simd.tiles(&left, panel, &to, &finish) }
        });
    }

    fn backward_filters(&self, x: &[f32], dy: &[f32], dw: Target<&mut [f32]>, scratch: &mut [f32]) {
        let (finish, dw) = (Finish::sums(dw.adds()), Shared::new(dw.at));
        self.run(&self.filters_cut(), scratch, |t, panel| {
            let panel = &mut panel[..self.n * t.pitch];
            self.pack_windows(t, x, panel);
            let filter = t.group * self.filters;
            let walk = Walk { rows: Rows::Adjacent, loops: [(1, 0), (1, 0), (self.n, self.output)] };
            let at = (t.place * self.k + filter) * self.filter + t.column;
            let left = Left { a: &dy[t.place * self.k + filter..], rows: self.filters, walk };
            let to = Place { c: dw.after(at), pitch: self.filter, columns: t.columns };
            // SAFETY: this task alone writes these columns of its place's filters.
            unsafe { self.simd.tiles(&left, panel, &to, &finish) }
        });
    }

    /// The task's columns of its place's window of every image: [image][row of taps, tap, channel].
    fn pack_windows(&self, t: &Task, x: &[f32], panel: &mut [f32]) {
        let (p, q) = (t.place / self.q, t.place % self.q);
        let (h, v) = (self.rows.seen(p), self.columns.seen(q));
        if h.len() < self.rows.taps || v.len() < self.columns.taps {
            panel.fill(0.0);
        } else {
            clear_tails(panel, t.pitch, t.columns);
        }
        // A row of taps is one run where its cells are next to each other and all their channels are read.
        let whole = self.columns.dilation * self.c == self.channels;
        let runs = if whole { usize::from(!v.is_empty()) } else { v.len() };
        let run = if whole { v.len() * self.channels } else { self.channels };
        for r in h {
            for i in 0..runs {
                let s = v.start + i;
                let first = (r * self.s + s) * self.channels;
                let (start, end) = (first.max(t.column), (first + run).min(t.column + t.columns));
                if start < end {
                    let cell = self.rows.cell(p, r) as usize * self.w + self.columns.cell(q, s) as usize;
                    let from = cell * self.c + t.group * self.channels + start - first;
                    let to = &mut panel[start - t.column..];
                    self.simd.copy(&x[from..], [0, self.image], to, [0, t.pitch], end - start, [1, self.n]);
                }
            }
        }
    }
}

/// A walk over rows `apart`, through `counts` rows of cells, cells and channels; the last two are one loop where they lie
/// without gaps.
fn walk(apart: usize, counts: [usize; 3], steps: [usize; 2]) -> Walk {
    let [rows, cells, channels] = counts;
    let loops = if steps[1] == channels || cells == 1 {
        [(1, 0), (rows, steps[0]), (cells * channels, 1)]
    } else {
        [(rows, steps[0]), (cells, steps[1]), (channels, 1)]
    };
    Walk { rows: Rows::Apart(apart), loops }
}

impl<T: Real> CpuDevice<T> {
    /// Bytes of scratch of a pass that is cut so.
    fn local_scratch<'a>(&'a self, g: &ConvGeometry, cut: fn(&Local<'a>) -> Cut) -> usize {
        if T::DTYPE == Dtype::F32 { cut(&Local::new(&self.workers, g)).scratch() * size_of::<f32>() } else { 0 }
    }
}

impl<T: Real> Run<LocalForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LocalForward<Tensor>, scratch: Tensor) -> Result<()> {
        let (mut t, workers, g) = (self.arena.borrow(), &self.workers, &op.geometry);
        let (x, w, b, y) = (t.read::<T>(op.x), t.read::<T>(op.w), op.b.map(|b| t.read::<T>(b)), t.write::<T>(op.y));
        let scratch = scratch_of::<T>(&mut t, scratch);
        if T::DTYPE != Dtype::F32 {
            Nest::new(g, Owner::Place).forward(workers, x, w, b, op.neuron, y);
        } else {
            let y = floats_mut(y);
            Local::new(workers, g).forward(floats(x), floats(w), b.map(floats), op.neuron, y, floats_mut(scratch));
            finish_neuron(workers, op.neuron, y, [op.y.shape.c; 2]);
        }
        Ok(())
    }

    fn scratch(&self, op: &LocalForward<Tensor>) -> usize {
        self.local_scratch(&op.geometry, Local::forward_cut)
    }
}

impl<T: Real> Run<LocalBackwardImage<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LocalBackwardImage<Tensor>, scratch: Tensor) -> Result<()> {
        let (mut b, workers, g) = (self.arena.borrow(), &self.workers, &op.geometry);
        let (dy, w, dx) = (b.read::<T>(op.dy), b.read::<T>(op.w), b.target::<T>(op.dx));
        let scratch = scratch_of::<T>(&mut b, scratch);
        if T::DTYPE != Dtype::F32 {
            Nest::new(g, Owner::Place).backward_image(workers, dy, w, dx, None);
        } else {
            Local::new(workers, g).backward_image(floats(dy), floats(w), floats_target(dx), floats_mut(scratch));
        }
        Ok(())
    }

    fn scratch(&self, op: &LocalBackwardImage<Tensor>) -> usize {
        self.local_scratch(&op.geometry, Local::image_cut)
    }
}

impl<T: Real> Run<LocalBackwardFilters<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LocalBackwardFilters<Tensor>, scratch: Tensor) -> Result<()> {
        let (mut b, workers, g) = (self.arena.borrow(), &self.workers, &op.geometry);
        let (x, dy, dw) = (b.read::<T>(op.x), b.read::<T>(op.dy), b.target::<T>(op.dw));
        let scratch = scratch_of::<T>(&mut b, scratch);
        if T::DTYPE != Dtype::F32 {
            Nest::new(g, Owner::Place).backward_filters(workers, x, dy, dw);
        } else {
            Local::new(workers, g).backward_filters(floats(x), floats(dy), floats_target(dw), floats_mut(scratch));
        }
        Ok(())
    }

    fn scratch(&self, op: &LocalBackwardFilters<Tensor>) -> usize {
        self.local_scratch(&op.geometry, Local::filters_cut)
    }
}
