//! The loop: steps, tests, metrics and checkpoints.

use super::checkpoint::{self, Checkpoint, DataState, HostTensor, State, Tested};
use super::start::{self, Started};
use super::{Error, Line, Result, Run, Split, WeightLine, cost_lines};
use crate::config::{ConfigError, DataSpec, Mean, NetSpec, Scale};
use crate::data::{self, Batch, DataSet, ImageShape, Loader, Normalisation, Reading};
use crate::device::{self, Device, Into, Shape, StepValues};
use crate::layer::{ParameterRole, Phase};
use crate::net::{BatchBytes, CostMetrics, Graph, InitError, Labels, Net, Parameter, Plan, Purpose, UpdateRule, initial_values};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a running loss is read for the progress display; reading waits for the device.
const GLANCE: Duration = Duration::from_millis(500);

/// What a run is made of, before there is a net.
pub struct Setup {
    /// The config.
    pub spec: NetSpec,
    /// The data.
    pub data: DataSet,
    /// What is done to its pixels.
    pub normalisation: Normalisation,
}

impl Setup {
    /// Opens a config's data and measures its mean and scale.
    ///
    /// # Errors
    /// The data is not there or not whole.
    pub fn new(spec: NetSpec) -> Result<Self> {
        let data = open_data(&spec)?;
        let mut normalisation = match spec.data.mean {
            Mean::Channel => Normalisation::of(data.train.as_ref(), data::Mean::Channel)?,
            Mean::Pixel => Normalisation::of(data.train.as_ref(), data::Mean::Pixel)?,
            Mean::None => {
                let mut n = Normalisation::of(data.train.as_ref(), data::Mean::Channel)?;
                n.mean.fill(0.0);
                n
            }
        };
        if let Scale::Factor(factor) = spec.data.scale {
            normalisation.scale = factor;
        }
        spec.data.augment.check(data.shape())?;
        Ok(Self { spec, data, normalisation })
    }

    /// The same where shapes are all that matters: images are made up where the source is not there and the config's file
    /// tells what they are like.
    ///
    /// # Errors
    /// The data is not there or not whole, and nothing is known of it.
    pub fn for_shapes(spec: NetSpec) -> Result<Self> {
        Self::new(made_up(spec))
    }

    /// As [`for_shapes`](Self::for_shapes), where the normalisation is known for images of each shape, and nothing measured.
    ///
    /// # Errors
    /// The data is not there or not whole, and nothing is known of it, or the normalisation does not fit.
    pub fn with_normalisation(spec: NetSpec, of: impl FnOnce(ImageShape) -> Result<Normalisation>) -> Result<Self> {
        let spec = made_up(spec);
        let data = open_data(&spec)?;
        let normalisation = of(data.shape())?;
        Ok(Self { spec, data, normalisation })
    }

    /// The shape of a batch of the data's images.
    pub fn images(&self, batch: usize) -> Shape {
        let ImageShape { h, w, c } = self.data.shape();
        Shape::new(batch, h, w, c)
    }

    /// The graph for batches of `batch` images.
    ///
    /// # Errors
    /// A layer that does not fit.
    pub fn graph(&self, batch: usize) -> Result<Graph> {
        Ok(Graph::new(&self.spec, self.images(batch), self.labels())?)
    }

    /// What the net is told of each image.
    pub fn labels(&self) -> Labels {
        match self.data.train.values() {
            0 if self.spec.data.augment.mixup > 0.0 => Labels::Values(self.data.classes),
            0 => Labels::Classes(self.data.classes),
            values => Labels::Values(values),
        }
    }

    /// The planned and allocated net, its parameters 0.
    ///
    /// # Errors
    /// A layer that does not fit, or a device that has not the memory.
    pub fn net(&self, batch: usize, mut device: Box<dyn Device>, purpose: Purpose) -> Result<Net> {
        device.set_winograd(self.spec.train.winograd);
        device.set_precision(self.spec.train.precision);
        let mut graph = self.graph(batch)?;
        if purpose == Purpose::Infer {
            graph.fold();
        }
        let Normalisation { mean, scale } = &self.normalisation;
        Net::new(graph, device, purpose, self.images(batch), mean, *scale).map_err(|(e, device)| match e {
            device::Error::OutOfMemory { free, .. } => {
                Error::TooLarge { advice: self.what_fits(batch, device.as_ref(), purpose, free), source: e }
            }
            other => other.into(),
        })
    }

    /// What to do about a net that does not fit the device's `free` bytes: the largest part of a batch that would.
    fn what_fits(&self, batch: usize, device: &dyn Device, purpose: Purpose, free: usize) -> String {
        if purpose == Purpose::Infer {
            return "use a device with more memory, or --device cpu".into();
        }
        let mean = Shape::new(1, 1, 1, self.normalisation.mean.len());
        let fits = |&m: &usize| self.graph(m).is_ok_and(|g| Plan::new(&g, device, purpose, self.images(m), mean).bytes <= free);
        match (1..batch).rev().filter(|m| batch.is_multiple_of(*m)).find(fits) {
            Some(m) => format!("--set train.micro_batch={m} would fit, with the same results but for rounding"),
            None => "not even one image at a time fits: use a smaller net or a device with more memory".into(),
        }
    }

    /// Draws a net's initial parameters from the seed, or reads them from the files that the config names.
    ///
    /// # Errors
    /// A file that does not have a parameter's values, or the device.
    pub fn initialise(&self, net: &mut Net) -> Result<()> {
        net.initialise(self.spec.train.seed).map_err(|e| self.explain(e))
    }

    /// The error with the place in the config that it is about.
    fn explain(&self, e: InitError) -> Error {
        match e {
            InitError::Device(e) => e.into(),
            InitError::File { ref layer, ref parameter, bias, ref path, ref what } => {
                let Some((_, layer)) = self.spec.layer(layer) else { return ConfigError::new(&e).into() };
                let message = format!("cannot start its {parameter} from '{}': {what}", path.display());
                let help = "a .npy file, or a tensor of a .safetensors file, of as many floats; paths are relative to the \
                            working directory";
                layer.error(if bias { "init_bias" } else { "init" }, message, "", help).into()
            }
        }
    }

    /// Images that go through the net at once.
    pub fn micro_batch(&self) -> usize {
        self.spec.train.micro_batch.unwrap_or(self.spec.train.batch)
    }

    /// Loads the training images as training does, from a position of their stream on.
    ///
    /// # Errors
    /// A setting that does not fit the images, or images that cannot be read where their colours are measured.
    pub fn loader(&self, start: u64) -> Result<Loader> {
        let (train, d) = (self.data.train.clone(), &self.spec.data);
        let window = d.shuffle_window.map(|images| u32::try_from(images).unwrap_or(u32::MAX));
        let (threads, classes) = (d.readers.unwrap_or(0), self.data.classes);
        let reading = Reading { window, threads, classes, ..Reading::of(&*train, d.augment)? };
        Ok(Loader::train(train, self.micro_batch(), self.spec.train.seed, reading, start)?)
    }
}

/// The config with images made up where its source is not there and its file tells what they are like.
fn made_up(mut spec: NetSpec) -> NetSpec {
    if let Some(images) = spec.images.take()
        && open_data(&spec).is_err()
    {
        spec.data = DataSpec { source: "synthetic".into(), synthetic: Some(images), ..spec.data };
    }
    spec
}

/// The data set that a config names.
///
/// # Errors
/// It is not there or not whole.
pub fn open_data(spec: &NetSpec) -> Result<DataSet> {
    let d = &spec.data;
    if d.source == DataSpec::NONE {
        let span = spec.root.entry(&["data", "source"]).map_or(spec.root.span, |e| e.node.span);
        let help = "give --data DATA, a built-in set or a folder, or try it out with --set data.source=synthetic \
                    --set data.synthetic.shape=[height,width,channels]";
        return Err(spec.error_at(span, "the config does not say which images it is for", "", help).into());
    }
    let synthetic = d.synthetic.as_ref();
    let options = data::Options {
        train: d.train_images.or(synthetic.map(|s| s.train_images)),
        test: d.test_images.or(synthetic.map(|s| s.test_images)),
        classes: synthetic.map(|s| s.classes),
        shape: synthetic.map(|s| s.shape).or(d.shape).map(|[h, w, c]| ImageShape { h, w, c }),
        seed: spec.train.seed,
        pairs: d.pairs,
        size: d.size,
        on_error: d.on_error,
    };
    Ok(data::open(&d.source, &options)?)
}

/// Parameter updates of a whole run: `train.steps`, or epochs · images / batch, rounded up.
pub fn total_steps(spec: &NetSpec, train_images: usize) -> u64 {
    if let Some(steps) = spec.train.steps {
        return steps;
    }
    (spec.train.epochs * train_images as f64 / spec.train.batch as f64).ceil() as u64
}

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
    pub fn resume(mut setup: Setup, device: Box<dyn Device>, checkpoint: &Checkpoint, path: &std::path::Path) -> Result<Self> {
        setup.normalisation = normalisation_of(checkpoint, path)?;
        let mut trainer = Self::at(setup, device, checkpoint.state.step)?;
        load_parameters(&mut trainer.net, checkpoint, path)?;
        for i in 0..trainer.net.graph.parameters.len() {
            let Some(to) = trainer.net.plan.momenta[i] else { continue };
            let name = momentum_name(&trainer.net.graph.parameters[i]);
            trainer.net.write(to, &find(&checkpoint.optimizer, &name, to.shape.elements(), path)?)?;
        }
        let metrics = trainer.net.plan.metrics;
        trainer.net.write(metrics, &find(&checkpoint.optimizer, "metrics", metrics.shape.elements(), path)?)?;
        trainer.line_step = checkpoint.state.line_step;
        trainer.seconds = checkpoint.state.seconds;
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
            self.net.training_pass(if part == 0 { Into::Set } else { Into::Add })?;
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

    /// The whole state as a checkpoint.
    ///
    /// # Errors
    /// The device fails, or a parameter is no longer finite.
    pub fn checkpoint(&mut self, tested: Option<Tested>, metrics_bytes: u64) -> Result<Checkpoint> {
        self.clock();
        let (mut weights, mut optimizer) = (Vec::new(), Vec::new());
        for i in 0..self.net.graph.parameters.len() {
            let p = &self.net.graph.parameters[i];
            if !p.spec.is_saved() {
                continue;
            }
            let (name, momentum, shape) = (p.name.clone(), momentum_name(p), host_shape(p));
            weights.push(self.host_tensor(name, shape.clone(), self.net.plan.parameters[i])?);
            if let Some(velocity) = self.net.plan.momenta[i] {
                optimizer.push(self.host_tensor(momentum, shape, velocity)?);
            }
        }
        let metrics = self.net.plan.metrics;
        optimizer.push(self.host_tensor("metrics".into(), vec![metrics.shape.elements()], metrics)?);
        let mean = &self.setup.normalisation.mean;
        weights.push(HostTensor { name: "data.mean".into(), shape: vec![mean.len()], values: mean.clone() });
        let state = State {
            format: 1,
            net: self.net.graph.name.clone(),
            step: self.step,
            seed: self.setup.spec.train.seed,
            position: self.step * self.setup.spec.train.batch as u64,
            metrics_bytes,
            line_step: self.line_step,
            seconds: self.seconds,
            tested,
            data: data_state(&self.setup),
            files: BTreeMap::new(),
            checksum: String::new(),
        };
        Ok(Checkpoint { weights, optimizer, state })
    }

    fn host_tensor(&mut self, name: String, shape: Vec<usize>, from: device::Tensor) -> Result<HostTensor> {
        let values: Vec<f32> = self.net.read(from)?.into_iter().map(|v| v as f32).collect();
        self.finite(&name, values.iter().all(|v| v.is_finite()))?;
        Ok(HostTensor { name, shape, values })
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

/// The checkpoint of step 0 of a net whose parameters are these: one list a parameter of the graph, none of those that no
/// checkpoint has.
pub fn first_checkpoint(setup: &Setup, graph: &Graph, values: &[Vec<f32>]) -> Checkpoint {
    let (mut weights, mut optimizer) = (Vec::new(), Vec::new());
    for (p, values) in graph.parameters.iter().zip(values).filter(|(p, _)| p.spec.is_saved()) {
        let shape = host_shape(p);
        if p.learns() {
            optimizer.push(HostTensor { name: momentum_name(p), shape: shape.clone(), values: vec![0.0; values.len()] });
        }
        weights.push(HostTensor { name: p.name.clone(), shape, values: values.clone() });
    }
    let metrics = graph.costs().map(|i| graph.nodes[i].metrics()).sum();
    optimizer.push(HostTensor { name: "metrics".into(), shape: vec![metrics], values: vec![0.0; metrics] });
    let mean = &setup.normalisation.mean;
    weights.push(HostTensor { name: "data.mean".into(), shape: vec![mean.len()], values: mean.clone() });
    let state = State {
        format: 1,
        net: graph.name.clone(),
        step: 0,
        seed: setup.spec.train.seed,
        position: 0,
        metrics_bytes: 0,
        line_step: 0,
        seconds: 0.0,
        tested: None,
        data: data_state(setup),
        files: BTreeMap::new(),
        checksum: String::new(),
    };
    Checkpoint { weights, optimizer, state }
}

/// The values of a graph's parameters in a checkpoint: one list a parameter, none of those that no checkpoint has.
///
/// # Errors
/// The checkpoint is of another net.
pub fn parameter_values(graph: &Graph, checkpoint: &Checkpoint, path: &std::path::Path) -> Result<Vec<Vec<f32>>> {
    let other = |what: String| Error::OtherNet { path: path.to_owned(), what };
    let of_one = |p: &Parameter| {
        if !p.spec.is_saved() {
            return Ok(Vec::new());
        }
        let tensor = checkpoint.weights.iter().find(|t| t.name == p.name && t.shape == host_shape(p));
        tensor.map(|t| t.values.clone()).ok_or_else(|| other(format!("it has no fitting '{}'", p.name)))
    };
    graph.parameters.iter().map(of_one).collect()
}

/// The data as a run sees it.
fn data_state(setup: &Setup) -> DataState {
    let ImageShape { h, w, c } = setup.data.shape();
    DataState {
        shape: [h, w, c],
        train_images: setup.data.train.len(),
        classes: setup.data.classes,
        class_names: setup.data.class_names.clone(),
        values: setup.data.train.values() > 0,
        scale: setup.normalisation.scale,
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
        net.set_step(StepValues {
            seed,
            step: 0,
            first_image: 0,
            images: batch.count as u32,
            gradient_scale: 0.0,
            learning_rate: 0.0,
            momentum: 0.0,
        })?;
        net.forward(Phase::Test)?;
        tests.recycle(batch);
        progress(i + 1, batches);
    }
    let metrics = net.metrics()?;
    net.clear_metrics()?;
    Ok(metrics)
}

/// Writes a checkpoint's parameters into a net.
///
/// # Errors
/// The checkpoint is of another net.
pub fn load_parameters(net: &mut Net, checkpoint: &Checkpoint, path: &std::path::Path) -> Result<()> {
    let other = |what: String| Error::OtherNet { path: path.to_owned(), what };
    for i in 0..net.graph.parameters.len() {
        let p = &net.graph.parameters[i];
        if !p.spec.is_saved() {
            continue;
        }
        let (name, shape) = (p.name.clone(), host_shape(p));
        let Some(tensor) = checkpoint.weights.iter().find(|t| t.name == name) else {
            return Err(other(format!("it has no '{name}'")));
        };
        if tensor.shape != shape {
            return Err(other(format!("its '{name}' is {:?}, the net's is {shape:?}", tensor.shape)));
        }
        let values: Vec<f64> = tensor.values.iter().map(|&v| f64::from(v)).collect();
        net.write(net.plan.parameters[i], &values)?;
    }
    let known = |t: &&HostTensor| t.name != "data.mean" && !net.graph.parameters.iter().any(|p| p.name == t.name);
    match checkpoint.weights.iter().find(known) {
        Some(extra) => Err(other(format!("it has '{}', which the net has not", extra.name))),
        None => Ok(net.fold_parameters()?),
    }
}

/// The normalisation that a checkpoint was trained with.
///
/// # Errors
/// It has none.
pub fn normalisation_of(checkpoint: &Checkpoint, path: &std::path::Path) -> Result<Normalisation> {
    let mean = checkpoint.weights.iter().find(|t| t.name == "data.mean").map(|t| t.values.clone());
    let [h, w, c] = checkpoint.state.data.shape;
    match mean {
        Some(mean) if mean.len() == c || mean.len() == h * w * c => {
            Ok(Normalisation { mean, scale: checkpoint.state.data.scale })
        }
        _ => Err(Error::Damaged { path: path.to_owned(), what: "data.mean does not fit the images".into() }),
    }
}

fn find(tensors: &[HostTensor], name: &str, elements: usize, path: &std::path::Path) -> Result<Vec<f64>> {
    match tensors.iter().find(|t| t.name == name && t.values.len() == elements) {
        Some(t) => Ok(t.values.iter().map(|&v| f64::from(v)).collect()),
        None => Err(Error::OtherNet { path: path.to_owned(), what: format!("it has no fitting '{name}'") }),
    }
}

fn momentum_name(p: &Parameter) -> String {
    format!("{}.momentum", p.name)
}

/// A parameter's extents as files have them: filters `[k, r, s, c]`, weights `[out, in]`, biases and what is one number a
/// channel `[k]`.
fn host_shape(p: &Parameter) -> Vec<usize> {
    let s = p.spec.shape;
    let all = [s.n, s.h, s.w, s.c];
    if p.spec.role != ParameterRole::Weights || (p.spec.fan_in == 1 && s.n == 1) {
        let first = all.iter().position(|&e| e != 1).unwrap_or(3);
        return all[first..].to_vec();
    }
    if s.h == 1 && s.w == 1 && p.spec.fan_in == s.c && p.spec.fan_out == s.n { vec![s.n, s.c] } else { all.to_vec() }
}
