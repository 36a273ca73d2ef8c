//! Convolution, its image gradient and its filter gradient, on NHWC images and `[k][r][s][c/groups]` filters.
//!
//! f64 runs the definition's loop nests (`conv/plain.rs`): it is the reference. f32 runs on the micro-kernels of `simd.rs`:
//! forward and image gradient gather (`conv/gather.rs`), the filter gradient is a product over all places
//! (`conv/filters.rs`), unpadded image gradients of few channels scatter (`conv/scatter.rs`), filters of one channel a group
//! vectorise over the channels (`conv/depthwise.rs`), 1 × 1 filters of stride 1 are matrix products of the image as it lies
//! (`product.rs`), and wide 3 × 3 and 5 × 5 ones of stride 1 take fewer multiply-adds (`conv/winograd.rs`) where `winograd` allows it. No
//! pass makes a batch's columns (im2col): the largest buffers are the packed filters and at most 32 bands of an image with
//! its padding, or blocks of transformed squares.
//!
//! Each pass is 2·n·p·q·k·r·s·c/groups FLOPs, those with padding included, and reads and writes each tensor about once.

mod depthwise;
mod filters;
mod gather;
pub(super) mod plain;
mod scatter;
mod winograd;

use super::arena::gaps_fit;
use super::product::{self, Factors, product};
use super::simd::{Finish, Simd};
use super::{CpuDevice, Real, Workers, neuron, scratch_of};
use crate::device::{ConvGeometry, Dtype, ProductGeometry, Result, Run, Tensor};
use crate::op::{ConvBackwardFilters, ConvBackwardImage, ConvForward, Neuron, Target};
use filters::Filters;
pub(super) use gather::Axis;
use gather::Gather;
use plain::{Nest, Owner};
use std::ops::Range;
use winograd::{Gradient, Winograd};

impl<T: Real> Run<ConvForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ConvForward<Tensor>, scratch: Tensor) -> Result<()> {
        let mut t = self.arena.borrow();
        let ((x, x_pitch), w, b) = (t.read_cells::<T>(op.x), t.read::<T>(op.w), op.b.map(|b| t.read::<T>(b)));
        let (y, y_pitch) = t.write_cells::<T>(op.y);
        let conv = Conv { pitches: [x_pitch, y_pitch], ..Conv::new(&self.workers, &op.geometry, self.winograd) };
        conv.forward(x, w, b, op.neuron, y, scratch_of::<T>(&mut t, scratch));
        Ok(())
    }

    fn scratch(&self, op: &ConvForward<Tensor>) -> usize {
        forward_scratch::<T>(&op.geometry, self.winograd)
    }

    fn supports(&self, op: &ConvForward<Tensor>) -> bool {
        gaps_fit(op, &["x", "y"])
    }
}

impl<T: Real> Run<ConvBackwardImage<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ConvBackwardImage<Tensor>, scratch: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let ((dy, dy_pitch), w, seen) = (b.read_cells::<T>(op.dy), b.read::<T>(op.w), op.seen.map(|t| b.read_cells::<T>(t)));
        let (dx, dx_pitch) = b.write_cells::<T>(op.dx.at);
        let conv = Conv { pitches: [dx_pitch, dy_pitch], ..Conv::new(&self.workers, &op.geometry, self.winograd) };
        conv.backward_image(dy, w, seen, Target { at: dx, into: op.dx.into }, scratch_of::<T>(&mut b, scratch));
        Ok(())
    }

    fn scratch(&self, op: &ConvBackwardImage<Tensor>) -> usize {
        backward_image_scratch::<T>(&op.geometry, self.winograd)
    }

    /// The only neuron is relu. Scattering needs images without gaps, and multiplies by a derivative when a whole image is done,
    /// which must still be in the cache then.
    fn supports(&self, op: &ConvBackwardImage<Tensor>) -> bool {
        let (g, fused) = (&op.geometry, op.seen.is_some());
        let neuron = if fused { Neuron::Relu } else { Neuron::NONE };
        let way = || match ImageWay::new(g, self.winograd) {
            ImageWay::Scatter => op.dx.at.is_dense() && (!fused || scatter::ends_in_cache(g)),
            _ => true,
        };
        op.neuron == neuron && gaps_fit(op, &["dy", "seen", "dx"]) && (T::DTYPE != Dtype::F32 || way())
    }
}

impl<T: Real> Run<ConvBackwardFilters<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &ConvBackwardFilters<Tensor>, scratch: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let ((x, x_pitch), (dy, dy_pitch)) = (b.read_cells::<T>(op.x), b.read_cells::<T>(op.dy));
        let conv = Conv { pitches: [x_pitch, dy_pitch], ..Conv::new(&self.workers, &op.geometry, self.winograd) };
        conv.backward_filters(x, dy, b.target::<T>(op.dw), scratch_of::<T>(&mut b, scratch));
        Ok(())
    }

    fn scratch(&self, op: &ConvBackwardFilters<Tensor>) -> usize {
        backward_filters_scratch::<T>(&op.geometry, self.winograd)
    }

    fn supports(&self, op: &ConvBackwardFilters<Tensor>) -> bool {
        gaps_fit(op, &["x", "dy"])
    }
}

/// Copies some channels of a part of the image x `[height][width][depth]`, [rows, columns] of `size` starting at `start` (outside
/// the image: zeros), to the start of `to`, without gaps.
fn pad(
    simd: &Simd,
    x: &[f32],
    [height, width, depth]: [usize; 3],
    channels: Range<usize>,
    start: [isize; 2],
    size: [usize; 2],
    to: &mut [f32],
) {
    let count = channels.len();
    let line = size[1] * count;
    // The columns left of the image, in it, and right of it.
    let left = (-start[1]).clamp(0, size[1] as isize) as usize;
    let right = (start[1] + size[1] as isize - width as isize).clamp(0, (size[1] - left) as isize) as usize;
    let inner = size[1] - left - right;
    for (i, to) in to.chunks_exact_mut(line).take(size[0]).enumerate() {
        let row = start[0] + i as isize;
        if row < 0 || row >= height as isize || inner == 0 {
            to.fill(0.0);
            continue;
        }
        let column = (start[1] + left as isize) as usize;
        let x = &x[(row as usize * width + column) * depth + channels.start..];
        to[..left * count].fill(0.0);
        to[(left + inner) * count..].fill(0.0);
        let to = &mut to[left * count..(left + inner) * count];
        if count == depth {
            to.copy_from_slice(&x[..to.len()]);
        } else {
            simd.copy(x, [0, depth], to, [0, count], count, [1, inner]);
        }
    }
}

fn size(x: i32) -> usize {
    x as usize
}

/// Whether the convolution is the matrix product [cells][c] · [c][k] of the image as it lies.
fn is_product(g: &ConvGeometry) -> bool {
    (g.r, g.s, g.groups, g.stride_h, g.stride_w, g.padding_h, g.padding_w) == (1, 1, 1, 1, 1, 0, 0) && (g.p, g.q) == (g.h, g.w)
}

/// The product that a 1 × 1 convolution is, forward.
fn forward_product(g: &ConvGeometry) -> ProductGeometry {
    ProductGeometry { m: g.n * g.p * g.q, n: g.k, k: g.c, transpose_a: 0, transpose_b: 1 }
}

/// … and its image gradient: dx = dy · w.
fn image_product(g: &ConvGeometry) -> ProductGeometry {
    ProductGeometry { m: g.n * g.p * g.q, n: g.c, k: g.k, transpose_a: 0, transpose_b: 0 }
}

/// The axes of the forward pass: rows and columns.
pub(super) fn axes(g: &ConvGeometry) -> [Axis; 2] {
    let axis = |outputs, taps, stride, dilation, padding: i32, input| Axis {
        outputs: size(outputs),
        taps: size(taps),
        stride: size(stride),
        dilation: size(dilation),
        offset: -(padding as isize),
        input: size(input),
        first: 0,
        step: 1,
    };
    let rows = axis(g.p, g.r, g.stride_h, g.dilation_h, g.padding_h, g.h);
    [rows, axis(g.q, g.s, g.stride_w, g.dilation_w, g.padding_w, g.w)]
}

/// The forward pass as a gather.
fn forward_gather<'a>(g: &ConvGeometry, simd: &'a Simd) -> Gather<'a> {
    let [rows, columns] = axes(g);
    Gather {
        simd,
        images: size(g.n),
        rows,
        columns,
        groups: size(g.groups),
        depth: size(g.c / g.groups),
        outputs: size(g.k / g.groups),
        pitch_in: size(g.c),
        pitch_out: size(g.k),
        height: size(g.p),
        width: size(g.q),
    }
}

/// The cells of one axis of the image gradient that lie at `phase` under the stride, as a gather from dy, and the taps that
/// reach them: `last`, `last − step`, … as many as the axis has. Without taps the axis has none, and the cells are 0; without
/// cells there is no such axis.
struct Phase {
    axis: Axis,
    last: usize,
    step: usize,
}

fn phase(phase: usize, input: i32, outputs: i32, taps: i32, stride: i32, padding: i32, dilation: i32) -> Option<Phase> {
    let (input, stride, padding, dilation) = (size(input), size(stride), size(padding), size(dilation));
    // Cell h is reached by tap t of output p where h + padding = p·stride + t·dilation: h + padding = phase + stride·j, and
    // t·dilation ≡ phase.
    let first = (phase + stride - padding % stride) % stride;
    if first >= input {
        return None;
    }
    let cells = (input - first).div_ceil(stride);
    let step = stride / greatest_common_divisor(stride, dilation);
    let (mut count, mut last) = (0, 0);
    for t in (0..size(taps)).filter(|t| t * dilation % stride == phase) {
        (count, last) = (count + 1, t);
    }
    // Output i (cell first + i·stride) through the reversed tap t′ (tap last − t′·step) sees p = (first + i·stride + padding
    // − last·dilation)/stride + t′·(step·dilation/stride).
    let offset = ((first + padding) as isize - (last * dilation) as isize) / stride as isize;
    let axis = Axis {
        outputs: cells,
        taps: count,
        stride: 1,
        dilation: step * dilation / stride,
        offset,
        input: size(outputs),
        first,
        step: stride,
    };
    Some(Phase { axis, last, step })
}

pub(super) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Calls `work(rows, columns)` for every pair of phases of the image gradient.
fn phases(g: &ConvGeometry, mut work: impl FnMut(Phase, Phase)) {
    for i in 0..size(g.stride_h) {
        for j in 0..size(g.stride_w) {
            let rows = phase(i, g.h, g.p, g.r, g.stride_h, g.padding_h, g.dilation_h);
            let columns = phase(j, g.w, g.q, g.s, g.stride_w, g.padding_w, g.dilation_w);
            if let (Some(rows), Some(columns)) = (rows, columns) {
                work(rows, columns);
            }
        }
    }
}

/// One pair of phases of the image gradient as a gather from dy.
fn image_gather(g: &ConvGeometry, rows: Axis, columns: Axis) -> Gather<'static> {
    Gather {
        simd: Simd::best(),
        images: size(g.n),
        rows,
        columns,
        groups: size(g.groups),
        depth: size(g.k / g.groups),
        outputs: size(g.c / g.groups),
        pitch_in: size(g.k),
        pitch_out: size(g.c),
        height: size(g.h),
        width: size(g.w),
    }
}

/// Bytes of scratch that [`Conv::forward`] wants.
fn forward_scratch<T: Real>(g: &ConvGeometry, winograd: bool) -> usize {
    match T::DTYPE {
        Dtype::F32 if depthwise::is(g) => depthwise::scratch(g) * 4,
        Dtype::F32 => {
            // Untied biases make a gather of any.
            let gather = forward_gather(g, Simd::best()).scratch() * 4;
            if let Some(winner) = Winograd::forward(g, Simd::best()).filter(|_| winograd) {
                return gather.max(winner.scratch() * 4);
            }
            if is_product(g) { gather.max(product::scratch::<T>(&forward_product(g))) } else { gather }
        }
        _ => 0,
    }
}

/// How f32's image gradient is made.
enum ImageWay {
    Product,
    Winograd(Winograd<'static>),
    Depthwise,
    Scatter,
    Gather,
}

impl ImageWay {
    fn new(g: &ConvGeometry, winograd: bool) -> Self {
        let simd = Simd::best();
        let scattered = scatter::wins(g, simd);
        if is_product(g) && !scattered {
            return Self::Product;
        }
        match Winograd::image(g, simd).filter(|_| winograd) {
            Some(winner) => Self::Winograd(winner),
            None if depthwise::is(g) => Self::Depthwise,
            None if scattered => Self::Scatter,
            None => Self::Gather,
        }
    }
}

/// Whether a gathered image gradient has cells that no filter reaches.
fn leaves_cells(g: &ConvGeometry) -> bool {
    let mut leaves = false;
    phases(g, |rows, columns| leaves |= rows.axis.taps == 0 || columns.axis.taps == 0);
    leaves
}

/// Bytes of scratch that [`Conv::backward_image`] wants.
fn backward_image_scratch<T: Real>(g: &ConvGeometry, winograd: bool) -> usize {
    if T::DTYPE != Dtype::F32 {
        return 0;
    }
    match ImageWay::new(g, winograd) {
        ImageWay::Product => product::scratch::<T>(&image_product(g)),
        ImageWay::Winograd(winner) => winner.scratch() * 4,
        ImageWay::Depthwise => depthwise::scratch(g) * 4,
        ImageWay::Scatter => scatter::scratch(g, Simd::best()) * 4,
        ImageWay::Gather => {
            let mut most = 0;
            phases(g, |rows, columns| {
                if rows.axis.taps > 0 && columns.axis.taps > 0 {
                    most = most.max(image_gather(g, rows.axis, columns.axis).scratch());
                }
            });
            most * 4
        }
    }
}

/// Bytes of scratch that [`Conv::backward_filters`] wants.
fn backward_filters_scratch<T: Real>(g: &ConvGeometry, winograd: bool) -> usize {
    if T::DTYPE == Dtype::F32
        && let Some(winner) = Gradient::new(g, Simd::best()).filter(|_| winograd)
    {
        return winner.scratch() * 4;
    }
    match T::DTYPE {
        Dtype::F32 if depthwise::is(g) => depthwise::filters_scratch(g) * 4,
        Dtype::F32 => Filters::new(g, Simd::best()).scratch() * 4,
        _ => 0,
    }
}

/// A convolution to do.
#[derive(Clone, Copy)]
struct Conv<'a> {
    workers: &'a Workers,
    g: &'a ConvGeometry,
    /// Whether it may take fewer multiply-adds than its definition has.
    winograd: bool,
    /// Elements from one cell of the image, and of the output, or of their gradients, to the next.
    pitches: [usize; 2],
}

impl<'a> Conv<'a> {
    /// One of tensors without gaps.
    fn new(workers: &'a Workers, g: &'a ConvGeometry, winograd: bool) -> Self {
        Self { workers, g, winograd, pitches: [size(g.c), size(g.k)] }
    }

    /// y ← neuron(x ∗ w + b). b: k values, or p·q·k when untied.
    fn forward<T: Real>(&self, x: &[T], w: &[T], b: Option<&[T]>, neuron: Neuron, y: &mut [T], scratch: &mut [T]) {
        let &Self { workers, g, winograd, pitches } = self;
        let untied = b.is_some_and(|b| b.len() != size(g.k));
        if T::DTYPE != Dtype::F32 || g.output().elements() == 0 {
            return Nest::new(g, Owner::All).pitched(pitches).forward(workers, x, w, b, neuron, y);
        }
        if is_product(g) && !untied {
            let factors = Factors { bias: b, neuron, pitches, ..Factors::new(forward_product(g), x, w) };
            return product(workers, &factors, Target::set(y), scratch);
        }
        let simd = Simd::best();
        let (x, w, b, y, scratch) = (floats(x), floats(w), b.map(floats), floats_mut(y), floats_mut(scratch));
        if depthwise::is(g) {
            depthwise::forward(self, x, w, b, neuron == Neuron::Relu, y, scratch);
            return finish_neuron(workers, neuron, y, [size(g.k), pitches[1]]);
        }
        let gather = Gather { pitch_in: pitches[0], pitch_out: pitches[1], ..forward_gather(g, simd) };
        let pack = |group: usize, columns: Range<usize>, panel: &mut [f32], pitch: usize| {
            pack_filters(simd, g, w, group, columns, panel, pitch);
        };
        let bias = b.map(|b| (b, if untied { size(g.k) } else { 0 }));
        let finish = Finish { bias, relu: neuron == Neuron::Relu, ..Finish::sums(false) };
        match Winograd::forward(g, simd).filter(|_| winograd && !untied) {
            Some(winner) => winner.pitched(pitches).run(workers, x, pack, &finish, y, scratch),
            None => gather.run(workers, x, pack, &finish, y, scratch),
        }
        finish_neuron(workers, neuron, y, [size(g.k), pitches[1]]);
    }

    /// dx ← dy ∗ᵀ w, or dx += …; then multiplied by the derivative of the relu whose outputs, and the distance of their cells,
    /// are `seen`.
    fn backward_image<T: Real>(&self, dy: &[T], w: &[T], seen: Option<(&[T], usize)>, dx: Target<&mut [T]>, scratch: &mut [T]) {
        let &Self { workers, g, winograd, pitches: [dx_pitch, dy_pitch] } = self;
        let pitches = [dy_pitch, dx_pitch];
        if T::DTYPE != Dtype::F32 || g.input().elements() == 0 {
            return Nest::new(g, Owner::All).pitched(self.pitches).backward_image(workers, dy, w, dx, seen);
        }
        let way = ImageWay::new(g, winograd);
        if let ImageWay::Product = way {
            let factors = Factors { pitches, seen, ..Factors::new(image_product(g), dy, w) };
            return product(workers, &factors, dx, scratch);
        }
        let simd = Simd::best();
        let (dy, w, dx, scratch) = (floats(dy), floats(w), floats_target(dx), floats_mut(scratch));
        let seen = seen.map(|(seen, pitch)| (floats(seen), pitch));
        let finish = Finish { seen, ..Finish::sums(dx.adds()) };
        match way {
            ImageWay::Winograd(winner) => {
                let pack = |group: usize, columns: Range<usize>, panel: &mut [f32], pitch: usize| {
                    pack_flipped(simd, g, w, group, columns, panel, pitch);
                };
                winner.pitched(pitches).run(workers, dy, pack, &finish, dx.at, scratch);
            }
            ImageWay::Depthwise => depthwise::backward_image(self, dy, w, seen, dx, scratch),
            ImageWay::Scatter => scatter::run(self, dy, w, seen, dx, scratch),
            _ => self.gather_image(dy, w, &finish, dx.at, scratch),
        }
    }

    /// The image gradient gathered, one pair of phases after the other.
    fn gather_image(&self, dy: &[f32], w: &[f32], finish: &Finish<'_>, dx: &mut [f32], scratch: &mut [f32]) {
        let &Self { workers, g, pitches: [pitch_out, pitch_in], .. } = self;
        let simd = Simd::best();
        let (r, s, cg, kg) = (size(g.r), size(g.s), size(g.c / g.groups), size(g.k / g.groups));
        if !finish.add && leaves_cells(g) {
            each_run(workers, dx.len() / 4, dx, [size(g.c), pitch_out], |dx| dx.fill(0.0));
        }
        phases(g, |rows, columns| {
            let (taps_h, taps_w) = (rows.axis.taps, columns.axis.taps);
            if taps_h == 0 || taps_w == 0 {
                // No filter reaches these cells, so nothing is added, but what they hold is still multiplied by the derivative.
                if let Some(seen) = finish.seen.filter(|_| finish.add) {
                    self.mask_cells(&rows.axis, &columns.axis, seen, dx);
                }
                return;
            }
            let pack = |group: usize, channels: Range<usize>, panel: &mut [f32], pitch: usize| {
                for (tap, panel) in panel.chunks_exact_mut(kg * pitch).enumerate() {
                    let (i, j) = (rows.last - tap / taps_w * rows.step, columns.last - tap % taps_w * columns.step);
                    let from = ((group * kg * r + i) * s + j) * cg + channels.start;
                    simd.copy(&w[from..], [0, r * s * cg], panel, [0, pitch], channels.len(), [1, kg]);
                }
                clear_tails(panel, pitch, channels.len());
            };
            let gather = Gather { pitch_in, pitch_out, ..image_gather(g, rows.axis, columns.axis) };
            gather.run(workers, dy, pack, finish, dx, scratch);
        });
    }

    /// Multiplies the cells of a pair of phases by the derivative of the relu whose outputs, and the distance of their cells, are
    /// `seen`.
    fn mask_cells(&self, rows: &Axis, columns: &Axis, (seen, seen_pitch): (&[f32], usize), dx: &mut [f32]) {
        let &Self { workers, g, pitches: [pitch, _], .. } = self;
        let (c, width, cells) = (size(g.c), size(g.w), size(g.h * g.w));
        workers.large_pieces(dx.len() / 4, cells * pitch, dx, |image, dx| {
            for (i, j) in (0..rows.outputs).flat_map(|i| (0..columns.outputs).map(move |j| (i, j))) {
                let cell = (rows.first + i * rows.step) * width + columns.first + j * columns.step;
                let seen = &seen[(image * cells + cell) * seen_pitch..][..c];
                neuron::mask(Neuron::Relu, c, (seen, c), (&mut dx[cell * pitch..][..c], c));
            }
        });
    }

    /// dw ← Σ over images and places of dy · x, or dw += ….
    fn backward_filters<T: Real>(&self, x: &[T], dy: &[T], dw: Target<&mut [T]>, scratch: &mut [T]) {
        let &Self { workers, g, winograd, pitches } = self;
        if T::DTYPE != Dtype::F32 || g.output().elements() == 0 || dw.at.is_empty() {
            return Nest::new(g, Owner::All).pitched(pitches).backward_filters(workers, x, dy, dw);
        }
        let (x, dy, dw, scratch) = (floats(x), floats(dy), floats_target(dw), floats_mut(scratch));
        if depthwise::is(g) {
            return depthwise::backward_filters(self, x, dy, dw, scratch);
        }
        match Gradient::new(g, Simd::best()).filter(|_| winograd) {
            Some(winner) => winner.pitched(pitches).run(workers, x, dy, dw, scratch),
            None => Filters::new(g, Simd::best()).pitched(pitches).run(workers, x, dy, dw, scratch),
        }
    }
}

/// Applies a neuron that the tiles do not, to cells of some channels, so far apart.
pub(super) fn finish_neuron(workers: &Workers, neuron: Neuron, y: &mut [f32], cells: [usize; 2]) {
    if neuron != Neuron::NONE && neuron != Neuron::Relu {
        each_run(workers, y.len() * 4, y, cells, |y| neuron::apply(neuron, y));
    }
}

/// Calls `work` for runs that make up all cells, of `channels` elements, `pitch` apart, on all threads.
fn each_run(
    workers: &Workers,
    nanoseconds: usize,
    y: &mut [f32],
    [channels, pitch]: [usize; 2],
    work: impl Fn(&mut [f32]) + Send + Sync,
) {
    const RUN: usize = 1 << 14;
    if channels == pitch {
        return workers.large_pieces(nanoseconds, RUN, y, |_, y| work(y));
    }
    workers.large_pieces(nanoseconds, RUN.div_ceil(pitch) * pitch, y, |_, y| {
        y.chunks_mut(pitch).for_each(|y| work(&mut y[..channels]));
    });
}

/// Zeros the columns that pad each step of a panel to whole vectors.
pub(super) fn clear_tails(panel: &mut [f32], pitch: usize, columns: usize) {
    if columns < pitch {
        panel.chunks_exact_mut(pitch).for_each(|step| step[columns..].fill(0.0));
    }
}

/// Some filters of a group, for the forward pass: [tap][channel][pitch].
fn pack_filters(simd: &Simd, g: &ConvGeometry, w: &[f32], group: usize, filters: Range<usize>, panel: &mut [f32], pitch: usize) {
    let (kg, steps) = (size(g.k / g.groups), g.filters().image());
    simd.transpose(&w[(group * kg + filters.start) * steps..], steps, panel, pitch, filters.len(), steps);
    clear_tails(panel, pitch, filters.len());
}

/// The filters of some channels of a group, for the image gradient: [tap, the last one first][filter][pitch].
fn pack_flipped(simd: &Simd, g: &ConvGeometry, w: &[f32], group: usize, channels: Range<usize>, panel: &mut [f32], pitch: usize) {
    let (taps, cg, kg) = (size(g.r * g.s), size(g.c / g.groups), size(g.k / g.groups));
    for (tap, panel) in panel.chunks_exact_mut(kg * pitch).enumerate() {
        let from = (group * kg * taps + taps - 1 - tap) * cg + channels.start;
        simd.copy(&w[from..], [0, taps * cg], panel, [0, pitch], channels.len(), [1, kg]);
    }
    clear_tails(panel, pitch, channels.len());
}

/// The slice as what it is: only called where `T` is f32.
pub(super) fn floats<T: Real>(x: &[T]) -> &[f32] {
    bytemuck::cast_slice(x)
}

/// As [`floats`].
pub(super) fn floats_mut<T: Real>(x: &mut [T]) -> &mut [f32] {
    bytemuck::cast_slice_mut(x)
}

/// As [`floats`].
pub(super) fn floats_target<T: Real>(x: Target<&mut [T]>) -> Target<&mut [f32]> {
    Target { at: floats_mut(x.at), into: x.into }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::device::cpu::arena::tests::{has_the_bits_of_dense_tensors, has_the_bits_of_its_parts};
    use crate::device::{Rounding, Shape, Window, output_size};
    use crate::op::Write;

    /// Numbers in −1 … 1 that look random and are the same everywhere.
    pub fn numbers(seed: u32, n: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let next = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(n).collect()
    }

    /// Compares with a reference; `sizes` are the sums of |terms|, and `depth` the terms of each.
    pub fn compare(what: &str, got: &[f32], want: &[f64], sizes: &[f64], depth: usize) {
        assert_eq!((got.len(), sizes.len()), (want.len(), want.len()), "{what}: lengths");
        let scale = (4.0 + (depth as f64).sqrt()) * f64::from(f32::EPSILON) / 2.0;
        let excess = |i: usize| {
            let ratio = (f64::from(got[i]) - want[i]).abs() / (scale * sizes[i] + 1e-30);
            if ratio.is_nan() { f64::INFINITY } else { ratio }
        };
        let Some(worst) = (0..got.len()).max_by(|&i, &j| excess(i).total_cmp(&excess(j))) else { return };
        let (value, wanted, bound) = (got[worst], want[worst], scale * sizes[worst]);
        assert!(excess(worst) <= 1.0, "{what}: worst element {worst}: {value} instead of {wanted}, more than {bound} apart");
    }

    pub fn doubles(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    pub fn sizes_of(x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| x.abs()).collect()
    }

    struct Case {
        name: &'static str,
        g: ConvGeometry,
    }

    /// n, [h, w], c → k in groups, [r, s], strides, padding, dilation.
    type Sizes = (i32, [i32; 2], [i32; 3], [i32; 2], [i32; 2], [i32; 2], [i32; 2]);

    fn case(name: &'static str, sizes: Sizes, rounding: Rounding) -> Case {
        let (n, [h, w], [c, k, groups], [r, s], [stride_h, stride_w], [padding_h, padding_w], [dilation_h, dilation_w]) = sizes;
        let outputs = |input, size, stride, padding, dilation| {
            let u = |x: i32| x as usize;
            let window = Window { size: u(size), stride: u(stride), padding: u(padding), dilation: u(dilation) };
            output_size(u(input), window, rounding).expect("the case has outputs") as i32
        };
        let p = outputs(h, r, stride_h, padding_h, dilation_h);
        let q = outputs(w, s, stride_w, padding_w, dilation_w);
        #[rustfmt::skip]
        let g = ConvGeometry {
            n, h, w, c, k, r, s, p, q, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups,
        };
        Case { name, g }
    }

    #[rustfmt::skip]
    fn cases() -> Vec<Case> {
        use Rounding::{Ceil, Floor};
        vec![
            case("1×1 image", (1, [1, 1], [1, 1, 1], [1, 1], [1, 1], [0, 0], [1, 1]), Floor),
            case("1×1 image in padding", (2, [1, 1], [3, 5, 1], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
            case("filter larger than the image", (2, [3, 2], [2, 19, 1], [5, 7], [1, 1], [2, 3], [1, 1]), Floor),
            case("stride larger than the filter", (2, [11, 13], [3, 7, 1], [2, 3], [3, 5], [0, 1], [1, 1]), Floor),
            case("partial windows", (2, [10, 9], [5, 17, 1], [3, 4], [2, 3], [0, 0], [1, 1]), Ceil),
            case("partial windows in padding", (3, [7, 8], [4, 33, 1], [4, 3], [3, 2], [1, 2], [1, 1]), Ceil),
            case("windows outside", (1, [4, 4], [2, 3, 1], [2, 2], [1, 1], [3, 4], [1, 1]), Floor),
            case("dilation", (2, [12, 15], [3, 18, 1], [3, 3], [1, 1], [2, 1], [2, 3]), Floor),
            case("dilation and stride", (2, [17, 16], [5, 6, 1], [3, 2], [2, 3], [3, 1], [3, 2]), Floor),
            case("dilation and stride share 2", (2, [17, 16], [3, 20, 1], [3, 4], [4, 2], [2, 2], [2, 2]), Ceil),
            case("groups", (3, [9, 8], [6, 40, 2], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
            case("groups, stride, in place", (2, [9, 11], [12, 9, 3], [3, 2], [2, 1], [0, 0], [1, 1]), Floor),
            case("depthwise", (3, [9, 10], [37, 37, 37], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
            case("depthwise, stride", (2, [9, 10], [16, 16, 16], [3, 2], [2, 3], [1, 0], [1, 2]), Floor),
            case("depthwise, two filters a channel", (2, [6, 5], [5, 10, 5], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
            case("rectangular", (1, [6, 31], [3, 50, 1], [1, 7], [1, 2], [0, 3], [1, 1]), Floor),
            case("1×1", (3, [7, 9], [19, 35, 1], [1, 1], [1, 1], [0, 0], [1, 1]), Floor),
            case("1×1, stride", (3, [7, 9], [19, 35, 1], [1, 1], [2, 2], [0, 0], [1, 1]), Floor),
            case("1×1, padding", (1, [4, 3], [8, 16, 1], [1, 1], [1, 1], [1, 2], [1, 1]), Floor),
            case("LeNet 1", (5, [28, 28], [1, 20, 1], [5, 5], [1, 1], [0, 0], [1, 1]), Floor),
            case("LeNet 2", (17, [12, 12], [20, 50, 1], [5, 5], [1, 1], [0, 0], [1, 1]), Floor),
            case("cifar 1", (3, [32, 32], [3, 32, 1], [5, 5], [1, 1], [2, 2], [1, 1]), Floor),
            case("AlexNet 1", (1, [67, 67], [3, 96, 1], [11, 11], [4, 4], [0, 0], [1, 1]), Floor),
            case("wide", (2, [14, 14], [65, 130, 1], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
            case("wide, stride", (2, [15, 14], [64, 48, 1], [3, 3], [2, 2], [1, 1], [1, 1]), Floor),
            case("1×1, wide", (2, [14, 14], [300, 520, 1], [1, 1], [1, 1], [0, 0], [1, 1]), Floor),
            case("5×5, wide", (2, [9, 11], [48, 64, 2], [5, 5], [1, 1], [2, 1], [1, 1]), Floor),
            case("large filters' gradient", (2, [3, 3], [300, 301, 1], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
            case("a row too long for a band", (1, [4, 700], [130, 2, 1], [3, 3], [1, 1], [1, 1], [1, 1]), Floor),
        ]
    }

    /// The three passes' results of f32 on some threads, the gradients set or added to what is there.
    fn passes(threads: usize, g: &ConvGeometry, untied: bool, neuron: Neuron, into: Write) -> [Vec<f32>; 3] {
        let workers = Workers::new(threads);
        let [x, w, dy] = [(1, g.input()), (2, g.filters()), (3, g.output())].map(|(seed, shape)| numbers(seed, shape.elements()));
        let b = numbers(4, if untied { g.output().image() } else { g.k as usize });
        // Scratch holds anything: here numbers that would be seen.
        let scratch = |bytes: usize| vec![1e30_f32; bytes / 4];
        let mut y = vec![f32::NAN; dy.len()];
        let (mut dx, mut dw) = (numbers(5, x.len()), numbers(6, w.len()));
        let conv = Conv::new(&workers, g, false);
        conv.forward(&x, &w, Some(&b[..]), neuron, &mut y, &mut scratch(forward_scratch::<f32>(g, false)));
        let mut image_scratch = scratch(backward_image_scratch::<f32>(g, false));
        conv.backward_image(&dy, &w, None, Target { at: &mut dx[..], into }, &mut image_scratch);
        let mut filters_scratch = scratch(backward_filters_scratch::<f32>(g, false));
        conv.backward_filters(&x, &dy, Target { at: &mut dw[..], into }, &mut filters_scratch);
        [y, dx, dw]
    }

    /// The same by the definition in f64, of the numbers or of their sizes.
    fn reference(g: &ConvGeometry, untied: bool, neuron: Neuron, into: Write, of: fn(&[f64]) -> Vec<f64>) -> [Vec<f64>; 3] {
        let workers = Workers::new(1);
        let numbers = |seed, n| of(&doubles(&numbers(seed, n)));
        let [x, w, dy] = [(1, g.input()), (2, g.filters()), (3, g.output())].map(|(seed, shape)| numbers(seed, shape.elements()));
        let b = numbers(4, if untied { g.output().image() } else { g.k as usize });
        let mut y = vec![f64::NAN; dy.len()];
        let (mut dx, mut dw) = (numbers(5, x.len()), numbers(6, w.len()));
        let conv = Conv::new(&workers, g, false);
        conv.forward(&x, &w, Some(&b[..]), neuron, &mut y, &mut []);
        conv.backward_image(&dy, &w, None, Target { at: &mut dx[..], into }, &mut []);
        conv.backward_filters(&x, &dy, Target { at: &mut dw[..], into }, &mut []);
        [y, dx, dw]
    }

    /// f32's fast paths against the definition in f64, over odd geometries; biases tied and untied, neurons fused and not,
    /// gradients set and added. The bound is (4 + √depth) half-ulps of the sum of |terms|.
    #[test]
    fn f32_is_the_definition() {
        for (i, Case { name, g }) in cases().iter().enumerate() {
            for (untied, neuron, into) in [
                (false, Neuron::NONE, Write::Set),
                (i % 2 == 0, Neuron::Relu, Write::Add),
                (i % 2 == 1, Neuron::Tanh { a: 1.0, b: 0.5 }, Write::Set),
            ] {
                let got = passes(2, g, untied, neuron, into);
                let want = reference(g, untied, neuron, into, <[f64]>::to_vec);
                let sizes = reference(g, untied, Neuron::NONE, into, sizes_of);
                let depth = g.filters().image();
                let depths = [depth, g.filters().n * size(g.r * g.s), g.input().n * size(g.p * g.q)];
                for (pass, ((got, want), (sizes, depth))) in got.iter().zip(&want).zip(sizes.iter().zip(depths)).enumerate() {
                    let pass = ["forward", "image gradient", "filter gradient"][pass];
                    compare(&format!("{name}, {pass}, {into:?}, {neuron:?}"), got, want, sizes, depth);
                }
            }
        }
    }

    /// One thread and two give the same bits, and so does doing it again.
    #[test]
    fn threads_do_not_change_bits() {
        for Case { name, g } in cases() {
            let bits = |passes: [Vec<f32>; 3]| passes.map(|x| x.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            let one = bits(passes(1, &g, false, Neuron::Relu, Write::Add));
            let two = bits(passes(2, &g, false, Neuron::Relu, Write::Add));
            let three = bits(passes(3, &g, false, Neuron::Relu, Write::Add));
            assert!(one == two, "{name}: two threads give other bits than one");
            assert!(one == three, "{name}: three threads give other bits than one");
        }
    }

    /// Gaps change no bit of any pass, and are taken by all but image gradients that are scattered.
    #[test]
    fn gaps_change_no_bits() {
        for (i, Case { name, g }) in cases().into_iter().enumerate() {
            let ([x, y], [x_gap, y_gap]) = ([g.input(), g.output()], [(5, 16), (0, 3), (7, 0)][i % 3].into());
            let (w, bias) = ((g.filters(), 0), (Shape::new(1, 1, 1, y.c), 0));
            let (neuron, into) = ([Neuron::Relu, Neuron::Tanh { a: 1.0, b: 0.5 }][i % 2], [Write::Set, Write::Add][i / 2 % 2]);
            let forward = ConvForward { geometry: g, neuron, x: 0, w: 1, b: Some(2), y: 3 };
            let has = has_the_bits_of_dense_tensors(forward, &[(x, x_gap), w, bias, (y, y_gap)]);
            assert!(has, "{name}, forward");
            let filters = ConvBackwardFilters { geometry: g, x: 0, dy: 1, dw: Target { at: 2, into } };
            assert!(has_the_bits_of_dense_tensors(filters, &[(x, x_gap), (y, y_gap), w]), "{name}, filter gradient");
            let dx = Target { at: 2, into };
            let image = ConvBackwardImage { geometry: g, neuron: Neuron::NONE, dy: 0, w: 1, seen: None, dx };
            let has = has_the_bits_of_dense_tensors(image, &[(y, y_gap), w, (x, x_gap)]);
            assert!(has || scatter::wins(&g, Simd::best()), "{name}, image gradient");
            assert!(has_the_bits_of_dense_tensors(image, &[(y, y_gap), w, (x, 0)]), "{name}, image gradient");
        }
    }

    /// An image gradient that is multiplied by a relu's derivative has the bits of the two, with gaps and without.
    #[test]
    fn fused_image_gradients_have_the_bits_of_their_parts() {
        for (i, Case { name, g }) in cases().into_iter().enumerate() {
            let ([x, y], w) = ([g.input(), g.output()], (g.filters(), 0));
            for into in [Write::Set, Write::Add] {
                let dx = Target { at: 3, into };
                let op = ConvBackwardImage { geometry: g, neuron: Neuron::Relu, dy: 0, w: 1, seen: Some(2), dx };
                let has = has_the_bits_of_its_parts(op, &[(y, 0), w, (x, 0), (x, 0)]);
                assert!(has, "{name}, {into:?}");
                let gaps = [[3, 0, 0], [0, 8, 4], [16, 2, 9]][i % 3];
                let has = has_the_bits_of_its_parts(op, &[(y, gaps[0]), w, (x, gaps[1]), (x, gaps[2])]);
                assert!(has || scatter::wins(&g, Simd::best()), "{name}, {into:?}, with gaps");
            }
        }
    }

    /// Every instruction set that this machine has gathers and sums filter gradients as the definition says.
    #[test]
    fn every_instruction_set_is_the_definition() {
        let workers = Workers::new(1);
        for Case { name, g } in cases() {
            let [_, _, dw_sizes] = reference(&g, false, Neuron::NONE, Write::Set, sizes_of);
            let [_, _, dw] = reference(&g, false, Neuron::NONE, Write::Set, <[f64]>::to_vec);
            let (x, dy) = (numbers(1, g.input().elements()), numbers(3, g.output().elements()));
            let w = numbers(2, dw.len());
            let zeros = vec![0.0; size(g.k)];
            let mut y = vec![0.0; dy.len()];
            let mut y_sizes = y.clone();
            let conv = Conv::new(&workers, &g, false);
            let run = |x: &[f64], w: &[f64], y: &mut [f64]| conv.forward(x, w, Some(&zeros), Neuron::NONE, y, &mut []);
            run(&doubles(&x), &doubles(&w), &mut y);
            run(&sizes_of(&doubles(&x)), &sizes_of(&doubles(&w)), &mut y_sizes);
            for simd in Simd::all() {
                let filters = Filters::new(&g, simd);
                let mut got = vec![f32::NAN; dw.len()];
                filters.run(&workers, &x, &dy, Target::set(&mut got[..]), &mut vec![1e30; filters.scratch()]);
                let what = format!("{name}, filter gradient, {}", simd.name);
                compare(&what, &got, &dw, &dw_sizes, g.input().n * size(g.p * g.q));

                let gather = forward_gather(&g, simd);
                let pack = |group: usize, columns: Range<usize>, panel: &mut [f32], pitch: usize| {
                    pack_filters(simd, &g, &w, group, columns, panel, pitch);
                };
                let mut got = vec![f32::NAN; y.len()];
                gather.run(&workers, &x, pack, &Finish::sums(false), &mut got, &mut vec![1e30; gather.scratch()]);
                compare(&format!("{name}, forward, {}", simd.name), &got, &y, &y_sizes, g.filters().image());
            }
        }
    }
}
