//! Batch normalisation: y = (x − mean)/√(variance + ε)·γ + β, channel by channel, over rows of as many columns as there are
//! channels: a row is a place of an image. Rows may be some columns of longer ones, and are cut as if they were not.
//!
//! Moments are stable and read x once from memory: blocks of rows that stay in the cache are read twice, for their mean and
//! for the squares of what differs from it, and put together by Chan, Golub and LeVeque's rule ("Updating formulae and a
//! pairwise algorithm for computing sample variances", 1979). Rows are cut into parts, whose moments or sums go to scratch and
//! are put together in order. Cost: forward x twice, the residual and y, backward x and dy twice and dx; a neuron's derivative is
//! computed again from the x that is read in any case, in both passes.

use super::arena::{Borrow, gaps_fit};
use super::bias::add_rows;
use super::dispatch::simd;
use super::{CpuDevice, Real, neuron, scratch_of};
use crate::device::{Result, Run, Shape, Tensor};
use crate::op::{BatchNormApply, BatchNormBackward, BatchNormMoments, BatchNormRunning, Neuron, Target};
use std::ops::Range;

/// Elements worth a part of their own, and of a block that is read twice.
const PART: usize = 1 << 14;
/// At most so many parts.
const PARTS: usize = 64;
/// At least so many rows a block.
const ROWS: usize = 16;

/// Parts that the rows are cut into: the shapes decide, not the threads.
fn parts(rows: usize, columns: usize) -> usize {
    (rows * columns / PART).clamp(1, PARTS).min(rows.div_ceil(ROWS).max(1))
}

/// Rows of part `i`.
fn part(rows: usize, parts: usize, i: usize) -> Range<usize> {
    rows * i / parts..rows * (i + 1) / parts
}

/// Bytes of scratch for the moments and for the gradients: four vectors a part.
fn scratch<T: Real>(x: Shape) -> usize {
    4 * parts(x.elements() / x.c, x.c) * x.c * size_of::<T>()
}

/// Rows with `pitch` elements from the start of one to that of the next. The last one ends with its columns.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    values: &'a [T],
    pitch: usize,
}

impl<'a, T: Real> Rows<'a, T> {
    fn of(b: &mut Borrow<'a>, t: Tensor) -> Self {
        let (values, pitch) = b.read_cells(t);
        Self { values, pitch }
    }

    fn count(self) -> usize {
        self.values.len().div_ceil(self.pitch)
    }

    fn range(self, rows: Range<usize>) -> Self {
        let [start, end] = [rows.start, rows.end].map(|row| (row * self.pitch).min(self.values.len()));
        Self { values: &self.values[start..end], ..self }
    }

    /// Each row; what follows its columns belongs to something else.
    #[inline(always)]
    fn each(self) -> std::slice::Chunks<'a, T> {
        self.values.chunks(self.pitch)
    }
}

/// What is done to each channel.
#[derive(Clone, Copy)]
struct Channels<'a, T> {
    mean: &'a [T],
    spread: &'a [T],
    /// gamma and beta.
    affine: Option<(&'a [T], &'a [T])>,
}

/// Binds `$f` to the normalisation, as a function of x and its channel, and runs `$then`, compiled once with gamma and beta and
/// once without. The normalisation is written here alone: what the backward pass computes again has the bits of the forward pass.
macro_rules! with_normalisation {
    ($channels:expr, |$f:ident| $then:expr) => {{
        let c = $channels.mean.len();
        let (mean, spread) = ($channels.mean, &$channels.spread[..c]);
        match $channels.affine {
            Some((gamma, beta)) => {
                let (gamma, beta) = (&gamma[..c], &beta[..c]);
                let $f = |x: T, i: usize| (x - mean[i]) * (spread[i] * gamma[i]) + beta[i];
                $then
            }
            None => {
                let $f = |x: T, i: usize| (x - mean[i]) * spread[i];
                $then
            }
        }
    }};
}

simd! {
    /// sum ← Σ over rows of (x − mean)².
    fn sum_squares<T: Real>(x: Rows<'_, T>, mean: &[T], sum: &mut [T]) {
        let c = sum.len();
        sum.fill(T::ZERO);
        let mean = &mean[..c];
        for x in x.each() {
            let x = &x[..c];
            for i in 0..c {
                let d = x[i] - mean[i];
                sum[i] += d * d;
            }
        }
    }
}

/// Puts moments of `n_b` rows to those of `n_a` rows: means and Σ (x − mean)².
fn merge<T: Real>(n_a: usize, [mean_a, squares_a]: [&mut [T]; 2], n_b: usize, [mean_b, squares_b]: [&[T]; 2]) {
    let share = T::of(n_b as f64 / (n_a + n_b) as f64);
    let weight = T::of(n_a as f64) * share;
    for (((mean_a, squares_a), &mean_b), &squares_b) in mean_a.iter_mut().zip(squares_a).zip(mean_b).zip(squares_b) {
        let d = mean_b - *mean_a;
        *mean_a += d * share;
        *squares_a += squares_b + d * d * weight;
    }
}

impl<T: Real> Run<BatchNormMoments<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BatchNormMoments<Tensor>, scratch: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let x = Rows::<T>::of(&mut b, op.x);
        let (saved, scratch) = (b.write::<T>(op.saved), scratch_of::<T>(&mut b, scratch));
        let [running_mean, running_variance] = [op.mean, op.variance].map(|t| b.write::<T>(t));
        let c = running_mean.len();
        assert!(c > 0 && op.x.shape.c == c && running_variance.len() == c && saved.len() == 2 * c);
        let rows = x.count();
        let parts = parts(rows, c);
        let scratch = &mut scratch[..4 * parts * c];
        self.workers.pieces(rows * c / 2, 4 * c, scratch, |i, moments| {
            let rows = part(rows, parts, i);
            let (mine, block) = moments.split_at_mut(2 * c);
            let (mean, squares) = mine.split_at_mut(c);
            let (block_mean, block_squares) = block.split_at_mut(c);
            let mut done = 0;
            while done < rows.len() {
                let start = rows.start + done;
                let x = x.range(start..rows.end.min(start + PART.div_ceil(c).max(ROWS)));
                let n = x.count();
                block_mean.fill(T::ZERO);
                add_rows(x.values, x.pitch, 0..n, 0, block_mean);
                super::elementwise::map(block_mean, |sum| sum / T::of(n as f64));
                sum_squares(x, block_mean, block_squares);
                if done == 0 {
                    mean.copy_from_slice(block_mean);
                    squares.copy_from_slice(block_squares);
                } else {
                    merge(done, [mean, squares], n, [block_mean, block_squares]);
                }
                done += n;
            }
        });
        let (mean, squares) = saved.split_at_mut(c);
        for (i, moments) in scratch.chunks_exact(4 * c).enumerate() {
            let [of_mean, of_squares] = [&moments[..c], &moments[c..2 * c]];
            if i == 0 {
                mean.copy_from_slice(of_mean);
                squares.copy_from_slice(of_squares);
            } else {
                let rows = part(rows, parts, i);
                merge(rows.start, [mean, squares], rows.len(), [of_mean, of_squares]);
            }
        }
        let (count, unbiased) = (T::of(rows as f64), T::of(rows.saturating_sub(1).max(1) as f64));
        let (epsilon, new) = (T::of(op.norm.epsilon), T::of(op.norm.momentum));
        let old = T::ONE - new;
        for i in 0..c {
            running_mean[i] = old * running_mean[i] + new * mean[i];
            running_variance[i] = old * running_variance[i] + new * (squares[i] / unbiased);
            squares[i] = T::ONE / (squares[i] / count + epsilon).sqrt();
        }
        Ok(())
    }

    fn scratch(&self, op: &BatchNormMoments<Tensor>) -> usize {
        scratch::<T>(op.x.shape)
    }

    fn supports(&self, op: &BatchNormMoments<Tensor>) -> bool {
        gaps_fit(op, &["x"])
    }
}

impl<T: Real> Run<BatchNormRunning<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BatchNormRunning<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (mean, variance) = (b.read::<T>(op.mean), b.read::<T>(op.variance));
        let (means, spreads) = b.write::<T>(op.saved).split_at_mut(mean.len());
        means.copy_from_slice(mean);
        for (spread, &variance) in spreads.iter_mut().zip(variance) {
            *spread = T::ONE / (variance + T::of(op.epsilon)).sqrt();
        }
        Ok(())
    }
}

/// What is read beside y, which holds the other one.
#[derive(Clone, Copy)]
enum Beside<'a, T> {
    /// No other tensor: y already holds x, and nothing is added.
    Nothing,
    /// The residual.
    Residual(Rows<'a, T>),
    /// x: y holds the residual.
    X(Rows<'a, T>),
}

simd! {
    /// y ← the normalised x, plus the residual, row by row.
    fn normalise<T: Real>(channels: Channels<'_, T>, beside: Beside<'_, T>, y: &mut [T], pitch: usize) {
        let c = channels.mean.len();
        let y = y.chunks_mut(pitch).map(|y| &mut y[..c]);
        with_normalisation!(channels, |f| match beside {
            Beside::Nothing => {
                for y in y {
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = f(*y, i);
                    }
                }
            }
            Beside::Residual(residual) => {
                for (y, residual) in y.zip(residual.each().map(|r| &r[..c])) {
                    for i in 0..c {
                        y[i] = f(y[i], i) + residual[i];
                    }
                }
            }
            Beside::X(x) => {
                for (y, x) in y.zip(x.each().map(|x| &x[..c])) {
                    for i in 0..c {
                        y[i] = f(x[i], i) + y[i];
                    }
                }
            }
        });
    }
}

impl<T: Real> Run<BatchNormApply<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BatchNormApply<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (saved, [gamma, beta]) = (b.read::<T>(op.saved), [op.gamma, op.beta].map(|t| t.map(|t| b.read::<T>(t))));
        assert_eq!(gamma.is_some(), beta.is_some(), "gamma and beta come together");
        let [x, residual] = [Some(op.x), op.residual].map(|t| {
            assert!(t.is_none_or(|t| t.shape == op.y.shape && (t.slot != op.y.slot || t.pitch == op.y.pitch)));
            t.filter(|t| t.slot != op.y.slot).map(|t| Rows::<T>::of(&mut b, t))
        });
        let ((y, pitch), c) = (b.write_cells::<T>(op.y), op.y.shape.c);
        assert!(c > 0 && saved.len() == 2 * c);
        let (mean, spread) = saved.split_at(c);
        let channels = Channels { mean, spread, affine: gamma.zip(beta) };
        let rows = PART.div_ceil(c);
        self.workers.pieces(op.y.shape.elements() / 2, rows * pitch, y, |i, y| {
            let [x, residual] = [x, residual].map(|t| t.map(|t| t.range(i * rows..(i + 1) * rows)));
            let beside = match (x, residual, op.residual) {
                (Some(x), None, Some(_)) => Beside::X(x),
                (x, residual, _) => {
                    if let Some(x) = x {
                        copy_rows(x, y, pitch, c);
                    }
                    residual.map_or(Beside::Nothing, Beside::Residual)
                }
            };
            normalise(channels, beside, y, pitch);
            if pitch == c {
                neuron::apply(op.neuron, y);
            } else {
                y.chunks_mut(pitch).for_each(|y| neuron::apply(op.neuron, &mut y[..c]));
            }
        });
        Ok(())
    }

    fn supports(&self, op: &BatchNormApply<Tensor>) -> bool {
        gaps_fit(op, &["x", "residual", "y"])
    }
}

/// y ← x, the first `c` columns of each row.
fn copy_rows<T: Real>(x: Rows<'_, T>, y: &mut [T], pitch: usize, c: usize) {
    if x.pitch == c && pitch == c {
        y.copy_from_slice(x.values);
    } else {
        x.each().zip(y.chunks_mut(pitch)).for_each(|(x, y)| y[..c].copy_from_slice(&x[..c]));
    }
}

/// Binds `$f` to dy times the derivative of a relu after the normalisation, as a function of x, dy and their channel, and runs
/// `$then`; without a relu `$f` is dy itself.
macro_rules! with_masked {
    ($relu:expr, $channels:expr, |$f:ident| $then:expr) => {
        if $relu {
            with_normalisation!($channels, |normalised| {
                let $f = |x: T, dy: T, i: usize| if normalised(x, i) > T::ZERO { dy } else { T::ZERO };
                $then
            })
        } else {
            let $f = |_: T, dy: T, _: usize| dy;
            $then
        }
    };
}

simd! {
    /// sums ← Σ dy, products ← Σ dy·(x − mean), over rows, where dy is first multiplied by a relu's derivative, if there is one.
    fn sum_gradients<T: Real>(
        x: Rows<'_, T>,
        dy: Rows<'_, T>,
        channels: Channels<'_, T>,
        relu: bool,
        sums: &mut [T],
        products: &mut [T],
    ) {
        let c = channels.mean.len();
        let (mean, sums, products) = (channels.mean, &mut sums[..c], &mut products[..c]);
        sums.fill(T::ZERO);
        products.fill(T::ZERO);
        with_masked!(relu, channels, |masked| {
            for (x, dy) in x.each().zip(dy.each()) {
                let (x, dy) = (&x[..c], &dy[..c]);
                for i in 0..c {
                    let dy = masked(x[i], dy[i], i);
                    sums[i] += dy;
                    products[i] += dy * (x[i] - mean[i]);
                }
            }
        });
    }
}

/// What the gradients of a batch normalisation's input are made of.
#[derive(Clone, Copy)]
struct Spread<'a, T> {
    channels: Channels<'a, T>,
    /// Whether a relu comes after the normalisation.
    relu: bool,
    /// factor, p, q: dx = factor·(dy − p − (x − mean)·q).
    terms: [&'a [T]; 3],
    /// Whether that is added to dx.
    add: bool,
}

simd! {
    /// dx ← the gradients, row by row, or dx += …. Without a dy, dx is dy.
    fn spread_gradients<T: Real>(spread: Spread<'_, T>, x: Rows<'_, T>, dy: Option<Rows<'_, T>>, dx: &mut [T], pitch: usize) {
        let Spread { channels, relu, terms, add } = spread;
        let c = channels.mean.len();
        let (mean, [factor, p, q]) = (channels.mean, terms.map(|v| &v[..c]));
        let rows = x.each().map(|x| &x[..c]).zip(dx.chunks_mut(pitch).map(|dx| &mut dx[..c]));
        with_masked!(relu, channels, |masked| match dy {
            Some(dy) => {
                for ((x, dx), dy) in rows.zip(dy.each().map(|dy| &dy[..c])) {
                    for i in 0..c {
                        let gradient = factor[i] * (masked(x[i], dy[i], i) - p[i] - (x[i] - mean[i]) * q[i]);
                        dx[i] = if add { dx[i] + gradient } else { gradient };
                    }
                }
            }
            None => {
                for (x, dx) in rows {
                    for i in 0..c {
                        dx[i] = factor[i] * (masked(x[i], dx[i], i) - p[i] - (x[i] - mean[i]) * q[i]);
                    }
                }
            }
        });
    }
}

impl<T: Real> Run<BatchNormBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &BatchNormBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (saved, [gamma, beta]) = (b.read::<T>(op.saved), [op.gamma, op.beta].map(|t| t.map(|t| b.read::<T>(t))));
        let x = Rows::<T>::of(&mut b, op.x);
        let scratch = scratch_of::<T>(&mut b, scratch);
        let [dgamma, dbeta] = [op.dgamma, op.dbeta].map(|t| t.map(|t| b.target::<T>(t)));
        let in_place = op.dx.is_some_and(|dx| dx.at.slot == op.dy.slot);
        let dy = (!in_place).then(|| Rows::<T>::of(&mut b, op.dy));
        let dx = op.dx.map(|dx| {
            assert!(dx.at.shape == op.x.shape && (!in_place || dx.at.pitch == op.dy.pitch && !dx.adds()));
            b.write_cells::<T>(dx.at)
        });
        let (c, rows) = (op.x.shape.c, x.count());
        assert!(c > 0 && saved.len() == 2 * c && op.dy.shape == op.x.shape);
        let (relu, (mean, spread)) = (op.neuron == Neuron::Relu, saved.split_at(c));
        assert!(relu || op.neuron == Neuron::NONE, "of the neurons after a normalisation, only a relu's gradient is here");
        assert!(!relu || gamma.is_some() == beta.is_some(), "gamma and beta come together");
        let channels = Channels { mean, spread, affine: gamma.zip(beta) };
        let parts = parts(rows, c);
        {
            let dy = match (dy, &dx) {
                (Some(dy), _) => dy,
                (None, Some((dx, pitch))) => Rows { values: dx, pitch: *pitch },
                (None, None) => unreachable!("dy is dx or apart from it"),
            };
            self.workers.pieces(rows * c / 2, 4 * c, &mut scratch[..4 * parts * c], |i, sums| {
                let rows = part(rows, parts, i);
                let (sums, products) = sums.split_at_mut(c);
                sum_gradients(x.range(rows.clone()), dy.range(rows), channels, relu, sums, products);
            });
        }
        let (first, others) = scratch[..4 * parts * c].split_at_mut(4 * c);
        let (totals, rest) = first.split_at_mut(2 * c);
        for part in others.chunks_exact(4 * c) {
            for (total, &part) in totals.iter_mut().zip(part) {
                *total += part;
            }
        }
        let (p, q) = totals.split_at_mut(c);
        put(dbeta, |i| p[i]);
        put(dgamma, |i| q[i] * spread[i]);
        let Some((dx, pitch)) = dx else { return Ok(()) };
        let (factor, count) = (&mut rest[..c], T::of(rows as f64));
        for i in 0..c {
            p[i] = p[i] / count;
            q[i] = q[i] * spread[i] * spread[i] / count;
            factor[i] = gamma.map_or(T::ONE, |g| g[i]) * spread[i];
        }
        let spread = Spread { channels, relu, terms: [factor, p, q], add: op.dx.is_some_and(|dx| dx.adds()) };
        let piece = PART.div_ceil(c);
        self.workers.pieces(rows * c / 2, piece * pitch, dx, |i, dx| {
            let rows = i * piece..(i + 1) * piece;
            spread_gradients(spread, x.range(rows.clone()), dy.map(|dy| dy.range(rows)), dx, pitch);
        });
        Ok(())
    }

    fn scratch(&self, op: &BatchNormBackward<Tensor>) -> usize {
        scratch::<T>(op.x.shape)
    }

    fn supports(&self, op: &BatchNormBackward<Tensor>) -> bool {
        (op.neuron == Neuron::NONE || op.neuron == Neuron::Relu) && gaps_fit(op, &["x", "dy", "dx"])
    }
}

/// Sets a gradient, if it is there, to a value for each channel, or adds that to it.
fn put<T: Real>(to: Option<Target<&mut [T]>>, value: impl Fn(usize) -> T) {
    let Some(to) = to else { return };
    let add = to.adds();
    for (i, to) in to.at.iter_mut().enumerate() {
        *to = if add { *to + value(i) } else { value(i) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Dtype, Slot};
    use crate::op::{Op, Write};

    /// x, saved, gamma, beta, dy or the residual, y or dx, dgamma, dbeta.
    fn shapes(x: Shape) -> [Shape; 8] {
        let [vector, saved] = [x.c, 2 * x.c].map(|c| Shape::new(1, 1, 1, c));
        [x, saved, vector, vector, x, x, vector, vector]
    }

    /// The bits that tensors of an image shape hold after an operation on them, run as its parts or not, where some of them are
    /// channels of larger ones.
    fn bits(op: impl Into<Op<usize>>, x: Shape, gaps: &[usize], as_parts: bool, threads: usize) -> Vec<Vec<u32>> {
        let op: Op<usize> = op.into();
        let mut end = 0;
        let mut place = |shape: Shape, [before, after]: [usize; 2]| {
            let c = before + shape.c + after;
            let whole = Tensor::new(Slot(end), Shape { c, ..shape }, Dtype::F32);
            end = (end + whole.bytes()).next_multiple_of(256);
            (whole, whole.channels(before, shape.c))
        };
        let shapes = shapes(x);
        let with_gaps = |i: usize| if gaps.contains(&i) { [3, 2] } else { [0; 2] };
        let mut tensors: Vec<_> = (0..shapes.len()).map(|i| place(shapes[i], with_gaps(i))).collect();
        let parts = op.parts(&mut |&like| {
            tensors.push(place(shapes[like], [0; 2]));
            tensors.len() - 1
        });
        let ops = if as_parts { parts.expect("it has parts") } else { vec![op] };
        let ops: Vec<Op<Tensor>> = ops.iter().map(|op| op.map(&mut |&i| tensors[i].1)).collect();

        let mut device: Box<dyn Device> = Box::new(CpuDevice::<f32>::new(threads));
        let scratch = ops.iter().map(|op| device.scratch(op)).max().unwrap_or(0);
        device.allocate(end + scratch).unwrap();
        let cell = |i: usize| {
            let (whole, t) = tensors[i];
            let first = (t.slot.0 - whole.slot.0) / 4;
            (0..t.shape.elements()).map(move |e| first + e / t.shape.c * t.pitch + e % t.shape.c)
        };
        let gap = f32::from_bits(0x7fc0_1234);
        for (i, (whole, _)) in tensors.iter().enumerate() {
            let mut values = vec![gap; whole.shape.elements()];
            let mut random = (i as u32 + 1).wrapping_mul(0x9e37_79b9);
            for e in cell(i) {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                values[e] = (random >> 8) as f32 / (1 << 23) as f32 - 1.0;
            }
            device.write(tensors[i].0, bytemuck::cast_slice(&values)).unwrap();
        }
        for op in &ops {
            assert!(device.supports(op), "{op}");
            device.run(op, Tensor::new(Slot(end), Shape::new(1, 1, 1, scratch), Dtype::U8)).unwrap();
        }
        let held = |i: usize| {
            let mut values = vec![0_u32; tensors[i].0.shape.elements()];
            device.read(tensors[i].0, bytemuck::cast_slice_mut(&mut values)).unwrap();
            let own: Vec<u32> = cell(i).map(|e| std::mem::replace(&mut values[e], gap.to_bits())).collect();
            assert!(values.iter().all(|v| *v == gap.to_bits()), "tensor {i}: {op} writes in its gaps");
            own
        };
        (0..shapes.len()).map(held).collect()
    }

    /// A row, few columns, a part of many rows, and several parts with a rest of rows.
    const SHAPES: [Shape; 4] =
        [Shape::new(1, 1, 1, 9), Shape::new(3, 5, 7, 3), Shape::new(4, 24, 24, 20), Shape::new(2, 29, 17, 67)];

    fn apply(neuron: Neuron, affine: bool, residual: bool, y: usize) -> BatchNormApply<usize> {
        let [gamma, beta] = [2, 3].map(|t| affine.then_some(t));
        BatchNormApply { neuron, saved: 1, gamma, beta, x: 0, residual: residual.then_some(4), y }
    }

    fn backward(neuron: Neuron, affine: bool, dx: Option<Target<usize>>) -> BatchNormBackward<usize> {
        let [gamma, beta] = [2, 3].map(|t| affine.then_some(t));
        let beta = beta.filter(|_| neuron != Neuron::NONE);
        let [dgamma, dbeta] = [6, 7].map(|t| affine.then_some(Target::set(t)));
        BatchNormBackward { neuron, x: 0, saved: 1, gamma, beta, dy: 4, dgamma, dbeta, dx }
    }

    /// Every form of both operations: y apart, in the place of x and of the residual; dx missing, set, added, in the place of dy.
    fn forms(neurons: &[Neuron]) -> Vec<Op<usize>> {
        let targets = [None, Some(Target::set(5)), Some(Target { at: 5, into: Write::Add }), Some(Target::set(4))];
        let mut forms = Vec::new();
        for &neuron in neurons {
            for affine in [false, true] {
                forms.extend([5, 0, 4].map(|y| Op::from(apply(neuron, affine, true, y))));
                if neuron == Neuron::Relu {
                    forms.extend(targets.map(|dx| Op::from(backward(neuron, affine, dx))));
                }
            }
        }
        forms
    }

    #[test]
    fn fused_forms_have_the_bits_of_their_parts() {
        for x in SHAPES {
            for op in forms(&[Neuron::NONE, Neuron::Relu, Neuron::Tanh { a: 1.5, b: 0.5 }]) {
                let parts = bits(op, x, &[], true, 1);
                for threads in [1, 2] {
                    assert!(bits(op, x, &[], false, threads) == parts, "{op} of {x} with {threads} threads");
                }
            }
        }
    }

    #[test]
    fn gaps_change_no_bit() {
        let norm = crate::op::BatchNorm { epsilon: 1e-3, momentum: 0.125 };
        let mut ops = forms(&[Neuron::Relu]);
        ops.push(BatchNormMoments { norm, x: 0, mean: 2, variance: 3, saved: 1 }.into());
        ops.extend([5, 0].map(|y| Op::from(apply(Neuron::Logistic, true, false, y))));
        ops.extend([Write::Set, Write::Add].map(|into| Op::from(backward(Neuron::NONE, true, Some(Target { at: 5, into })))));
        for x in SHAPES {
            for op in &ops {
                let dense = bits(*op, x, &[], false, 1);
                for gaps in [&[0][..], &[4], &[5], &[0, 5], &[0, 4, 5]] {
                    assert!(bits(*op, x, gaps, false, 2) == dense, "{op} of {x} with gaps in {gaps:?}");
                }
            }
        }
    }
}
