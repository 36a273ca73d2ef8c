//! What is subtracted from the pixels, and by what they are multiplied: the mean of the training set and 1 / its standard
//! deviation. A checkpoint holds both, so that a net sees its inputs as it was trained on them.
//!
//! Pixels are bytes, so their sums and sums of squares are exact in integers; only the divisions and the root round. The
//! result depends neither on the number of threads nor on the order of the images.

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
        let (images, shape) = (source.distinct(), source.shape());
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
                        source.read(i, &mut image)?;
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
