//! `convnet summary`.

use super::{Result, config::ConfigArguments, table};
use crate::device::cpu::CpuDevice;
use crate::net::{Graph, Plan, Purpose};
use crate::train::Setup;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// The arguments of `summary`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    name: String,
    parameters: usize,
    multiply_adds: u64,
    batch: usize,
    peak_bytes: usize,
    layers: Vec<LayerRow>,
}

#[derive(Serialize)]
struct LayerRow {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    output: [usize; 3],
    parameters: usize,
    multiply_adds: u64,
    /// Bytes of the output of a whole batch.
    bytes: usize,
    #[serde(skip)]
    cost: bool,
}

pub(super) fn run(a: Arguments) -> Result {
    let spec = a.config.load([])?;
    let setup = Setup::for_shapes(spec)?;
    let batch = setup.micro_batch();
    let graph = setup.graph(batch)?;
    let device = CpuDevice::<f32>::new(0);
    let mean = setup.normalisation.mean.len();
    let mean = crate::device::Shape::new(1, 1, 1, mean);
    let plan = Plan::new(&graph, &device, Purpose::Train, setup.images(batch), mean);
    let report = Report {
        name: graph.name.clone(),
        parameters: graph.parameter_count(),
        multiply_adds: graph.multiply_adds(),
        batch,
        peak_bytes: plan.bytes,
        layers: rows(&graph, &plan),
    };
    if a.json {
        super::print_json(&report);
        return Ok(ExitCode::SUCCESS);
    }
    let cells = report.layers.iter().map(|l| {
        let [h, w, c] = l.output;
        let output = if l.cost { "cost".into() } else { crate::device::Shape::new(1, h, w, c).to_string() };
        vec![
            l.name.clone(),
            l.kind.clone(),
            output,
            table::thousands(l.parameters as u64),
            table::thousands(l.multiply_adds),
            table::bytes(l.bytes as u64),
        ]
    });
    super::print(table::table(&["layer", "type", "output", "parameters", "multiply-adds", "memory"], 2, cells));
    super::print(format!(
        "{}: {} parameters, {} multiply-adds an image; training in batches of {batch} takes {} ({} bytes)",
        report.name,
        table::thousands(report.parameters as u64),
        table::thousands(report.multiply_adds),
        table::bytes(report.peak_bytes as u64),
        table::thousands(report.peak_bytes as u64),
    ));
    Ok(ExitCode::SUCCESS)
}

/// A row for each layer; a neuron that its layer computes has none of its own.
fn rows(graph: &Graph, plan: &Plan) -> Vec<LayerRow> {
    let row = |(i, node): (usize, &crate::net::Node)| {
        let s = node.layer.output();
        LayerRow {
            name: node.name.clone(),
            kind: node.kind.clone(),
            output: [s.h, s.w, s.c],
            parameters: graph.own_parameter_count(i),
            multiply_adds: node.layer.multiply_adds(),
            cost: node.is_cost(),
            bytes: plan.nodes[i].output.map_or(0, |t| t.bytes()),
        }
    };
    graph.nodes.iter().enumerate().filter(|(_, n)| !n.fused).map(row).collect()
}
