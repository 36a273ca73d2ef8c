//! `convnet find-lr`.

use super::{DeviceArguments, Failure, Result, config::ConfigArguments, table, train::stop_on_signals};
use crate::report::chart::short;
use crate::train::Setup;
use crate::train::trial::{self, Tried};
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// The arguments of `find-lr`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The rate to start from
    #[arg(long, default_value_t = 1.0, value_name = "RATE", value_parser = rate)]
    from: f64,
    /// Steps of each trial
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    steps: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("a rate is a number above 0, and at most 1e6".into()),
    }
}

#[derive(Serialize)]
struct Report {
    name: String,
    learning_rate: Option<f64>,
    tried: Vec<Tried>,
}

pub(super) fn run(a: Arguments) -> Result {
    let stop = stop_on_signals()?;
    let setup = Setup::new(a.config.load([])?)?;
    setup.graph(1)?;
    let device = a.device.open(setup.spec.train.precision)?;
    let (tried, best) = trial::find_rate(&setup, device, a.from, a.steps, &stop, &mut |t| {
        eprintln!("learning rate {}: {}", short(t.learning_rate), verdict(t));
    })?;
    if stop.load(Ordering::Relaxed) {
        eprintln!("stopped");
        return Ok(ExitCode::from(130));
    }
    let report = Report { name: setup.spec.name, learning_rate: best.map(|b| b.learning_rate), tried };
    if a.json {
        super::print_json(&report);
    } else {
        let rows = report.tried.iter().map(|t| {
            let mark = if best.is_some_and(|b| b.learning_rate == t.learning_rate) { "best" } else { "" };
            let loss = t.last_loss.map_or_else(|| "not finite".into(), short);
            vec![short(t.learning_rate), t.steps.to_string(), short(t.first_loss), loss, word(t).into(), mark.into()]
        });
        super::print(table::table(&["learning rate", "steps", "first loss", "last loss", "", ""], 0, rows));
        if let Some(rate) = report.learning_rate {
            super::print(format!("--set train.learning_rate.base={rate} starts with it"));
        }
    }
    match report.learning_rate {
        Some(_) => Ok(ExitCode::SUCCESS),
        None => Err(Failure::new(
            "the loss diverges at each rate; look at `convnet check CONFIG`, at the initial weights and at the cost",
        )),
    }
}

fn word(t: &Tried) -> &'static str {
    if t.diverged { "diverges" } else { "falls" }
}

fn verdict(t: &Tried) -> String {
    match t.last_loss {
        Some(last) => format!("the loss {} from {} to {}", word(t), short(t.first_loss), short(last)),
        None => format!("the loss diverges after {} steps", t.steps),
    }
}
