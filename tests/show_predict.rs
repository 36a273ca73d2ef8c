//! `convnet predict` and `convnet show` on the run of a tiny net.

mod common;

use common::{Ended, classifier, convnet};
use convnet::data;
use image::{GrayImage, ImageFormat, Rgb, RgbImage, imageops};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Three small convolutions and a fully connected layer; three passes over 1,000 digits.
const NET: &str = classifier!(
    r#"
name = "tiny"
[data]
source = "mnist-10k"
train_images = 1000
test_images = 100
[train]
batch = 50
epochs = 3
learning_rate = 0.02
momentum = 0.9
[[layer]]
name = "conv/first"
type = "conv"
filters = 6
size = 5
stride = 2
neuron = "relu"
init = "xavier"
[[layer]]
name = "conv2"
type = "conv"
filters = 8
size = 3
stride = 2
neuron = "relu"
init = "xavier"
[[layer]]
name = "conv3"
type = "conv"
filters = 8
size = 1
neuron = "relu"
init = "xavier"
[[layer]]
name = "fc"
type = "fc"
outputs = 10
init = "xavier"
"#
);

/// A run's folder.
fn run_folder() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("tiny.toml");
        fs::write(&config, NET).unwrap();
        let run = folder.path().join("run");
        convnet(&["train", config.to_str().unwrap(), "--device", "cpu", "--out", run.to_str().unwrap()]).ended(0);
        (folder, run)
    });
    run
}

/// The first `count` test digits as PNG files, and their labels.
fn digits(folder: &Path, count: usize) -> Vec<i64> {
    let set = data::open("mnist-10k", &data::Options::default()).unwrap();
    let mut labels = Vec::new();
    for i in 0..count {
        let mut pixels = vec![0; 28 * 28];
        set.test.read(i, &mut pixels).unwrap();
        let image = GrayImage::from_raw(28, 28, pixels).unwrap();
        image.save_with_format(folder.join(format!("{i:03}.png")), ImageFormat::Png).unwrap();
        labels.push(i64::from(set.test.label(i)));
    }
    labels
}

fn predict(arguments: &[&str]) -> (Ended, Value) {
    let run = run_folder().to_str().unwrap();
    let done = convnet(&[&["predict", run, "--device", "cpu", "--json"], arguments].concat());
    let json = serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", done.stdout, done.stderr));
    (done, json)
}

/// 100 digits are two batches of 64, the second one not full. The same digits make the same mistakes as in `convnet test`,
/// which reads them from the data set: files lose nothing.
#[test]
fn predict_classifies_files_as_test_does() {
    let folder = tempfile::tempdir().unwrap();
    let labels = digits(folder.path(), 100);
    fs::write(folder.path().join("notes.txt"), "no image").unwrap();
    let (done, json) = predict(&[folder.path().to_str().unwrap()]);
    done.ended(0);
    let images = json["images"].as_array().unwrap();
    assert_eq!(images.len(), 100);
    let mut wrong = 0;
    for (i, (image, label)) in images.iter().zip(&labels).enumerate() {
        assert!(image["path"].as_str().unwrap().ends_with(&format!("{i:03}.png")), "{image}");
        let best = image["predictions"].as_array().unwrap();
        let p: Vec<f64> = best.iter().map(|b| b["probability"].as_f64().unwrap()).collect();
        assert!(p.len() == 5 && p.is_sorted_by(|a, b| a >= b) && p.iter().sum::<f64>() <= 1.0 + 1e-6, "{p:?}");
        wrong += usize::from(best[0]["class"].as_i64() != Some(*label));
    }
    let test = convnet(&["test", run_folder().to_str().unwrap(), "--device", "cpu", "--json"]);
    let test: Value = serde_json::from_str(&test.stdout).unwrap();
    let error = test["error"].as_f64().unwrap();
    assert!((error - wrong as f64 / 100.0).abs() < 1e-6, "predict has {wrong} of 100 wrong, test {error}");
    assert!(error < 0.4, "the net has learned nothing: {error}");
}

/// A digit in colour and three times as large is still that digit.
#[test]
fn images_are_fitted_to_the_net() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path(), 1);
    let small = folder.path().join("000.png");
    let grey = image::open(&small).unwrap().to_luma8();
    let large = imageops::resize(&grey, 84, 84, imageops::FilterType::Nearest);
    let large_path = folder.path().join("large.png");
    RgbImage::from_fn(84, 84, |x, y| Rgb(large.get_pixel(x, y).0.repeat(3).try_into().unwrap())).save(&large_path).unwrap();
    let (_, json) = predict(&[small.to_str().unwrap(), large_path.to_str().unwrap(), "--top", "10"]);
    let best = |i: usize| json["images"][i]["predictions"][0]["class"].as_i64();
    assert!(best(0).is_some() && best(0) == best(1), "{json:#}");
    let all = json["images"][0]["predictions"].as_array().unwrap();
    let sum: f64 = all.iter().map(|p| p["probability"].as_f64().unwrap()).sum();
    assert!(all.len() == 10 && (sum - 1.0).abs() < 1e-6, "{sum}");
}

/// What cannot be read is named, the rest is predicted, and the exit status is 1. None of these may take memory or panic.
#[test]
fn unreadable_images_are_named_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path(), 2);
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let whole = fs::read(at("000.png")).unwrap();
    fs::write(at("truncated.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at("empty.png"), []).unwrap();
    fs::write(at("text.jpg"), "this is no picture").unwrap();
    // A PNG that says it is 2³¹ − 1 pixels wide and high, with a right checksum, and nothing behind.
    let mut huge = whole[..8].to_vec();
    huge.extend([0, 0, 0, 13]);
    let header = [b"IHDR".as_slice(), &[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 8, 6, 0, 0, 0]].concat();
    huge.extend(&header);
    huge.extend(crc(&header).to_be_bytes());
    fs::write(at("huge.png"), huge).unwrap();
    // A bitmap of 30,000 × 30,000 in 54 bytes.
    let mut bmp = b"BM".to_vec();
    bmp.extend([54u32, 0, 54, 40, 30_000, 30_000, 1 | 24 << 16, 0, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes));
    fs::write(at("huge.bmp"), bmp).unwrap();
    let (missing, nothing) = (at("missing.png"), at("nothing"));
    fs::create_dir(&nothing).unwrap();
    let (done, json) = predict(&[folder.path().to_str().unwrap(), &missing, &nothing]);
    let errors = done.ended(1).stderr;
    assert_eq!(json["images"].as_array().unwrap().len(), 2, "{json:#}");
    for name in ["truncated.png", "empty.png", "text.jpg", "huge.png", "huge.bmp", "missing.png", "nothing"] {
        let named = errors.lines().filter(|l| l.starts_with("error: cannot read") && l.contains(name)).count();
        assert_eq!(named, 1, "{name}: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
}

/// The checksum of a PNG's chunk.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn show_draws_curves_and_filters() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pictures");
    let printed_lines = convnet(&["show", run_folder().to_str().unwrap(), "-o", out.to_str().unwrap()]).ended(0).stdout;
    let names = ["curves.png", "filters-conv-first.png", "filters-conv2.png", "filters-conv3.png"];
    let printed: Vec<String> = names.iter().map(|n| out.join(n).display().to_string()).collect();
    assert_eq!(printed_lines.lines().collect::<Vec<_>>(), printed);
    let mut files: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, names, "nothing temporary stays");
    for path in printed {
        let picture = image::open(&path).unwrap().to_rgb8();
        let colours: std::collections::HashSet<_> = picture.pixels().collect();
        assert!(picture.width() > 100 && picture.height() > 100 && colours.len() > 20, "{path}: {} colours", colours.len());
    }
}

#[test]
fn a_folder_that_is_no_run_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["show", "here"] as &[&str], &["predict", "here", "x.png"]] {
        let run = folder.path().to_str().unwrap();
        let done = convnet(&arguments.iter().map(|a| if *a == "here" { run } else { a }).collect::<Vec<_>>());
        done.failed(1, &["no run"]);
    }
}

/// Image files are cut as those of a test set: the shorter side resized to `data.size`, the middle of it, and nothing stretched. So
/// both make the same features, bit for bit, of wide and of tall pictures.
#[test]
fn files_are_cut_as_the_test_set_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for (set, class, count) in [("train", "a", 4), ("train", "b", 4), ("val", "a", 3), ("val", "b", 2)] {
        fs::create_dir_all(path(&format!("data/{set}/{class}"))).unwrap();
        for i in 0..count {
            let (w, h) = if i % 2 == 0 { (40, 24) } else { (20, 33) };
            let picture = RgbImage::from_fn(w, h, |_, _| Rgb(random.random()));
            picture.save(path(&format!("data/{set}/{class}/{i}.png"))).unwrap();
        }
    }
    let config = format!(
        r#"
name = "cut"
[data]
source = {:?}
size = 16
shape = [12, 10, 3]
[train]
batch = 4
steps = 2
[[layer]]
name = "fc"
type = "fc"
outputs = 2
[[layer]]
name = "probabilities"
type = "softmax"
[[layer]]
name = "cost"
type = "logistic-regression"
"#,
        path("data")
    );
    fs::write(path("net.toml"), config).unwrap();
    convnet(&["train", &path("net.toml"), "--device", "cpu", "--out", &path("run")]).ended(0);
    let features = |out: &str, images: &[&str]| {
        let arguments = ["features", &path("run"), "--device", "cpu", "--layer", "probabilities", "-o", &path(out)];
        convnet(&[&arguments[..], images].concat()).ended(0);
        fs::read(path(out)).unwrap()
    };
    let (a, b) = (path("data/val/a"), path("data/val/b"));
    let of_test = features("test.npy", &[]);
    assert!(features("files.npy", &[&a, &b]) == of_test, "the same pictures make other features as files");

    let done = convnet(&["predict", &path("run"), &a, &b, "--device", "cpu", "--json"]);
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let values: Vec<f32> =
        of_test[of_test.len() - 5 * 2 * 4..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    for (image, values) in json["images"].as_array().unwrap().iter().zip(values.chunks(2)) {
        let best = image["predictions"][0]["probability"].as_f64().unwrap();
        assert!((best - f64::from(values[0].max(values[1]))).abs() < 1e-6, "{image} has other probabilities: {values:?}");
    }
}
