//! Files that are cut short, too long, of another net or no weights at all: one message, no run.

use super::{Folder, TORCH, file, import};
use std::fs;

/// A file and its config, changed, and what the message says.
fn refused(name: &str, config: &str, sets: &[&str], change: impl Fn(&mut Vec<u8>), parts: &[&str]) {
    let folder = Folder::new("");
    let mut bytes = fs::read(file(name)).unwrap();
    change(&mut bytes);
    fs::write(folder.path(name), bytes).unwrap();
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    import(&folder, &[&[name, &file(config), "--mean", "none"], &sets[..]].concat()).failed(1, parts);
    assert!(!folder.path("run").exists());
}

const SAME: fn(&mut Vec<u8>) = |_| {};

#[test]
fn another_net_s_weights_are_refused_by_layer_and_tensor() {
    refused(
        "tiny.safetensors",
        "tiny.toml",
        &["layer.conv2.filters=10", "layer.conv2.groups=2"],
        SAME,
        &["tiny.safetensors", "'conv2'", "10×3×3×3", "'features.4.weight'", "8×3×3×3"],
    );
    refused("tiny.safetensors", "tiny.toml", &["layer.conv1.bias=\"shared\""], SAME, &["'conv1' has bias", "'features.0'"]);
    refused("tiny.safetensors", "tiny.toml", &["layer.conv2.bias=\"none\""], SAME, &["'features.4' has a bias", "'conv2'"]);
    refused("tiny.caffemodel", "tiny.prototxt", &["layer.fc3.outputs=9"], SAME, &["'fc3'", "9×240", "blob 0 of fc3", "8×240"]);
    refused("tiny.weights", "tiny.cfg", &["layer.conv2.filters=10"], SAME, &["tiny.weights", "numbers", "parameters"]);
}

#[test]
fn files_cut_short_or_with_more_behind_are_refused() {
    for (name, config) in [("tiny.safetensors", "tiny.toml"), ("tiny.caffemodel", "tiny.prototxt"), ("tiny.weights", "tiny.cfg")]
    {
        for length in [0, 7, 1000] {
            refused(name, config, &[], |b| b.truncate(length), &["cannot import", name]);
        }
        refused(name, config, &[], |b| b.truncate(b.len() - 1), &["cannot import", name]);
        refused(name, config, &[], |b| b.push(7), &["cannot import", name]);
    }
}

/// Not a number among the weights.
#[test]
fn numbers_that_are_none_are_refused() {
    let nan = |b: &mut Vec<u8>| {
        let end = b.len();
        b[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    refused("tiny.weights", "tiny.cfg", &[], nan, &["layer '", "is NaN"]);
    refused("tiny.safetensors", "tiny.toml", &[], nan, &["layer '", "is NaN"]);
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let folder = Folder::new("");
    let (weights, config) = (file("tiny.safetensors"), file("tiny.toml"));
    for (more, status, parts) in [
        (&["--mean", "1,2"][..], 2, &["--mean 1,2", "3 channels"][..]),
        (&["--mean", "none", "--std", "1,2"], 2, &["--std", "3 channels"]),
        (&["--mean", "there-is-none.npy"], 2, &["there-is-none.npy"]),
        (&["--mean", &weights], 2, &["--mean", "mean"]),
        (&["--mean", "none", "--classes", &config], 1, &["lines", "5 classes"]),
    ] {
        import(&folder, &[&[weights.as_str(), &config], more].concat()).failed(status, parts);
        assert!(!folder.path("run").exists(), "{more:?}");
    }
    folder.convnet(&["import", &config, &config, "--out", "run"]).failed(2, &["tiny.toml", ".caffemodel"]);
    import(&folder, &[&[weights.as_str(), &config], &TORCH[..]].concat()).ended(0);
    import(&folder, &[&[weights.as_str(), &config], &TORCH[..]].concat()).failed(1, &["run is there already"]);
}
