//! Batch normalisation: y = (x − mean)/√(variance + ε)·γ + β, channel by channel, over rows of as many columns as there are
//! channels: a row is a place of an image.
//!
//! Moments are stable and read x once from memory: blocks of rows that stay in the cache are read twice, for their mean and
//! for the squares of what differs from it, and put together by Chan, Golub and LeVeque's rule ("Updating formulae and a
//! pairwise algorithm for computing sample variances", 1979). Rows are cut into parts, whose moments or sums go to scratch and
//! are put together in order. Cost: forward x twice and y, backward x and dy twice and dx.

use super::bias::sum_rows;
use super::dispatch::simd;
use super::{Real, Workers, neuron};
use crate::device::{BatchNorm, Into, Neuron, Shape};

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
fn part(rows: usize, parts: usize, i: usize) -> std::ops::Range<usize> {
    rows * i / parts..rows * (i + 1) / parts
}

/// Bytes of scratch of [`moments`] and [`backward`]: four vectors a part.
pub(super) fn scratch<T: Real>(x: Shape) -> usize {
    4 * parts(x.elements() / x.c, x.c) * x.c * size_of::<T>()
}

simd! {
    /// sum ← Σ over rows of (x − mean)².
    fn sum_squares<T: Real>(x: &[T], mean: &[T], sum: &mut [T]) {
        let c = sum.len();
        sum.fill(T::ZERO);
        let mean = &mean[..c];
        for x in x.chunks_exact(c) {
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

/// kept ← the channels' means and 1/√(variance + ε); the running mean and variance move towards this batch's.
pub(super) fn moments<T: Real>(
    workers: &Workers,
    b: &BatchNorm,
    x: &[T],
    running: [&mut [T]; 2],
    kept: &mut [T],
    scratch: &mut [T],
) {
    let c = running[0].len();
    assert!(c > 0 && x.len().is_multiple_of(c) && running[1].len() == c && kept.len() == 2 * c);
    let rows = x.len() / c;
    let parts = parts(rows, c);
    let scratch = &mut scratch[..4 * parts * c];
    workers.pieces(x.len() / 2, 4 * c, scratch, |i, moments| {
        let rows = part(rows, parts, i);
        let (mine, block) = moments.split_at_mut(2 * c);
        let (mean, squares) = mine.split_at_mut(c);
        let (block_mean, block_squares) = block.split_at_mut(c);
        let mut done = 0;
        for x in x[rows.start * c..rows.end * c].chunks(PART.div_ceil(c).max(ROWS) * c) {
            let n = x.len() / c;
            sum_rows(x, c, 0, block_mean);
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
    let (mean, squares) = kept.split_at_mut(c);
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
    let (epsilon, new) = (T::of(b.epsilon), T::of(b.momentum));
    let old = T::ONE - new;
    let [running_mean, running_variance] = running;
    for i in 0..c {
        running_mean[i] = old * running_mean[i] + new * mean[i];
        running_variance[i] = old * running_variance[i] + new * (squares[i] / unbiased);
        squares[i] = T::ONE / (squares[i] / count + epsilon).sqrt();
    }
}

/// kept ← the running means and 1/√(variance + ε).
pub(super) fn running<T: Real>(epsilon: f64, mean: &[T], variance: &[T], kept: &mut [T]) {
    let (means, spreads) = kept.split_at_mut(mean.len());
    means.copy_from_slice(mean);
    for (spread, &variance) in spreads.iter_mut().zip(variance) {
        *spread = T::ONE / (variance + T::of(epsilon)).sqrt();
    }
}

simd! {
    /// y ← (y − mean)·spread·gamma + beta, row by row.
    fn normalise<T: Real>(mean: &[T], spread: &[T], affine: Option<(&[T], &[T])>, y: &mut [T]) {
        let c = mean.len();
        let spread = &spread[..c];
        for y in y.chunks_exact_mut(c) {
            match affine {
                Some((gamma, beta)) => {
                    let (gamma, beta) = (&gamma[..c], &beta[..c]);
                    for i in 0..c {
                        y[i] = (y[i] - mean[i]) * (spread[i] * gamma[i]) + beta[i];
                    }
                }
                None => {
                    for i in 0..c {
                        y[i] = (y[i] - mean[i]) * spread[i];
                    }
                }
            }
        }
    }
}

/// y ← neuron((x − mean)·spread·gamma + beta), with y for x where there is none.
pub(super) fn apply<T: Real>(
    workers: &Workers,
    kept: &[T],
    affine: Option<(&[T], &[T])>,
    then: Neuron,
    x: Option<&[T]>,
    y: &mut [T],
) {
    let c = kept.len() / 2;
    assert!(c > 0 && y.len().is_multiple_of(c) && x.is_none_or(|x| x.len() == y.len()));
    let (mean, spread) = kept.split_at(c);
    let piece = PART.div_ceil(c) * c;
    workers.pieces(y.len() / 2, piece, y, |i, y| {
        if let Some(x) = x {
            y.copy_from_slice(&x[i * piece..][..y.len()]);
        }
        normalise(mean, spread, affine, y);
        neuron::apply(then, y);
    });
}

simd! {
    /// sums ← Σ dy, products ← Σ dy·(x − mean), over rows.
    fn sum_gradients<T: Real>(x: &[T], dy: &[T], mean: &[T], sums: &mut [T], products: &mut [T]) {
        let c = mean.len();
        let (sums, products) = (&mut sums[..c], &mut products[..c]);
        sums.fill(T::ZERO);
        products.fill(T::ZERO);
        for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
            for i in 0..c {
                sums[i] += dy[i];
                products[i] += dy[i] * (x[i] - mean[i]);
            }
        }
    }
}

simd! {
    /// Of [mean, factor, p, q], dx ← factor·(dy − p − (x − mean)·q), row by row, or dx += …. Without a dy, dx is dy.
    fn spread_gradients<T: Real>(x: &[T], channels: [&[T]; 4], dy: Option<&[T]>, dx: &mut [T], add: bool) {
        let c = channels[0].len();
        let [mean, factor, p, q] = channels.map(|v| &v[..c]);
        match dy {
            Some(dy) => {
                for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
                    for i in 0..c {
                        let old = if add { dx[i] } else { T::ZERO };
                        dx[i] = old + factor[i] * (dy[i] - p[i] - (x[i] - mean[i]) * q[i]);
                    }
                }
            }
            None => {
                for (x, dx) in x.chunks_exact(c).zip(dx.chunks_exact_mut(c)) {
                    for i in 0..c {
                        dx[i] = factor[i] * (dx[i] - p[i] - (x[i] - mean[i]) * q[i]);
                    }
                }
            }
        }
    }
}

/// The gradients of a training pass. dx may hold dy.
#[derive(Default)]
pub(super) struct Gradients<'a, T> {
    pub dy: Option<&'a [T]>,
    pub dx: Option<(&'a mut [T], Into)>,
    pub dgamma: Option<(&'a mut [T], Into)>,
    pub dbeta: Option<(&'a mut [T], Into)>,
}

/// dgamma ← Σ dy·x̂, dbeta ← Σ dy, dx ← gamma·spread·(dy − mean of dy − x̂·mean of dy·x̂), x̂ = (x − mean)·spread.
pub(super) fn backward<T: Real>(
    workers: &Workers,
    x: &[T],
    kept: &[T],
    gamma: Option<&[T]>,
    mut g: Gradients<T>,
    scratch: &mut [T],
) {
    let c = kept.len() / 2;
    assert!(c > 0 && x.len().is_multiple_of(c));
    let ((mean, spread), rows) = (kept.split_at(c), x.len() / c);
    let parts = parts(rows, c);
    {
        let dy: &[T] = match (&g.dy, &g.dx) {
            (Some(dy), _) => dy,
            (None, Some((dx, _))) => dx,
            (None, None) => return,
        };
        assert_eq!(x.len(), dy.len());
        workers.pieces(x.len() / 2, 4 * c, &mut scratch[..4 * parts * c], |i, sums| {
            let rows = part(rows, parts, i);
            let rows = rows.start * c..rows.end * c;
            let (sums, products) = sums.split_at_mut(c);
            sum_gradients(&x[rows.clone()], &dy[rows], mean, sums, products);
        });
    }
    let (first, others) = scratch[..4 * parts * c].split_at_mut(4 * c);
    let (totals, rest) = first.split_at_mut(2 * c);
    for part in others.chunks_exact(4 * c) {
        for (total, &part) in totals.iter_mut().zip(part) {
            *total += part;
        }
    }
    let put = |to: &mut Option<(&mut [T], Into)>, value: &dyn Fn(usize) -> T| {
        let Some((to, into)) = to else { return };
        for (i, to) in to.iter_mut().enumerate() {
            *to = if *into == Into::Add { *to + value(i) } else { value(i) };
        }
    };
    let (p, q) = totals.split_at_mut(c);
    put(&mut g.dbeta, &|i| p[i]);
    put(&mut g.dgamma, &|i| q[i] * spread[i]);
    let Some((dx, into)) = g.dx else { return };
    let (factor, count) = (&mut rest[..c], T::of(rows as f64));
    for i in 0..c {
        p[i] = p[i] / count;
        q[i] = q[i] * spread[i] * spread[i] / count;
        factor[i] = gamma.map_or(T::ONE, |g| g[i]) * spread[i];
    }
    let (p, q, factor): (&[T], &[T], &[T]) = (p, q, factor);
    let piece = PART.div_ceil(c) * c;
    workers.pieces(x.len() / 2, piece, dx, |i, dx| {
        let (x, dy) = (&x[i * piece..][..dx.len()], g.dy.map(|dy| &dy[i * piece..][..dx.len()]));
        spread_gradients(x, [mean, factor, p, q], dy, dx, into == Into::Add);
    });
}
