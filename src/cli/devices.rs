//! `convnet devices`.

use super::{Result, table};
use crate::device;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// The arguments of `devices`.
#[derive(Args)]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    devices: Vec<device::DeviceInfo>,
    /// Why no CUDA device is among them.
    no_cuda: Option<String>,
}

pub(super) fn run(a: Arguments) -> Result {
    let (devices, no_cuda) = device::list();
    let report = Report { devices, no_cuda };
    if a.json {
        super::print_json(&report);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = report
        .devices
        .iter()
        .map(|d| vec![d.id.clone(), d.name.clone(), table::bytes(d.memory), d.unusable.clone().unwrap_or_default()]);
    super::print(table::table(&["device", "name", "memory", ""], 2, rows));
    if let Some(why) = &report.no_cuda {
        super::print(format!("no CUDA device: {why}"));
    }
    Ok(ExitCode::SUCCESS)
}
