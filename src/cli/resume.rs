//! `convnet resume`.

use super::config::load_run;
use super::train::{go, stop_on_signals};
use super::{DeviceArguments, Result};
use crate::config::{NetSpec, TrainSpec};
use crate::train::{Error, Run, Setup, Trainer, checkpoint, normalisation_of};
use clap::Args;
use std::path::{Path, PathBuf};

/// The arguments of `resume`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// Change a learning setting from here on: --set train.epochs=20
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(a: Arguments) -> Result {
    let config = Run::config(&a.run)?;
    let spec = load_run(&config, &a.sets)?;
    check_fixed(&config, &spec, &a.sets)?;
    let stop = stop_on_signals()?;
    let mut run = Run::open(&a.run)?;
    let mut warnings = Vec::new();
    let found = checkpoint::newest(&run.checkpoints(), true, |w| warnings.push(w));
    warnings.iter().for_each(|w| warn(&run, w));
    let found = found?;
    let text = spec.to_toml();
    let path = run.checkpoints().join(format!("step-{}", found.state.step));
    let setup = Setup::with_normalisation(spec, |_| normalisation_of(&found, &path))?;
    let device = a.device.open(setup.spec.train.precision)?;
    let trainer = Trainer::resume(setup, device, &found, &path)?;
    if !a.sets.is_empty() {
        run.set_config(&text)?;
    }
    let mut lost = None;
    run.rewind(found.state.metrics_bytes, |w| lost = Some(w))?;
    lost.iter().for_each(|w| warn(&run, w));
    let (done, total) = (trainer.steps_done(), trainer.total_steps());
    eprintln!("resuming {} at step {done} of {total}", a.run.display());
    if done >= total {
        eprintln!("nothing is left to do; --set train.epochs=N goes on for longer");
    }
    go(trainer, run, &stop)
}

fn warn(run: &Run, text: &str) {
    eprintln!("warning: {text}");
    run.log(&format!("warning: {text}"));
}

/// A run may change how it learns, not what: neither its net nor its data, its batch or its seed; who reads the data may change.
/// The error names the first argument that would.
fn check_fixed(config: &Path, new: &NetSpec, sets: &[String]) -> Result<()> {
    let old = load_run(config, &[])?;
    if same_task(&old, new) {
        return Ok(());
    }
    for set in sets {
        if !same_task(&old, &load_run(config, std::slice::from_ref(set))?) {
            return Err(Error::Fixed { key: set.clone() }.into());
        }
    }
    Err(Error::Fixed { key: sets.join(" --set ") }.into())
}

/// Whether two specs differ in learning settings at most.
fn same_task(old: &NetSpec, new: &NetSpec) -> bool {
    let TrainSpec { batch, micro_batch, seed, .. } = new.train;
    let mut reset = new.clone();
    (reset.data.readers, reset.data.on_error) = (old.data.readers, old.data.on_error);
    reset.train = TrainSpec { batch, micro_batch, seed, ..old.train.clone() };
    for (layer, was) in reset.layers.iter_mut().zip(&old.layers) {
        (layer.learning_rate, layer.weight_decay) = (was.learning_rate.clone(), was.weight_decay);
        (layer.momentum, layer.max_norm) = (was.momentum, was.max_norm);
    }
    reset == *old
}
