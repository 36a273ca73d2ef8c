//! Layer-wise pretraining: each layer of `[pretrain]` in turn is trained as an autoencoder of its input, with what it learned
//! before in the layers below, and what comes out is where the whole net starts from (Hinton and Salakhutdinov 2006, Bengio et
//! al. 2007; with noise, Vincent et al. 2010).
//!
//! Nothing is saved until all of it is done: an interrupted pretraining begins anew, with the same bits.

use super::trainer::open_data;
use super::{Error, Result, Setup, Trainer};
use crate::device::Device;
use crate::net::Net;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Learned parameters by name.
pub type Learned = BTreeMap<String, Vec<f64>>;

/// Where pretraining stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The layer that is trained.
    pub layer: &'a str,
    /// Steps done and in all.
    pub steps: (u64, u64),
    /// The mean of ½·Σ(input − reconstruction)² of an image since the last look, where it was read.
    pub loss: Option<f64>,
}

/// Trains the layers that `[pretrain]` names on a device, and gives it back. `None` where `stop` was set meanwhile.
///
/// # Errors
/// A layer that cannot be pretrained, the data, the device, or a loss that is no longer finite.
pub fn run(
    setup: &Setup,
    mut device: Box<dyn Device>,
    stop: &AtomicBool,
    report: &mut dyn FnMut(Progress),
) -> Result<Option<(Box<dyn Device>, Learned)>> {
    let mut learned = Learned::new();
    let Some(pretrain) = &setup.spec.pretrain else { return Ok(Some((device, learned))) };
    for layer in &pretrain.layers {
        let mut trainer = Trainer::new(stage(setup, layer)?, device)?;
        load(trainer.net(), &learned)?;
        let (total, every) = (trainer.total_steps(), pretrain.log_every);
        for step in 1..=total {
            trainer.one_step()?;
            let look = step.is_multiple_of(every) || step == total;
            let loss = if look { Some(loss(&mut trainer, step)?) } else { None };
            report(Progress { layer, steps: (step, total), loss });
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        let net = trainer.net();
        for i in 0..net.graph.parameters.len() {
            let name = net.graph.parameters[i].name.clone();
            if name.strip_prefix(layer.as_str()).is_some_and(|rest| rest == ".weights" || rest == ".bias") {
                let values = net.read(net.plan.kept.parameters[i])?;
                learned.insert(name, values);
            }
        }
        device = trainer.into_device();
    }
    Ok(Some((device, learned)))
}

/// What trains one layer.
fn stage(setup: &Setup, layer: &str) -> Result<Setup> {
    let pretrain = setup.spec.pretrain.clone().unwrap_or_default();
    let graph = setup.graph(1)?;
    let node = graph.nodes.iter().find(|n| n.name == layer);
    let input = node.and_then(|n| n.inputs.first()).map_or(graph.images, |&i| graph.shape(i));
    let output = node.map_or(graph.images, |n| n.layer.output());
    let spec = setup.spec.pretraining(&pretrain, layer, input, output)?;
    let data = open_data(&spec)?;
    Ok(Setup { spec, data, normalisation: setup.normalisation.clone() })
}

/// The mean reconstruction loss since the last look.
fn loss(trainer: &mut Trainer, step: u64) -> Result<f64> {
    let rate = trainer.setup().spec.train.learning_rate.rate(step - 1, trainer.total_steps());
    let net = trainer.net();
    let metrics = net.metrics()?;
    net.clear_metrics()?;
    let loss = metrics.iter().find(|(name, _)| name == "reconstruction").map_or(f64::NAN, |(_, m)| 0.5 * m.loss);
    if loss.is_finite() {
        return Ok(loss);
    }
    Err(Error::Diverged { step, what: "the reconstruction's loss in pretraining".into(), learning_rate: rate })
}

/// Writes learned parameters into a net that has parameters of these names.
///
/// # Errors
/// The device fails.
pub fn load(net: &mut Net, learned: &Learned) -> Result<()> {
    for i in 0..net.graph.parameters.len() {
        if let Some(values) = learned.get(&net.graph.parameters[i].name) {
            net.write(net.plan.kept.parameters[i], values)?;
        }
    }
    Ok(())
}
