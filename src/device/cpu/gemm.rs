//! The matrix product C = neuron(op(A)·op(B) + bias).
//!
//! f64 runs the plain loop nest: it is the reference. f32 runs on the micro-kernels of `simd.rs`, blocked as BLIS does it: of
//! the two operands the *columns'* one is packed once into panels of two or more vectors ([panel][k][columns]), all of it, and
//! is shared; a task takes a block of rows and a range of panels, and for each 256 steps of k goes through its panels (32 KB
//! in the first-level cache) and, within, its tiles of up to 14 rows, which are packed too where at least 256 columns use
//! them and read in place where not. Sums stay in registers for 256 steps and are added in C between. Where the rows'
//! operand is the smallest of the three matrices (the image gradient of a fully connected layer) it is the shared one
//! instead, and tasks, ranges of columns, pack one piece of a panel at a time: scratch never holds the weights.
//!
//! Panels need the columns' operand as [k][columns]. With B stored `[n][k]` (weights `[out][in]` in a forward pass) and fewer
//! rows than columns it is cheaper to make Cᵀ = B·Aᵀ: the weights, much the larger, are read in place as rows and only A is
//! transposed; Cᵀ is made in scratch and transposed into C, m·n elements for the 2·m·n·k FLOPs.
//!
//! FLOPs: 2·m·n·k, columns padded to 16. Bytes: both operands and C about once; scratch is the packed operand, one block of
//! rows a task, and Cᵀ.

use super::conv::{clear_tails, finish_neuron, floats, floats_mut, spread};
use super::simd::{Finish, Rows, Shared, Simd, Walk};
use super::{Real, Workers};
use crate::device::{Dtype, Into, Neuron, Product};
use rayon::prelude::*;
use std::ops::Range;

/// Steps of k that a tile takes at a time, about.
const STEPS: usize = 256;
/// Rows of a block.
const BLOCK: usize = 224;
/// Tasks wanted, and slots of scratch at most.
const TASKS: usize = 16;
const SLOTS: usize = 32;
/// Columns of a range, so that a task's packed rows are used by enough of them.
const RANGE: usize = 256;

/// Panels that a task packs at a time where it packs them: half a kilobyte of each row of a large matrix, not a line or two.
const PANELS: usize = 4;

/// How a product is cut: computed from its sizes and the instruction set alone.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Whether Cᵀ is made: then rows are n and columns m.
    swapped: bool,
    rows: usize,
    columns: usize,
    depth: usize,
    /// Elements from one step of k to the next in the rows' and the columns' operand; where they are 1, rows (columns) are k
    /// elements apart, otherwise 1.
    row_step: usize,
    column_step: usize,
    /// Columns of a panel; panels.
    panel: usize,
    panels: usize,
    /// Most rows of a tile; tiles; blocks of tiles; ranges of panels.
    tiles: usize,
    blocks: usize,
    ranges: usize,
    /// Pieces of k.
    pieces: usize,
    /// Whether tiles are packed.
    packed: bool,
    /// Whether the rows' operand is the shared one, all of it packed into tiles, and tasks pack their panels.
    rows_shared: bool,
}

impl Plan {
    fn new(p: &Product, simd: &Simd) -> Self {
        let (m, n, depth) = (p.m as usize, p.n as usize, p.k as usize);
        let a = if p.transpose_a == 1 { m } else { 1 };
        let b = if p.transpose_b == 1 { 1 } else { n };
        let swapped = p.transpose_b == 1 && m < 2 * n;
        let (rows, columns, row_step, column_step) = if swapped { (n, m, b, a) } else { (m, n, a, b) };
        let vectors = simd.vectors(rows, columns);
        let panel = vectors * simd.lanes;
        let panels = columns.div_ceil(panel);
        let rows_shared = column_step != 1 && rows < columns && rows < depth;
        let tiles = rows.div_ceil(simd.most_rows(vectors));
        let blocks = rows.div_ceil(BLOCK).max(TASKS.min(rows.div_ceil(simd.most_rows(vectors) * 4)));
        let ranges = TASKS.div_ceil(blocks).min(columns.div_ceil(RANGE)).clamp(1, panels.max(1));
        let (blocks, ranges) = if rows_shared { (1, TASKS.min(panels)) } else { (blocks, ranges) };
        Self {
            swapped,
            rows,
            columns,
            depth,
            row_step,
            column_step,
            panel,
            panels,
            tiles,
            blocks: blocks.clamp(1, tiles.max(1)),
            ranges,
            pieces: depth.div_ceil(STEPS).max(1),
            packed: rows_shared || panels / ranges * panel >= RANGE || row_step > 1 && depth > 1 && columns > panel,
            rows_shared,
        }
    }

    /// Floats of the operand that is packed once for all tasks.
    fn shared_floats(&self) -> usize {
        if self.rows_shared { (self.rows * self.depth).next_multiple_of(16) } else { self.panels * self.panel * self.depth }
    }

    /// Floats that a task packs at a time.
    fn slot_floats(&self) -> usize {
        if self.rows_shared {
            return PANELS * self.panel * self.depth.div_ceil(self.pieces);
        }
        let rows = self.tiles.div_ceil(self.blocks) * self.rows.div_ceil(self.tiles.max(1));
        if self.packed { (rows * self.depth.div_ceil(self.pieces)).next_multiple_of(16) } else { 16 }
    }

    fn result_floats(&self) -> usize {
        if self.swapped { (self.rows * self.columns).next_multiple_of(16) } else { 0 }
    }

    fn slots(&self) -> usize {
        (self.blocks * self.ranges).min(SLOTS)
    }
}

/// Bytes of scratch that [`product`] wants.
pub fn scratch<T: Real>(p: &Product) -> usize {
    if T::DTYPE != Dtype::F32 {
        return 0;
    }
    let plan = Plan::new(p, Simd::best());
    (plan.shared_floats() + plan.result_floats() + plan.slots() * plan.slot_floats()) * 4
}

/// C ← neuron(op(A)·op(B) + bias), or C += op(A)·op(B).
#[allow(clippy::too_many_arguments)]
pub fn product<T: Real>(
    workers: &Workers,
    p: &Product,
    a: &[T],
    b: &[T],
    bias: Option<&[T]>,
    neuron: Neuron,
    c: &mut [T],
    into: Into,
    scratch: &mut [T],
) {
    if T::DTYPE != Dtype::F32 || p.m == 0 || p.n == 0 || p.k == 0 {
        return plain(workers, p, a, b, bias, neuron, c, into);
    }
    let bias = bias.map(floats);
    single(workers, Simd::best(), p, floats(a), floats(b), bias, neuron, floats_mut(c), into, floats_mut(scratch));
}

/// The f32 product.
#[allow(clippy::too_many_arguments)]
fn single(
    workers: &Workers,
    simd: &Simd,
    p: &Product,
    a: &[f32],
    b: &[f32],
    bias: Option<&[f32]>,
    neuron: Neuron,
    c: &mut [f32],
    into: Into,
    scratch: &mut [f32],
) {
    let plan = Plan::new(p, simd);
    let (rows, columns) = if plan.swapped { (b, a) } else { (a, b) };
    let (shared, scratch) = scratch.split_at_mut(plan.shared_floats());
    let (result, slots) = scratch.split_at_mut(plan.result_floats());

    let depth = plan.depth;
    if plan.rows_shared {
        for t in 0..plan.tiles {
            let (start, end) = plan.tile(t);
            plan.pack_rows(simd, rows, start..end, 0..depth, &mut shared[start * depth..end * depth]);
        }
    } else {
        spread(workers, shared.len() / 2, plan.panel * depth, shared, |i, panel| {
            plan.pack_columns(simd, columns, i, 0..depth, panel);
        });
    }
    let shared = &*shared;

    let (last, add) = if plan.swapped {
        (Finish::NOTHING, false)
    } else {
        (Finish { add: false, bias: bias.map(|b| (b, 0)), relu: neuron == Neuron::Relu }, into == Into::Add)
    };
    {
        let to = Shared::new(if plan.swapped { &mut *result } else { &mut *c });
        let (tasks, count) = (plan.blocks * plan.ranges, plan.slots());
        let nanoseconds = plan.rows * plan.columns * depth / 50;
        let slots = &mut slots[..count * plan.slot_floats()];
        spread(workers, nanoseconds, plan.slot_floats(), slots, |slot, scratch| {
            for task in slot * tasks / count..(slot + 1) * tasks / count {
                plan.task(simd, task, rows, columns, shared, to, &last, add, scratch);
            }
        });
    }
    if plan.swapped {
        let (m, n) = (plan.columns, plan.rows);
        let lines = (1_usize << 14).div_ceil(n).next_multiple_of(16);
        let result = &*result;
        spread(workers, m * n, lines * n, c, |i, c| {
            let (first, count) = (i * lines, c.len() / n);
            untangle(simd, &result[first..], m, n, count, bias, neuron, c, into);
        });
    }
    finish_neuron(workers, neuron, c);
}

impl Finish<'_> {
    /// C ← the sums.
    const NOTHING: Self = Self { add: false, bias: None, relu: false };
}

/// Transposes `count` columns of Cᵀ `[n][m]` into rows of C, with bias and relu or added.
#[allow(clippy::too_many_arguments)]
fn untangle(
    simd: &Simd,
    x: &[f32],
    m: usize,
    n: usize,
    count: usize,
    bias: Option<&[f32]>,
    neuron: Neuron,
    c: &mut [f32],
    into: Into,
) {
    const WIDE: usize = 64;
    if into == Into::Set {
        simd.transpose(x, m, c, n, n, count);
        for c in c.chunks_exact_mut(n) {
            if let Some(bias) = bias {
                c.iter_mut().zip(bias).for_each(|(c, b)| *c += b);
            }
            if neuron == Neuron::Relu {
                c.iter_mut().for_each(|c| *c = if *c < 0.0 { 0.0 } else { *c });
            }
        }
        return;
    }
    let mut tile = [0.0; 16 * WIDE];
    for j in (0..n).step_by(WIDE) {
        let width = WIDE.min(n - j);
        for i in (0..count).step_by(16) {
            let height = 16.min(count - i);
            simd.transpose(&x[j * m + i..], m, &mut tile, WIDE, width, height);
            for (l, tile) in tile.chunks_exact(WIDE).enumerate().take(height) {
                c[(i + l) * n + j..][..width].iter_mut().zip(tile).for_each(|(c, t)| *c += t);
            }
        }
    }
}

impl Plan {
    /// One block of rows by one range of panels.
    #[allow(clippy::too_many_arguments)]
    fn task(
        &self,
        simd: &Simd,
        task: usize,
        rows: &[f32],
        columns: &[f32],
        shared: &[f32],
        to: Shared<'_>,
        finish: &Finish<'_>,
        add: bool,
        scratch: &mut [f32],
    ) {
        let (block, range) = (task / self.ranges, task % self.ranges);
        let tiles = block * self.tiles / self.blocks..(block + 1) * self.tiles / self.blocks;
        let range = range * self.panels / self.ranges..(range + 1) * self.panels / self.ranges;
        let first_row = self.tile(tiles.start).0;
        for piece in 0..self.pieces {
            let steps = piece * self.depth / self.pieces..(piece + 1) * self.depth / self.pieces;
            if self.packed && !self.rows_shared {
                for t in tiles.clone() {
                    let (start, end) = self.tile(t);
                    self.pack_rows(simd, rows, start..end, steps.clone(), &mut scratch[(start - first_row) * steps.len()..]);
                }
            }
            for p in range.clone() {
                let column = p * self.panel;
                let count = self.panel.min(self.columns - column);
                let size = self.panel * steps.len();
                let at = (p - range.start) % PANELS;
                if self.rows_shared && at == 0 {
                    let whole = PANELS.min(range.end - p).min((self.columns - column) / self.panel);
                    let (from, to) = ([self.column_step, self.panel], [self.panel, size]);
                    simd.copy(&columns[steps.start * from[0] + column..], from, scratch, to, self.panel, [steps.len(), whole]);
                    if whole < PANELS && p + whole < range.end {
                        self.pack_columns(simd, columns, p + whole, steps.clone(), &mut scratch[whole * size..]);
                    }
                }
                let panel = if self.rows_shared {
                    &scratch[at * size..]
                } else {
                    &shared[column * self.depth + steps.start * count.next_multiple_of(simd.lanes)..]
                };
                let finish = Finish {
                    add: add || piece > 0,
                    bias: finish.bias.filter(|_| piece == 0).map(|(b, pitch)| (&b[column..], pitch)),
                    relu: finish.relu && piece + 1 == self.pieces,
                };
                for t in tiles.clone() {
                    let (start, end) = self.tile(t);
                    let height = end - start;
                    let (a, rows, step) = if self.rows_shared {
                        (&shared[start * self.depth + steps.start * height..], Rows::Adjacent, height)
                    } else if self.packed {
                        (&scratch[(start - first_row) * steps.len()..], Rows::Adjacent, height)
                    } else if self.row_step == 1 {
                        (&rows[start * self.depth + steps.start..], Rows::Apart(self.depth), 1)
                    } else {
                        (&rows[steps.start * self.row_step + start..], Rows::Adjacent, self.row_step)
                    };
                    let walk = Walk { rows, loops: [(1, 0), (1, 0), (steps.len(), step)] };
                    let at = start * self.columns + column;
                    // SAFETY: this task alone writes these rows and columns of C.
                    unsafe { simd.tile(height, a, &walk, panel, to, at, self.columns, count, &finish) }
                }
            }
        }
    }

    /// The rows of a tile: first and behind the last.
    fn tile(&self, t: usize) -> (usize, usize) {
        (t * self.rows / self.tiles, (t + 1) * self.rows / self.tiles)
    }

    /// Packs some steps of a tile's rows: [step][row].
    fn pack_rows(&self, simd: &Simd, x: &[f32], rows: Range<usize>, steps: Range<usize>, to: &mut [f32]) {
        let count = rows.len();
        if self.row_step == 1 {
            simd.transpose(&x[rows.start * self.depth + steps.start..], self.depth, to, count, count, steps.len());
        } else {
            let from = &x[steps.start * self.row_step + rows.start..];
            simd.copy(from, [0, self.row_step], to, [0, count], count, [1, steps.len()]);
        }
    }

    /// Packs some steps of a panel: [step][column, padded to vectors].
    fn pack_columns(&self, simd: &Simd, x: &[f32], panel: usize, steps: Range<usize>, to: &mut [f32]) {
        let first = panel * self.panel;
        let count = self.panel.min(self.columns - first);
        let pitch = count.next_multiple_of(simd.lanes);
        let to = &mut to[..steps.len() * pitch];
        if self.column_step == 1 {
            simd.transpose(&x[first * self.depth + steps.start..], self.depth, to, pitch, count, steps.len());
        } else {
            let from = &x[steps.start * self.column_step + first..];
            simd.copy(from, [0, self.column_step], to, [0, pitch], count, [1, steps.len()]);
        }
        clear_tails(to, pitch, count);
    }
}

/// Row by row of C, every sum in the order of k.
#[allow(clippy::too_many_arguments)]
fn plain<T: Real>(workers: &Workers, p: &Product, a: &[T], b: &[T], bias: Option<&[T]>, neuron: Neuron, c: &mut [T], into: Into) {
    let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
    if n == 0 {
        return;
    }
    let row = |i: usize, c: &mut [T]| {
        if into == Into::Set {
            match bias {
                Some(bias) => c.copy_from_slice(bias),
                None => c.fill(T::ZERO),
            }
        }
        for l in 0..k {
            let f = if p.transpose_a == 1 { a[l * m + i] } else { a[i * k + l] };
            if p.transpose_b == 1 {
                c.iter_mut().enumerate().for_each(|(j, c)| *c += f * b[j * k + l]);
            } else {
                c.iter_mut().zip(&b[l * n..][..n]).for_each(|(c, b)| *c += f * *b);
            }
        }
        if into == Into::Set && neuron != Neuron::NONE {
            super::neuron::apply(neuron, c);
        }
    };
    workers.run(|| c.par_chunks_mut(n).enumerate().for_each(|(i, c)| row(i, c)));
}

#[cfg(test)]
mod tests {
    use super::super::conv::tests::{compare, doubles, numbers, sizes_of};
    use super::*;

    const SIZES: [(i32, i32, i32); 14] = [
        (1, 1, 1),
        (1, 17, 3),
        (5, 1, 9),
        (64, 500, 800),
        (64, 10, 500),
        (500, 800, 64),
        (64, 800, 500),
        (300, 31, 257),
        (14, 32, 1),
        (15, 33, 513),
        (260, 520, 130),
        (7, 1000, 40),
        (1000, 7, 40),
        (1, 300, 1000),
    ];

    /// Every layout of the operands, set with bias and neuron or added, on every instruction set and 1 to 3 threads, against
    /// the plain loops in f64; threads never change a bit. The bound is (4 + √k) half-ulps of the sum of |terms|.
    #[test]
    fn f32_is_the_definition_on_any_threads() {
        let pools = [Workers::new(1), Workers::new(2), Workers::new(3)];
        for (m, n, k) in SIZES {
            for (transpose_a, transpose_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let p = Product { m, n, k, transpose_a, transpose_b };
                let (a, b) = (numbers(1, (m * k) as usize), numbers(2, (k * n) as usize));
                let (bias, c) = (numbers(3, n as usize), numbers(4, (m * n) as usize));
                for (bias, neuron, into) in [
                    (Some(&bias), Neuron::Relu, Into::Set),
                    (Some(&bias), Neuron::Tanh { a: 1.0, b: 0.5 }, Into::Set),
                    (None, Neuron::NONE, Into::Add),
                ] {
                    let wide = |of: fn(&[f64]) -> Vec<f64>, neuron| {
                        let of = |x: &[f32]| of(&doubles(x));
                        let mut c = of(&c);
                        let bias = bias.map(|b| of(b));
                        plain(&pools[0], &p, &of(&a), &of(&b), bias.as_deref(), neuron, &mut c, into);
                        c
                    };
                    let (want, sizes) = (wide(<[f64]>::to_vec, neuron), wide(sizes_of, Neuron::NONE));
                    for simd in Simd::all() {
                        let mut before = None;
                        for workers in &pools {
                            let plan = Plan::new(&p, simd);
                            let floats = plan.shared_floats() + plan.result_floats() + plan.slots() * plan.slot_floats();
                            let mut scratch = vec![1e30; floats];
                            let mut got = c.clone();
                            let bias = bias.map(Vec::as_slice);
                            single(workers, simd, &p, &a, &b, bias, neuron, &mut got, into, &mut scratch);
                            let what = format!("{} {p:?}, {neuron:?}, {into:?}, {}", simd.name, workers.threads());
                            compare(&what, &got, &want, &sizes, k as usize);
                            let bits: Vec<_> = got.iter().map(|x| x.to_bits()).collect();
                            assert!(before.is_none_or(|before| before == bits), "{what}: other bits than on fewer threads");
                            before = Some(bits);
                        }
                    }
                }
            }
        }
    }
}
