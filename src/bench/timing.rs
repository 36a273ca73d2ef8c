//! How long something takes: the median of measurements, after some that do not count.
//!
//! A measurement is as many calls in a row as take a millisecond or so, and one wait for the device behind them: what a wait
//! and a clock cost is then a small part of it, also where a call takes a microsecond.

use crate::device::Result;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// How long things are timed.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Measurements of each thing, at least.
    pub repeats: usize,
    /// Seconds of measurements of each thing, at least.
    pub seconds: f64,
    /// Measurements before them that do not count.
    pub warm_up: usize,
    /// The step and the forward pass alone are timed, not the layers.
    pub step_only: bool,
}

/// Measurements of one thing, at most.
const MAX: usize = 100_000;
/// Milliseconds that a measurement should take, at least.
const MEASUREMENT: f64 = 1.0;
/// Calls that make one measurement, at most.
const MAX_CALLS: usize = 256;

/// What measurements of one thing say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The median, in milliseconds.
    pub ms: f64,
    /// The least.
    pub min_ms: f64,
    /// The distance between the quartiles, as a part of the median.
    pub spread: f64,
}

impl Times {
    /// Of any number of measurements but 0.
    pub(super) fn of(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let at = |part: usize| ms[ms.len() * part / 4];
        Self { ms: at(2), min_ms: ms[0], spread: (at(3) - at(1)) / at(2) }
    }
}

/// Something that is done with a context.
pub(super) type Act<'a, C> = &'a dyn Fn(&mut C) -> Result<()>;

/// What is timed: `work` queues it on a context, `wait` waits for the device, `restore` puts back what the work spoils and is
/// not timed. Of a measurement at most `calls` calls.
pub(super) struct Task<'a, C> {
    pub work: &'a mut dyn FnMut(&mut C) -> Result<()>,
    pub wait: Act<'a, C>,
    pub restore: Option<Act<'a, C>>,
    pub calls: usize,
}

impl<C> Task<'_, C> {
    /// Measures it.
    pub(super) fn time(self, context: &mut C, effort: Effort) -> Result<Times> {
        let Self { work, wait, restore, calls } = self;
        let mut measure = |context: &mut C, calls: usize| {
            if let Some(restore) = restore {
                restore(context)?;
                wait(context)?;
            }
            let start = Instant::now();
            for _ in 0..calls {
                work(context)?;
            }
            wait(context)?;
            Ok(start.elapsed().as_secs_f64() * 1e3 / calls as f64)
        };
        let mut first = f64::INFINITY;
        for _ in 0..effort.warm_up.max(1) {
            first = first.min(measure(context, 1)?);
        }
        let calls = ((MEASUREMENT / first).ceil() as usize).clamp(1, calls.min(MAX_CALLS));
        let (mut times, mut seconds) = (Vec::new(), 0.0);
        while times.len() < effort.repeats.max(1) || seconds < effort.seconds && times.len() < MAX {
            let ms = measure(context, calls)?;
            seconds += ms * calls as f64 / 1e3;
            times.push(ms);
        }
        Ok(Times::of(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1 to 9, the median is 5, the quartiles 3 and 7.
    #[test]
    fn times_are_medians_and_quartiles() {
        let t = Times::of((1..=9).rev().map(f64::from).collect());
        assert_eq!(t, Times { ms: 5.0, min_ms: 1.0, spread: 0.8 });
    }

    #[test]
    fn a_task_is_called_as_often_as_asked_and_restored_before_each_measurement() {
        let mut calls = (0, 0);
        let effort = Effort { repeats: 5, seconds: 0.0, warm_up: 2, step_only: false };
        let mut work = |c: &mut (i32, i32)| {
            c.0 += 1;
            Ok(())
        };
        let restore = |c: &mut (i32, i32)| {
            c.1 += 1;
            Ok(())
        };
        Task { work: &mut work, wait: &|_| Ok(()), restore: Some(&restore), calls: 3 }.time(&mut calls, effort).unwrap();
        assert_eq!(calls, (2 + 5 * 3, 7));
    }
}
