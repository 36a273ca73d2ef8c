//! `convnet show`.

use super::test::Which;
use super::{Failure, Result};
use crate::report::filters::{Filters, sees_images, shape};
use crate::report::{self, curves};
use crate::train::{Error, Run, files, read_lines};
use clap::Args;
use image::RgbImage;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `show`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// Where the PNG files go [default: the run's folder]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

impl From<report::Error> for Failure {
    fn from(e: report::Error) -> Self {
        Self::new(e)
    }
}

pub(super) fn run(a: Arguments) -> Result {
    let spec = super::config::load_run(&Run::config(&a.run)?, &[])?;
    let lines = read_lines(&a.run.join("metrics.jsonl"))?;
    let (checkpoint, _) = a.which.load(&a.run)?;
    let folder = a.out.unwrap_or_else(|| a.run.clone());
    std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    let data = Path::new(&spec.data.source).file_name().unwrap_or_default().to_string_lossy();
    if lines.is_empty() {
        eprintln!("warning: there are no metrics yet, so no curves");
    } else {
        save(&folder.join("curves.png"), &curves::draw(&lines, &format!("{} on {data}", spec.name))?)?;
    }
    for layer in spec.layers.iter().filter(|l| l.kind == "conv") {
        let weights = format!("{}.weights", layer.name);
        let found = checkpoint.weights.iter().find(|t| t.name == weights);
        let Some((tensor, shape)) = found.and_then(|t| Some((t, shape(t)?))) else {
            return Err(Failure::new(format!("the checkpoint has no filters '{weights}'")));
        };
        let colours = shape[3] == 3 && sees_images(&spec, layer);
        let filters = Filters { name: &layer.name, shape, values: &tensor.values, colours };
        save(&folder.join(format!("filters-{}.png", safe(&layer.name))), &filters.draw()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a picture, whole or not at all, and says where.
fn save(path: &Path, picture: &RgbImage) -> Result<()> {
    files::replace(path, &report::png(picture)?)?;
    super::print(path.display());
    Ok(())
}

/// A layer's name as a part of a file's.
fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}
