//! `convnet diagnose`.

use super::report::Record;
use super::test::Which;
use super::{DeviceArguments, Result, progress, train::stop_on_signals};
use crate::check;
use crate::report::signs::{self, Level, Sign};
use crate::train::{Setup, Split, trial};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// The share of the time that may be spent waiting for images.
const MAX_WAIT: f64 = 0.05;

/// The arguments of `diagnose`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Leave out what takes longest: the gradient check, and learning a few images by heart
    #[arg(long)]
    quick: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// One question of the list, and what was found.
#[derive(Serialize)]
struct Checked {
    question: &'static str,
    signs: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    level: &'static str,
    about: String,
    says: String,
}

/// The answers, as they come in.
struct List {
    checked: Vec<Checked>,
    json: bool,
}

impl List {
    fn add(&mut self, question: &'static str, signs: impl IntoIterator<Item = Sign>) {
        let signs: Vec<Shown> =
            signs.into_iter().map(|s| Shown { level: s.level.word(), about: s.about, says: s.says }).collect();
        if !self.json {
            super::print(question);
            if signs.is_empty() {
                super::print("  -     nothing to tell it by");
            }
            for s in &signs {
                super::print(format!("  {:5} {}: {}", s.level, s.about, s.says));
            }
        }
        self.checked.push(Checked { question, signs });
    }
}

#[derive(Serialize)]
struct Report {
    run: PathBuf,
    step: u64,
    /// Signs that something is wrong.
    bad: usize,
    /// Signs that are worth a look.
    look: usize,
    checked: Vec<Checked>,
}

pub(super) fn run(a: Arguments) -> Result {
    let stop = stop_on_signals()?;
    let record = Record::read(&a.run, &a.which)?;
    let lines = &record.lines;
    let study = record.study(&a.device)?;
    let mut list = List { checked: Vec::new(), json: a.json };

    // A log that cannot be read says nothing.
    let log = std::fs::read_to_string(a.run.join("log.txt")).unwrap_or_default();
    let diverged = log.lines().rfind(|l| l.contains("no longer a finite number"));
    let diverged = diverged.map(|l| Sign::new(Level::Bad, "log.txt", l));
    list.add("Does training diverge?", diverged.into_iter().chain(signs::of_loss(lines)));
    list.add("Is the learning rate right?", [signs::of_updates(lines), signs::of_rate(lines)].into_iter().flatten());
    if !a.quick {
        list.add("Are the gradients right?", [gradients(&record)?]);
        list.add("Does it learn a few images by heart?", [by_heart(&record, &a.device, &stop)?]);
        if stop.load(Ordering::Relaxed) {
            eprintln!("stopped");
            return Ok(ExitCode::from(130));
        }
    }
    let classes = &record.checkpoint.state.data.class_names;
    list.add("Does the cost fit the task?", signs::of_predictions(&study, classes));
    list.add(
        "Is it too small, or does it overfit?",
        [signs::of_gap(lines), signs::of_tests(lines), Some(size(&record))].into_iter().flatten(),
    );
    list.add("Have its filters structure?", record.filters().iter().filter_map(signs::of_filters));
    list.add("Are its hidden units sparse and different?", study.units.iter().map(signs::of_units));
    list.add("Is it fast enough?", speed(&record));

    let number = |level: Level| list.checked.iter().flat_map(|c| &c.signs).filter(|s| s.level == level.word()).count();
    let (bad, look) = (number(Level::Bad), number(Level::Look));
    if a.json {
        super::print_json(&Report { run: a.run, step: record.checkpoint.state.step, bad, look, checked: list.checked });
    } else {
        super::print(format!("{bad} bad signs, {look} worth a look"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Finite differences, a few elements of each gradient.
fn gradients(record: &Record) -> Result<Sign> {
    let setup = Setup::for_shapes(record.spec.clone())?;
    let options = check::Options { seed: setup.spec.train.seed, elements: 10, layer: None };
    let mut bar = progress::bar("checking");
    let layers = check::check(&setup.graph(2)?, &options, |i, n| bar.at(i, n))?;
    bar.finish();
    let wrong: Vec<&str> = layers.iter().filter(|l| !l.is_right()).map(|l| l.name.as_str()).collect();
    Ok(if wrong.is_empty() {
        let says = format!("{} agree with finite differences, the worst within {:.0e}", layers.len(), check::worst(&layers));
        Sign::new(Level::Good, "gradients", says)
    } else {
        let says = format!("those of {} are not what finite differences give: see `convnet check`", wrong.join(", "));
        Sign::new(Level::Bad, "gradients", says)
    })
}

fn by_heart(record: &Record, device: &DeviceArguments, stop: &AtomicBool) -> Result<Sign> {
    let heart = trial::by_heart(&record.spec, device.open(record.spec.train.precision)?, stop)?;
    let trial::Heart { images, steps, error, loss: [first, last] } = heart;
    let learned = last < 0.1 * first && error == 0.0;
    let error = if record.errors() { format!(", the error {:.1} %", 100.0 * error) } else { String::new() };
    let says = format!("on {images} images the loss went from {first:.3} to {last:.3} in {steps} steps{error}");
    Ok(if learned {
        Sign::new(Level::Good, "a few images", says)
    } else {
        let help = "a net that can learn at all has none of so few wrong: try other rates (`convnet find-lr`), other initial \
                    weights, less dropout";
        Sign::new(Level::Look, "a few images", format!("{says}: {help}"))
    })
}

fn size(record: &Record) -> Sign {
    let parameters = record.graph.parameter_count();
    let images = record.checkpoint.state.data.train_images;
    let says = format!(
        "{} parameters and {} multiply-adds an image, for {} training images",
        super::table::thousands(parameters as u64),
        super::table::thousands(record.graph.multiply_adds()),
        super::table::thousands(images as u64)
    );
    Sign::new(Level::Good, "size", says)
}

/// Images a second, and what that is in arithmetic: a step is three forward passes. And how long it waits for images.
fn speed(record: &Record) -> Vec<Sign> {
    let train = || record.lines.iter().filter(|l| l.split == Split::Train);
    let mut speeds: Vec<f64> = train().map(|l| l.images_per_second).collect();
    speeds.sort_by(f64::total_cmp);
    let Some(&median) = speeds.get(speeds.len() / 2) else { return Vec::new() };
    let flops = 6.0 * record.graph.multiply_adds() as f64 * median;
    let says = format!(
        "{median:.0} images/s, {} GFLOP/s; `convnet bench` tells which layers take how long, and a smaller net or images less",
        crate::report::chart::short(flops / 1e9)
    );
    let wait = train().map(|l| l.data_wait).sum::<f64>() / speeds.len() as f64;
    let waits = format!("{:.1} % of the time is spent waiting for images", 100.0 * wait);
    let data = if wait > MAX_WAIT {
        Sign::new(Level::Look, "data", format!("{waits}: smaller files, or images that are decoded already, are read faster"))
    } else {
        Sign::new(Level::Good, "data", waits)
    };
    vec![Sign::new(Level::Good, "speed", says), data]
}
