//! `convnet bench`.

use super::{DeviceArguments, Failure, Result, config::ConfigArguments, table};
use crate::bench::{self, Comparison, Conditions, Effort, NetTime, PassTime, Peaks, Subject};
use crate::config::NetSpec;
use crate::data::{Loader, Normalisation};
use crate::device::Precision;
use crate::net::Purpose;
use crate::report::roofline;
use crate::train::{Error, Setup, bytes_of};
use clap::Args;
use serde::Serialize;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `bench`. CONFIG may be a suite or a single layer: see below.
#[derive(Args)]
#[command(after_help = "In place of CONFIG: a suite, `convnet-benchmarks` (AlexNet, OverFeat, VGG-A, GoogLeNet and the single \
layers L1 to L5 at the batches of that project) or `kernels` (one of each kind of layer); or one single layer of theirs, such as \
L1. `--batch 2` makes any of them small enough for a CPU.")]
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
    /// Measurements before those that do not count
    #[arg(long, default_value_t = 2, value_name = "N")]
    warm_up: usize,
    /// Time the step and the forward pass alone: no peaks, no layers
    #[arg(long)]
    step_only: bool,
    /// Time the loader alone: training images read, decoded and varied as CONFIG says
    #[arg(long, conflicts_with_all = ["step_only", "roofline", "baseline"])]
    loader: bool,
    /// Draw a roofline: a .png or .svg file
    #[arg(long, value_name = "FILE", conflicts_with = "step_only")]
    roofline: Option<PathBuf>,
    /// Compare with the --json output of an earlier run
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// With --baseline: exit with 1 where anything takes more than this many times as long
    #[arg(long, default_value_t = 1.1, value_name = "RATIO")]
    threshold: f64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// What is printed of one net.
#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    net: &'a NetTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

/// What is printed of a suite.
#[derive(Serialize)]
struct Many<'a> {
    suite: &'a str,
    device: &'a str,
    nets: &'a [NetTime],
    /// What could not be timed, and why.
    failed: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

/// What is to be timed.
enum Work {
    Config,
    Case(bench::Case),
    Suite(bench::Suite),
}

pub(super) fn run(a: Arguments) -> Result {
    if let Some(path) = a.roofline.as_deref().filter(|path| !roofline::knows(path)) {
        return Err(Failure::usage(format!("--roofline {}: give a file that ends in .png or .svg", path.display())));
    }
    if !(a.threshold.is_finite() && a.threshold > 0.0) {
        return Err(Failure::usage("--threshold is a ratio above 0: 1.1 allows a tenth more time"));
    }
    let before = a.baseline.as_deref().map(read_baseline).transpose()?;
    let work = a.work()?;
    if a.loader {
        return a.time_loader(&work);
    }
    let (device, found) = a.device.found()?;
    eprintln!("device: {found}");
    let device = device.name();
    let effort = a.effort();
    let mut bar = super::progress::bar("timing");
    let mut timer = Timer { arguments: &a, effort, gpu: gpu(&device), peaks: Vec::new() };
    let (mut nets, mut failed) = (Vec::new(), Vec::new());
    match &work {
        Work::Config => nets.push(timer.net(a.config.load(a.sets())?, &mut |i, n| bar.at(i, n))?),
        Work::Case(case) => nets.push(timer.case(case, &mut |i, n| bar.at(i, n))?),
        Work::Suite(suite) => {
            for (i, case) in suite.cases.iter().enumerate() {
                bar.at(i, suite.cases.len());
                match timer.case(case, &mut |_, _| ()) {
                    Ok(times) => nets.push(times),
                    Err(e) if e.status == 1 => {
                        bar.say(&format!("{}: {}", case.name, e.message));
                        failed.push((case.name.clone(), e.message));
                    }
                    Err(e) => return Err(e),
                }
            }
        }
    }
    bar.finish();
    let comparison = before.map(|before| bench::compare(&before, &nets, a.threshold));
    if let Some(path) = &a.roofline {
        roofline::save(path, &nets)?;
    }
    match (&work, nets.first()) {
        (Work::Suite(suite), _) if a.json => super::print_json(&Many {
            suite: suite.name,
            device: &device,
            nets: &nets,
            failed: &failed,
            comparison: comparison.as_ref(),
        }),
        (_, Some(net)) if a.json => super::print_json(&One { net, comparison: comparison.as_ref() }),
        _ => print_all(&nets, comparison.as_ref(), a.threshold),
    }
    if let Some(path) = a.roofline.filter(|_| !a.json) {
        super::print(path.display());
    }
    let slower = comparison.as_ref().is_some_and(Comparison::is_slower);
    Ok(if slower || !failed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The number of the GPU of this name, `cuda:0 (…)`.
fn gpu(device: &str) -> Option<usize> {
    device.strip_prefix("cuda:")?.split(' ').next()?.parse().ok()
}

/// The times of an earlier run, of one net or of a suite.
fn read_baseline(path: &Path) -> Result<Vec<NetTime>> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    let read = |bytes: &[u8]| {
        let document: serde_json::Value = serde_json::from_slice(bytes)?;
        match document.get("nets") {
            Some(nets) => serde_json::from_value(nets.clone()),
            None => Ok(vec![serde_json::from_value(document)?]),
        }
    };
    read(&bytes).map_err(|e: serde_json::Error| {
        Failure::usage(format!("--baseline {}: no output of `convnet bench --json`: {e}", path.display()))
    })
}

impl Arguments {
    fn sets(&self) -> Option<String> {
        self.batch.map(|batch| format!("train.batch={batch}"))
    }

    fn effort(&self) -> Effort {
        Effort { repeats: self.repeats, seconds: self.seconds, warm_up: self.warm_up, step_only: self.step_only }
    }

    /// Times a config's loader, and prints that.
    fn time_loader(&self, work: &Work) -> Result {
        if !matches!(work, Work::Config) {
            return Err(Failure::usage("--loader is for a config: suites and single layers read no images"));
        }
        let spec = self.config.load(self.sets())?;
        let name = spec.data.source.clone();
        // The device normalises, not the loader: nothing needs to be measured.
        let setup = Setup::with_normalisation(spec, |_| Ok(Normalisation { mean: Vec::new(), scale: 1.0 }))?;
        let mut loader = setup.loader(0)?;
        let mut bar = super::progress::bar("timing");
        let t = bench::time_loader(&mut loader, self.effort(), |i| bar.at(i, self.repeats.max(i)))?;
        bar.finish();
        if self.json {
            super::print_json(&t);
        } else {
            let images = format!("{:.0} images/s of {name}", t.images_per_second);
            let batch = format!("{:.3} ms ± {:.0} % for {} images", t.times.ms, 100.0 * t.times.spread, t.batch);
            super::print(table::pairs(&[("loader alone", images), ("a batch", batch)]));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the arguments name: a file, or what is built in.
    fn work(&self) -> Result<Work> {
        let Some(path) = self.config.path().filter(|path| !path.exists()) else { return Ok(Work::Config) };
        let Some(name) = path.to_str().filter(|name| !name.contains(['/', '\\', '.'])) else { return Ok(Work::Config) };
        if let Some(suite) = bench::suite(name) {
            return Ok(Work::Suite(suite));
        }
        if let Some(case) = bench::case(name) {
            return Ok(Work::Case(case));
        }
        let suites = bench::suites();
        let names: Vec<&str> = suites.iter().map(|s| s.name).collect();
        let layers: Vec<&str> = suites.iter().flat_map(|s| &s.cases).map(|c| c.name.as_str()).collect();
        Err(Failure::usage(format!(
            "'{name}' is no config file, suite or single layer; the suites: {}; of them alone: {}",
            names.join(", "),
            layers.join(", ")
        )))
    }
}

/// What times nets, each beside the peaks of the precision that it runs in.
struct Timer<'a> {
    arguments: &'a Arguments,
    effort: Effort,
    gpu: Option<usize>,
    /// Those measured so far, by what was asked for.
    peaks: Vec<(Option<Precision>, Peaks)>,
}

impl Timer<'_> {
    fn conditions(&mut self, wanted: Option<Precision>) -> Result<Conditions> {
        let known = self.peaks.iter().find(|(precision, _)| *precision == wanted).map(|&(_, peaks)| peaks);
        let peaks = match known {
            _ if self.effort.step_only => None,
            Some(peaks) => Some(peaks),
            None => {
                let peaks = Peaks::measure(|| self.arguments.device.open_again(wanted))?;
                self.peaks.push((wanted, peaks));
                Some(peaks)
            }
        };
        Ok(Conditions { effort: self.effort, peaks, gpu: self.gpu })
    }

    fn case(&mut self, case: &bench::Case, progress: &mut dyn FnMut(usize, usize)) -> Result<NetTime> {
        let sets: Vec<String> = self.arguments.config.sets()?.iter().cloned().chain(self.arguments.sets()).collect();
        match case.load(&sets)? {
            Subject::Net(spec) => self.net(*spec, progress),
            Subject::Single(spec, images) => {
                let precision = spec.train.precision;
                let conditions = self.conditions(precision)?;
                Ok(bench::time_single(&spec, images, self.arguments.device.open_again(precision)?, &conditions)??)
            }
        }
    }

    fn net(&mut self, spec: NetSpec, progress: &mut dyn FnMut(usize, usize)) -> Result<NetTime> {
        let precision = spec.train.precision;
        let conditions = self.conditions(precision)?;
        let setup = Setup::for_shapes(spec)?;
        let batch = setup.micro_batch();
        let mut net = setup.net(batch, self.arguments.device.open_again(precision)?, Purpose::Train)?;
        setup.initialise(&mut net)?;
        let mut loader = Loader::test(setup.data.train.clone(), batch)?;
        let images = loader.next()?;
        net.feed(bytes_of(&images))?;
        drop(loader);
        Ok(bench::time_net(&mut net, &conditions, progress)?)
    }
}

fn print_all(nets: &[NetTime], comparison: Option<&Comparison>, threshold: f64) {
    for (i, net) in nets.iter().enumerate() {
        if i > 0 {
            super::print("");
        }
        print(net);
    }
    let Some(comparison) = comparison else { return };
    let rows = comparison.changes.iter().map(|c| {
        let cells = [&c.net, &c.name, &c.pass].map(String::clone);
        let slower = if c.slower { "slower" } else { "" };
        let figures = [format!("{:.3}", c.before_ms), format!("{:.3}", c.now_ms), format!("{:.3}", c.ratio), slower.into()];
        cells.into_iter().chain(figures).collect()
    });
    super::print(format!("\nbeside the baseline (slower: above {threshold})"));
    super::print(table::table(&["net", "layer", "pass", "ms then", "ms now", "ratio", ""], 3, rows));
    comparison.notes.iter().for_each(|note| eprintln!("note: {note}"));
}

fn print(t: &NetTime) {
    super::print(format!("{}: {} images a step on {}", t.name, t.batch, t.device));
    let figure = |shown: bool, text: String| if shown { text } else { String::new() };
    let rows = t.layers.iter().map(|l| {
        let PassTime { times, .. } = l;
        vec![
            l.name.clone(),
            l.pass.clone(),
            format!("{:.3}", times.ms),
            format!("{:.0} %", 100.0 * times.spread),
            figure(l.gflops > 0.0, format!("{:.1}", l.gflops)),
            figure(l.bytes > 0, format!("{:.1}", l.bytes as f64 / times.ms / 1e6)),
            format!("{:.1} %", 100.0 * times.ms / t.step_ms),
            figure(l.floor_ms > 0.0, format!("{:.3}", l.floor_ms)),
            figure(l.floor_ms > 0.0, format!("{:.0} %", 100.0 * l.share_of_peak)),
            l.bound.clone(),
        ]
    });
    let header = ["layer", "pass", "ms", "±", "GFLOP/s", "GB/s", "of a step", "floor ms", "of peak", "bound by"];
    if !t.layers.is_empty() {
        super::print(table::table(&header, 2, rows));
    }
    let (batch, spread) = (t.batch as f64, |spread: f64| format!("± {:.0} %", 100.0 * spread));
    let whole = t.peaks.map(|_| format!("{:.1} GFLOP/s, {:.0} % of what the peaks allow", t.gflops, 100.0 * t.share_of_peak));
    let peaks = t.peaks.map(|p| {
        let product = format!("{:.1} GFLOP/s in a product of {} rows in {}", p.gflops, p.product_size, p.precision);
        format!("{product}, {:.1} GB/s in a copy", p.gigabytes_per_second)
    });
    let clocks = t.clocks.map(|c| {
        let max = c.max_mhz.map_or(String::new(), |max| format!(" of {max:.0}"));
        let memory = c.memory_mhz.map_or(String::new(), |m| format!(", memory {m:.0} MHz"));
        format!("{:.0}{max} MHz{memory}", c.mhz)
    });
    let (step, forward) = (t.images_per_second, batch / t.forward_ms * 1e3);
    let rows = [
        Some(("training step", format!("{:.3} ms {}, {step:.0} images/s", t.step_ms, spread(t.step_spread)))),
        whole.map(|text| ("", text)),
        Some(("forward alone", format!("{:.3} ms {}, {forward:.0} images/s", t.forward_ms, spread(t.forward_spread)))),
        Some(("memory", table::bytes(t.peak_bytes as u64))),
        peaks.map(|text| ("measured peaks", text)),
        clocks.map(|text| ("clocks", text)),
    ];
    super::print(table::pairs(&rows.into_iter().flatten().collect::<Vec<_>>()));
}
