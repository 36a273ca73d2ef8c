//! Convolution and its gradients, and matrix products, on tensor cores: kernels/conv_mma.cu, and kernels/conv_hopper.cu on
//! cards that have it. [`plan`] says whether they take a geometry in the device's precision, by which of them, and how it is cut. In
//! bf16 the operands are copies, in the scratch (operands.rs), and so are in tf32 those whose channels are no multiple of four.

use super::conv_hopper::{self, ROWS};
use super::driver::{Address, Argument, Grid};
use super::operands::{Copy, Element};
use super::parts::{self, Finish};
use super::{CudaDevice, add};
use crate::device::{ConvGeometry, Into, Precision, Product, Result, Tensor};

pub(super) const KERNELS: &[&str] = &[
    "conv_forward_large_tf32",
    "conv_forward_large_bf16",
    "conv_forward_small_tf32",
    "conv_forward_small_bf16",
    "conv_backward_image_large_tf32",
    "conv_backward_image_large_bf16",
    "conv_backward_image_small_tf32",
    "conv_backward_image_small_bf16",
    "conv_backward_filters_large_tf32",
    "conv_backward_filters_large_bf16",
    "conv_backward_filters_small_tf32",
    "conv_backward_filters_small_bf16",
];

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pass {
    Forward,
    Image,
    Filters,
}

/// Whose instructions a tile's products are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    MmaSync,
    Wgmma,
}

/// A block's tile: `Large` and `Small` of kernels/mma.cuh, `Wide` and `Narrow` of kernels/hopper.cuh.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tile {
    engine: Engine,
    rows: usize,
    columns: usize,
    threads: u32,
    /// Blocks that a multiprocessor holds.
    resident: usize,
    /// Cycles of a step, of a multiprocessor that has enough blocks: an A100's 512 tf32 or 1024 bf16 multiply-adds a cycle, of
    /// which the tile's loads from shared memory leave 80 % and 60 %. Only their ratio counts, and it is that of later cards. An
    /// H100's wgmma waits for the second-level cache, as `LARGE` does there, and has the same cycles a byte.
    step: usize,
}
const LARGE: Tile = Tile { engine: Engine::MmaSync, rows: 128, columns: 128, threads: 128, resident: 2, step: 640 };
const SMALL: Tile = Tile { engine: Engine::MmaSync, rows: 64, columns: 64, threads: 64, resident: 5, step: 213 };
const WIDE: Tile = Tile { engine: Engine::Wgmma, rows: ROWS, columns: 256, threads: 384, resident: 1, step: 1920 };
const NARROW: Tile = Tile { engine: Engine::Wgmma, rows: ROWS, columns: 128, threads: 384, resident: 1, step: 1280 };
/// Chunks of 16 bytes along the sum that a step of mma.sync takes.
const STEP_CHUNKS: usize = 4;
/// Cycles until a block's first step and from its last, of which its neighbours hide some.
const ENDS: usize = 1500;
/// Cycles of a launch.
const LAUNCH: usize = 4000;
/// Bytes of memory that a card of so many multiprocessors moves in a cycle, by one of them (an A100's 2 TB/s).
const BYTES: usize = 13;

/// Channels and filters of a group in the operands: `Padded` in kernels/conv_mma.cu.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Padded {
    channels: i32,
    filters: i32,
}
// SAFETY: #[repr(C)] of two ints, as in kernels/conv_mma.cu.
unsafe impl Argument for Padded {}

/// How a pass is made: of which operands copies are, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    element: Element,
    copies: [Option<Copy>; 2],
    padded: Padded,
    tile: Tile,
    grid: Grid,
    parts: usize,
    steps_each: usize,
    /// Of the result.
    elements: usize,
    /// Bytes of the filters that are transposed first.
    transposed: usize,
}

/// What a model of the card finds fastest; `None` where the device's precision is f32, there is nothing to do, or copies with
/// padding are needed that cost more time than tensor cores save, as in small layers, or much memory, as in depthwise ones.
pub(super) fn plan(d: &CudaDevice, g: &ConvGeometry, pass: Pass) -> Option<Plan> {
    let element = match d.precision {
        Precision::F32 => return None,
        Precision::Tf32 => Element::F32,
        Precision::Bf16 => Element::Bf16,
    };
    let (channels, filters) = ((g.c / g.groups) as usize, (g.k / g.groups) as usize);
    let [padded_channels, padded_filters] = [channels, filters].map(|v| v.next_multiple_of(element.chunk()));
    let elements = match pass {
        Pass::Forward => g.output(),
        Pass::Image => g.input(),
        Pass::Filters => g.filters(),
    }
    .elements();
    let size = Size::new(g, pass, padded_channels, padded_filters);
    if size.sum() == 0 || elements == 0 {
        return None;
    }
    let copies = copies(g, pass, element);
    // The filters that wgmma has transposed in tf32 are read in place.
    let taken = element == Element::Bf16 || copies.iter().all(Option::is_none);
    let steps = |tile: Tile| match tile.engine {
        Engine::MmaSync => size.sum().div_ceil(STEP_CHUNKS * element.chunk()),
        Engine::Wgmma => size.taps * size.depth.div_ceil(conv_hopper::depth(element)),
    };
    // A part has at least four steps, all parts take at most 256 MiB, and a grid has at most 65535 layers.
    let most = |tile| (steps(tile) / 4).min((1 << 26) / elements.max(1)).min(65535 / size.layers).clamp(1, 64);
    let tiles: &[Tile] = match taken && conv_hopper::takes(d, g, pass, element) {
        true if d.always_wgmma => &[WIDE, NARROW],
        true => &[WIDE, NARROW, LARGE, SMALL],
        false => &[LARGE, SMALL],
    };
    let cuts = tiles.iter().flat_map(|&tile| (1..=most(tile)).map(move |parts| (tile, parts)));
    let transposed = |tile: Tile| if tile.engine == Engine::Wgmma { conv_hopper::transposed(g, pass, element) } else { 0 };
    let cost =
        |&(tile, parts): &(Tile, usize)| cost(d, tile, &size, steps(tile), parts, elements) + copy_cost(d, 2 * transposed(tile));
    let (tile, parts) = cuts.min_by_key(cost)?;
    if copies.iter().flatten().any(|copy| !copy.channels.is_multiple_of(element.chunk())) {
        let copying: usize = copies.iter().flatten().map(|copy| copy_cost(d, copy.moved())).sum();
        let bloated = copies.iter().flatten().any(Copy::is_bloated);
        if bloated || cost(&(tile, parts)) + copying > f32_cost(d, &Size::new(g, pass, channels, filters)) {
            return None;
        }
    }
    let (steps, transposed) = (steps(tile), transposed(tile));
    let steps_each = steps.div_ceil(parts);
    let parts = steps.div_ceil(steps_each);
    let [x, y, z] = [size.rows.div_ceil(tile.rows), size.columns.div_ceil(tile.columns), size.layers * parts];
    (y <= 65535 && z <= 65535).then(|| Plan {
        element,
        copies,
        padded: Padded { channels: padded_channels as i32, filters: padded_filters as i32 },
        tile,
        grid: Grid { blocks: [x, y, z].map(|v| v as u32), threads: tile.threads },
        parts,
        steps_each,
        elements,
        transposed,
    })
}

/// Cycles of a pass that moves so many bytes, where there are any.
fn copy_cost(d: &CudaDevice, bytes: usize) -> usize {
    if bytes == 0 { 0 } else { LAUNCH + bytes / (BYTES * d.info().multiprocessors) }
}

/// The product that a pass is: so many of them, side by side.
#[derive(Clone, Copy, Debug)]
struct Size {
    rows: usize,
    columns: usize,
    layers: usize,
    /// Of each element's sum: taps of so many neighbours in memory.
    taps: usize,
    depth: usize,
}

impl Size {
    /// With so many channels and filters a group.
    fn new(g: &ConvGeometry, pass: Pass, channels: usize, filters: usize) -> Self {
        let (n, groups, filter_taps) = (g.n as usize, g.groups as usize, (g.r * g.s) as usize);
        let [stride_h, stride_w] = [g.stride_h, g.stride_w].map(|v| v as usize);
        let places = n * (g.p * g.q) as usize;
        match pass {
            Pass::Forward => Self { rows: places, columns: filters, layers: groups, taps: filter_taps, depth: channels },
            // The first phase is the largest.
            Pass::Image => Self {
                rows: n * (g.h as usize).div_ceil(stride_h) * (g.w as usize).div_ceil(stride_w),
                columns: channels,
                layers: groups * stride_h * stride_w,
                taps: taps(g.r, g.stride_h, g.dilation_h) * taps(g.s, g.stride_w, g.dilation_w),
                depth: filters,
            },
            Pass::Filters => Self { rows: filters, columns: filter_taps * channels, layers: groups, taps: 1, depth: places },
        }
    }

    /// Terms of each element.
    fn sum(&self) -> usize {
        self.taps * self.depth
    }
}

/// The copies that a pass needs of its operands.
fn copies(g: &ConvGeometry, pass: Pass, element: Element) -> [Option<Copy>; 2] {
    let (n, groups) = (g.n as usize, g.groups as usize);
    let (channels, filters) = (g.c as usize / groups, g.k as usize / groups);
    let images = Copy { element, rows: n * (g.h * g.w) as usize * groups, channels };
    let weights = Copy { element, rows: (g.k * g.r * g.s) as usize, channels };
    let gradients = Copy { element, rows: n * (g.p * g.q) as usize * groups, channels: filters };
    let both = match pass {
        Pass::Forward => [images, weights],
        Pass::Image => [gradients, weights],
        Pass::Filters => [images, gradients],
    };
    both.map(|copy| Some(copy).filter(|copy| element == Element::Bf16 || !copy.channels.is_multiple_of(element.chunk())))
}

/// The most taps of a filter's axis that one phase of the image gradient has: those that fit are stride / gcd(stride, dilation)
/// apart.
fn taps(size: i32, stride: i32, dilation: i32) -> usize {
    let apart = (1..=stride).find(|step| step * dilation % stride == 0).unwrap_or(stride);
    (size as usize).div_ceil(apart as usize)
}

/// Cycles that a cut takes, about: the blocks that the busiest multiprocessor computes, slower where it has too few at a time to
/// hide what each waits for, and the second pass over the parts.
fn cost(d: &CudaDevice, tile: Tile, size: &Size, steps: usize, parts: usize, elements: usize) -> usize {
    let multiprocessors = d.info().multiprocessors;
    let blocks = size.rows.div_ceil(tile.rows) * size.columns.div_ceil(tile.columns) * size.layers * parts;
    let each = blocks.div_ceil(multiprocessors);
    let together = each.min(tile.resident);
    let block = steps.div_ceil(parts) * tile.step + ENDS / together;
    // Alone, a block keeps the tensor cores busy half of the time.
    let compute = each * block * 2 * tile.resident / (tile.resident + together);
    let sum = if parts == 1 { 0 } else { LAUNCH + (2 * parts + 1) * elements * size_of::<f32>() / (BYTES * multiprocessors) };
    compute + sum
}

/// Cycles that conv.cu and gemm.cu take, about: their small tiles, one after the other on a multiprocessor, at 70 % of an A100's
/// 64 multiply-adds a cycle, or, where there are fewer than multiprocessors, split as their sums allow.
fn f32_cost(d: &CudaDevice, size: &Size) -> usize {
    let tile = super::conv::SMALL;
    let blocks = tile.tiles(size.rows, size.columns) * size.layers;
    let work = tile.rows * tile.columns * size.sum() * 10 / (64 * 7);
    work * blocks / d.info().multiprocessors.min(blocks * size.sum().div_ceil(8 * tile.depth))
}

impl Plan {
    /// Bytes of the copies and the transposed filters, which come first, and of the parts.
    pub(super) fn scratch(&self) -> usize {
        let parts = if self.parts == 1 { 0 } else { self.parts * self.elements * size_of::<f32>() };
        self.copies.iter().flatten().map(Copy::bytes).sum::<usize>() + self.transposed + parts
    }

    /// Whether operands that lie there can be read.
    pub(super) fn reads(&self, operands: [Address; 2]) -> bool {
        self.copies.iter().zip(operands).all(|(copy, at)| copy.is_some() || at.on_16_bytes())
    }

    /// Queues a pass: `operands` are x and w, dy and w, or x and dy. Bias, its length and its pitch, and what follows it are for
    /// [`Pass::Forward`] alone.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run(
        &self,
        d: &CudaDevice,
        g: &ConvGeometry,
        pass: Pass,
        mut operands: [Address; 2],
        (bias, columns, pitch): (Address, usize, i32),
        finish: &Finish,
        out: Address,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let mut free = d.scratch_at(scratch, self.scratch())?;
        for (operand, copy) in operands.iter_mut().zip(&self.copies) {
            if let Some(copy) = copy {
                copy.queue(d, *operand, free)?;
                *operand = free;
                free = Address(free.0 + copy.bytes() as u64);
            }
        }
        let small = usize::from(matches!(self.tile, SMALL | NARROW));
        let which = pass as usize * 4 + small * 2 + usize::from(self.element == Element::Bf16);
        let steps = self.steps_each as i32;
        let boxes = match self.tile.engine {
            Engine::MmaSync => None,
            Engine::Wgmma => {
                let padded = [self.padded.channels, self.padded.filters];
                Some(conv_hopper::operands(d, g, pass, self.element, operands, padded, self.tile.columns, free)?)
            }
        };
        let launch = |bias: Address, finish: &Finish, out: Address, into| match &boxes {
            None => {
                let kernel = KERNELS[which];
                let ([left, right], padded) = (operands, &self.padded);
                let arguments: &[&dyn Argument] = &[g, padded, &left, &right, &bias, &pitch, finish, &out, &steps, &add(into)];
                d.launch(kernel, self.grid, arguments)
            }
            Some((windows, filters, lie)) => {
                let kernel = conv_hopper::KERNELS[which];
                let arguments: &[&dyn Argument] = &[g, windows, filters, lie, &bias, &pitch, finish, &out, &steps, &add(into)];
                d.launch(kernel, self.grid, arguments)
            }
        };
        if self.parts == 1 {
            return launch(bias, finish, out, into);
        }
        let part = Address(free.0 + self.transposed as u64);
        launch(Address::NULL, &Finish::NONE, part, Into::Set)?;
        parts::sum(d, self.parts, self.elements, part, bias, columns, finish, out, into)
    }
}

/// A matrix product as a pass over images of one place, and whether its operands change places.
pub(super) fn of_product(p: &Product) -> Option<(ConvGeometry, Pass, bool)> {
    let (n, c, k, pass) = match (p.transpose_a, p.transpose_b) {
        (0, 1) => (p.m, p.k, p.n, Pass::Forward),
        (0, 0) => (p.m, p.n, p.k, Pass::Image),
        (1, 0) => (p.k, p.n, p.m, Pass::Filters),
        _ => return None,
    };
    let g = ConvGeometry {
        n,
        h: 1,
        w: 1,
        c,
        k,
        r: 1,
        s: 1,
        p: 1,
        q: 1,
        stride_h: 1,
        stride_w: 1,
        padding_h: 0,
        padding_w: 0,
        dilation_h: 1,
        dilation_w: 1,
        groups: 1,
    };
    Some((g, pass, pass == Pass::Filters))
}
