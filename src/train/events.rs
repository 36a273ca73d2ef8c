//! TensorBoard's event files, of what metrics.jsonl has: scalars by step. A file is records, each its length (u64), the
//! length's checksum, the data, and its checksum, all little-endian; the data is an `Event` of TensorFlow's event.proto. A
//! checksum is CRC-32C, turned right by 15 bits, plus a constant ("masked", in TensorFlow's lib/io/record_writer).
//!
//! The file is written anew from the metrics whenever a run is begun or resumed, and a line at a time from then on, so that it has
//! what they have, whatever happened in between.

use super::{Error, Line, Result, Split, files};
use crate::format::protobuf::Message;
use crc::{CRC_32_ISCSI, Crc};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// TensorBoard takes the folder's name for the run's, and any file with `tfevents` in its name.
const NAME: &str = "events.out.tfevents.convnet";

/// An event file that grows.
#[derive(Debug)]
pub struct Events {
    file: File,
    path: PathBuf,
    /// When the run would have begun, had it run in one piece: seconds since 1970.
    began: f64,
}

impl Events {
    /// Writes the file of these lines in a run's folder `tensorboard`, in place of the one that may be there, to go on with it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(run: &Path, lines: &[Line]) -> Result<Self> {
        let folder = run.join("tensorboard");
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let path = folder.join(NAME);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        let began = now - lines.last().map_or(0.0, |l| l.seconds);
        let mut bytes = record(&Message::default().double(1, began).text(3, "brain.Event:2").0);
        lines.iter().for_each(|l| bytes.extend(record(&event(l, began))));
        files::replace(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::file("open", &path))?;
        Ok(Self { file, path, began })
    }

    /// Appends a line's values.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn append(&mut self, line: &Line) -> Result<()> {
        self.file.write_all(&record(&event(line, self.began))).map_err(Error::file("write", &self.path))
    }
}

/// A line's event: `wall_time` (1), `step` (2) and a `summary` (5) of values (1), each a `tag` (1) and a `simple_value` (2). The
/// part of a tag before the slash is a group of charts.
fn event(line: &Line, began: f64) -> Vec<u8> {
    let split = match line.split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let mut values = vec![
        (format!("loss/{split}"), line.loss),
        (format!("error/{split}"), line.error),
        (format!("error_top5/{split}"), line.error_top5),
        (format!("images_per_second/{split}"), line.images_per_second),
    ];
    if line.split == Split::Train {
        values.push(("learning_rate".into(), line.learning_rate));
    }
    for (name, cost) in &line.costs {
        values.push((format!("loss/{split}/{name}"), cost.loss));
        values.push((format!("error/{split}/{name}"), cost.error));
    }
    for (name, w) in &line.weights {
        values.push((format!("mean_weight/{name}"), w.weight));
        values.push((format!("mean_update/{name}"), w.update));
        values.push((format!("update_ratio/{name}"), w.ratio));
    }
    let mut summary = Message::default();
    for (tag, v) in &values {
        summary.message(1, Message::default().text(1, tag).float(2, *v as f32));
    }
    let mut event = Message::default();
    event.double(1, began + line.seconds).int(2, line.step as i64).message(5, &summary);
    event.0
}

/// An event as a record.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()].concat()
}

fn masked(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
