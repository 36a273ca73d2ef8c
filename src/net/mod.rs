//! A net on a device: the graph of its layers, the plan of its memory, and the walk forward and backward.

mod fold;
mod graph;
mod init;
mod plan;
mod recording;

pub use graph::{Graph, Input, Labels, Node, Parameter};
pub use init::{InitError, values as initial_values};
pub use plan::{Clip, Feed, Plan, Purpose};

use crate::device::{self, Device, Dtype, ImageGeometry, Into, METRICS, Place, Shape, StepValues, Tensor, Update};
use crate::layer::{Io, ParameterRole, Pass, Phase, Role, Tensors};
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
    /// Its memory.
    pub plan: Plan,
    device: Box<dyn Device>,
    load: ImageGeometry,
    scale: f64,
    /// Labels that are values, as they are fed.
    values: Vec<u8>,
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
        let plan = Plan::new(&graph, device.as_ref(), purpose, source, mean_shape);
        if let Err(error) = device.allocate(plan.bytes) {
            return Err((error, device));
        }
        let x = graph.images;
        let [n, h, w, c, p, q] = [x.n, source.h, source.w, source.c, x.h, x.w].map(|v| v as i32);
        let (load, recordings) = (ImageGeometry { n, h, w, c, p, q }, Default::default());
        let mut net = Self { graph, plan, device, load, scale, values: Vec::new(), recordings };
        match net.write_constants(mean) {
            Ok(()) => Ok(net),
            Err(error) => Err((error, net.device)),
        }
    }

    /// Writes the mean and what layers have fixed.
    fn write_constants(&mut self, mean: &[f32]) -> device::Result<()> {
        let mean: Vec<f64> = mean.iter().map(|&m| f64::from(m)).collect();
        self.write(self.plan.feed.mean, &mean)?;
        for i in 0..self.graph.parameters.len() {
            if let ParameterRole::Fixed(values) = &self.graph.parameters[i].spec.role {
                let values = values.clone();
                self.write(self.plan.parameters[i], &values)?;
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
        for (i, (p, &to)) in graph.parameters.iter().zip(&plan.parameters).enumerate() {
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
        let f = self.plan.feed;
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
        let real = self.plan.feed.labels.dtype;
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

    /// Queues loading the batch that was fed.
    pub fn load(&mut self) -> device::Result<()> {
        let Self { plan, device, load, scale, .. } = self;
        device.load_images(load, plan.feed.images, plan.feed.places, plan.feed.mean, *scale, plan.images)?;
        device.load_labels(plan.feed.labels, plan.labels)
    }

    /// Queues loading the batch that was fed and the forward pass.
    pub fn forward(&mut self, phase: Phase) -> device::Result<()> {
        self.load()?;
        forward(&self.graph, &self.plan, self.device.as_mut(), phase)
    }

    /// As [`forward`](Net::forward) of a test, telling `seen` of each layer as its output comes to be there: those behind it
    /// may write over it.
    pub fn forward_watched(&mut self, seen: &mut dyn FnMut(&mut Self, usize) -> device::Result<()>) -> device::Result<()> {
        self.load()?;
        for i in 0..self.graph.nodes.len() {
            if !self.graph.nodes[i].fused {
                self.forward_layer(i, Phase::Test)?;
                seen(self, i)?;
            }
        }
        Ok(())
    }

    /// Queues what a step does with the batch that was fed: load it, forward, backward; `accumulate` says whether parameter
    /// gradients are set or added to. The same as [`forward`](Net::forward) and [`backward`](Net::backward), by a recording
    /// where the device makes one. Loading is not part of it, so that the next batch may be fed while it runs; neither is
    /// the update, whose rates and decays are arguments of its calls and may change from step to step.
    pub fn training_pass(&mut self, accumulate: Into) -> device::Result<()> {
        self.load()?;
        let Self { graph, plan, device, recordings, .. } = self;
        recordings[usize::from(accumulate == Into::Add)].queue(device.as_mut(), |device| {
            forward(graph, plan, device, Phase::Train)?;
            backward(graph, plan, device, accumulate)
        })
    }

    /// Queues one layer's forward pass.
    pub fn forward_layer(&mut self, i: usize, phase: Phase) -> device::Result<()> {
        forward_layer(&self.graph, &self.plan, self.device.as_mut(), i, phase)
    }

    /// Queues one layer's pass of training with tensors other than the plan's: those of a pass that makes some of the
    /// gradients alone.
    pub fn layer_with(&mut self, i: usize, pass: Pass, tensors: &Tensors) -> device::Result<()> {
        let io = Io { tensors, phase: Phase::Train, accumulate: Into::Set, layer: i as u32 };
        let layer = &self.graph.nodes[i].layer;
        match pass {
            Pass::Forward => layer.forward(self.device.as_mut(), &io),
            Pass::Backward => layer.backward(self.device.as_mut(), &io),
        }
    }

    /// Waits for everything queued.
    pub fn wait(&mut self) -> device::Result<()> {
        let mut label = [0; Dtype::F64.size()];
        let first = self.plan.labels.part(0, 1);
        self.device.read(first, &mut label[..first.bytes()])
    }

    /// Queues the backward pass; `accumulate` says whether parameter gradients are set or added to.
    pub fn backward(&mut self, accumulate: Into) -> device::Result<()> {
        backward(&self.graph, &self.plan, self.device.as_mut(), accumulate)
    }

    /// Queues the update of every parameter that learns.
    pub fn update(&mut self, rule: &UpdateRule) -> device::Result<()> {
        let count = self.graph.parameters.len();
        let factor = match rule.clip_norm {
            Some(limit) => {
                let mut into = Into::Set;
                for k in 0..count {
                    let Some(gradient) = self.plan.gradients[k].filter(|_| self.is_updated(k)) else { continue };
                    self.device.sum_squares(gradient, self.plan.clip.sum, into)?;
                    into = Into::Add;
                }
                self.device.clip_factor(limit, self.plan.clip.sum, self.plan.clip.factor)?;
                Some(self.plan.clip.factor)
            }
            None => None,
        };
        for k in 0..count {
            if self.is_updated(k) {
                self.update_parameter(k, rule, factor)?;
            }
        }
        Ok(())
    }

    /// Whether training changes a parameter.
    pub fn is_updated(&self, k: usize) -> bool {
        self.plan.momenta[k].is_some() && self.graph.nodes.iter().any(|n| n.learns && n.parameters.contains(&k))
    }

    /// Queues the update of one parameter that learns, its gradient multiplied by what is in `factor`.
    pub fn update_parameter(&mut self, k: usize, rule: &UpdateRule, factor: Option<Tensor>) -> device::Result<()> {
        let Self { graph, plan, device, .. } = self;
        let Some((gradient, momentum)) = plan.gradients[k].zip(plan.momenta[k]) else { return Ok(()) };
        let p = &graph.parameters[k];
        let update = Update {
            rate: p.rate.rate(rule.step, rule.total_steps),
            decay: rule.weight_decay * p.decay,
            l1_decay: rule.l1_decay * p.decay,
            momentum: p.momentum,
            nesterov: rule.nesterov,
        };
        device.sgd_update(&update, plan.parameters[k], gradient, momentum, factor)?;
        match p.max_norm {
            Some(limit) => device.limit_norms(limit, plan.parameters[k]),
            None => Ok(()),
        }
    }

    /// Waits for the device and reads what each cost counted since [`clear_metrics`](Net::clear_metrics).
    pub fn metrics(&mut self) -> device::Result<Vec<(String, CostMetrics)>> {
        let sums = self.read(self.plan.metrics)?;
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
        let metrics = self.plan.metrics;
        if metrics.shape.elements() > 0 { self.device.fill(metrics, 0.0) } else { Ok(()) }
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
        let Self { graph, plan, device, .. } = self;
        for i in 0..graph.parameters.len() {
            device.mean_abs(plan.parameters[i], plan.means.part(2 * i, 1), plan.means_scratch)?;
            if let Some(momentum) = plan.momenta[i] {
                device.mean_abs(momentum, plan.means.part(2 * i + 1, 1), plan.means_scratch)?;
            }
        }
        let means = self.read(self.plan.means)?;
        let names = self.graph.parameters.iter().map(|p| p.name.clone());
        Ok(names.zip(means.chunks_exact(2)).map(|(name, m)| (name, m[0], m[1])).collect())
    }
}

fn forward_layer(graph: &Graph, plan: &Plan, device: &mut dyn Device, i: usize, phase: Phase) -> device::Result<()> {
    let io = Io { tensors: &plan.nodes[i], phase, accumulate: Into::Set, layer: i as u32 };
    graph.nodes[i].layer.forward(device, &io)
}

fn backward_layer(graph: &Graph, plan: &Plan, device: &mut dyn Device, i: usize, accumulate: Into) -> device::Result<()> {
    let io = Io { tensors: &plan.nodes[i], phase: Phase::Train, accumulate, layer: i as u32 };
    graph.nodes[i].layer.backward(device, &io)
}

/// The layers' forward passes, in their order.
fn forward(graph: &Graph, plan: &Plan, device: &mut dyn Device, phase: Phase) -> device::Result<()> {
    let runs = |node: &Node| !node.fused && (phase == Phase::Test || node.trains);
    let mut layers = (0..graph.nodes.len()).filter(|&i| runs(&graph.nodes[i]));
    layers.try_for_each(|i| forward_layer(graph, plan, device, i, phase))
}

/// The layers' backward passes, from the last to the first.
fn backward(graph: &Graph, plan: &Plan, device: &mut dyn Device, accumulate: Into) -> device::Result<()> {
    let mut layers = (0..graph.nodes.len()).rev().filter(|&i| graph.nodes[i].learns);
    layers.try_for_each(|i| backward_layer(graph, plan, device, i, accumulate))
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
