//! Every way to say something wrong, and the whole message it gets: what, in which layer, on which line, with the line and
//! a label under the part at fault, and what to do.

use super::{LENET, read};

/// Reads the config with its first `from` replaced by `to`; it must fail with this message.
#[track_caller]
fn shows(from: &str, to: &str, sets: &[&str], message: &str) {
    assert!(LENET.contains(from), "the config has no {from:?} to replace");
    let text = LENET.replacen(from, to, 1);
    match read(&text, sets) {
        Ok(_) => panic!("this reads:\n{text}"),
        Err(e) => {
            let shown = e.render(false);
            assert_eq!(shown, message.trim_start_matches('\n'), "\n{shown}");
        }
    }
}

#[test]
fn unknown_key() {
    shows(
        "filters = 20",
        "fliters = 20",
        &[],
        r#"
  × layer 'conv1': unknown key 'fliters'
    ╭─[net.toml:15:1]
 15 │ fliters = 20
    · ───┬───
    ·    ╰── did you mean 'filters'?
    ╰────
  help: known keys: filters, size, stride, padding, name, type, inputs, neuron, init, init_bias, learning_rate,
        weight_decay, momentum, max_norm, weight_source, bias_source, gpu
"#,
    );
}

#[test]
fn missing_key() {
    shows(
        "filters = 20\n",
        "",
        &[],
        r#"
  × layer 'conv1': missing key 'filters'
    ╭─[net.toml:14:1]
 14 │ type = "conv"
    · ──────┬──────
    ·       ╰── a conv layer needs 'filters'
    ╰────
  help: add filters = …
"#,
    );
}

#[test]
fn unknown_type() {
    shows(
        r#"type = "conv""#,
        r#"type = "cnov""#,
        &[],
        r#"
  × layer 'conv1': unknown type 'cnov'
    ╭─[net.toml:14:1]
 14 │ type = "cnov"
    · ──────┬──────
    ·       ╰── did you mean 'conv'?
    ╰────
  help: known types: data, conv, pool, fc, softmax, logistic-regression
"#,
    );
}

#[test]
fn unknown_value() {
    shows(
        r#"pool = "max""#,
        r#"pool = "maxx""#,
        &[],
        r#"
  × layer 'pool1': unknown pool 'maxx'
    ╭─[net.toml:23:8]
 23 │ pool = "maxx"
    ·        ───┬──
    ·           ╰── did you mean 'max'?
    ╰────
  help: known values: max, avg
"#,
    );
}

#[test]
fn unknown_section() {
    shows(
        "[train]",
        "[trian]",
        &[],
        r#"
  × unknown key 'trian'
   ╭─[net.toml:5:2]
 5 │ [trian]
   ·  ──┬──
   ·    ╰── did you mean 'train'?
   ╰────
  help: known keys: name, data, train, pretrain, layer
"#,
    );
}

#[test]
fn unknown_key_of_a_section() {
    shows(
        "epochs = 12",
        "epoch = 12",
        &[],
        r#"
  × unknown key 'epoch' in train
   ╭─[net.toml:7:1]
 7 │ epoch = 12
   · ──┬──
   ·   ╰── did you mean 'epochs'?
   ╰────
  help: known keys: batch, micro_batch, epochs, steps, seed, momentum, nesterov, weight_decay, l1_decay, clip_norm,
        test_every, log_every, checkpoint_every, keep, monitor_weights, winograd, fuse, tensorboard, precision,
        learning_rate
"#,
    );
}

#[test]
fn unknown_key_of_a_table() {
    shows(
        "translate = 2",
        "shift = 2",
        &[],
        r#"
  × unknown key 'shift' in data.augment
   ╭─[net.toml:4:13]
 4 │ augment = { shift = 2 }
   ·             ──┬──
   ·               ╰── not a key that is known here
   ╰────
  help: known keys: translate, flip, resized_crop, rotate, brightness, contrast, saturation, pca, cutout, mixup
"#,
    );
}

#[test]
fn wrong_type() {
    shows(
        "filters = 20",
        r#"filters = "20""#,
        &[],
        r#"
  × layer 'conv1': filters must be a whole number of at least 1, not the text "20"
    ╭─[net.toml:15:11]
 15 │ filters = "20"
    ·           ──┬─
    ·             ╰── expected a whole number of at least 1
    ╰────
"#,
    );
}

#[test]
fn wrong_type_of_a_size() {
    shows(
        "size = 5",
        r#"size = "five""#,
        &[],
        r#"
  × layer 'conv1': size must be a whole number or [height, width], not the text "five"
    ╭─[net.toml:16:8]
 16 │ size = "five"
    ·        ───┬──
    ·           ╰── expected a whole number or [height, width]
    ╰────
"#,
    );
}

#[test]
fn wrong_type_of_a_section() {
    shows(
        "[data]\nsource = \"mnist-10k\"\naugment = { translate = 2 }",
        "data = 1",
        &[],
        r#"
  × data must be a table, not 1
   ╭─[net.toml:2:8]
 2 │ data = 1
   ·        ┬
   ·        ╰── expected a table
   ╰────
"#,
    );
}

#[test]
fn a_size_of_three_numbers() {
    shows(
        "size = 5",
        "size = [5, 5, 5]",
        &[],
        r#"
  × layer 'conv1': size must be a whole number or [height, width], not an array of 3
    ╭─[net.toml:16:8]
 16 │ size = [5, 5, 5]
    ·        ────┬────
    ·            ╰── expected a whole number or [height, width]
    ╰────
"#,
    );
}

#[test]
fn negative_size() {
    shows(
        "size = 5",
        "size = -5",
        &[],
        r#"
  × layer 'conv1': size must be at least 1, not -5
    ╭─[net.toml:16:8]
 16 │ size = -5
    ·        ─┬
    ·         ╰── must be at least 1
    ╰────
"#,
    );
}

#[test]
fn zero_in_a_size() {
    shows(
        "size = 5",
        "size = [5, 0]",
        &[],
        r#"
  × layer 'conv1': size must be at least 1, not 0
    ╭─[net.toml:16:12]
 16 │ size = [5, 0]
    ·            ┬
    ·            ╰── must be at least 1
    ╰────
"#,
    );
}

#[test]
fn huge_size() {
    shows(
        "size = 5",
        "size = 5000000000",
        &[],
        r#"
  × layer 'conv1': size must be at most 1048576, not 5000000000
    ╭─[net.toml:16:8]
 16 │ size = 5000000000
    ·        ─────┬────
    ·             ╰── must be at most 1048576
    ╰────
"#,
    );
}

#[test]
fn negative_padding() {
    shows(
        "size = 5",
        "size = 5\npadding = -1",
        &[],
        r#"
  × layer 'conv1': padding must be at least 0, not -1
    ╭─[net.toml:17:11]
 17 │ padding = -1
    ·           ─┬
    ·            ╰── must be at least 0
    ╰────
"#,
    );
}

#[test]
fn no_filters() {
    shows(
        "filters = 20",
        "filters = 0",
        &[],
        r#"
  × layer 'conv1': filters must be at least 1, not 0
    ╭─[net.toml:15:11]
 15 │ filters = 0
    ·           ┬
    ·           ╰── expected at least 1
    ╰────
"#,
    );
}

#[test]
fn fractional_size() {
    shows(
        "size = 5",
        "size = 2.5",
        &[],
        r#"
  × layer 'conv1': size must be a whole number or [height, width], not 2.5
    ╭─[net.toml:16:8]
 16 │ size = 2.5
    ·        ─┬─
    ·         ╰── expected a whole number or [height, width]
    ╰────
"#,
    );
}

#[test]
fn unknown_neuron() {
    shows(
        r#""relu""#,
        r#""rellu""#,
        &[],
        r#"
  × layer 'conv1': unknown neuron 'rellu'
    ╭─[net.toml:17:10]
 17 │ neuron = "rellu"
    ·          ───┬───
    ·             ╰── did you mean 'relu'?
    ╰────
  help: known values: linear, relu, brelu, softrelu, tanh, logistic, abs, square, sqrt, log, drelu, nrelu, leaky, elu,
        swish
"#,
    );
}

#[test]
fn too_many_numbers_of_a_neuron() {
    shows(
        r#""relu""#,
        r#""tanh[1, 2, 3]""#,
        &[],
        r#"
  × layer 'conv1': neuron takes at most 2 numbers, not 3
    ╭─[net.toml:17:10]
 17 │ neuron = "tanh[1, 2, 3]"
    ·          ───────┬───────
    ·                 ╰── takes at most 2 numbers
    ╰────
"#,
    );
}

#[test]
fn malformed_neuron() {
    shows(
        r#""relu""#,
        r#""tanh[1.7""#,
        &[],
        r#"
  × layer 'conv1': neuron must be a name, or a name with numbers as in tanh[1.7159, 0.6667]
    ╭─[net.toml:17:10]
 17 │ neuron = "tanh[1.7"
    ·          ──────────
    ╰────
"#,
    );
}

#[test]
fn neuron_without_its_bound() {
    shows(
        r#""relu""#,
        r#""brelu""#,
        &[],
        r#"
  × layer 'conv1': missing key 'a' in neuron
    ╭─[net.toml:17:10]
 17 │ neuron = "brelu"
    ·          ───┬───
    ·             ╰── this needs 'a'
    ╰────
  help: add a = …
"#,
    );
}

#[test]
fn unknown_key_of_a_neuron() {
    shows(
        r#""relu""#,
        r#"{ type = "relu", a = 1 }"#,
        &[],
        r#"
  × layer 'conv1': unknown key 'a' in neuron
    ╭─[net.toml:17:27]
 17 │ neuron = { type = "relu", a = 1 }
    ·                           ┬
    ·                           ╰── not a key that is known here
    ╰────
  help: known keys: type
"#,
    );
}

#[test]
fn unknown_initialiser() {
    shows(
        r#""gaussian""#,
        r#""gausian""#,
        &[],
        r#"
  × layer 'conv1': unknown init 'gausian'
    ╭─[net.toml:18:17]
 18 │ init = { kind = "gausian", std = 0.01 }
    ·                 ────┬────
    ·                     ╰── did you mean 'gaussian'?
    ╰────
  help: known values: gaussian, uniform, xavier, msra, constant, file
"#,
    );
}

#[test]
fn unknown_key_of_an_initialiser() {
    shows(
        "std = 0.01",
        "sd = 0.01",
        &[],
        r#"
  × layer 'conv1': unknown key 'sd' in init
    ╭─[net.toml:18:29]
 18 │ init = { kind = "gaussian", sd = 0.01 }
    ·                             ─┬
    ·                              ╰── did you mean 'std'?
    ╰────
  help: known keys: kind, mean, std, sparse
"#,
    );
}

#[test]
fn contradictory_initialiser() {
    shows(
        r#""gaussian", std = 0.01"#,
        r#""uniform", range = 1, min = 0"#,
        &[],
        r#"
  × layer 'conv1': init: give either range, for −range to range, or min and a max not below it
    ╭─[net.toml:18:8]
 18 │ init = { kind = "uniform", range = 1, min = 0 }
    ·        ────────────────────────────────────────
    ╰────
"#,
    );
}

#[test]
fn negative_multiplier() {
    shows(
        "bias = 2.0",
        "bias = -2.0",
        &[],
        r#"
  × layer 'conv1': learning_rate.bias must be at least 0, not -2
    ╭─[net.toml:19:41]
 19 │ learning_rate = { weights = 1.0, bias = -2.0 }
    ·                                         ──┬─
    ·                                           ╰── must be at least 0
    ╰────
"#,
    );
}

#[test]
fn unknown_multiplier() {
    shows(
        "bias = 2.0",
        "biases = 2.0",
        &[],
        r#"
  × layer 'conv1': unknown key 'biases' in learning_rate
    ╭─[net.toml:19:34]
 19 │ learning_rate = { weights = 1.0, biases = 2.0 }
    ·                                  ───┬──
    ·                                     ╰── did you mean 'bias'?
    ╰────
  help: known keys: weights, bias
"#,
    );
}

#[test]
fn batch_of_none() {
    shows(
        "batch = 64",
        "batch = 0",
        &[],
        r#"
  × train.batch must be at least 1, not 0
   ╭─[net.toml:6:9]
 6 │ batch = 0
   ·         ┬
   ·         ╰── must be at least 1
   ╰────
"#,
    );
}

#[test]
fn batch_that_does_not_divide() {
    shows(
        "batch = 64",
        "batch = 64\nmicro_batch = 24",
        &[],
        r#"
  × train.batch = 64 is not a multiple of train.micro_batch = 24
   ╭─[net.toml:7:1]
 7 │ micro_batch = 24
   · ────────┬───────
   ·         ╰── does not divide the batch
   ╰────
  help: use a divisor of 64, such as 16
"#,
    );
}

#[test]
fn no_epochs() {
    shows(
        "epochs = 12",
        "epochs = 0",
        &[],
        r#"
  × train.epochs must be above 0, not 0
   ╭─[net.toml:7:10]
 7 │ epochs = 0
   ·          ┬
   ·          ╰── must be above 0
   ╰────
"#,
    );
}

#[test]
fn momentum_of_one() {
    shows(
        "momentum = 0.9",
        "momentum = 1",
        &[],
        r#"
  × train.momentum must be at least 0 and below 1, not 1
    ╭─[net.toml:10:12]
 10 │ momentum = 1
    ·            ┬
    ·            ╰── must be at least 0 and below 1
    ╰────
"#,
    );
}

#[test]
fn negative_weight_decay() {
    shows(
        "weight_decay = 0.0005",
        "weight_decay = -0.0005",
        &[],
        r#"
  × train.weight_decay must be at least 0, not -0.0005
    ╭─[net.toml:11:16]
 11 │ weight_decay = -0.0005
    ·                ───┬───
    ·                   ╰── must be at least 0
    ╰────
"#,
    );
}

#[test]
fn not_a_number() {
    shows(
        "momentum = 0.9",
        "momentum = nan",
        &[],
        r#"
  × 'momentum' is not a finite number
    ╭─[net.toml:10:12]
 10 │ momentum = nan
    ·            ─┬─
    ·             ╰── here
    ╰────
"#,
    );
}

#[test]
fn too_large_a_number() {
    shows(
        "seed = 1",
        "seed = 99999999999999999999",
        &[],
        r#"
  × 'seed' is too large: whole numbers have 64 bits
   ╭─[net.toml:8:8]
 8 │ seed = 99999999999999999999
   ·        ──────────┬─────────
   ·                  ╰── here
   ╰────
"#,
    );
}

#[test]
fn negative_learning_rate() {
    shows(
        r#"{ schedule = "cosine", base = 0.02 }"#,
        "-0.02",
        &[],
        r#"
  × train.learning_rate must be at least 0, not -0.02
   ╭─[net.toml:9:17]
 9 │ learning_rate = -0.02
   ·                 ──┬──
   ·                   ╰── must be at least 0
   ╰────
"#,
    );
}

#[test]
fn unknown_schedule() {
    shows(
        r#""cosine""#,
        r#""cosin""#,
        &[],
        r#"
  × unknown train.learning_rate 'cosin'
   ╭─[net.toml:9:30]
 9 │ learning_rate = { schedule = "cosin", base = 0.02 }
   ·                              ───┬───
   ·                                 ╰── did you mean 'cosine'?
   ╰────
  help: known values: const, linear, exp, dexp, step, multistep, poly, inv, sigmoid, cosine
"#,
    );
}

#[test]
fn unknown_key_of_a_schedule() {
    shows(
        "base = 0.02",
        "base = 0.02, power = 2",
        &[],
        r#"
  × unknown key 'power' in train.learning_rate
   ╭─[net.toml:9:53]
 9 │ learning_rate = { schedule = "cosine", base = 0.02, power = 2 }
   ·                                                     ──┬──
   ·                                                       ╰── not a key that is known here
   ╰────
  help: known keys: schedule, base, warmup, end
"#,
    );
}

#[test]
fn missing_key_of_a_schedule() {
    shows(
        ", base = 0.02",
        "",
        &[],
        r#"
  × missing key 'base' in train.learning_rate
   ╭─[net.toml:9:17]
 9 │ learning_rate = { schedule = "cosine" }
   ·                 ───────────┬───────────
   ·                            ╰── this needs 'base'
   ╰────
  help: add base = …
"#,
    );
}

#[test]
fn schedule_with_two_ends() {
    shows(
        r#""cosine", base = 0.02"#,
        r#""exp", base = 1, target = 0.1, target_factor = 10"#,
        &[],
        r#"
  × train.learning_rate: give either target, the rate at the end, or target_factor, base / that rate
   ╭─[net.toml:9:17]
 9 │ learning_rate = { schedule = "exp", base = 1, target = 0.1, target_factor = 10 }
   ·                 ────────────────────────────────────────────────────────────────
   ╰────
"#,
    );
}

#[test]
fn schedule_that_falls_before_it_fell() {
    shows(
        r#""cosine", base = 0.02"#,
        r#""multistep", base = 1, at = [20, 10]"#,
        &[],
        r#"
  × train.learning_rate.at must be ascending numbers of steps
   ╭─[net.toml:9:58]
 9 │ learning_rate = { schedule = "multistep", base = 1, at = [20, 10] }
   ·                                                          ────────
   ╰────
"#,
    );
}

#[test]
fn learning_rate_that_is_no_number() {
    shows(
        r#"{ schedule = "cosine", base = 0.02 }"#,
        "true",
        &[],
        r#"
  × train.learning_rate must be a number or { schedule = …, base = … }, not true
   ╭─[net.toml:9:17]
 9 │ learning_rate = true
   ·                 ──┬─
   ·                   ╰── expected a number or { schedule = …, base = … }
   ╰────
"#,
    );
}

#[test]
fn wrong_scale() {
    shows(
        "augment = { translate = 2 }",
        r#"scale = "sdt""#,
        &[],
        r#"
  × data.scale must be "std" or a number, not the text "sdt"
   ╭─[net.toml:4:9]
 4 │ scale = "sdt"
   ·         ──┬──
   ·           ╰── expected "std" or a number
   ╰────
"#,
    );
}

#[test]
fn synthetic_without_its_source() {
    shows(
        "augment = { translate = 2 }",
        "synthetic = { classes = 3 }",
        &[],
        r#"
  × data.synthetic is given, but the source is 'mnist-10k'
   ╭─[net.toml:4:1]
 4 │ synthetic = { classes = 3 }
   · ─────────────┬─────────────
   ·              ╰── not used
   ╰────
  help: remove it, or use source = "synthetic"
"#,
    );
}

#[test]
fn synthetic_of_no_rows() {
    shows(
        r#"source = "mnist-10k""#,
        "source = \"synthetic\"\nsynthetic = { shape = [0, 28, 1] }",
        &[],
        r#"
  × data.synthetic.shape must be at least 1, not 0
   ╭─[net.toml:4:24]
 4 │ synthetic = { shape = [0, 28, 1] }
   ·                        ┬
   ·                        ╰── must be at least 1
   ╰────
"#,
    );
}

#[test]
fn duplicate_name() {
    shows(
        r#"name = "pool1""#,
        r#"name = "conv1""#,
        &[],
        r#"
  × two layers have the name 'conv1'
    ╭─[net.toml:13:1]
 13 │ name = "conv1"
    · ───────┬──────
    ·        ╰── the first
    ╰────
    ╭─[net.toml:21:1]
 21 │ name = "conv1"
    · ───────┬──────
    ·        ╰── the second
    ╰────
  help: give each layer a name of its own
"#,
    );
}

#[test]
fn nameless_layer() {
    shows(
        "name = \"pool1\"\n",
        "",
        &[],
        r#"
  × missing key 'name'
    ╭─[net.toml:20:1]
 20 │ [[layer]]
    · ────┬────
    ·     ╰── a layer needs 'name'
    ╰────
  help: add name = …
"#,
    );
}

#[test]
fn empty_name() {
    shows(
        r#"name = "pool1""#,
        r#"name = """#,
        &[],
        r#"
  × '' cannot be a layer's name
    ╭─[net.toml:21:1]
 21 │ name = ""
    · ─────────
    ╰────
  help: use 1 to 200 printable characters
"#,
    );
}

#[test]
fn typeless_layer() {
    shows(
        "type = \"pool\"\n",
        "",
        &[],
        r#"
  × layer 'pool1': missing key 'type'
    ╭─[net.toml:21:1]
 21 │ name = "pool1"
    · ───────┬──────
    ·        ╰── a layer needs 'type'
    ╰────
  help: add type = …
"#,
    );
}

#[test]
fn missing_input() {
    shows(
        "outputs = 10",
        r#"inputs = "pol1""#,
        &[],
        r#"
  × layer 'fc1': no layer has the name 'pol1'
    ╭─[net.toml:28:10]
 28 │ inputs = "pol1"
    ·          ───┬──
    ·             ╰── did you mean 'pool1'?
    ╰────
  help: known layers: conv1, pool1, softmax, cost, data, labels
"#,
    );
}

#[test]
fn self_input() {
    shows(
        "outputs = 10",
        r#"inputs = "fc1""#,
        &[],
        r#"
  × layer 'fc1': a layer cannot read itself
    ╭─[net.toml:28:10]
 28 │ inputs = "fc1"
    ·          ──┬──
    ·            ╰── its own name
    ╰────
  help: name another layer
"#,
    );
}

#[test]
fn cycle() {
    shows(
        r#"pool = "max""#,
        "inputs = \"softmax\"\npool = \"max\"",
        &[],
        r#"
  × layers read one another in a circle: 'pool1' reads 'softmax' reads 'fc1' reads 'pool1'
    ╭─[net.toml:23:10]
 23 │ inputs = "softmax"
    ·          ────┬────
    ·              ╰── the circle starts here
    ╰────
  help: let one of them read a layer outside the circle
"#,
    );
}

#[test]
fn inputs_that_are_no_names() {
    shows(
        "outputs = 10",
        r#"inputs = ["pool1", 5]"#,
        &[],
        r#"
  × layer 'fc1': inputs must be a layer's name or an array of names, not 5
    ╭─[net.toml:28:20]
 28 │ inputs = ["pool1", 5]
    ·                    ┬
    ·                    ╰── expected a layer's name
    ╰────
  help: inputs = "conv1" or ["conv1", "conv2"]
"#,
    );
}

#[test]
fn no_inputs() {
    shows(
        "outputs = 10",
        "inputs = []",
        &[],
        r#"
  × layer 'fc1': inputs names no layer
    ╭─[net.toml:28:10]
 28 │ inputs = []
    ·          ─┬
    ·           ╰── expected a layer's name
    ╰────
  help: inputs = "conv1" or ["conv1", "conv2"]
"#,
    );
}

#[test]
fn layer_with_the_images_name() {
    shows(
        r#"name = "conv1""#,
        r#"name = "data""#,
        &[],
        r#"
  × 'data' is the name of the images
    ╭─[net.toml:13:1]
 13 │ name = "data"
    · ─────────────
    ╰────
  help: give the layer another name, or type = "data" and part = "images"
"#,
    );
}

#[test]
fn data_layer_with_inputs() {
    shows(
        "name = \"conv1\"\ntype = \"conv\"",
        "name = \"images\"\ntype = \"data\"\ninputs = \"data\"",
        &[],
        r#"
  × layer 'images': a data layer has no inputs
    ╭─[net.toml:15:10]
 15 │ inputs = "data"
    ·          ──────
    ╰────
  help: remove inputs
"#,
    );
}

#[test]
fn single_brackets() {
    shows(
        "[[layer]]\nname = \"conv1\"\ntype = \"conv\"\nfilters = 20\nsize = 5\nneuron = \"relu\"\ninit = { kind = \"gaussian\", std = 0.01 }\nlearning_rate = { weights = 1.0, bias = 2.0 }\n[[layer]]\nname = \"pool1\"\ntype = \"pool\"\npool = \"max\"\nsize = 2\n[[layer]]\nname = \"fc1\"\ntype = \"fc\"\noutputs = 10\n[[layer]]\nname = \"softmax\"\ntype = \"softmax\"\n[[layer]]\nname = \"cost\"\ntype = \"logistic-regression\"\n",
        "[layer]\nname = \"conv1\"\n",
        &[],
        r#"
  × layer must be an array of tables, not a table
    ╭─[net.toml:12:1]
 12 │ [layer]
    · ───────
    ╰────
  help: start each layer with [[layer]], in double brackets
"#,
    );
}

#[test]
fn no_layers() {
    let shown = read("name = \"lenet\"\n", &[]).unwrap_err().render(false);
    assert_eq!(
        shown.as_str(),
        r#"  × the config has no layers
  help: add some: [[layer]], then name = …, type = … and the type's keys
"#
    );
}

#[test]
fn unquoted_text() {
    shows(
        r#""relu""#,
        "relu",
        &[],
        r#"
  × this is not TOML: text must be in quotes
    ╭─[net.toml:17:10]
 17 │ neuron = relu
    ·          ──┬─
    ·            ╰── here
    ╰────
  help: put text in quotes: neuron = "relu"
"#,
    );
}

#[test]
fn key_given_twice() {
    shows(
        "size = 5",
        "size = 5\nsize = 6",
        &[],
        r#"
  × this is not TOML: duplicate key
    ╭─[net.toml:17:1]
 17 │ size = 6
    · ──┬─
    ·   ╰── here
    ╰────
  help: give each key once; a second layer starts with its own [[layer]]
"#,
    );
}

#[test]
fn unclosed_string() {
    shows(
        r#"type = "pool""#,
        r#"type = "pool"#,
        &[],
        r#"
  × this is not TOML: invalid basic string, expected `"`
    ╭─[net.toml:22:12]
 22 │ type = "pool
    ·            ┬
    ·            ╰── here
    ╰────
"#,
    );
}

#[test]
fn a_date() {
    shows(
        "filters = 20",
        "filters = 1998-11-01",
        &[],
        r#"
  × 'filters' is a date, which no key takes
    ╭─[net.toml:15:11]
 15 │ filters = 1998-11-01
    ·           ─────┬────
    ·                ╰── here
    ╰────
"#,
    );
}

#[test]
fn set_of_a_wrong_value() {
    shows(
        "",
        "",
        &["train.batch=0"],
        r#"
  × train.batch must be at least 1, not 0
   ╭─[command line:1:19]
 1 │ --set train.batch=0
   ·                   ┬
   ·                   ╰── must be at least 1
   ╰────
"#,
    );
}

#[test]
fn set_of_an_unknown_key() {
    shows(
        "",
        "",
        &["train.btach=1"],
        r#"
  × unknown key 'btach' in train
   ╭─[command line:1:13]
 1 │ --set train.btach=1
   ·             ──┬──
   ·               ╰── did you mean 'batch'?
   ╰────
  help: known keys: batch, micro_batch, epochs, steps, seed, momentum, nesterov, weight_decay, l1_decay, clip_norm,
        test_every, log_every, checkpoint_every, keep, monitor_weights, winograd, fuse, tensorboard, precision,
        learning_rate
"#,
    );
}

#[test]
fn set_of_an_unknown_section() {
    shows(
        "",
        "",
        &["trian.batch=1"],
        r#"
  × unknown key 'trian'
   ╭─[command line:1:7]
 1 │ --set trian.batch=1
   ·       ──┬──
   ·         ╰── did you mean 'train'?
   ╰────
  help: known keys: name, data, train, pretrain, layer
"#,
    );
}

#[test]
fn set_of_an_unknown_layer() {
    shows(
        "",
        "",
        &["layer.conv2.filters=1"],
        r#"
  × no layer has the name 'conv2'
   ╭─[command line:1:13]
 1 │ --set layer.conv2.filters=1
   ·             ──┬──
   ·               ╰── did you mean 'conv1'?
   ╰────
  help: known layers: conv1, pool1, fc1, softmax, cost
"#,
    );
}

#[test]
fn set_of_an_unknown_key_of_a_layer() {
    shows(
        "",
        "",
        &["layer.conv1.filtres=1"],
        r#"
  × layer 'conv1': unknown key 'filtres'
   ╭─[command line:1:19]
 1 │ --set layer.conv1.filtres=1
   ·                   ───┬───
   ·                      ╰── did you mean 'filters'?
   ╰────
  help: known keys: filters, size, stride, padding, name, type, inputs, neuron, init, init_bias, learning_rate,
        weight_decay, momentum, max_norm, weight_source, bias_source, gpu
"#,
    );
}

#[test]
fn set_below_a_number() {
    shows(
        "",
        "",
        &["train.batch.x=3"],
        r#"
  × 'train.batch' is 64, not a table that has keys
   ╭─[command line:1:13]
 1 │ --set train.batch.x=3
   ·             ─────
   ╰────
  help: set it as a whole: --set train.batch=… or { … }
"#,
    );
}

#[test]
fn set_without_a_value() {
    shows(
        "",
        "",
        &["train.batch"],
        r#"
  × this is not a path of keys and a value
   ╭─[command line:1:7]
 1 │ --set train.batch
   ·       ─────┬─────
   ·            ╰── expected key=value
   ╰────
  help: for example --set train.batch=128 or --set layer.conv1.filters=32
"#,
    );
}

#[test]
fn set_of_a_layer_without_a_key() {
    shows(
        "",
        "",
        &["layer.conv1=3"],
        r#"
  × layer needs a layer's name and a key
   ╭─[command line:1:7]
 1 │ --set layer.conv1=3
   ·       ─────
   ╰────
  help: for example --set layer.conv1.filters=32
"#,
    );
}

/// The example of STYLE.md: an error that is found later, about a key of a layer.
#[test]
fn shapes_that_do_not_fit() {
    let text = "[[layer]]\nname = \"conv2\"\ntype = \"conv\"\nfilters = 8\nsize = 7\n";
    let spec = super::good(text, &[]);
    let layer = &spec.layers[0];
    let message = "the 7×7 filter does not fit its 5×5 input";
    let error = spec.layer_error(layer, "size", message, "input is 5×5×64 from 'pool1'", "use size ≤ 5, or padding ≥ 1");
    assert_eq!(
        error.render(false),
        r#"  × layer 'conv2': the 7×7 filter does not fit its 5×5 input
   ╭─[net.toml:5:1]
 5 │ size = 7
   · ────┬───
   ·     ╰── input is 5×5×64 from 'pool1'
   ╰────
  help: use size ≤ 5, or padding ≥ 1
"#
    );
    assert_eq!((error.layer(), error.location()), (Some("conv2"), Some(("net.toml", 5, 1))));
    let absent = spec.layer_error(layer, "stride", "x", "y", "z");
    assert_eq!(absent.location(), Some(("net.toml", 3, 1)), "an error about a key that is not there points at the type");
}
