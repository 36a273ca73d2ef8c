//! `convnet test`.

use super::{DeviceArguments, Result, table};
use crate::data::{ImageShape, Source};
use crate::layer::Counts;
use crate::net::{CostMetrics, Net, Purpose};
use crate::report;
use crate::testing::measures::{ClassMeasures, Measures};
use crate::testing::views::{Kind, Views};
use crate::testing::{self, Material};
use crate::train::checkpoint::{self, Checkpoint};
use crate::train::{self, CostLine, Run, Setup, files};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU16};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The arguments of `test`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Average the predictions of several checkpoints, by their steps or `best`: --checkpoints 400,800,best
    #[arg(long, value_name = "STEP", value_delimiter = ',', conflicts_with = "checkpoint")]
    checkpoints: Vec<String>,
    /// What is taken of an image, the predictions averaged: 1 the middle; 10 corners and middle, and their mirror images; dense
    /// every window, and of the mirror image
    #[arg(long, default_value = "1", value_name = "VIEWS")]
    views: ViewsArgument,
    /// Resize each image's shorter side to these lengths, and average [default: as it is; with 10 and dense 8/7 of the net's side]
    #[arg(long, value_name = "PIXELS", value_delimiter = ',')]
    scales: Vec<NonZeroU16>,
    /// Dense views also of the image shifted so many times along each axis, between one window and the next
    #[arg(long, default_value_t = NonZeroU8::MIN, value_name = "N")]
    offsets: NonZeroU8,
    /// Print each class's errors, which classes are taken for which, and how far probabilities are from what they say
    #[arg(long)]
    details: bool,
    /// Draw the confusion matrix as a PNG file
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    /// Draw how often predictions of each confidence are right as a PNG file
    #[arg(long, value_name = "FILE")]
    reliability: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// What is taken of an image.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ViewsArgument {
    #[value(name = "1")]
    One,
    #[value(name = "10")]
    Ten,
    Dense,
}

/// Which checkpoint of a run.
#[derive(Args, Default)]
pub(super) struct Which {
    /// Use this checkpoint's step, or `best` [default: the newest]
    #[arg(long, value_name = "STEP")]
    checkpoint: Option<String>,
}

#[derive(Serialize)]
struct Report {
    run: PathBuf,
    step: u64,
    loss: f64,
    error: f64,
    error_top5: f64,
    images: u64,
    /// Each cost apart, as in a line of the metrics.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    costs: BTreeMap<String, CostLine>,
}

/// What is printed where predictions are looked at one by one.
#[derive(Serialize)]
struct Detailed<'a> {
    run: &'a Path,
    /// The checkpoints' steps.
    steps: Vec<u64>,
    /// Views of an image, at all scales.
    views: usize,
    #[serde(flatten)]
    measures: &'a Measures,
    classes: Vec<ClassRow>,
}

/// One class.
#[derive(Serialize)]
struct ClassRow {
    name: String,
    #[serde(flatten)]
    measures: ClassMeasures,
}

impl Which {
    /// Loads the checkpoint.
    pub(super) fn load(&self, run: &Path) -> Result<(Checkpoint, PathBuf)> {
        Self::load_named(run, self.checkpoint.as_deref())
    }

    /// Loads the checkpoint of a step, or `best`, or the newest.
    fn load_named(run: &Path, which: Option<&str>) -> Result<(Checkpoint, PathBuf)> {
        let folder = run.join("checkpoints");
        let found = match which {
            None => checkpoint::newest(&folder, false, |w| eprintln!("warning: {w}"))?,
            Some(which) => {
                let step = if which == "best" { checkpoint::best(&folder) } else { which.parse().ok() };
                let all = checkpoint::list(&folder);
                let Some((_, path)) = all.iter().find(|(s, _)| Some(*s) == step) else {
                    let steps: Vec<String> = all.iter().map(|(s, _)| s.to_string()).collect();
                    return Err(super::Failure::usage(format!(
                        "there is no checkpoint '{which}'; there are: best {}",
                        steps.join(" ")
                    )));
                };
                Checkpoint::load(path, false)?
            }
        };
        let path = folder.join(format!("step-{}", found.state.step));
        Ok((found, path))
    }
}

/// A run's net with a checkpoint's parameters, and what it was made of.
pub(super) fn load_net(run: &Path, which: &Which, device: &DeviceArguments, batch: Option<usize>) -> Result<(Net, Setup, u64)> {
    let spec = super::config::load_run(&Run::config(run)?, &[])?;
    let (found, path) = which.load(run)?;
    let setup = Setup::with_normalisation(spec, |_| train::normalisation_of(&found, &path))?;
    let batch = batch.unwrap_or_else(|| setup.micro_batch());
    let precision = setup.spec.train.precision;
    let mut net = setup.net(batch, device.open(precision)?, Purpose::Infer)?;
    train::load_parameters(&mut net, &found, &path)?;
    Ok((net, setup, found.state.step))
}

pub(super) fn run(a: Arguments) -> Result {
    if a.offsets.get() > 1 && a.views != ViewsArgument::Dense {
        return Err(super::Failure::usage("--offsets is for --views dense"));
    }
    let views = a.views != ViewsArgument::One || !a.scales.is_empty() || !a.checkpoints.is_empty();
    if views || a.details || a.confusion.is_some() || a.reliability.is_some() {
        return detailed(&a);
    }
    let (mut net, setup, step) = load_net(&a.run, &a.which, &a.device, None)?;
    let mut tests = crate::data::Loader::test(setup.data.test.clone(), net.batch())?;
    let mut bar = super::progress::bar("testing");
    let metrics = train::evaluate(&mut net, &mut tests, setup.spec.train.seed, &mut |i, n| bar.at(i, n))?;
    bar.finish();
    let loss = net.total_loss(&metrics);
    let first = metrics.first().map(|(_, m)| m.clone()).unwrap_or_default();
    let report = Report {
        run: a.run,
        step,
        loss,
        error: first.error,
        error_top5: first.error_top5,
        images: first.images as u64,
        costs: train::cost_lines(&metrics),
    };
    if a.json {
        super::print_json(&report);
        return Ok(ExitCode::SUCCESS);
    }
    let counts: Vec<Counts> = net.graph.costs().map(|i| net.graph.nodes[i].layer.counts()).collect();
    let Counts { errors, top5, .. } = counts.first().copied().unwrap_or_default();
    let rows = [
        Some(("step", report.step.to_string())),
        Some(("images", table::thousands(report.images))),
        Some(("loss", format!("{:.4}", report.loss))),
        errors.then(|| ("error", table::percent(report.error))),
        top5.then(|| ("top-5 error", table::percent(report.error_top5))),
    ];
    super::print(table::pairs(&rows.into_iter().flatten().collect::<Vec<_>>()));
    if metrics.len() > 1 {
        let share = |told: bool, error: f64| if told { table::percent(error) } else { String::new() };
        let rows = metrics.iter().zip(&counts).map(|((name, m), c)| {
            vec![name.clone(), format!("{:.4}", m.loss), share(c.errors, m.error), share(c.top5, m.error_top5)]
        });
        super::print("");
        super::print(table::table(&["cost", "loss", "error", "top-5 error"], 1, rows));
    }
    for (name, m) in metrics.iter().filter(|(_, m)| !m.counts.is_empty()) {
        super::print(format!("\n{name}"));
        super::print(class_table(m, &setup.data.class_names));
    }
    Ok(ExitCode::SUCCESS)
}

/// The test where each image's predictions are read: averaged over views and checkpoints, and told in detail.
fn detailed(a: &Arguments) -> Result {
    let spec = super::config::load_run(&Run::config(&a.run)?, &[])?;
    let names: Vec<Option<&str>> = match a.checkpoints.as_slice() {
        [] => vec![a.which.checkpoint.as_deref()],
        several => several.iter().map(|name| Some(name.as_str())).collect(),
    };
    let checkpoints: Vec<_> = names.iter().map(|name| Which::load_named(&a.run, *name)).collect::<Result<_>>()?;
    let data = train::open_data(&spec)?;
    let kind = match a.views {
        ViewsArgument::One => Kind::One,
        ViewsArgument::Ten => Kind::Ten,
        ViewsArgument::Dense => Kind::Dense,
    };
    let scales = a.scales.iter().map(|scale| usize::from(scale.get())).collect();
    let views = Views { kind, scales, offsets: usize::from(a.offsets.get()) };
    drop(a.device.open(spec.train.precision)?);
    let mut bar = super::progress::bar("testing");
    // Image files have more to show at a larger size than what is made of them for training.
    let at = |shape: ImageShape| -> train::Result<Arc<dyn Source>> {
        if shape == data.shape() || !data.test.is_slow() || spec.data.pairs {
            return Ok(data.test.clone());
        }
        let mut larger = spec.clone();
        larger.data.shape = Some([shape.h, shape.w, shape.c]);
        larger.data.size = Some(shape.h.min(shape.w));
        Ok(train::open_data(&larger)?.test)
    };
    let open = || Ok(a.device.open_again(spec.train.precision)?);
    let material = Material { spec: &spec, source: &data.test, at: &at, open: &open };
    let (predictions, seen) = testing::predict(&material, &checkpoints, &views, &mut |i, n| bar.at(i, n))?;
    bar.finish();
    let measures = Measures::of(&predictions);
    let name = |class: usize| data.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let title = format!("{}: {} of {} test images wrong", spec.name, table::percent(measures.error), measures.images);
    if let Some(path) = &a.confusion {
        files::replace(path, &report::png(&report::confusion::draw(&measures.confusion, &data.class_names, &title)?)?)?;
    }
    if let Some(path) = &a.reliability {
        files::replace(path, &report::png(&report::reliability::draw(&measures.calibration, &title)?)?)?;
    }
    let steps: Vec<u64> = checkpoints.iter().map(|(found, _)| found.state.step).collect();
    let row = |(i, measures): (usize, ClassMeasures)| ClassRow { name: name(i), measures };
    let classes: Vec<ClassRow> = measures.classes().into_iter().enumerate().map(row).collect();
    if a.json {
        super::print_json(&Detailed { run: &a.run, steps, views: seen, measures: &measures, classes });
        return Ok(ExitCode::SUCCESS);
    }
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    super::print(table::pairs(&[
        ("step", steps.join(", ")),
        ("images", table::thousands(measures.images)),
        ("views of each", seen.to_string()),
        ("loss", format!("{:.4}", measures.loss)),
        ("error", table::percent(measures.error)),
        ("top-5 error", table::percent(measures.error_top5)),
        ("calibration error", table::percent(measures.calibration.ece)),
    ]));
    if a.details {
        print_details(&measures, &classes);
    }
    a.confusion.iter().chain(&a.reliability).for_each(|path| super::print(path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Pairs of classes that are shown, of those taken for each other most.
const CONFUSED: usize = 12;

fn print_details(measures: &Measures, classes: &[ClassRow]) {
    let part = |n: u64, of: u64| if of > 0 { table::percent(n as f64 / of as f64) } else { "none".into() };
    let rows = classes.iter().map(|c| {
        let m = c.measures;
        let figures = [table::thousands(m.images), part(m.images - m.right, m.images), part(m.right, m.predicted)];
        std::iter::once(c.name.clone()).chain(figures).collect()
    });
    super::print("");
    super::print(table::table(&["class", "images", "error", "precision"], 1, rows));
    let confused = measures.confused(CONFUSED);
    if !confused.is_empty() {
        let rows = confused.into_iter().map(|(i, j, n)| {
            vec![classes[i].name.clone(), classes[j].name.clone(), table::thousands(n), part(n, classes[i].measures.images)]
        });
        super::print("");
        super::print(table::table(&["class", "taken for", "images", "of the class"], 2, rows));
    }
    let rows = measures.calibration.bins.iter().map(|b| {
        let range = format!("{:.0} – {:.0} %", 100.0 * b.from, 100.0 * b.to);
        vec![range, table::thousands(b.images), table::percent(b.confidence), table::percent(b.accuracy)]
    });
    super::print("");
    super::print(table::table(&["probability", "images", "mean", "right"], 1, rows));
}

/// A row for each class that a cost counts something of; where it counts what they are made of, with precision (the part of
/// what is declared positive that is) and recall (the part of what is positive that is declared).
fn class_table(m: &CostMetrics, names: &[String]) -> String {
    let counted = |name: &str| m.counts.iter().find(|(n, _)| *n == name).map(|(_, values)| values);
    let detections = [counted("true_positives"), counted("false_positives"), counted("false_negatives")];
    let mut header = vec!["class".to_owned()];
    header.extend(m.counts.iter().map(|(name, _)| name.replace('_', " ")));
    if detections.iter().all(Option::is_some) {
        header.extend(["precision".to_owned(), "recall".to_owned()]);
    }
    let classes = m.counts.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let rows = (0..classes).map(|class| {
        let name = if names.len() == classes { names[class].clone() } else { class.to_string() };
        let mut row = vec![name];
        row.extend(m.counts.iter().map(|(_, values)| table::thousands(values[class] as u64)));
        if let [Some(found), Some(wrong), Some(missed)] = detections {
            row.extend([wrong, missed].map(|others| {
                let all = found[class] + others[class];
                if all > 0.0 { table::percent(found[class] / all) } else { "none".into() }
            }));
        }
        row
    });
    table::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), 1, rows)
}
