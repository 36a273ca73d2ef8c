//! `convnet verify`.

use super::{DeviceArguments, Result, table};
use crate::device::Precision;
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
    /// Only in this precision: f32, tf32 or bf16 [default: each that the device has]
    #[arg(long, value_name = "P", value_parser = precision)]
    precision: Option<Precision>,
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
    /// Cases of forms that the device does not have.
    skipped: usize,
    /// The largest error, as a fraction of its case's bound.
    worst: f64,
    outcomes: Vec<Outcome>,
}

pub(super) fn run(a: Arguments) -> Result {
    let mut device = a.device.open(Some(a.precision.unwrap_or(Precision::F32)))?;
    let cases = verify::cases();
    let mut bar = super::progress::bar("verifying");
    bar.at(0, cases.len());
    let (mut outcomes, mut skipped) = (Vec::new(), 0);
    for wanted in Precision::ALL {
        let asked = a.precision.is_none_or(|only| only == wanted);
        if !asked || device.set_precision(Some(wanted)) != wanted {
            continue;
        }
        // What is not rounded is the same in every precision.
        let whole = wanted == Precision::F32 || a.precision.is_some();
        let some: Vec<_> = cases.iter().filter(|case| whole || case.is_rounded()).cloned().collect();
        let done = verify::run(device.as_mut(), &some)?;
        skipped += some.len() - done.len();
        outcomes.extend(done);
    }
    bar.finish();
    if outcomes.is_empty() {
        let wanted = a.precision.unwrap_or(Precision::F32);
        return Err(super::Failure::new(format!("{} does not multiply in {wanted}", device.name())));
    }
    let failed = outcomes.iter().filter(|o| !o.passed).count();
    let worst = outcomes.iter().map(share).fold(0.0, f64::max);
    let report = Report { device: device.name(), cases: outcomes.len(), failed, skipped, worst, outcomes };
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

/// A precision by its name in a config.
fn precision(name: &str) -> Result<Precision, &'static str> {
    Precision::ALL.into_iter().find(|p| p.to_string() == name).ok_or("there are: f32, tf32, bf16")
}

fn print_table(report: &Report, all: bool) {
    let mut shown: Vec<(&Outcome, usize)> = Vec::new();
    for o in &report.outcomes {
        let last =
            shown.iter_mut().find(|(s, _)| (&s.operation, &s.dtype) == (&o.operation, &o.dtype)).filter(|_| !all && o.passed);
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
            o.dtype.clone(),
            o.geometry.clone(),
            cases.to_string(),
            format!("{:.2e}", o.worst),
            format!("{:.2e}", o.bound),
            verdict.into(),
        ]
    });
    super::print(table::table(&["operation", "in", "worst case", "cases", "error", "bound", ""], 3, rows));
    let skipped =
        if report.skipped == 0 { String::new() } else { format!(", {} skipped: the device lacks their form", report.skipped) };
    super::print(format!("{}: {} cases, {} failed{skipped}", report.device, report.cases, report.failed));
}
