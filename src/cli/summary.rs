//! `convnet summary`.

use super::{Result, config::ConfigArguments, table};
use crate::device::cpu::CpuDevice;
use crate::device::{Dtype, Shape, Tensor};
use crate::net::{Graph, Plan, Purpose, UpdateRule, updates};
use crate::op::{Access, Op, Pass};
use crate::train::Setup;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// The arguments of `summary`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print a training step operation by operation: what each reads and writes, where that lies, its bytes and multiply-adds
    #[arg(long)]
    program: bool,
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
    /// A training step, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<ProgramReport>,
}

/// A training step's operations, and what they move.
#[derive(Serialize)]
struct ProgramReport {
    /// Bytes that the operations of a step read and write.
    bytes: u64,
    /// Those of all but convolutions and products.
    memory_bound_bytes: u64,
    multiply_adds: u64,
    operations: Vec<OperationRow>,
}

#[derive(Serialize)]
struct OperationRow {
    operation: &'static str,
    /// The operation's parameters.
    parameters: String,
    layer: String,
    pass: Pass,
    operands: Vec<OperandRow>,
    scratch_bytes: usize,
    bytes: u64,
    multiply_adds: u64,
}

#[derive(Serialize)]
struct OperandRow {
    name: &'static str,
    /// `reads`, `writes`, or `adds`: both.
    access: &'static str,
    shape: [usize; 4],
    #[serde(rename = "type")]
    dtype: &'static str,
    /// Bytes from the start of the allocation.
    place: usize,
    /// Elements from one cell to the next.
    pitch: usize,
    bytes: usize,
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
    let scale = setup.normalisation.scale;
    let plan = Plan::new(&graph, &device, Purpose::Train, setup.images(batch), Shape::new(1, 1, 1, mean), scale);
    let train = &setup.spec.train;
    let rule = UpdateRule {
        weight_decay: train.weight_decay,
        l1_decay: train.l1_decay,
        nesterov: train.nesterov,
        clip_norm: train.clip_norm,
        step: 0,
        total_steps: 1,
    };
    let report = Report {
        name: graph.name.clone(),
        parameters: graph.parameter_count(),
        multiply_adds: graph.multiply_adds(),
        batch,
        peak_bytes: plan.bytes,
        layers: rows(&graph, &plan),
        program: a.program.then(|| program(&graph, &plan, &rule)),
    };
    if a.json {
        super::print_json(&report);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(program) = &report.program {
        print_program(program);
        return Ok(ExitCode::SUCCESS);
    }
    let cells = report.layers.iter().map(|l| {
        let [h, w, c] = l.output;
        let output = if l.cost { "cost".into() } else { Shape::new(1, h, w, c).to_string() };
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
            multiply_adds: node.multiply_adds,
            cost: node.is_cost(),
            bytes: if node.is_cost() { 0 } else { node.layer.output().elements() * size_of::<f32>() },
        }
    };
    let runs = |i: usize| plan.train.pass(Pass::Forward).any(|(step, _)| step.node == i);
    graph.nodes.iter().enumerate().filter(|(i, n)| !n.rides || runs(*i)).map(row).collect()
}

/// A training step with the update that the rule makes at first.
fn program(graph: &Graph, plan: &Plan, rule: &UpdateRule) -> ProgramReport {
    let name = |node: usize| graph.nodes.get(node).map_or("images", |n| &n.name).to_owned();
    let mut operations: Vec<OperationRow> =
        plan.train.steps.iter().map(|(s, scratch)| row(&s.op, name(s.node), s.pass, scratch.bytes())).collect();
    let owner = |k: usize| graph.nodes.iter().position(|n| n.parameters.contains(&k)).unwrap_or(graph.nodes.len());
    let listed = updates(graph, plan, rule, |k, op| {
        operations.push(row(&op, name(owner(k)), Pass::Update, 0));
        Ok(())
    });
    debug_assert!(listed.is_ok(), "listing runs nothing");
    let products = ["conv_", "local_", "product", "drop_connect_"];
    let is_product = |o: &&OperationRow| products.iter().any(|p| o.operation.starts_with(p));
    ProgramReport {
        bytes: operations.iter().map(|o| o.bytes).sum(),
        memory_bound_bytes: operations.iter().filter(|o| !is_product(o)).map(|o| o.bytes).sum(),
        multiply_adds: operations.iter().map(|o| o.multiply_adds).sum(),
        operations,
    }
}

fn row(op: &Op<Tensor>, layer: String, pass: Pass, scratch_bytes: usize) -> OperationRow {
    let mut operands = Vec::new();
    op.named_operands(&mut |name, access, t| {
        operands.push(OperandRow {
            name,
            access: match access {
                Access::Reads => "reads",
                Access::Writes => "writes",
                Access::Adds => "adds",
            },
            shape: [t.shape.n, t.shape.h, t.shape.w, t.shape.c],
            dtype: match t.dtype {
                Dtype::F32 => "f32",
                Dtype::F64 => "f64",
                Dtype::U8 => "u8",
                Dtype::I32 => "i32",
            },
            place: t.slot.0,
            pitch: t.pitch,
            bytes: t.bytes(),
        });
    });
    let parameters = op.describe().trim_start().to_owned();
    OperationRow {
        operation: op.name(),
        parameters,
        layer,
        pass,
        operands,
        scratch_bytes,
        bytes: op.bytes(),
        multiply_adds: op.multiply_adds(),
    }
}

/// A line an operation, and one below it for each tensor.
fn print_program(program: &ProgramReport) {
    let mut pass = None;
    for o in &program.operations {
        if pass.replace(o.pass) != Some(o.pass) {
            super::print(format!("{:?}", o.pass).to_lowercase());
        }
        let mut line = format!("  {}: {} {}", o.layer, o.operation, o.parameters).trim_end().to_owned();
        if o.multiply_adds > 0 {
            line += &format!(", {} multiply-adds", table::thousands(o.multiply_adds));
        }
        super::print(line);
        for t in &o.operands {
            let [n, h, w, c] = t.shape;
            let gaps = if t.pitch == c { String::new() } else { format!(" of {}", t.pitch) };
            let (name, access, dtype, place) = (t.name, t.access, t.dtype, table::thousands(t.place as u64));
            super::print(format!(
                "    {access:<6} {name:<9} {n}×{h}×{w}×{c}{gaps} {dtype} at {place}, {}",
                table::bytes(t.bytes as u64)
            ));
        }
    }
    super::print(format!(
        "{} operations move {} ({} of them in other than convolutions and products) with {} multiply-adds",
        program.operations.len(),
        table::bytes(program.bytes),
        table::bytes(program.memory_bound_bytes),
        table::thousands(program.multiply_adds),
    ));
}
