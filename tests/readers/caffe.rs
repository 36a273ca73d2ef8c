//! Caffe's prototxt: what files of every kind become, and what is said about files that are wrong.

use super::common::Folder;
use super::{becomes, lenet};
use convnet::config::NetSpec;
use std::fs;

/// The files of the corpus have between them every field that is read; what they become is written beside this file.
#[test]
fn files_become_what_they_say() {
    for name in ["digits", "residual", "neurons", "siamese", "autoencoder", "deploy", "input", "version1", "version0"] {
        becomes("caffe", name, "prototxt", NetSpec::from_caffe);
    }
}

/// Every policy of the solver is one of our schedules.
#[test]
fn policies_become_schedules() {
    let table = [
        ("lr_policy: \"fixed\"", "0.1"),
        ("lr_policy: \"step\" stepsize: 9 gamma: 0.5", "{ schedule = \"step\", base = 0.1, every = 9, gamma = 0.5 }"),
        ("lr_policy: \"exp\" gamma: 0.99", "{ schedule = \"step\", base = 0.1, every = 1, gamma = 0.99 }"),
        ("lr_policy: \"inv\" gamma: 0.01 power: 2", "{ schedule = \"inv\", base = 0.1, gamma = 0.01, power = 2 }"),
        ("lr_policy: \"poly\" power: 2 gamma: 7", "{ schedule = \"poly\", base = 0.1, power = 2 }"),
        (
            "lr_policy: \"multistep\" gamma: 0.1 stepvalue: [5, 7]",
            "{ schedule = \"multistep\", base = 0.1, at = [5, 7], gamma = 0.1 }",
        ),
        ("lr_policy: \"sigmoid\" gamma: 0.1 stepsize: 9", "{ schedule = \"sigmoid\", base = 0.1, gamma = 0.1, at = 9 }"),
    ];
    for (policy, schedule) in table {
        let solver = format!("net_param {{ {NET} }} base_lr: 0.1 max_iter: 100 {policy}");
        let spec = NetSpec::from_caffe(&solver, "solver.prototxt", &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let set = format!("train.learning_rate={schedule}");
        let wanted = NetSpec::from_toml(&lenet(), "net.toml", &[set]).unwrap();
        assert_eq!(spec.train.learning_rate, wanted.train.learning_rate, "{policy}");
        assert_eq!((spec.train.steps, spec.train.momentum.base, spec.train.weight_decay), (Some(100), 0.0, 0.0), "{policy}");
    }
}

/// A net that a solver names is found from the solver's folder, from any above it, and from where the command is run; what is
/// wrong with it is shown in its own lines.
#[test]
fn solvers_find_their_nets() {
    let folder = Folder::new("");
    fs::create_dir_all(folder.path("a/b")).unwrap();
    let solver = |net: &str| format!("net: \"{net}\"\nbase_lr: 0.1\nlr_policy: \"fixed\"\nmax_iter: 10\n");
    fs::write(folder.path("a/b/net.prototxt"), NET).unwrap();
    for net in ["net.prototxt", "b/net.prototxt", "a/b/net.prototxt"] {
        fs::write(folder.path("a/b/solver.prototxt"), solver(net)).unwrap();
        let spec = NetSpec::load(folder.path("a/b/solver.prototxt"), &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
        assert_eq!((spec.name.as_str(), spec.train.steps, spec.layers.len()), ("solver", Some(10), 3), "{net}");
    }
    fs::write(folder.path("a/b/solver.prototxt"), solver("nte.prototxt")).unwrap();
    let convert = |file: &str| folder.convnet(&["convert", file]);
    convert("a/b/solver.prototxt").failed(2, &["cannot read 'nte.prototxt': there is no such file", "solver.prototxt:1:6]"]);
    fs::write(folder.path("a/b/net.prototxt"), NET.replace("num_output", "num_outputs")).unwrap();
    fs::write(folder.path("a/b/solver.prototxt"), solver("net.prototxt")).unwrap();
    convert("a/b/solver.prototxt").failed(2, &["unknown field 'num_outputs'", "net.prototxt:2:", "did you mean 'num_output'?"]);
}

/// `--set` changes what was read, and `--data` the source; images of the shape that the file tells may be made up in its place.
#[test]
fn what_was_read_can_be_changed() {
    let sets = ["train.batch=8", "layer.ip.outputs=3", "data.source=./digits"].map(String::from);
    let deploy = include_str!("../../fuzz/corpus/caffe/input.prototxt");
    let spec = NetSpec::from_caffe(deploy, "net.prototxt", &sets).unwrap_or_else(|e| panic!("{}", e.render(false)));
    assert_eq!((spec.train.batch, spec.data.source.as_str(), &spec.data.synthetic), (8, "./digits", &None));
    assert_eq!(spec.images.as_ref().unwrap().shape, [28, 20, 1]);
    assert!(spec.to_toml().contains("outputs = 3"));
    assert_eq!(NetSpec::from_toml(&spec.to_toml(), "net.toml", &[]).unwrap(), spec);
    let epochs = ["train.epochs=3".to_owned()];
    let solver = format!("net_param {{ {NET} }} base_lr: 0.1 max_iter: 100 lr_policy: \"fixed\"");
    let spec = NetSpec::from_caffe(&solver, "solver.prototxt", &epochs).unwrap();
    assert_eq!((spec.train.steps, spec.train.epochs), (None, 3.0));
}

/// A solver and its net train on a set that is given in place of theirs; where only shapes matter, no set is needed, since the
/// net tells them.
#[test]
fn a_solver_trains() {
    let folder = Folder::new("");
    let net = NET.replace("data_param", "transform_param { scale: 0.00390625 crop_size: 28 force_gray: true } data_param");
    fs::write(folder.path("net.prototxt"), net).unwrap();
    let solver = "net: \"net.prototxt\" base_lr: 0.01 lr_policy: \"inv\" gamma: 1e-4 power: 0.75 max_iter: 3 momentum: 0.9\n";
    fs::write(folder.path("solver.prototxt"), solver).unwrap();
    let train = ["train", "solver.prototxt", "--data", "mnist-10k", "--out", "run", "--device", "cpu", "--threads", "1"];
    let ended = folder.convnet(&train).ended(0);
    assert!(
        ended.stderr.contains("note: ") && ended.stderr.contains("net.prototxt:1: crop_size has no effect"),
        "{}",
        ended.stderr
    );
    assert!(folder.path("run/checkpoints/step-3").is_dir());
    let config = NetSpec::load(folder.path("run/config.toml"), &[]).unwrap();
    assert_eq!((config.train.batch, config.train.steps, config.data.source.as_str()), (4, Some(3), "mnist-10k"));
    folder.convnet(&["train", "solver.prototxt", "--out", "other", "--device", "cpu"]).failed(1, &["'x'"]);
    let summary = folder.convnet(&["summary", "net.prototxt"]).ended(0).stdout;
    assert!(summary.contains("7,850 parameters"), "{summary}");
}

/// A net on two lines: the data, and a layer with its cost.
const NET: &str = r#"layer { name: "in" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 4 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
"#;

/// One message with the line, a part of it that names the fault, and the exit status of a wrong config.
#[test]
fn wrong_files_are_shown_their_lines() {
    // What is put behind the net above (whose last line is number 3) or in place of a part of it, and what is said.
    let more = |text: &str| format!("{NET}{text}");
    let layer = |keys: &str| format!("{NET}layer {{ name: \"x\" bottom: \"data\" top: \"x\" {keys} }}\n");
    let conv = |keys: &str| layer(&format!("type: \"Convolution\" convolution_param {{ {keys} }}"));
    let pool = |keys: &str| layer(&format!("type: \"Pooling\" pooling_param {{ {keys} }}"));
    let instead = |from: &str, to: &str| {
        assert!(NET.contains(from), "{from}");
        NET.replacen(from, to, 1)
    };
    let solver = |keys: &str| format!("net_param {{\n{NET}}}\nbase_lr: 0.1 max_iter: 10 {keys}\n");
    let rows: Vec<(String, &str, usize)> = vec![
        // The text.
        (more("}"), "expected a field's name, found '}'", 4),
        (more("layer {"), "this brace is never closed", 4),
        (more("layer { name: \"x }"), "this text is never closed", 4),
        (more("layer { name }"), "expected ':' or '{' behind 'name', found '}'", 4),
        (more("layer { name: }"), "expected a value for 'name', found '}'", 4),
        (more("layer { top: [\"a\" \"b\", }"), "expected a value for 'top', found '}'", 4),
        (more("layer { name: \"\\q\" }"), "unknown escape in a text", 4),
        (more(&"layer { ".repeat(50)), "messages are nested too deep", 4),
        (more("@"), "expected a field's name, found '@'", 4),
        // Fields.
        (more("layers { name: \"x\" }"), "layer and layers in one file", 1),
        (more("layr { }"), "unknown field 'layr' in a net", 4),
        (layer("type: \"ReLU\" type: \"ReLU\""), "'type' is given twice in layer", 4),
        (conv("num_output: -1"), "num_output must be a whole number of at least 0, not '-1'", 4),
        (conv("num_output: 08"), "num_output must be a whole number of at least 0, not '08'", 4),
        (conv("num_output: 5 bias_term: yes"), "bias_term must be true or false, not 'yes'", 4),
        (conv("num_output: 5 weight_filler: \"xavier\""), "weight_filler must be a message in braces", 4),
        (layer("type: ReLU"), "type must be text in quotes, not 'ReLU'", 4),
        (layer("type: \"Dropout\" dropout_param { dropout_ratio: nan }"), "dropout_ratio must be a finite number", 4),
        (pool("pool: MIN kernel_size: 2"), "unknown pool 'MIN'", 4),
        (pool("pool: \"MAX\" kernel_size: 2"), "pool must be a name without quotes", 4),
        // Layers.
        (layer("type: \"Convolutoin\""), "layer 'x': unknown type 'Convolutoin'", 4),
        (layer("type: \"Python\""), "layer 'x': type 'Python' has no counterpart here", 4),
        (more("layer { name: \"x\" bottom: \"data\" }"), "a layer has no type", 4),
        (instead("bottom: \"ip\"", "bottom: \"pi\""), "layer 'loss': no layer above makes 'pi'", 3),
        (instead("top: \"ip\"", "top: \"label\""), "layer 'ip': two layers make 'label'", 2),
        (layer("type: \"Convolution\""), "layer 'x': missing 'convolution_param'", 4),
        (conv("num_output: 5"), "layer 'x': missing field 'kernel_size'", 4),
        (conv("num_output: 5 kernel_h: 5"), "layer 'x': kernel_h without kernel_w", 4),
        (conv("num_output: 5 kernel_size: 5 kernel_h: 5 kernel_w: 5"), "say the same thing twice", 4),
        (conv("num_output: 5 kernel_size: [1, 2, 3]"), "kernel_size is given 3 times, but images have 2 axes", 4),
        (conv("num_output: 5 kernel_size: 5 axis: 2"), "axis = 2: only axis 1, the channels", 4),
        (conv("num_output: 5 kernel_size: 1 weight_filler { type: \"bilinear\" }"), "filler type 'bilinear'", 4),
        (pool("pool: STOCHASTIC kernel_size: 2"), "stochastic pooling has no counterpart here", 4),
        (pool("pool: AVE kernel_size: 3 pad: 1"), "an average over padded windows", 4),
        (pool("kernel_size: 3 global_pooling: true"), "kernel_size beside global_pooling", 4),
        (layer("type: \"Concat\" concat_param { axis: 0 }"), "axis = 0: only axis 1, the channels", 4),
        (layer("type: \"Eltwise\""), "layer 'x': 1 bottoms, but a layer of type Eltwise has at least 2", 4),
        (layer("type: \"Slice\" slice_param { slice_point: [1, 2] }"), "2 slice_points for 1 tops", 4),
        (layer("type: \"Reshape\" reshape_param { shape { dim: 2 dim: -1 } }"), "a reshape that is no flatten", 4),
        (layer("type: \"Scale\""), "a Scale layer has a counterpart here only behind a BatchNorm", 4),
        (layer("type: \"Power\" power_param { power: -1 }"), "a power of -1 has no counterpart here", 4),
        (layer("type: \"LRN\" lrn_param { local_size: 4 }"), "local_size must be odd, not 4", 4),
        (layer("type: \"ReLU\" convolution_param { num_output: 5 }"), "convolution_param has no counterpart here", 4),
        (layer("type: \"ReLU\" propagate_down: false"), "a gradient cannot be stopped here", 4),
        (layer("type: \"BatchNorm\" batch_norm_param { use_global_stats: true }"), "statistics that are fixed", 4),
        (
            layer("type: \"InnerProduct\" inner_product_param { num_output: 5 } param { } param { } param { }"),
            "3 params for 2",
            4,
        ),
        (instead("type: \"Softmax", "loss_param { ignore_label: 0 } type: \"Softmax"), "labels cannot be ignored here", 3),
        (instead("bottom: \"label\"", "bottom: \"ip\""), "layer 'loss': this is not the labels of the data", 3),
        (layer("type: \"TanH\" include { phase: TRAIN } exclude { phase: TEST }"), "rules to include and rules to exclude", 4),
        (
            layer("type: \"TanH\" include { phase: TRAIN }") + "layer { type: \"AbsVal\" bottom: \"x\" top: \"y\" }\n",
            "'x' is made in training alone, and a layer of both phases reads it",
            5,
        ),
        (
            layer("type: \"TanH\" include { phase: TRAIN }")
                + &layer("type: \"AbsVal\" include { phase: TEST }").replace(NET, ""),
            "layer 'x' differs between training and tests",
            5,
        ),
        // Data.
        (instead("source: \"x\"", ""), "layer 'in': missing field 'source'", 1),
        (more("layer { name: \"y\" type: \"Data\" top: \"y\" data_param { source: \"y\" } }"), "a second source of images", 4),
        (instead("top: \"label\"", "top: \"label\" top: \"more\""), "a data layer of more than two tops", 1),
        ("input: \"data\"\ninput_dim: [1, 2, 3]\n".to_owned(), "3 input_dims for 1 inputs", 2),
        ("input: \"data\"\n".to_owned(), "input 'data' has no shape", 1),
        ("name: \"empty\"\n".to_owned(), "the net has no layers", 1),
        // The solver.
        (solver(""), "missing field 'lr_policy'", 6),
        (solver("lr_policy: \"setp\""), "unknown lr_policy 'setp'", 6),
        (solver("lr_policy: \"step\" gamma: 0.1"), "missing field 'stepsize'", 6),
        (solver("lr_policy: \"fixed\" type: \"Adam\""), "a solver of type 'Adam' has no counterpart here", 6),
        (solver("lr_policy: \"fixed\" weights: \"x.caffemodel\""), "Caffe's weights are not read here", 6),
        (solver("lr_policy: \"fixed\" iter_size: 0"), "iter_size must be at least 1, and not 0", 6),
        (solver("lr_policy: \"fixed\" regularization_type: \"L3\""), "unknown regularization_type 'L3'", 6),
        (solver("lr_policy: \"fixed\" net: \"y\""), "both say which net is trained", 1),
        (solver("lr_policy: \"fixed\" momentum: 1"), "train.momentum must be at least 0 and below 1", 6),
        (solver("lr_policy: \"multistep\" gamma: 0.1 stepvalue: 7 stepvalue: 5"), "must be ascending numbers of steps", 6),
        ("base_lr: 0.1\nmax_iter: 10\n".to_owned(), "the solver names no net", 1),
    ];
    assert!(rows.len() >= 25);
    let folder = Folder::new("");
    for (text, part, line) in rows {
        fs::write(folder.path("net.prototxt"), &text).unwrap();
        let place = format!("[net.prototxt:{line}:");
        folder.convnet(&["convert", "net.prototxt"]).failed(2, &[part, &place]);
    }
}
