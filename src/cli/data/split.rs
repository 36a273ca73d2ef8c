//! `convnet data split`.

use super::super::{Failure, Result};
use crate::device::philox::{Purpose, Stream};
use crate::train::files;
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `data split`.
#[derive(Args)]
pub struct Arguments {
    /// A folder of class folders, or a list
    source: String,
    /// The folder to write train.txt and test.txt into; it is made
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
    let mut classes: Vec<Vec<PathBuf>> = vec![Vec::new(); set.classes];
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
            classes[source.label(i) as usize].push(path);
        }
    }
    let (mut train, mut test, mut counts) = (String::new(), String::new(), [0; 2]);
    for (number, (class, mut files)) in set.class_names.iter().zip(classes).enumerate() {
        files.sort();
        let mut random = Stream::new(a.seed, Purpose::Shuffle, number as u32, 0);
        for i in (1..files.len()).rev() {
            files.swap(i, random.below(i as u32 + 1) as usize);
        }
        // A class of two or more has an image in each.
        let least = usize::from(files.len() > 1);
        let tested = ((a.test * files.len() as f64).round() as usize).clamp(least, files.len().saturating_sub(1));
        for (i, path) in files.iter().enumerate() {
            let (list, count) = if i < tested { (&mut test, 1) } else { (&mut train, 0) };
            counts[count] += 1;
            writeln!(list, "{}\t{class}", path.display()).expect("text can be added to");
        }
    }
    files::new_folder(&a.output, |folder| {
        files::write_synced(&folder.join("train.txt"), train.as_bytes())?;
        files::write_synced(&folder.join("test.txt"), test.as_bytes())
    })?;
    eprintln!("{}: {} images to train and {} to test on", a.output.display(), counts[0], counts[1]);
    Ok(ExitCode::SUCCESS)
}
