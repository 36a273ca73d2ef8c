//! Batch normalisation in a run: its running moments are trained, saved, resumed from, and folded into the layers before it
//! when a run is tested.

mod common;

use common::{Folder, RESUME};
use convnet::config::NetSpec;
use convnet::device::Shape;
use convnet::device::cpu::CpuDevice;
use convnet::net::{Graph, Plan, Purpose};
use convnet::train::{Split, read_lines};
use std::fs;

/// After a convolution without biases, with a neuron; after one with untied biases; of a vector; after a product that is masked in
/// training; and where it cannot fold: after a pool, and after a convolution that another layer reads too.
const NET: &str = r#"
name = "normalised"
layer = [
{ name = "conv1", type = "conv", filters = 6, size = 5, stride = 2, bias = "none" },
{ name = "norm1", type = "batch-norm", neuron = "relu" },
{ name = "conv2", type = "conv", filters = 5, size = 3, stride = 2, bias = "untied" },
{ name = "norm2", type = "batch-norm", affine = false, neuron = "tanh" },
{ name = "pool2", type = "pool", pool = "avg", size = 2, stride = 1 },
{ name = "norm3", type = "batch-norm" },
{ name = "conv3", type = "conv", filters = 5, size = 1 },
{ name = "norm4", type = "batch-norm" },
{ name = "both", type = "eltsum", inputs = ["conv3", "norm4"] },
{ name = "fc1", type = "fc", outputs = 20, bias = false },
{ name = "norm5", type = "batch-norm", epsilon = 0.001 },
{ name = "dropped", type = "fc", outputs = 20, bias = false, drop_connect = 0.9 },
{ name = "norm6", type = "batch-norm", neuron = "relu" },
{ name = "fc2", type = "fc", outputs = 10 },
{ name = "probabilities", type = "softmax" },
{ name = "cost", type = "logistic-regression" },
]
[data]
source = "mnist-10k"
train_images = 640
test_images = 200
[train]
batch = 32
epochs = 3
seed = 3
learning_rate = 0.05
checkpoint_every = 7
test_every = 60
keep = 20
"#;

#[test]
fn normalisations_fold_into_layers_that_they_alone_read() {
    let spec = NetSpec::from_toml(NET, "test.toml", &[]).unwrap();
    let images = Shape::new(2, 28, 28, 1);
    let graph = Graph::new(&spec, images, 10).unwrap();
    let parameters = graph.parameters.len();
    let plan = Plan::new(&graph, &CpuDevice::<f32>::new(1), Purpose::Infer, images, Shape::new(1, 1, 1, 1), 1.0);
    let folded: Vec<&str> = plan.folds.iter().map(|fold| graph.nodes[fold.norm].name.as_str()).collect();
    assert_eq!(folded, ["norm1", "norm2", "norm5", "norm6"]);
    assert_eq!(graph.parameters.len(), parameters, "a checkpoint's parameters are the net's");
}

/// The last test of the training, by the layers as they are, and that of the command, folded, agree to f32's rounding.
#[test]
fn a_folded_net_tests_as_the_trained_one() {
    let folder = Folder::new(NET);
    folder.train(&[]).ended(0);
    let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    let trained = lines.iter().rfind(|l| l.split == Split::Test).unwrap();
    let tested = folder.convnet(&["test", "run", "--json", "--device", "cpu"]).ended(0);
    let tested: serde_json::Value = serde_json::from_str(&tested.stdout).unwrap();
    assert_eq!(tested["step"].as_u64(), Some(trained.step));
    let loss = tested["loss"].as_f64().unwrap();
    assert!((loss - trained.loss).abs() <= 1e-5 * trained.loss, "{loss} folded, {} as trained", trained.loss);
    assert!(trained.loss < 1.5, "it has learned: {}", trained.loss);
    assert_eq!(tested["error"].as_f64(), Some(trained.error));
}

/// A run that is resumed from an earlier checkpoint has the running moments it had there: it ends with the same bytes.
#[test]
fn running_moments_are_saved() {
    let folder = Folder::new(NET);
    folder.train(&[]).ended(0);
    let weights = folder.path("run/checkpoints/step-60/weights.safetensors");
    let whole = fs::read(&weights).unwrap();
    for step in fs::read_dir(folder.path("run/checkpoints")).unwrap().map(|e| e.unwrap().path()) {
        let number = step.file_name().unwrap().to_str().unwrap().strip_prefix("step-").and_then(|n| n.parse::<u64>().ok());
        if number.is_some_and(|n| n > 28) {
            fs::remove_dir_all(step).unwrap();
        }
    }
    folder.convnet(&RESUME).ended(0);
    assert!(fs::read(&weights).unwrap() == whole, "the weights of step 60 differ");
}
