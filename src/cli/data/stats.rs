//! `convnet data stats`.

use super::super::{Result, print, print_json, table};
use super::pack;
use crate::data::{Colours, DataSet, Source, decode};
use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Broken and duplicate images that are named in the table.
const NAMED: usize = 10;
/// Images between two looks at the progress.
const CHUNK: usize = 4096;

/// The arguments of `data stats`.
#[derive(Args)]
pub struct Arguments {
    /// A data set: a built-in one or a path
    source: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    source: String,
    classes: usize,
    sets: Vec<SetReport>,
    /// Images of one set that the other has, byte for byte.
    duplicates_across_sets: Vec<[String; 2]>,
    /// Of the training images, one a channel.
    mean: Vec<u8>,
    /// Principal components of RGB, each times the root of its variance.
    principal_components: Vec<[f32; 3]>,
    /// Shards that are not what `data pack` wrote.
    damaged_shards: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct SetReport {
    set: &'static str,
    images: usize,
    bytes: u64,
    /// Images of each class.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    class_images: BTreeMap<String, usize>,
    /// Where images have values: the least, the mean and the most of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, [f64; 3]>,
    /// Heights: the least, the median, the most.
    height: [usize; 3],
    width: [usize; 3],
    /// Images without colour.
    grey: usize,
    broken: Vec<String>,
    /// Images that an earlier one of the set equals, byte for byte.
    duplicates: usize,
}

/// What one image is.
struct Seen {
    hash: [u8; 16],
    bytes: u64,
    shape: Option<crate::data::ImageShape>,
    broken: Option<String>,
}

pub(super) fn run(a: &Arguments) -> Result {
    let set = super::open(&a.source)?;
    super::warn(&set);
    let mut first: BTreeMap<[u8; 16], (usize, usize)> = BTreeMap::new();
    let (mut reports, mut across) = (Vec::new(), Vec::new());
    for (number, (name, source)) in super::sets(&set).into_iter().enumerate() {
        reports.push(look_at(&set, number, name, source, &mut first, &mut across));
    }
    let colours = Colours::of(&*set.train)?;
    let report = Report {
        source: a.source.clone(),
        classes: set.classes,
        sets: reports,
        duplicates_across_sets: across,
        mean: colours.mean,
        principal_components: colours.components,
        damaged_shards: pack::damaged(Path::new(&a.source)),
        warnings: set.warnings.clone(),
    };
    if a.json {
        print_json(&report);
    } else {
        show(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn look_at(
    set: &DataSet,
    number: usize,
    name: &'static str,
    source: &dyn Source,
    first: &mut BTreeMap<[u8; 16], (usize, usize)>,
    across: &mut Vec<[String; 2]>,
) -> SetReport {
    let mut report = SetReport {
        set: name,
        images: source.len(),
        bytes: 0,
        class_images: match source.values() {
            0 => set.class_names.iter().map(|class| (class.clone(), 0)).collect(),
            _ => BTreeMap::new(),
        },
        values: values(set, source),
        height: [0; 3],
        width: [0; 3],
        grey: 0,
        broken: Vec::new(),
        duplicates: 0,
    };
    let (mut heights, mut widths) = (Vec::new(), Vec::new());
    let mut bar = super::super::progress::bar(name);
    let count = source.distinct();
    for start in (0..count).step_by(CHUNK) {
        let seen: Vec<Seen> = (start..count.min(start + CHUNK)).into_par_iter().map(|i| look(source, i)).collect();
        for (i, Seen { hash, bytes, shape, broken }) in (start..).zip(seen) {
            report.bytes += bytes;
            if let Some(images) = set.class_names.get(source.label(i) as usize).and_then(|c| report.class_images.get_mut(c)) {
                *images += 1;
            }
            if let Some(shape) = shape {
                heights.push(shape.h);
                widths.push(shape.w);
                report.grey += usize::from(shape.c == 1);
            }
            if let Some(why) = broken {
                report.broken.push(why);
                continue;
            }
            match first.get(&hash) {
                Some(&(other, _)) if other == number => report.duplicates += 1,
                Some(&(_, image)) => across.push([set.train.origin(image), source.origin(i)]),
                None => {
                    first.insert(hash, (number, i));
                }
            }
        }
        bar.at(start + CHUNK, count);
    }
    bar.finish();
    report.height = spread(heights);
    report.width = spread(widths);
    report
}

/// The least, the mean and the most of each value, by its name.
fn values(set: &DataSet, source: &dyn Source) -> BTreeMap<String, [f64; 3]> {
    let mut own = vec![0.0; source.values()];
    let mut all = vec![[f64::INFINITY, 0.0, f64::NEG_INFINITY]; own.len()];
    for i in 0..source.len() {
        source.read_values(i, &mut own);
        for ([least, sum, most], value) in all.iter_mut().zip(&own).map(|(all, &value)| (all, f64::from(value))) {
            (*least, *sum, *most) = (least.min(value), *sum + value, most.max(value));
        }
    }
    let count = source.len() as f64;
    set.class_names.iter().cloned().zip(all.into_iter().map(|[least, sum, most]| [least, sum / count, most])).collect()
}

fn look(source: &dyn Source, i: usize) -> Seen {
    let mut bytes = Vec::new();
    let stored = source.file(i, &mut bytes);
    let (shape, broken) = match stored {
        Err(e) => (None, Some(e.to_string())),
        Ok(true) => match decode::decode(&bytes, None) {
            Ok(picture) => (Some(picture.shape), None),
            Err(why) => (None, Some(format!("{}: {why}", source.origin(i)))),
        },
        Ok(false) => {
            bytes.resize(source.shape().bytes(), 0);
            let read = source.read(i, &mut bytes);
            (Some(source.shape()), read.err().map(|e| e.to_string()))
        }
    };
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(&bytes)[..16]);
    Seen { hash, bytes: bytes.len() as u64, shape, broken }
}

/// The least, the median and the most.
fn spread(mut values: Vec<usize>) -> [usize; 3] {
    values.sort_unstable();
    match values.as_slice() {
        [] => [0; 3],
        all => [all[0], all[all.len() / 2], all[all.len() - 1]],
    }
}

fn show(report: &Report) {
    let extents = |[least, median, most]: [usize; 3]| {
        if least == most { least.to_string() } else { format!("{least} to {most}, median {median}") }
    };
    for set in &report.sets {
        let mut rows = vec![(set.set, format!("{} images, {}", table::thousands(set.images as u64), table::bytes(set.bytes)))];
        let counts = || set.class_images.values().copied();
        if let Some((least, most)) = counts().min().zip(counts().max()) {
            rows.push(("  classes", format!("{} of {least} to {most} images", report.classes)));
        }
        let value = |(name, [least, mean, most]): (&String, &[f64; 3])| format!("{name} {least} to {most}, mean {mean:.4}");
        rows.extend(set.values.iter().map(|of| ("  value", value(of))));
        rows.extend([
            ("  height", extents(set.height)),
            ("  width", extents(set.width)),
            ("  grey", table::thousands(set.grey as u64)),
            ("  duplicates", table::thousands(set.duplicates as u64)),
            ("  broken", table::thousands(set.broken.len() as u64)),
        ]);
        print(table::pairs(&rows));
        set.broken.iter().take(NAMED).for_each(|why| print(format!("    {why}")));
    }
    let across = &report.duplicates_across_sets;
    report.damaged_shards.iter().for_each(print);
    print(format!("{} images are in both sets", across.len()));
    across.iter().take(NAMED).for_each(|[a, b]| print(format!("    {a} = {b}")));
    print(format!("mean of the training images: {:?}", report.mean));
    for component in &report.principal_components {
        print(format!("principal component of colour, times its deviation: {component:.2?}"));
    }
}
