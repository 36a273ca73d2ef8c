//! `convnet test`.

use super::{DeviceArguments, Result, table};
use crate::layer::Counts;
use crate::net::{CostMetrics, Net, Purpose};
use crate::train::checkpoint::{self, Checkpoint};
use crate::train::{self, CostLine, Run, Setup};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
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
#[derive(Args, Default)]
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
    /// Each cost apart, as in a line of the metrics.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    costs: BTreeMap<String, CostLine>,
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
    let precision = setup.spec.train.precision;
    let mut net = setup.net(batch, device.open(precision)?, Purpose::Infer)?;
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
    let first = metrics.first().map(|(_, m)| m.clone()).unwrap_or_default();
    let report = Report {
        run: a.run,
        step,
        loss,
        error: first.error,
        error_top5: first.error_top5,
        images: first.images as u64,
        costs: train::cost_lines(&metrics),
    };
    if a.json {
        super::print_json(&report);
        return Ok(ExitCode::SUCCESS);
    }
    let counts: Vec<Counts> = net.graph.costs().map(|i| net.graph.nodes[i].layer.counts()).collect();
    let Counts { errors, top5, .. } = counts.first().copied().unwrap_or_default();
    let rows = [
        Some(("step", report.step.to_string())),
        Some(("images", table::thousands(report.images))),
        Some(("loss", format!("{:.4}", report.loss))),
        errors.then(|| ("error", table::percent(report.error))),
        top5.then(|| ("top-5 error", table::percent(report.error_top5))),
    ];
    super::print(table::pairs(&rows.into_iter().flatten().collect::<Vec<_>>()));
    if metrics.len() > 1 {
        let share = |told: bool, error: f64| if told { table::percent(error) } else { String::new() };
        let rows = metrics.iter().zip(&counts).map(|((name, m), c)| {
            vec![name.clone(), format!("{:.4}", m.loss), share(c.errors, m.error), share(c.top5, m.error_top5)]
        });
        super::print("");
        super::print(table::table(&["cost", "loss", "error", "top-5 error"], 1, rows));
    }
    for (name, m) in metrics.iter().filter(|(_, m)| !m.counts.is_empty()) {
        super::print(format!("\n{name}"));
        super::print(class_table(m, &setup.data.class_names));
    }
    Ok(ExitCode::SUCCESS)
}

/// A row for each class that a cost counts something of; where it counts what they are made of, with precision (the part of
/// what is declared positive that is) and recall (the part of what is positive that is declared).
fn class_table(m: &CostMetrics, names: &[String]) -> String {
    let counted = |name: &str| m.counts.iter().find(|(n, _)| *n == name).map(|(_, values)| values);
    let detections = [counted("true_positives"), counted("false_positives"), counted("false_negatives")];
    let mut header = vec!["class".to_owned()];
    header.extend(m.counts.iter().map(|(name, _)| name.replace('_', " ")));
    if detections.iter().all(Option::is_some) {
        header.extend(["precision".to_owned(), "recall".to_owned()]);
    }
    let classes = m.counts.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let rows = (0..classes).map(|class| {
        let name = if names.len() == classes { names[class].clone() } else { class.to_string() };
        let mut row = vec![name];
        row.extend(m.counts.iter().map(|(_, values)| table::thousands(values[class] as u64)));
        if let [Some(found), Some(wrong), Some(missed)] = detections {
            row.extend([wrong, missed].map(|others| {
                let all = found[class] + others[class];
                if all > 0.0 { table::percent(found[class] / all) } else { "none".into() }
            }));
        }
        row
    });
    table::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), 1, rows)
}
