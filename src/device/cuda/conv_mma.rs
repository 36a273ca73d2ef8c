//! Convolution and its gradients, and matrix products, on tensor cores: kernels/conv_mma.cu, and kernels/conv_hopper.cu on
//! cards that have it. [`plan`] says whether they take a geometry in the device's precision, by which of them, and how it is cut.

use super::conv_hopper::{self, ROWS};
use super::driver::{Address, Argument, Grid};

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
    /// Cycles of a step of 16 (wgmma: of 32), of a multiprocessor that has enough blocks: an A100's 512 tf32 multiply-adds a
    /// cycle, of which the tile's loads from shared memory leave 80 % and 60 %. Only their ratio counts, and it is that of later
    /// cards. An H100's wgmma waits for the second-level cache, as `LARGE` does there, and has the same cycles a byte.
    step: usize,
}
const LARGE: Tile = Tile { engine: Engine::MmaSync, rows: 128, columns: 128, threads: 128, resident: 2, step: 640 };
const SMALL: Tile = Tile { engine: Engine::MmaSync, rows: 64, columns: 64, threads: 64, resident: 5, step: 213 };
const WIDE: Tile = Tile { engine: Engine::Wgmma, rows: ROWS, columns: 256, threads: 384, resident: 1, step: 1920 };
const NARROW: Tile = Tile { engine: Engine::Wgmma, rows: ROWS, columns: 128, threads: 384, resident: 1, step: 1280 };
/// Elements of the sum that a step of mma.sync takes.
const DEPTH: usize = 16;

/// Cycles until a block's first step and from its last, of which its neighbours hide some.
const ENDS: usize = 1500;
/// Cycles of a launch.
const LAUNCH: usize = 4000;
/// Bytes of memory that a card of so many multiprocessors moves in a cycle, by one of them (an A100's 2 TB/s).
const BYTES: usize = 13;

/// How a pass is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    tile: Tile,
    grid: Grid,
    parts: usize,
    steps_each: usize,
    /// Of the result.
    elements: usize,
    /// Bytes of the filters that are transposed first.
    transposed: usize,
}

/// The cut that a model of the card finds fastest; `None` where the device's precision is f32, accesses of 16 bytes do not
/// fit the geometry, or there is nothing to do.
pub(super) fn plan(d: &CudaDevice, g: &ConvGeometry, pass: Pass) -> Option<Plan> {
    let (channels, filters) = ((g.c / g.groups) as usize, (g.k / g.groups) as usize);
    let fours = channels.is_multiple_of(4) && (pass == Pass::Forward || filters.is_multiple_of(4));
    if d.precision == Precision::F32 || !fours {
        return None;
    }
    let (n, groups) = (g.n as usize, g.groups as usize);
    let [stride_h, stride_w] = [g.stride_h, g.stride_w].map(|v| v as usize);
    let places = n * (g.p * g.q) as usize;
    // A sum's terms are taps of so many neighbours in memory each.
    let (rows, columns, layers, taps, depth, elements) = match pass {
        Pass::Forward => (places, filters, groups, (g.r * g.s) as usize, channels, g.output().elements()),

        // The first phase is the largest.
        Pass::Image => {
            let rows = n * (g.h as usize).div_ceil(stride_h) * (g.w as usize).div_ceil(stride_w);
            let taps = taps(g.r, g.stride_h, g.dilation_h) * taps(g.s, g.stride_w, g.dilation_w);
            (rows, channels, groups * stride_h * stride_w, taps, filters, g.input().elements())
        }
        Pass::Filters => (filters, g.filters().image(), groups, 1, places, g.filters().elements()),
    };
    if taps * depth == 0 || elements == 0 {
        return None;
    }
    let steps = |tile: Tile| match tile.engine {
        Engine::MmaSync => (taps * depth).div_ceil(DEPTH),
        Engine::Wgmma => taps * depth.div_ceil(conv_hopper::DEPTH),
    };
    // A part has at least four steps, all parts take at most 256 MiB, and a grid has at most 65535 layers.
    let most = |tile| (steps(tile) / 4).min((1 << 26) / elements.max(1)).min(65535 / layers).clamp(1, 64);
    let tiles: &[Tile] = match conv_hopper::takes(d, g, pass) {
        true if d.always_wgmma => &[WIDE, NARROW],
        true => &[WIDE, NARROW, LARGE, SMALL],
        false => &[LARGE, SMALL],
    };
    let cuts = tiles.iter().flat_map(|&tile| (1..=most(tile)).map(move |parts| (tile, parts)));
    let transposed = |tile: Tile| if tile.engine == Engine::Wgmma { conv_hopper::transposed(g, pass) } else { 0 };
    let (tile, parts) = cuts.min_by_key(|&(tile, parts)| {
        cost(d, tile, [rows, columns, layers], steps(tile), parts, elements) + copy_cost(d, transposed(tile))
    })?;
    let (steps, transposed) = (steps(tile), transposed(tile));
    let steps_each = steps.div_ceil(parts);
    let parts = steps.div_ceil(steps_each);
    let [x, y, z] = [rows.div_ceil(tile.rows), columns.div_ceil(tile.columns), layers * parts];
    (y <= 65535 && z <= 65535).then(|| Plan {
        tile,
        grid: Grid { blocks: [x, y, z].map(|v| v as u32), threads: tile.threads },
        parts,
        steps_each,
        elements,
        transposed,
    })
}

/// Cycles of a pass that reads and writes so many bytes, where there are any.
fn copy_cost(d: &CudaDevice, bytes: usize) -> usize {
    if bytes == 0 { 0 } else { LAUNCH + 2 * bytes / (BYTES * d.info().multiprocessors) }
}

/// The most taps of a filter's axis that one phase of the image gradient has: those that fit are stride / gcd(stride, dilation)
/// apart.
fn taps(size: i32, stride: i32, dilation: i32) -> usize {
    let apart = (1..=stride).find(|step| step * dilation % stride == 0).unwrap_or(stride);
    (size as usize).div_ceil(apart as usize)
}

/// Cycles that a cut takes, about: the blocks that the busiest multiprocessor computes, slower where it has too few at a time to
/// hide what each waits for, and the second pass over the parts.
fn cost(d: &CudaDevice, tile: Tile, [rows, columns, layers]: [usize; 3], steps: usize, parts: usize, elements: usize) -> usize {
    let multiprocessors = d.info().multiprocessors;
    let blocks = rows.div_ceil(tile.rows) * columns.div_ceil(tile.columns) * layers * parts;

    let each = blocks.div_ceil(multiprocessors);
    let together = each.min(tile.resident);
    let block = steps.div_ceil(parts) * tile.step + ENDS / together;
    // Alone, a block keeps the tensor cores busy half of the time.
    let compute = each * block * 2 * tile.resident / (tile.resident + together);
    let sum = if parts == 1 { 0 } else { LAUNCH + (2 * parts + 1) * elements * size_of::<f32>() / (BYTES * multiprocessors) };
    compute + sum
}

impl Plan {
    /// Bytes of the transposed filters, which come first, and of the parts.
    pub(super) fn scratch(&self) -> usize {
        self.transposed + if self.parts == 1 { 0 } else { self.parts * self.elements * size_of::<f32>() }
    }

    /// Queues a pass: `operands` are x and w, dy and w, or x and dy. Bias, its length and its pitch, and what follows it are for
    /// [`Pass::Forward`] alone.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run(
        &self,
        d: &CudaDevice,
        g: &ConvGeometry,
        pass: Pass,
        [left, right]: [Address; 2],
        (bias, columns, pitch): (Address, usize, i32),
        finish: &Finish,
        out: Address,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let small = usize::from(matches!(self.tile, SMALL | NARROW));
        let scratch = d.scratch_at(scratch, self.scratch())?;
        let steps = self.steps_each as i32;
        let boxes = match self.tile.engine {
            Engine::MmaSync => None,
            Engine::Wgmma => Some(conv_hopper::operands(d, g, pass, [left, right], self.tile.columns, scratch)?),
        };
        let launch = |bias: Address, finish: &Finish, out: Address, into| match &boxes {
            None => {
                let kernel = KERNELS[pass as usize * 4 + small * 2 + usize::from(d.precision == Precision::Bf16)];
                d.launch(kernel, self.grid, &[g, &left, &right, &bias, &pitch, finish, &out, &steps, &add(into)])
            }
            Some((windows, filters, corner)) => {
                let kernel = conv_hopper::KERNELS[pass as usize * 2 + small];
                let arguments: &[&dyn Argument] = &[g, windows, filters, corner, &bias, &pitch, finish, &out, &steps, &add(into)];
                d.launch(kernel, self.grid, arguments)
            }
        };
        if self.parts == 1 {
            return launch(bias, finish, out, into);
        }
        let part = Address(scratch.0 + self.transposed as u64);
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
