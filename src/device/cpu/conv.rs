//! Convolution, its image gradient and its filter gradient, on NHWC images and `[k][r][s][c/groups]` filters.
//!
//! f64 runs the definition's loop nests (`conv/plain.rs`): it is the reference. f32 runs on the micro-kernels of `simd.rs`:
//! forward and image gradient gather (`conv/gather.rs`), the filter gradient is a product over all places
//! (`conv/filters.rs`), unpadded image gradients of few channels scatter (`conv/scatter.rs`), filters of one channel a group
//! vectorise over the channels (`conv/depthwise.rs`), 1 × 1 filters of stride 1 are matrix products of the image as it lies
//! (`gemm.rs`), and wide 3 × 3 and 5 × 5 ones of stride 1 take fewer multiply-adds (`conv/winograd.rs`) where `winograd` allows it. No
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

use super::simd::{Finish, Simd};
use super::{Real, Workers, gemm, neuron};
use crate::device::{ConvGeometry, Dtype, Into, Neuron, Product};
use filters::Filters;
pub(super) use gather::Axis;
use gather::Gather;
use plain::Owner;
use rayon::prelude::*;
use winograd::{Gradient, Winograd};

/// Pieces that take fewer nanoseconds altogether run on the calling thread: waking another takes as long.
const WORTH_WAKING: usize = 20_000;

/// Calls `work(i, piece)` for each piece of `size` elements of `y`, on all threads where all of it takes about `nanoseconds`
/// on one core and that is worth it. One piece at a time is dealt: they are few and large.
pub(super) fn spread(
    workers: &Workers,
    nanoseconds: usize,
    size: usize,
    y: &mut [f32],
    work: impl Fn(usize, &mut [f32]) + Send + Sync,
) {
    if nanoseconds < WORTH_WAKING || y.len() <= size || workers.threads() == 1 {
        y.chunks_mut(size).enumerate().for_each(|(i, y)| work(i, y));
    } else {
        workers.run(|| y.par_chunks_mut(size).enumerate().with_max_len(1).for_each(|(i, y)| work(i, y)));
    }
}

/// Copies a part of an image, [rows, columns] of `size` starting at `start` (outside the image: zeros), and of its channels
/// `first` .. `first + depth`, to the start of `to`, without gaps. The image is [`image[0]`][`image[1]`][channels].
#[allow(clippy::too_many_arguments)]
fn pad(
    simd: &Simd,
    x: &[f32],
    image: [usize; 2],
    channels: usize,
    first: usize,
    depth: usize,
    start: [isize; 2],
    size: [usize; 2],
    to: &mut [f32],
) {
    let line = size[1] * depth;
    // The columns left of the image, in it, and right of it.
    let left = (-start[1]).clamp(0, size[1] as isize) as usize;
    let right = (start[1] + size[1] as isize - image[1] as isize).clamp(0, (size[1] - left) as isize) as usize;
    let inner = size[1] - left - right;
    for (i, to) in to.chunks_exact_mut(line).take(size[0]).enumerate() {
        let row = start[0] + i as isize;
        if row < 0 || row >= image[0] as isize || inner == 0 {
            to.fill(0.0);
            continue;
        }
        let column = (start[1] + left as isize) as usize;
        let x = &x[(row as usize * image[1] + column) * channels + first..];
        to[..left * depth].fill(0.0);
        to[(left + inner) * depth..].fill(0.0);
        let to = &mut to[left * depth..(left + inner) * depth];
        if depth == channels {
            to.copy_from_slice(&x[..to.len()]);
        } else {
            simd.copy(x, [0, channels], to, [0, depth], depth, [1, inner]);
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
fn forward_product(g: &ConvGeometry) -> Product {
    Product { m: g.n * g.p * g.q, n: g.k, k: g.c, transpose_a: 0, transpose_b: 1 }
}

/// … and its image gradient: dx = dy · w.
fn image_product(g: &ConvGeometry) -> Product {
    Product { m: g.n * g.p * g.q, n: g.c, k: g.k, transpose_a: 0, transpose_b: 0 }
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
fn forward_gather(g: &ConvGeometry) -> Gather {
    let [rows, columns] = axes(g);
    Gather {
        images: size(g.n),
        rows,
        columns,
        groups: size(g.groups),
        depth: size(g.c / g.groups),
        outputs: size(g.k / g.groups),
        channels_in: size(g.c),
        channels_out: size(g.k),
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
fn image_gather(g: &ConvGeometry, rows: Axis, columns: Axis) -> Gather {
    Gather {
        images: size(g.n),
        rows,
        columns,
        groups: size(g.groups),
        depth: size(g.k / g.groups),
        outputs: size(g.c / g.groups),
        channels_in: size(g.k),
        channels_out: size(g.c),
        height: size(g.h),
        width: size(g.w),
    }
}

/// Bytes of scratch that [`forward`] wants.
pub fn forward_scratch<T: Real>(g: &ConvGeometry, winograd: bool) -> usize {
    match T::DTYPE {
        Dtype::F32 if depthwise::is(g) => depthwise::scratch(g) * 4,
        Dtype::F32 => {
            // Untied biases make a gather of any.
            let gather = forward_gather(g).scratch(Simd::best()) * 4;
            if let Some(winner) = Winograd::forward(g, Simd::best()).filter(|_| winograd) {
                return gather.max(winner.scratch() * 4);
            }
            if is_product(g) { gather.max(gemm::scratch::<T>(&forward_product(g))) } else { gather }
        }
        _ => 0,
    }
}

/// Bytes of scratch that [`backward_image`] wants.
pub fn backward_image_scratch<T: Real>(g: &ConvGeometry, winograd: bool) -> usize {
    if T::DTYPE == Dtype::F32
        && let Some(winner) = Winograd::image(g, Simd::best()).filter(|_| winograd)
    {
        return winner.scratch() * 4;
    }
    match T::DTYPE {
        Dtype::F32 if depthwise::is(g) => depthwise::scratch(g) * 4,
        Dtype::F32 if scatter::wins(g, Simd::best()) => scatter::scratch(g, Simd::best()) * 4,
        Dtype::F32 if is_product(g) => gemm::scratch::<T>(&image_product(g)),
        Dtype::F32 => {
            let mut most = 0;
            phases(g, |rows, columns| {
                if rows.axis.taps > 0 && columns.axis.taps > 0 {
                    most = most.max(image_gather(g, rows.axis, columns.axis).scratch(Simd::best()));
                }
            });
            most * 4
        }
        _ => 0,
    }
}

/// Bytes of scratch that [`backward_filters`] wants.
pub fn backward_filters_scratch<T: Real>(g: &ConvGeometry, winograd: bool) -> usize {
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

/// y ← neuron(x ∗ w + b). b: k values, or p·q·k when untied.
#[allow(clippy::too_many_arguments)]
pub fn forward<T: Real>(
    workers: &Workers,
    g: &ConvGeometry,
    winograd: bool,
    x: &[T],
    w: &[T],
    b: Option<&[T]>,
    neuron: Neuron,
    y: &mut [T],
    scratch: &mut [T],
) {
    let untied = b.is_some_and(|b| b.len() != size(g.k));
    if T::DTYPE != Dtype::F32 || g.output().elements() == 0 {
        return plain::forward(workers, g, Owner::All, x, w, b, neuron, y);
    }
    if is_product(g) && !untied {
        return gemm::product(workers, &forward_product(g), x, w, b, neuron, y, Into::Set, scratch);
    }
    let simd = Simd::best();
    let gather = forward_gather(g);
    let (x, w) = (floats(x), floats(w));
    if depthwise::is(g) {
        depthwise::forward(workers, g, simd, x, w, b.map(floats), neuron, floats_mut(y), floats_mut(scratch));
        return finish_neuron(workers, neuron, floats_mut(y));
    }
    let steps = size(g.r * g.s * (g.c / g.groups));
    let pack = |group: usize, first: usize, columns: usize, panel: &mut [f32], pitch: usize| {
        simd.transpose(&w[(group * gather.outputs + first) * steps..], steps, panel, pitch, columns, steps);
        clear_tails(panel, pitch, columns);
    };
    let bias = b.map(|b| (floats(b), if untied { size(g.k) } else { 0 }));
    let finish = Finish { add: false, bias, relu: neuron == Neuron::Relu };
    match Winograd::forward(g, simd).filter(|_| winograd && !untied) {
        Some(winner) => winner.run(workers, x, pack, &finish, floats_mut(y), floats_mut(scratch)),
        None => gather.run(workers, simd, x, pack, &finish, floats_mut(y), floats_mut(scratch)),
    }
    finish_neuron(workers, neuron, floats_mut(y));
}

/// Applies a neuron that the tiles do not.
pub(super) fn finish_neuron(workers: &Workers, neuron: Neuron, y: &mut [f32]) {
    if neuron != Neuron::NONE && neuron != Neuron::Relu {
        spread(workers, y.len() * 4, 1 << 14, y, |_, y| neuron::apply(neuron, y));
    }
}

/// Zeros the columns that pad each step of a panel to whole vectors.
pub(super) fn clear_tails(panel: &mut [f32], pitch: usize, columns: usize) {
    if columns < pitch {
        panel.chunks_exact_mut(pitch).for_each(|step| step[columns..].fill(0.0));
    }
}

/// The filters of `count` channels from the group's channel `first` on, for the image gradient: [taps, the last one
/// first][filter][pitch].
#[allow(clippy::too_many_arguments)]
fn flipped(simd: &Simd, g: &ConvGeometry, w: &[f32], group: usize, first: usize, count: usize, panel: &mut [f32], pitch: usize) {
    let (taps, cg, kg) = (size(g.r * g.s), size(g.c / g.groups), size(g.k / g.groups));
    for (tap, panel) in panel.chunks_exact_mut(kg * pitch).enumerate() {
        let from = (group * kg * taps + taps - 1 - tap) * cg + first;
        simd.copy(&w[from..], [0, taps * cg], panel, [0, pitch], count, [1, kg]);
    }
    clear_tails(panel, pitch, count);
}

/// dx ← dy ∗ᵀ w, or dx += ….
#[allow(clippy::too_many_arguments)]
pub fn backward_image<T: Real>(
    workers: &Workers,
    g: &ConvGeometry,
    winograd: bool,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    into: Into,
    scratch: &mut [T],
) {
    if T::DTYPE != Dtype::F32 || g.input().elements() == 0 {
        return plain::backward_image(workers, g, Owner::All, dy, w, dx, into);
    }
    if let Some(winner) = Winograd::image(g, Simd::best()).filter(|_| winograd) {
        let finish = Finish { add: into == Into::Add, bias: None, relu: false };
        let (dy, w) = (floats(dy), floats(w));
        return winner.run(
            workers,
            dy,
            |i, j, n, to, pitch| flipped(Simd::best(), g, w, i, j, n, to, pitch),
            &finish,
            floats_mut(dx),
            floats_mut(scratch),
        );
    }
    if depthwise::is(g) {
        let (dy, w, scratch) = (floats(dy), floats(w), floats_mut(scratch));
        return depthwise::backward_image(workers, g, Simd::best(), dy, w, floats_mut(dx), into, scratch);
    }
    if scatter::wins(g, Simd::best()) {
        let (dy, w) = (floats(dy), floats(w));
        return scatter::run(workers, g, Simd::best(), dy, w, floats_mut(dx), into, floats_mut(scratch));
    }
    if is_product(g) {
        return gemm::product(workers, &image_product(g), dy, w, None, Neuron::NONE, dx, into, scratch);
    }
    let simd = Simd::best();
    let (dy, w, dx, scratch) = (floats(dy), floats(w), floats_mut(dx), floats_mut(scratch));
    let (r, s, cg, kg) = (size(g.r), size(g.s), size(g.c / g.groups), size(g.k / g.groups));
    let finish = Finish { add: into == Into::Add, bias: None, relu: false };
    let mut untouched = false;
    phases(g, |rows, columns| untouched |= rows.axis.taps == 0 || columns.axis.taps == 0);
    if untouched && into == Into::Set {
        spread(workers, dx.len() / 4, 1 << 16, dx, |_, dx| dx.fill(0.0));
    }
    phases(g, |rows, columns| {
        let (taps_h, taps_w) = (rows.axis.taps, columns.axis.taps);
        if taps_h == 0 || taps_w == 0 {
            return;
        }
        let pack = |group: usize, first: usize, count: usize, panel: &mut [f32], pitch: usize| {
            for (tap, panel) in panel.chunks_exact_mut(kg * pitch).enumerate() {
                let (i, j) = (rows.last - tap / taps_w * rows.step, columns.last - tap % taps_w * columns.step);
                let from = ((group * kg * r + i) * s + j) * cg + first;
                simd.copy(&w[from..], [0, r * s * cg], panel, [0, pitch], count, [1, kg]);
            }
            clear_tails(panel, pitch, count);
        };
        image_gather(g, rows.axis, columns.axis).run(workers, simd, dy, pack, &finish, dx, scratch);
    });
}

/// dw ← Σ over images and places of dy · x, or dw += ….
#[allow(clippy::too_many_arguments)]
pub fn backward_filters<T: Real>(
    workers: &Workers,
    g: &ConvGeometry,
    winograd: bool,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    into: Into,
    scratch: &mut [T],
) {
    if T::DTYPE != Dtype::F32 || g.output().elements() == 0 || dw.is_empty() {
        return plain::backward_filters(workers, g, Owner::All, x, dy, dw, into);
    }
    if depthwise::is(g) {
        let (x, dy, scratch) = (floats(x), floats(dy), floats_mut(scratch));
        return depthwise::backward_filters(workers, g, Simd::best(), x, dy, floats_mut(dw), into, scratch);
    }
    let (x, dy, dw, scratch) = (floats(x), floats(dy), floats_mut(dw), floats_mut(scratch));
    match Gradient::new(g, Simd::best()).filter(|_| winograd) {
        Some(winner) => winner.run(workers, x, dy, dw, into, scratch),
        None => Filters::new(g, Simd::best()).run(workers, x, dy, dw, into, scratch),
    }
}

/// The slice as what it is: only called where `T` is f32.
pub(super) fn floats<T: Real>(x: &[T]) -> &[f32] {
    bytemuck::cast_slice(x)
}

/// As [`floats`].
pub(super) fn floats_mut<T: Real>(x: &mut [T]) -> &mut [f32] {
    bytemuck::cast_slice_mut(x)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::device::{Rounding, Window, output_size};

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
    #[allow(clippy::too_many_arguments)]
    fn case(
        name: &'static str,
        n: i32,
        [h, w]: [i32; 2],
        [c, k, groups]: [i32; 3],
        [r, s]: [i32; 2],
        [stride_h, stride_w]: [i32; 2],
        [padding_h, padding_w]: [i32; 2],
        [dilation_h, dilation_w]: [i32; 2],
        rounding: Rounding,
    ) -> Case {
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
            case("1×1 image", 1, [1, 1], [1, 1, 1], [1, 1], [1, 1], [0, 0], [1, 1], Floor),
            case("1×1 image in padding", 2, [1, 1], [3, 5, 1], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
            case("filter larger than the image", 2, [3, 2], [2, 19, 1], [5, 7], [1, 1], [2, 3], [1, 1], Floor),
            case("stride larger than the filter", 2, [11, 13], [3, 7, 1], [2, 3], [3, 5], [0, 1], [1, 1], Floor),
            case("partial windows", 2, [10, 9], [5, 17, 1], [3, 4], [2, 3], [0, 0], [1, 1], Ceil),
            case("partial windows in padding", 3, [7, 8], [4, 33, 1], [4, 3], [3, 2], [1, 2], [1, 1], Ceil),
            case("windows outside", 1, [4, 4], [2, 3, 1], [2, 2], [1, 1], [3, 4], [1, 1], Floor),
            case("dilation", 2, [12, 15], [3, 18, 1], [3, 3], [1, 1], [2, 1], [2, 3], Floor),
            case("dilation and stride", 2, [17, 16], [5, 6, 1], [3, 2], [2, 3], [3, 1], [3, 2], Floor),
            case("dilation and stride share 2", 2, [17, 16], [3, 20, 1], [3, 4], [4, 2], [2, 2], [2, 2], Ceil),
            case("groups", 3, [9, 8], [6, 40, 2], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
            case("groups, stride, in place", 2, [9, 11], [12, 9, 3], [3, 2], [2, 1], [0, 0], [1, 1], Floor),
            case("depthwise", 3, [9, 10], [37, 37, 37], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
            case("depthwise, stride", 2, [9, 10], [16, 16, 16], [3, 2], [2, 3], [1, 0], [1, 2], Floor),
            case("depthwise, two filters a channel", 2, [6, 5], [5, 10, 5], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
            case("rectangular", 1, [6, 31], [3, 50, 1], [1, 7], [1, 2], [0, 3], [1, 1], Floor),
            case("1×1", 3, [7, 9], [19, 35, 1], [1, 1], [1, 1], [0, 0], [1, 1], Floor),
            case("1×1, stride", 3, [7, 9], [19, 35, 1], [1, 1], [2, 2], [0, 0], [1, 1], Floor),
            case("1×1, padding", 1, [4, 3], [8, 16, 1], [1, 1], [1, 1], [1, 2], [1, 1], Floor),
            case("LeNet 1", 5, [28, 28], [1, 20, 1], [5, 5], [1, 1], [0, 0], [1, 1], Floor),
            case("LeNet 2", 17, [12, 12], [20, 50, 1], [5, 5], [1, 1], [0, 0], [1, 1], Floor),
            case("cifar 1", 3, [32, 32], [3, 32, 1], [5, 5], [1, 1], [2, 2], [1, 1], Floor),
            case("AlexNet 1", 1, [67, 67], [3, 96, 1], [11, 11], [4, 4], [0, 0], [1, 1], Floor),
            case("wide", 2, [14, 14], [65, 130, 1], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
            case("wide, stride", 2, [15, 14], [64, 48, 1], [3, 3], [2, 2], [1, 1], [1, 1], Floor),
            case("large filters' gradient", 2, [3, 3], [300, 301, 1], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
            case("a row too long for a band", 1, [4, 700], [130, 2, 1], [3, 3], [1, 1], [1, 1], [1, 1], Floor),
        ]
    }

    /// The three passes' results of f32 on some threads, the gradients set or added to what is there.
    fn passes(threads: usize, g: &ConvGeometry, untied: bool, neuron: Neuron, into: Into) -> [Vec<f32>; 3] {
        let workers = Workers::new(threads);
        let (x, w, dy) = (
            numbers(1, g.input().elements()),
            numbers(2, g.filters().n * g.filters().image()),
            numbers(3, g.output().elements()),
        );
        let b = numbers(4, if untied { g.output().image() } else { g.k as usize });
        // Scratch holds anything: here numbers that would be seen.
        let scratch = |bytes: usize| vec![1e30_f32; bytes / 4];
        let mut y = vec![f32::NAN; dy.len()];
        let (mut dx, mut dw) = (numbers(5, x.len()), numbers(6, w.len()));
        forward(&workers, g, false, &x, &w, Some(&b), neuron, &mut y, &mut scratch(forward_scratch::<f32>(g, false)));
        backward_image(&workers, g, false, &dy, &w, &mut dx, into, &mut scratch(backward_image_scratch::<f32>(g, false)));
        backward_filters(&workers, g, false, &x, &dy, &mut dw, into, &mut scratch(backward_filters_scratch::<f32>(g, false)));
        [y, dx, dw]
    }

    /// The same by the definition in f64, of the numbers or of their sizes.
    fn reference(g: &ConvGeometry, untied: bool, neuron: Neuron, into: Into, of: fn(&[f64]) -> Vec<f64>) -> [Vec<f64>; 3] {
        let workers = Workers::new(1);
        let numbers = |seed, n| of(&doubles(&numbers(seed, n)));
        let (x, w, dy) = (
            numbers(1, g.input().elements()),
            numbers(2, g.filters().n * g.filters().image()),
            numbers(3, g.output().elements()),
        );
        let b = numbers(4, if untied { g.output().image() } else { g.k as usize });
        let mut y = vec![f64::NAN; dy.len()];
        let (mut dx, mut dw) = (numbers(5, x.len()), numbers(6, w.len()));
        forward(&workers, g, false, &x, &w, Some(&b), neuron, &mut y, &mut []);
        backward_image(&workers, g, false, &dy, &w, &mut dx, into, &mut []);
        backward_filters(&workers, g, false, &x, &dy, &mut dw, into, &mut []);
        [y, dx, dw]
    }

    /// f32's fast paths against the definition in f64, over odd geometries; biases tied and untied, neurons fused and not,
    /// gradients set and added. The bound is (4 + √depth) half-ulps of the sum of |terms|.
    #[test]
    fn f32_is_the_definition() {
        for (i, Case { name, g }) in cases().iter().enumerate() {
            for (untied, neuron, into) in [
                (false, Neuron::NONE, Into::Set),
                (i % 2 == 0, Neuron::Relu, Into::Add),
                (i % 2 == 1, Neuron::Tanh { a: 1.0, b: 0.5 }, Into::Set),
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
            let one = bits(passes(1, &g, false, Neuron::Relu, Into::Add));
            let two = bits(passes(2, &g, false, Neuron::Relu, Into::Add));
            let three = bits(passes(3, &g, false, Neuron::Relu, Into::Add));
            assert!(one == two, "{name}: two threads give other bits than one");
            assert!(one == three, "{name}: three threads give other bits than one");
        }
    }

    /// Every instruction set that this machine has gathers and sums filter gradients as the definition says.
    #[test]
    fn every_instruction_set_is_the_definition() {
        let workers = Workers::new(1);
        for Case { name, g } in cases() {
            let [_, _, dw_sizes] = reference(&g, false, Neuron::NONE, Into::Set, sizes_of);
            let [_, _, dw] = reference(&g, false, Neuron::NONE, Into::Set, <[f64]>::to_vec);
            let (x, dy) = (numbers(1, g.input().elements()), numbers(3, g.output().elements()));
            let w = numbers(2, dw.len());
            let zeros = vec![0.0; size(g.k)];
            let mut y = vec![0.0; dy.len()];
            let mut y_sizes = y.clone();
            let run =
                |x: &[f64], w: &[f64], y: &mut [f64]| forward(&workers, &g, false, x, w, Some(&zeros), Neuron::NONE, y, &mut []);
            run(&doubles(&x), &doubles(&w), &mut y);
            run(&sizes_of(&doubles(&x)), &sizes_of(&doubles(&w)), &mut y_sizes);
            for simd in Simd::all() {
                let filters = Filters::new(&g, simd);
                let mut got = vec![f32::NAN; dw.len()];
                filters.run(&workers, &x, &dy, &mut got, Into::Set, &mut vec![1e30; filters.scratch()]);
                let what = format!("{name}, filter gradient, {}", simd.name);
                compare(&what, &got, &dw, &dw_sizes, g.input().n * size(g.p * g.q));

                let gather = forward_gather(&g);
                let steps = size(g.r * g.s) * gather.depth;
                let pack = |group: usize, first: usize, columns: usize, panel: &mut [f32], pitch: usize| {
                    simd.transpose(&w[(group * gather.outputs + first) * steps..], steps, panel, pitch, columns, steps);
                    clear_tails(panel, pitch, columns);
                };
                let mut got = vec![f32::NAN; y.len()];
                let finish = Finish { add: false, bias: None, relu: false };
                gather.run(&workers, simd, &x, pack, &finish, &mut got, &mut vec![1e30; gather.scratch(simd)]);
                compare(&format!("{name}, forward, {}", simd.name), &got, &y, &y_sizes, steps);
            }
        }
    }
}
