//! What pairs mean: the config of ours that says the same.

use crate::holds::split_pair;
use convnet::config::{ConfigError, NetSpec};
use std::fmt::Write;

fn read(layers: &str, params: &str) -> Result<NetSpec, ConfigError> {
    NetSpec::from_pair((layers, "layers.cfg"), (params, "params.cfg"), &[])
}

fn good(layers: &str, params: &str) -> NetSpec {
    read(layers, params).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// A pair of the fuzz target's corpus.
fn corpus(name: &str) -> NetSpec {
    let path = format!("{}/fuzz/corpus/cuda_convnet/{name}.cfg", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let (layers, params) = split_pair(&text);
    good(layers, params)
}

/// Fails, showing both as TOML, unless a spec says what this config does.
#[track_caller]
fn means(spec: &NetSpec, wanted: &str) {
    let wanted = NetSpec::from_toml(wanted, "net", &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    assert!(*spec == wanted, "it is\n{}\n\nnot\n{}", spec.to_toml(), wanted.to_toml());
}

/// What is always there: the images are still to be named, their mean image is subtracted and bytes keep their size.
const HEAD: &str = "data = { source = \"none\", mean = \"pixel\", scale = 1 }\n";

/// Every layer type and key of cuda-convnet2.
#[test]
fn every_layer_of_version_2() {
    let spec = corpus("every-layer-2");
    let wanted = r#"
train = { batch = 128, learning_rate = 1, momentum = 0.9, weight_decay = 0.0005 }
layer = [
  { name = "labvec", type = "data", part = "labels" },
  { name = "labmat", type = "one-hot", inputs = ["labels"], classes = 10 },
  { name = "crop", type = "crop", inputs = ["data"], size = 28, start = [1, 2] },
  { name = "yuv", type = "rgb2yuv", inputs = ["crop"] },
  { name = "lab", type = "rgb2lab", inputs = ["crop"], centre = true },
  { name = "scale", type = "random-scale", inputs = ["crop"], max = 1.2, size = 24 },
  { name = "resize", type = "resize", inputs = ["crop"], scale = 0.8 },
  { name = "mirror", type = "reflect", inputs = ["lab"] },
  { name = "colours", type = "concat", inputs = ["yuv", "lab", "mirror"] },
  { name = "blur", type = "blur", inputs = ["crop"], size = 5, std = 1.5 },
  { name = "nails", type = "nailbed", inputs = ["blur"], stride = 2 },
  { name = "conv1", type = "conv", inputs = ["colours"], filters = 16, size = 5, padding = 2, rounding = "ceil", bias = "untied",
    neuron = "relu", gpu = [0, 1],
    init = { kind = "gaussian", std = 0.01 }, init_bias = { kind = "constant", value = 0.1 },
    learning_rate = { weights = { schedule = "dexp", base = 0.01, target_factor = 250, num_steps = 4 },
                      bias = { schedule = "linear", base = 0.02, target_factor = 10 } },
    momentum = { bias = 0.8 }, weight_decay = { bias = 0 } },
  { name = "cmr", type = "lrn", inputs = ["conv1"], size = 5, alpha = 0.0001, beta = 0.75, k = 2, blocked = true },
  { name = "rn", type = "lrn", inputs = ["cmr"], region = "within-map", size = 3, alpha = 0.0001, beta = 0.75 },
  { name = "cn", type = "contrast-norm", inputs = ["rn"], size = 7, alpha = 0.001, beta = 0.5 },
  { name = "pool1", type = "pool", inputs = ["cn"], pool = "max", size = 3, stride = 2, start = -1, outputs = 14 },
  { name = "max", type = "cross-map-pool", inputs = ["pool1"], pool = "max", size = 2, stride = 2, outputs = 8 },
  { name = "local1", type = "local", inputs = ["max"], filters = 32, size = 3, stride = 2, padding = 1, groups = 2,
    rounding = "ceil", max_norm = 2.5, neuron = "tanh[1.7159, 0.6667]", init = { kind = "gaussian", std = 0.04 },
    learning_rate = { weights = { schedule = "exp", base = 0.01, target_factor = 250 }, bias = 0.02 },
    momentum = { weights = 0.5 }, weight_decay = { weights = 0, bias = 0 } },
  { name = "fc1", type = "fc", inputs = ["local1"], outputs = 64, neuron = "softrelu", init = { kind = "gaussian", std = 0.01 },
    learning_rate = { weights = 0.001, bias = 0.002 }, weight_decay = { weights = 8, bias = 0 } },
  { name = "drop1", type = "dropout", inputs = ["fc1"], keep = 1 },
  { name = "drop2", type = "dropout", inputs = ["drop1"], keep = 0.75, at_test = "scale", neuron = "abs" },
  { name = "sfc1", type = "fc", inputs = ["drop2"], outputs = 10, groups = 2, init = { kind = "gaussian", std = 0.01 },
    learning_rate = 0, weight_decay = { weights = 0, bias = 0 } },
  { name = "sum", type = "eltsum", inputs = ["sfc1", "sfc1"], coefficients = [1, -0.5], neuron = "brelu[6]" },
  { name = "most", type = "eltmax", inputs = ["sum", "sfc1"] },
  { name = "pass", type = "concat", inputs = ["most", "sum"] },
  { name = "fc2", type = "fc", inputs = ["pass"], outputs = 10, init = { kind = "gaussian", std = 0.1 },
    learning_rate = { weights = 0.001, bias = 0.002 }, weight_decay = { bias = 0 } },
  { name = "square", type = "neuron", inputs = ["fc2"], neuron = "square" },
  { name = "logistic", type = "neuron", inputs = ["fc2"], neuron = "logistic" },
  { name = "probs", type = "softmax", inputs = ["fc2"] },
  { name = "logprob", type = "logistic-regression", inputs = ["probs", "labvec"], gpu = 0 },
  { name = "crossent", type = "cross-entropy", inputs = ["probs", "labmat"], coefficient = 0.5 },
  { name = "bce", type = "binary-cross-entropy", inputs = ["logistic", "labmat"], coefficient = 0.5, positive_weight = 2 },
  { name = "dce", type = "detection-cross-entropy", inputs = ["logistic", "labmat"], coefficient = 0.25 },
  { name = "size", type = "sum-of-squares", inputs = ["square"], coefficient = 0.001 },
  { name = "log", type = "neuron", inputs = ["logistic"], neuron = "log[0.5]" },
  { name = "drelu", type = "neuron", inputs = ["fc2"], neuron = "drelu[2]" },
  { name = "nrelu", type = "neuron", inputs = ["fc2"], neuron = "nrelu" },
]
"#;
    means(&spec, &format!("{HEAD}{wanted}"));
    assert_eq!(
        spec.notes,
        [
            "layers.cfg:43: scale of 'resize' is by the sizes' ratio here: where image/scale is no whole number, edges are off by \
             part of a cell",
            "layers.cfg:77: sumWidth of 'conv1' has no effect: it cut the sums of weight gradients for one GPU",
            "params.cfg:8: superEps of 'conv1' has no effect, there as here",
            "params.cfg:9: superMom of 'conv1' has no effect, there as here",
            "params.cfg:12: updatePeriod of 'conv1' has no effect: every layer is updated once a step",
            "layers.cfg:80: gpu of 'conv1' and 1 more is kept, but one device runs all layers",
            "params.cfg:19: wball of 'local1' is a largest norm here: cuda-convnet2 also scales weights below it up to it",
            "params.cfg:68: topk of 'logprob' has no effect: the metrics have the errors of the first and of the first five guesses",
            "layers.cfg:203: children of 'crossent' has no effect: each cost is shown by itself",
        ]
    );
}

/// Several inputs; weights shared with other layers and within one; and a layer that becomes two, since its inputs' weights
/// start and learn in two ways.
#[test]
fn inputs_and_shared_weights() {
    let wanted = r#"
train = { batch = 128, learning_rate = 0.001, momentum = 0.9, weight_decay = 0.001 }
layer = [
  { name = "left", type = "conv", inputs = ["data"], filters = 16, size = 5, padding = 2, rounding = "ceil", neuron = "relu",
    init = { kind = "gaussian", std = 0.01 }, learning_rate = { bias = 2 }, weight_decay = { bias = 0 } },
  { name = "right", type = "conv", inputs = ["data"], filters = 16, size = 5, padding = 2, rounding = "ceil", neuron = "relu",
    weight_source = "left", learning_rate = { bias = 2 }, weight_decay = { bias = 0 } },
  { name = "both", type = "conv", inputs = ["left", "right"], filters = 32, size = 5, padding = 2, rounding = "ceil",
    per_input = [{ size = 5, padding = 2 }, { size = 3, padding = 1 }],
    init = { kind = "gaussian", std = 0.02 }, learning_rate = { weights = 2, bias = 2 }, weight_decay = { bias = 0 } },
  { name = "own", type = "fc", inputs = ["both", "both", "left"], outputs = 16, weight_source = ["", "own", ""],
    init = { kind = "gaussian", std = 0.01 }, learning_rate = { bias = 0 }, weight_decay = { bias = 0 } },
  { name = "split.0", type = "fc", inputs = ["own"], outputs = 10, init = { kind = "gaussian", std = 0.1 },
    init_bias = { kind = "constant", value = -1 }, learning_rate = { bias = 2 }, weight_decay = { bias = 0 } },
  { name = "split.1", type = "fc", inputs = ["both"], outputs = 10, bias = false, init = { kind = "gaussian", std = 0.001 },
    learning_rate = { weights = 0.1 }, weight_decay = { weights = 0 } },
  { name = "split", type = "eltsum", inputs = ["split.0", "split.1"], neuron = "linear[2, 1]" },
  { name = "after", type = "fc", inputs = ["own"], outputs = 10, weight_source = "split.0",
    learning_rate = { bias = 2 }, weight_decay = { bias = 0 } },
  { name = "top", type = "eltsum", inputs = ["split", "after"], coefficients = [1, 0.5] },
  { name = "probs", type = "softmax", inputs = ["top"] },
  { name = "cost", type = "logistic-regression", inputs = ["probs", "labels"] },
]
"#;
    means(&corpus("shared"), &format!("{HEAD}{wanted}"));
}

/// The dropout of cuda-convnet's fork, and the syntax of its files: comments, lines that go on, keys in any case.
#[test]
fn dropout_and_syntax_of_version_1() {
    let wanted = r#"
train = { batch = 128, learning_rate = 0.001, momentum = 0.9, weight_decay = 0.03 }
layer = [
  { name = "pixels", type = "data" },
  { name = "pixels_dropout", type = "dropout", inputs = ["pixels"], keep = 0.8, at_test = "scale" },
  { name = "conv1", type = "conv", inputs = ["pixels_dropout"], filters = 16, size = 5, stride = 2, rounding = "ceil",
    neuron = "logistic", init = { kind = "gaussian", std = 0.0001 }, learning_rate = { bias = 2 },
    weight_decay = { weights = 0, bias = 0 } },
  { name = "pool1", type = "pool", inputs = ["conv1"], pool = "avg", size = 3, stride = 2, neuron = "relu" },
  { name = "pool1_dropout", type = "dropout", inputs = ["pool1"], keep = 0.7, at_test = "scale" },
  { name = "fc1", type = "fc", inputs = ["pool1_dropout", "conv1"], outputs = 20, init = { kind = "gaussian", std = 0.01 },
    learning_rate = { bias = 2 }, weight_decay = { weights = 0, bias = 0 } },
  { name = "fc1_dropout", type = "dropout", inputs = ["fc1"], keep = 0.5, at_test = "scale", neuron = "sqrt" },
  { name = "fc10", type = "fc", inputs = ["fc1_dropout"], outputs = 10, init = { kind = "gaussian", std = 0.1 },
    learning_rate = { bias = 2 }, weight_decay = { bias = 0 } },
  { name = "probs", type = "softmax", inputs = ["fc10"] },
  { name = "logprob", type = "logistic-regression", inputs = ["probs", "labels"] },
]
"#;
    means(&corpus("dropout-1"), &format!("{HEAD}{wanted}"));
}

/// `[train]` of layers with these learning rates, and what each layer has of its own, tables sorted by key.
fn rates(params: &[(&str, &str)]) -> (String, Vec<String>) {
    let (mut layers, mut text) = ("[data]\ntype=data\ndataIdx=0\n".to_owned(), String::new());
    for (i, (weights, bias)) in params.iter().enumerate() {
        writeln!(layers, "[fc{i}]\ntype=fc\ninputs=data\noutputs=2\ninitW=1").unwrap();
        writeln!(text, "[fc{i}]\nepsW={weights}\nepsB={bias}\nmomW=0.9\nmomB=0.9").unwrap();
    }
    let written: toml::Table = good(&layers, &text).to_toml().parse().unwrap();
    let show = |v: Option<&toml::Value>| v.map_or_else(|| "1".into(), |v| v.to_string().replace('"', ""));
    let layers = written["layer"].as_array().unwrap().iter();
    (show(written["train"].get("learning_rate")), layers.map(|l| show(l.get("learning_rate"))).collect())
}

/// The base is the commonest epsW where all schedules are alike but for it, with simple multiples; otherwise 1, and each layer
/// has its own.
#[test]
fn the_base_rate_makes_multiples_simple() {
    let (train, layers) = rates(&[("0.001", "0.002"), ("0.003", "0.001"), ("0.001", "0"), ("0", "0")]);
    assert_eq!(train, "0.001");
    assert_eq!(layers, ["{ bias = 2 }", "{ weights = 3 }", "{ bias = 0 }", "{ bias = 0, weights = 0 }"]);
    // 0.003 / 0.001 and the like are no whole numbers in binary, and are written as such.
    let (train, layers) = rates(&[("0.0007", "0.0021"), ("0.0007", "0.00049")]);
    assert_eq!((train.as_str(), layers[0].as_str(), layers[1].as_str()), ("0.0007", "{ bias = 3 }", "{ bias = 0.7 }"));
    // One form and factor throughout, and a frozen layer, which has none.
    let dexp = |base| format!("dexp[base={base};tgtFactor=250;numSteps=4]");
    let (a, b) = (dexp("0.01"), dexp("0.02"));
    let (train, layers) = rates(&[(&a, &b), (&b, &b), (&b, &a), ("0", "0")]);
    assert!(train.contains("schedule = dexp") && train.contains("base = 0.02"), "{train}");
    assert_eq!(layers, ["{ weights = 0.5 }", "1", "{ bias = 0.5 }", "{ bias = 0, weights = 0 }"]);
    // Two forms.
    let (train, layers) = rates(&[("0.01", "exp[base=0.02;tgtFactor=10]"), ("0.01", "0.01")]);
    assert_eq!(train, "1.0");
    let exp = "{ bias = { base = 0.02, schedule = exp, target_factor = 10 }, weights = 0.01 }";
    assert_eq!(layers, [exp, "{ bias = 0.01, weights = 0.01 }"]);
}

/// The base momentum and decay are the commonest; a decay of 0 throughout is none.
#[test]
fn the_base_momentum_and_decay_are_the_commonest() {
    let layers = "[data]\ntype=data\ndataIdx=0\n[a]\ntype=fc\ninputs=data\noutputs=2\n[b]\ntype=fc\ninputs=a\noutputs=2\n[c]\ntype=fc\ninputs=b\noutputs=2\n";
    let params = |a: &str, b: &str, c: &str| {
        let one = |name, keys: &str| format!("[{name}]\nepsW=1\nepsB=1\n{}\n", keys.replace(' ', "\n"));
        one("a", a) + &one("b", b) + &one("c", c)
    };
    let spec = good(layers, &params("momW=0.5 momB=0.5", "momW=0.9 momB=0.9 wc=0.01", "momW=0.9 momB=0.5 wc=0.03"));
    assert_eq!((spec.train.momentum.base, spec.train.weight_decay), (0.9, 0.01));
    let of = |spec: &NetSpec, name: &str| {
        let l = spec.layer(name).unwrap().1.clone();
        (l.momentum.weights, l.momentum.bias, l.weight_decay.weights, l.weight_decay.bias)
    };
    assert_eq!(of(&spec, "a"), (Some(0.5), Some(0.5), 0.0, 0.0));
    assert_eq!(of(&spec, "b"), (None, None, 1.0, 0.0));
    assert_eq!(of(&spec, "c"), (None, Some(0.5), 3.0, 0.0));
    let spec = good(layers, &params("momW=0.9 momB=0.9", "momW=0.9 momB=0.9 wc=0", "momW=0.9 momB=0.9"));
    assert_eq!(spec.train.weight_decay, 0.0);
}

/// Layers that are called as the images or the labels are, and are not, get another name, and a note says so.
#[test]
fn names_of_the_images_and_labels() {
    let layers = "[img]\ntype=data\ndataIdx=0\n[labels]\ntype=fc\ninputs=img\noutputs=3\n[data]\ntype=softmax\ninputs=labels\n\
                  [l]\ntype=data\ndataIdx=1\n[cost]\ntype=cost.logreg\ninputs=l,data\n";
    let params = "[labels]\nepsW=1\nepsB=1\nmomW=0\nmomB=0\n[cost]\ncoeff=1\n";
    let spec = good(layers, params);
    let names: Vec<_> = spec.layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["img", "labels_layer", "data_layer", "l", "cost"]);
    assert_eq!(spec.notes.len(), 2, "{:?}", spec.notes);
    assert!(spec.notes[0].starts_with("layers.cfg:4: 'labels' has another name here"), "{:?}", spec.notes);
}

/// dropout2 that is not enabled still multiplies by what it would keep; a neuron of its own comes behind that.
#[test]
fn dropout_that_is_not_enabled() {
    let layers =
        "[data]\ntype=data\ndataIdx=0\n[a]\ntype=dropout\ninputs=data\nneuron=abs\n[b]\ntype=dropout2\ninputs=a\nneuron=abs\n";
    let wanted = r#"
train = { batch = 128 }
layer = [
  { name = "a", type = "dropout", inputs = ["data"], keep = 1, neuron = "abs" },
  { name = "b", type = "neuron", inputs = ["a"], neuron = "linear[0.3, 0]" },
  { name = "b_neuron", type = "neuron", inputs = ["b"], neuron = "abs" },
]
"#;
    means(&good(layers, "[a]\nenable=0\nkeep=0.3\n[b]\nenable=0\nkeep=0.3\n"), &format!("{HEAD}{wanted}"));
}

/// A default of all sections reaches the layers whose type reads it, and no other.
#[test]
fn defaults_reach_what_reads_them() {
    let layers = "[DEFAULT]\nneuron=relu\ninitW=0.1\n[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n\
                  [a]\ntype=fc\ninputs=data\noutputs=2\n[p]\ntype=softmax\ninputs=a\nneuron=ident\n[c]\ntype=cost.logreg\ninputs=labels,p\n";
    let wanted = r#"
train = { batch = 128, learning_rate = 1, momentum = 0.5, weight_decay = 0 }
layer = [
  { name = "a", type = "fc", inputs = ["data"], outputs = 2, neuron = "relu", init = { kind = "gaussian", std = 0.1 } },
  { name = "p", type = "softmax", inputs = ["a"] },
  { name = "c", type = "logistic-regression", inputs = ["p", "labels"] },
]
"#;
    means(&good(layers, "[DEFAULT]\nepsW=1\nepsB=1\nmomW=0.5\nmomB=0.5\n[a]\n[c]\ncoeff=1\n"), &format!("{HEAD}{wanted}"));
}

/// `--set` changes what the pair says, by the names of our keys.
#[test]
fn arguments_change_a_pair() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/cuda_convnet/small.cfg")).unwrap();
    let (layers, params) = split_pair(&text);
    let sets = ["train.learning_rate=0.5", "layer.fc.outputs=7", "data.source=mnist-10k"].map(str::to_owned);
    let spec = NetSpec::from_pair((layers, "layers.cfg"), (params, "params.cfg"), &sets).unwrap();
    assert_eq!((spec.train.learning_rate.base, spec.data.source.as_str()), (0.5, "mnist-10k"));
    assert_eq!(spec.layer("fc").unwrap().1.keys["outputs"].node.value, convnet::config::Value::Integer(7));
}

/// Files as large as they may be, and as deep, end in an error or a net, soon and in little space.
#[test]
fn hostile_sizes() {
    let many = 60_000;
    let lines = |line: &dyn Fn(usize) -> String| (0..many).map(line).collect::<String>();
    let net = "[data]\ntype=data\ndataIdx=0\n[a]\ntype=fc\ninputs=data\noutputs=2\n";
    let params = "[a]\nepsW=1\nepsB=1\nmomW=0\nmomB=0\n";
    let chain = lines(&|i| {
        format!("[n{i}]\ntype=neuron\nneuron=relu\ninputs={}\n", if i == 0 { "a".into() } else { format!("n{}", i - 1) })
    });
    let texts = [
        ("a=1\n".repeat(many), String::new()),
        ("[a]\n".repeat(many), "[a]\n".repeat(many)),
        (lines(&|i| format!("[d{i}]\ntype=data\ndataIdx=0\n")), String::new()),
        (format!("{net}{chain}"), params.to_owned()),
        (format!("{net}[b]\ntype=concat\ninputs={}a\n", "a,".repeat(20 * many)), params.to_owned()),
        (net.replace("inputs=data", &format!("inputs=data{}", ",data".repeat(many))), params.to_owned()),
        (net.replace("inputs=data", &format!("inputs=data\n{}", " ,data\n".repeat(many))), params.to_owned()),
        (net.to_owned(), params.replace("momW=0", &format!("momW=0{}", ",0".repeat(many)))),
        (net.to_owned(), format!("{params}{}", lines(&|i| format!("k{i}=1\n")))),
        (net.to_owned(), format!("{params}{}", lines(&|i| format!("[x{i}]\n")))),
        (format!("[DEFAULT]\n{}{net}", "wc=1\n".repeat(many)), params.to_owned()),
        (format!("[{}]\ntype=fc\n", "é".repeat(many)), String::new()),
        (format!("[a]\ntype={}\n", "x".repeat(20 * many)), String::new()),
        (format!("[a]\n{}=1\n", "x".repeat(20 * many)), String::new()),
        (format!("[a]\nx={}\n", "[".repeat(20 * many)), String::new()),
        (net.to_owned(), params.replace("epsW=1", &format!("epsW=dexp[{}", "base=1;".repeat(many)))),
    ];
    for (i, (layers, params)) in texts.iter().enumerate() {
        let start = std::time::Instant::now();
        crate::holds::for_config(read(layers, params));
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("text {i}: {seconds:.2} s");
        assert!(seconds < 60.0);
    }
    let large = "#".repeat((4 << 20) + 1);
    assert!(read(&large, "").unwrap_err().message().contains("too large for a config"));
    assert!(read("", &large).unwrap_err().message().contains("'params.cfg' is too large for a config"));
}
