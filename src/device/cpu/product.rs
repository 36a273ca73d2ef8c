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

use super::conv::{clear_tails, finish_neuron, floats, floats_mut, floats_target};
use super::simd::{Finish, Left, Place, Rows, Shared, Simd, Walk};
use super::{CpuDevice, Real, Workers, neuron, scratch_of};
use crate::device::{Dtype, ProductGeometry, Result, Run, Tensor};
use crate::op::{Neuron, Product, Target};
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

impl<T: Real> Run<Product<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &Product<Tensor>, scratch: Tensor) -> Result<()> {
        let mut t = self.arena.borrow();
        let (a, b, bias) = (t.read::<T>(op.a), t.read::<T>(op.b), op.bias.map(|bias| t.read::<T>(bias)));
        let factors = Factors { bias, neuron: op.neuron, ..Factors::new(op.geometry, a, b) };
        product(&self.workers, &factors, t.target::<T>(op.c), scratch_of::<T>(&mut t, scratch));
        Ok(())
    }

    fn scratch(&self, op: &Product<Tensor>) -> usize {
        scratch::<T>(&op.geometry)
    }
}

/// What C is made of: neuron(op(A)·op(B) + bias), without a bias and a neuron where it is added.
pub struct Factors<'a, T> {
    pub geometry: ProductGeometry,
    pub a: &'a [T],
    pub b: &'a [T],
    pub bias: Option<&'a [T]>,
    pub neuron: Neuron,
    /// Elements from one row of A, as it is stored, and of C to the next.
    pub pitches: [usize; 2],
    /// The outputs of a relu whose derivative the result, or the sum, is multiplied by, and the distance of their rows. B is not
    /// transposed then.
    pub seen: Option<(&'a [T], usize)>,
}

impl<'a, T> Factors<'a, T> {
    /// op(A)·op(B), of matrices without gaps.
    pub fn new(geometry: ProductGeometry, a: &'a [T], b: &'a [T]) -> Self {
        Self { geometry, a, b, bias: None, neuron: Neuron::NONE, pitches: dense(&geometry), seen: None }
    }
}

/// The distances of the rows of A, as it is stored, and of C where they have no gaps.
fn dense(p: &ProductGeometry) -> [usize; 2] {
    [if p.transpose_a == 1 { p.m } else { p.k }, p.n].map(|n| n as usize)
}

/// How a product is cut: computed from its sizes and the instruction set alone.
#[derive(Clone, Copy)]
struct Plan<'a> {
    simd: &'a Simd,
    /// Whether Cᵀ is made: then rows are n and columns m.
    swapped: bool,
    rows: usize,
    columns: usize,
    depth: usize,
    /// Elements from one step of k to the next in the rows' and the columns' operand; where they are 1, rows (columns) are
    /// `apart`, otherwise they are next to each other.
    row_step: usize,
    column_step: usize,
    row_apart: usize,
    column_apart: usize,
    /// Elements from one row of what is made to the next.
    pitch: usize,
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

impl<'a> Plan<'a> {
    fn new(p: &ProductGeometry, [a_pitch, pitch]: [usize; 2], simd: &'a Simd) -> Self {
        let (m, n, depth) = (p.m as usize, p.n as usize, p.k as usize);
        // Steps and distances of A's rows and B's columns.
        let a = if p.transpose_a == 1 && m > 1 { [a_pitch, 1] } else { [1, a_pitch] };
        let b = if p.transpose_b == 1 || n == 1 { [1, depth] } else { [n, 1] };
        let swapped = p.transpose_b == 1 && m < 2 * n;
        let (rows, columns) = if swapped { (n, m) } else { (m, n) };
        let ([row_step, row_apart], [column_step, column_apart]) = if swapped { (b, a) } else { (a, b) };
        let vectors = simd.vectors(rows, columns);
        let panel = vectors * simd.lanes;
        let panels = columns.div_ceil(panel);
        let rows_shared = column_step != 1 && rows < columns && rows < depth;
        let tiles = rows.div_ceil(simd.most_rows(vectors));
        let blocks = rows.div_ceil(BLOCK).max(TASKS.min(rows.div_ceil(simd.most_rows(vectors) * 4)));
        let ranges = TASKS.div_ceil(blocks).min(columns.div_ceil(RANGE)).clamp(1, panels.max(1));
        let (blocks, ranges) = if rows_shared { (1, TASKS.min(panels)) } else { (blocks, ranges) };
        Self {
            simd,
            swapped,
            rows,
            columns,
            depth,
            row_step,
            column_step,
            row_apart,
            column_apart,
            pitch: if swapped { columns } else { pitch },
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

    /// Floats of scratch.
    fn scratch(&self) -> usize {
        self.shared_floats() + self.result_floats() + self.slots() * self.slot_floats()
    }
}

/// Bytes of scratch that [`product`] wants.
pub fn scratch<T: Real>(p: &ProductGeometry) -> usize {
    // Gaps make no difference.
    if T::DTYPE == Dtype::F32 { Plan::new(p, dense(p), Simd::best()).scratch() * 4 } else { 0 }
}

/// C ← neuron(op(A)·op(B) + bias), or C += op(A)·op(B); then multiplied by the derivative of the relu that is `seen`.
pub fn product<T: Real>(workers: &Workers, f: &Factors<'_, T>, c: Target<&mut [T]>, scratch: &mut [T]) {
    let &Factors { geometry, a, b, bias, neuron, pitches, seen } = f;
    if T::DTYPE != Dtype::F32 || geometry.m == 0 || geometry.n == 0 || geometry.k == 0 {
        return plain(workers, f, c);
    }
    let seen = seen.map(|(seen, pitch)| (floats(seen), pitch));
    let f = Factors { geometry, a: floats(a), b: floats(b), bias: bias.map(floats), neuron, pitches, seen };
    single(workers, Simd::best(), &f, floats_target(c), floats_mut(scratch));
}

/// The f32 product.
fn single(workers: &Workers, simd: &Simd, f: &Factors<'_, f32>, c: Target<&mut [f32]>, scratch: &mut [f32]) {
    let plan = Plan::new(&f.geometry, f.pitches, simd);
    assert!(!plan.swapped || f.seen.is_none(), "a transposed product does not see a relu's outputs");
    let (rows, columns) = if plan.swapped { (f.b, f.a) } else { (f.a, f.b) };
    let (shared, scratch) = scratch.split_at_mut(plan.shared_floats());
    let (result, slots) = scratch.split_at_mut(plan.result_floats());

    let depth = plan.depth;
    if plan.rows_shared {
        for t in 0..plan.tiles {
            let (start, end) = plan.tile(t);
            plan.pack_rows(rows, start..end, 0..depth, &mut shared[start * depth..end * depth]);
        }
    } else {
        workers.large_pieces(shared.len() / 2, plan.panel * depth, shared, |i, panel| {
            plan.pack_columns(columns, i, 0..depth, panel);
        });
    }
    let shared = &*shared;

    let finish = if plan.swapped {
        Finish::sums(false)
    } else {
        Finish { add: c.adds(), bias: f.bias.map(|b| (b, 0)), relu: f.neuron == Neuron::Relu, seen: f.seen }
    };
    {
        let to = Shared::new(if plan.swapped { &mut *result } else { &mut *c.at });
        let (tasks, count) = (plan.blocks * plan.ranges, plan.slots());
        let nanoseconds = plan.rows * plan.columns * depth / 50;
        let slots = &mut slots[..count * plan.slot_floats()];
        workers.large_pieces(nanoseconds, plan.slot_floats(), slots, |slot, scratch| {
            for task in slot * tasks / count..(slot + 1) * tasks / count {
                plan.task(task, [rows, columns], shared, to, &finish, scratch);
            }
        });
    }
    if plan.swapped {
        let (m, n, into) = (plan.columns, plan.rows, c.into);
        let lines = (1_usize << 14).div_ceil(n).next_multiple_of(16);
        let result = &*result;
        workers.large_pieces(m * n, lines * f.pitches[1], c.at, |i, c| {
            untangle(simd, f, &result[i * lines..], Target { at: c, into });
        });
    }
    finish_neuron(workers, f.neuron, c.at, [f.geometry.n as usize, f.pitches[1]]);
}

/// Transposes the first columns of what is at x of Cᵀ `[n][m]` into rows of C, with bias and relu or added.
fn untangle(simd: &Simd, f: &Factors<'_, f32>, x: &[f32], c: Target<&mut [f32]>) {
    const WIDE: usize = 64;
    let (m, n, pitch, add, c) = (f.geometry.m as usize, f.geometry.n as usize, f.pitches[1], c.adds(), c.at);
    let count = c.len().div_ceil(pitch);
    if !add {
        simd.transpose(x, m, c, pitch, n, count);
        for c in c.chunks_mut(pitch) {
            let c = &mut c[..n];
            if let Some(bias) = f.bias {
                c.iter_mut().zip(bias).for_each(|(c, b)| *c += b);
            }
            if f.neuron == Neuron::Relu {
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
                c[(i + l) * pitch + j..][..width].iter_mut().zip(tile).for_each(|(c, t)| *c += t);
            }
        }
    }
}

impl Plan<'_> {
    /// One block of rows by one range of panels.
    fn task(
        &self,
        task: usize,
        [rows, columns]: [&[f32]; 2],
        shared: &[f32],
        to: Shared<'_>,
        finish: &Finish<'_>,
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
                    self.pack_rows(rows, start..end, steps.clone(), &mut scratch[(start - first_row) * steps.len()..]);
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
                    let first = steps.start * from[0] + column;
                    self.simd.copy(&columns[first..], from, scratch, to, self.panel, [steps.len(), whole]);
                    if whole < PANELS && p + whole < range.end {
                        self.pack_columns(columns, p + whole, steps.clone(), &mut scratch[whole * size..]);
                    }
                }
                let panel = if self.rows_shared {
                    &scratch[at * size..]
                } else {
                    &shared[column * self.depth + steps.start * count.next_multiple_of(self.simd.lanes)..]
                };
                let finish = Finish {
                    add: finish.add || piece > 0,
                    bias: finish.bias.filter(|_| piece == 0).map(|(b, pitch)| (&b[column..], pitch)),
                    relu: finish.relu && piece + 1 == self.pieces,
                    seen: finish.seen.filter(|_| piece + 1 == self.pieces),
                };
                for t in tiles.clone() {
                    let (start, end) = self.tile(t);
                    let height = end - start;
                    let (a, rows, step) = if self.rows_shared {
                        (&shared[start * self.depth + steps.start * height..], Rows::Adjacent, height)
                    } else if self.packed {
                        (&scratch[(start - first_row) * steps.len()..], Rows::Adjacent, height)
                    } else if self.row_step == 1 {
                        (&rows[start * self.row_apart + steps.start..], Rows::Apart(self.row_apart), 1)
                    } else {
                        (&rows[steps.start * self.row_step + start..], Rows::Adjacent, self.row_step)
                    };
                    let walk = Walk { rows, loops: [(1, 0), (1, 0), (steps.len(), step)] };
                    let seen = finish.seen.map(|(seen, pitch)| (&seen[start * pitch + column..], pitch));
                    let finish = Finish { seen, ..finish };
                    let to = to.after(start * self.pitch + column);
                    let place = Place { c: to, pitch: self.pitch, columns: count };
                    // SAFETY: this task alone writes these rows and columns of C.
                    unsafe { self.simd.tile(&Left { a, rows: height, walk }, panel, &place, &finish) }
                }
            }
        }
    }

    /// The rows of a tile: first and behind the last.
    fn tile(&self, t: usize) -> (usize, usize) {
        (t * self.rows / self.tiles, (t + 1) * self.rows / self.tiles)
    }

    /// Packs some steps of a tile's rows: [step][row].
    fn pack_rows(&self, x: &[f32], rows: Range<usize>, steps: Range<usize>, to: &mut [f32]) {
        let count = rows.len();
        if self.row_step == 1 {
            let from = &x[rows.start * self.row_apart + steps.start..];
            self.simd.transpose(from, self.row_apart, to, count, count, steps.len());
        } else {
            let from = &x[steps.start * self.row_step + rows.start..];
            self.simd.copy(from, [0, self.row_step], to, [0, count], count, [1, steps.len()]);
        }
    }

    /// Packs some steps of a panel: [step][column, padded to vectors].
    fn pack_columns(&self, x: &[f32], panel: usize, steps: Range<usize>, to: &mut [f32]) {
        let first = panel * self.panel;
        let count = self.panel.min(self.columns - first);
        let pitch = count.next_multiple_of(self.simd.lanes);
        let to = &mut to[..steps.len() * pitch];
        if self.column_step == 1 {
            let from = &x[first * self.column_apart + steps.start..];
            self.simd.transpose(from, self.column_apart, to, pitch, count, steps.len());
        } else {
            let from = &x[steps.start * self.column_step + first..];
            self.simd.copy(from, [0, self.column_step], to, [0, pitch], count, [1, steps.len()]);
        }
        clear_tails(to, pitch, count);
    }
}

/// Row by row of C, every sum in the order of k.
fn plain<T: Real>(workers: &Workers, f: &Factors<'_, T>, c: Target<&mut [T]>) {
    let (p, set) = (&f.geometry, !c.adds());
    let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
    let [a_pitch, pitch] = f.pitches;
    if m == 0 || n == 0 {
        return;
    }
    let row = |i: usize, c: &mut [T]| {
        let c = &mut c[..n];
        if set {
            match f.bias {
                Some(bias) => c.copy_from_slice(bias),
                None => c.fill(T::ZERO),
            }
        }
        for l in 0..k {
            let a = if p.transpose_a == 1 { f.a[l * a_pitch + i] } else { f.a[i * a_pitch + l] };
            if p.transpose_b == 1 {
                c.iter_mut().enumerate().for_each(|(j, c)| *c += a * f.b[j * k + l]);
            } else {
                c.iter_mut().zip(&f.b[l * n..][..n]).for_each(|(c, b)| *c += a * *b);
            }
        }
        if set {
            neuron::apply(f.neuron, c);
        }
        if let Some((seen, pitch)) = f.seen {
            neuron::mask(Neuron::Relu, n, (&seen[i * pitch..], pitch), (c, n));
        }
    };
    workers.pieces(usize::MAX, pitch, c.at, row);
}

#[cfg(test)]
mod tests {
    use super::super::conv::tests::{compare, doubles, numbers, sizes_of};
    use super::*;
    use crate::op::Write;

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
                let geometry = ProductGeometry { m, n, k, transpose_a, transpose_b };
                let (a, b) = (numbers(1, (m * k) as usize), numbers(2, (k * n) as usize));
                let (bias, c) = (numbers(3, n as usize), numbers(4, (m * n) as usize));
                for (bias, neuron, into) in [
                    (Some(&bias), Neuron::Relu, Write::Set),
                    (Some(&bias), Neuron::Tanh { a: 1.0, b: 0.5 }, Write::Set),
                    (None, Neuron::NONE, Write::Add),
                ] {
                    let wide = |of: fn(&[f64]) -> Vec<f64>, neuron| {
                        let of = |x: &[f32]| of(&doubles(x));
                        let (a, b, mut c, bias) = (of(&a), of(&b), of(&c), bias.map(|b| of(b)));
                        let f = Factors { bias: bias.as_deref(), neuron, ..Factors::new(geometry, &a, &b) };
                        plain(&pools[0], &f, Target { at: &mut c, into });
                        c
                    };
                    let (want, sizes) = (wide(<[f64]>::to_vec, neuron), wide(sizes_of, Neuron::NONE));
                    for simd in Simd::all() {
                        let mut before = None;
                        for workers in &pools {
                            let mut scratch = vec![1e30; Plan::new(&geometry, dense(&geometry), simd).scratch()];
                            let mut got = c.clone();
                            let bias = bias.map(Vec::as_slice);
                            let f = Factors { bias, neuron, ..Factors::new(geometry, &a, &b) };
                            single(workers, simd, &f, Target { at: &mut got, into }, &mut scratch);
                            let what = format!("{} {geometry}, {neuron:?}, {into:?}, {}", simd.name, workers.threads());
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
