//! `convnet resume`.

use super::train::{go, load_spec, stop_on_signals};
use super::{DeviceArguments, Result};
use crate::config::{NetSpec, TrainSpec};
use crate::train::{Error, Run, Setup, Trainer, checkpoint};
use clap::Args;
use std::path::PathBuf;

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
    let spec = load_spec(&config, &a.sets)?;
    check_fixed(&load_spec(&config, &[])?, &spec, &a.sets)?;
    let stop = stop_on_signals()?;
    let mut run = Run::open(&a.run)?;
    let mut warnings = Vec::new();
    let found = checkpoint::newest(&run.checkpoints(), true, |w| warnings.push(w));
    for w in &warnings {
        eprintln!("warning: {w}");
        run.log(&format!("warning: {w}"));
    }
    let found = found?;
    let text = spec.to_toml();
    let setup = Setup::new(spec)?;
    let path = run.checkpoints().join(format!("step-{}", found.state.step));
    let trainer = Trainer::resume(setup, a.device.open()?, &found, &path)?;
    if !a.sets.is_empty() {
        run.set_config(&text)?;
    }
    run.rewind(found.state.metrics_bytes)?;
    let (done, total) = (trainer.steps_done(), trainer.total_steps());
    eprintln!("resuming {} at step {done} of {total}", a.run.display());
    if done >= total {
        eprintln!("nothing is left to do; --set train.epochs=N goes on for longer");
    }
    go(trainer, run, &stop)
}

/// A run may change how it learns, not what: neither its net nor its data, its batch or its seed.
fn check_fixed(old: &NetSpec, new: &NetSpec, sets: &[String]) -> Result<(), Error> {
    let frozen = |s: &NetSpec| {
        let TrainSpec { batch, micro_batch, seed, .. } = s.train;
        (batch, micro_batch, seed)
    };
    let shape = |s: &NetSpec| s.layers.iter().map(|l| (l.name.clone(), l.kind.clone(), l.neuron, format!("{:?}", l.keys.keys().collect::<Vec<_>>()))).collect::<Vec<_>>();
    let same = frozen(old) == frozen(new) && old.data == new.data && shape(old) == shape(new);
    let culprit = |s: &&String| {
        ["data.", "name", "train.batch", "train.micro_batch", "train.seed"].iter().any(|k| s.starts_with(k))
            || (s.starts_with("layer.") && !s.contains("learning_rate") && !s.contains("weight_decay"))
    };
    match sets.iter().find(culprit) {
        Some(key) if !same || key.starts_with("layer.") => Err(Error::Fixed { key: key.clone() }),
        _ if !same => Err(Error::Fixed { key: sets.join(" --set ") }),
        _ => Ok(()),
    }
}
