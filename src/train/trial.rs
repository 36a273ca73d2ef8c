//! Short trials of a net, each from its initial parameters: which learning rate is the largest that works, and whether a few
//! images are learned by heart. Both are what Ranzato's tutorial (CVPR 2014) begins with: "start with a large learning rate
//! and divide by 2 until the loss does not diverge", "test on a small subset of the data and check the error → 0".

use super::{Result, Setup, Trainer, evaluate};
use crate::config::{NetSpec, Schedule};
use crate::data::{Augment, Loader};
use crate::device::Device;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Parts of a trial after each of which its loss is read.
const PARTS: u64 = 10;
/// A loss of so many times the first has diverged before the trial's end.
const EXPLODED: f64 = 4.0;
/// A rate is better where its loss is below this part of the best before.
const BETTER: f64 = 0.98;
/// Rates that work and are no better than the best, after which none is looked for.
const PATIENCE: usize = 3;
/// Halvings at most.
const HALVINGS: usize = 24;
/// Images that are to be learned by heart.
const FEW: usize = 64;
/// Steps and time for that.
const HEART: (u64, Duration) = (400, Duration::from_secs(60));
/// Steps between two looks.
const LOOK: u64 = 20;

/// What became of one learning rate.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tried {
    /// The rate.
    pub learning_rate: f64,
    /// Steps done.
    pub steps: u64,
    /// The loss before the first step.
    pub first_loss: f64,
    /// The mean loss of the last steps; nothing where it was no finite number.
    pub last_loss: Option<f64>,
    /// It is no number, or above the first.
    pub diverged: bool,
}

/// Tries rates from a large one down: halves it until the loss does not diverge, and then for as long as that lowers the loss.
/// Returns the rates tried, and which of them is the best. `said` is told of each.
///
/// # Errors
/// The device or the data fails.
pub fn find_rate(
    setup: &Setup,
    mut device: Box<dyn Device>,
    from: f64,
    steps: u64,
    stop: &AtomicBool,
    said: &mut dyn FnMut(&Tried),
) -> Result<(Vec<Tried>, Option<Tried>)> {
    let (mut all, mut best, mut worse): (Vec<Tried>, Option<Tried>, usize) = (Vec::new(), None, 0);
    for halving in 0..HALVINGS {
        let rate = from / 2f64.powi(halving as i32);
        let (tried, back) = try_rate(setup, device, rate, steps, stop)?;
        device = back;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        said(&tried);
        all.push(tried);
        if let Some(loss) = tried.last_loss.filter(|_| !tried.diverged) {
            let least = best.and_then(|b| b.last_loss).unwrap_or(f64::INFINITY);
            if loss < BETTER * least {
                (best, worse) = (Some(tried), 0);
            } else {
                worse += 1;
            }
        }
        let learned = best.is_some_and(|b| b.last_loss.is_some_and(|l| l < 0.9 * b.first_loss));
        // Where no rate has got far below the first loss, units that died at a large one may be why: a few more are tried.
        if worse >= if learned { 1 } else { PATIENCE } {
            break;
        }
    }
    Ok((all, best))
}

/// Some steps at a constant rate.
fn try_rate(
    setup: &Setup,
    device: Box<dyn Device>,
    rate: f64,
    steps: u64,
    stop: &AtomicBool,
) -> Result<(Tried, Box<dyn Device>)> {
    let mut spec = setup.spec.clone();
    spec.train.steps = Some(steps);
    spec.train.learning_rate = Schedule::constant(rate);
    let mut trainer = Trainer::new(Setup { spec, data: setup.data.clone(), normalisation: setup.normalisation.clone() }, device)?;
    let mut tried = Tried { learning_rate: rate, steps: 0, first_loss: 0.0, last_loss: None, diverged: false };
    let mut ends: Vec<u64> = (1..=PARTS).map(|p| (p * steps).div_ceil(PARTS)).chain([1]).collect();
    ends.sort_unstable();
    ends.dedup();
    for end in ends {
        while tried.steps < end && !stop.load(Ordering::Relaxed) {
            trainer.one_step()?;
            tried.steps += 1;
        }
        let loss = loss(&mut trainer)?;
        if tried.steps == 1 {
            tried.first_loss = loss;
        }
        tried.last_loss = loss.is_finite().then_some(loss);
        if !loss.is_finite() || loss > EXPLODED * tried.first_loss.abs() {
            break;
        }
    }
    tried.diverged = tried.last_loss.is_none_or(|l| l > tried.first_loss);
    Ok((tried, trainer.into_device()))
}

/// The mean loss since the last look.
fn loss(trainer: &mut Trainer) -> Result<f64> {
    let net = trainer.net();
    let metrics = net.metrics()?;
    net.clear_metrics()?;
    Ok(net.total_loss(&metrics))
}

/// What became of learning a few images by heart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heart {
    /// Images.
    pub images: usize,
    /// Steps done.
    pub steps: u64,
    /// The error on them, tested; 0 where the cost counts none.
    pub error: f64,
    /// The loss on them before the first step, and after the last.
    pub loss: [f64; 2],
}

/// Trains a net anew on a few images, at the config's first rate and without augmentation, until it has none wrong.
///
/// # Errors
/// The device or the data fails.
pub fn by_heart(spec: &NetSpec, device: Box<dyn Device>, stop: &AtomicBool) -> Result<Heart> {
    let mut spec = spec.clone();
    let t = &mut spec.train;
    (t.batch, t.micro_batch, t.steps) = (t.batch.min(FEW), None, Some(HEART.0));
    (t.learning_rate, t.weight_decay, t.l1_decay) = (Schedule::constant(t.learning_rate.base), 0.0, 0.0);
    spec.data.train_images = Some(FEW.min(spec.data.train_images.unwrap_or(FEW)));
    spec.data.augment = Augment::default();
    spec.pretrain = None;
    let setup = Setup::new(spec)?;
    let (source, seed) = (setup.data.train.clone(), setup.spec.train.seed);
    let mut trainer = Trainer::new(setup, device)?;
    let batch = trainer.net().batch();
    let mut tests = Loader::test(source.clone(), batch)?;
    let mut look = |trainer: &mut Trainer| -> Result<(f64, f64)> {
        let metrics = evaluate(trainer.net(), &mut tests, seed, &mut |_, _| ())?;
        Ok((trainer.net().total_loss(&metrics), metrics.first().map_or(0.0, |(_, m)| m.error)))
    };
    let (first, mut error) = look(&mut trainer)?;
    let (start, mut last) = (Instant::now(), first);
    while trainer.steps_done() < HEART.0 && start.elapsed() < HEART.1 && !stop.load(Ordering::Relaxed) {
        trainer.refeed()?;
        for _ in 0..LOOK {
            trainer.one_step()?;
        }
        (last, error) = look(&mut trainer)?;
        if !last.is_finite() || (error == 0.0 && last < 0.1 * first) {
            break;
        }
    }
    Ok(Heart { images: source.len(), steps: trainer.steps_done(), error, loss: [first, last] })
}
