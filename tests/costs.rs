//! Costs in a net: several of them apart in all that is told of a run, counts beyond errors, and costs that are each other's
//! equals by another way.

mod common;

use common::{COSTS, Folder, RESUME, close, f64_device, setup, trainer};
use convnet::data::Loader;
use convnet::device::{StepValues, Tensor};
use convnet::layer::Phase;
use convnet::net::{BatchBytes, Purpose};
use convnet::op::{Op, Write};
use convnet::train::{CostLine, Line, Split, checkpoint, evaluate, read_lines};
use serde_json::Value;
use std::collections::BTreeMap;

/// The costs of [`COSTS`] in their order.
const NAMES: [&str; 5] = ["classes", "soft", "detection", "margin", "likeness"];

/// All lines of a run but for their times.
fn lines(folder: &Folder) -> Vec<Line> {
    let mut lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    lines.iter_mut().for_each(|l| (l.seconds, l.images_per_second, l.data_wait) = (0.0, 0.0, 0.0));
    lines
}

/// Five costs are told apart by train, metrics.jsonl, test and test --json; the first is the headline, and the loss is the sum
/// by coefficients. What detection counted of each class is what its error is made of.
#[test]
fn several_costs_are_told_apart() {
    let folder = Folder::new(COSTS);
    let trained = folder.train(&[]).ended(0);
    for name in NAMES {
        let told = trained.stderr.lines().filter(|l| l.ends_with(&format!(" {name}"))).collect::<Vec<_>>();
        // One at each of three tests.
        assert_eq!(told.len(), 3, "{name} in {}", trained.stderr);
        let errors = if name == "likeness" { 0 } else { 2 };
        for l in told {
            assert!(l.contains("train loss") && l.contains("test loss") && l.matches("error").count() == errors, "{l}");
        }
    }
    let lines = lines(&folder);
    for line in &lines {
        let of = |name: &str| &line.costs[name];
        let sum = of("classes").loss + 0.5 * of("soft").loss + 0.25 * of("detection").loss + 0.1 * of("margin").loss;
        close(&[line.loss], &[sum + 0.001 * of("likeness").loss], 1e-6);
        assert_eq!((line.error, line.error_top5), (of("classes").error, of("classes").error_top5));
        // A one-hot target's largest is the label: what is counted against it is what is counted against labels.
        assert_eq!((of("soft").error, of("soft").error_top5), (of("margin").error, of("margin").error_top5));
        assert_eq!((of("likeness").error, of("likeness").error_top5), (0.0, 0.0));
        detections(of("detection"), if line.split == Split::Test { 100.0 } else { 160.0 });
        assert!(NAMES.iter().filter(|n| **n != "detection").all(|n| of(n).counts.is_empty()));
    }

    let report = folder.convnet(&["test", "run", "--json", "--device", "cpu"]).ended(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let costs: BTreeMap<String, CostLine> = serde_json::from_value(report["costs"].clone()).unwrap();
    let last = lines.iter().rfind(|l| l.split == Split::Test).unwrap();
    assert_eq!((&costs, report["loss"].as_f64().unwrap()), (&last.costs, last.loss));

    let table = folder.convnet(&["test", "run", "--device", "cpu"]).ended(0).stdout;
    for name in NAMES {
        assert!(table.lines().any(|l| l.starts_with(&format!("| {name} "))), "no {name} in {table}");
    }
    let header = table.lines().find(|l| l.starts_with("| class ")).unwrap_or_else(|| panic!("{table}"));
    for column in ["true positives", "false positives", "false negatives", "precision", "recall"] {
        assert!(header.contains(column), "no {column} in {header}");
    }
}

/// Every image has one class: true positives and false negatives together are the images; and the error is the part of the
/// outputs, ten an image, that is false.
fn detections(cost: &CostLine, images: f64) {
    let sum = |name: &str| {
        assert_eq!(cost.counts[name].len(), 10, "{name}");
        cost.counts[name].iter().sum::<f64>()
    };
    let wrong = sum("false_positives") + sum("false_negatives");
    assert_eq!(sum("true_positives") + sum("false_negatives"), images);
    assert!((cost.error - wrong / (10.0 * images)).abs() < 1e-6, "{} and {wrong} of {images}", cost.error);
}

/// A run that goes on from a checkpoint between two lines has the lines of one left alone, every count included.
#[test]
fn counts_since_the_last_line_outlive_a_resume() {
    let folder = Folder::new(COSTS);
    folder.train(&[]).ended(0);
    let alone = lines(&folder);
    for (step, path) in checkpoint::list(&folder.path("run/checkpoints")) {
        if step > 28 {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    folder.convnet(&RESUME).ended(0);
    assert_eq!(lines(&folder), alone);
    assert!(alone.iter().any(|l| l.step == 30 && l.split == Split::Train && l.costs.len() == 5));
}

/// The gradients of all parameters and the loss after one pass in f64.
fn gradients(config: &str, sets: &[&str]) -> (Vec<f64>, f64) {
    let setup = setup(config, sets);
    let mut net = setup.net(32, f64_device(), Purpose::Train).unwrap();
    net.initialise(7).unwrap();
    let b = Loader::test(setup.data.train.clone(), 32).unwrap().next().unwrap();
    net.feed(BatchBytes { images: &b.images, places: &b.places, labels: &b.labels, values: &[] }).unwrap();
    let (images, gradient_scale) = (b.count as u32, 1.0 / b.count as f64);
    let step = StepValues { seed: 1, step: 0, first_image: 0, images, gradient_scale, learning_rate: 0.1, momentum: 0.9 };
    net.set_step(step).unwrap();
    net.forward(Phase::Train).unwrap();
    net.backward(Write::Set).unwrap();
    let gradients = net.plan.kept.gradients.clone().into_iter().flatten();
    let gradients = gradients.flat_map(|g| net.read(g).unwrap()).collect();
    let metrics = net.metrics().unwrap();
    (gradients, net.total_loss(&metrics))
}

const HEAD: &str = "[data]\nsource = \"mnist-10k\"\ntrain_images = 64\ntest_images = 32\n[train]\nbatch = 32\n";

fn net(layers: &str) -> String {
    format!("name = \"net\"\n{HEAD}{}", layers.replace("[[", "\n[["))
}

/// The same loss and gradients by another way.
#[track_caller]
fn equal(a: &str, b: &str) {
    let (a, b) = (gradients(&net(a), &[]), gradients(&net(b), &[]));
    assert!(a.0.iter().any(|g| g.abs() > 1e-3));
    close(&a.0, &b.0, 1e-12);
    close(&[a.1], &[b.1], 1e-12);
}

/// Label smoothing is cross entropy against smoothed one-hot labels, behind a softmax and of probabilities.
#[test]
fn smoothing_is_a_soft_target() {
    let scores = "[[layer]]\nname = \"scores\"\ntype = \"fc\"\noutputs = 10\n";
    let target =
        "[[layer]]\nname = \"target\"\ntype = \"one-hot\"\ninputs = [\"labels\"]\nclasses = 10\nsmoothing = 0.2\n".to_owned();
    for between in ["", "[[layer]]\nname = \"same\"\ntype = \"neuron\"\nneuron = \"linear[1, 0]\"\n"] {
        let trunk = format!("{scores}[[layer]]\nname = \"p\"\ntype = \"softmax\"\n{between}");
        let p = if between.is_empty() { "p" } else { "same" };
        let smoothed = "[[layer]]\nname = \"cost\"\ntype = \"logistic-regression\"\nsmoothing = 0.2\n";
        let soft = format!("[[layer]]\nname = \"cost\"\ntype = \"cross-entropy\"\ninputs = [\"{p}\", \"target\"]\n");
        equal(&format!("{trunk}{smoothed}"), &format!("{trunk}{target}{soft}"));
    }
}

/// A binary cross entropy reads what a logistic neuron reads, whether the neuron rides on a layer or is one, and computes what
/// it would of the neuron's output; others read that output still.
#[test]
fn a_logistic_neuron_is_taken_into_its_cost() {
    let scores = "[[layer]]\nname = \"scores\"\ntype = \"fc\"\noutputs = 10\n";
    let target = "[[layer]]\nname = \"target\"\ntype = \"one-hot\"\ninputs = [\"labels\"]\nclasses = 10\n";
    let neuron = "[[layer]]\nname = \"p\"\ntype = \"neuron\"\ninputs = [\"scores\"]\nneuron = \"logistic\"\n";
    let same = "[[layer]]\nname = \"same\"\ntype = \"neuron\"\nneuron = \"linear[1, 0]\"\n";
    let costs = |p: &str, read: &str| {
        format!(
            "[[layer]]\nname = \"cost\"\ntype = \"binary-cross-entropy\"\ninputs = [\"{read}\", \"target\"]\npositive_weight = 3.0\n\
             [[layer]]\nname = \"small\"\ntype = \"sum-of-squares\"\ninputs = [\"{p}\"]\ncoefficient = 0.1\n"
        )
    };
    let riding = format!(
        "{target}{}neuron = \"logistic\"\n{}",
        scores.replace("type", "inputs = [\"data\"]\ntype"),
        costs("scores", "scores")
    );
    let alone = format!("{scores}{target}{neuron}{}", costs("p", "p"));
    let apart = format!("{scores}{target}{neuron}{same}{}", costs("p", "same"));
    equal(&riding, &apart);
    equal(&alone, &apart);
    let graph = setup(&net(&riding), &[]).graph(4).unwrap();
    let logistic = |layers: &str| {
        let made = setup(&net(layers), &[]).net(4, f64_device(), Purpose::Train).unwrap();
        let fused = |op: &Op<Tensor>| matches!(op, Op::BinaryCrossEntropyForward(c) if c.binary.logistic);
        made.plan.train.steps.iter().any(|(step, _)| fused(&step.op))
    };
    assert!(logistic(&riding) && logistic(&alone) && !logistic(&apart));
    assert_eq!(graph.prediction().map(|i| graph.nodes[i].name.as_str()), Some("scores.neuron"));
}

const AUTOENCODER: &str = r#"
name = "autoencoder"
[data]
source = "mnist-10k"
train_images = 2000
test_images = 200
[train]
batch = 50
epochs = 3
learning_rate = 0.0005
momentum = 0.9
[[layer]]
name = "code"
type = "fc"
outputs = 32
neuron = "tanh[1,1]"
init = { kind = "xavier" }
[[layer]]
name = "rebuilt"
type = "fc"
outputs = 784
init = { kind = "xavier" }
[[layer]]
name = "cost"
type = "sum-of-squares"
inputs = ["rebuilt", "data"]
"#;

/// A net whose target is its own input learns to make it again: of the squares of its pixels (784 of variance 1) less than
/// half is left after three epochs. It counts no errors, so that none are told.
#[test]
fn an_autoencoder_learns() {
    let folder = Folder::new(AUTOENCODER);
    let told = folder.train(&[]).ended(0).stderr;
    assert!(told.lines().any(|l| l.contains("test loss")) && !told.contains("error"), "{told}");
    let tests: Vec<f64> = lines(&folder).iter().filter(|l| l.split == Split::Test).map(|l| l.loss).collect();
    assert!(tests.len() == 3 && tests.is_sorted_by(|a, b| a > b) && tests[2] < 392.0, "{tests:?}");
    let table = folder.convnet(&["test", "run", "--device", "cpu"]).ended(0).stdout;
    assert!(table.contains("loss") && !table.contains("error"), "{table}");
}

/// A hinge loss, of either kind and norm, learns 64 digits by heart.
#[test]
fn hinge_losses_learn_64_images_by_heart() {
    for (kind, norm) in [("multi-class", 1), ("multi-class", 2), ("one-vs-all", 1), ("one-vs-all", 2)] {
        let layers = format!(
            "[[layer]]\nname = \"hidden\"\ntype = \"fc\"\noutputs = 32\nneuron = \"relu\"\n[[layer]]\nname = \"scores\"\n\
             type = \"fc\"\noutputs = 10\n[[layer]]\nname = \"cost\"\ntype = \"hinge\"\nkind = \"{kind}\"\nnorm = {norm}\n"
        );
        let setup = setup(&net(&layers), &["train.epochs=30", "train.learning_rate=0.005", "train.momentum=0.9"]);
        let images = setup.data.train.clone();
        let mut trainer = trainer(setup, 1);
        for _ in 0..trainer.total_steps() {
            trainer.one_step().unwrap();
        }
        let metrics = evaluate(trainer.net(), &mut Loader::test(images, 32).unwrap(), 1, &mut |_, _| ()).unwrap();
        assert_eq!(metrics[0].1.error, 0.0, "{kind} of norm {norm}: {:?}", metrics[0].1);
    }
}

const SIAMESE: &str = r#"
name = "siamese"
[data]
source = "mnist-10k"
train_images = 2000
test_images = 500
pairs = true
[train]
batch = 50
epochs = 5
learning_rate = 0.01
momentum = 0.9
[[layer]]
name = "left"
type = "slice"
inputs = ["data"]
channels = [0, 1]
[[layer]]
name = "a1"
type = "fc"
outputs = 64
neuron = "relu"
[[layer]]
name = "a"
type = "fc"
outputs = 8
[[layer]]
name = "right"
type = "slice"
inputs = ["data"]
channels = [1, 2]
[[layer]]
name = "b1"
type = "fc"
outputs = 64
neuron = "relu"
weight_source = "a1"
bias_source = "a1"
[[layer]]
name = "b"
type = "fc"
outputs = 8
weight_source = "a"
bias_source = "a"
[[layer]]
name = "cost"
type = "contrastive"
inputs = ["a", "b"]
margin = 2.0
"#;

/// A net that sees two images by the same weights learns whether they are of one class: of the test's pairs, half of one class,
/// less than a quarter is on the wrong side after five epochs of pairs drawn anew. The test's pairs stay the same.
#[test]
fn a_siamese_net_learns_pairs() {
    let folder = Folder::new(SIAMESE);
    folder.train(&[]).ended(0);
    let lines = lines(&folder);
    let last = lines.iter().rfind(|l| l.split == Split::Test).unwrap();
    assert!(last.error < 0.25, "{last:?}");
    let report = folder.convnet(&["test", "run", "--json", "--device", "cpu"]).ended(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!((report["loss"].as_f64(), report["images"].as_u64()), (Some(last.loss), Some(500)));
    folder.convnet(&["predict", "run", "net.toml"]).failed(1, &["trained on pairs of images"]);
    // Without pairs the labels are digits.
    let single = ["--set", "data.pairs=false", "--set", "layer.right.channels=[0, 1]", "--out", "single"];
    folder.convnet(&[&["train", "net.toml"], &single[..]].concat()).failed(2, &["labels of 10 classes", "pairs = true"]);
}

// ---- labels that are values ----

/// A folder of 80 grey pictures and tables of them: how bright each is, how dark, and whether it is either.
fn tables() -> Folder {
    let folder = Folder::new("");
    std::fs::create_dir(folder.path("numbers")).unwrap();
    std::fs::create_dir(folder.path("several")).unwrap();
    let (mut numbers, mut several) = (vec!["path,bright,dark".to_owned()], vec!["path,over 80,over 160".to_owned()]);
    for i in 0..80u32 {
        let grey = (i * 37 % 80 * 3) as u8;
        let path = folder.path(&format!("{i}.png"));
        image::GrayImage::from_fn(6, 6, |x, _| image::Luma([grey + (x % 3) as u8])).save(&path).unwrap();
        let bright = f64::from(grey) / 255.0;
        numbers.push(format!("{},{bright},{}", path.display(), 1.0 - bright));
        several.push(format!("{},{},{}", path.display(), u8::from(grey > 80), u8::from(grey > 160)));
    }
    for (name, lines) in [("numbers", numbers), ("several", several)] {
        let (train, test) = lines.split_at(61);
        std::fs::write(folder.path(name).join("train.csv"), train.join("\n")).unwrap();
        std::fs::write(folder.path(name).join("test.csv"), [&lines[..1], test].concat().join("\n")).unwrap();
    }
    folder
}

fn of_values(source: &str, layers: &str) -> String {
    let train = "[train]\nbatch = 10\nepochs = 150\nlearning_rate = 0.002\nmomentum = 0.9\ntest_every = 900\nlog_every = 100";
    format!("name = \"values\"\n[data]\nsource = \"{source}\"\n{train}\n{layers}")
}

/// A net learns the numbers of a table, which `predict` prints by their columns' names; what is about classes says that it is not for
/// this net, and the rest works on it.
#[test]
fn numbers_of_a_table_are_learned_and_told() {
    let folder = tables();
    let layers = "[[layer]]\nname = \"fc\"\ntype = \"fc\"\noutputs = 2\n[[layer]]\nname = \"cost\"\ntype = \"sum-of-squares\"\n\
                  inputs = [\"fc\", \"labels\"]";
    std::fs::write(folder.path("net.toml"), of_values("numbers", layers)).unwrap();
    folder.train(&[]).ended(0);
    let last = lines(&folder).pop().unwrap();
    assert!(last.split == Split::Test && last.loss < 1e-3 && last.error == 0.0, "{last:?}");
    let said = folder.convnet(&["predict", "run", "5.png", "70.png", "--json", "--device", "cpu"]).ended(0).stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    for (image, i) in said["images"].as_array().unwrap().iter().zip([5, 70]) {
        let bright = f64::from(i * 37 % 80 * 3) / 255.0;
        let values: Vec<(&str, f64)> = image["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| (v["name"].as_str().unwrap(), v["value"].as_f64().unwrap()))
            .collect();
        assert!(values[0].0 == "bright" && (values[0].1 - bright).abs() < 0.05, "{values:?}, not {bright}");
        assert!(values[1].0 == "dark" && (values[1].1 - 1.0 + bright).abs() < 0.05, "{values:?}");
        assert!(image.get("predictions").is_none(), "{image}");
    }
    let table = folder.convnet(&["predict", "run", "5.png", "--device", "cpu"]).ended(0).stdout;
    assert!(table.lines().any(|l| l.ends_with("  bright")), "{table}");
    let test: Value =
        serde_json::from_str(&folder.convnet(&["test", "run", "--json", "--device", "cpu"]).ended(0).stdout).unwrap();
    assert_eq!((test["loss"].as_f64(), test["images"].as_u64()), (Some(last.loss), Some(20)));
    folder.convnet(&["test", "run", "--details", "--device", "cpu"]).failed(2, &["this one tells values"]);
    folder.convnet(&["predict", "run", "5.png", "--heat-map", "x.png", "--device", "cpu"]).failed(2, &["this net tells values"]);
    folder.convnet(&["report", "run", "-o", "page.html", "--device", "cpu"]).ended(0);
    assert!(!std::fs::read_to_string(folder.path("page.html")).unwrap().contains("Worst errors"));
    let stats = folder.convnet(&["data", "stats", "numbers"]).ended(0).stdout;
    assert!(stats.contains("bright 0 to 0.9") && !stats.contains("classes"), "{stats}");
    folder.convnet(&["data", "pack", "numbers", "-o", "packed"]).failed(1, &["shards hold a class for each image"]);
    folder.convnet(&["data", "split", "numbers/train.csv", "-o", "again", "--test", "0.25"]).ended(0);
    let again = convnet::data::open(folder.path("again").to_str().unwrap(), &Default::default()).unwrap();
    assert_eq!((again.train.len(), again.test.len(), again.class_names), (45, 15, vec!["bright".to_owned(), "dark".to_owned()]));
}

/// Several labels an image: each is told by itself, and the error is the part of them that is wrong.
#[test]
fn several_labels_of_a_table_are_learned() {
    let folder = tables();
    let layers = "[[layer]]\nname = \"fc\"\ntype = \"fc\"\noutputs = 2\nneuron = \"logistic\"\n[[layer]]\nname = \"cost\"\n\
                  type = \"binary-cross-entropy\"\ninputs = [\"fc\", \"labels\"]";
    std::fs::write(folder.path("net.toml"), of_values("several", layers)).unwrap();
    folder.train(&[]).ended(0);
    let last = lines(&folder).pop().unwrap();
    assert!(last.split == Split::Test && last.error <= 0.05, "{last:?}");
    folder.convnet(&["check", "net.toml"]).ended(0);
}

/// What reads classes says so where labels are values, and what reads values where they are classes.
#[test]
fn values_and_classes_are_not_taken_for_each_other() {
    let folder = tables();
    let fc = "[[layer]]\nname = \"fc\"\ntype = \"fc\"\noutputs = 3\n";
    let hinge = format!("{fc}[[layer]]\nname = \"cost\"\ntype = \"hinge\"");
    let logreg =
        format!("{fc}[[layer]]\nname = \"p\"\ntype = \"softmax\"\n[[layer]]\nname = \"cost\"\ntype = \"logistic-regression\"");
    let squares = format!("{fc}[[layer]]\nname = \"cost\"\ntype = \"sum-of-squares\"\ninputs = [\"fc\", \"labels\"]");
    for (layers, parts) in [
        (&hinge, ["the labels are 2 values an image, not class numbers", "sum-of-squares"]),
        (&logreg, ["the labels are 2 values an image, not class numbers", "logistic-regression reads a"]),
        (&squares, ["reads a layer and a target of as many values", "name one layer, or two of the same size"]),
    ] {
        std::fs::write(folder.path("net.toml"), of_values("numbers", layers)).unwrap();
        folder.train(&[]).failed(2, &parts);
    }
    let mixed = |layers: &str| net(layers).replace("test_images = 32\n", "test_images = 32\naugment = { mixup = 0.2 }\n");
    let fc = "[[layer]]\nname=\"fc\"\ntype=\"fc\"\noutputs=10\n";
    for (layers, parts) in [
        ("[[layer]]\nname=\"cost\"\ntype=\"hinge\"", ["10 values an image, not a label", "no mixup"]),
        (
            "[[layer]]\nname=\"cost\"\ntype=\"logistic-regression\"\nsmoothing=0.1",
            ["these are probabilities already", "augment.mixup"],
        ),
        (
            "[[layer]]\nname=\"t\"\ntype=\"one-hot\"\ninputs=[\"labels\"]\nclasses=10",
            ["10 values an image already", "in place of this layer"],
        ),
    ] {
        std::fs::write(folder.path("net.toml"), mixed(&format!("{fc}{layers}"))).unwrap();
        folder.train(&[]).failed(2, &parts);
    }
}

/// With mixup, gradients agree with finite differences; an image that is tested has its own class, so that loss and errors of a test
/// are those without; and the loss of a mixed image is what its parts have by their shares.
#[test]
fn mixed_labels_cost_what_their_parts_do() {
    let layers = "[[layer]]\nname=\"fc\"\ntype=\"fc\"\noutputs=10\n[[layer]]\nname=\"p\"\ntype=\"softmax\"\n[[layer]]\nname=\"cost\"\n\
                  type=\"logistic-regression\"";
    let mixup = ["data.augment={ mixup = 0.4 }"];
    let folder = Folder::new(&net(layers));
    folder.convnet(&["check", "net.toml", "--set", mixup[0]]).ended(0);
    let tested = |sets: &[&str]| {
        let mut trainer = trainer(setup(&net(layers), sets), 1);
        let mut tests = Loader::test(trainer.setup().data.test.clone(), 32).unwrap();
        let metrics = evaluate(trainer.net(), &mut tests, 1, &mut |_, _| ()).unwrap();
        (metrics[0].1.loss, metrics[0].1.error, metrics[0].1.error_top5)
    };
    let (with, without) = (tested(&mixup), tested(&[]));
    close(&[with.0], &[without.0], 1e-6);
    assert_eq!((with.1, with.2), (without.1, without.2));

    let loss = |labels: [i32; 2], values: &[f32]| {
        let setup = setup(&net(layers), if values.is_empty() { &[] } else { &mixup });
        let mut net = setup.net(2, f64_device(), Purpose::Train).unwrap();
        net.initialise(7).unwrap();
        let b = Loader::test(setup.data.train.clone(), 2).unwrap().next().unwrap();
        net.feed(BatchBytes { images: &b.images, places: &b.places, labels: &labels, values }).unwrap();
        net.set_step(StepValues {
            seed: 1,
            step: 0,
            first_image: 0,
            images: 2,
            gradient_scale: 0.5,
            learning_rate: 0.1,
            momentum: 0.9,
        })
        .unwrap();
        net.forward(Phase::Train).unwrap();
        net.metrics().unwrap()[0].1.loss
    };
    let mut values = [0f32; 20];
    (values[3], values[4], values[17], values[10]) = (0.75, 0.25, 0.75, 0.25);
    close(&[loss([0, 0], &values)], &[0.75 * loss([3, 7], &[]) + 0.25 * loss([4, 0], &[])], 1e-12);
}
