//! Timing nets and single layers: the training step, the forward pass, and every pass of every layer, beside the least time
//! that this device could take for it.
//!
//! The whole step is timed as training runs it. A layer's passes are timed each by itself, on what a step left in memory, so
//! their sum differs from the step's time by what passes do to each other through caches, and by what lies between them: that
//! is the row `rest`. Passes that overwrite what they read have it restored before each measurement, untimed.

mod baseline;
mod clocks;
mod loader;
mod passes;
mod peak;
mod single;
mod suite;
mod timing;

pub use baseline::{Change, Comparison, compare};
pub use clocks::Clocks;
pub use loader::{LoaderTime, time_loader};
pub use peak::Peaks;
pub use suite::{Case, Subject, Suite, case, suite, suites};
pub use timing::{Effort, Times};

use crate::config::{ConfigError, NetSpec};
use crate::device::{Device, Result, Shape, StepValues, Tensor};
use crate::layer::Phase;
use crate::net::{Graph, NO_SCRATCH, Net, UpdateRule};
use crate::op::{Pass, Write};
use passes::LayerPass;
use serde::{Deserialize, Serialize};
use single::Single;
use timing::Task;

/// The update that is timed.
const RULE: UpdateRule =
    UpdateRule { weight_decay: 0.0005, l1_decay: 0.0, nesterov: false, clip_norm: None, step: 0, total_steps: 1 };
/// Bytes of a tensor that is read to the host to be restored, at most; a larger one is not called often enough to be spoiled.
const MAX_RESTORED: usize = 64 << 20;
/// Calls in a row of a pass that spoils what it reads, at most.
const SPOILING_CALLS: usize = 8;

/// One pass of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassTime {
    /// The layer; `all` for what is none's.
    pub name: String,
    /// `forward`, `image gradient`, `weight gradient`, `gradients` (both, where one operation makes them), `update`; of `all`,
    /// `load` (the batch, normalised) and `rest` (what is left of the step).
    pub pass: String,
    /// Milliseconds.
    #[serde(flatten)]
    pub times: Times,
    /// 10⁹ floating-point operations a second, a multiply-add counted as two; 0 where the pass has none.
    pub gflops: f64,
    /// Floating-point operations.
    pub operations: u64,
    /// Bytes that the pass cannot do without reading or writing.
    pub bytes: u64,
    /// The least milliseconds by the measured peaks; 0 where those were not measured.
    pub floor_ms: f64,
    /// What makes the floor: `compute` or `memory`; empty where there is none.
    pub bound: String,
    /// The floor as a part of the time.
    pub share_of_peak: f64,
}

/// The times of a net, or of a layer by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetTime {
    /// The net, or the single layer.
    pub name: String,
    /// The device.
    pub device: String,
    /// Images a step.
    pub batch: usize,
    /// Parameters that can be learned.
    pub parameters: usize,
    /// Median milliseconds of a training step: forward, backward, update.
    pub step_ms: f64,
    /// The least, and the distance between the quartiles as a part of the median.
    pub step_min_ms: f64,
    /// The distance between the quartiles as a part of the median.
    pub step_spread: f64,
    /// Median milliseconds of a forward pass in testing.
    pub forward_ms: f64,
    /// The distance between its quartiles as a part of the median.
    pub forward_spread: f64,
    /// Images a second in training.
    pub images_per_second: f64,
    /// 10⁹ floating-point operations a second of the whole step; 0 where the layers were not timed.
    pub gflops: f64,
    /// The sum of all passes' floors.
    pub floor_ms: f64,
    /// That sum as a part of the step's time.
    pub share_of_peak: f64,
    /// Bytes of the allocation.
    pub peak_bytes: usize,
    /// The device's peaks, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peaks: Option<Peaks>,
    /// The device's clocks as the layers had been timed, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Clocks>,
    /// Each layer's passes.
    pub layers: Vec<PassTime>,
}

/// What all times of a run of `bench` share.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// How long things are timed.
    pub effort: Effort,
    /// The device's peaks, where they were measured.
    pub peaks: Option<Peaks>,
    /// The number of the GPU that it runs on, for its clocks.
    pub gpu: Option<usize>,
}

/// Rows that are being collected.
struct Rows<'a> {
    conditions: &'a Conditions,
    rows: Vec<PassTime>,
}

impl Rows<'_> {
    fn push(&mut self, name: &str, pass: &str, times: Times, operations: u64, bytes: u64) {
        let (floor_ms, compute) = self.conditions.peaks.map_or((0.0, false), |p| p.floor_ms(operations, bytes));
        self.rows.push(PassTime {
            name: name.into(),
            pass: pass.into(),
            gflops: if operations == 0 { 0.0 } else { operations as f64 / times.ms / 1e6 },
            operations,
            bytes,
            floor_ms,
            bound: if floor_ms == 0.0 { "" } else { ["memory", "compute"][usize::from(compute)] }.into(),
            share_of_peak: if floor_ms == 0.0 { 0.0 } else { floor_ms / times.ms },
            times,
        });
    }

    /// The report: what is left of the step as a row, and sums.
    fn finish(mut self, head: Head, step: Times, forward: Times) -> NetTime {
        let sum = |of: fn(&PassTime) -> f64, rows: &[PassTime]| rows.iter().map(of).sum::<f64>();
        if !self.rows.is_empty() {
            let rest = step.ms - sum(|r| r.times.ms, &self.rows);
            self.push("all", "rest", Times { ms: rest, min_ms: rest, spread: 0.0 }, 0, 0);
        }
        let floor_ms = sum(|r| r.floor_ms, &self.rows);
        let operations = sum(|r| r.operations as f64, &self.rows);
        NetTime {
            name: head.name,
            device: head.device,
            batch: head.batch,
            parameters: head.parameters,
            step_ms: step.ms,
            step_min_ms: step.min_ms,
            step_spread: step.spread,
            forward_ms: forward.ms,
            forward_spread: forward.spread,
            images_per_second: head.batch as f64 / step.ms * 1e3,
            gflops: operations / step.ms / 1e6,
            floor_ms,
            share_of_peak: floor_ms / step.ms,
            peak_bytes: head.peak_bytes,
            peaks: self.conditions.peaks,
            clocks: Clocks::read(self.conditions.gpu),
            layers: self.rows,
        }
    }
}

/// What a report says beside times.
struct Head {
    name: String,
    device: String,
    batch: usize,
    parameters: usize,
    peak_bytes: usize,
}

fn step_values(batch: usize) -> StepValues {
    StepValues {
        seed: 1,
        step: 0,
        first_image: 0,
        images: batch as u32,
        gradient_scale: 1.0 / batch as f64,
        learning_rate: 1e-6,
        momentum: 0.9,
    }
}

/// Times a pass on a context, whose device `device` is.
fn time_pass<C>(
    context: &mut C,
    pass: &LayerPass,
    effort: Effort,
    wait: &dyn Fn(&mut C) -> Result<()>,
    device: fn(&mut C) -> &mut dyn Device,
) -> Result<Times> {
    let mut work = |context: &mut C| pass.steps.iter().try_for_each(|(step, scratch)| device(context).run(&step.op, *scratch));
    let calls = if pass.spoils.is_some() { SPOILING_CALLS } else { usize::MAX };
    let Some(spoiled) = pass.spoils.filter(|t| t.bytes() <= MAX_RESTORED) else {
        let calls = if pass.spoils.is_some() { 1 } else { calls };
        return Task { work: &mut work, wait, restore: None, calls }.time(context, effort);
    };
    let mut saved = vec![0; spoiled.bytes()];
    device(context).read(spoiled, &mut saved)?;
    let restore = |context: &mut C| device(context).write(spoiled, &saved);
    Task { work: &mut work, wait, restore: Some(&restore), calls }.time(context, effort)
}

/// Times a net that has a batch in its feed. Its parameters change. `progress` is told what is done of how much.
///
/// # Errors
/// The device fails.
pub fn time_net(net: &mut Net, conditions: &Conditions, mut progress: impl FnMut(usize, usize)) -> Result<NetTime> {
    let (batch, effort) = (net.batch(), conditions.effort);
    let nodes = net.graph.nodes.len();
    let all = 3 + if effort.step_only { 0 } else { nodes };
    net.set_step(step_values(batch))?;
    let mut step = |net: &mut Net| {
        net.training_pass(Write::Set)?;
        net.update(&RULE)
    };
    let wait = |net: &mut Net| net.wait();
    let whole = |work: &mut dyn FnMut(&mut Net) -> Result<()>, net: &mut Net, calls: usize| {
        Task { work, wait: &wait, restore: None, calls }.time(net, effort)
    };
    let step_times = whole(&mut step, net, 1)?;
    progress(1, all);
    let forward_times = whole(&mut |net| net.forward(Phase::Test), net, 1)?;
    progress(2, all);
    let mut rows = Rows { conditions, rows: Vec::new() };
    if !effort.step_only {
        step(net)?;
        let load = whole(&mut |net| net.load(), net, usize::MAX)?;
        let bytes = net.plan.train.pass(Pass::Load).map(|(step, _)| step.op.bytes()).sum();
        rows.push("all", "load", load, 0, bytes);
        for i in 0..nodes {
            time_node(net, i, &mut rows, &wait)?;
            progress(3 + i, all);
        }
    }
    let head = Head {
        name: net.graph.name.clone(),
        device: net.device().name(),
        batch,
        parameters: net.graph.parameter_count(),
        peak_bytes: net.device().allocated(),
    };
    Ok(rows.finish(head, step_times, forward_times))
}

/// Times one layer's passes, and the update of the parameters that it is the first to have.
fn time_node(net: &mut Net, i: usize, rows: &mut Rows, wait: &dyn Fn(&mut Net) -> Result<()>) -> Result<()> {
    let effort = rows.conditions.effort;
    let gradients: Vec<Tensor> = net.plan.kept.gradients.iter().flatten().copied().collect();
    let is_gradient = |t: &Tensor| gradients.iter().any(|g| g.slot == t.slot);
    let name = net.graph.nodes[i].name.clone();
    for pass in passes::of_layer(&net.plan.train, &[i], &is_gradient) {
        let times = time_pass(net, &pass, effort, wait, |net| net.device_mut())?;
        rows.push(&name, pass.name, times, pass.operations, pass.bytes);
    }
    let first = |k: &usize| !net.graph.nodes[..i].iter().any(|n| n.parameters.contains(k));
    let own: Vec<usize> = net.graph.nodes[i].parameters.iter().copied().filter(first).collect();
    let mut updates = Vec::new();
    crate::net::updates(&net.graph, &net.plan, &RULE, |k, op| {
        if own.contains(&k) {
            updates.push(op);
        }
        Ok(())
    })?;
    if updates.is_empty() {
        return Ok(());
    }
    let bytes = updates.iter().map(|op| op.bytes()).sum();
    let mut work = |net: &mut Net| updates.iter().try_for_each(|op| net.device_mut().run(op, NO_SCRATCH));
    let times = Task { work: &mut work, wait, restore: None, calls: usize::MAX }.time(net, effort)?;
    rows.push(&name, "update", times, 0, bytes);
    Ok(())
}

/// Times the one layer of a config by itself, for a batch of random images.
///
/// # Errors
/// The layer does not fit the images, or the device fails.
pub fn time_single(
    spec: &NetSpec,
    images: Shape,
    device: Box<dyn Device>,
    conditions: &Conditions,
) -> Result<Result<NetTime, ConfigError>> {
    let graph = match Graph::new(spec, images, 1) {
        Ok(graph) => graph,
        Err(misfit) => return Ok(Err(misfit)),
    };
    let (effort, name) = (conditions.effort, &graph.nodes[0].name);
    let mut s = Single::new(&graph, device)?;
    let wait = |s: &mut Single| s.wait();
    let whole = |work: &mut dyn FnMut(&mut Single) -> Result<()>, s: &mut Single| {
        Task { work, wait: &wait, restore: None, calls: usize::MAX }.time(s, effort)
    };
    let step = whole(&mut Single::step, &mut s)?;
    let forward = whole(&mut Single::forward, &mut s)?;
    let mut rows = Rows { conditions, rows: Vec::new() };
    if !effort.step_only {
        for pass in passes::of_layer(&s.alone.train, &[0, 1], &|t| s.is_gradient(t)) {
            let times = time_pass(&mut s, &pass, effort, &wait, |s| s.device.as_mut())?;
            rows.push(name, pass.name, times, pass.operations, pass.bytes);
        }
        if s.update_bytes() > 0 {
            let times = whole(&mut Single::update, &mut s)?;
            rows.push(name, "update", times, 0, s.update_bytes());
        }
    }
    let head = Head {
        name: name.clone(),
        device: s.device.name(),
        batch: s.batch,
        parameters: s.parameter_count(),
        peak_bytes: s.device.allocated(),
    };
    Ok(Ok(rows.finish(head, step, forward)))
}
