//! Parameters: held to norms, shared, started from files and from other runs.

mod common;

use common::{Ended, Folder, SMALL, close, f64_device, setup};
use convnet::data::Loader;
use convnet::device::{StepValues, Tensor};
use convnet::layer::Phase;
use convnet::net::{BatchBytes, Net, Plan, Purpose, UpdateRule};
use convnet::op::Write;
use convnet::train::checkpoint::Checkpoint;
use std::collections::BTreeMap;

const RULE: UpdateRule =
    UpdateRule { weight_decay: 0.01, l1_decay: 0.0, nesterov: false, clip_norm: None, step: 0, total_steps: 10 };

/// SMALL after its first pass, with changes, and its parameters and gradients.
fn passed(sets: &[&str]) -> (Net, Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let setup = setup(SMALL, sets);
    let mut net = setup.net(32, f64_device(), Purpose::Train).unwrap();
    net.initialise(7).unwrap();
    pass(&mut net, &mut Loader::test(setup.data.train.clone(), 32).unwrap());
    let parameters = read_all(&mut net, |p| p.kept.parameters.clone());
    let gradients = read_all(&mut net, |p| p.kept.gradients.iter().flatten().copied().collect());
    assert_eq!(parameters.len(), gradients.len());
    (net, parameters, gradients)
}

/// Tensors of a plan as numbers.
fn read_all(net: &mut Net, which: impl Fn(&Plan) -> Vec<Tensor>) -> Vec<Vec<f64>> {
    which(&net.plan).into_iter().map(|t| net.read(t).unwrap()).collect()
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

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// All gradients together are scaled to the norm where they are longer, and are what they were where they are not; the decay
/// is not scaled (Pascanu et al. 2013; torch's clip_grad_norm_).
#[test]
fn gradients_are_clipped_by_their_common_norm() {
    let (mut net, before, gradients) = passed(&[]);
    let whole = norm(&gradients.concat());
    assert!(whole > 0.01, "gradients of norm {whole}");
    net.update(&UpdateRule { clip_norm: Some(whole / 3.0), ..RULE }).unwrap();
    let step = |(w, g): (&f64, &f64)| w - 0.1 * (g / 3.0 + 0.01 * w);
    let wanted: Vec<f64> = before.concat().iter().zip(&gradients.concat()).map(step).collect();
    close(&read_all(&mut net, |p| p.kept.parameters.clone()).concat(), &wanted, 1e-13);

    let [plain, clipped] = [None, Some(whole * 1.001)].map(|clip_norm| {
        let (mut net, ..) = passed(&[]);
        net.update(&UpdateRule { clip_norm, ..RULE }).unwrap();
        read_all(&mut net, |p| p.kept.parameters.clone())
    });
    assert_eq!(plain, clipped, "a norm that is not reached changes no bit");
}

/// `max_norm` scales those filters and rows of weights that an update leaves too long, and nothing else.
#[test]
fn weights_are_held_to_a_norm_after_each_update() {
    let (mut free, ..) = passed(&[]);
    free.update(&RULE).unwrap();
    let free = read_all(&mut free, |p| p.kept.parameters.clone());
    let norms = |weights: &[f64], rows: usize| weights.chunks(weights.len() / rows).map(norm).collect::<Vec<f64>>();
    // Between the rows' norms: some are too long, some are not.
    let limits = [(&free[0], 4), (&free[2], 10)].map(|(weights, rows)| {
        let mut norms = norms(weights, rows);
        norms.sort_by(f64::total_cmp);
        (norms[rows / 2 - 1] + norms[rows / 2]) / 2.0
    });
    let sets = [format!("layer.conv1.max_norm={}", limits[0]), format!("layer.fc1.max_norm={}", limits[1])];
    let (mut held, ..) = passed(&sets.each_ref().map(String::as_str));
    held.update(&RULE).unwrap();
    let held = read_all(&mut held, |p| p.kept.parameters.clone());
    for (i, rows, limit) in [(0, 4, limits[0]), (2, 10, limits[1])] {
        let size = free[i].len() / rows;
        for (was, is) in free[i].chunks(size).zip(held[i].chunks(size)) {
            let scale = (limit / norm(was)).min(1.0);
            close(is, &was.iter().map(|w| w * scale).collect::<Vec<_>>(), 1e-14);
        }
        let long = norms(&held[i], rows).into_iter().filter(|n| (n - limit).abs() < 1e-12).count();
        assert_eq!(long, rows / 2, "of parameter {i}");
    }
    assert!(held[1] == free[1] && held[3] == free[3], "biases are free");
}

/// Starts the layer fc1 of SMALL, 144 inputs, in a folder that has these files.
fn started(files: &[(&str, Vec<u8>)], init: &str) -> Ended {
    let folder = Folder::new(SMALL);
    for (name, bytes) in files {
        std::fs::write(folder.path(name), bytes).unwrap();
    }
    folder.train(&["--set", &format!("layer.fc1.init={init}"), "--epochs", "0.05"])
}

/// A .npy file of f32 as NumPy writes it.
fn npy(shape: &str, values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values.into_iter().flat_map(f32::to_le_bytes));
    out
}

/// A .safetensors file with one tensor `a.w` of f64.
fn safetensors(values: &[f64]) -> Vec<u8> {
    let header = format!(r#"{{"a.w":{{"dtype":"F64","shape":[{}],"data_offsets":[0,{}]}}}}"#, values.len(), values.len() * 8);
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// The values of a file are the parameter's, in their order, whichever the format.
#[test]
fn weights_start_from_files() {
    let values: Vec<f64> = (0..10 * 144).map(|i| f64::from(i % 97) / 64.0 - 0.5).collect();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let array = write("w.npy", npy("(10, 4, 4, 9)", values.iter().map(|&v| v as f32)));
    let tensor = write("w.safetensors", safetensors(&values));
    let bias = write("b.npy", npy("(10,)", (0..10).map(|i| i as f32)));
    for init in [
        format!("{{ kind = \"file\", path = {array:?} }}"),
        format!("{{ kind = \"file\", path = {tensor:?}, tensor = \"a.w\" }}"),
    ] {
        let sets = [format!("layer.fc1.init={init}"), format!("layer.fc1.init_bias={{ kind = \"file\", path = {bias:?} }}")];
        let setup = setup(SMALL, &sets.each_ref().map(String::as_str));
        let mut net = setup.net(32, f64_device(), Purpose::Train).unwrap();
        setup.initialise(&mut net).unwrap();
        let parameters = read_all(&mut net, |p| p.kept.parameters.clone());
        assert_eq!(parameters[2], values, "{init}");
        assert_eq!(parameters[3], (0..10).map(f64::from).collect::<Vec<_>>());
    }
}

/// What a file lacks is told with the layer, the file and the place in the config, and the status of a wrong config.
#[test]
fn files_that_do_not_fit_are_errors() {
    let array = |shape: &str, n: usize| [("w.npy", npy(shape, vec![0.5; n]))];
    let here = "{ kind = \"file\", path = \"w.npy\" }";
    started(&array("(10, 144)", 1440), here).ended(0);
    started(&array("(10, 143)", 1430), here).failed(2, &["layer 'fc1'", "weights", "'w.npy'", "1430 values, 1440", "init"]);
    started(&array("(10, 144)", 1439), here).failed(2, &["layer 'fc1'", "'w.npy'", "5756 bytes", "(10, 144)"]);
    started(&[], here).failed(2, &["layer 'fc1'", "'w.npy'", "No such file"]);
    started(&[("w.npy", vec![0xff; 3000])], here).failed(2, &["'w.npy'", "no .npy file"]);
    let mut with_nan = vec![0.5; 1440];
    with_nan[7] = f32::NAN;
    started(&[("w.npy", npy("(1440,)", with_nan))], here).failed(2, &["'w.npy'", "number 7 is NaN"]);

    let tensor = |name: &str| format!("{{ kind = \"file\", path = \"w.safetensors\", tensor = {name:?} }}");
    let file = safetensors(&[0.5; 1440]);
    started(&[("w.safetensors", file.clone())], &tensor("a.w")).ended(0);
    started(&[("w.safetensors", file.clone())], &tensor("b")).failed(2, &["no tensor 'b'; it has a.w"]);
    for end in [0, 7, 8, 20, file.len() - 1] {
        started(&[("w.safetensors", file[..end].to_vec())], &tensor("a.w")).failed(2, &["layer 'fc1'", "'w.safetensors'"]);
    }
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    started(&[("w.safetensors", endless)], &tensor("a.w")).failed(2, &["layer 'fc1'", "'w.safetensors'"]);

    for (init, word) in [
        ("{ kind = \"file\", path = \"w.txt\" }", ".npy or .safetensors"),
        ("{ kind = \"file\", path = \"w.npy\", tensor = \"a\" }", "leave tensor out"),
        ("{ kind = \"file\", path = \"w.safetensors\" }", "which tensor"),
        ("{ kind = \"file\" }", "path"),
    ] {
        started(&[], init).failed(2, &["layer 'fc1'", word]);
    }
}

/// SMALL with more layers before its softmax.
fn with_layers(layers: &str) -> String {
    SMALL.replace("[[layer]]\nname = \"probabilities\"", &format!("{layers}\n[[layer]]\nname = \"probabilities\""))
}

/// The tensors of a run's checkpoint, by name.
fn checkpoint(folder: &Folder, run: &str, step: u64) -> BTreeMap<String, Vec<f32>> {
    let found = Checkpoint::load(&folder.path(&format!("{run}/checkpoints/step-{step}")), false).unwrap();
    found.weights.into_iter().map(|t| (t.name, t.values)).collect()
}

/// The loss of a run's checkpoint on its test set.
fn loss(folder: &Folder, run: &str, step: u64) -> f64 {
    let said = folder.convnet(&["test", run, "--checkpoint", &step.to_string(), "--json", "--device", "cpu"]).ended(0);
    serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap()["loss"].as_f64().unwrap()
}

/// A new run starts with another's parameters; what is not there, or of another size, is told and starts as it would.
#[test]
fn a_run_starts_from_another() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let trained = checkpoint(&folder, "run", 20);
    let train = |config: &str, out: &str, more: &[&str]| {
        std::fs::write(folder.path("net.toml"), config).unwrap();
        folder.convnet(&[&["train", "net.toml", "--out", out, "--device", "cpu", "--epochs", "0.05"], more].concat())
    };
    train(SMALL, "again", &["--init-from", "run", "--seed", "9"]).ended(0);
    assert_eq!(checkpoint(&folder, "again", 0), trained);

    let other = with_layers("[[layer]]\nname = \"fc2\"\ntype = \"fc\"\noutputs = 10")
        .replace("name = \"fc1\"\ntype = \"fc\"\noutputs = 10", "name = \"fc1\"\ntype = \"fc\"\noutputs = 12");
    let said = train(&other, "more", &["--init-from", "run/checkpoints/step-20"]).ended(0).stderr;
    assert!(said.contains("started with 2 parameters of run/checkpoints/step-20, step 20"), "{said}");
    let missing = "fc1.weights (1728 values, 1440 there), fc1.bias (12 values, 10 there), fc2.weights, fc2.bias";
    assert!(said.contains(missing), "{said}");
    train(&other, "plain", &[]).ended(0);
    let (more, plain) = (checkpoint(&folder, "more", 0), checkpoint(&folder, "plain", 0));
    for (name, values) in &more {
        let from = if name.starts_with("conv1") { &trained } else { &plain };
        assert!(name == "data.mean" || *values == from[name], "{name}");
    }

    train(SMALL, "none", &["--init-from", "nowhere"]).failed(1, &["nowhere", "is no folder"]);
    let strange = SMALL.replace("\"conv1\"", "\"a\"").replace("\"fc1\"", "\"b\"");
    train(&strange, "none", &["--init-from", "run"]).failed(2, &["no parameter of run fits", "a.weights"]);
}

/// `--conv-to-local` keeps what the net computes: every place of the layer, and of those that share its filters, has the
/// convolution's filters and biases, from a run or drawn (cuda-convnet's conv_to_local).
#[test]
fn a_convolution_becomes_local() {
    let twin = r#"
[[layer]]
name = "twin"
type = "conv"
inputs = ["data"]
filters = 4
size = 5
stride = 2
bias = "shared"
weight_source = "conv1"
[[layer]]
name = "both"
type = "fc"
inputs = ["fc1", "twin"]
outputs = 10"#;
    let folder = Folder::new(&with_layers(twin));
    folder.train(&["--epochs", "0.5"]).ended(0);
    let local = |out: &str, more: &[&str]| {
        let arguments = ["train", "net.toml", "--out", out, "--device", "cpu", "--epochs", "0.5", "--conv-to-local", "twin"];
        folder.convnet(&[&arguments, more].concat()).ended(0).stderr
    };
    let said = local("local", &["--init-from", "run"]);
    assert!(said.contains("copied to each place: conv1.weights, conv1.bias, twin.bias"), "{said}");
    local("drawn", &[]);
    for (out, step) in [("local", 10), ("drawn", 0)] {
        let (was, is) = (checkpoint(&folder, "run", step), checkpoint(&folder, out, 0));
        for (name, values) in &is {
            let times = if name.starts_with("conv1") || name.starts_with("twin") { 12 * 12 } else { 1 };
            assert_eq!(*values, was[name].repeat(times), "{name} of {out}");
        }
        assert!(is.len() == was.len() && !is.contains_key("twin.weights"));
        close(&[loss(&folder, out, 0)], &[loss(&folder, "run", step)], 1e-6);
    }
    let trained = checkpoint(&folder, "local", 10);
    let places = || trained["conv1.weights"].chunks(4 * 25);
    assert!(places().any(|place| place != places().next().unwrap()), "places learn apart");

    for (layer, word) in [("conv9", "conv9"), ("fc1", "of type fc")] {
        folder.train(&["--conv-to-local", layer]).failed(2, &[word]);
    }
}

/// `--unshare-weights` gives a layer, or one of its inputs, a copy that then learns by itself (cuda-convnet's
/// unshare_weights).
#[test]
fn shared_weights_become_a_layers_own() {
    let layers = r#"
[[layer]]
name = "b"
type = "fc"
outputs = 10
[[layer]]
name = "c"
type = "fc"
inputs = ["fc1", "b"]
outputs = 10
weight_source = ["b", "b"]
bias_source = "b""#;
    let folder = Folder::new(&with_layers(layers));
    folder.train(&["--epochs", "0.5"]).ended(0);
    let was = checkpoint(&folder, "run", 10);
    let start = |out: &str, which: &str| {
        let more = ["--init-from", "run", "--unshare-weights", which];
        let arguments = ["train", "net.toml", "--out", out, "--device", "cpu", "--epochs", "0.5"];
        let said = folder.convnet(&[&arguments[..], &more].concat()).ended(0).stderr;
        (checkpoint(&folder, out, 0), checkpoint(&folder, out, 10), said)
    };
    let (begun, ended, _) = start("one", "c[1]");
    assert_eq!(begun["c.weights1"], was["b.weights"]);
    assert!(!begun.contains_key("c.weights") && !begun.contains_key("c.bias"));
    assert_ne!(ended["c.weights1"], ended["b.weights"]);
    let (begun, ended, _) = start("all", "c");
    for (own, shared) in [("c.weights", "b.weights"), ("c.weights1", "b.weights"), ("c.bias", "b.bias")] {
        assert_eq!(begun[own], was[shared]);
        assert_ne!(ended[own], ended[shared]);
    }
    close(&[loss(&folder, "one", 0), loss(&folder, "all", 0)], &[loss(&folder, "run", 10); 2], 1e-6);
    let (begun, _, said) = start("none", "b");
    assert!(said.contains("'b' has weights of its own already") && begun == was, "{said}");

    for (which, word) in [("d", "'d'"), ("c[2]", "has 2 inputs"), ("c[x]", "a number")] {
        folder.train(&["--unshare-weights", which]).failed(2, &[word]);
    }
}

/// A net of these layers on SMALL's data, and its parameters' names.
fn net_of(layers: &str) -> (Net, Loader, Vec<String>) {
    let head = SMALL.split("[[layer]]").next().unwrap();
    let setup = setup(&format!("{layers}\n{head}"), &[]);
    let mut net = setup.net(32, f64_device(), Purpose::Train).unwrap();
    net.initialise(7).unwrap();
    let names = net.graph.parameters.iter().map(|p| p.name.clone()).collect();
    (net, Loader::test(setup.data.train.clone(), 32).unwrap(), names)
}

/// What the parameters of a net start with.
fn initial(layers: &str) -> BTreeMap<String, Vec<f64>> {
    let (mut net, _, names) = net_of(layers);
    names.into_iter().zip(read_all(&mut net, |p| p.kept.parameters.clone())).collect()
}

/// The gradients of a net by their parameters' names, its parameters being `start`'s.
fn gradients(layers: &str, start: &BTreeMap<String, Vec<f64>>) -> BTreeMap<String, Vec<f64>> {
    let (mut net, mut loader, names) = net_of(layers);
    for (i, name) in names.iter().enumerate() {
        net.write(net.plan.kept.parameters[i], &start[name]).unwrap();
    }
    pass(&mut net, &mut loader);
    names.into_iter().zip(read_all(&mut net, |p| p.kept.gradients.iter().flatten().copied().collect())).collect()
}

/// Two towers that share all weights see an image and its mirror image: the gradients are the sums of those of two towers
/// with equal weights of their own (Bromley et al. 1993).
#[test]
fn a_siamese_pair_adds_up_both_towers_gradients() {
    let net = |sharing: [&str; 2]| {
        format!(
            r#"
            layer = [
            {{ name = "conv", type = "conv", filters = 4, size = 5, stride = 3, neuron = "tanh" }},
            {{ name = "fc", type = "fc", outputs = 6, neuron = "tanh" }},
            {{ name = "mirror", type = "reflect", inputs = "data" }},
            {{ name = "conv2", type = "conv", filters = 4, size = 5, stride = 3, neuron = "tanh" {} }},
            {{ name = "fc2", type = "fc", outputs = 6, neuron = "tanh" {} }},
            {{ name = "alike", type = "sum-of-squares", inputs = ["fc", "fc2"] }},
            {{ name = "small", type = "sum-of-squares", inputs = "fc", coefficient = 0.1 }},
            ]"#,
            sharing[0], sharing[1]
        )
    };
    let shared = net([r#", weight_source = "conv", bias_source = "conv""#, r#", weight_source = "fc", bias_source = "fc""#]);
    let start = initial(&shared);
    let mut copies = start.clone();
    copies.extend(start.iter().map(|(name, values)| (name.replace('.', "2."), values.clone())));
    let (pair, apart) = (gradients(&shared, &start), gradients(&net(["", ""]), &copies));
    assert_eq!((pair.len(), apart.len()), (4, 8));
    for (name, sum) in &pair {
        let other = name.replace('.', "2.");
        let expected: Vec<f64> = apart[name].iter().zip(&apart[&other]).map(|(a, b)| a + b).collect();
        assert!(apart[&other].iter().any(|g| g.abs() > 1e-6), "{other} has a gradient");
        close(sum, &expected, 1e-13);
    }
}

/// A recurrent layer unrolled over three steps, with one set of input, recurrent and bias weights: the gradients are the sums
/// over the steps of a net that has copies (backpropagation through time).
#[test]
fn an_unrolled_recurrent_layer_adds_up_its_steps_gradients() {
    let net = |sharing: &str| {
        format!(
            r#"
            layer = [
            {{ name = "x", type = "fc", outputs = 5, neuron = "tanh" }},
            {{ name = "y", type = "fc", outputs = 5, neuron = "tanh", inputs = "data" }},
            {{ name = "step", type = "fc", outputs = 5, neuron = "tanh", inputs = ["x", "y"] }},
            {{ name = "step2", type = "fc", outputs = 5, neuron = "tanh", inputs = ["y", "step"] {sharing} }},
            {{ name = "step3", type = "fc", outputs = 5, neuron = "tanh", inputs = ["x", "step2"] {sharing} }},
            {{ name = "cost", type = "sum-of-squares", inputs = "step3" }},
            ]"#
        )
    };
    let shared = net(r#", weight_source = ["step", "step[1]"], bias_source = "step""#);
    let start = initial(&shared);
    let mut copies = start.clone();
    for step in ["step2.", "step3."] {
        copies.extend(start.iter().map(|(name, values)| (name.replace("step.", step), values.clone())));
    }
    let (rolled, unrolled) = (gradients(&shared, &start), gradients(&net(""), &copies));
    assert_eq!((rolled.len(), unrolled.len()), (7, 13));
    for name in ["step.weights", "step.weights1", "step.bias"] {
        let [a, b, c] = ["step.", "step2.", "step3."].map(|step| &unrolled[&name.replace("step.", step)]);
        let expected: Vec<f64> = (0..a.len()).map(|i| a[i] + b[i] + c[i]).collect();
        assert!([a, b, c].iter().all(|g| g.iter().any(|g| g.abs() > 1e-6)), "every step has a gradient of {name}");
        close(&rolled[name], &expected, 1e-13);
    }
    for name in ["x.weights", "y.weights", "x.bias", "y.bias"] {
        close(&rolled[name], &unrolled[name], 1e-13);
    }
}
