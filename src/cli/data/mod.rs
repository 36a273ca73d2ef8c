//! `convnet data`: what a data set holds, a split of it, shards of it.

mod pack;
mod split;
mod stats;

use super::Result;
use crate::data::{DataSet, ImageShape, OnError, Options, Source};
use clap::{Args, Subcommand};

/// The arguments of `data`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count a data set's images, measure their sizes and colours, and name broken and duplicate ones
    Stats(stats::Arguments),
    /// Write lists of a folder's or a table's image files to train and to test on
    Split(split::Arguments),
    /// Write a data set's images as tar shards, resized, with an index and checksums
    Pack(pack::Arguments),
}

pub(super) fn run(a: Arguments) -> Result {
    match a.command {
        Command::Stats(a) => stats::run(&a),
        Command::Split(a) => split::run(&a),
        Command::Pack(a) => pack::run(&a),
    }
}

/// Opens a data set for its files: what its pictures would be made for training does not matter.
fn open(source: &str) -> Result<DataSet> {
    let any = |shape| Options { shape, on_error: OnError::Skip, ..Options::default() };
    // Pictures of different sizes need a shape; other sets have one of their own.
    let set = crate::data::open(source, &any(Some(ImageShape::new(32, 32, 3))));
    let set = match set {
        Ok(set) if set.train.is_slow() => set,
        _ => crate::data::open(source, &any(None))?,
    };
    Ok(set)
}

/// Says what is odd about a data set.
fn warn(set: &DataSet) {
    set.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
}

/// The sets of a data set, with their names.
fn sets(set: &DataSet) -> [(&'static str, &dyn Source); 2] {
    [("train", &*set.train), ("test", &*set.test)]
}
