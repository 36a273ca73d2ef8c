//! Timing a net: its training step, its forward pass, and each layer's passes, as medians over repeats.

use crate::device::{Into, Result, StepValues};
use crate::layer::Phase;
use crate::net::{Net, UpdateRule};
use serde::Serialize;
use std::time::Instant;

/// The update that is timed.
const RULE: UpdateRule =
    UpdateRule { weight_decay: 0.0005, l1_decay: 0.0, nesterov: false, clip_norm: None, step: 0, total_steps: 1 };

/// One layer's pass.
#[derive(Clone, Debug, Serialize)]
pub struct LayerTime {
    /// The layer.
    pub name: String,
    /// `forward`, `backward`.
    pub pass: &'static str,
    /// Median milliseconds.
    pub ms: f64,
    /// 10⁹ floating-point operations a second, a multiply-add counted as two; 0 where the layer has none.
    pub gflops: f64,
}

/// A net's times.
#[derive(Clone, Debug, Serialize)]
pub struct NetTime {
    /// The device.
    pub device: String,
    /// Images a step.
    pub batch: usize,
    /// Parameters that can be learned.
    pub parameters: usize,
    /// Median milliseconds of a training step: forward, backward, update.
    pub step_ms: f64,
    /// Median milliseconds of a forward pass in testing.
    pub forward_ms: f64,
    /// Images a second in training.
    pub images_per_second: f64,
    /// Bytes of the net's allocation.
    pub peak_bytes: usize,
    /// Each layer's passes.
    pub layers: Vec<LayerTime>,
}

/// The middle one, of any number but 0.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// How long things are timed.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Measurements of each thing, at least.
    pub repeats: usize,
    /// Seconds of measurements of each thing, at least.
    pub seconds: f64,
    /// The step and the forward pass alone are timed, not the layers.
    pub step_only: bool,
}

/// Measurements of one thing, at most.
const MOST: usize = 100_000;

/// Times `work`, ended by a wait for the device, after two that do not count; milliseconds.
fn time(net: &mut Net, effort: Effort, mut work: impl FnMut(&mut Net) -> Result<()>) -> Result<f64> {
    let (mut times, mut sum) = (Vec::new(), 0.0);
    for i in 0.. {
        let start = Instant::now();
        work(net)?;
        net.wait()?;
        if i >= 2 {
            let ms = start.elapsed().as_secs_f64() * 1e3;
            sum += ms;
            times.push(ms);
        }
        if times.len() >= MOST || times.len() >= effort.repeats.max(1) && sum >= effort.seconds * 1e3 {
            break;
        }
    }
    Ok(median(times))
}

/// Times a net that has a batch in its feed. Its parameters change.
///
/// # Errors
/// The device fails.
pub fn run(net: &mut Net, effort: Effort, mut progress: impl FnMut(usize, usize)) -> Result<NetTime> {
    let batch = net.batch();
    net.set_step(StepValues {
        seed: 1,
        step: 0,
        first_image: 0,
        images: batch as u32,
        gradient_scale: 1.0 / batch as f64,
        learning_rate: 1e-6,
        momentum: 0.9,
    })?;
    let step = |net: &mut Net| {
        net.training_pass(Into::Set)?;
        net.update(&RULE)
    };
    let all = 2 + 2 * net.graph.nodes.len();
    let step_ms = time(net, effort, step)?;
    progress(1, all);
    let forward_ms = time(net, effort, |net| net.forward(Phase::Test))?;
    progress(2, all);
    let layers = if effort.step_only { Vec::new() } else { time_layers(net, effort, step, &mut progress)? };
    Ok(NetTime {
        device: net.device().name(),
        batch,
        parameters: net.graph.parameter_count(),
        step_ms,
        forward_ms,
        images_per_second: batch as f64 / step_ms * 1e3,
        peak_bytes: net.device().allocated(),
        layers,
    })
}

/// Each layer's passes, and the update.
fn time_layers(
    net: &mut Net,
    effort: Effort,
    mut step: impl FnMut(&mut Net) -> Result<()>,
    progress: &mut impl FnMut(usize, usize),
) -> Result<Vec<LayerTime>> {
    let batch = net.batch();
    let all = 2 + 2 * net.graph.nodes.len();
    // The layers are timed on what a whole step left in memory.
    step(net)?;
    let mut layers = Vec::new();
    for i in 0..net.graph.nodes.len() {
        let node = &net.graph.nodes[i];
        let (name, operations, learns, fused) =
            (node.name.clone(), 2 * node.layer.multiply_adds() * batch as u64, node.learns, node.fused);
        // Backward of a layer with parameters is two products, or one where its input needs no gradient.
        let products = net.plan.nodes[i].input_gradients.iter().flatten().count() + usize::from(!node.parameters.is_empty());
        let rate = |operations: u64, ms: f64| operations as f64 / ms / 1e6;
        if !fused {
            let ms = time(net, effort, |net| net.forward_layer(i, Phase::Train))?;
            layers.push(LayerTime { name: name.clone(), pass: "forward", ms, gflops: rate(operations, ms) });
        }
        if learns {
            let ms = time(net, effort, |net| net.backward_layer(i, Into::Set))?;
            layers.push(LayerTime { name, pass: "backward", ms, gflops: rate(operations * products as u64, ms) });
        }
        progress(4 + 2 * i, all);
    }
    let update = time(net, effort, |net| net.update(&RULE))?;
    layers.push(LayerTime { name: "all".into(), pass: "update", ms: update, gflops: 0.0 });
    Ok(layers)
}
