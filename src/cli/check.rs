//! `convnet check`.

use super::{Failure, Result, config::ConfigArguments, table};
use crate::check::{self, BOUND, LayerCheck};
use crate::train::Setup;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// Images of the batch that is checked.
const BATCH: usize = 2;

/// The arguments of `check`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Check this layer alone
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Elements of each gradient that are compared
    #[arg(long, default_value_t = check::Options::default().elements, value_name = "N")]
    elements: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    name: String,
    worst_relative_error: f64,
    bound: f64,
    layers: Vec<LayerCheck>,
}

pub(super) fn run(a: Arguments) -> Result {
    let setup = Setup::for_shapes(a.config.load([])?)?;
    let graph = setup.graph(BATCH)?;
    if let Some(layer) = &a.layer
        && !graph.nodes.iter().any(|n| n.name == *layer)
    {
        let known: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
        return Err(Failure::usage(format!("there is no layer '{layer}' to check; there are: {}", known.join(", "))));
    }
    let options = check::Options { seed: setup.spec.train.seed, elements: a.elements.max(1), layer: a.layer };
    let mut bar = super::progress::bar("checking");
    let layers = check::check(&graph, &options, |i, n| bar.at(i, n))?;
    bar.finish();
    let report = Report { name: graph.name, worst_relative_error: check::worst(&layers), bound: BOUND, layers };
    let wrong: Vec<&LayerCheck> = report.layers.iter().filter(|l| !l.is_right()).collect();
    if a.json {
        super::print_json(&report);
    } else {
        super::print(table::table(
            &["layer", "type", "gradient of", "worst error", "at", "checked", "verdict"],
            3,
            report.layers.iter().map(row),
        ));
        super::print(format!(
            "{}: worst relative error {:.1e}; {} of {} gradients are right, that is, below {BOUND:.0e}",
            report.name,
            report.worst_relative_error,
            report.layers.len() - wrong.len(),
            report.layers.len(),
        ));
    }
    for l in &wrong {
        let [n, h, w, c] = l.at;
        let LayerCheck { name, what, backward, differences, .. } = l;
        eprintln!(
            "error: layer '{name}', {what} at [{n}, {h}, {w}, {c}]: backward computes {backward:e}, differences give {differences:e}"
        );
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(l: &LayerCheck) -> Vec<String> {
    let [n, h, w, c] = l.at;
    vec![
        l.name.clone(),
        l.kind.clone(),
        l.what.clone(),
        format!("{:.1e}", l.worst_relative_error),
        format!("[{n}, {h}, {w}, {c}]"),
        table::thousands(l.elements as u64),
        if l.is_right() { "right".into() } else { "WRONG".into() },
    ]
}
