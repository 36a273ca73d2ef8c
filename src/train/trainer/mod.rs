//! The loop: steps, tests, metrics and checkpoints. [`setup`] makes what it starts from, [`state`] is what a checkpoint has of it.

mod setup;
mod state;

pub use setup::{Setup, open_data, total_steps};
pub use state::{first_checkpoint, load_parameters, normalisation_of, parameter_values};

use super::checkpoint::{self, Checkpoint, Tested};
use super::start::{self, Started};
use super::{Error, Line, Result, Run, Split, WeightLine, cost_lines};
use crate::data::{Batch, Loader};
use crate::device::{Device, StepValues};
use crate::layer::Phase;
use crate::net::{BatchBytes, CostMetrics, Graph, Net, Purpose, UpdateRule, initial_values};
use crate::op::Write;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a running loss is read for the progress display; reading waits for the device.
const GLANCE: Duration = Duration::from_millis(500);

/// What the loop tells while it runs.
pub enum Event<'a> {
    /// A step is queued. The loss and error since the last line are there where they were read.
    Step {
        /// Steps done.
        step: u64,
        /// Mean loss and top-1 error since the last line, read now and then.
        seen: Option<(f64, f64)>,
        /// How long training has waited for images so far.
        waited: Duration,
    },
    /// A line went to the metrics.
    Line(&'a Line),
    /// A test is running: batches done and in all.
    Testing(usize, usize),
    /// A checkpoint was saved.
    Saved(u64),
    /// An image could not be read, and training goes on.
    Warning(&'a str),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its steps are done.
    Done,
    /// It was asked to stop, and saved a checkpoint.
    Stopped,
}

/// A net that is being trained.
pub struct Trainer {
    setup: Setup,
    net: Net,
    loader: Loader,
    tests: Loader,
    /// The batch that is fed next, and its parts' number within the step.
    fed: Option<Batch>,
    step: u64,
    total: u64,
    /// Step of the last line of train metrics.
    line_step: u64,
    /// When and at which step the speed shown was last measured, and how long the loop had waited for data by then.
    since: (Instant, u64, Duration),
    /// Images that have been told to be unreadable, of the training and the test set.
    told: [usize; 2],
    seconds: f64,
    glanced: Instant,
}

impl Trainer {
    /// A net at step 0, its parameters drawn from the seed.
    ///
    /// # Errors
    /// What [`Setup::net`] and [`Setup::initialise`] find.
    pub fn new(setup: Setup, device: Box<dyn Device>) -> Result<Self> {
        let mut trainer = Self::at(setup, device, 0)?;
        trainer.setup.initialise(&mut trainer.net)?;
        Ok(trainer)
    }

    /// Gives the net, at step 0, other parameters to start from: a checkpoint's, or without one the initial parameters of the
    /// graph before filters were made local and weights unshared.
    ///
    /// # Errors
    /// A file that does not have a parameter's values, or the device.
    pub fn start_from(&mut self, before: &Graph, found: Option<&Checkpoint>) -> Result<Started> {
        if let Some(found) = found {
            return start::from_checkpoint(&mut self.net, before, found);
        }
        let seed = self.setup.spec.train.seed;
        let values = |(i, p)| initial_values(p, i, seed).map_err(|e| self.setup.explain(e));
        let values: Vec<Vec<f64>> = (0..).zip(&before.parameters).map(values).collect::<Result<_>>()?;
        start::from_values(&mut self.net, before, &values)
    }

    /// A net as a checkpoint left it.
    ///
    /// # Errors
    /// What [`Setup::net`] finds, or a checkpoint of another net.
    pub fn resume(mut setup: Setup, device: Box<dyn Device>, checkpoint: &Checkpoint, path: &Path) -> Result<Self> {
        setup.normalisation = normalisation_of(checkpoint, path)?;
        let mut trainer = Self::at(setup, device, checkpoint.state.step)?;
        trainer.restore(checkpoint, path)?;
        Ok(trainer)
    }

    fn at(setup: Setup, device: Box<dyn Device>, step: u64) -> Result<Self> {
        let micro = setup.micro_batch();
        let net = setup.net(micro, device, Purpose::Train)?;
        let t = &setup.spec.train;
        let loader = setup.loader(step * t.batch as u64)?;
        let tests = Loader::test(setup.data.test.clone(), micro)?;
        let total = total_steps(&setup.spec, setup.data.train.len());
        let now = Instant::now();
        let (since, glanced) = ((now, step, Duration::ZERO), now);
        let told = [0; 2];
        Ok(Self { setup, net, loader, tests, fed: None, step, total, line_step: step, since, told, seconds: 0.0, glanced })
    }

    /// The net.
    pub fn net(&mut self) -> &mut Net {
        &mut self.net
    }

    /// Gives the device back.
    pub fn into_device(self) -> Box<dyn Device> {
        self.net.into_device()
    }

    /// The net's layers.
    pub fn graph(&self) -> &Graph {
        &self.net.graph
    }

    /// What it was made of.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.total
    }

    /// Time that the loop has waited for data.
    pub fn data_wait(&self) -> Duration {
        self.loader.waited()
    }

    /// Queues one step: forward and backward of each micro-batch, then the update. The next batch is fed while it runs.
    pub fn one_step(&mut self) -> Result<()> {
        let t = &self.setup.spec.train;
        let (seed, momentum, batch) = (t.seed, t.momentum.rate(self.step, self.total), t.batch);
        let rule = UpdateRule {
            weight_decay: t.weight_decay,
            l1_decay: t.l1_decay,
            nesterov: t.nesterov,
            clip_norm: t.clip_norm,
            step: self.step,
            total_steps: self.total,
        };
        let learning_rate = self.learning_rate(self.step);
        let micro = self.net.batch();
        for part in 0..batch / micro {
            let fed = match self.fed.take() {
                Some(batch) => batch,
                None => self.feed_next()?,
            };
            self.net.set_step(StepValues {
                seed,
                step: self.step,
                first_image: (part * micro) as u32,
                images: micro as u32,
                gradient_scale: 1.0 / batch as f64,
                learning_rate,
                momentum,
            })?;
            self.net.training_pass(if part == 0 { Write::Set } else { Write::Add })?;
            self.loader.recycle(fed);
            if self.step + 1 < self.total || part + 1 < batch / micro {
                self.fed = Some(self.feed_next()?);
            }
        }
        self.net.update(&rule)?;
        self.step += 1;
        Ok(())
    }

    /// Runs until the last step, or until `stop` is set.
    ///
    /// # Errors
    /// A device, the data or the run's folder fails, or training diverges; checkpoints saved before stay.
    pub fn run(&mut self, run: &mut Run, stop: &AtomicBool, report: &mut dyn FnMut(Event)) -> Result<Outcome> {
        self.since = (Instant::now(), self.step, self.loader.waited());
        let mut saved = self.step;
        while self.step < self.total {
            self.one_step()?;
            self.tell_faults(run, report);
            let seen = self.glance()?;
            report(Event::Step { step: self.step, seen, waited: self.loader.waited() });
            let t = &self.setup.spec.train;
            let last = self.step == self.total;
            let test = last || t.test_every.map_or_else(|| self.ends_epoch(), |n| self.step.is_multiple_of(n));
            let save = last || t.checkpoint_every.map_or(test, |n| self.step.is_multiple_of(n));
            if test || self.step.is_multiple_of(t.log_every) {
                let line = self.train_line(test)?;
                run.append(&line)?;
                report(Event::Line(&line));
            }
            let mut tested = None;
            if test {
                let line = self.test_line(report)?;
                run.append(&line)?;
                report(Event::Line(&line));
                tested = Some(Tested { loss: line.loss, error: line.error });
            }
            let stopped = stop.load(Ordering::Relaxed);
            let best = tested.is_some_and(|found| checkpoint::would_be_best(&run.checkpoints(), self.step, &found));
            if save || best || stopped {
                let checkpoint = self.checkpoint(tested, run.metrics_bytes()?)?;
                run.save(&checkpoint, self.setup.spec.train.keep)?;
                saved = self.step;
                report(Event::Saved(saved));
            }
            if stopped && !last {
                return Ok(Outcome::Stopped);
            }
        }
        debug_assert_eq!(saved, self.step, "the last step is saved");
        // A run that was killed after its last save, before it had removed the oldest, is resumed with no step to do.
        run.prune(self.setup.spec.train.keep)?;
        Ok(Outcome::Done)
    }

    /// Tells of images that could not be read since the last call.
    fn tell_faults(&mut self, run: &Run, report: &mut dyn FnMut(Event)) {
        let sets = [&self.setup.data.train, &self.setup.data.test];
        for (set, told) in sets.into_iter().zip(&mut self.told) {
            for news in set.faults().map(|faults| faults.news(told)).unwrap_or_default() {
                run.log(&news);
                report(Event::Warning(&news));
            }
        }
    }

    /// Puts a batch into the net's feed.
    fn feed_next(&mut self) -> Result<Batch> {
        let batch = self.loader.next()?;
        self.net.feed(bytes_of(&batch))?;
        Ok(batch)
    }

    fn learning_rate(&self, step: u64) -> f64 {
        self.setup.spec.train.learning_rate.rate(step, self.total)
    }

    fn epoch(&self, step: u64) -> f64 {
        step as f64 * self.setup.spec.train.batch as f64 / self.setup.data.train.len() as f64
    }

    fn ends_epoch(&self) -> bool {
        self.epoch(self.step).floor() > self.epoch(self.step - 1).floor()
    }

    fn finite(&self, what: &str, finite: bool) -> Result<()> {
        if finite {
            return Ok(());
        }
        let learning_rate = self.learning_rate(self.step.saturating_sub(1));
        Err(Error::Diverged { step: self.step, what: what.into(), learning_rate })
    }

    /// Adds the time since the last look to the run's.
    fn clock(&mut self) -> f64 {
        let passed = self.since.0.elapsed().as_secs_f64();
        self.seconds += passed;
        self.since = (Instant::now(), self.step, self.loader.waited());
        passed
    }

    /// Loss and error since the last line, now and then.
    fn glance(&mut self) -> Result<Option<(f64, f64)>> {
        if self.glanced.elapsed() < GLANCE {
            return Ok(None);
        }
        self.glanced = Instant::now();
        let metrics = self.net.metrics()?;
        let loss = self.net.total_loss(&metrics);
        self.finite("the loss", loss.is_finite())?;
        Ok(Some((loss, first(&metrics).error)))
    }

    /// The metrics of the steps since the last line. A line before a test has the parameters' means too.
    fn train_line(&mut self, tests: bool) -> Result<Line> {
        let metrics = self.net.metrics()?;
        self.net.clear_metrics()?;
        let steps = self.step - self.since.1;
        let waited = self.loader.waited() - self.since.2;
        let passed = self.clock();
        let speed = steps as f64 * self.setup.spec.train.batch as f64 / passed.max(1e-9);
        self.line_step = self.step;
        let mut line = self.line(Split::Train, &metrics, speed, waited.as_secs_f64() / passed.max(1e-9))?;
        if tests || self.setup.spec.train.monitor_weights {
            let means = self.net.parameter_means()?;
            let one = |(name, weight, update): (String, f64, f64)| {
                (name, WeightLine { weight, update, ratio: update / weight.max(f64::MIN_POSITIVE) })
            };
            line.weights = means.into_iter().map(one).collect();
        }
        Ok(line)
    }

    /// Tests the net, and leaves the metrics cleared.
    fn test_line(&mut self, report: &mut dyn FnMut(Event)) -> Result<Line> {
        let (start, waited) = (Instant::now(), self.tests.waited());
        let seed = self.setup.spec.train.seed;
        let metrics = evaluate(&mut self.net, &mut self.tests, seed, &mut |i, n| report(Event::Testing(i, n)))?;
        self.refeed()?;
        let passed = start.elapsed().as_secs_f64().max(1e-9);
        let waited = (self.tests.waited() - waited).as_secs_f64() / passed;
        self.clock();
        self.line(Split::Test, &metrics, first(&metrics).images / passed, waited)
    }

    /// Feeds the next training batch again: a test has written over it.
    pub(super) fn refeed(&mut self) -> Result<()> {
        let Some(b) = &self.fed else { return Ok(()) };
        Ok(self.net.feed(bytes_of(b))?)
    }

    fn line(&self, split: Split, metrics: &[(String, CostMetrics)], images_per_second: f64, data_wait: f64) -> Result<Line> {
        let loss = self.net.total_loss(metrics);
        self.finite("the loss", loss.is_finite())?;
        let CostMetrics { error, error_top5, .. } = first(metrics);
        Ok(Line {
            step: self.step,
            epoch: self.epoch(self.step),
            split,
            loss,
            error,
            error_top5,
            learning_rate: self.learning_rate(self.step - 1),
            images_per_second,
            seconds: self.seconds,
            data_wait,
            costs: cost_lines(metrics),
            weights: BTreeMap::new(),
        })
    }
}

/// A batch as a net is fed it.
pub fn bytes_of(batch: &Batch) -> BatchBytes<'_> {
    BatchBytes { images: &batch.images, places: &batch.places, labels: &batch.labels, values: &batch.values }
}

/// The first cost's metrics.
fn first(metrics: &[(String, CostMetrics)]) -> CostMetrics {
    metrics.first().map(|(_, m)| m.clone()).unwrap_or_default()
}

/// The values of a step that only tests: of a batch with `images` images.
pub(crate) fn test_step(seed: u64, images: usize) -> StepValues {
    let images = images as u32;
    StepValues { seed, step: 0, first_image: 0, images, gradient_scale: 0.0, learning_rate: 0.0, momentum: 0.0 }
}

/// Runs a whole test set through the net; returns each cost's metrics and leaves them cleared.
///
/// # Errors
/// The device or the data fails.
pub fn evaluate(
    net: &mut Net,
    tests: &mut Loader,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<(String, CostMetrics)>> {
    net.clear_metrics()?;
    let batches = tests.batches();
    for i in 0..batches {
        let batch = tests.next()?;
        net.feed(bytes_of(&batch))?;
        net.set_step(test_step(seed, batch.count))?;
        net.forward(Phase::Test)?;
        tests.recycle(batch);
        progress(i + 1, batches);
    }
    let metrics = net.metrics()?;
    net.clear_metrics()?;
    Ok(metrics)
}
