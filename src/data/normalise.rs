//! What is subtracted from the pixels, and by what they are multiplied: the mean of the training set and 1 / its standard
//! deviation. A checkpoint holds both, so that a net sees its inputs as it was trained on them.
//!
//! Pixels are bytes, so their sums and sums of squares are exact in integers; only the divisions and the root round. The
//! result depends neither on the number of threads nor on the order of the images.

use super::faults::read_or_another;
use super::{Result, Source};
use rayon::prelude::*;

/// Which mean is subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mean {
    /// One number a channel.
    #[default]
    Channel,
    /// One number a pixel and channel: the mean image, as cuda-convnet subtracts it.
    Pixel,
}

/// y = (x − mean)·scale, of bytes x.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalisation {
    /// `c` values, or `h`·`w`·`c`.
    pub mean: Vec<f32>,
    /// 1 / the standard deviation of all pixels about that mean; 1 where all images are the same.
    pub scale: f64,
}

/// Images that a task sums at a time.
const CHUNK: usize = 64;

/// Σ x, one a value of the mean, and Σ x² of everything.
struct Sums {
    values: Vec<u64>,
    squares: u64,
}

impl Normalisation {
    /// The normalisation that makes a source's pixels 0 on average, with a standard deviation of 1. Both images of a pair have
    /// that of single images.
    pub fn of(source: &dyn Source, mean: Mean) -> Result<Self> {
        if let Some(single) = source.single() {
            let of_one = Self::of(single, mean)?;
            let twice = of_one.mean.chunks_exact(single.shape().c).flat_map(|pixel| [pixel, pixel]).flatten();
            return Ok(Self { mean: twice.copied().collect(), ..of_one });
        }
        let (images, all, shape) = (source.measured(), source.distinct(), source.shape());
        let values = match mean {
            Mean::Channel => shape.c,
            Mean::Pixel => shape.bytes(),
        };
        let zero = || Sums { values: vec![0; values], squares: 0 };
        let sums = (0..images.div_ceil(CHUNK))
            .into_par_iter()
            .try_fold(
                || (zero(), vec![0; shape.bytes()]),
                |(mut sums, mut image), chunk| {
                    for i in chunk * CHUNK..images.min((chunk + 1) * CHUNK) {
                        // Evenly spread, where not all are read.
                        let i = (i as u128 * all as u128 / images as u128) as usize;
                        read_or_another(source, i, |i| source.read(i, &mut image))?;
                        for pixels in image.chunks_exact(values) {
                            for (sum, &x) in sums.values.iter_mut().zip(pixels) {
                                *sum += u64::from(x);
                            }
                        }
                        sums.squares += image.iter().map(|&x| u64::from(x) * u64::from(x)).sum::<u64>();
                    }
                    Ok((sums, image))
                },
            )
            .map(|sums| sums.map(|(sums, _)| sums))
            .try_reduce(zero, |mut a, b| {
                for (a, b) in a.values.iter_mut().zip(b.values) {
                    *a += b;
                }
                a.squares += b.squares;
                Ok(a)
            })?;
        // Σ (x − m)² = Σ x² − Σ (Σ x)² / n with n numbers to a value of the mean: all exact, times n.
        let n = (images * (shape.bytes() / values)) as u128;
        let squares = sums.values.iter().map(|&sum| u128::from(sum) * u128::from(sum)).sum::<u128>();
        let deviation = (n * u128::from(sums.squares)).saturating_sub(squares);
        let variance = deviation as f64 / (n * n * values as u128) as f64;
        Ok(Self {
            mean: sums.values.iter().map(|&sum| (sum as f64 / n as f64) as f32).collect(),
            scale: if variance > 0.0 { 1.0 / variance.sqrt() } else { 1.0 },
        })
    }
}

/// What the colours of a source's images are like: for augmentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Colours {
    /// The mean, one a channel, rounded.
    pub mean: Vec<u8>,
    /// The principal components of RGB over all pixels, each times the root of its variance, the largest first; none where
    /// there are no three channels.
    pub components: Vec<[f32; 3]>,
}

impl Colours {
    /// The colours of a source's measured images.
    ///
    /// # Errors
    /// An image cannot be read.
    pub fn of(source: &dyn Source) -> Result<Self> {
        let (images, all, shape) = (source.measured(), source.distinct(), source.shape());
        let mean = Normalisation::of(source, Mean::Channel)?.mean.iter().map(|m| m.round().clamp(0.0, 255.0) as u8).collect();
        if shape.c != 3 {
            return Ok(Self { mean, components: Vec::new() });
        }
        // Σ x and Σ x·xᵀ, exact in integers.
        type Moments = ([u64; 3], [[u64; 3]; 3]);
        let zero = Moments::default;
        let (sums, products) = (0..images.div_ceil(CHUNK))
            .into_par_iter()
            .try_fold(zero, |(mut sums, mut products), chunk| {
                let mut image = vec![0; shape.bytes()];
                for i in chunk * CHUNK..images.min((chunk + 1) * CHUNK) {
                    let i = (i as u128 * all as u128 / images as u128) as usize;
                    read_or_another(source, i, |i| source.read(i, &mut image))?;
                    for pixel in image.chunks_exact(3) {
                        let pixel = [pixel[0], pixel[1], pixel[2]].map(u64::from);
                        for a in 0..3 {
                            sums[a] += pixel[a];
                            (0..3).for_each(|b| products[a][b] += pixel[a] * pixel[b]);
                        }
                    }
                }
                Ok((sums, products))
            })
            .try_reduce(zero, |mut a, b| {
                for i in 0..3 {
                    a.0[i] += b.0[i];
                    (0..3).for_each(|j| a.1[i][j] += b.1[i][j]);
                }
                Ok(a)
            })?;
        let n = (images * shape.h * shape.w) as f64;
        let mut covariance = [[0.0; 3]; 3];
        for a in 0..3 {
            for b in 0..3 {
                covariance[a][b] = products[a][b] as f64 / n - (sums[a] as f64 / n) * (sums[b] as f64 / n);
            }
        }
        Ok(Self { mean, components: principal_components(covariance) })
    }
}

/// The eigenvectors of a symmetric matrix, each times the root of its eigenvalue, the largest first (Jacobi's rotations). Of a
/// vector and its opposite it is the one whose sum is positive.
fn principal_components(mut a: [[f64; 3]; 3]) -> Vec<[f32; 3]> {
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..32 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if a[p][q].abs() < 1e-12 * (a[p][p].abs() + a[q][q].abs()) {
                continue;
            }
            let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let cos = 1.0 / (t * t + 1.0).sqrt();
            let sin = t * cos;
            for row in &mut a {
                (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
            }
            let (x, y) = (a[p], a[q]);
            a[p] = [0, 1, 2].map(|k| cos * x[k] - sin * y[k]);
            a[q] = [0, 1, 2].map(|k| sin * x[k] + cos * y[k]);
            for row in &mut vectors {
                (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
            }
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    let component = |&i: &usize| {
        let vector = [vectors[0][i], vectors[1][i], vectors[2][i]];
        let sign = if vector.iter().sum::<f64>() < 0.0 { -1.0 } else { 1.0 };
        vector.map(|x| (sign * x * a[i][i].max(0.0).sqrt()) as f32)
    };
    order.iter().map(component).collect()
}
