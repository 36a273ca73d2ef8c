//! `convnet bench`: what it prints, what it compares, what it draws.

mod common;

use common::{Ended, Folder, classifier};
use serde_json::Value;
use std::fs;

/// A net of one of each: a convolution with a neuron, a pool, a batch normalisation, a fully connected layer, and a cost.
const NET: &str = classifier!(
    r#"
name = "tiny"
[data]
source = "synthetic"
synthetic = { shape = [16, 16, 3], classes = 4, train_images = 16, test_images = 8 }
[train]
batch = 4
[[layer]]
name = "conv1"
type = "conv"
filters = 8
size = 3
[[layer]]
name = "bn1"
type = "batch-norm"
neuron = "relu"
[[layer]]
name = "conv2"
type = "conv"
filters = 8
size = 3
neuron = "relu"
[[layer]]
name = "pool2"
type = "pool"
pool = "max"
size = 2
stride = 2
[[layer]]
name = "fc1"
type = "fc"
outputs = 4
"#
);

fn folder() -> Folder {
    Folder::new(NET)
}

fn bench(folder: &Folder, more: &[&str]) -> Ended {
    folder.convnet(&[&["bench", "--device", "cpu", "--threads", "1", "--repeats", "2"], more].concat())
}

fn json(ended: Ended) -> Value {
    let ended = ended.ended(0);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

/// DESIGN.md, section 5, names the keys; every time is a time, and no pass is said to be impossibly slow or free.
#[test]
fn the_document_has_every_layer_and_pass() {
    let folder = folder();
    let t = json(bench(&folder, &["net.toml", "--json"]));
    assert_eq!((t["name"].as_str(), t["batch"].as_u64(), t["parameters"].as_u64()), (Some("tiny"), Some(4), Some(1980)), "{t:#}");
    assert!(t["device"].as_str().unwrap().starts_with("cpu (1 thread"), "{}", t["device"]);
    for key in ["step_ms", "step_min_ms", "forward_ms", "images_per_second", "peak_bytes", "gflops", "floor_ms", "share_of_peak"]
    {
        assert!(t[key].as_f64().is_some_and(|v| v > 0.0 && v < 1e15), "{key}: {}", t[key]);
    }
    for key in ["gflops", "product_size", "gigabytes_per_second"] {
        assert!(t["peaks"][key].as_f64().is_some_and(|v| v > 0.0), "{key}: {}", t["peaks"]);
    }
    assert_eq!(t["peaks"]["precision"], "f32", "the CPU's");
    let rows: Vec<(&str, &str)> = t["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap();
            let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"));
            if text("pass") != "rest" {
                assert!(number("ms") > 0.0 && number("min_ms") <= number("ms") && number("spread") >= 0.0, "{row}");
                assert!(number("bytes") > 0.0 || number("floor_ms") == 0.0, "{row}");
                let expected = number("floor_ms") / number("ms");
                assert!((number("share_of_peak") - expected).abs() < 1e-9 && number("gflops") >= 0.0, "{row}");
            }
            (text("name"), text("pass"))
        })
        .collect();
    let passes = |layer: &str| rows.iter().filter(|r| r.0 == layer).map(|r| r.1).collect::<Vec<_>>();
    assert_eq!(passes("all"), ["load", "rest"]);
    // The images need no gradient.
    assert_eq!(passes("conv1"), ["forward", "weight gradient", "update"]);
    assert_eq!(passes("bn1"), ["forward", "gradients", "update"]);
    assert_eq!(passes("conv2"), ["forward", "weight gradient", "image gradient", "update"]);
    assert!(passes("conv2.neuron").is_empty(), "the pool's backward pass computes its gradient");
    assert_eq!(passes("fc1"), passes("conv2"));
    // 2 · 4 images · 12·12 places · 8 filters · 72 multiply-adds.
    let conv2 = t["layers"].as_array().unwrap().iter().find(|r| r["name"] == "conv2").unwrap();
    assert_eq!(conv2["operations"].as_u64(), Some(2 * 4 * 144 * 8 * 72));
    // x, w, b and y of 4 bytes each.
    assert_eq!(conv2["bytes"].as_u64(), Some(4 * (4 * 196 * 8 + 576 + 8 + 4 * 144 * 8)));
}

#[test]
fn the_step_alone_takes_no_peaks_and_the_batch_is_the_arguments() {
    let t = json(bench(&folder(), &["net.toml", "--json", "--step-only", "--batch", "2"]));
    assert_eq!(t["batch"].as_u64(), Some(2));
    assert!(t["layers"].as_array().unwrap().is_empty() && t.get("peaks").is_none(), "{t:#}");
}

/// A baseline that took twice the time lets this run pass, one of a hundredth does not; JSON says by how much.
#[test]
fn what_is_slower_than_the_baseline_fails() {
    let folder = folder();
    let now = json(bench(&folder, &["net.toml", "--json", "--step-only"]));
    let scaled = |factor: f64| {
        let mut then = now.clone();
        for key in ["step_ms", "forward_ms"] {
            then[key] = (now[key].as_f64().unwrap() * factor).into();
        }
        fs::write(folder.path("then.json"), then.to_string()).unwrap();
    };
    let compared = ["net.toml", "--step-only", "--baseline", "then.json"];
    scaled(100.0);
    bench(&folder, &compared).ended(0);
    scaled(0.01);
    let slow = bench(&folder, &compared).ended(1);
    assert!(slow.stdout.contains("beside the baseline") && slow.stdout.contains("slower"), "{}", slow.stdout);
    let slow = bench(&folder, &[&compared as &[&str], &["--json"]].concat()).ended(1);
    let slow: Value = serde_json::from_str(&slow.stdout).unwrap();
    let step = &slow["comparison"]["changes"][0];
    assert!(step["pass"] == "step" && step["slower"] == true && step["ratio"].as_f64().unwrap() > 2.0, "{slow:#}");
    bench(&folder, &[&compared as &[&str], &["--threshold", "1e6"]].concat()).ended(0);
}

#[test]
fn single_layers_and_suites_go_by_name() {
    let folder = folder();
    let t = json(bench(&folder, &["L5", "--batch", "1", "--json", "--step-only"]));
    assert_eq!((t["name"].as_str(), t["parameters"].as_u64()), (Some("L5"), Some(384 * 9 * 384 + 384)));
    let t = json(bench(&folder, &["softmax", "--batch", "2", "--json"]));
    let passes: Vec<&str> = t["layers"].as_array().unwrap().iter().map(|r| r["pass"].as_str().unwrap()).collect();
    assert_eq!(passes, ["forward", "image gradient", "rest"]);
    let t = json(bench(&folder, &["kernels", "--batch", "1", "--warm-up", "1", "--step-only", "--json"]));
    assert_eq!((t["suite"].as_str(), t["nets"].as_array().unwrap().len()), (Some("kernels"), 16), "{t:#}");
    assert!(t["failed"].as_array().unwrap().is_empty());
}

#[test]
fn the_loader_is_timed_alone() {
    let t = json(bench(&folder(), &["net.toml", "--loader", "--json"]));
    assert_eq!((t["batch"].as_u64(), t["batches"].as_u64()), (Some(4), Some(2)), "{t:#}");
    let [rate, ms] = ["images_per_second", "ms"].map(|key| t[key].as_f64().unwrap());
    assert!(rate > 0.0 && ms > 0.0, "{t:#}");
    bench(&folder(), &["kernels", "--loader"]).failed(2, &["--loader is for a config"]);
    bench(&folder(), &["net.toml", "--loader", "--step-only"]).failed(2, &["--loader", "--step-only"]);
}

#[test]
fn wrong_arguments_are_told() {
    let folder = folder();
    bench(&folder, &["kernel"]).failed(2, &["'kernel'", "no config file, suite", "convnet-benchmarks, kernels", "L5", "vgg-a"]);
    bench(&folder, &["there/is/none.toml"]).failed(2, &["none.toml"]);
    bench(&folder, &["net.toml", "--roofline", "roof.gif"]).failed(2, &["roof.gif", ".png or .svg"]);
    bench(&folder, &["net.toml", "--baseline", "none.json"]).failed(1, &["none.json"]);
    bench(&folder, &["net.toml", "--baseline", "net.toml"]).failed(2, &["net.toml", "no output of `convnet bench --json`"]);
    bench(&folder, &["L1", "--data", "mnist-10k"]).failed(2, &["--data is for a config"]);
    bench(&folder, &["net.toml", "--threshold", "0"]).failed(2, &["--threshold"]);
}

/// A PNG with the colours of the passes, and an SVG with the names of layers in it as text.
#[test]
fn the_roofline_is_a_picture() {
    let folder = folder();
    let drawn = bench(&folder, &["net.toml", "--roofline", "roof.png"]).ended(0);
    assert!(drawn.stdout.ends_with("roof.png\n"), "{}", drawn.stdout);
    let picture = image::open(folder.path("roof.png")).unwrap().to_rgb8();
    for colour in [[31, 119, 180], [217, 83, 25], [44, 140, 60]] {
        assert!(picture.pixels().filter(|p| p.0 == colour).count() > 50, "nothing is drawn in {colour:?}");
    }
    bench(&folder, &["net.toml", "--roofline", "roof.svg"]).ended(0);
    let text = fs::read_to_string(folder.path("roof.svg")).unwrap();
    assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
    for part in ["conv2", "weight gradient", "GFLOP/s", "operations a byte"] {
        assert!(text.contains(part), "no '{part}' in the picture");
    }
}
