//! `convnet verify`.

use super::{DeviceArguments, Result, table};
use crate::verify::{self, Outcome};
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// The arguments of `verify`.
#[derive(Args)]
pub struct Arguments {
    /// Print every case, not only the worst of each operation
    #[arg(long)]
    all: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Serialize)]
struct Report {
    device: String,
    cases: usize,
    failed: usize,
    /// The largest error, as a fraction of its case's bound.
    worst: f64,
    outcomes: Vec<Outcome>,
}

pub(super) fn run(a: Arguments) -> Result {
    let mut device = a.device.open()?;
    let cases = verify::cases();
    let mut bar = super::progress::bar("verifying");
    bar.at(0, cases.len());
    let outcomes = verify::run(device.as_mut(), &cases)?;
    bar.finish();
    let failed = outcomes.iter().filter(|o| !o.passed).count();
    let worst = outcomes.iter().map(share).fold(0.0, f64::max);
    let report = Report { device: device.name(), cases: outcomes.len(), failed, worst, outcomes };
    if a.json {
        super::print_json(&report);
    } else {
        print_table(&report, a.all);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An error as a fraction of its bound; exact results have a bound of 0.
fn share(o: &Outcome) -> f64 {
    if o.worst == 0.0 { 0.0 } else { o.worst / o.bound }
}

fn print_table(report: &Report, all: bool) {
    let mut shown: Vec<(&Outcome, usize)> = Vec::new();
    for o in &report.outcomes {
        let last = shown.iter_mut().find(|(s, _)| s.operation == o.operation).filter(|_| !all && o.passed);
        match last {
            Some((worst, cases)) => {
                *cases += 1;
                if share(o) > share(worst) && worst.passed {
                    *worst = o;
                }
            }
            None => shown.push((o, 1)),
        }
    }
    let rows = shown.into_iter().map(|(o, cases)| {
        let verdict = if o.passed { "ok" } else { "WRONG" };
        vec![
            o.operation.to_string(),
            o.geometry.clone(),
            cases.to_string(),
            format!("{:.2e}", o.worst),
            format!("{:.2e}", o.bound),
            verdict.into(),
        ]
    });
    super::print(table::table(&["operation", "worst case", "cases", "error", "bound", ""], 2, rows));
    super::print(format!("{}: {} cases, {} failed", report.device, report.cases, report.failed));
}
