//! `convnet data split`: lists, or tables where images have values rather than a class.

use super::super::{Failure, Result};
use crate::device::philox::{Purpose, Stream};
use crate::train::files;
use clap::Args;
use rand::seq::SliceRandom;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `data split`.
#[derive(Args)]
pub struct Arguments {
    /// A folder of class folders, a list, or a .csv file of targets
    source: String,
    /// The folder to write train.txt and test.txt (or .csv) into; it is made
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// The share of each class's images that is tested on
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    test: f64,
    /// The seed that the images are drawn with
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

pub(super) fn run(a: &Arguments) -> Result {
    if !(a.test > 0.0 && a.test < 1.0) {
        return Err(Failure::usage(format!("--test {} is not between 0 and 1", a.test)));
    }
    if a.output.exists() {
        return Err(Failure::new(format!("{} is there already; name another folder", a.output.display())));
    }
    let set = super::open(&a.source)?;
    let mut values = vec![0.0; set.train.values()];
    let has_values = !values.is_empty();
    let mut classes: Vec<Vec<(PathBuf, String)>> = vec![Vec::new(); if has_values { 1 } else { set.classes }];
    for (_, source) in super::sets(&set) {
        for i in 0..source.len() {
            let Some(path) = source.path(i) else {
                let message = format!(
                    "{} is not in a file of its own: lists name files; `convnet data pack` makes shards",
                    source.origin(i)
                );
                return Err(Failure::new(message));
            };
            let path = path.canonicalize().unwrap_or(path);
            if path.to_str().is_none_or(|path| path.contains(['\n', '\t'])) {
                return Err(Failure::new(format!(
                    "{}: a list cannot name a file with a tab or a line's end in its name",
                    path.display()
                )));
            }
            let label = source.label(i) as usize;
            let line = if has_values {
                source.read_values(i, &mut values);
                let values: Vec<String> = values.iter().map(f32::to_string).collect();
                format!("{},{}", quoted(&path.display().to_string()), values.join(","))
            } else {
                format!("{}\t{}", path.display(), set.class_names[label])
            };
            classes[label].push((path, line));
        }
    }
    let header = if has_values {
        let columns: Vec<String> = set.class_names.iter().map(|name| quoted(name)).collect();
        format!("path,{}\n", columns.join(","))
    } else {
        String::new()
    };
    let (mut train, mut test, mut counts) = (header.clone(), header, [0; 2]);
    for (number, mut files) in classes.into_iter().enumerate() {
        files.sort();
        files.shuffle(&mut Stream::new(a.seed, Purpose::Shuffle, number as u32, 0));
        // A class of two or more has an image in each.
        let least = usize::from(files.len() > 1);
        let tested = ((a.test * files.len() as f64).round() as usize).clamp(least, files.len().saturating_sub(1));
        for (i, (_, line)) in files.iter().enumerate() {
            let (list, count) = if i < tested { (&mut test, 1) } else { (&mut train, 0) };
            counts[count] += 1;
            writeln!(list, "{line}").expect("text can be added to");
        }
    }
    let end = if has_values { "csv" } else { "txt" };
    files::new_folder(&a.output, |folder| {
        files::write_synced(&folder.join(format!("train.{end}")), train.as_bytes())?;
        files::write_synced(&folder.join(format!("test.{end}")), test.as_bytes())
    })?;
    eprintln!("{}: {} images to train and {} to test on", a.output.display(), counts[0], counts[1]);
    Ok(ExitCode::SUCCESS)
}

/// A field of a CSV file.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
