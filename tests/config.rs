//! Configs: everything that can be said, everything that can be said wrongly with the message it gets, and that nothing
//! a user hands in makes the reader panic.

#[path = "config/errors.rs"]
mod errors;
#[path = "config/hostile.rs"]
mod hostile;

use convnet::config::{
    ConfigError, Extent, Fan, Init, InitKind, Mean, Multipliers, NetSpec, Offset, Padding, Rates, Scale, Schedule, ScheduleKind,
    Source, Warmup, set_text,
};
use convnet::op::Neuron;
use convnet::train::total_steps;
use serde::Deserialize;
use std::num::NonZeroU32;

/// The types of layers that these tests know, and their keys.
const KINDS: [&str; 6] = ["data", "conv", "pool", "fc", "softmax", "logistic-regression"];

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Conv {
    filters: NonZeroU32,
    size: Extent,
    #[serde(default)]
    stride: Extent,
    #[serde(default)]
    padding: Padding,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum PoolKind {
    Max,
    Avg,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Pool {
    pool: PoolKind,
    size: Extent,
    start: Option<Offset>,
}

/// Reads a config and its conv and pool layers' keys, as the whole program would.
fn read(text: &str, sets: &[&str]) -> Result<NetSpec, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    let spec = NetSpec::from_toml(text, "net.toml", &sets)?;
    spec.check_kinds(&KINDS)?;
    for layer in &spec.layers {
        match layer.kind.as_str() {
            "conv" => layer.keys::<Conv>().map(|_| ())?,
            "pool" => layer.keys::<Pool>().map(|_| ())?,
            _ => {}
        }
    }
    Ok(spec)
}

fn good(text: &str, sets: &[&str]) -> NetSpec {
    read(text, sets).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// The config of DESIGN.md, section 4, and enough layers behind it to be a net.
const LENET: &str = r#"name = "lenet"
[data]
source = "mnist-10k"
augment = { translate = 2 }
[train]
batch = 64
epochs = 12
seed = 1
learning_rate = { schedule = "cosine", base = 0.02 }
momentum = 0.9
weight_decay = 0.0005
[[layer]]
name = "conv1"
type = "conv"
filters = 20
size = 5
neuron = "relu"
init = { kind = "gaussian", std = 0.01 }
learning_rate = { weights = 1.0, bias = 2.0 }
[[layer]]
name = "pool1"
type = "pool"
pool = "max"
size = 2
[[layer]]
name = "fc1"
type = "fc"
outputs = 10
[[layer]]
name = "softmax"
type = "softmax"
[[layer]]
name = "cost"
type = "logistic-regression"
"#;

/// One layer with more keys.
fn one_layer(keys: &str) -> NetSpec {
    good(&format!("[[layer]]\nname = \"a\"\ntype = \"fc\"\n{keys}\n"), &[])
}

#[test]
fn a_config_reads_as_it_says() {
    let spec = good(LENET, &[]);
    assert_eq!(spec.name, "lenet");
    assert_eq!((spec.data.source.as_str(), spec.data.augment.translate, spec.data.augment.flip), ("mnist-10k", 2, false));
    assert_eq!((spec.train.batch, spec.train.epochs, spec.train.seed), (64, 12.0, 1));
    let cosine = Schedule { base: 0.02, warmup: Warmup::NONE, kind: ScheduleKind::Cosine { end: 0.0 } };
    assert_eq!(spec.train.learning_rate, cosine);
    assert_eq!((&spec.train.momentum, spec.train.weight_decay), (&Schedule::constant(0.9), 0.0005));
    let names: Vec<_> = spec.layers.iter().map(|l| (l.name.as_str(), l.kind.as_str())).collect();
    let wanted = [("conv1", "conv"), ("pool1", "pool"), ("fc1", "fc"), ("softmax", "softmax"), ("cost", "logistic-regression")];
    assert_eq!(names, wanted);
    let conv = &spec.layers[0];
    assert_eq!(conv.neuron, Some(Neuron::Relu));
    assert_eq!(conv.init, Some(Init { kind: InitKind::Gaussian { mean: 0.0, std: 0.01, sparse: None } }));
    assert_eq!(conv.learning_rate, Rates { weights: Schedule::constant(1.0), bias: Schedule::constant(2.0) });
    assert_eq!(conv.weight_decay, Multipliers { weights: 1.0, bias: 1.0 });
    assert_eq!(conv.keys.keys().collect::<Vec<_>>(), ["filters", "size"]);
    let keys: Conv = conv.keys().unwrap();
    assert_eq!((keys.filters.get(), keys.size, keys.stride), (20, Extent::square(5), Extent::square(1)));
    assert_eq!(keys.padding, Padding::square(0));
    let sources: Vec<_> = spec.layers.iter().map(|l| l.inputs.iter().map(|i| i.source).collect::<Vec<_>>()).collect();
    let chain = [Source::Images, Source::Layer(0), Source::Layer(1), Source::Layer(2), Source::Layer(3)];
    assert_eq!(sources, chain.map(|s| vec![s]));
}

#[test]
fn everything_but_the_layers_has_a_default() {
    let spec = good("[[layer]]\nname = \"a\"\ntype = \"fc\"\n", &[]);
    assert_eq!(spec.name, "net.toml");
    assert_eq!((spec.data.source.as_str(), spec.data.mean, spec.data.scale), ("mnist-10k", Mean::Channel, Scale::Std));
    assert_eq!((spec.data.train_images, spec.data.test_images, spec.data.synthetic.clone()), (None, None, None));
    let t = &spec.train;
    assert_eq!((t.batch, t.micro_batch, t.epochs, t.seed, t.weight_decay), (64, None, 10.0, 1, 0.0005));
    assert_eq!((&t.momentum, t.nesterov, t.l1_decay), (&Schedule::constant(0.9), false, 0.0));
    assert_eq!((t.test_every, t.log_every, t.checkpoint_every, t.keep, t.monitor_weights), (None, 50, None, 3, false));
    assert_eq!(t.learning_rate, Schedule::constant(0.01));
}

#[test]
fn the_name_of_a_file_is_the_net_s_unless_it_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quick.toml");
    std::fs::write(&path, "\u{feff}[[layer]]\r\nname = \"a\"\r\ntype = \"fc\"\r\n").unwrap();
    assert_eq!(NetSpec::load(&path, &[]).unwrap().name, "quick");
    assert_eq!(NetSpec::load(&path, &["name=mine".into()]).unwrap().name, "mine");
}

#[test]
fn sizes_are_one_number_or_two() {
    let pool = |keys: &str| {
        let text = format!("[[layer]]\nname = \"a\"\ntype = \"pool\"\npool = \"avg\"\n{keys}\n");
        good(&text, &[]).layers[0].keys::<Pool>().unwrap()
    };
    assert_eq!(pool("size = 3").size, Extent { height: 3, width: 3 });
    let rectangle = pool("size = [3, 2]\nstart = -1");
    assert_eq!((rectangle.size.axis(0), rectangle.size.axis(1)), (3, 2));
    assert_eq!((rectangle.start, rectangle.pool), (Some(Offset { row: -1, column: -1 }), PoolKind::Avg));
    let offset = pool("size = 3\nstart = [-1, 2]").start.unwrap();
    assert_eq!((offset.axis(0), offset.axis(1)), (-1, 2));
}

#[test]
fn neurons_are_names_names_with_numbers_or_tables() {
    let table = [
        ("\"relu\"", Neuron::Relu),
        ("\"logistic\"", Neuron::Logistic),
        ("\"abs\"", Neuron::Abs),
        ("\"square\"", Neuron::Square),
        ("\"sqrt\"", Neuron::Sqrt),
        ("\"softrelu\"", Neuron::Softrelu),
        ("\"tanh\"", Neuron::Tanh { a: 1.0, b: 1.0 }),
        ("\"tanh[1.7159,0.6667]\"", Neuron::Tanh { a: 1.7159, b: 0.6667 }),
        ("\"tanh[ 1.7159 ; 0.6667 ]\"", Neuron::Tanh { a: 1.7159, b: 0.6667 }),
        ("{ type = \"tanh\", b = 2 }", Neuron::Tanh { a: 1.0, b: 2.0 }),
        ("{ a = 3, type = \"linear\", b = -1 }", Neuron::Linear { a: 3.0, b: -1.0 }),
        ("\"linear\"", Neuron::Linear { a: 1.0, b: 0.0 }),
        ("\"brelu[6]\"", Neuron::Brelu { a: 6.0 }),
        ("{ type = \"relu\" }", Neuron::Relu),
        ("\"log[0.5]\"", Neuron::Log { a: 0.5 }),
        ("\"drelu[2]\"", Neuron::Drelu { a: 2.0 }),
        ("\"nrelu\"", Neuron::Nrelu),
        ("\"leaky\"", Neuron::Leaky { a: 0.01 }),
        ("\"leaky[0.1]\"", Neuron::Leaky { a: 0.1 }),
        ("\"elu\"", Neuron::Elu { a: 1.0 }),
        ("\"swish\"", Neuron::Swish),
    ];
    for (written, neuron) in table {
        assert_eq!(one_layer(&format!("neuron = {written}")).layers[0].neuron, Some(neuron), "{written}");
    }
}

#[test]
fn initialisers() {
    let table = [
        ("\"xavier\"", InitKind::Xavier { fan: Fan::Average }),
        ("{ kind = \"msra\" }", InitKind::Msra { fan: Fan::In }),
        ("{ kind = \"xavier\", fan = \"in\" }", InitKind::Xavier { fan: Fan::In }),
        ("{ kind = \"msra\", fan = \"out\" }", InitKind::Msra { fan: Fan::Out }),
        ("\"gaussian\"", InitKind::Gaussian { mean: 0.0, std: 0.01, sparse: None }),
        ("{ kind = \"gaussian\", mean = 1, std = 0.5 }", InitKind::Gaussian { mean: 1.0, std: 0.5, sparse: None }),
        ("{ kind = \"gaussian\", sparse = 15 }", InitKind::Gaussian { mean: 0.0, std: 0.01, sparse: Some(15.0) }),
        ("{ kind = \"uniform\", range = 0.1 }", InitKind::Uniform { min: -0.1, max: 0.1 }),
        ("{ kind = \"uniform\", min = 0, max = 1 }", InitKind::Uniform { min: 0.0, max: 1.0 }),
        ("\"uniform\"", InitKind::Uniform { min: -0.05, max: 0.05 }),
        ("\"constant\"", InitKind::Constant { value: 0.0 }),
        ("{ kind = \"constant\", value = 0.1 }", InitKind::Constant { value: 0.1 }),
    ];
    for (written, kind) in table {
        let spec = one_layer(&format!("init = {written}\ninit_bias = {written}"));
        assert_eq!(spec.layers[0].init, Some(Init { kind: kind.clone() }), "{written}");
        assert_eq!(spec.layers[0].init_bias, Some(Init { kind }), "{written}");
    }
}

#[test]
fn multipliers() {
    let layer = one_layer("learning_rate = 0\nweight_decay = { bias = 0 }").layers.remove(0);
    assert_eq!(layer.learning_rate, Rates { weights: Schedule::constant(0.0), bias: Schedule::constant(0.0) });
    assert_eq!(layer.weight_decay, Multipliers { weights: 1.0, bias: 0.0 });
}

#[test]
fn schedules() {
    use ScheduleKind as K;
    let table = [
        ("0.5", 0, K::Const),
        ("{ base = 0.5 }", 0, K::Const),
        ("{ schedule = \"const\", base = 0.5, warmup = 7 }", 7, K::Const),
        ("{ schedule = \"linear\", base = 0.5, target_factor = 10 }", 0, K::Linear { target: 0.05 }),
        ("{ schedule = \"linear\", base = 0.5, target = 0 }", 0, K::Linear { target: 0.0 }),
        ("{ schedule = \"exp\", base = 0.5, target = 0.001, warmup = 1 }", 1, K::Exp { target: 0.001 }),
        ("{ schedule = \"dexp\", base = 0.5, target_factor = 250, num_steps = 4 }", 0, K::Dexp { target: 0.002, num_steps: 4 }),
        ("{ schedule = \"step\", base = 0.5, every = 100 }", 0, K::Step { every: 100, gamma: 0.1 }),
        (
            "{ schedule = \"multistep\", base = 0.5, at = [3, 5], gamma = 0.5 }",
            0,
            K::Multistep { at: vec![3, 5], gamma: vec![0.5] },
        ),
        (
            "{ schedule = \"multistep\", base = 0.5, at = [3, 5], gamma = [2, 0.5] }",
            0,
            K::Multistep { at: vec![3, 5], gamma: vec![2.0, 0.5] },
        ),
        ("{ schedule = \"poly\", base = 0.5, power = 2 }", 0, K::Poly { power: 2.0 }),
        ("{ schedule = \"inv\", base = 0.5, gamma = 1e-4, power = 0.75 }", 0, K::Inv { gamma: 0.0001, power: 0.75 }),
        ("{ schedule = \"sigmoid\", base = 0.5, gamma = -1e-3, at = 500 }", 0, K::Sigmoid { gamma: -0.001, at: 500 }),
        ("{ schedule = \"cosine\", base = 0.5, end = 0.01 }", 0, K::Cosine { end: 0.01 }),
    ];
    for (written, steps, kind) in table {
        let warmup = Warmup { steps, power: 1.0 };
        let spec = good(&format!("[train]\nlearning_rate = {written}\n[[layer]]\nname = \"a\"\ntype = \"fc\"\n"), &[]);
        assert_eq!(spec.train.learning_rate, Schedule { base: 0.5, warmup, kind }, "{written}");
        assert_eq!(good(&spec.to_toml(), &[]), spec, "{written}");
    }
    let spec = good(LENET, &["train.learning_rate={ base = 0.5, warmup = { steps = 1000, power = 4 } }"]);
    let warmup = Warmup { steps: 1000, power: 4.0 };
    assert_eq!(spec.train.learning_rate, Schedule { base: 0.5, warmup, kind: K::Const });
    assert_eq!(good(&spec.to_toml(), &[]), spec);
}

/// Steps are in place of epochs; an argument that sets the epochs means them.
#[test]
fn steps_or_epochs() {
    let steps = |text: &str, sets: &[&str]| {
        let spec = good(text, sets);
        assert_eq!(good(&spec.to_toml(), &[]), spec);
        (spec.train.steps, total_steps(&spec, 640))
    };
    let both = LENET.replace("epochs = 12", "epochs = 12\nsteps = 500");
    assert_eq!(steps(LENET, &[]), (None, 120));
    assert_eq!(steps(&both, &[]), (Some(500), 500));
    assert_eq!(steps(&both, &["train.epochs=2"]), (None, 20));
    assert_eq!(steps(LENET, &["train.steps=7"]), (Some(7), 7));
    assert_eq!(steps(LENET, &["train.epochs=2", "train.steps=7"]), (Some(7), 7));
}

/// An argument that names other images takes the place of the synthetic ones, and of what the config says of them; one that
/// asks for synthetic images keeps it.
#[test]
fn other_images_in_place_of_synthetic_ones() {
    let text = LENET.replace(r#"source = "mnist-10k""#, "source = \"synthetic\"\nsynthetic = { classes = 3 }");
    assert_eq!(good(&text, &["data.source=/data/digits"]).data.synthetic, None);
    assert_eq!(good(&text, &["data.source=synthetic"]).data.synthetic.unwrap().classes, 3);
}

#[test]
fn data_and_training_keys() {
    let text = r#"
[data]
source = "synthetic"
mean = "pixel"
scale = 0.00390625
train_images = 100
test_images = 10
augment = { flip = true }
synthetic = { shape = [24, 24, 3], classes = 5, train_images = 1000 }
[train]
batch = 60
micro_batch = 20
epochs = 0.5
seed = -1
test_every = 10
checkpoint_every = 20
monitor_weights = true
[[layer]]
name = "a"
type = "fc"
"#;
    let spec = good(text, &[]);
    assert_eq!((spec.data.mean, spec.data.scale), (Mean::Pixel, Scale::Factor(0.00390625)));
    assert_eq!((spec.data.train_images, spec.data.test_images, spec.data.augment.flip), (Some(100), Some(10), true));
    let made = spec.data.synthetic.as_ref().unwrap();
    assert_eq!((made.shape, made.classes, made.train_images, made.test_images), ([24, 24, 3], 5, 1000, 256));
    assert_eq!((spec.train.micro_batch, spec.train.epochs, spec.train.seed), (Some(20), 0.5, u64::MAX));
    assert_eq!((spec.train.test_every, spec.train.checkpoint_every), (Some(10), Some(20)));
    assert_eq!(good(&spec.to_toml(), &[]), spec);
    let synthetic = good(LENET, &["data.source=synthetic"]);
    assert_eq!(synthetic.data.synthetic.as_ref().unwrap().shape, [32, 32, 3], "a synthetic source says what it makes");
}

/// Layers in any order, several inputs, labels by name, explicit data layers.
#[test]
fn graphs() {
    let layer = |name: &str, kind: &str, rest: &str| format!("[[layer]]\nname = \"{name}\"\ntype = \"{kind}\"\n{rest}\n");
    let text = [
        layer("cost", "logistic-regression", "inputs = [\"sum\", \"labels\"]"),
        layer("sum", "fc", "inputs = [\"left\", \"right\"]"),
        layer("left", "fc", "inputs = \"data\""),
        layer("right", "fc", ""),
    ]
    .concat();
    let spec = good(&text, &[]);
    let order: Vec<_> = spec.layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(order, ["left", "right", "sum", "cost"]);
    let inputs = |name: &str| spec.layer(name).unwrap().1.inputs.iter().map(|i| i.source).collect::<Vec<_>>();
    assert_eq!(inputs("left"), [Source::Images]);
    assert_eq!(inputs("right"), [Source::Layer(0)], "the layer above in the file");
    assert_eq!(inputs("sum"), [Source::Layer(0), Source::Layer(1)]);
    assert_eq!(inputs("cost"), [Source::Layer(2), Source::Labels]);
    assert_eq!(good(&spec.to_toml(), &[]), spec);

    let text = [
        layer("data", "data", ""),
        layer("labels", "data", "part = \"labels\""),
        layer("a", "fc", ""),
        layer("cost", "logistic-regression", "inputs = [\"a\", \"labels\"]"),
    ]
    .concat();
    let spec = good(&text, &[]);
    assert_eq!(spec.layers[2].inputs[0].source, Source::Layer(0), "labels are not the default input");
    assert_eq!(spec.layers[3].inputs[1].source, Source::Layer(1));
    assert!(spec.layers[0].inputs.is_empty());
    assert_eq!(good(&spec.to_toml(), &[]), spec);
}

#[test]
fn set_changes_any_key() {
    let sets = [
        "train.batch=128",
        "train.learning_rate.base = 0.1",
        "train.epochs=3",
        "layer.conv1.filters=32",
        "layer.'conv1'.neuron=tanh[1.7159,0.6667]",
        "layer.pool1.size=[3, 2]",
        "data.source=/data/my digits",
        "data.augment={ flip = true }",
        "layer.fc1.inputs=conv1",
        "layer.fc1.name=\"fc.1\"",
        "layer.\"fc.1\".init.kind=xavier",
    ];
    let spec = good(LENET, &sets[..]).clone();
    assert_eq!((spec.train.batch, spec.train.learning_rate.base, spec.train.epochs), (128, 0.1, 3.0));
    assert_eq!((spec.data.source.as_str(), spec.data.augment.flip, spec.data.augment.translate), ("/data/my digits", true, 0));
    let conv: Conv = spec.layer("conv1").unwrap().1.keys().unwrap();
    assert_eq!(conv.filters.get(), 32);
    assert_eq!(spec.layer("conv1").unwrap().1.neuron, Some(Neuron::Tanh { a: 1.7159, b: 0.6667 }));
    let pool: Pool = spec.layer("pool1").unwrap().1.keys().unwrap();
    assert_eq!(pool.size, Extent { height: 3, width: 2 });
    let fc = spec.layer("fc.1").unwrap().1;
    assert_eq!(
        (fc.inputs[0].name.as_str(), fc.init.clone()),
        ("conv1", Some(Init { kind: InitKind::Xavier { fan: Fan::Average } }))
    );
    assert_eq!(good(&spec.to_toml(), &[]), spec);
    for text in ["2024", "true", "a=b", "quote \" and 'quote'", "line\nline", ""] {
        let set = set_text("name", text);
        assert_eq!(good(LENET, &[&set]).name, text, "{set}");
    }
}

#[test]
fn what_to_toml_writes_reads_the_same() {
    let spec = good(LENET, &["train.seed=18", "data.mean=none"]);
    let written = spec.to_toml();
    assert_eq!(good(&written, &[]), spec);
    assert_eq!(good(&written, &[]).to_toml(), written);
    for key in [
        "mean = \"none\"",
        "scale = \"std\"",
        "translate = 2",
        "seed = 18",
        "log_every = 50",
        "keep = 3",
        "monitor_weights = false",
    ] {
        assert!(written.contains(key), "the defaults are written out: {key} in\n{written}");
    }
    assert_ne!(good(&written.replace("filters = 20", "filters = 21"), &[]), spec);
}
