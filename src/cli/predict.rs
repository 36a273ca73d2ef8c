//! `convnet predict`.

use super::test::Which;
use super::{DeviceArguments, Failure, Result, table};
use crate::data::{ImageShape, decode};
use crate::device::{Place, Shape, StepValues, Tensor};
use crate::layer::Phase;
use crate::net::{BatchBytes, Graph, Net, Purpose};
use crate::report::study::{is_probable, softmax};
use crate::train::{self, Run};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Images that go through the net at once, at most.
const BATCH: usize = 64;

/// The arguments of `predict`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// Image files, and folders of them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Print the N most probable classes
    #[arg(long, default_value_t = 5, value_name = "N")]
    top: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Serialize)]
struct Report {
    run: PathBuf,
    step: u64,
    images: Vec<Predicted>,
    /// Files that could not be read.
    failed: Vec<Unread>,
}

#[derive(Serialize)]
struct Predicted {
    path: PathBuf,
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    class: usize,
    name: String,
    probability: f64,
}

#[derive(Serialize)]
struct Unread {
    path: PathBuf,
    error: String,
}

/// A net that makes predictions.
struct Predictor {
    net: Net,
    output: Tensor,
    /// The output is probabilities already, of one class each or each of its own.
    probabilities: bool,
    names: Vec<String>,
    top: usize,
}

pub(super) fn run(a: Arguments) -> Result {
    let (files, mut failed) = files(&a.images);
    // Neither the data that the net was trained on nor its labels are needed: a checkpoint holds what is.
    let spec = super::config::load_run(&Run::config(&a.run)?, &[])?;
    let (found, path) = a.which.load(&a.run)?;
    let normalisation = train::normalisation_of(&found, &path)?;
    if spec.data.pairs {
        return Err(Failure::new("the net was trained on pairs of images, and an image file is one; `convnet test` tests it"));
    }
    let [h, w, c] = found.state.data.shape;
    if !(1..=4).contains(&c) {
        return Err(Failure::new(format!("the net sees images of {c} channels; image files have 1 to 4")));
    }
    let shape = Shape::new(files.len().clamp(1, BATCH), h, w, c);
    let mut graph = Graph::new(&spec, shape, found.state.data.classes)?;
    graph.fold();
    let Some(prediction) = graph.prediction() else {
        return Err(Failure::new("the net has no output to predict with"));
    };
    let probabilities = is_probable(&graph, prediction);
    let mut device = a.device.open(spec.train.precision)?;
    device.set_winograd(spec.train.winograd);
    let net = Net::new(graph, device, Purpose::Infer, shape, &normalisation.mean, normalisation.scale);
    let mut net = net.map_err(|(error, _)| error)?;
    train::load_parameters(&mut net, &found, &path)?;
    let output = net.plan.nodes[prediction].output.expect("a prediction is an output");
    let mut predictor = Predictor { net, output, probabilities, names: found.state.data.class_names, top: a.top };

    let mut bar = super::progress::bar("predicting");
    let mut predicted: Vec<Predicted> = Vec::new();
    let (mut pixels, mut paths) = (Vec::with_capacity(shape.elements()), Vec::new());
    for (i, file) in files.iter().enumerate() {
        match read(file, shape) {
            Ok(image) => {
                pixels.extend(image);
                paths.push(file.clone());
            }
            Err(error) => failed.push(Unread { path: file.clone(), error }),
        }
        if paths.len() == shape.n || i + 1 == files.len() {
            let predictions = predictor.predict(&mut pixels, paths.len())?;
            predicted.extend(paths.drain(..).zip(predictions).map(|(path, predictions)| Predicted { path, predictions }));
        }
        bar.at(i + 1, files.len());
    }
    bar.finish();
    for Unread { path, error } in &failed {
        eprintln!("error: cannot read {}: {error}", path.display());
    }
    let status = if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let report = Report { run: a.run, step: found.state.step, images: predicted, failed };
    if a.json {
        super::print_json(&report);
    } else {
        report.images.iter().for_each(print);
    }
    Ok(status)
}

fn print(image: &Predicted) {
    super::print(image.path.display());
    for p in &image.predictions {
        super::print(format!("{:>10}  {}", table::percent(p.probability), p.name));
    }
}

/// The files that the arguments name, folders replaced by the image files in them, sorted; and what is not there.
fn files(arguments: &[PathBuf]) -> (Vec<PathBuf>, Vec<Unread>) {
    let (mut files, mut failed) = (Vec::new(), Vec::new());
    for argument in arguments {
        if !argument.is_dir() {
            files.push(argument.clone());
            continue;
        }
        let named = |p: &PathBuf| p.is_file() && decode::is_named_as_one(&p.to_string_lossy());
        let listed = std::fs::read_dir(argument).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect());
        match listed.map(|paths: Vec<PathBuf>| paths.into_iter().filter(named).collect::<Vec<_>>()) {
            Ok(found) if found.is_empty() => {
                failed.push(Unread { path: argument.clone(), error: "no image files are in this folder".into() });
            }
            Ok(mut found) => {
                found.sort();
                files.append(&mut found);
            }
            Err(e) => failed.push(Unread { path: argument.clone(), error: e.to_string() }),
        }
    }
    (files, failed)
}

/// An image file's pixels as the net sees them: its channels, its size.
fn read(path: &Path, to: Shape) -> Result<Vec<u8>, String> {
    if !std::fs::metadata(path).map_err(|e| e.to_string())?.is_file() {
        // A pipe would be waited for.
        return Err("this is no file".into());
    }
    let picture = decode::decode(&std::fs::read(path).map_err(|e| e.to_string())?, Some(to.c))?;
    let (shape, ImageShape { h, w, .. }) = (ImageShape::new(to.h, to.w, to.c), picture.shape);
    let mut pixels = vec![0; shape.bytes()];
    picture.fit(decode::Part { left: 0.0, top: 0.0, width: w as f64, height: h as f64 }, shape, &mut pixels);
    Ok(pixels)
}

impl Predictor {
    /// The most probable classes of each of the first `count` images, which are taken out of `pixels`.
    fn predict(&mut self, pixels: &mut Vec<u8>, count: usize) -> Result<Vec<Vec<Prediction>>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let shape = self.net.graph.images;
        pixels.resize(shape.elements(), 0);
        let (places, labels) = (vec![Place::default(); shape.n], vec![0; shape.n]);
        self.net.feed(BatchBytes { images: pixels, places: &places, labels: &labels })?;
        self.net.set_step(StepValues {
            seed: 0,
            step: 0,
            first_image: 0,
            images: count as u32,
            gradient_scale: 0.0,
            learning_rate: 0.0,
            momentum: 0.0,
        })?;
        self.net.forward(Phase::Test)?;
        let outputs = self.net.read(self.output)?;
        pixels.clear();
        Ok(outputs.chunks(self.output.shape.image()).take(count).map(|scores| self.best(scores)).collect())
    }

    fn best(&self, scores: &[f64]) -> Vec<Prediction> {
        let probabilities = if self.probabilities { scores.to_vec() } else { softmax(scores) };
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // Of equal ones the first is the prediction, as everywhere.
        order.sort_by(|&i, &j| probabilities[j].total_cmp(&probabilities[i]));
        let name = |class: usize| self.names.get(class).cloned().unwrap_or_else(|| class.to_string());
        let prediction = |&class: &usize| Prediction { class, name: name(class), probability: probabilities[class] };
        order.iter().take(self.top).map(prediction).collect()
    }
}
