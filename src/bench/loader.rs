//! How many training images a second the loader makes ready, with nothing else to do.

use super::timing::{Effort, Times};
use crate::data::loader::BATCHES;
use crate::data::{Loader, Result};
use serde::Serialize;
use std::time::Instant;

/// The time of a loader's batches.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LoaderTime {
    /// Images of a batch.
    pub batch: usize,
    /// Batches that were timed.
    pub batches: usize,
    /// Of all of them together.
    pub images_per_second: f64,
    /// A batch's time, from one to the next: the median and its like.
    #[serde(flatten)]
    pub times: Times,
}

/// Takes batch after batch from a loader, and gives each back at once. Those that were filled before are among the first, which
/// do not count.
///
/// # Errors
/// An image that cannot be read.
pub fn time_loader(loader: &mut Loader, effort: Effort, mut progress: impl FnMut(usize)) -> Result<LoaderTime> {
    let mut batch = 0;
    let mut take = |loader: &mut Loader| -> Result<()> {
        let filled = loader.next()?;
        batch = filled.count;
        loader.recycle(filled);
        Ok(())
    };
    for _ in 0..effort.warm_up.max(BATCHES) {
        take(loader)?;
    }
    let (start, mut ms) = (Instant::now(), Vec::new());
    let mut last = start;
    while ms.len() < effort.repeats.max(1) || start.elapsed().as_secs_f64() < effort.seconds {
        take(loader)?;
        let now = Instant::now();
        ms.push((now - last).as_secs_f64() * 1e3);
        last = now;
        progress(ms.len());
    }
    let (batches, seconds) = (ms.len(), (last - start).as_secs_f64());
    let images_per_second = (batches * batch) as f64 / seconds;
    Ok(LoaderTime { batch, batches, images_per_second, times: Times::of(ms) })
}
