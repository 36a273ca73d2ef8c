//! `convnet import` and `export`: a small net in other programs' formats gives PyTorch's logits (tests/golden/make_port.py), goes
//! out and comes in again as it was, and what is damaged or does not fit is an error with one message.

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod models;
mod torchvision;

use common::{Folder, RESUME, close, f32_device};
use convnet::config::NetSpec;
use convnet::device::{Place, Shape, StepValues};
use convnet::layer::{Phase, Role};
use convnet::net::{BatchBytes, Graph, Input, Net, Purpose};
use convnet::train::{self, checkpoint};
use serde_json::Value;
use std::path::Path;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/port");

/// A file beside the golden logits.
fn file(name: &str) -> String {
    format!("{GOLDEN}/{name}")
}

fn golden(key: &str) -> Vec<f64> {
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file("tiny.json")).unwrap()).unwrap();
    all[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// What a run's net computes of an image, before its softmax, folded as `predict` has it.
fn logits(run: &Path, pixels: &[u8]) -> Vec<f64> {
    let spec = NetSpec::load(run.join("config.toml"), &[]).unwrap();
    let folder = run.join("checkpoints");
    let found = checkpoint::newest(&folder, true, |w| panic!("{w}")).unwrap();
    let normalisation = train::normalisation_of(&found, &folder).unwrap();
    let [h, w, c] = found.state.data.shape;
    let images = Shape::new(1, h, w, c);
    let mut graph = Graph::new(&spec, images, found.state.data.classes).unwrap();
    let softmax = graph.nodes.iter().find(|n| n.role() == Role::Softmax).unwrap();
    let Input::Node(scores) = softmax.inputs[0] else { panic!("the softmax reads no layer") };
    graph.shown.push(scores);
    let made = Net::new(graph, f32_device(1), Purpose::Infer, images, &normalisation.mean, normalisation.scale);
    let mut net = made.unwrap_or_else(|(e, _)| panic!("{e}"));
    train::load_parameters(&mut net, &found, &folder).unwrap();
    net.feed(BatchBytes { images: pixels, places: &[Place::default()], labels: &[0], values: &[] }).unwrap();
    let step = StepValues { seed: 1, step: 0, first_image: 0, images: 1, gradient_scale: 1.0, learning_rate: 0.0, momentum: 0.0 };
    net.set_step(step).unwrap();
    net.forward(Phase::Test).unwrap();
    let scores = net.output(scores).unwrap();
    net.read(scores).unwrap()
}

fn pixels() -> Vec<u8> {
    golden("pixels").into_iter().map(|v| v as u8).collect()
}

/// Runs `convnet import` in a folder, to its `run`.
fn import(folder: &Folder, arguments: &[&str]) -> common::Ended {
    folder.convnet(&[&["import"], arguments, &["--out", "run"]].concat())
}

/// The mean and deviations of make_port.py.
const TORCH: [&str; 4] = ["--mean", "120,110,100", "--std", "60,50,70"];

#[test]
fn a_state_dict_has_pytorch_s_logits() {
    let folder = Folder::new("");
    let (weights, config) = (file("tiny.safetensors"), file("tiny.toml"));
    import(&folder, &[&[weights.as_str(), &config], &TORCH[..]].concat()).ended(0);
    close(&logits(&folder.path("run"), &pixels()), &golden("pytorch"), 1e-5);
    // The run is one that other commands take.
    folder.convnet(&["test", "run", "--device", "cpu"]).ended(0);
    folder.convnet(&RESUME).ended(0);
}

/// Blue first, a mean image larger than the net's, and layers of the old message and the new.
#[test]
fn a_caffemodel_has_pytorch_s_logits() {
    let folder = Folder::new("");
    let (mean, scale) = (file("mean.binaryproto"), "0.015625");
    import(&folder, &[&file("tiny.caffemodel"), &file("tiny.prototxt"), "--mean", &mean, "--scale", scale]).ended(0);
    close(&logits(&folder.path("run"), &pixels()), &golden("caffe"), 1e-5);
}

#[test]
fn darknet_s_weights_have_pytorch_s_logits() {
    let folder = Folder::new("");
    let scale = (1.0 / 255.0).to_string();
    import(&folder, &[&file("tiny.weights"), &file("tiny.cfg"), "--mean", "none", "--scale", &scale]).ended(0);
    close(&logits(&folder.path("run"), &pixels()), &golden("darknet"), 1e-5);
}

/// What goes out comes in again as it was, bit for bit.
#[test]
fn weights_go_out_and_in_again() {
    let folder = Folder::new("");
    let (weights, config) = (file("tiny.safetensors"), file("tiny.toml"));
    import(&folder, &[&[weights.as_str(), &config], &TORCH[..]].concat()).ended(0);
    let first = logits(&folder.path("run"), &pixels());
    let [mean, scale] = ["120,110,100", "0.016666666666666666"];
    for name in ["out.safetensors", "out.caffemodel", "out.weights"] {
        folder.convnet(&["export", "run", name]).ended(0);
        let out = format!("again-{name}");
        folder.convnet(&["import", name, &config, "--mean", mean, "--scale", scale, "--channels", "rgb", "--out", &out]).ended(0);
        assert_eq!(logits(&folder.path(&out), &pixels()), first, "{name}");
    }
}

/// Names of the classes are those of a file, and `predict` says them.
#[test]
fn classes_have_the_names_of_a_file() {
    let folder = Folder::new("");
    std::fs::write(folder.path("names.txt"), "ant\nbee\ncat\ndog\neel\n").unwrap();
    let names = ["--classes", "names.txt"];
    let (weights, config) = (file("tiny.safetensors"), file("tiny.toml"));
    import(&folder, &[&[weights.as_str(), &config], &TORCH[..], &names].concat()).ended(0);
    image::RgbImage::from_raw(10, 12, pixels()).unwrap().save(folder.path("x.png")).unwrap();
    let said: Value = serde_json::from_str(&folder.convnet(&["predict", "run", "x.png", "--json"]).ended(0).stdout).unwrap();
    let logits = golden("pytorch");
    let best = (0..5).max_by(|&i, &j| logits[i].total_cmp(&logits[j])).unwrap();
    assert_eq!(said["images"][0]["predictions"][0]["name"], ["ant", "bee", "cat", "dog", "eel"][best]);
}
