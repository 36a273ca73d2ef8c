//! Parameters: held to norms, shared, started from files and from other runs.

mod common;

use common::{Ended, Folder, SMALL, close, f64_device, setup};
use convnet::data::Loader;
use convnet::device::{Into, StepValues, Tensor};
use convnet::layer::Phase;
use convnet::net::{BatchBytes, Net, Plan, Purpose, UpdateRule};

const RULE: UpdateRule =
    UpdateRule { weight_decay: 0.01, l1_decay: 0.0, nesterov: false, clip_norm: None, step: 0, total_steps: 10 };

/// SMALL after its first pass, with changes, and its parameters and gradients.
fn passed(sets: &[&str]) -> (Net, Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let setup = setup(SMALL, sets);
    let mut net = setup.net(32, f64_device(), Purpose::Train).unwrap();
    net.initialise(7).unwrap();
    pass(&mut net, &mut Loader::test(setup.data.train.clone(), 32).unwrap());
    let parameters = read_all(&mut net, |p| p.parameters.clone());
    let gradients = read_all(&mut net, |p| p.gradients.iter().flatten().copied().collect());
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
    net.feed(BatchBytes { images: &b.images, places: &b.places, labels: &b.labels }).unwrap();
    let (images, gradient_scale) = (b.count as u32, 1.0 / b.count as f64);
    let step = StepValues { seed: 1, step: 0, first_image: 0, images, gradient_scale, learning_rate: 0.1, momentum: 0.9 };
    net.set_step(step).unwrap();
    net.forward(Phase::Train).unwrap();
    net.backward(Into::Set).unwrap();
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
    close(&read_all(&mut net, |p| p.parameters.clone()).concat(), &wanted, 1e-13);

    let [plain, clipped] = [None, Some(whole * 1.001)].map(|clip_norm| {
        let (mut net, ..) = passed(&[]);
        net.update(&UpdateRule { clip_norm, ..RULE }).unwrap();
        read_all(&mut net, |p| p.parameters.clone())
    });
    assert_eq!(plain, clipped, "a norm that is not reached changes no bit");
}

/// `max_norm` scales those filters and rows of weights that an update leaves too long, and nothing else.
#[test]
fn weights_are_held_to_a_norm_after_each_update() {
    let (mut free, ..) = passed(&[]);
    free.update(&RULE).unwrap();
    let free = read_all(&mut free, |p| p.parameters.clone());
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
    let held = read_all(&mut held, |p| p.parameters.clone());
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
        let parameters = read_all(&mut net, |p| p.parameters.clone());
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
