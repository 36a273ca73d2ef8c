//! `convnet data pack`: tar shards `train-00000.tar`, …, `test-00000.tar`, … of members `CLASS/NUMBER.jpg`, and `index.json` with the
//! classes in their order and each shard's images, bytes and SHA-256. Images are shuffled once, so that any shard is a fair sample
//! and reading shard after shard is nearly as good as reading at random.

use super::super::{Failure, Result, table};
use crate::data::decode::{Part, decode};
use crate::data::{ImageShape, Source, shuffle};
use crate::train::files;
use clap::Args;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `data pack`.
#[derive(Args)]
pub struct Arguments {
    /// A data set: a path
    source: String,
    /// The folder to write the shards into; it is made
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Resize pictures whose shorter side is longer than this to it, as JPEG; others are packed as they are
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// The quality of JPEGs that are made, 1 to 100
    #[arg(long, default_value_t = 92, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Images of a shard
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shard: u32,
    /// The seed that the images are shuffled with
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// The file beside shards that tells what they are.
const INDEX: &str = "index.json";

#[derive(Serialize, Deserialize)]
struct Index {
    format: u32,
    size: Option<usize>,
    classes: Vec<String>,
    shards: Vec<Shard>,
}

#[derive(Serialize, Deserialize)]
struct Shard {
    file: String,
    images: usize,
    bytes: u64,
    sha256: String,
}

/// Images that are read at a time.
const CHUNK: usize = 256;

pub(super) fn run(a: &Arguments) -> Result {
    if a.output.exists() {
        return Err(Failure::new(format!("{} is there already; name another folder", a.output.display())));
    }
    if a.size == Some(0) {
        return Err(Failure::usage("--size 0 leaves nothing of a picture"));
    }
    let set = super::open(&a.source)?;
    super::warn(&set);
    if set.train.values() > 0 {
        return Err(Failure::new(
            "shards hold a class for each image, and these have values; `convnet data split` makes tables of them",
        ));
    }
    for class in &set.class_names {
        if class.is_empty() || class.len() > 80 || class.contains(['/', '\0']) || class.starts_with('.') {
            return Err(Failure::new(format!("class '{}' cannot be the name of a folder", class.escape_debug())));
        }
    }
    let mut index = Index { format: 1, size: a.size, classes: set.class_names.clone(), shards: Vec::new() };
    let mut broken = Vec::new();
    let mut failure = None;
    let done = files::new_folder(&a.output, |folder| {
        for (name, source) in super::sets(&set) {
            let done = pack(a, folder, name, source, &set.class_names, &mut index.shards, &mut broken);
            if let Err(e) = done {
                let path = a.output.clone();
                failure = Some(e.to_string());
                return Err(crate::train::Error::File { action: "fill", path, source: e });
            }
        }
        let text = serde_json::to_string_pretty(&index).expect("an index has a form in JSON");
        files::write_synced(&folder.join(INDEX), text.as_bytes())
    });
    done?;
    broken.iter().for_each(|why| eprintln!("warning: left out: {why}"));
    let images = index.shards.iter().map(|shard| shard.images as u64).sum();
    let bytes = index.shards.iter().map(|shard| shard.bytes).sum();
    eprintln!(
        "{}: {} images in {} shards, {}; {} left out",
        a.output.display(),
        table::thousands(images),
        index.shards.len(),
        table::bytes(bytes),
        broken.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn pack(
    a: &Arguments,
    folder: &Path,
    name: &'static str,
    source: &dyn Source,
    classes: &[String],
    shards: &mut Vec<Shard>,
    broken: &mut Vec<String>,
) -> io::Result<()> {
    let mut order = vec![0; source.len()];
    shuffle(a.seed, 0, &mut order);
    let mut bar = super::super::progress::bar(name);
    for (number, images) in order.chunks(a.shard as usize).enumerate() {
        let file = format!("{name}-{number:05}.tar");
        let mut builder = tar::Builder::new(Hashing::new(File::create(folder.join(&file))?));
        let mut count = 0;
        for (chunk, images) in images.chunks(CHUNK).enumerate() {
            let files: Vec<_> = images.par_iter().map(|&i| encoded(a, source, i as usize)).collect();
            for (k, (file, &i)) in files.into_iter().zip(images).enumerate() {
                match file {
                    Ok((bytes, end)) => {
                        let class = &classes[source.label(i as usize) as usize];
                        let mut header = tar::Header::new_ustar();
                        header.set_size(bytes.len() as u64);
                        header.set_mode(0o644);
                        let member = format!("{class}/{:08}.{end}", number * a.shard as usize + chunk * CHUNK + k);
                        builder.append_data(&mut header, member, &bytes[..])?;
                        count += 1;
                    }
                    Err(why) => broken.push(why),
                }
            }
            bar.at(number * a.shard as usize + chunk * CHUNK, order.len());
        }
        let mut written = builder.into_inner()?;
        written.to.flush()?;
        written.to.get_ref().sync_all()?;
        let sha256 = hexadecimal(written.hash);
        shards.push(Shard { file, images: count, bytes: written.bytes, sha256 });
    }
    bar.finish();
    Ok(())
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with the shards of a folder that `data pack` wrote; nothing where there is no index of them.
pub(super) fn damaged(folder: &Path) -> Vec<String> {
    let index = std::fs::read(folder.join(INDEX)).ok().and_then(|text| serde_json::from_slice::<Index>(&text).ok());
    let check = |shard: &Shard| {
        let hash = || -> io::Result<String> {
            let mut hash = Sha256::new();
            let mut file = File::open(folder.join(Path::new(&shard.file).file_name().unwrap_or_default()))?;
            let mut bytes = vec![0; 1 << 20];
            loop {
                match file.read(&mut bytes)? {
                    0 => return Ok(hexadecimal(hash)),
                    read => hash.update(&bytes[..read]),
                }
            }
        };
        match hash() {
            Ok(found) if found == shard.sha256 => None,
            Ok(_) => Some(format!("{} is not what was packed: its checksum differs from {INDEX}'s; copy it again", shard.file)),
            Err(e) => Some(format!("{}, which {INDEX} lists, cannot be read: {e}", shard.file)),
        }
    };
    index.map_or_else(Vec::new, |index| index.shards.par_iter().filter_map(check).collect())
}

/// The bytes of an image's file, and how its name ends.
fn encoded(a: &Arguments, source: &dyn Source, i: usize) -> Result<(Vec<u8>, &'static str), String> {
    let mut bytes = Vec::new();
    let is_file = source.file(i, &mut bytes).map_err(|e| e.to_string())?;
    let told = |why: String| format!("{}: {why}", source.origin(i));
    let picture = if is_file {
        let picture = decode(&bytes, None).map_err(told)?;
        let ImageShape { h, w, c } = picture.shape;
        let Some(size) = a.size.filter(|&size| size < h.min(w)) else {
            let end = image::guess_format(&bytes).ok().and_then(|format| format.extensions_str().first());
            return Ok((bytes, end.copied().unwrap_or("jpg")));
        };
        let scaled = |side: usize| ((side * size) as f64 / h.min(w) as f64).round().max(1.0) as usize;
        let to = ImageShape::new(scaled(h), scaled(w), c);
        let mut pixels = vec![0; to.bytes()];
        picture.fit(Part { left: 0.0, top: 0.0, width: w as f64, height: h as f64 }, to, &mut pixels);
        (to, pixels)
    } else {
        bytes.resize(source.shape().bytes(), 0);
        source.read(i, &mut bytes).map_err(|e| e.to_string())?;
        (source.shape(), bytes)
    };
    let (ImageShape { h, w, c }, pixels) = picture;
    let kind = match c {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return Err(told(format!("images of {c} channels have no form as a file"))),
    };
    let mut file = Vec::new();
    if is_file {
        let encoder = JpegEncoder::new_with_quality(&mut file, a.quality);
        encoder.write_image(&pixels, w as u32, h as u32, kind).map_err(|e| told(e.to_string()))?;
        return Ok((file, "jpg"));
    }
    // Pixels that no JPEG has touched stay as they are.
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.write_image(&pixels, w as u32, h as u32, kind).map_err(|e| told(e.to_string()))?;
    Ok((file, "png"))
}

/// A file, and the hash of what was written.
struct Hashing {
    to: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Hashing {
    fn new(file: File) -> Self {
        Self { to: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), bytes: 0 }
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
