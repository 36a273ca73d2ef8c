//! A net on a device: the graph of its layers, the program that they write, the passes over that, the plan of its memory, and
//! the run of its operations.

pub(crate) mod alone;
mod graph;
mod init;
mod passes;
mod plan;
mod recording;
mod writer;

pub use graph::{Graph, Input, Labels, Node, Parameter};
pub use init::{InitError, values as initial_values};
pub use passes::Fold;
pub use plan::{Clip, Feed, Kept, Plan, Planned, Purpose};

use crate::device::{self, Device, Dtype, METRICS, Place, Shape, Slot, StepValues, Tensor};
use crate::layer::{ParameterRole, Phase, Role};
use crate::op::{ClipFactor, Fill, LimitNorms, MeanAbs, Op, Pass, SgdUpdate, SumSquares, Target, Update, Write};
use recording::Recording;

/// What a cost counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostMetrics {
    /// Mean loss of an image, before the cost's coefficient.
    pub loss: f64,
    /// Fraction of images wrong, as the cost counts it; 0 where it counts none.
    pub error: f64,
    /// Fraction of images whose label is not among the five largest outputs; 0 where the cost does not count that.
    pub error_top5: f64,
    /// Images counted.
    pub images: f64,
    /// What the cost counts of its own, by name: a number for each of its outputs.
    pub counts: Vec<(&'static str, Vec<f64>)>,
}

/// How a step changes the parameters, beside what [`StepValues`] say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateRule {
    /// Multiplied by each parameter's own factor.
    pub weight_decay: f64,
    /// L1 decay, with the same factors.
    pub l1_decay: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
    /// The largest L2 norm of all gradients together; larger ones are scaled to it.
    pub clip_norm: Option<f64>,
    /// Updates done before, for the parameters' schedules.
    pub step: u64,
    /// Updates of the whole run.
    pub total_steps: u64,
}

/// A batch as the net is fed it.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchBytes<'a> {
    /// Pixels, as many as the net's batch.
    pub images: &'a [u8],
    /// One an image.
    pub places: &'a [Place],
    /// One an image.
    pub labels: &'a [i32],
    /// For a net whose labels are values: those of each image. Where there are none, a label is 1 for its class and 0 for the rest.
    pub values: &'a [f32],
}

/// A net, planned and allocated on a device.
pub struct Net {
    /// Its layers.
    pub graph: Graph,
    /// Its memory, and what it runs.
    pub plan: Plan,
    device: Box<dyn Device>,
    /// Labels that are values, as they are fed.
    values: Vec<u8>,
    /// The phase that ran last.
    phase: Phase,
    /// Of the training pass that sets the gradients, and of the one that adds to them.
    recordings: [Recording; 2],
}

/// Writes reals in the device's type.
fn write(device: &mut dyn Device, to: Tensor, values: &[f64]) -> device::Result<()> {
    match to.dtype {
        Dtype::F64 => device.write(to, bytemuck::cast_slice(values)),
        _ => {
            let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            device.write(to, bytemuck::cast_slice(&narrow))
        }
    }
}

impl Net {
    /// Plans the graph for the device and allocates it. `source` is the shape of the data's images; `mean`, a value for each
    /// channel or for each pixel and channel, is subtracted from them, and the rest multiplied by `scale`. Parameters are
    /// zeros until [`initialise`](Net::initialise) or [`write`](Net::write) sets them.
    ///
    /// # Errors
    /// The device has not the memory; it is handed back, to find out what it has the memory for.
    pub fn new(
        graph: Graph,
        mut device: Box<dyn Device>,
        purpose: Purpose,
        source: Shape,
        mean: &[f32],
        scale: f64,
    ) -> Result<Self, (device::Error, Box<dyn Device>)> {
        let mean_shape = if mean.len() == source.c { Shape::new(1, 1, 1, source.c) } else { Shape { n: 1, ..source } };
        let plan = Plan::new(&graph, device.as_ref(), purpose, source, mean_shape, scale);
        if let Err(error) = device.allocate(plan.bytes) {
            return Err((error, device));
        }
        let (phase, recordings) = (Phase::Test, Default::default());
        let mut net = Self { graph, plan, device, values: Vec::new(), phase, recordings };
        match net.write_constants(mean) {
            Ok(()) => Ok(net),
            Err(error) => Err((error, net.device)),
        }
    }

    /// Writes the mean and what layers have fixed.
    fn write_constants(&mut self, mean: &[f32]) -> device::Result<()> {
        let mean: Vec<f64> = mean.iter().map(|&m| f64::from(m)).collect();
        self.write(self.plan.kept.feed.mean, &mean)?;
        for i in 0..self.graph.parameters.len() {
            if let ParameterRole::Fixed(values) = &self.graph.parameters[i].spec.role {
                let values = values.clone();
                self.write(self.plan.kept.parameters[i], &values)?;
            }
        }
        Ok(())
    }

    /// Gives the device back.
    pub fn into_device(self) -> Box<dyn Device> {
        self.device
    }

    /// The device it runs on.
    pub fn device(&self) -> &dyn Device {
        self.device.as_ref()
    }

    /// The device it runs on.
    pub fn device_mut(&mut self) -> &mut dyn Device {
        self.device.as_mut()
    }

    /// Images of one batch.
    pub fn batch(&self) -> usize {
        self.graph.images.n
    }

    /// Draws the initial parameters, a function of the seed and of the files that the config names for them.
    ///
    /// # Errors
    /// A file that does not have a parameter's values, or the device.
    pub fn initialise(&mut self, seed: u64) -> Result<(), InitError> {
        let Self { graph, plan, device, .. } = self;
        for (i, (p, &to)) in graph.parameters.iter().zip(&plan.kept.parameters).enumerate() {
            if p.spec.is_saved() {
                init::in_pieces(p, i as u32, seed, |first, values| write(device.as_mut(), to.part(first, values.len()), values))?;
            }
        }
        Ok(())
    }

    /// Writes reals in the device's type.
    pub fn write(&mut self, to: Tensor, values: &[f64]) -> device::Result<()> {
        write(self.device.as_mut(), to, values)
    }

    /// Reads reals of the device's type.
    pub fn read(&mut self, from: Tensor) -> device::Result<Vec<f64>> {
        let mut wide = vec![0.0; from.shape.elements()];
        self.read_into(from, &mut wide)?;
        Ok(wide)
    }

    /// As [`read`](Net::read), into a slice.
    fn read_into(&mut self, from: Tensor, values: &mut [f64]) -> device::Result<()> {
        match from.dtype {
            Dtype::F64 => self.device.read(from, bytemuck::cast_slice_mut(values)),
            _ => {
                let mut narrow = vec![0f32; values.len()];
                self.device.read(from, bytemuck::cast_slice_mut(&mut narrow))?;
                values.iter_mut().zip(narrow).for_each(|(to, from)| *to = f64::from(from));
                Ok(())
            }
        }
    }

    /// Queues the copy of a batch to the device, beside what runs.
    pub fn feed(&mut self, batch: BatchBytes) -> device::Result<()> {
        let f = self.plan.kept.feed;
        let labels = match self.graph.labels {
            Labels::Classes(_) => bytemuck::cast_slice(batch.labels),
            Labels::Values(values) => {
                self.set_values(batch, values);
                &self.values
            }
        };
        self.device.feed(&[(f.images, batch.images), (f.places, bytemuck::cast_slice(batch.places)), (f.labels, labels)])
    }

    /// Makes the bytes of labels that are so many values an image.
    fn set_values(&mut self, batch: BatchBytes, values: usize) {
        let real = self.plan.kept.feed.labels.dtype;
        self.values.clear();
        let mut add = |value: f32| match real {
            Dtype::F64 => self.values.extend(f64::from(value).to_ne_bytes()),
            _ => self.values.extend(value.to_ne_bytes()),
        };
        if batch.values.is_empty() {
            let one = |label: i32| (0..values).map(move |i| if i as i64 == i64::from(label) { 1.0 } else { 0.0 });
            batch.labels.iter().copied().flat_map(one).for_each(&mut add);
        } else {
            batch.values.iter().copied().for_each(&mut add);
        }
    }

    /// Sets what changes from step to step.
    pub fn set_step(&mut self, values: StepValues) -> device::Result<()> {
        self.device.set_step(values)
    }

    /// The tensor of a layer's output after the pass that ran last, until another operation takes its place: by then the layers
    /// after it may have done so, but for the net's outputs. `None` where the layer has none, or it is never made, since an
    /// operation does that layer's work and the next one's at once.
    pub fn output(&self, node: usize) -> Option<Tensor> {
        self.plan.program(self.phase).outputs[node]
    }

    /// Queues loading the batch that was fed.
    pub fn load(&mut self) -> device::Result<()> {
        self.run_pass(self.phase, Pass::Load)
    }

    /// Queues loading the batch that was fed and the forward pass.
    pub fn forward(&mut self, phase: Phase) -> device::Result<()> {
        self.phase = phase;
        self.load()?;
        self.run_pass(phase, Pass::Forward)
    }

    fn run_pass(&mut self, phase: Phase, pass: Pass) -> device::Result<()> {
        let Self { plan, device, .. } = self;
        plan.program(phase).pass(pass).try_for_each(|(step, scratch)| device.run(&step.op, *scratch))
    }

    /// As [`forward`](Net::forward) of a test, telling `seen` of each layer that has an [`output`](Net::output) as it comes to be
    /// there: those after it may write over it.
    pub fn forward_watched(&mut self, seen: &mut dyn FnMut(&mut Self, usize) -> device::Result<()>) -> device::Result<()> {
        self.phase = Phase::Test;
        self.load()?;
        // The operations of a pass are in the order of the layers.
        let mut next = self.plan.test.pass(Pass::Load).count();
        for node in 0..self.graph.nodes.len() {
            while let Some((step, scratch)) = self.plan.test.steps.get(next).filter(|(step, _)| step.node == node) {
                self.device.run(&step.op, *scratch)?;
                next += 1;
            }
            if self.output(node).is_some() {
                seen(self, node)?;
            }
        }
        Ok(())
    }

    /// Queues what a step does with the batch that was fed: load it, forward, backward; `accumulate` says whether parameter
    /// gradients are set or added to. The same as [`forward`](Net::forward) and [`backward`](Net::backward), by a recording
    /// where the device makes one. Loading is not part of it, so that the next batch may be fed while it runs; neither is
    /// the update, whose rates and decays are parameters of its operations and may change from step to step.
    pub fn training_pass(&mut self, accumulate: Write) -> device::Result<()> {
        self.phase = Phase::Train;
        self.load()?;
        let Self { plan, device, recordings, .. } = self;
        recordings[usize::from(accumulate == Write::Add)].queue(device.as_mut(), |device| {
            plan.train.pass(Pass::Forward).try_for_each(|(step, scratch)| device.run(&step.op, *scratch))?;
            backward(plan, device, accumulate)
        })
    }

    /// Waits for everything queued.
    pub fn wait(&mut self) -> device::Result<()> {
        let mut label = [0; Dtype::F64.size()];
        let first = self.plan.kept.feed.labels.part(0, 1);
        self.device.read(first, &mut label[..first.bytes()])
    }

    /// Queues the backward pass; `accumulate` says whether parameter gradients are set or added to.
    pub fn backward(&mut self, accumulate: Write) -> device::Result<()> {
        backward(&self.plan, self.device.as_mut(), accumulate)
    }

    /// Queues the update of every parameter that learns.
    pub fn update(&mut self, rule: &UpdateRule) -> device::Result<()> {
        let Self { graph, plan, device, .. } = self;
        updates(graph, plan, rule, |_, op| device.run(&op, NO_SCRATCH))
    }

    /// Waits for the device and reads what each cost counted since [`clear_metrics`](Net::clear_metrics).
    pub fn metrics(&mut self) -> device::Result<Vec<(String, CostMetrics)>> {
        let sums = self.read(self.plan.kept.metrics)?;
        let mut left = sums.as_slice();
        let one = |i: usize| {
            let node = &self.graph.nodes[i];
            let (own, rest) = left.split_at(node.metrics());
            left = rest;
            (node.name.clone(), CostMetrics::of_sums(own, node.layer.counts().own))
        };
        Ok(self.graph.costs().map(one).collect())
    }

    /// Sets the metrics to 0.
    pub fn clear_metrics(&mut self) -> device::Result<()> {
        let metrics = self.plan.kept.metrics;
        if metrics.shape.elements() > 0 { self.device.run(&Fill { value: 0.0, x: metrics }.into(), NO_SCRATCH) } else { Ok(()) }
    }

    /// The sum of the costs' losses, each times its coefficient: what training minimises.
    pub fn total_loss(&self, metrics: &[(String, CostMetrics)]) -> f64 {
        self.graph
            .costs()
            .zip(metrics)
            .map(|(i, (_, m))| match self.graph.nodes[i].role() {
                Role::Cost { coefficient } => coefficient * m.loss,
                _ => 0.0,
            })
            .sum()
    }

    /// Mean |w| and mean |last update| of each parameter.
    pub fn parameter_means(&mut self) -> device::Result<Vec<(String, f64, f64)>> {
        let Self { plan, device, .. } = self;
        for (i, (&w, v)) in plan.kept.parameters.iter().zip(&plan.kept.momenta).enumerate() {
            for (j, x) in [Some(w), *v].into_iter().enumerate() {
                let mean = plan.kept.means.part(2 * i + j, 1);
                x.map_or(Ok(()), |x| device.run(&MeanAbs { x, mean }.into(), NO_SCRATCH))?;
            }
        }
        let means = self.read(self.plan.kept.means)?;
        let names = self.graph.parameters.iter().map(|p| p.name.clone());
        Ok(names.zip(means.chunks_exact(2)).map(|(name, m)| (name, m[0], m[1])).collect())
    }
}

/// What operations that want no scratch are given.
pub(crate) const NO_SCRATCH: Tensor = Tensor::new(Slot(0), Shape::new(1, 1, 1, 0), Dtype::U8);

/// Queues the backward pass of a training program.
fn backward(plan: &Plan, device: &mut dyn Device, accumulate: Write) -> device::Result<()> {
    let program = if accumulate == Write::Add { &plan.adds } else { &plan.train };
    program.pass(Pass::Backward).try_for_each(|(step, scratch)| device.run(&step.op, *scratch))
}

/// The parameters that training changes.
pub(crate) fn updated(graph: &Graph, plan: &Plan) -> impl Iterator<Item = usize> {
    let changes = |k: &usize| graph.nodes.iter().any(|n| n.learns && n.parameters.contains(k));
    (0..graph.parameters.len()).filter(|&k| plan.kept.momenta[k].is_some()).filter(changes)
}

/// Calls `run` with the operations of an update in their order, each with the parameter that it is for.
pub fn updates(
    graph: &Graph,
    plan: &Plan,
    rule: &UpdateRule,
    mut run: impl FnMut(usize, Op<Tensor>) -> device::Result<()>,
) -> device::Result<()> {
    let Kept { parameters, gradients, momenta, clip, .. } = &plan.kept;
    let each = || updated(graph, plan).filter_map(|k| Some((k, gradients[k]?, momenta[k]?)));
    if let Some(limit) = rule.clip_norm {
        for (i, (k, x, _)) in each().enumerate() {
            let into = if i == 0 { Write::Set } else { Write::Add };
            run(k, SumSquares { x, sum: Target { at: clip.sum, into } }.into())?;
        }
        run(0, ClipFactor { limit, sum: clip.sum, factor: clip.factor }.into())?;
    }
    for (k, g, v) in each() {
        let p = &graph.parameters[k];
        let update = Update {
            rate: p.rate.rate(rule.step, rule.total_steps),
            decay: rule.weight_decay * p.decay,
            l1_decay: rule.l1_decay * p.decay,
            momentum: p.momentum,
            nesterov: rule.nesterov,
        };
        let (w, factor) = (parameters[k], rule.clip_norm.map(|_| clip.factor));
        run(k, SgdUpdate { update, w, g, v, factor }.into())?;
        if let Some(limit) = p.max_norm {
            run(k, LimitNorms { limit, w }.into())?;
        }
    }
    Ok(())
}

impl CostMetrics {
    /// Means out of the four sums of a metrics tensor, and the counts behind them.
    fn of_sums(sums: &[f64], names: &[&'static str]) -> Self {
        use device::{METRIC_ERRORS, METRIC_ERRORS_TOP5, METRIC_IMAGES, METRIC_LOSS};
        let images = sums[METRIC_IMAGES];
        let mean = |i: usize| sums[i] / images.max(1.0);
        let each = (sums.len() - METRICS) / names.len().max(1);
        let counts = names.iter().zip(sums[METRICS..].chunks(each.max(1))).map(|(&name, c)| (name, c.to_vec())).collect();
        Self { loss: mean(METRIC_LOSS), error: mean(METRIC_ERRORS), error_top5: mean(METRIC_ERRORS_TOP5), images, counts }
    }
}
