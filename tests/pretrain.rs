//! `[pretrain]`: layers trained one after the other as autoencoders with tied weights, before the whole net.

mod common;

use common::{Folder, f32_device, setup};
use convnet::config::NetSpec;
use convnet::device::Shape;
use convnet::train::pretrain::{Learned, run};
use convnet::train::{Setup, Trainer};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// A convolution and two fully connected layers, all of which are pretrained; a dropout that pretraining passes by.
const NET: &str = r#"
name = "pretrained"
[data]
source = "mnist-10k"
train_images = 100
test_images = 50
[pretrain]
layers = ["conv1", "fc1", "fc2"]
epochs = 4
learning_rate = 0.001
noise = 0.25
train_images = 200
log_every = 5
[train]
batch = 20
epochs = 1
seed = 7
learning_rate = 0.01
layer = [
{ name = "conv1", type = "conv", filters = 6, size = 5, stride = 2, padding = 1, neuron = "relu" },
{ name = "drop1", type = "dropout" },
{ name = "fc1", type = "fc", outputs = 40, neuron = "relu" },
{ name = "fc2", type = "fc", outputs = 20, neuron = "tanh" },
{ name = "fc3", type = "fc", outputs = 10 },
{ name = "probabilities", type = "softmax" },
{ name = "cost", type = "logistic-regression" },
]
"#;

/// The config as a file would have it: the layers' array stands before the sections.
fn config() -> String {
    let (sections, layers) = NET.split_once("layer = [").unwrap();
    format!("layer = [{layers}{sections}")
}

/// Pretrains; what was learned, and each layer's first and last loss.
fn pretrain(setup: &Setup) -> (Learned, BTreeMap<String, (f64, f64)>) {
    let mut losses: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let done = run(setup, f32_device(1), &AtomicBool::new(false), &mut |p| {
        if let Some(loss) = p.loss {
            losses.entry(p.layer.into()).or_insert((loss, loss)).1 = loss;
        }
    });
    (done.unwrap().expect("nobody stopped it").1, losses)
}

/// Every layer's reconstruction gets better by a fifth at least; the same seed gives the same bits; sparsity makes the codes
/// smaller (it pulls on the weights, which are then others).
#[test]
fn every_layer_learns_to_restore_its_input() {
    let (learned, losses) = pretrain(&setup(&config(), &[]));
    for layer in ["conv1", "fc1", "fc2"] {
        let (first, last) = losses[layer];
        assert!(last < 0.8 * first, "{layer}: {first} to {last}");
    }
    let names: Vec<&str> = learned.keys().map(String::as_str).collect();
    assert_eq!(names, ["conv1.bias", "conv1.weights", "fc1.bias", "fc1.weights", "fc2.bias", "fc2.weights"]);
    assert!(pretrain(&setup(&config(), &[])).0 == learned, "the same seed gave other bits");
    assert!(pretrain(&setup(&config(), &["pretrain.sparsity=0.1"])).0 != learned, "sparsity changed nothing");
}

/// Pretraining a layer leaves those below it alone: what it learns of the first is the same whatever comes after.
#[test]
fn layers_below_are_frozen() {
    let all = pretrain(&setup(&config(), &[])).0;
    let first = pretrain(&setup(&config(), &["pretrain.layers=[\"conv1\"]"])).0;
    assert!(first.iter().all(|(name, values)| all[name] == *values), "conv1 changed while fc1 or fc2 was trained");
}

/// The decoder has the layer's weights: gradients of both uses add up in one parameter, and the net of a stage has no other
/// weights that learn.
#[test]
fn a_stage_has_one_set_of_weights() {
    let setup = setup(&config(), &[]);
    let pretrain = setup.spec.pretrain.clone().unwrap();
    let stage = setup.spec.pretraining(&pretrain, "fc1", Shape::new(1, 13, 13, 6), Shape::new(1, 1, 1, 40)).unwrap();
    let graph = convnet::net::Graph::new(&stage, setup.images(20), 10).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let learned: Vec<&str> = graph.parameters.iter().filter(|p| p.learns()).map(|p| p.name.as_str()).collect();
    assert_eq!(learned, ["fc1.weights", "fc1.bias", "fc1.decoder.bias"]);
    let frozen: Vec<&str> = graph.parameters.iter().filter(|p| !p.learns()).map(|p| p.name.as_str()).collect();
    assert_eq!(frozen, ["conv1.weights", "conv1.bias"]);
}

/// `train` starts the whole net from what was learned, logs it, and its run resumes and tests as any other.
#[test]
fn training_starts_from_what_was_learned() {
    let folder = Folder::new(&config());
    let said = folder.train(&[]).ended(0).stderr;
    for layer in ["conv1", "fc1", "fc2"] {
        assert!(said.contains(&format!("pretrained {layer}: 40 steps, reconstruction loss")), "{said}");
    }
    let log = std::fs::read_to_string(folder.path("run/log.txt")).unwrap();
    assert!(log.contains("pretrained fc2"), "{log}");
    let spec = NetSpec::load(folder.path("run/config.toml"), &[]).unwrap();
    assert_eq!(spec, setup(&config(), &[]).spec, "the run's config says the same");
    let first = convnet::train::checkpoint::Checkpoint::load(&folder.path("run/checkpoints/step-0"), false);
    let first = first.unwrap_or_else(|e| panic!("{e}"));
    let learned = pretrain(&setup(&config(), &[])).0;
    let weights = &first.weights.iter().find(|t| t.name == "fc1.weights").unwrap().values;
    assert!(weights.iter().zip(&learned["fc1.weights"]).all(|(a, b)| f64::from(*a) == *b), "step 0 has other weights");
    let mut fresh = Trainer::new(setup(&config(), &[]), f32_device(1)).unwrap();
    let drawn = &fresh.checkpoint(None, 0).unwrap().weights;
    assert!(drawn.iter().find(|t| t.name == "fc1.weights").unwrap().values != *weights, "nothing was learned");
    folder.convnet(&["test", "run", "--device", "cpu"]).ended(0);
}

/// Layers that cannot be pretrained are wrong configs, shown at their line.
#[test]
fn layers_without_a_decoder_are_refused() {
    for (layers, parts) in [
        ("[\"fc7\"]", ["no layer has the name 'fc7'", "did you mean 'fc1'?"]),
        ("[\"drop1\"]", ["'drop1' is no convolution or fully connected layer", "type conv or fc"]),
    ] {
        let folder = Folder::new(&config().replace("layers = [\"conv1\", \"fc1\", \"fc2\"]", &format!("layers = {layers}")));
        folder.train(&[]).failed(2, &[&["net.toml:", "pretrain"], &parts[..]].concat());
        assert!(!folder.path("run").exists());
    }
    let folder = Folder::new(&config().replace("noise = 0.25", "noise = 1"));
    folder.train(&[]).failed(2, &["net.toml:", "noise must be at least 0 and below 1, not 1"]);
}
