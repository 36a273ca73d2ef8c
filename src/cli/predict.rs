//! `convnet predict`.

use super::test::Which;
use super::{DeviceArguments, Failure, Result, table};
use crate::config::NetSpec;
use crate::data::ImageShape;
use crate::data::decode::{self, At, Part, Picture};
use crate::device::Shape;
use crate::net::Graph;
use crate::report::{self, heat::HeatMap};
use crate::testing::Predictor;
use crate::testing::subnet::Dense;
use crate::testing::views::{Kind, Views};
use crate::train::checkpoint::Checkpoint;
use crate::train::{Run, files};
use clap::Args;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Images that go through the net at once, at most.
const BATCH: usize = 64;

/// Bytes of an image file that comes from standard input, at most.
const MAX_INPUT: u64 = 1 << 28;

/// The arguments of `predict`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// Image files, and folders of them; - is an image from standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Draw where in the one image the net sees a class, by a window that slides over it, as a PNG file
    #[arg(long, value_name = "FILE")]
    heat_map: Option<PathBuf>,
    /// The class of --heat-map: its name or number [default: the likeliest]
    #[arg(long, value_name = "CLASS", requires = "heat_map")]
    class: Option<String>,
    /// What --heat-map resizes the image's shorter side to [default: twice what the net sees]
    #[arg(long, value_name = "PIXELS", requires = "heat_map")]
    scale: Option<std::num::NonZeroU16>,
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
    /// The likeliest classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predictions: Vec<Prediction>,
    /// Of a net that tells values: those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    name: String,
    value: f64,
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

pub(super) fn run(a: Arguments) -> Result {
    // Neither the data that the net was trained on nor its labels are needed: a checkpoint holds what is.
    let spec = super::config::load_run(&Run::config(&a.run)?, &[])?;
    let (found, path) = a.which.load(&a.run)?;
    if spec.data.pairs {
        return Err(Failure::new("the net was trained on pairs of images, and an image file is one; `convnet test` tests it"));
    }
    let [h, w, c] = found.state.data.shape;
    if !(1..=4).contains(&c) {
        return Err(Failure::new(format!("the net sees images of {c} channels; image files have 1 to 4")));
    }
    let (files, mut failed) = listed(&a.images);
    if let Some(to) = &a.heat_map {
        let ([image], []) = (files.as_slice(), failed.as_slice()) else {
            return Err(Failure::usage("--heat-map is of one image file"));
        };
        if found.state.data.values {
            return Err(Failure::usage("--heat-map is of a class, and this net tells values"));
        }
        return heat_map(&a, &spec, (&found, &path), image, to);
    }
    let shape = Shape::new(files.len().clamp(1, BATCH), h, w, c);
    let mut predictor = Predictor::new(&spec, shape, &found, &path, a.device.open(spec.train.precision)?)?;
    let outputs = predictor.output().image();

    let mut bar = super::progress::bar("predicting");
    let mut predicted: Vec<Predicted> = Vec::new();
    let (mut pixels, mut paths) = (Vec::with_capacity(shape.elements()), Vec::new());
    for (i, file) in files.iter().enumerate() {
        match read(file, shape, spec.data.size) {
            Ok(image) => {
                pixels.extend(image);
                paths.push(file.clone());
            }
            Err(error) => failed.push(Unread { path: file.clone(), error }),
        }
        if paths.len() == shape.n || i + 1 == files.len() {
            if !paths.is_empty() {
                let data = &found.state.data;
                let (values, predictions): (Vec<_>, Vec<_>) = if data.values {
                    let values = predictor.run(&mut pixels, paths.len())?;
                    values.chunks(outputs).map(|values| (told(values, &data.class_names), Vec::new())).unzip()
                } else {
                    let probabilities = predictor.probabilities(&mut pixels, paths.len(), outputs)?;
                    probabilities.chunks(outputs).map(|p| (Vec::new(), best(p, &data.class_names, a.top))).unzip()
                };
                let told = predictions.into_iter().zip(values);
                let one = |(path, (predictions, values))| Predicted { path, predictions, values };
                predicted.extend(paths.drain(..).zip(told).map(one));
            }
            pixels.clear();
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
    for Told { name, value } in &image.values {
        super::print(format!("{value:>10.4}  {name}"));
    }
}

/// The files that the arguments name, folders replaced by the image files in them, sorted; and what is not there.
fn listed(arguments: &[PathBuf]) -> (Vec<PathBuf>, Vec<Unread>) {
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

/// As [`listed`], where all of them are needed.
pub(super) fn image_files(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (files, failed) = listed(arguments);
    match failed.first() {
        Some(Unread { path, error }) => Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        None => Ok(files),
    }
}

/// An image file, or what comes from standard input, with so many channels.
fn picture(path: &Path, channels: usize) -> Result<Picture, String> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let read = std::io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes);
        read.map_err(|e| e.to_string())?;
        if bytes.len() as u64 > MAX_INPUT {
            return Err(format!("it has more than {MAX_INPUT} bytes"));
        }
    } else {
        if !std::fs::metadata(path).map_err(|e| e.to_string())?.is_file() {
            // A pipe would be waited for.
            return Err("this is no file".into());
        }
        bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    }
    decode::decode(&bytes, Some(channels))
}

/// An image file's pixels as the net sees them in a test: its channels, the shorter side resized to `data.size`, the middle of it.
pub(super) fn read(path: &Path, to: Shape, size: Option<usize>) -> Result<Vec<u8>, String> {
    let picture = picture(path, to.c)?;
    let shape = ImageShape::new(to.h, to.w, to.c);
    let mut pixels = vec![0; shape.bytes()];
    picture.fit(Part::of(picture.shape.w, picture.shape.h, size, shape, At::Centre), shape, &mut pixels);
    Ok(pixels)
}

fn class_name(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// The values that a net tells, with their names.
fn told(values: &[f64], names: &[String]) -> Vec<Told> {
    values.iter().enumerate().map(|(i, &value)| Told { name: class_name(names, i), value }).collect()
}

/// The most probable classes.
fn best(probabilities: &[f64], names: &[String], top: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    // Of equal ones the first is the prediction, as everywhere.
    order.sort_by(|&i, &j| probabilities[j].total_cmp(&probabilities[i]));
    let prediction = |&class: &usize| Prediction { class, name: class_name(names, class), probability: probabilities[class] };
    order.iter().take(top).map(prediction).collect()
}

/// Draws where in an image the net sees a class.
fn heat_map(a: &Arguments, spec: &NetSpec, (found, path): (&Checkpoint, &Path), image: &Path, to: &Path) -> Result {
    let [h, w, c] = found.state.data.shape;
    let net = ImageShape::new(h, w, c);
    let graph = Graph::new(spec, Shape::new(1, h, w, c), found.state.data.classes)?;
    let dense = Dense::new(spec, &graph)?;
    let read = |e: String| Failure::new(format!("cannot read {}: {e}", image.display()));
    let picture = picture(image, c).map_err(read)?;
    let scale = a.scale.map_or(2 * h.min(w), |scale| usize::from(scale.get()));
    let views = Views { kind: Kind::Dense, scales: vec![scale], offsets: 1 };
    let passes = views.passes(picture.shape, net, Some(&dense))?;
    let scaled = passes[0].scaled;
    let mut pixels = passes[0].resize(picture);
    let picture = Picture { shape: scaled, pixels: pixels.clone() };
    let images = Shape::new(1, scaled.h, scaled.w, scaled.c);
    let mut predictor = Predictor::dense(&dense, images, found, path, a.device.open(spec.train.precision)?)?;
    let y = predictor.output();
    let probabilities = predictor.probabilities(&mut pixels, 1, y.c)?;
    let names = &found.state.data.class_names;
    let of = |class: usize| probabilities.iter().skip(class).step_by(y.c).copied();
    let class = match &a.class {
        None => (0..y.c).max_by(|&i, &j| of(i).sum::<f64>().total_cmp(&of(j).sum())).unwrap_or(0),
        Some(name) => {
            let number = || name.parse().ok().filter(|class| *class < y.c);
            let known = names.iter().position(|n| n == name).or_else(number);
            known.ok_or_else(|| Failure::usage(format!("--class {name}: no class has this name or number")))?
        }
    };
    let step = dense.stride(h, w, c).unwrap_or(1) as f64;
    let middle = [h as f64 / 2.0, w as f64 / 2.0];
    let map = HeatMap { rows: y.h, columns: y.w, values: of(class).collect(), first: middle, step: [step; 2] };
    files::replace(to, &report::png(&map.over(&picture))?)?;
    let most = table::percent(map.values.iter().copied().fold(0.0, f64::max));
    let class = class_name(names, class);
    super::print(format!("{}: '{class}' in {} × {} windows, at most {most}", to.display(), y.h, y.w));
    Ok(ExitCode::SUCCESS)
}
