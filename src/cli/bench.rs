//! `convnet bench`.

use super::{DeviceArguments, Result, config::ConfigArguments, table};
use crate::bench::{self, Effort, NetTime};
use crate::data::Loader;
use crate::net::{BatchBytes, Purpose};
use crate::train::Setup;
use clap::Args;
use std::num::NonZeroU32;
use std::process::ExitCode;

/// The arguments of `bench`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Images a step [config: train.batch]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroU32>,
    /// Times each thing is measured, at least; the median counts
    #[arg(long, default_value_t = 10, value_name = "N")]
    repeats: usize,
    /// Seconds for which each thing is measured, at least
    #[arg(long, default_value_t = 0.0, value_name = "S", hide_default_value = true)]
    seconds: f64,
    /// Time the step and the forward pass alone, not each layer
    #[arg(long)]
    step_only: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(a: Arguments) -> Result {
    let batch = a.batch.map(|batch| format!("train.batch={batch}"));
    let setup = Setup::for_shapes(a.config.load(batch)?)?;
    let batch = setup.micro_batch();
    let mut net = setup.net(batch, a.device.open()?, Purpose::Train)?;
    setup.initialise(&mut net)?;
    let mut loader = Loader::test(setup.data.train.clone(), batch)?;
    let images = loader.next()?;
    net.feed(BatchBytes { images: &images.images, places: &images.places, labels: &images.labels })?;
    drop(loader);
    let effort = Effort { repeats: a.repeats, seconds: a.seconds, step_only: a.step_only };
    let mut bar = super::progress::bar("timing");
    let times = bench::run(&mut net, effort, |i, n| bar.at(i, n))?;
    bar.finish();
    if a.json {
        super::print_json(&times);
    } else {
        print(&times);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(t: &NetTime) {
    let rows = t.layers.iter().map(|l| {
        let gflops = if l.gflops > 0.0 { format!("{:.1}", l.gflops) } else { String::new() };
        vec![l.name.clone(), l.pass.into(), format!("{:.3}", l.ms), gflops, format!("{:.1} %", 100.0 * l.ms / t.step_ms)]
    });
    if !t.layers.is_empty() {
        super::print(table::table(&["layer", "pass", "ms", "GFLOP/s", "of a step"], 2, rows));
    }
    let batch = t.batch as f64;
    super::print(table::pairs(&[
        ("device", t.device.clone()),
        ("batch", t.batch.to_string()),
        ("training step", format!("{:.3} ms, {:.0} images/s", t.step_ms, t.images_per_second)),
        ("forward alone", format!("{:.3} ms, {:.0} images/s", t.forward_ms, batch / t.forward_ms * 1e3)),
        ("memory", table::bytes(t.peak_bytes as u64)),
    ]));
}
