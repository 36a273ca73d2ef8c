//! `convnet test`.

use super::{DeviceArguments, Result, table};
use crate::net::{Net, Purpose};
use crate::train::checkpoint::{self, Checkpoint};
use crate::train::{self, Run, Setup};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `test`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Which checkpoint of a run.
#[derive(Args)]
pub(super) struct Which {
    /// Use this checkpoint's step, or `best` [default: the newest]
    #[arg(long, value_name = "STEP")]
    checkpoint: Option<String>,
}

#[derive(Serialize)]
struct Report {
    run: PathBuf,
    step: u64,
    loss: f64,
    error: f64,
    error_top5: f64,
    images: u64,
}

impl Which {
    /// Loads the checkpoint.
    pub(super) fn load(&self, run: &Path) -> Result<(Checkpoint, PathBuf)> {
        let folder = run.join("checkpoints");
        let found = match self.checkpoint.as_deref() {
            None => checkpoint::newest(&folder, false, |w| eprintln!("warning: {w}"))?,
            Some(which) => {
                let step = if which == "best" { checkpoint::best(&folder) } else { which.parse().ok() };
                let all = checkpoint::list(&folder);
                let Some((_, path)) = all.iter().find(|(s, _)| Some(*s) == step) else {
                    let steps: Vec<String> = all.iter().map(|(s, _)| s.to_string()).collect();
                    return Err(super::Failure::usage(format!(
                        "there is no checkpoint '{which}'; there are: best {}",
                        steps.join(" ")
                    )));
                };
                Checkpoint::load(path, false)?
            }
        };
        let path = folder.join(format!("step-{}", found.state.step));
        Ok((found, path))
    }
}

/// A run's net with a checkpoint's parameters, and what it was made of.
pub(super) fn load_net(run: &Path, which: &Which, device: &DeviceArguments, batch: Option<usize>) -> Result<(Net, Setup, u64)> {
    let spec = super::config::load_run(&Run::config(run)?, &[])?;
    let (found, path) = which.load(run)?;
    let mut setup = Setup::new(spec)?;
    setup.normalisation = train::normalisation_of(&found, &path)?;
    let batch = batch.unwrap_or_else(|| setup.micro_batch());
    let mut net = setup.net(batch, device.open()?, Purpose::Infer)?;
    train::load_parameters(&mut net, &found, &path)?;
    Ok((net, setup, found.state.step))
}

pub(super) fn run(a: Arguments) -> Result {
    let (mut net, setup, step) = load_net(&a.run, &a.which, &a.device, None)?;
    let mut tests = crate::data::Loader::test(setup.data.test.clone(), net.batch())?;
    let mut bar = super::progress::bar("testing");
    let metrics = train::evaluate(&mut net, &mut tests, setup.spec.train.seed, &mut |i, n| bar.at(i, n))?;
    bar.finish();
    let loss = net.total_loss(&metrics);
    let first = metrics.first().map(|(_, m)| *m).unwrap_or_default();
    let report = Report { run: a.run, step, loss, error: first.error, error_top5: first.error_top5, images: first.images as u64 };
    if a.json {
        super::print_json(&report);
    } else {
        let rows = [
            ("step", report.step.to_string()),
            ("images", table::thousands(report.images)),
            ("loss", format!("{:.4}", report.loss)),
            ("error", table::percent(report.error)),
            ("top-5 error", table::percent(report.error_top5)),
        ];
        super::print(table::pairs(&rows));
    }
    Ok(ExitCode::SUCCESS)
}
