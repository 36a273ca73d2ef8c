//! `convnet compare`.

use super::{Failure, Result, table};
use crate::report::chart::short;
use crate::report::page::{self, Compared};
use crate::train::{Run, Split, files, read_lines};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `compare`.
#[derive(Args)]
pub struct Arguments {
    /// The runs' folders
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// A page with their curves, one over the other
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What a run came to.
#[derive(Serialize)]
struct Row {
    run: PathBuf,
    net: String,
    epochs: f64,
    test_loss: Option<f64>,
    test_error: Option<f64>,
    best_test_error: Option<f64>,
    train_loss: Option<f64>,
    images_per_second: Option<f64>,
    seconds: f64,
}

pub(super) fn run(a: Arguments) -> Result {
    let mut compared = Vec::new();
    for run in &a.runs {
        let spec = super::config::load_run(&Run::config(run)?, &[])?;
        let lines = read_lines(&run.join("metrics.jsonl"))?;
        if lines.is_empty() {
            eprintln!("warning: {} has no metrics yet", run.display());
        }
        compared.push(Compared { run: run.display().to_string(), net: spec.name, lines });
    }
    if compared.iter().all(|c| c.lines.is_empty()) {
        return Err(Failure::new("none of the runs has metrics to compare"));
    }
    let rows: Vec<Row> = a.runs.iter().zip(&compared).map(|(run, c)| row(run.clone(), c)).collect();
    if a.json {
        super::print_json(&rows);
    } else {
        let number = |v: Option<f64>| v.map_or_else(String::new, short);
        let percent = |v: Option<f64>| v.map_or_else(String::new, table::percent);
        let cells = rows.iter().map(|r| {
            vec![
                r.run.display().to_string(),
                r.net.clone(),
                short(r.epochs),
                number(r.train_loss),
                number(r.test_loss),
                percent(r.test_error),
                percent(r.best_test_error),
                r.images_per_second.map_or_else(String::new, |v| format!("{v:.0}")),
                format!("{:.0}", r.seconds),
            ]
        });
        let header = ["run", "net", "epochs", "training loss", "test loss", "test error", "best", "images/s", "seconds"];
        super::print(table::table(&header, 2, cells));
    }
    if let Some(out) = &a.out {
        files::replace(out, page::of_runs(&compared).as_bytes())?;
        eprintln!("page: {}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn row(run: PathBuf, c: &Compared) -> Row {
    let tests = || c.lines.iter().filter(|l| l.split == Split::Test);
    let train = c.lines.iter().rfind(|l| l.split == Split::Train);
    Row {
        run,
        net: c.net.clone(),
        epochs: c.lines.last().map_or(0.0, |l| l.epoch),
        test_loss: tests().next_back().map(|l| l.loss),
        test_error: tests().next_back().map(|l| l.error),
        best_test_error: tests().map(|l| l.error).reduce(f64::min),
        train_loss: train.map(|l| l.loss),
        images_per_second: train.map(|l| l.images_per_second),
        seconds: c.lines.last().map_or(0.0, |l| l.seconds),
    }
}
