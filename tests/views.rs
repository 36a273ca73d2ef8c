//! Testing by views, scales and checkpoints, dense nets, features and heat maps, on the run of a tiny net.

mod common;

use common::{Ended, Folder, TRAIN, classifier, command, f32_device};
use convnet::config::NetSpec;
use convnet::data::{self, DataSet};
use convnet::device::Shape;
use convnet::net::Graph;
use convnet::testing::Predictor;
use convnet::testing::subnet::Dense;
use convnet::train::checkpoint::{self, Checkpoint};
use image::{GrayImage, ImageFormat};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

/// Windows of 28 pixels lie 4 apart; two fully connected layers, the first over 5×5×6.
const NET: &str = classifier!(
    r#"
name = "tiny"
[data]
source = "mnist-10k"
train_images = 1000
test_images = 200
[train]
batch = 50
epochs = 3
learning_rate = 0.02
checkpoint_every = 40
keep = 10
[[layer]]
name = "conv1"
type = "conv"
filters = 6
size = 5
stride = 2
neuron = "relu"
init = "xavier"
[[layer]]
name = "pool1"
type = "pool"
pool = "max"
size = 2
stride = 2
rounding = "floor"
[[layer]]
name = "flat"
type = "flatten"
[[layer]]
name = "fc1"
type = "fc"
outputs = 20
neuron = "tanh[1,1]"
init = "xavier"
[[layer]]
name = "fc2"
type = "fc"
outputs = 10
init = "xavier"
"#
);

fn folder() -> &'static Folder {
    static RUN: OnceLock<Folder> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = Folder::new(NET);
        folder.convnet(&TRAIN).ended(0);
        folder
    })
}

/// A command on the run, on one thread of the CPU.
fn on_run(name: &str, more: &[&str]) -> Ended {
    folder().convnet(&[&[name, "run", "--device", "cpu", "--threads", "1"], more].concat())
}

fn test(more: &[&str]) -> Value {
    let ended = on_run("test", &[&["--json"], more].concat()).ended(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("{v} is no number"))
}

fn newest() -> (NetSpec, Checkpoint, PathBuf) {
    let checkpoints = folder().path("run").join("checkpoints");
    let found = checkpoint::newest(&checkpoints, false, |w| panic!("{w}")).unwrap();
    (NetSpec::load(folder().path("run/config.toml"), &[]).unwrap(), found, checkpoints)
}

fn digits() -> DataSet {
    data::open("mnist-10k", &data::Options::default()).unwrap()
}

/// At every place of its map the dense net says what the net says of the window there.
#[test]
fn a_dense_net_sees_every_window() {
    const SIDE: usize = 40;
    let (spec, found, path) = newest();
    let dense = Dense::new(&spec, &Graph::new(&spec, Shape::new(1, 28, 28, 1), 10).unwrap()).unwrap();
    assert_eq!((dense.places(28, 28, 1), dense.stride(28, 28, 1)), (Some([1, 1]), Some(4)));
    let mut pixels = vec![0; 28 * 28];
    let mut image: Vec<u8> = (0..SIDE * SIDE).map(|i| (i * 37 % 251) as u8).collect();
    digits().test.read(3, &mut pixels).unwrap();
    for (row, digit) in pixels.chunks(28).enumerate() {
        image[(row + 6) * SIDE + 6..][..28].copy_from_slice(digit);
    }
    let mut whole = Predictor::dense(&dense, Shape::new(1, SIDE, SIDE, 1), &found, &path, f32_device(1)).unwrap();
    let map = whole.probabilities(&mut image.clone(), 1, 10).unwrap();
    let y = whole.output();
    assert_eq!((y.h, y.w, y.c), (4, 4, 10));
    let mut plain = Predictor::new(&spec, Shape::new(1, 28, 28, 1), &found, &path, f32_device(1)).unwrap();
    for (place, expected) in map.chunks(10).enumerate() {
        let (top, left) = (place / 4 * 4, place % 4 * 4);
        let mut window: Vec<u8> = (0..28).flat_map(|row| image[(top + row) * SIDE + left..][..28].to_vec()).collect();
        common::close(&plain.probabilities(&mut window, 1, 10).unwrap(), expected, 1e-5);
    }
}

/// The loss and the error of one view are those that the net's cost counts; the details add up.
#[test]
fn one_view_in_detail_is_the_plain_test() {
    let (plain, detailed) = (test(&[]), test(&["--details"]));
    assert!((number(&plain["error"]) - number(&detailed["error"])).abs() < 1e-9, "{plain:#} {}", detailed["error"]);
    assert!((number(&plain["error_top5"]) - number(&detailed["error_top5"])).abs() < 1e-9);
    assert!((number(&plain["loss"]) - number(&detailed["loss"])).abs() < 1e-4, "{} {}", plain["loss"], detailed["loss"]);
    assert!(number(&plain["error"]) < 0.4, "the net has learned nothing: {}", plain["error"]);
    let set = digits();
    let confusion = detailed["confusion"].as_array().unwrap();
    let mut right = 0;
    for class in 0..10 {
        let row: Vec<u64> = confusion[class].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let images = (0..200).filter(|&i| set.test.label(i) == class as i32).count() as u64;
        assert_eq!(row.iter().sum::<u64>(), images, "class {class}");
        assert_eq!(detailed["classes"][class]["images"].as_u64(), Some(images));
        assert_eq!(detailed["classes"][class]["right"].as_u64(), Some(row[class]));
        right += row[class];
    }
    assert!((number(&detailed["error"]) - (1.0 - right as f64 / 200.0)).abs() < 1e-9);
    let bins = detailed["calibration"]["bins"].as_array().unwrap();
    assert_eq!(bins.iter().map(|b| b["images"].as_u64().unwrap()).sum::<u64>(), 200);
    let ece: f64 =
        bins.iter().map(|b| number(&b["images"]) / 200.0 * (number(&b["accuracy"]) - number(&b["confidence"])).abs()).sum();
    assert!((number(&detailed["calibration"]["ece"]) - ece).abs() < 1e-9);
}

#[test]
fn views_scales_and_checkpoints_are_averaged() {
    let ten = test(&["--views", "10", "--scales", "28,32"]);
    assert_eq!((ten["views"].as_u64(), ten["images"].as_u64()), (Some(20), Some(200)), "{}", ten["views"]);
    // Mirror images of digits are other digits; most are still told.
    assert!(number(&ten["error"]) < 0.6, "{}", ten["error"]);
    let dense = test(&["--views", "dense", "--scales", "36", "--offsets", "2"]);
    assert_eq!(dense["views"].as_u64(), Some(8));
    assert!(number(&dense["error"]) < 0.8, "{}", dense["error"]);
    // A mean of one net's predictions with themselves is those.
    let (one, twice) = (test(&["--details"]), test(&["--checkpoints", "60,60"]));
    assert_eq!(twice["steps"], serde_json::json!([60, 60]));
    assert!((number(&one["loss"]) - number(&twice["loss"])).abs() < 1e-6);
    let mixed = test(&["--checkpoints", "40,60"]);
    assert!((number(&one["loss"]) - number(&mixed["loss"])).abs() > 1e-6, "two checkpoints are not one");
}

#[test]
fn details_are_printed_and_drawn() {
    let ended = on_run("test", &["--details", "--confusion", "confusion.png", "--reliability", "reliability.png"]).ended(0);
    for part in ["top-5 error", "calibration error", "precision", "taken for", "probability", "confusion.png"] {
        assert!(ended.stdout.contains(part), "no '{part}' in: {}", ended.stdout);
    }
    for name in ["confusion.png", "reliability.png"] {
        let picture = image::open(folder().path(name)).unwrap().to_rgb8();
        let blue = picture.pixels().filter(|p| p.0[2] > p.0[0].saturating_add(60)).count();
        assert!(picture.width() > 400 && blue > 500, "{name}: {} blue pixels", blue);
    }
}

/// The features of the last layer are the predictions; those of a layer below have its shape, also as a .npy file.
#[test]
fn features_are_what_a_layer_makes() {
    on_run("features", &["--layer", "probabilities", "-o", "p.safetensors"]).ended(0);
    let bytes = fs::read(folder().path("p.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (p, labels) = (file.tensor("features").unwrap(), file.tensor("labels").unwrap());
    assert_eq!((p.shape(), labels.shape()), ([200, 10].as_slice(), [200].as_slice()));
    let floats = |bytes: &[u8]| bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
    let values = floats(p.data());
    let mut wrong = 0;
    for (row, label) in values.chunks(10).zip(labels.data().chunks(4)) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
        let best = (0..10).fold(0, |best, j| if row[j] > row[best] { j } else { best });
        wrong += usize::from(best as i32 != i32::from_le_bytes(label.try_into().unwrap()));
    }
    assert!((number(&test(&[])["error"]) - wrong as f64 / 200.0).abs() < 1e-9, "{wrong} wrong");

    let ended = on_run("features", &["--layer", "pool1", "-o", "pool1.npy"]).ended(0);
    assert!(ended.stdout.contains("200 × 6 × 6 × 6"), "{}", ended.stdout);
    let bytes = fs::read(folder().path("pool1.npy")).unwrap();
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00") && header.contains("'shape': (200, 6, 6, 6, )"), "{header}");
    let values = floats(&bytes[bytes.len() - 4 * 200 * 216..]);
    // Maxima of rectified values, not all of them 0.
    assert!(values.iter().all(|&v| v >= 0.0) && values.iter().any(|&v| v > 0.1));
}

#[test]
fn an_image_from_standard_input_and_its_heat_map() {
    let mut pixels = vec![0; 28 * 28];
    digits().test.read(0, &mut pixels).unwrap();
    let path = folder().path("zero.png");
    GrayImage::from_raw(28, 28, pixels).unwrap().save_with_format(&path, ImageFormat::Png).unwrap();
    let file = on_run("predict", &["--json", "zero.png"]).ended(0);
    let mut child = command(&folder().path("."), &["predict", "run", "-", "--json", "--device", "cpu", "--threads", "1"]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(&path).unwrap()).unwrap();
    let piped = Ended::of(child.wait_with_output().unwrap()).ended(0);
    let predictions = |ended: &Ended| serde_json::from_str::<Value>(&ended.stdout).unwrap()["images"][0]["predictions"].clone();
    assert_eq!(predictions(&file), predictions(&piped));

    let ended = on_run("predict", &["zero.png", "--heat-map", "heat.png", "--class", "3", "--scale", "60"]).ended(0);
    assert!(ended.stdout.contains("'3' in 9 × 9 windows"), "{}", ended.stdout);
    let picture = image::open(folder().path("heat.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (60, 60));
}

#[test]
fn wrong_arguments_are_told() {
    on_run("test", &["--scales", "20"]).failed(2, &["--scales 20", "20×20", "28×28"]);
    on_run("test", &["--scales", "60000"]).failed(2, &["--scales 60000"]);
    on_run("test", &["--offsets", "2"]).failed(2, &["--offsets is for --views dense"]);
    on_run("test", &["--checkpoints", "60,61"]).failed(2, &["no checkpoint '61'", "60"]);
    on_run("test", &["--views", "11"]).failed(2, &["11", "1, 10, dense"]);
    on_run("features", &["--layer", "pool", "-o", "x.npy"]).failed(2, &["'pool'", "did you mean 'pool1'?", "fc2"]);
    on_run("features", &["--layer", "pool1", "-o", "x.csv"]).failed(2, &["x.csv", ".npy or .safetensors"]);
    on_run("features", &["--layer", "cost", "-o", "x.npy"]).failed(2, &["'cost'", "no output"]);
    on_run("predict", &["net.toml", "--heat-map", "x.png"]).failed(1, &["cannot read net.toml"]);
    on_run("predict", &["a.png", "b.png", "--heat-map", "x.png"]).failed(2, &["--heat-map is of one image"]);
    assert!(!folder().path("x.npy").exists() && !folder().path("x.png").exists());
}
