//! `convnet features`.

use super::test::Which;
use super::{DeviceArguments, Failure, Result, predict};
use crate::data::Loader;
use crate::device::Shape;
use crate::format::{npy, safetensors};
use crate::testing::{Predictor, subnet};
use crate::train::{self, Error, Run, files};
use ::safetensors::tensor::Dtype;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `features`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// Image files, and folders of them [default: the run's test set]
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// The layer whose output is written, its neuron included
    #[arg(long, value_name = "LAYER")]
    layer: String,
    /// A .npy file, or a .safetensors file of `features` and, of a data set, `labels`
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Which part of the run's data, where no images are named
    #[arg(long, default_value = "test")]
    split: Split,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    Train,
    Test,
}

/// What a file is written as.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Npy,
    Safetensors,
}

impl Format {
    /// What goes before the values: `shape` is theirs, and of data there is a label for each image.
    fn header(self, shape: &[usize], labelled: bool) -> Result<Vec<u8>, String> {
        match self {
            Self::Npy => Ok(npy::header(shape)),
            Self::Safetensors => {
                let mut tensors = vec![("features", Dtype::F32, shape)];
                if labelled {
                    tensors.push(("labels", Dtype::I32, &shape[..1]));
                }
                safetensors::header(&tensors)
            }
        }
    }
}

pub(super) fn run(a: Arguments) -> Result {
    let format = match a.out.extension().and_then(|e| e.to_str()) {
        Some("npy") => Format::Npy,
        Some("safetensors") => Format::Safetensors,
        _ => return Err(Failure::usage(format!("-o {}: give a file that ends in .npy or .safetensors", a.out.display()))),
    };
    let spec = super::config::load_run(&Run::config(&a.run)?, &[])?;
    let net = subnet::ending_at(&spec, &a.layer)?;
    let (found, path) = a.which.load(&a.run)?;
    let [h, w, c] = found.state.data.shape;
    let files = if a.images.is_empty() { None } else { Some(predict::image_files(&a.images)?) };
    let data = if files.is_none() { Some(train::open_data(&spec)?) } else { None };
    let source = data.map(|d| if a.split == Split::Train { d.train } else { d.test });
    let count = files.as_ref().map_or_else(|| source.as_ref().map_or(0, |s| s.len()), Vec::len);
    let batch = spec.train.micro_batch.unwrap_or(spec.train.batch).clamp(1, count.max(1));
    let images = Shape::new(batch, h, w, c);
    let mut predictor = Predictor::ending_at((&net, &a.layer), images, &found, &path, a.device.open(spec.train.precision)?)?;
    let y = predictor.output();
    let shape = if (y.h, y.w) == (1, 1) { vec![count, y.c] } else { vec![count, y.h, y.w, y.c] };
    let mut bar = super::progress::bar("features");
    files::replace_with(&a.out, |to| {
        let failed = |e: std::io::Error| Error::file("write", &a.out)(e);
        let header = format.header(&shape, source.is_some()).map_err(|e| failed(std::io::Error::other(e)))?;
        to.write_all(&header).map_err(failed)?;
        let mut pixels = Vec::with_capacity(images.elements());
        let mut labels: Vec<i32> = Vec::new();
        if let Some(files) = &files {
            for (i, some) in files.chunks(batch).enumerate() {
                for file in some {
                    pixels.extend(read(file, images, spec.data.size)?);
                }
                write(&predictor.run(&mut pixels, some.len())?, to).map_err(failed)?;
                pixels.clear();
                bar.at(i + 1, files.len().div_ceil(batch));
            }
        }
        if let Some(source) = &source {
            let mut loader = Loader::test(source.clone(), batch)?;
            for i in 0..loader.batches() {
                let some = loader.next()?;
                pixels.extend_from_slice(&some.images);
                labels.extend_from_slice(&some.labels[..some.count]);
                write(&predictor.run(&mut pixels, some.count)?, to).map_err(failed)?;
                pixels.clear();
                loader.recycle(some);
                bar.at(i + 1, loader.batches());
            }
        }
        if format == Format::Safetensors {
            let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
            to.write_all(&bytes).map_err(failed)?;
        }
        Ok(())
    })?;
    bar.finish();
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    super::print(format!("{}: {} floats of layer '{}'", a.out.display(), extents.join(" × "), a.layer));
    Ok(ExitCode::SUCCESS)
}

/// An image file as the net sees it.
fn read(file: &Path, images: Shape, size: Option<usize>) -> train::Result<Vec<u8>> {
    let failed = |e: String| Error::file("read", file)(std::io::Error::other(e));
    predict::read(file, images, size).map_err(failed)
}

fn write(values: &[f64], to: &mut dyn Write) -> std::io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    to.write_all(&bytes)
}
