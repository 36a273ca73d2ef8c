//! Training through the library: it learns, its bits are its own, and its memory is what was planned.

mod common;

use common::{COSTS, Folder, LENET, SMALL, close, f32_device, f64_device, parameters, setup, trainer};
use convnet::data::Loader;
use convnet::data::Normalisation;
use convnet::device::{Slot, StepValues, Tensor};
use convnet::layer::Phase;
use convnet::net::{BatchBytes, Graph, Input, Net, Plan, Purpose};
use convnet::op::{Access, Pass, Step, Write};
use convnet::train::{Line, Run, Split, Trainer, evaluate, read_lines};
use std::sync::atomic::AtomicBool;

/// LeNet learns 64 digits by heart: none is wrong after 40 steps.
#[test]
fn sixty_four_images_overfit_to_error_0() {
    let setup = setup(LENET, &["data.train_images=64", "train.epochs=40", "train.weight_decay=0"]);
    let images = setup.data.train.clone();
    let mut trainer = trainer(setup, 0);
    assert_eq!(trainer.total_steps(), 40);
    for _ in 0..40 {
        trainer.one_step().unwrap();
    }
    let mut all = Loader::test(images, 64).unwrap();
    let metrics = evaluate(trainer.net(), &mut all, 1, &mut |_, _| ()).unwrap();
    assert_eq!((metrics[0].1.error, metrics[0].1.images), (0.0, 64.0), "loss {}", metrics[0].1.loss);
}

/// One thread and two make the same bits of every parameter and momentum, with dropout, shifts and a micro-batch that the
/// threads do not divide.
#[test]
fn one_and_two_threads_give_equal_bits() {
    let bits = |threads: usize| {
        // The device takes the thread that makes it into its pool.
        let run = move || {
            let sets = ["train.batch=26", "train.micro_batch=13", "data.augment.translate=2", "layer.fc1.neuron=\"tanh[1,1]\""];
            let mut trainer = trainer(setup(&with_dropout(LENET), &sets), threads);
            for _ in 0..20 {
                trainer.one_step().unwrap();
            }
            let checkpoint = trainer.checkpoint(None, 0).unwrap();
            let tensors = checkpoint.weights.into_iter().chain(checkpoint.optimizer);
            tensors.map(|t| (t.name, t.values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>())).collect::<Vec<_>>()
        };
        std::thread::spawn(run).join().unwrap()
    };
    let (one, two) = (bits(1), bits(2));
    assert!(one.iter().any(|(name, values)| name == "conv1.weights.momentum" && values.iter().any(|&v| v != 0)));
    for (a, b) in one.iter().zip(&two) {
        assert!(a == b, "{} differs", a.0);
    }
    assert_eq!(one.len(), two.len());
}

/// A batch of 64 in four parts is a batch of 64 at once, dropout masks included: in f64 to rounding, in f32 to 1e-5.
#[test]
fn micro_batches_add_up_to_their_batch() {
    let train = |f64: bool, micro: &str| {
        let sets = ["train.batch=64", &format!("train.micro_batch={micro}")];
        let device = if f64 { f64_device() } else { f32_device(1) };
        let mut trainer = Trainer::new(setup(SMALL, &sets), device).unwrap();
        for _ in 0..10 {
            trainer.one_step().unwrap();
        }
        parameters(&mut trainer)
    };
    close(&train(true, "16"), &train(true, "64"), 1e-12);
    close(&train(false, "16"), &train(false, "64"), 1e-5);
}

/// s = lr·(g + decay·w + l1·sign w), v ← momentum·v − s, w ← w + v, or w ← w + momentum·v − s by Nesterov's rule, with the
/// multipliers, schedules and momenta of weights and biases: five steps in f64 against a loop over plain numbers. A layer of
/// rate 0 keeps its bits.
#[test]
fn sgd_updates_as_the_formula_says() {
    for nesterov in [false, true] {
        sgd_updates(nesterov);
    }
}

fn sgd_updates(nesterov: bool) {
    let sets = [
        "train.learning_rate={ schedule = \"linear\", base = 0.1, target = 0.01 }",
        "train.momentum={ schedule = \"linear\", base = 0.8, target = 0.9 }",
        "train.weight_decay=0.01",
        "train.l1_decay=0.003",
        &format!("train.nesterov={nesterov}"),
        "layer.conv1.learning_rate={ weights = 0.5, bias = { schedule = \"step\", base = 2.0, every = 2, gamma = 0.5 } }",
        "layer.conv1.weight_decay={ weights = 3.0, bias = 1.0 }",
        "layer.conv1.momentum={ bias = 0.5 }",
        "layer.fc1.learning_rate={ weights = 0.0, bias = 0.0 }",
    ];
    let fc2 = "[[layer]]\nname = \"fc2\"\ntype = \"fc\"\noutputs = 10\nweight_decay = { weights = 1.0, bias = 0.0 }\n";
    let config = SMALL.replace("[[layer]]\nname = \"probabilities\"", &format!("{fc2}[[layer]]\nname = \"probabilities\""));
    // Learning rate and decay multipliers, in the order of the parameters: conv1, fc1, fc2; weights, then biases.
    let multipliers = [(0.5, 3.0), (2.0, 1.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)];
    let mut trainer = Trainer::new(setup(&config, &sets), f64_device()).unwrap();
    let total = trainer.total_steps() as f64;
    let start: Vec<Vec<f64>> = read_all(trainer.net(), parameters_of);
    let (mut weights, mut momenta) = (start.clone(), read_all(trainer.net(), |p| p.kept.momenta.clone()));
    assert_eq!(weights.len(), multipliers.len());
    for step in 0..5 {
        trainer.one_step().unwrap();
        let p = f64::from(step) / total;
        let rate = 0.1 + (0.01 - 0.1) * p;
        let gradients = read_all(trainer.net(), |p| p.kept.gradients.clone());
        for (i, (rate_multiplier, decay_multiplier)) in multipliers.into_iter().enumerate() {
            if rate_multiplier == 0.0 {
                assert!(gradients[i].is_empty(), "parameter {i} does not learn and has a gradient");
                continue;
            }
            assert!(gradients[i].iter().any(|&g| g != 0.0), "parameter {i} has no gradient");
            // conv1's biases fall at every second step, with a momentum of their own.
            let fall = if i == 1 { 0.5f64.powi(step / 2) } else { 1.0 };
            let momentum = if i == 1 { 0.5 } else { 0.8 + (0.9 - 0.8) * p };
            for (k, g) in gradients[i].iter().enumerate() {
                let (w, v) = (&mut weights[i][k], &mut momenta[i][k]);
                let sign = if *w == 0.0 { 0.0 } else { w.signum() };
                let s = rate * rate_multiplier * fall * (g + decay_multiplier * (0.01 * *w + 0.003 * sign));
                *v = momentum * *v - s;
                *w += if nesterov { momentum * *v - s } else { *v };
            }
        }
        close(&read_all(trainer.net(), parameters_of).concat(), &weights.concat(), 1e-14);
        close(&read_all(trainer.net(), |p| p.kept.momenta.clone()).concat(), &momenta.concat(), 1e-14);
    }
    let end = read_all(trainer.net(), parameters_of);
    assert!(end[2] == start[2] && end[3] == start[3], "fc1 is frozen");
    assert!(end[0] != start[0] && end[5] != start[5], "the others learn");
}

fn parameters_of(plan: &Plan) -> Vec<Option<Tensor>> {
    plan.kept.parameters.iter().copied().map(Some).collect()
}

/// A trunk with two branches: one ends in a cost of its own, and both meet in another.
/// Layers that work in their input's place, or must not.
const IN_PLACE: &str = r#"
name = "in-place"
layer = [
{ name = "conv1", type = "conv", filters = 4, size = 5, stride = 3, neuron = "relu" },
{ name = "flat", type = "flatten" },
{ name = "tanh", type = "neuron", neuron = "tanh" },
{ name = "fc1", type = "fc", outputs = 10 },
{ name = "left", type = "fc", inputs = "tanh", outputs = 10 },
{ name = "right", type = "fc", inputs = "tanh", outputs = 10 },
{ name = "sum", type = "eltsum", inputs = ["fc1", "left", "right"], coefficients = [1, 1, 2], neuron = "relu" },
{ name = "largest", type = "eltmax", inputs = ["fc1", "sum"] },
{ name = "product", type = "eltproduct", inputs = ["largest", "fc1"] },
{ name = "stem", type = "fc", inputs = "tanh", outputs = 10, neuron = "tanh" },
{ name = "branch", type = "fc", outputs = 10, neuron = "relu" },
{ name = "residual", type = "eltsum", inputs = ["branch", "stem"] },
{ name = "flat-again", inputs = "product", type = "flatten" },
{ name = "logistic", type = "neuron", neuron = "logistic" },
{ name = "cost", type = "logistic-regression", inputs = "fc1" },
{ name = "small", type = "sum-of-squares", inputs = "logistic" },
{ name = "residual-cost", type = "sum-of-squares", inputs = "residual" },
]
[data]
source = "mnist-10k"
train_images = 64
test_images = 32
[train]
batch = 32
epochs = 1
learning_rate = 0.01
"#;

const DAG: &str = r#"
name = "dag"
[data]
source = "mnist-10k"
train_images = 64
test_images = 32
[train]
batch = 32
epochs = 3
log_every = 2
[[layer]]
name = "trunk"
type = "fc"
outputs = 20
neuron = "tanh[1,1]"
[[layer]]
name = "left"
type = "fc"
outputs = 10
inputs = ["trunk"]
[[layer]]
name = "right"
type = "fc"
outputs = 10
inputs = ["trunk"]
neuron = "logistic"
[[layer]]
name = "probabilities"
type = "softmax"
inputs = ["left"]
[[layer]]
name = "classes"
type = "logistic-regression"
[[layer]]
name = "likeness"
type = "sum-of-squares"
inputs = ["left", "right"]
"#;

/// The gradient of a sum of costs is the sum of their gradients, each times its coefficient, through branches that fork and
/// join; and so is the loss.
#[test]
fn costs_on_one_trunk_add_up_by_their_coefficients() {
    let run = |classes: f64, likeness: f64| {
        let sets = [&*format!("layer.classes.coefficient={classes:?}"), &*format!("layer.likeness.coefficient={likeness:?}")];
        let setup = setup(DAG, &sets);
        let mut net = setup.net(32, f64_device(), Purpose::Train).unwrap();
        net.initialise(7).unwrap();
        pass(&mut net, &mut Loader::test(setup.data.train.clone(), 32).unwrap());
        let metrics = net.metrics().unwrap();
        (read_all(&mut net, |p| p.kept.gradients.clone()).concat(), net.total_loss(&metrics), metrics)
    };
    let (first, second, both) = (run(1.0, 0.0), run(0.0, 1.0), run(0.7, 0.3));
    let sum: Vec<f64> = first.0.iter().zip(&second.0).map(|(a, b)| 0.7 * a + 0.3 * b).collect();
    assert!(first.0.iter().chain(&second.0).any(|&g| g.abs() > 1e-3));
    close(&both.0, &sum, 1e-13);
    let (classes, likeness) = (both.2[0].1.loss, both.2[1].1.loss);
    close(&[both.1, first.1, second.1], &[0.7 * classes + 0.3 * likeness, classes, likeness], 1e-13);
}

/// With several costs the metrics have each apart under its name, and their weighted sum as the loss.
#[test]
fn metrics_have_each_of_several_costs() {
    let lines = run_lines(DAG, &["layer.likeness.coefficient=0.25"]);
    assert!(lines.iter().any(|l| l.split == Split::Train) && lines.iter().any(|l| l.split == Split::Test));
    for line in &lines {
        assert_eq!(line.costs.keys().collect::<Vec<_>>(), ["classes", "likeness"]);
        let (classes, likeness) = (&line.costs["classes"], &line.costs["likeness"]);
        close(&[line.loss], &[classes.loss + 0.25 * likeness.loss], 1e-12);
        assert_eq!((line.error, line.error_top5), (classes.error, classes.error_top5));
    }
    assert!(run_lines(SMALL, &["train.epochs=1"]).iter().all(|l| l.costs.is_empty()), "one cost is the line itself");
}

/// `monitor_weights` adds each parameter's mean |w|, mean |update| and their ratio to the train lines: those of the
/// checkpoint of the same step. Without it the line before each test has them.
#[test]
fn monitor_weights_writes_means_and_their_ratio() {
    let folder = Folder::new("");
    let lines = run_in(&folder, SMALL, &["train.epochs=1", "train.monitor_weights=true"]);
    let path = folder.path("run/checkpoints/step-20");
    let checkpoint = convnet::train::checkpoint::Checkpoint::load(&path, true).unwrap();
    let last = lines.iter().rfind(|l| l.split == Split::Train).unwrap();
    assert_eq!(last.step, 20);
    assert_eq!(last.weights.keys().collect::<Vec<_>>(), ["conv1.bias", "conv1.weights", "fc1.bias", "fc1.weights"]);
    let tensors: Vec<_> = checkpoint.weights.iter().chain(&checkpoint.optimizer).collect();
    let mean = |name: &str| {
        let t = tensors.iter().find(|t| t.name == name).unwrap();
        t.values.iter().map(|&v| f64::from(v.abs())).sum::<f64>() / t.values.len() as f64
    };
    for (name, line) in &last.weights {
        let (weight, update) = (mean(name), mean(&format!("{name}.momentum")));
        assert!(update > 0.0);
        close(&[line.weight / weight, line.update / update, line.ratio * weight / update], &[1.0; 3], 1e-5);
    }
    assert!(lines.iter().filter(|l| l.split == Split::Test).all(|l| l.weights.is_empty()));
    let lines = run_lines(SMALL, &["train.epochs=1"]);
    let tested = |l: &Line| lines.iter().any(|t| t.split == Split::Test && t.step == l.step);
    let train: Vec<&Line> = lines.iter().filter(|l| l.split == Split::Train).collect();
    assert!(train.len() > 1 && train.iter().all(|l| tested(l) != l.weights.is_empty()), "elsewhere only on request");
}

/// `convnet summary configs/lenet.toml`: 431,080 parameters (as BVLC's LeNet) and 2,293,000 multiply-adds an image
/// (24²·20·25 + 8²·50·20·25 + 800·500 + 500·10), and the bytes that training then allocates.
#[test]
fn summary_tells_parameters_multiply_adds_and_the_memory_that_is_allocated() {
    let lenet = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/lenet.toml");
    let here = Folder::new(SMALL);
    let text = here.convnet(&["summary", lenet]).ended(0).stdout;
    assert!(text.contains("431,080") && text.contains("2,293,000"), "{text}");
    let configs = ["configs/lenet.toml", "configs/cifar10-quick.toml", "pixel", "micro"];
    for config in configs {
        let (path, sets) = match config {
            "pixel" => (here.path("net.toml"), vec!["data.mean=\"pixel\""]),
            "micro" => (here.path("net.toml"), vec!["train.micro_batch=16"]),
            _ => (std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(config), vec!["train.batch=16"]),
        };
        let mut arguments = vec!["summary", path.to_str().unwrap(), "--json"];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        let json: serde_json::Value = serde_json::from_str(&here.convnet(&arguments).ended(0).stdout).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut trainer = Trainer::new(setup(&text, &sets), f32_device(0)).unwrap();
        assert_eq!(json["peak_bytes"], trainer.net().device().allocated(), "{config}");
        if config == "configs/lenet.toml" {
            assert_eq!((&json["parameters"], &json["multiply_adds"]), (&431_080.into(), &2_293_000.into()));
        }
    }
}

/// A node's consumers are the nodes that have it among their inputs, in order, and once where it is there twice.
#[test]
fn consumers_are_the_nodes_that_read() {
    let twice = DAG.replace("[\"left\", \"right\"]", "[\"left\", \"left\"]");
    for config in CONFIGS.into_iter().chain([&*twice]) {
        let graph = setup(config, &["train.batch=16", "data.train_images=16", "data.test_images=16"]).graph(16).unwrap();
        let nodes = graph.nodes.len();
        for i in 0..nodes {
            let reads = |&j: &usize| graph.nodes[j].inputs.contains(&Input::Node(i));
            assert_eq!(graph.consumers(i).collect::<Vec<_>>(), (0..nodes).filter(reads).collect::<Vec<_>>(), "node {i}");
        }
    }
}

/// Tensors whose lives do not meet share memory: a plan is smaller than its tensors together, and one for testing alone
/// smaller than one for training.
#[test]
fn a_plan_is_smaller_than_its_tensors() {
    for config in CONFIGS {
        let plan = planned(config, Purpose::Train).plan;
        let kept = plan.kept.parameters.iter().chain(plan.kept.gradients.iter().chain(&plan.kept.momenta).flatten());
        let persistent = kept.map(Tensor::bytes).sum::<usize>();
        let written = |access, t: &Tensor| if access == Access::Writes { t.bytes() } else { 0 };
        let mut all = persistent;
        for (step, scratch) in &plan.train.steps {
            all += scratch.bytes();
            step.op.operands(&mut |access, t| all += written(access, t));
        }
        let infer = planned(config, Purpose::Infer).plan.bytes;
        assert!(plan.bytes < all && plan.bytes > persistent, "{} planned, {all} in all", plan.bytes);
        assert!(infer < plan.bytes, "{infer} to test, {} to train", plan.bytes);
    }
}

/// A flattened relu takes no memory though its backward pass reads it, and what would write over it works elsewhere.
#[test]
fn a_view_lies_in_its_input() {
    let planned = planned(IN_PLACE, Purpose::Train);
    let output = |name| planned.output(name).slot;
    assert_eq!(output("flat"), output("conv1.neuron"));
    assert_ne!(output("tanh"), output("flat"));
    let gradient = |name| planned.gradients(name)[0];
    assert_eq!(planned.steps("flat").count(), 0, "nothing is copied");
    assert_eq!(gradient("tanh"), gradient("conv1.neuron"));
}

/// A sum works in the place of the first input that it alone reads, and so does its gradient.
#[test]
fn a_sum_lies_in_an_input_of_its_own() {
    let planned = planned(IN_PLACE, Purpose::Train);
    let made = |name: &str| planned.written(name, Pass::Forward)[0];
    let [fc1, left, right] = ["fc1", "left", "right"].map(made);
    let sum = planned.written("sum", Pass::Forward);
    let sum = sum[sum.len() - 1];
    assert!(sum == left || sum == right, "{fc1:?} {left:?} {right:?} {sum:?}");
    assert_ne!(sum, fc1);
}

/// The gradient of a residual sum is that of both its inputs, in one place, which the branch's neuron then leaves as it is.
#[test]
fn a_residual_copies_no_gradient() {
    let planned = planned(IN_PLACE, Purpose::Train);
    assert_eq!(planned.steps("residual").filter(|s| s.pass == Pass::Backward).count(), 0);
    let cost = planned.gradients("residual-cost")[0];
    let branch = planned.gradients("branch.neuron")[0];
    let into_stem = *planned.gradients("branch").last().unwrap();
    assert_ne!(cost, branch, "the sum's gradient is needed again");
    assert_eq!(cost, into_stem, "and is what the branch's is added to");
}

// ---- what the tests are made of ----

const CONFIGS: [&str; 6] =
    [include_str!("../configs/lenet.toml"), include_str!("../configs/cifar10-quick.toml"), SMALL, DAG, IN_PLACE, COSTS];

fn with_dropout(config: &str) -> String {
    let dropout = "[[layer]]\nname = \"dropout1\"\ntype = \"dropout\"\n[[layer]]\nname = \"fc2\"";
    config.replace("[[layer]]\nname = \"fc2\"", dropout)
}

/// Tensors of a plan as numbers; none where there is no tensor.
fn read_all(net: &mut Net, which: impl Fn(&Plan) -> Vec<Option<Tensor>>) -> Vec<Vec<f64>> {
    let tensors = which(&net.plan);
    tensors.into_iter().map(|t| t.map_or_else(Vec::new, |t| net.read(t).unwrap())).collect()
}

/// Forward and backward of the loader's next batch.
fn pass(net: &mut Net, loader: &mut Loader) {
    let b = loader.next().unwrap();
    net.feed(BatchBytes { images: &b.images, places: &b.places, labels: &b.labels, values: &[] }).unwrap();
    let (images, gradient_scale) = (b.count as u32, 1.0 / b.count as f64);
    let step = StepValues { seed: 1, step: 0, first_image: 0, images, gradient_scale, learning_rate: 0.1, momentum: 0.9 };
    net.set_step(step).unwrap();
    net.forward(Phase::Train).unwrap();
    net.backward(Write::Set).unwrap();
}

/// Trains to the end and reads the metrics.
fn run_in(folder: &Folder, config: &str, sets: &[&str]) -> Vec<Line> {
    let mut trainer = trainer(setup(config, sets), 1);
    let first = trainer.checkpoint(None, 0).unwrap();
    let mut run = Run::create(&folder.path("run"), &trainer.setup().spec.to_toml(), &first).unwrap();
    trainer.run(&mut run, &AtomicBool::new(false), &mut |_| ()).unwrap();
    read_lines(&folder.path("run/metrics.jsonl")).unwrap()
}

fn run_lines(config: &str, sets: &[&str]) -> Vec<Line> {
    run_in(&Folder::new(""), config, sets)
}

struct Planned {
    graph: Graph,
    plan: Plan,
}

fn planned(config: &str, purpose: Purpose) -> Planned {
    let setup = setup(config, &["train.batch=16", "data.train_images=16", "data.test_images=16"]);
    let net = setup.net(16, f32_device(2), purpose).unwrap();
    Planned { graph: net.graph, plan: net.plan }
}

impl Planned {
    fn node(&self, name: &str) -> usize {
        self.graph.nodes.iter().position(|n| n.name == name).unwrap()
    }

    /// A layer's output in training.
    fn output(&self, name: &str) -> Tensor {
        self.plan.train.outputs[self.node(name)].unwrap()
    }

    /// A layer's operations in training.
    fn steps(&self, name: &str) -> impl Iterator<Item = &Step<Tensor>> {
        let node = self.node(name);
        self.plan.train.steps.iter().map(|(step, _)| step).filter(move |s| s.node == node)
    }

    /// Where a layer's operations of a pass write.
    fn written(&self, name: &str, pass: Pass) -> Vec<Slot> {
        let mut slots = Vec::new();
        for step in self.steps(name).filter(|s| s.pass == pass) {
            step.op.operands(&mut |access, t| slots.extend((access != Access::Reads).then_some(t.slot)));
        }
        slots
    }

    /// Where a layer's backward pass puts gradients.
    fn gradients(&self, name: &str) -> Vec<Slot> {
        self.written(name, Pass::Backward)
    }
}

/// What is random in training has the mean that testing computes: dropout, either way, noise, and DropConnect's outputs, over
/// 400 steps, within six standard errors of every element.
#[test]
fn testing_computes_the_mean_of_training() {
    let config = r#"
        layer = [
        { name = "first", type = "fc", outputs = 40, neuron = "tanh" },
        { name = "dropout", inputs = "first", type = "dropout", keep = 0.7 },
        { name = "dropout2", inputs = "first", type = "dropout", keep = 0.6, at_test = "scale" },
        { name = "noise", inputs = "first", type = "noise", std = 0.4 },
        { name = "connect", inputs = "first", type = "fc", outputs = 30, drop_connect = 0.5 },
        { name = "a", type = "sum-of-squares", inputs = "dropout" },
        { name = "b", type = "sum-of-squares", inputs = "dropout2" },
        { name = "c", type = "sum-of-squares", inputs = "noise" },
        { name = "d", type = "sum-of-squares", inputs = "connect" },
        ]
"#;
    let setup = setup(&format!("{config}\n{}", SMALL.split("[[layer]]").next().unwrap()), &["train.batch=2"]);
    let mut graph = setup.graph(2).unwrap();
    let at = |graph: &Graph, name: &str| graph.nodes.iter().position(|n| n.name == name).unwrap();
    let names = ["dropout", "dropout2", "noise", "connect"];
    graph.shown = names.map(|name| at(&graph, name)).to_vec();
    let Normalisation { mean, scale } = &setup.normalisation;
    let made = Net::new(graph, f64_device(), Purpose::Train, setup.images(2), mean, *scale);
    let mut net = made.unwrap_or_else(|(e, _)| panic!("{e}"));
    net.initialise(7).unwrap();
    let b = Loader::test(setup.data.train.clone(), 2).unwrap().next().unwrap();
    let steps = 400;
    for name in names {
        let output = at(&net.graph, name);
        let mut run = |step: u64, phase: Phase| {
            net.feed(BatchBytes { images: &b.images, places: &b.places, labels: &b.labels, values: &[] }).unwrap();
            let rates = (0.5, 0.0, 0.0);
            let (gradient_scale, learning_rate, momentum) = rates;
            net.set_step(StepValues { seed: 1, step, first_image: 0, images: 2, gradient_scale, learning_rate, momentum })
                .unwrap();
            net.forward(phase).unwrap();
            net.read(net.output(output).unwrap()).unwrap()
        };
        let tested = run(0, Phase::Test);
        let samples: Vec<Vec<f64>> = (0..steps).map(|step| run(step, Phase::Train)).collect();
        assert_ne!(samples[0], samples[1], "{name} is not random");
        for (i, expected) in tested.iter().enumerate() {
            let mean = samples.iter().map(|s| s[i]).sum::<f64>() / steps as f64;
            let variance = samples.iter().map(|s| (s[i] - mean).powi(2)).sum::<f64>() / (steps - 1) as f64;
            let bound = 6.0 * (variance / steps as f64).sqrt() + 1e-12;
            assert!(
                (mean - expected).abs() <= bound,
                "{name}: element {i} is {mean} on average, {expected} tested, bound {bound}"
            );
        }
        assert!(tested.iter().zip(&samples[0]).filter(|(a, b)| (*a - *b).abs() > 1e-3).count() > tested.len() / 4, "{name}");
    }
}
