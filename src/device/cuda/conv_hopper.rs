//! Convolutions and products by wgmma, on cards of capability 9.0: kernels/conv_hopper.cu. [`conv_mma`](super::conv_mma) chooses
//! between them and those of mma.sync; here is what bulk tensor copies ask of a geometry, and how they are set up for it.

use super::CudaDevice;
use super::conv_mma::{Padded, Pass, Task};
use super::driver::{Address, Argument, Brought, Grid, Im2col, TensorMap};
use super::operands::Element;
use crate::device::{ConvGeometry, Result};

/// The file's name.
pub(super) const FILE: &str = "conv_hopper";
/// The kernel that transposes filters.
pub(super) const TRANSPOSE: &str = "transpose_filters";

/// Rows of a tile: pixels of a box.
pub(super) const ROWS: usize = 128;

/// Elements of the sum that a step takes, and channels of a box: 128 bytes.
pub(super) fn depth(element: Element) -> usize {
    8 * element.chunk()
}

/// Shared memory of a block that its launch asks for: `SHARED` of kernels/hopper.cuh.
pub(super) fn shared(kernel: &str) -> u32 {
    match kernel {
        name if name.contains("_wide_") => 197_696,
        name if name.contains("_narrow_") => 197_728,
        _ => 0,
    }
}

/// How windows lie, and the output: `Lie` of kernels/conv_hopper.cu.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Lie {
    h: i32,
    w: i32,
    depth: i32,
    pitch: i32,
}
const _: () = assert!(size_of::<Lie>() == 16);
// SAFETY: #[repr(C)] of four ints, as in kernels/conv_hopper.cu, which checks the size too.
unsafe impl Argument for Lie {}

/// One axis of the bounding box that windows are picked from.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    /// Cells of the tensor.
    size: i32,
    /// The first pixel, from the tensor's first cell on.
    lower: i32,
    /// Pixels, and cells from one to the next.
    pixels: i32,
    step: i32,
    /// The largest offset of a tap.
    reach: i32,
}

impl Axis {
    /// The axis of height, or of width.
    fn of(g: &ConvGeometry, pass: Pass, height: bool) -> Self {
        let pick = |h: i32, w: i32| if height { h } else { w };
        let (size, outputs, filter) = (pick(g.h, g.w), pick(g.p, g.q), pick(g.r, g.s));
        let (stride, padding) = (pick(g.stride_h, g.stride_w), pick(g.padding_h, g.padding_w));
        let dilation = pick(g.dilation_h, g.dilation_w);
        if pass == Pass::Forward {
            return Self { size, lower: -padding, pixels: outputs, step: stride, reach: (filter - 1) * dilation };
        }
        // The phases share one box: from the lowest output that any sees on.
        let seen = (0..stride).filter_map(|phase| seen_by(phase, filter, stride, padding, dilation));
        let (lower, highest) = seen.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
        Self { size: outputs, lower, pixels: (size + stride - 1) / stride, step: 1, reach: highest - lower }
    }

    /// From the tensor's far end to the box's.
    fn upper(&self) -> i32 {
        self.lower + (self.pixels - 1) * self.step + 1 - self.size
    }

    /// Whether a tensor map of four dimensions can hold it.
    fn fits(&self) -> bool {
        let corner = -128..128;
        corner.contains(&self.lower) && corner.contains(&self.upper()) && self.step <= 8 && self.reach < 256
    }
}

/// The lowest and the highest output that the first cell of a phase sees, if any tap is its (`Phase` of kernels/windows.cuh).
fn seen_by(phase: i32, filter: i32, stride: i32, padding: i32, dilation: i32) -> Option<(i32, i32)> {
    let tap = (0..stride.min(filter)).find(|tap| (phase + padding - tap * dilation) % stride == 0)?;
    let tap_step = (1..=stride).find(|step| step * dilation % stride == 0)?;
    let further = (filter - tap - 1) / tap_step;
    let origin = (phase + padding - tap * dilation) / stride;
    Some((origin - further * (tap_step * dilation / stride), origin))
}

/// Whether the device has these kernels, and bulk copies take the geometry. Widths of access are for the caller to check.
pub(super) fn takes(d: &CudaDevice, Task { g, pass, element }: &Task) -> bool {
    let channels = match pass {
        Pass::Forward => g.c / g.groups,
        Pass::Image => g.k / g.groups,
        Pass::Filters => return false,
    };
    // A box of channels must not reach into the next group.
    let apart = g.groups == 1 || channels % depth(*element) as i32 == 0;
    d.has_wgmma() && apart && [true, false].iter().all(|&height| Axis::of(g, *pass, height).fits())
}

/// Bytes of the filters that a pass transposes.
pub(super) fn transposed(task: &Task) -> usize {
    match (task.pass, task.element) {
        (Pass::Image, Element::F32) => task.g.filters().elements() * size_of::<f32>(),
        _ => 0,
    }
}

/// The tensor maps of a pass's operands, for tiles of this many columns, and how its windows lie. Filters of the image gradient
/// are transposed into scratch first where they are f32.
pub(super) fn operands(
    d: &CudaDevice,
    &Task { ref g, pass, element }: &Task,
    [windows, filters]: [Address; 2],
    Padded { channels, filters: outputs, pitch: output_pitch }: Padded,
    columns: usize,
    scratch: Address,
) -> Result<(TensorMap, TensorMap, Lie)> {
    let taps = g.r * g.s;
    let (elements, bytes, boxed) = match element {
        Element::F32 => (Brought::Tf32, 4, depth(element) as u32),
        Element::Bf16 => (Brought::Bf16, 2, depth(element) as u32),
    };
    // Filters: where they lie, elements of a line, lines of a box.
    let (depth, filters, line, lines, box_lines) = match (pass, element) {
        (Pass::Image, Element::F32) => {
            let tiles = |n: i32| n.unsigned_abs().div_ceil(32);
            let grid = Grid { blocks: [tiles(outputs), tiles(channels), (g.groups * taps) as u32], threads: 256 };
            d.launch(TRANSPOSE, grid, &[&outputs, &channels, &taps, &filters, &scratch])?;
            (outputs, scratch, outputs, g.c, columns as u32)
        }
        // The columns run fastest, 64 a box, and the lines are k.
        (Pass::Image, Element::Bf16) => (outputs, filters, channels, g.k, boxed),
        _ => (channels, filters, channels, g.k, columns as u32),
    };
    let [h, w] = [true, false].map(|height| Axis::of(g, pass, height));
    let wide = |n: i32| n as u64;
    let pitch = if pass == Pass::Image { output_pitch } else { g.groups * depth };
    let row = wide(pitch) * bytes;
    let windows = TensorMap::im2col(
        elements,
        windows,
        &Im2col {
            sizes: [g.groups * depth, w.size, h.size, g.n].map(wide),
            strides: [row, row * wide(w.size), row * wide(w.size) * wide(h.size)],
            lower: [w.lower, h.lower],
            upper: [w.upper(), h.upper()],
            channels: boxed,
            pixels: ROWS as u32,
            steps: [w.step as u32, h.step as u32],
        },
    );
    let (sizes, pitch) = ([line, taps, lines].map(wide), wide(line) * bytes);
    let filters = TensorMap::tiled(elements, filters, sizes, [pitch, pitch * wide(taps)], [boxed, 1, box_lines]);
    let maps = windows.and_then(|windows| Ok((windows, filters?)));
    let (windows, filters) = d.answer("tensor maps", maps)?;
    Ok((windows, filters, Lie { h: h.lower, w: w.lower, depth, pitch: output_pitch }))
}
