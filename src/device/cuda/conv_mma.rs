//! Convolution and its gradients, and matrix products, on tensor cores: kernels/conv_mma.cu, and kernels/conv_hopper.cu on
//! cards that have it. [`plan`] says whether they take a geometry in the device's precision, by which of them, and how it is cut. In
//! bf16 the operands are copies, in the scratch (operands.rs), and so are in tf32 those whose channels are no multiple of four.

use super::CudaDevice;
use super::conv_hopper::{self, ROWS};
use super::driver::{Address, Argument, Grid};
use super::operands::{Copy, Element};
use super::parts::{Output, Split};
use crate::device::{ConvGeometry, Precision, ProductGeometry, Result, Tensor};

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pass {
    Forward,
    Image,
    Filters,
}

impl Pass {
    /// As the kernels' names have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Image => "backward_image",
            Self::Filters => "backward_filters",
        }
    }
}

/// A pass on operands of this type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Task {
    pub g: ConvGeometry,
    pub pass: Pass,
    pub element: Element,
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
    /// As the kernels' names have it.
    name: &'static str,
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
const LARGE: Tile =
    Tile { name: "large", engine: Engine::MmaSync, rows: 128, columns: 128, threads: 128, resident: 2, step: 640 };
const SMALL: Tile = Tile { name: "small", engine: Engine::MmaSync, rows: 64, columns: 64, threads: 64, resident: 5, step: 213 };
const WIDE: Tile = Tile { name: "wide", engine: Engine::Wgmma, rows: ROWS, columns: 256, threads: 384, resident: 1, step: 1920 };
const NARROW: Tile =
    Tile { name: "narrow", engine: Engine::Wgmma, rows: ROWS, columns: 128, threads: 384, resident: 1, step: 1280 };
/// Chunks of 16 bytes along the sum that a step of mma.sync takes.
const STEP_CHUNKS: usize = 4;
/// Cycles until a block's first step and from its last, of which its neighbours hide some.
const ENDS: usize = 1500;
/// Cycles of a launch.
const LAUNCH: usize = 4000;
/// Bytes of memory that a card moves in a cycle, for each of its multiprocessors (an A100's 2 TB/s).
const BYTES: usize = 13;

/// Channels and filters of a group in the operands, and elements from one place of the output, or of its gradient, to the next:
/// `Padded` in kernels/conv_mma.cu.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Padded {
    pub channels: i32,
    pub filters: i32,
    pub pitch: i32,
}
// SAFETY: #[repr(C)] of three ints, as in kernels/conv_mma.cu.
unsafe impl Argument for Padded {}

/// How a pass is made: of which operands copies are, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    task: Task,
    copies: [Option<Copy>; 2],
    padded: Padded,
    tile: Tile,
    grid: Grid,
    split: Split,
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
    let task = Task { g: *g, pass, element };
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
    let copies = copies(&task);
    // The filters that wgmma has transposed in tf32 are read in place.
    let taken = element == Element::Bf16 || copies.iter().all(Option::is_none);
    let steps = |tile: Tile| match tile.engine {
        Engine::MmaSync => size.sum().div_ceil(STEP_CHUNKS * element.chunk()),
        Engine::Wgmma => size.taps * size.depth.div_ceil(conv_hopper::depth(element)),
    };
    // A part has at least four steps, all parts take at most 256 MiB, and a grid has at most 65535 layers.
    let most = |tile| (steps(tile) / 4).min((1 << 26) / elements.max(1)).min(65535 / size.layers).clamp(1, 64);
    let tiles: &[Tile] = match taken && conv_hopper::takes(d, &task) {
        true if d.always_wgmma => &[WIDE, NARROW],
        true => &[WIDE, NARROW, LARGE, SMALL],
        false => &[LARGE, SMALL],
    };
    let cuts = tiles.iter().flat_map(|&tile| (1..=most(tile)).map(move |parts| (tile, parts)));
    let transposed = |tile: Tile| if tile.engine == Engine::Wgmma { conv_hopper::transposed(&task) } else { 0 };
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
    let pitch = match pass {
        Pass::Forward => filters,
        Pass::Image | Pass::Filters => padded_filters,
    };
    let (steps, transposed) = (steps(tile), transposed(tile));
    let steps_each = steps.div_ceil(parts);
    let parts = steps.div_ceil(steps_each);
    let [x, y, z] = [size.rows.div_ceil(tile.rows), size.columns.div_ceil(tile.columns), size.layers * parts];
    (y <= 65535 && z <= 65535).then(|| Plan {
        task,
        copies,
        padded: Padded { channels: padded_channels as i32, filters: padded_filters as i32, pitch: g.groups * pitch as i32 },
        tile,
        grid: Grid { blocks: [x, y, z].map(|v| v as u32), threads: tile.threads },
        split: Split { parts, steps_each, elements },
        transposed,
    })
}

/// Cycles of a pass that moves this many bytes; 0 for none.
fn copy_cost(d: &CudaDevice, bytes: usize) -> usize {
    if bytes == 0 { 0 } else { LAUNCH + bytes / (BYTES * d.info().multiprocessors) }
}

/// The products that a pass is, `layers` of them side by side.
#[derive(Clone, Copy, Debug)]
struct Size {
    rows: usize,
    columns: usize,
    layers: usize,
    /// Of each element's sum: taps, each of `depth` neighbours in memory.
    taps: usize,
    depth: usize,
}

impl Size {
    /// With this many channels and filters a group.
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
fn copies(&Task { g, pass, element }: &Task) -> [Option<Copy>; 2] {
    let (n, groups) = (g.n as usize, g.groups as usize);
    let (channels, filters) = (g.c as usize / groups, g.k as usize / groups);
    let copy = |rows: usize, channels: usize| Copy { element, rows, channels, pitch: channels };
    let images = copy(n * (g.h * g.w) as usize * groups, channels);
    let weights = copy((g.k * g.r * g.s) as usize, channels);
    let gradients = copy(n * (g.p * g.q) as usize * groups, filters);
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
        self.copies.iter().flatten().map(Copy::bytes).sum::<usize>() + self.transposed + self.split.bytes()
    }

    /// Whether operands that lie there can be read.
    pub(super) fn reads(&self, operands: [Address; 2]) -> bool {
        self.copies.iter().zip(operands).all(|(copy, at)| copy.is_some() || at.on_16_bytes())
    }

    /// Whether it writes its result once, and no parts of it.
    pub(super) fn is_whole(&self) -> bool {
        self.split.parts == 1
    }

    /// The same of an output, or an output's gradient, that may have gaps. Where it has, there is one group, and an output is
    /// written [whole](Self::is_whole).
    pub(super) fn with(mut self, output: Tensor) -> Self {
        if output.is_dense() {
            return self;
        }
        let copy = match self.task.pass {
            Pass::Forward => &mut None,
            Pass::Image => &mut self.copies[0],
            Pass::Filters => &mut self.copies[1],
        };
        match copy {
            Some(copy) => copy.pitch = output.pitch,
            None => self.padded.pitch = output.pitch as i32,
        }
        self
    }

    /// Queues the pass: `operands` are x and w, dy and w, or x and dy. [`Pass::Forward`] alone has a bias and finishes its result.
    pub(super) fn run(&self, d: &CudaDevice, mut operands: [Address; 2], out: &Output, scratch: Tensor) -> Result<()> {
        let Task { g, pass, element } = &self.task;
        let mut free = d.scratch_at(scratch, self.scratch())?;
        for (operand, copy) in operands.iter_mut().zip(&self.copies) {
            if let Some(copy) = copy {
                copy.queue(d, *operand, free)?;
                *operand = free;
                free = Address(free.0 + copy.bytes() as u64);
            }
        }
        let part = Address(free.0 + self.transposed as u64);
        let kernel = format!("conv_{}_{}_{}", pass.name(), self.tile.name, element.rounding());
        let (pitch, steps) = (out.bias.pitch, self.split.steps_each as i32);
        let [left, right] = &operands;
        match self.tile.engine {
            Engine::MmaSync => self.split.queue(d, part, out, |Output { bias, finish, at, add, seen }| {
                let arguments: [&dyn Argument; 11] =
                    [g, &self.padded, left, right, &bias.at, &pitch, finish, at, seen, &steps, add];
                d.launch(&kernel, self.grid, &arguments)
            }),
            Engine::Wgmma => {
                let (windows, filters, lie) =
                    conv_hopper::operands(d, &self.task, operands, self.padded, self.tile.columns, free)?;
                self.split.queue(d, part, out, |Output { bias, finish, at, add, seen }| {
                    let arguments: [&dyn Argument; 11] =
                        [g, &windows, &filters, &lie, &bias.at, &pitch, finish, at, seen, &steps, add];
                    d.launch(&kernel, self.grid, &arguments)
                })
            }
        }
    }
}

/// A matrix product as a pass over images of one place. As [`Pass::Filters`], its operands change places.
pub(super) fn of_product(p: &ProductGeometry) -> Option<(ConvGeometry, Pass)> {
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
    Some((g, pass))
}
