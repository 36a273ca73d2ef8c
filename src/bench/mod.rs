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

/// Times `work`, ended by a wait for the device, `repeats` times after two that do not count; milliseconds.
fn time(net: &mut Net, repeats: usize, mut work: impl FnMut(&mut Net) -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(repeats);
    for i in 0..repeats + 2 {
        let start = Instant::now();
        work(net)?;
        net.wait()?;
        if i >= 2 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(median(times))
}

/// Times a net that has a batch in its feed. Its parameters change.
///
/// # Errors
/// The device fails.
pub fn run(net: &mut Net, repeats: usize, mut progress: impl FnMut(usize, usize)) -> Result<NetTime> {
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
    let step_ms = time(net, repeats, step)?;
    progress(1, all);
    let forward_ms = time(net, repeats, |net| net.forward(Phase::Test))?;
    progress(2, all);
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
            let ms = time(net, repeats, |net| net.forward_layer(i, Phase::Train))?;
            layers.push(LayerTime { name: name.clone(), pass: "forward", ms, gflops: rate(operations, ms) });
        }
        if learns {
            let ms = time(net, repeats, |net| net.backward_layer(i, Into::Set))?;
            layers.push(LayerTime { name, pass: "backward", ms, gflops: rate(operations * products as u64, ms) });
        }
        progress(4 + 2 * i, all);
    }
    let update = time(net, repeats, |net| net.update(&RULE))?;
    layers.push(LayerTime { name: "all".into(), pass: "update", ms: update, gflops: 0.0 });
    Ok(NetTime {
        device: net.device().name(),
        batch,
        step_ms,
        forward_ms,
        images_per_second: batch as f64 / step_ms * 1e3,
        peak_bytes: net.device().allocated(),
        layers,
    })
}
