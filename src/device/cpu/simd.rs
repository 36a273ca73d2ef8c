//! The micro-kernels that products and convolutions share, for AVX-512, AVX2 with FMA, and whatever the compiler makes of
//! plain arrays elsewhere; the best that the machine has is taken at run time.
//!
//! A tile is C[M rows][V vectors] += Σ over the depth of A[row]·B[vector], an outer product a step: V loads of B, M
//! broadcasts of A and M·V multiply-adds, whose sums stay in registers for the whole depth. B is a packed panel, V vectors a
//! step, one after the other. A is read where it lies: three nested loops of the depth walk over it (rows of taps, taps,
//! channels), and its rows are either a fixed distance apart with the innermost step 1 (positions of an NHWC image; rows of a
//! matrix) or adjacent with any innermost step (packed tiles).
//!
//! Zen 5 does two 512-bit multiply-adds and two loads a cycle with a latency of four: a tile needs M·V ≥ 8 sums and
//! M + V ≤ M·V loads. 14 × 2 takes 31 of the 32 registers and 16 loads for 28 multiply-adds; its panel streams from the
//! second-level cache at 128 bytes every 14 cycles, a seventh of what that gives.

mod transforms;

use std::marker::PhantomData;
pub use transforms::Square;
use transforms::{NarrowFn, Then, WidenFn, narrow, widen};

/// Rows of the tallest tile.
pub const MAX_ROWS: usize = 14;
/// Vectors of the widest tile.
pub const MAX_VECTORS: usize = 4;

/// How a tile's rows of A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// So many elements apart; the innermost loop's step is 1.
    Apart(usize),
    /// Next to each other; the innermost loop's step is free.
    Adjacent,
}

/// How a tile walks over A: loops of the depth, outermost first, each a count and the elements from one turn to the next.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// How the rows lie.
    pub rows: Rows,
    /// Turns and step of each loop.
    pub loops: [(usize, usize); 3],
}

impl Walk {
    /// Steps of the depth.
    fn depth(&self) -> usize {
        self.loops.iter().map(|l| l.0).product()
    }

    /// Elements from one row to the next.
    fn apart(&self) -> usize {
        match self.rows {
            Rows::Apart(apart) => apart,
            Rows::Adjacent => 1,
        }
    }
}

/// The rows of A that a tile, or several, multiply with a panel.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// From the first row's first element on.
    pub a: &'a [f32],
    /// How many rows.
    pub rows: usize,
    /// How they lie.
    pub walk: Walk,
}

/// What becomes of a tile's sums.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    /// Added to what C holds, instead of taking its place.
    pub add: bool,
    /// The value that the sums start from, one a column, and the distance between two rows' (0: all rows share it).
    pub bias: Option<(&'a [f32], usize)>,
    /// Negative results become 0.
    pub relu: bool,
    /// The outputs of a relu that the results are the gradient of, and the distance between two rows': a result whose output
    /// is not above 0 becomes 0.
    pub seen: Option<(&'a [f32], usize)>,
}

impl Finish<'_> {
    /// C ← the sums, or C += the sums.
    pub const fn sums(add: bool) -> Self {
        Self { add, bias: None, relu: false, seen: None }
    }
}

/// A result that threads write disjoint tiles of.
#[derive(Clone, Copy)]
pub struct Shared<'a, T = f32> {
    start: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: a Shared is a &mut [T] whose elements are only touched through functions whose callers promise that no two threads
// touch the same one.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Borrows the result for as long as its tiles are made.
    pub fn new(c: &'a mut [T]) -> Self {
        Self { start: c.as_mut_ptr(), len: c.len(), of: PhantomData }
    }

    /// The result from element number `first` on.
    #[inline]
    pub fn after(self, first: usize) -> Self {
        assert!(first <= self.len, "a tile starts behind C");
        // SAFETY: within the result, or one past its end.
        Self { start: unsafe { self.start.add(first) }, len: self.len - first, of: PhantomData }
    }

    /// `count` elements of the result from number `first` on.
    ///
    /// # Safety
    /// Nobody else, on this thread or another, has these elements for as long as the slice is used.
    #[inline]
    pub unsafe fn part(self, first: usize, count: usize) -> &'a mut [T] {
        assert!(first <= self.len && count <= self.len - first, "a part ends behind the result");
        // SAFETY: within the result, which is borrowed for 'a; the caller keeps everyone else off.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}

/// Where a tile, or several, go.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// C from the first row's first column on.
    pub c: Shared<'a>,
    /// Elements from one row to the next.
    pub pitch: usize,
    /// How many columns.
    pub columns: usize,
}

/// A tile as its kernel sees it. Every pointer was checked by [`Simd::tile`].
struct Raw {
    a: *const f32,
    apart: usize,
    loops: [(usize, usize); 3],
    b: *const f32,
    c: *mut f32,
    pitch: usize,
    columns: usize,
    bias: *const f32,
    bias_pitch: usize,
    add: bool,
    relu: bool,
    seen: *const f32,
    seen_pitch: usize,
}

type TileFn = unsafe fn(&Raw);
type CopyFn = unsafe fn(*const f32, [usize; 2], *mut f32, [usize; 2], usize, [usize; 2]);
type AccumulateFn = unsafe fn([*const f32; 2], *mut f32, [usize; 3], usize, usize);
type TransposeFn = unsafe fn(*const f32, usize, *mut f32, usize, usize, usize);

/// The kernels of one instruction set.
pub struct Simd {
    /// Its name, for the tests' messages.
    #[cfg_attr(not(test), expect(dead_code))]
    pub name: &'static str,
    /// Floats of a vector.
    pub lanes: usize,
    /// Rows of the tallest tile of so many vectors.
    most_rows: [usize; MAX_VECTORS + 1],
    tiles: [[[TileFn; MAX_ROWS]; MAX_VECTORS]; 2],
    copy: CopyFn,
    transpose: TransposeFn,
    accumulate: AccumulateFn,
    /// From squares of 2 to 6, and to squares of 2 to 5.
    widen: [WidenFn; 5],
    narrow: [NarrowFn; 4],
}

impl Simd {
    /// The best of this machine.
    pub fn best() -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return &AVX512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return &AVX2;
            }
        }
        &PORTABLE
    }

    /// All that this machine can run, for tests.
    #[cfg(test)]
    pub fn all() -> Vec<&'static Self> {
        let mut all = vec![&PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(&AVX2);
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(&AVX512);
            }
        }
        all
    }

    /// Rows of the tallest tile of `vectors` vectors.
    pub fn most_rows(&self, vectors: usize) -> usize {
        self.most_rows[vectors]
    }

    /// Vectors of a panel, for `columns` columns and tiles of up to `rows` rows: few rows leave registers for wide panels,
    /// and three vectors waste nothing where they divide the columns and their tiles are as large as those of two.
    pub fn vectors(&self, rows: usize, columns: usize) -> usize {
        let all = columns.div_ceil(self.lanes).max(1);
        let v = if rows <= self.most_rows[4] {
            4
        } else if all.is_multiple_of(3) && !all.is_multiple_of(2) && self.most_rows[3] * 3 + 1 >= self.most_rows[2] * 2 {
            3
        } else {
            2
        };
        v.min(all)
    }

    /// One tile: C[i][j] = finish(Σ A[i]·B[j]). `b` is the panel: ⌈columns/lanes⌉ vectors a step.
    ///
    /// # Safety
    /// No other thread reads or writes these elements of C meanwhile. (Bounds are checked here.)
    #[inline]
    pub unsafe fn tile(&self, left: &Left<'_>, b: &[f32], to: &Place<'_>, finish: &Finish<'_>) {
        let (&Left { a, rows, walk }, &Place { c, pitch, columns }) = (left, to);
        let (vectors, apart) = (columns.div_ceil(self.lanes), walk.apart());
        let packed = usize::from(walk.rows == Rows::Adjacent);
        assert!(rows > 0 && vectors > 0 && vectors <= MAX_VECTORS && rows <= self.most_rows[vectors]);
        assert!(packed == 1 || walk.loops[2].1 == 1 || walk.loops[2].0 == 1);
        let depth = walk.depth();
        if depth > 0 {
            let last: usize = walk.loops.iter().map(|&(count, step)| (count - 1) * step).sum();
            assert!(last + (rows - 1) * apart < a.len(), "a tile reads behind A");
            assert!(depth * vectors * self.lanes <= b.len(), "a tile reads behind its panel");
        }
        assert!((rows - 1) * pitch + columns <= c.len, "a tile writes behind C");
        let (bias, bias_pitch) = match finish.bias {
            Some((bias, pitch)) => {
                assert!((rows - 1) * pitch + columns <= bias.len(), "a tile reads behind its biases");
                (bias.as_ptr(), pitch)
            }
            None => (std::ptr::null(), 0),
        };
        let (seen, seen_pitch) = match finish.seen {
            Some((seen, pitch)) => {
                assert!((rows - 1) * pitch + columns <= seen.len(), "a tile reads behind a relu's outputs");
                (seen.as_ptr(), pitch)
            }
            None => (std::ptr::null(), 0),
        };
        // SAFETY: the assertions above keep every access in bounds; the caller keeps other threads off C; and the kernel's
        // instructions exist here, because a Simd is only handed out where they do.
        unsafe {
            let (a, loops, b, c, add, relu) = (a.as_ptr(), walk.loops, b.as_ptr(), c.start, finish.add, finish.relu);
            let raw = Raw { a, apart, loops, b, c, pitch, columns, bias, bias_pitch, add, relu, seen, seen_pitch };
            self.tiles[packed][vectors - 1][rows - 1](&raw);
        }
    }

    /// As [`tile`](Self::tile), for any number of rows, in as few tiles as possible.
    ///
    /// # Safety
    /// As for [`tile`](Self::tile).
    pub unsafe fn tiles(&self, left: &Left<'_>, b: &[f32], to: &Place<'_>, finish: &Finish<'_>) {
        let tiles = left.rows.div_ceil(self.most_rows(to.columns.div_ceil(self.lanes)));
        for tile in 0..tiles {
            let rows = tile * left.rows / tiles..(tile + 1) * left.rows / tiles;
            let first = rows.start;
            let a = left.a.get(first * left.walk.apart()..).unwrap_or_default();
            let [bias, seen] = [finish.bias, finish.seen].map(|x| x.map(|(x, pitch)| (&x[first * pitch..], pitch)));
            let (left, to) = (Left { a, rows: rows.len(), ..*left }, Place { c: to.c.after(first * to.pitch), ..*to });
            // SAFETY: the caller's promise.
            unsafe { self.tile(&left, b, &to, &Finish { bias, seen, ..*finish }) }
        }
    }

    /// Copies count[0]·count[1] runs of `len` elements, from places from[0] and from[1] apart to places to[0] and to[1] apart.
    #[inline]
    pub fn copy(&self, x: &[f32], from: [usize; 2], y: &mut [f32], to: [usize; 2], len: usize, count: [usize; 2]) {
        if len == 0 || count[0] == 0 || count[1] == 0 {
            return;
        }
        assert!((count[0] - 1) * from[0] + (count[1] - 1) * from[1] + len <= x.len(), "a copy reads behind its source");
        assert!((count[0] - 1) * to[0] + (count[1] - 1) * to[1] + len <= y.len(), "a copy writes behind its target");
        // SAFETY: in bounds by the assertions; the instructions exist where a Simd was handed out.
        unsafe { (self.copy)(x.as_ptr(), from, y.as_mut_ptr(), to, len, count) }
    }

    /// y[j·to + i] = x[i·from + j] for i < rows and j < columns.
    #[inline]
    pub fn transpose(&self, x: &[f32], from: usize, y: &mut [f32], to: usize, rows: usize, columns: usize) {
        if rows == 0 || columns == 0 {
            return;
        }
        assert!((rows - 1) * from + columns <= x.len(), "a transpose reads behind its source");
        assert!((columns - 1) * to + rows <= y.len(), "a transpose writes behind its target");
        // SAFETY: in bounds by the assertions; the instructions exist where a Simd was handed out.
        unsafe { (self.transpose)(x.as_ptr(), from, y.as_mut_ptr(), to, rows, columns) }
    }
}

impl Simd {
    /// y[i] += a[i]·b[i], elementwise, for `count` runs of `len` elements, `steps` apart in a, b and y.
    #[inline]
    pub fn accumulate(&self, a: &[f32], b: &[f32], y: &mut [f32], steps: [usize; 3], len: usize, count: usize) {
        if len == 0 || count == 0 {
            return;
        }
        let last = steps.map(|step| (count - 1) * step + len);
        assert!(last[0] <= a.len() && last[1] <= b.len() && last[2] <= y.len(), "a run ends behind its slice");
        // SAFETY: in bounds by the assertion; the instructions exist where a Simd was handed out.
        unsafe { (self.accumulate)([a.as_ptr(), b.as_ptr()], y.as_mut_ptr(), steps, len, count) }
    }
}

impl Simd {
    /// Winograd's transform of `count` channels of the square that starts at `at` in x, to the start of y: 6 × 6 cells, to[0]
    /// elements apart, whose vectors are to[1] apart.
    #[inline]
    pub fn widen(&self, x: &[f32], at: isize, square: &Square, y: &mut [f32], to: [usize; 2], count: usize) {
        if let Some([first, last]) = square.extremes() {
            assert!(at + first as isize >= 0 && (at + (last + count) as isize) as usize <= x.len(), "a square lies outside x");
        }
        self.widen_raw(x.as_ptr().wrapping_offset(at), square, y, to, count);
    }

    /// As [`widen`](Self::widen), of a square of `n` whose n² cells are the last of the 36 of `y`, without gaps.
    pub fn widen_in_place(&self, n: usize, y: &mut [f32]) {
        let cell = y.len() / 36;
        let square = Square { size: n, steps: [n * cell, cell], first: [0; 2], end: [n; 2] };
        let x = y.as_ptr().wrapping_add((36 - n * n) * cell);
        assert!(y.len().is_multiple_of(36 * self.lanes));
        self.widen_raw(x, &square, y, [cell, self.lanes], cell);
    }

    #[inline]
    fn widen_raw(&self, x: *const f32, square: &Square, y: &mut [f32], to: [usize; 2], count: usize) {
        let vectors = count.div_ceil(self.lanes);
        if vectors == 0 {
            return;
        }
        assert!(square.end[0] <= square.size && square.end[1] <= square.size);
        assert!(35 * to[0] + (vectors - 1) * to[1] + self.lanes <= y.len(), "a square is written behind y");
        let kernel = self.widen[square.size - 2];
        // SAFETY: x and y are in bounds by the assertions here and of the callers, which pass an x apart from y or one whose
        // vectors are read before their places are written; the instructions exist where a Simd was handed out.
        unsafe { kernel(x, square, y.as_mut_ptr(), to, count) }
    }

    /// Winograd's transform back to a square of 2 to 5 rows and columns that starts where y does, of `count` channels of 6 × 6
    /// cells, from[0] elements apart, whose vectors are from[1] apart. The bias is one a channel; the distance that a relu's
    /// outputs have is that of their cells, whose rows are as many cells apart as y's.
    ///
    /// # Safety
    /// No other thread reads or writes these cells of y meanwhile. (Bounds are checked here.)
    #[inline]
    pub unsafe fn narrow(&self, x: &[f32], from: [usize; 2], y: Shared<'_>, square: &Square, count: usize, finish: &Finish<'_>) {
        let vectors = count.div_ceil(self.lanes);
        let Some([_, last]) = square.extremes() else { return };
        if vectors == 0 {
            return;
        }
        assert!(square.end[0] <= square.size && square.end[1] <= square.size);
        assert!(35 * from[0] + (vectors - 1) * from[1] + self.lanes <= x.len(), "a square lies outside x");
        assert!(last + count <= y.len, "a square is written behind y");
        let bias = finish.bias.map_or(std::ptr::null(), |(bias, _)| {
            assert!(count <= bias.len(), "a square reads behind its biases");
            bias.as_ptr()
        });
        let (seen, seen_steps) = finish.seen.map_or((std::ptr::null(), [0; 2]), |(seen, pitch)| {
            let steps = [square.steps[0] / square.steps[1] * pitch, pitch];
            let last = Square { steps, ..*square }.extremes().map_or(0, |[_, last]| last);
            assert!(last + count <= seen.len(), "a square reads behind a relu's outputs");
            (seen.as_ptr(), steps)
        });
        let then = Then { bias, add: finish.add, relu: finish.relu, seen, seen_steps };
        // SAFETY: in bounds by the assertions above; the caller keeps other threads off y; the instructions exist where a Simd
        // was handed out.
        unsafe { self.narrow[square.size - 2](x.as_ptr(), from, y.start, square, count, then) }
    }
}

/// A vector of an instruction set. Its functions are inlined into the kernels below, which are compiled for that set.
///
/// # Safety
/// Callers run on a machine with the instructions, and pass pointers to as many elements as are read or written.
trait Lanes {
    type V: Copy;
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first n elements; the rest 0.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    unsafe fn store_first(p: *mut f32, n: usize, v: Self::V);
    unsafe fn multiply_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// max(0, a), no number where a is none.
    unsafe fn relu(a: Self::V) -> Self::V;
    /// a where `seen` is above 0, elsewhere 0.
    unsafe fn where_positive(seen: Self::V, a: Self::V) -> Self::V;
    /// Has what will be read and written there brought nearer; any address will do.
    #[inline(always)]
    fn prefetch(_p: *const f32) {}
}

/// The body for every row of a tile, written out: the compiler leaves some heights' loops rolled, their sums in memory.
macro_rules! each_row {
    ($rows:ident, |$i:ident| $body:block) => {
        each_row!($rows, $i, $body, [0 1 2 3 4 5 6 7 8 9 10 11 12 13])
    };
    ($rows:ident, $i:ident, $body:block, [$($row:literal)*]) => {
        $(if $row < $rows {
            const $i: usize = $row;
            $body
        })*
    };
}

/// # Safety
/// As for [`Lanes`]; `t` was checked by [`Simd::tile`] for M rows and V vectors.
#[inline(always)]
unsafe fn tile<S: Lanes, const M: usize, const V: usize, const PACKED: bool>(t: &Raw) {
    // SAFETY: see above; the loops stay in what Simd::tile computed and checked.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; M];
        let tail = t.columns - (V - 1) * S::LANES;
        if !t.bias.is_null() {
            for (i, sums) in sums.iter_mut().enumerate() {
                let bias = t.bias.add(i * t.bias_pitch);
                for (v, sum) in sums.iter_mut().enumerate() {
                    let bias = bias.add(v * S::LANES);
                    *sum = if v + 1 < V { S::load(bias) } else { S::load_first(bias, tail) };
                }
            }
        }
        if t.add {
            for i in 0..M {
                for v in 0..V {
                    S::prefetch(t.c.wrapping_add(i * t.pitch + v * S::LANES));
                }
            }
        }
        let [(n2, s2), (n1, s1), (n0, s0)] = t.loops;
        let mut b = t.b;
        for l2 in 0..n2 {
            for l1 in 0..n1 {
                let a = t.a.add(l2 * s2 + l1 * s1);
                if PACKED {
                    let mut a = a;
                    for _ in 0..n0 {
                        let mut columns = [S::splat(0.0); V];
                        for (v, column) in columns.iter_mut().enumerate() {
                            *column = S::load(b.add(v * S::LANES));
                        }
                        each_row!(M, |I| {
                            let x = S::splat(*a.add(I));
                            for (sum, &column) in sums[I].iter_mut().zip(&columns) {
                                *sum = S::multiply_add(x, column, *sum);
                            }
                        });
                        a = a.wrapping_add(s0);
                        b = b.add(V * S::LANES);
                    }
                } else {
                    // Row 3g + i is at bases[g] + i·apart: five pointers and two indices instead of fourteen pointers.
                    let mut bases = [a; MAX_ROWS.div_ceil(3)];
                    for (g, base) in bases.iter_mut().enumerate() {
                        *base = a.wrapping_add(3 * g * t.apart);
                    }
                    for _ in 0..n0 {
                        let mut columns = [S::splat(0.0); V];
                        for (v, column) in columns.iter_mut().enumerate() {
                            *column = S::load(b.add(v * S::LANES));
                        }
                        each_row!(M, |I| {
                            let x = S::splat(*bases[I / 3].add(I % 3 * t.apart));
                            for (sum, &column) in sums[I].iter_mut().zip(&columns) {
                                *sum = S::multiply_add(x, column, *sum);
                            }
                        });
                        for base in &mut bases {
                            *base = base.wrapping_add(1);
                        }
                        b = b.add(V * S::LANES);
                    }
                }
            }
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let c = t.c.add(i * t.pitch);
            for (v, sum) in sums.iter_mut().enumerate() {
                let c = c.add(v * S::LANES);
                let whole = v + 1 < V;
                if t.add {
                    *sum = S::add(*sum, if whole { S::load(c) } else { S::load_first(c, tail) });
                }
                if t.relu {
                    *sum = S::relu(*sum);
                }
                if !t.seen.is_null() {
                    let seen = t.seen.add(i * t.seen_pitch + v * S::LANES);
                    *sum = S::where_positive(if whole { S::load(seen) } else { S::load_first(seen, tail) }, *sum);
                }
                if whole { S::store(c, *sum) } else { S::store_first(c, tail, *sum) }
            }
        }
    }
}

/// # Safety
/// As for [`Lanes`]; bounds were checked by [`Simd::copy`].
#[inline(always)]
unsafe fn copy<S: Lanes>(x: *const f32, from: [usize; 2], y: *mut f32, to: [usize; 2], len: usize, count: [usize; 2]) {
    // SAFETY: see above.
    unsafe {
        for j in 0..count[0] {
            let (x, y) = (x.add(j * from[0]), y.add(j * to[0]));
            let mut at = 0;
            while at + S::LANES <= len {
                for i in 0..count[1] {
                    S::store(y.add(i * to[1] + at), S::load(x.add(i * from[1] + at)));
                }
                at += S::LANES;
            }
            if at < len {
                for i in 0..count[1] {
                    S::store_first(y.add(i * to[1] + at), len - at, S::load_first(x.add(i * from[1] + at), len - at));
                }
            }
        }
    }
}

/// One vector of every run at a time: where y's step is 0, it stays in a register.
///
/// # Safety
/// As for [`Lanes`]; bounds were checked by [`Simd::accumulate`].
#[inline(always)]
unsafe fn accumulate<S: Lanes>([a, b]: [*const f32; 2], y: *mut f32, steps: [usize; 3], len: usize, count: usize) {
    let [a_step, b_step, y_step] = steps;
    // SAFETY: see above.
    unsafe {
        let mut at = 0;
        while at < len {
            let n = (len - at).min(S::LANES);
            let (a, b, y) = (a.add(at), b.add(at), y.add(at));
            if n < S::LANES {
                for i in 0..count {
                    let y = y.add(i * y_step);
                    let (a, b) = (S::load_first(a.add(i * a_step), n), S::load_first(b.add(i * b_step), n));
                    S::store_first(y, n, S::multiply_add(a, b, S::load_first(y, n)));
                }
            } else if y_step == 0 {
                let mut sum = S::load(y);
                for i in 0..count {
                    sum = S::multiply_add(S::load(a.add(i * a_step)), S::load(b.add(i * b_step)), sum);
                }
                S::store(y, sum);
            } else {
                for i in 0..count {
                    let y = y.add(i * y_step);
                    S::store(y, S::multiply_add(S::load(a.add(i * a_step)), S::load(b.add(i * b_step)), S::load(y)));
                }
            }
            at += n;
        }
    }
}

/// # Safety
/// Bounds were checked by [`Simd::transpose`].
unsafe fn transpose_plain(x: *const f32, from: usize, y: *mut f32, to: usize, rows: usize, columns: usize) {
    const BLOCK: usize = 8;
    for j0 in (0..columns).step_by(BLOCK) {
        for i in 0..rows {
            for j in j0..columns.min(j0 + BLOCK) {
                // SAFETY: see above.
                unsafe { *y.add(j * to + i) = *x.add(i * from + j) }
            }
        }
    }
}

/// Vectors as arrays: what the compiler makes of them depends on the target. No fused multiply-add, which would be a call
/// where the target has none.
struct Plain;

impl Lanes for Plain {
    type V = [f32; 4];
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; 4];
        for (i, v) in v.iter_mut().enumerate().take(n) {
            // SAFETY: the caller's promise.
            *v = unsafe { *p.add(i) };
        }
        v
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, n: usize, v: Self::V) {
        for (i, &v) in v.iter().enumerate().take(n) {
            // SAFETY: the caller's promise.
            unsafe { *p.add(i) = v }
        }
    }
    #[inline(always)]
    unsafe fn multiply_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }
    #[inline(always)]
    unsafe fn relu(a: Self::V) -> Self::V {
        a.map(|a| if a < 0.0 { 0.0 } else { a })
    }
    #[inline(always)]
    unsafe fn where_positive(seen: Self::V, a: Self::V) -> Self::V {
        std::array::from_fn(|i| if seen[i] > 0.0 { a[i] } else { 0.0 })
    }
}

unsafe fn no_such_tile(_: &Raw) {
    unreachable!("Simd::tile checks the height");
}

/// The [`Simd`] of an instruction set: its name, the features that the kernels are compiled with, its vector, how it transposes,
/// and for each number of vectors the heights of its tiles.
macro_rules! kernels {
    ($name:literal $([$feature:meta])?, $lanes:ident, $transpose:ident, { $($v:literal: [$($m:literal)*],)* }) => {{
        $(#[$feature])?
        unsafe fn compiled_tile<const M: usize, const V: usize, const PACKED: bool>(t: &Raw) {
            // SAFETY: the caller's promise.
            unsafe { tile::<$lanes, M, V, PACKED>(t) }
        }

        $(#[$feature])?
        unsafe fn compiled_copy(x: *const f32, from: [usize; 2], y: *mut f32, to: [usize; 2], len: usize, count: [usize; 2]) {
            // SAFETY: the caller's promise.
            unsafe { copy::<$lanes>(x, from, y, to, len, count) }
        }

        $(#[$feature])?
        unsafe fn compiled_accumulate(from: [*const f32; 2], y: *mut f32, steps: [usize; 3], len: usize, count: usize) {
            // SAFETY: the caller's promise.
            unsafe { accumulate::<$lanes>(from, y, steps, len, count) }
        }

        $(#[$feature])?
        unsafe fn compiled_widen<const N: usize>(x: *const f32, s: &Square, y: *mut f32, to: [usize; 2], count: usize) {
            // SAFETY: the caller's promise.
            unsafe { widen::<$lanes, N>(x, s, y, to, count) }
        }

        $(#[$feature])?
        unsafe fn compiled_narrow<const N: usize>(x: *const f32, from: [usize; 2], y: *mut f32, s: &Square, count: usize, then: Then) {
            // SAFETY: the caller's promise.
            unsafe { narrow::<$lanes, N>(x, from, y, s, count, then) }
        }

        // A height that a width has no registers for is one that says so.
        let mut tiles = [[[no_such_tile as TileFn; MAX_ROWS]; MAX_VECTORS]; 2];
        let mut most_rows = [0; MAX_VECTORS + 1];
        $($(
            tiles[0][$v - 1][$m - 1] = compiled_tile::<$m, $v, false>;
            tiles[1][$v - 1][$m - 1] = compiled_tile::<$m, $v, true>;
            most_rows[$v] = $m;
        )*)*
        Simd {
            name: $name,
            lanes: <$lanes as Lanes>::LANES,
            most_rows,
            tiles,
            copy: compiled_copy,
            transpose: $transpose,
            accumulate: compiled_accumulate,
            widen: [compiled_widen::<2>, compiled_widen::<3>, compiled_widen::<4>, compiled_widen::<5>, compiled_widen::<6>],
            narrow: [compiled_narrow::<2>, compiled_narrow::<3>, compiled_narrow::<4>, compiled_narrow::<5>],
        }
    }};
}

static PORTABLE: Simd = kernels!("portable", Plain, transpose_plain, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6],
    3: [1 2 3 4],
    4: [1 2],
});

#[cfg(target_arch = "x86_64")]
use x86::{AVX2, AVX512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// 512-bit vectors.
    struct Zmm;

    impl Zmm {
        #[inline(always)]
        fn first(n: usize) -> __mmask16 {
            (0xffff_u32 >> (16 - n)) as __mmask16
        }
    }

    // SAFETY comments of this impl and the next: each function's caller promises the instructions and the memory.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Lanes for Zmm {
        type V = __m512;
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(Self::first(n), p) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, n: usize, v: __m512) {
            unsafe { _mm512_mask_storeu_ps(p, Self::first(n), v) }
        }
        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn relu(a: __m512) -> __m512 {
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
        }
        #[inline(always)]
        unsafe fn where_positive(seen: __m512, a: __m512) -> __m512 {
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(seen, _mm512_setzero_ps()), a) }
        }
        #[inline(always)]
        fn prefetch(p: *const f32) {
            // SAFETY: a hint; every x86-64 has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }

    /// 256-bit vectors.
    struct Ymm;

    impl Ymm {
        /// # Safety
        /// The machine has AVX.
        #[inline(always)]
        unsafe fn first(n: usize) -> __m256i {
            const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
            // SAFETY: n ≤ 8, so that eight of the sixteen follow.
            unsafe { _mm256_loadu_si256(ONES.as_ptr().add(8 - n).cast()) }
        }
    }

    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Lanes for Ymm {
        type V = __m256;
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(p, Self::first(n)) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, n: usize, v: __m256) {
            unsafe { _mm256_maskstore_ps(p, Self::first(n), v) }
        }
        #[inline(always)]
        unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn relu(a: __m256) -> __m256 {
            unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
        }
        #[inline(always)]
        unsafe fn where_positive(seen: __m256, a: __m256) -> __m256 {
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(seen, _mm256_setzero_ps()), a) }
        }
        #[inline(always)]
        fn prefetch(p: *const f32) {
            // SAFETY: a hint; every x86-64 has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    }

    pub static AVX512: Simd = kernels!("avx512" [target_feature(enable = "avx512f")], Zmm, transpose_avx512, {
        1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        3: [1 2 3 4 5 6 7 8 9],
        4: [1 2 3 4 5 6],
    });

    pub static AVX2: Simd = kernels!("avx2" [target_feature(enable = "avx2,fma")], Ymm, transpose_plain, {
        1: [1 2 3 4 5 6 7 8 9 10 11 12],
        2: [1 2 3 4 5 6],
        3: [1 2 3],
        4: [1 2],
    });

    /// 16 × 16 at a time, in registers: four rounds of 16 shuffles.
    ///
    /// # Safety
    /// Bounds were checked by [`Simd::transpose`].
    #[target_feature(enable = "avx512f")]
    unsafe fn transpose_avx512(x: *const f32, from: usize, y: *mut f32, to: usize, rows: usize, columns: usize) {
        for i in (0..rows).step_by(16) {
            let height = (rows - i).min(16);
            for j in (0..columns).step_by(16) {
                let width = (columns - j).min(16);
                let mut t = [_mm512_setzero_ps(); 16];
                for (l, t) in t.iter_mut().enumerate().take(height) {
                    // SAFETY: row i + l < rows and columns j .. j + width are in bounds.
                    *t = unsafe { _mm512_maskz_loadu_ps(Zmm::first(width), x.add((i + l) * from + j)) };
                }
                let mut u = t;
                for l in 0..8 {
                    u[2 * l] = _mm512_unpacklo_ps(t[2 * l], t[2 * l + 1]);
                    u[2 * l + 1] = _mm512_unpackhi_ps(t[2 * l], t[2 * l + 1]);
                }
                for l in 0..4 {
                    let l = 4 * l;
                    t[l] = _mm512_shuffle_ps::<0x44>(u[l], u[l + 2]);
                    t[l + 1] = _mm512_shuffle_ps::<0xee>(u[l], u[l + 2]);
                    t[l + 2] = _mm512_shuffle_ps::<0x44>(u[l + 1], u[l + 3]);
                    t[l + 3] = _mm512_shuffle_ps::<0xee>(u[l + 1], u[l + 3]);
                }
                // t[4a + b] holds, in its quarter d, column 4d + b of rows 4a .. 4a + 4.
                for b in 0..4 {
                    let low = _mm512_shuffle_f32x4::<0x88>(t[b], t[4 + b]);
                    let high = _mm512_shuffle_f32x4::<0xdd>(t[b], t[4 + b]);
                    let low2 = _mm512_shuffle_f32x4::<0x88>(t[8 + b], t[12 + b]);
                    let high2 = _mm512_shuffle_f32x4::<0xdd>(t[8 + b], t[12 + b]);
                    u[b] = _mm512_shuffle_f32x4::<0x88>(low, low2);
                    u[8 + b] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
                    u[4 + b] = _mm512_shuffle_f32x4::<0x88>(high, high2);
                    u[12 + b] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
                }
                for (l, u) in u.iter().enumerate().take(width) {
                    // SAFETY: column j + l < columns and rows i .. i + height are in bounds.
                    unsafe { _mm512_mask_storeu_ps(y.add((j + l) * to + i), Zmm::first(height), *u) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transposing and copying move every element where the definition says, at sizes around a vector's.
    #[test]
    fn transposes_and_copies_move_every_element() {
        for simd in Simd::all() {
            for (rows, columns) in [(1, 1), (3, 17), (16, 16), (33, 5), (15, 31), (40, 50)] {
                let x: Vec<f32> = (0..rows * (columns + 3)).map(|i| i as f32).collect();
                let mut y = vec![-1.0; columns * (rows + 2)];
                simd.transpose(&x, columns + 3, &mut y, rows + 2, rows, columns);
                for i in 0..rows + 2 {
                    for j in 0..columns {
                        let want = if i < rows { x[i * (columns + 3) + j] } else { -1.0 };
                        assert_eq!(y.get(j * (rows + 2) + i), Some(&want), "{} {rows}×{columns} ({i}, {j})", simd.name);
                    }
                }
                let mut z = vec![-1.0; rows * (columns + 1)];
                simd.copy(&x, [0, columns + 3], &mut z, [0, columns + 1], columns, [1, rows]);
                for i in 0..rows {
                    for j in 0..=columns {
                        let want = if j < columns { x[i * (columns + 3) + j] } else { -1.0 };
                        assert_eq!(z[i * (columns + 1) + j], want, "{} {rows}×{columns} ({i}, {j})", simd.name);
                    }
                }
            }
        }
    }
}
