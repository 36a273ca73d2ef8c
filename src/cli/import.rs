//! `convnet import`.

use super::{Failure, Result, table};
use crate::config::{NetSpec, Scale, set_text};
use crate::data::{ImageShape, Normalisation};
use crate::port::onnx::{self, Imported};
use crate::port::{self, ChannelOrder, Format};
use crate::train::{self, Run, Setup};
use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The largest file that is read.
const LARGEST: u64 = 1 << 32;

/// The arguments of `import`.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// The file of weights: .caffemodel, .weights of darknet, .safetensors of PyTorch, .onnx
    file: PathBuf,
    /// The net that the weights are of: a config of any kind [default for ONNX: the model's own]
    config: Option<PathBuf>,
    /// The run's folder
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// What the file is: caffe, darknet, pytorch or onnx [default: what its ending says]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<Format>,
    /// What is subtracted from the pixels: a number a channel, with commas, or a .binaryproto or .npy file, or none
    /// [default: the ONNX model's, or measured, as the config says]
    #[arg(long, value_name = "MEAN", allow_hyphen_values = true)]
    mean: Option<String>,
    /// What the difference is multiplied by [default: the config's number, or 1 with --mean]
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    scale: Option<f64>,
    /// A number for each channel that the difference is divided by, in place of --scale
    #[arg(long, value_name = "NUMBERS", requires = "mean", conflicts_with = "scale", value_delimiter = ',', value_parser = factor)]
    std: Vec<f64>,
    /// The order of the channels that the net was trained with, rgb or bgr [default: bgr for Caffe]
    #[arg(long, value_name = "ORDER", value_parser = order)]
    channels: Option<ChannelOrder>,
    /// A file of the classes' names, one a line
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// The images: a built-in set's name or a path [config: data.source]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Change any key of the config: --set train.batch=128
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

const AFTER: &str = "The run that is made is at step 0: `convnet predict` and `test` use it, `convnet resume` trains it on, and \
`convnet train --init-from` starts other nets with it. Numbers of --mean and --std are in the order of --channels.

Examples:
  torchvision's AlexNet, saved by safetensors.torch.save_file(net.state_dict(), \"alexnet.safetensors\"):
    convnet import alexnet.safetensors configs/alexnet-one-weird-trick.toml --out runs/alexnet \\
      --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375
  Caffe's, with the mean of its images:
    convnet import bvlc_alexnet.caffemodel deploy.prototxt --out runs/alexnet --mean imagenet_mean.binaryproto
  darknet's, whose pixels go from 0 to 1:
    convnet import darknet.weights darknet.cfg --out runs/darknet --mean none --scale 0.00392156862745098
  An ONNX model, with its net; images that it does not scale itself are read as they are, 0 to 255, without --mean:
    convnet import resnet18.onnx --out runs/resnet18 --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375";

/// A format by its name.
pub(super) fn format(name: &str) -> Result<Format, String> {
    let names = || Format::ALL.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ");
    Format::named(name).ok_or_else(|| format!("there are: {}", names()))
}

/// The format of a file, said or by its ending.
pub(super) fn format_of(path: &Path, said: Option<Format>) -> Result<Format> {
    said.or_else(|| Format::of(path)).ok_or_else(|| {
        let endings: Vec<String> = Format::ALL.iter().map(|(_, name, ending)| format!(".{ending} ({name})")).collect();
        Failure::usage(format!("{}: its ending says no format; name one by --format: {}", path.display(), endings.join(", ")))
    })
}

fn factor(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| "it is no number".to_owned())?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("it must be above 0".into()) }
}

fn order(name: &str) -> Result<ChannelOrder, &'static str> {
    match name {
        "rgb" => Ok(ChannelOrder::Rgb),
        "bgr" => Ok(ChannelOrder::Bgr),
        _ => Err("there are: rgb, bgr"),
    }
}

pub(super) fn run(a: Arguments) -> Result {
    let format = format_of(&a.file, a.format)?;
    if a.out.exists() {
        return Err(train::Error::Taken { path: a.out }.into());
    }
    let file = read(&a.file)?;
    let order = a.channels.unwrap_or(if format == Format::Caffe { ChannelOrder::Bgr } else { ChannelOrder::Rgb });
    let fault = |what: String| Failure::new(format!("cannot import {}: {what}", a.file.display()));
    let (mut spec, own) = match (&a.config, format) {
        (Some(config), _) => (super::config::load_run(config, &a.sets())?, None),
        (None, Format::Onnx) => {
            let name = a.file.file_stem().map_or_else(|| "net".into(), |s| s.to_string_lossy());
            let mut found = onnx::read(&file, &name, &a.sets()).map_err(fault)?;
            (found.spec.take().expect("a model that reads has a config"), Some(found))
        }
        _ => return Err(Failure::usage("name the net that the weights are of: convnet import FILE CONFIG --out FOLDER")),
    };
    for note in &spec.notes {
        eprintln!("note: {note}");
    }
    super::config::make_absolute(&mut spec);
    let config = spec.to_toml();
    let mut setup = a.setup(spec, order, own.as_ref())?;
    let graph = setup.graph(1)?;
    let given = a.factors(setup.normalisation.scale, graph.images.c, order);
    let (mut weights, factors) = match own {
        Some(own) if own.shape != found_shape(&setup) => {
            let message = format!("its images are {}, the data's {}", extents(own.shape), extents(found_shape(&setup)));
            return Err(fault(message));
        }
        Some(own) if a.mean.is_none() => {
            let factors = own.factors.iter().map(|f| f / setup.normalisation.scale).collect();
            (own.weights, factors)
        }
        Some(own) => (own.weights, given),
        None => (port::read(format, &file, &graph).map_err(fault)?, given),
    };
    drop(file);
    weights.notes.iter().for_each(|note| eprintln!("note: {note}"));
    port::adapt(&graph, &mut weights.values, order, &factors).map_err(fault)?;
    if let Some(path) = &a.classes {
        setup.data.class_names = class_names(path, setup.data.classes)?;
    }
    let first = train::first_checkpoint(&setup, &graph, &weights.values);
    drop(Run::create(&a.out, &config, &first)?);
    let numbers: usize = weights.values.iter().map(Vec::len).sum();
    eprintln!("imported {} numbers; run: {}", table::thousands(numbers as u64), a.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Rows, columns and channels of the data's images.
fn found_shape(setup: &Setup) -> [usize; 3] {
    let ImageShape { h, w, c } = setup.data.shape();
    [h, w, c]
}

fn extents([h, w, c]: [usize; 3]) -> String {
    format!("{h}×{w}×{c}")
}

impl Arguments {
    /// What is changed of the config.
    fn sets(&self) -> Vec<String> {
        let data = self.data.iter().map(|data| set_text("data.source", data));
        self.sets.iter().cloned().chain(data).collect()
    }

    /// The data and what is done to its pixels: what an ONNX model does, if no argument says otherwise.
    fn setup(&self, mut spec: NetSpec, order: ChannelOrder, own: Option<&Imported>) -> Result<Setup> {
        if let (Some(own), None) = (own, &self.mean) {
            let scale = self.scale.unwrap_or(own.factors.iter().sum::<f64>() / own.factors.len() as f64);
            let mean = own.mean.clone();
            return Ok(Setup::with_normalisation(spec, |_| Ok(Normalisation { mean, scale }))?);
        }
        let Some(mean) = &self.mean else {
            if let Some(scale) = self.scale {
                spec.data.scale = Scale::Factor(scale);
            }
            return Ok(Setup::for_shapes(spec)?);
        };
        let scale = match (self.scale, spec.data.scale) {
            _ if !self.std.is_empty() => self.std.len() as f64 / self.std.iter().sum::<f64>(),
            (Some(scale), _) | (None, Scale::Factor(scale)) => scale,
            (None, Scale::Std) => 1.0,
        };
        let setup = Setup::with_normalisation(spec, |shape| {
            let mean = self.mean_values(mean, shape, order).map_err(train::Error::Argument)?;
            Ok(Normalisation { mean, scale })
        })?;
        let channels = setup.data.shape().c;
        if !self.std.is_empty() && self.std.len() != channels {
            return Err(Failure::usage(format!("--std: {} numbers for images of {channels} channels", self.std.len())));
        }
        Ok(setup)
    }

    /// The mean in our order.
    fn mean_values(&self, mean: &str, ImageShape { h, w, c }: ImageShape, order: ChannelOrder) -> Result<Vec<f32>, String> {
        if mean == "none" {
            return Ok(vec![0.0; c]);
        }
        let numbers: Result<Vec<f32>, _> = mean.split(',').map(|n| n.trim().parse::<f32>()).collect();
        if let Ok(mut numbers) = numbers {
            if numbers.len() == 1 {
                numbers = vec![numbers[0]; c];
            }
            if numbers.len() != c || numbers.iter().any(|n| !n.is_finite()) {
                return Err(format!("--mean {mean}: give a finite number for each of {c} channels"));
            }
            if order == ChannelOrder::Bgr && c == 3 {
                numbers.reverse();
            }
            return Ok(numbers);
        }
        let file = read(Path::new(mean)).map_err(|f| format!("--mean: {}", f.message.trim_start_matches("error: ")))?;
        port::mean::read(&file, [h, w, c], order).map_err(|what| format!("--mean {mean}: {what}"))
    }

    /// What filters are multiplied by for each channel, in our order, where deviations differ.
    fn factors(&self, scale: f64, channels: usize, order: ChannelOrder) -> Vec<f64> {
        if self.std.is_empty() {
            return vec![1.0; channels];
        }
        let mut factors: Vec<f64> = self.std.iter().map(|std| 1.0 / (std * scale)).collect();
        if order == ChannelOrder::Bgr && channels == 3 {
            factors.reverse();
        }
        factors
    }
}

/// A file of weights, if it is one.
fn read(path: &Path) -> Result<Vec<u8>> {
    let unread = |what: String| Failure::new(format!("cannot read {}: {what}", path.display()));
    let about = std::fs::metadata(path).map_err(|e| unread(e.to_string()))?;
    if !about.is_file() {
        // A pipe would be waited for.
        return Err(unread("this is no file".into()));
    }
    if about.len() > LARGEST {
        return Err(unread(format!("it is larger than {}", table::bytes(LARGEST))));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| unread(e.to_string()))?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|e| unread(e.to_string()))?;
    Ok(bytes)
}

fn class_names(path: &Path, classes: usize) -> Result<Vec<String>> {
    let text = String::from_utf8(read(path)?).map_err(|_| Failure::new(format!("{} is not text", path.display())))?;
    let names: Vec<String> = text.lines().map(|l| l.trim().to_owned()).collect();
    if names.len() != classes || names.iter().any(|n| n.chars().any(char::is_control)) {
        let message = format!("{} has {} lines, and the net's data {classes} classes", path.display(), names.len());
        return Err(Failure::new(format!("{message}; give a printable name a line")));
    }
    Ok(names)
}
