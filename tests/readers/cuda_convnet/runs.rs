//! Pairs in place of a config, for the commands that take one.

use super::published::{Pair, cifar_80_seconds};
use crate::common::Folder;
use std::fs;

const PAIR: [&str; 4] = ["--layer-def", "layers-80sec.cfg", "--layer-params", "layer-params-80sec.cfg"];
const SYNTHETIC: [&str; 8] = [
    "--set",
    "data.source=synthetic",
    "--set",
    "data.synthetic.train_images=32",
    "--set",
    "data.synthetic.test_images=16",
    "--set",
    "train.batch=16",
];

fn folder() -> Folder {
    let Pair { layers, params } = cifar_80_seconds();
    let folder = Folder::new("");
    fs::write(folder.path("layers-80sec.cfg"), layers).unwrap();
    fs::write(folder.path("layer-params-80sec.cfg"), params).unwrap();
    folder
}

/// cuda-convnet's net of 80 seconds has the 145,578 parameters of its copy, Caffe's cifar10_quick.
#[test]
fn summary_has_the_published_parameters() {
    let ended = folder().convnet(&[&["summary"], PAIR.as_slice(), &SYNTHETIC, &["--json"]].concat()).ended(0);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((report["parameters"].as_u64(), report["name"].as_str()), (Some(145_578), Some("80sec")), "{report}");
    let sizes: Vec<_> = report["layers"].as_array().unwrap().iter().map(|l| l["output"][0].as_u64().unwrap()).collect();
    assert_eq!(sizes[..4], [32, 16, 16, 16], "32×32 images, and pools that round up: {report}");
    let note = "note: layers-80sec.cfg:12: partialSum of 'conv1' and 2 more has no effect";
    assert!(ended.stderr.starts_with(note), "{}", ended.stderr);
}

/// A pair trains, the run's config is TOML that resumes, and its gradients are right; what it is converted to trains to the
/// same losses.
#[test]
fn a_pair_trains_as_what_it_is_converted_to() {
    let folder = folder();
    let train = ["--epochs", "2", "--set", "train.log_every=1", "--device", "cpu", "--threads", "1"];
    folder.convnet(&[&["train", "--out", "a"], PAIR.as_slice(), &SYNTHETIC, &train].concat()).ended(0);
    folder.convnet(&[&["convert", "-o", "net.toml"], PAIR.as_slice(), &SYNTHETIC].concat()).ended(0);
    folder.convnet(&[&["train", "net.toml", "--out", "b"], train.as_slice()].concat()).ended(0);
    let losses = |run: &str| -> Vec<f64> {
        let lines = fs::read_to_string(folder.path(run).join("metrics.jsonl")).unwrap();
        let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
        lines.lines().map(loss).collect()
    };
    assert!(losses("a").len() >= 4 && losses("a").iter().all(|l| l.is_finite()), "{:?}", losses("a"));
    assert_eq!(losses("a"), losses("b"));
    let resumed = ["resume", "a", "--set", "train.epochs=3", "--device", "cpu", "--threads", "1"];
    folder.convnet(&resumed).ended(0);
    assert!(losses("a").len() > losses("b").len());
    let check = ["check", "--elements", "2", "--layer", "conv1", "--set", "data.synthetic.shape=[12,12,3]"];
    folder.convnet(&[check.as_slice(), &PAIR, &SYNTHETIC].concat()).ended(0);
}

/// The notes are in what a pair is converted to, as comments.
#[test]
fn notes_become_comments() {
    let written = folder().convnet(&[&["convert"], PAIR.as_slice()].concat()).ended(0).stdout;
    let head =
        "# Converted from layers-80sec.cfg and layer-params-80sec.cfg.\n# layers-80sec.cfg:12: partialSum of 'conv1' and 2 more";
    assert!(written.starts_with(head), "{written}");
    assert!(written.contains("\nsource = \"none\"\n"), "{written}");
}
