//! What is wrong outside ends the command with the exit status of its kind and one message that says what to do: 1 for what
//! failed, 2 for wrong arguments and configs. Never a panic.

mod common;

use common::{Ended, Folder, RESUME, SMALL, command, on_a_disk};
use convnet::train::checkpoint::{self, Checkpoint};
use std::fs;
use std::path::Path;

// ---- data ----

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// An idx file: the header of these dimensions, then the elements.
fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

/// A folder with the small net and `data/`: 32 training and 8 test images of 28×28 in three classes.
fn with_data() -> Folder {
    let folder = Folder::new(&SMALL.replace("source = \"mnist-10k\"", "source = \"data\""));
    fs::create_dir(folder.path("data")).unwrap();
    for (count, images, labels) in [(32, TRAIN_IMAGES, TRAIN_LABELS), (8, TEST_IMAGES, TEST_LABELS)] {
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i * 7 % 251) as u8).collect();
        let classes: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        fs::write(folder.path("data").join(images), idx(&[count, 28, 28], &pixels)).unwrap();
        fs::write(folder.path("data").join(labels), idx(&[count], &classes)).unwrap();
    }
    folder
}

/// The folder of the tests below is sound before it is spoiled.
#[test]
fn sound_idx_files_train() {
    with_data().train(&["--epochs", "2"]).ended(0);
}

/// A file of the set that is not there is named, with what the set consists of; no run folder appears.
#[test]
fn a_missing_idx_file_is_named() {
    for file in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
        let folder = with_data();
        fs::remove_file(folder.path("data").join(file)).unwrap();
        folder.train(&[]).failed(1, &[file, "is missing", "put the file beside the others"]);
        assert!(!folder.path("run").exists());
    }
}

/// A file that ends early is named, with what it should hold and what it holds.
#[test]
fn a_truncated_idx_file_is_named() {
    for (file, expected) in [(TRAIN_IMAGES, "32 images of 28×28, 25104 bytes"), (TEST_LABELS, "8 labels, 16 bytes")] {
        let folder = with_data();
        let path = folder.path("data").join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let holds = format!("holds {} bytes", bytes.len() - 1);
        folder.train(&[]).failed(1, &[file, expected, &holds, "fetch it again"]);
    }
}

/// Images and labels that are not one to one are counted.
#[test]
fn labels_and_images_of_different_count_are_counted() {
    let folder = with_data();
    fs::write(folder.path("data").join(TRAIN_LABELS), idx(&[31], &[0; 31])).unwrap();
    folder.train(&[]).failed(1, &[TRAIN_LABELS, "32 images", "31 labels", "take both from the same data set"]);
}

/// A test label that no training image has is no class of the net's.
#[test]
fn a_label_beyond_the_classes_is_named() {
    let folder = with_data();
    fs::write(folder.path("data").join(TEST_LABELS), idx(&[8], &[0, 1, 2, 0, 1, 7, 0, 1])).unwrap();
    folder.train(&[]).failed(1, &[TEST_LABELS, "image 5", "label 7", "3 classes, 0 to 2", "at least 8"]);
}

/// A net of fewer outputs than the data has classes is a wrong config.
#[test]
fn a_net_of_fewer_outputs_than_classes_is_a_wrong_config() {
    let folder = Folder::new(&SMALL.replace("outputs = 10", "outputs = 9"));
    folder.train(&[]).failed(2, &["layer 'cost'", "9 outputs for 10 classes", "net.toml:", "outputs"]);
}

/// A source that is neither built in nor a folder, and a folder with nothing known.
#[test]
fn an_unknown_data_source_lists_what_is_known() {
    let folder = Folder::new(SMALL);
    folder.train(&["--data", "mnist-10"]).failed(1, &["mnist-10", "did you mean 'mnist-10k'?"]);
    fs::create_dir(folder.path("empty")).unwrap();
    folder.train(&["--data", "empty"]).failed(1, &["empty", "no data set that is known", "idx files", "CIFAR-10"]);
    folder.train(&["--data", "net.toml"]).failed(1, &["net.toml", "is a file; give the folder"]);
}

// ---- configs and arguments ----

/// Trains a config in which `from` is replaced; it must be refused with status 2 and a message of these parts.
#[track_caller]
fn refused(from: &str, to: &str, parts: &[&str]) {
    assert!(SMALL.contains(from));
    let folder = Folder::new(&SMALL.replacen(from, to, 1));
    let line = SMALL.replacen(from, to, 1).lines().position(|l| to.lines().any(|t| l == t)).unwrap() + 1;
    let at = format!("net.toml:{line}:");
    folder.train(&[]).failed(2, &[&[&*at, "─"], parts].concat());
    assert!(!folder.path("run").exists());
}

/// An unknown key is shown at its line, with the nearest that is known.
#[test]
fn an_unknown_key_is_shown_with_the_nearest() {
    refused("filters = 4", "filter = 4", &["layer 'conv1'", "filter", "did you mean 'filters'?"]);
    refused("momentum = 0.9", "momentums = 0.9", &["momentums", "did you mean 'momentum'?"]);
}

/// A size below 0 is shown at its line.
#[test]
fn a_negative_size_is_shown() {
    refused("size = 5", "size = -5", &["layer 'conv1'", "size must be at least 1, not -5"]);
}

/// A filter larger than its padded image is shown at its line, with the input's size and what fits.
#[test]
fn a_filter_larger_than_its_image_is_shown() {
    let conv2 = "[[layer]]\nname = \"conv2\"\ntype = \"conv\"\nfilters = 8\nsize = 7\n";
    let config = SMALL.replace("[[layer]]\nname = \"drop1\"", &format!("{conv2}[[layer]]\nname = \"drop1\""));
    // (28 − 9)/2 + 1 is 10 places, pooled to 5.
    let config = config.replace("size = 5\nstride = 2", "size = 9\nstride = 2");
    let folder = Folder::new(&config);
    let line = config.lines().position(|l| l == "name = \"conv2\"").unwrap() + 4;
    let place = format!("net.toml:{line}:1");
    let parts =
        ["layer 'conv2': the 7×7 filter does not fit its 5×5 input", &place, "5×5×4 from 'pool1'", "size = 7", "─┬─", "help: "];
    folder.train(&[]).failed(2, &parts);
}

/// Sharing weights: what is not there, not yet there, or of another shape.
#[test]
fn shared_weights_that_do_not_fit_are_shown() {
    let table: &[(&str, &[&str])] = &[
        ("weight_source = \"conv7\"", &["layer 'fc1'", "no layer 'conv7' comes before", "net.toml"]),
        ("weight_source = \"fc1\"", &["layer 'fc1'", "'fc1' has no weights number 0 by then"]),
        ("weight_source = \"conv1\"", &["layer 'fc1'", "it needs 10×1×1×144 weights, 'conv1' has 4×5×5×1"]),
        ("weight_source = \"conv1[1]\"", &["'conv1' has no weights number 1"]),
        ("weight_source = [\"conv1\", \"conv1\"]", &["2 weight sources for 1 weights"]),
        ("weight_source = \"conv1[x]\"", &["weight_source must name layers whose weights are shared", "conv1[1]"]),
        ("weight_source = 3", &["weight_source must name layers"]),
        ("bias_source = \"conv1\"", &["it needs 1×1×1×10 bias, 'conv1' has 1×1×1×4"]),
        ("momentum = 1", &["layer 'fc1'", "momentum must be at least 0 and below 1, not 1"]),
        ("gpu = -1", &["layer 'fc1'"]),
    ];
    for (line, parts) in table {
        // In place of the name's line, so that the new one is the line at fault.
        refused("name = \"fc1\"\n", &format!("{line}\nname = \"fc1\"\n"), parts);
    }
}

/// An unknown layer type is shown at its line, with all types and the nearest.
#[test]
fn an_unknown_layer_type_is_shown_with_the_nearest() {
    refused("type = \"conv\"", "type = \"convv\"", &["layer 'conv1'", "'convv'", "did you mean 'conv'?", "logistic-regression"]);
}

/// A value that --set gives is checked as the config's are, and its path too.
#[test]
fn set_is_checked_as_the_config_is() {
    let folder = Folder::new(SMALL);
    for (set, parts) in [
        ("train.bach=3", &["bach", "did you mean 'batch'?"][..]),
        ("trian.batch=3", &["trian", "train"]),
        ("layer.conv9.filters=3", &["conv9", "conv1"]),
        ("train.batch=0", &["batch", "0"]),
        ("train.batch=many", &["batch", "many"]),
        ("train.batch", &["train.batch", "="]),
    ] {
        folder.train(&["--set", set]).failed(2, parts);
        folder.convnet(&["summary", "net.toml", "--set", set]).failed(2, parts);
    }
}

/// A config that is not there, is a folder, or no UTF-8.
#[test]
fn a_config_that_is_no_text_is_named() {
    let folder = Folder::new(SMALL);
    fs::create_dir(folder.path("folder.toml")).unwrap();
    fs::write(folder.path("latin.toml"), b"name = \"caf\xe9\"\n").unwrap();
    for (config, part) in [("none.toml", "there is no such file"), ("folder.toml", "it is a folder"), ("latin.toml", "UTF-8")] {
        for arguments in [&["summary", config][..], &["train", config, "--out", "run"]] {
            folder.convnet(arguments).failed(2, &[config, part]);
        }
    }
}

/// Wrong arguments: status 2, with the usage.
#[test]
fn wrong_arguments_exit_2() {
    let folder = Folder::new(SMALL);
    for arguments in [&["trian"][..], &["train"], &["train", "net.toml", "--epoch"], &["train", "net.toml", "--threads", "two"]] {
        folder.convnet(arguments).failed(2, &["--help"]);
    }
    assert!(folder.convnet(&[]).ended(2).stderr.contains("convnet train"));
    folder.train(&["--epochs=-1"]).failed(2, &["epochs"]);
}

/// A device that there cannot be is a wrong argument; the message lists those that can.
#[test]
fn an_unknown_device_lists_what_is_known() {
    let folder = Folder::new(SMALL);
    for device in ["gpu", "CPU", ""] {
        folder.convnet(&["train", "net.toml", "--device", device]).failed(2, &["--device", "auto, cpu, cuda, cuda:N"]);
    }
}

/// A folder that is there already is left alone; the message says how to go on with it.
#[test]
fn an_output_folder_in_use_is_left_alone() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let before = fs::read(folder.path("run/metrics.jsonl")).unwrap();
    folder.train(&[]).failed(1, &["run is there already", "convnet resume run", "--out"]);
    assert_eq!(fs::read(folder.path("run/metrics.jsonl")).unwrap(), before);
}

/// A run whose metrics.jsonl is shorter than its checkpoint knows is not gone on with: lines would be missing.
#[test]
fn a_run_that_lost_metrics_is_not_resumed() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let path = folder.path("run/metrics.jsonl");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 1]).unwrap();
    let lost = format!("has lost lines of metrics.jsonl: {} bytes, {} were written", text.len() - 1, text.len());
    folder.convnet(&RESUME).failed(1, &["run ", &lost]);
    assert_eq!(fs::read(&path).unwrap().len(), text.len() - 1);
}

/// Commands on a folder that is no run.
#[test]
fn a_folder_that_is_no_run_is_named() {
    let folder = Folder::new(SMALL);
    for command in ["resume", "test"] {
        folder.convnet(&[command, "."]).failed(1, &["no run", "config.toml", "`convnet train`"]);
        folder.convnet(&[command, "nowhere"]).failed(1, &["nowhere is no folder", "`convnet train`"]);
    }
}

// ---- training ----

/// A learning rate of 1e6 diverges: training stops at a step that it names, says what to do and keeps what was saved.
#[test]
fn a_run_that_diverges_stops_and_keeps_its_checkpoints() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let more = [&RESUME[..], &["--set", "train.learning_rate=1e6", "--set", "train.epochs=10"]].concat();
    let parts =
        ["step 2", "is no longer a finite number", "earlier checkpoints are kept", "lower learning rate", "1000000", "warmup"];
    folder.convnet(&more).failed(1, &parts);
    let kept = checkpoint::list(&folder.path("run/checkpoints"));
    assert!(kept.len() >= 3, "{kept:?}");
    kept.iter().for_each(|(_, path)| drop(Checkpoint::load(path, true).unwrap()));
    // From the first step on, too.
    let folder = Folder::new(SMALL);
    folder.train(&["--set", "train.learning_rate=1e6"]).failed(1, &parts[1..]);
    assert_eq!(checkpoint::list(&folder.path("run/checkpoints"))[0].0, 0);
    for (_, path) in checkpoint::list(&folder.path("run/checkpoints")) {
        let weights = Checkpoint::load(&path, true).unwrap().weights;
        assert!(weights.iter().all(|t| t.values.iter().all(|v| v.is_finite())));
    }
}

/// One byte flipped in the only checkpoint that is asked for: it is named, and not used.
#[test]
fn a_checkpoint_with_one_byte_flipped_is_not_used() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let path = folder.path("run/checkpoints/step-20/weights.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let parts = ["step-20 is damaged", "weights.safetensors", "checksum"];
    folder.convnet(&["test", "run", "--checkpoint", "20", "--device", "cpu"]).failed(1, &parts);
}

/// A checkpoint of another net: the first tensor that differs is named.
#[test]
fn a_checkpoint_of_another_net_is_refused() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let config = fs::read_to_string(folder.path("run/config.toml")).unwrap();
    for (from, to, part) in [
        ("outputs = 10", "outputs = 12", "its 'fc1.weights' is [10, 144], the net's is [12, 144]"),
        ("name = \"fc1\"", "name = \"fc9\"", "it has no 'fc9.weights'"),
        ("outputs = 10", "outputs = 10\nbias = false", "it has 'fc1.bias', which the net has not"),
    ] {
        assert!(config.contains(from), "{config}");
        fs::write(folder.path("run/config.toml"), config.replace(from, to)).unwrap();
        folder.convnet(&RESUME).failed(1, &["step-20 is of another net", part, "use the config it was trained with"]);
        folder.convnet(&["test", "run", "--device", "cpu"]).failed(1, &["step-20 is of another net", part]);
    }
}

// ---- the disk ----

/// A folder that cannot be written to is named before any training.
#[test]
fn a_read_only_output_folder_is_named() {
    let folder = Folder::new(SMALL);
    let train = "\"$CONVNET\" train net.toml --device cpu --threads 1 --out";
    let ended = on_a_disk(&folder, "ro", &format!("{train} disk/run"));
    let ended = ended.failed(1, &["disk/run", "Read-only file system"]);
    assert!(!ended.stderr.contains("epoch"), "{}", ended.stderr);
}

/// A disk that fills up while a run trains: the file that could not be written is named, no half of a checkpoint stays, those
/// before are whole, and with more room the run goes on as if nothing had been.
#[test]
fn a_full_disk_leaves_whole_checkpoints() {
    let folder = Folder::new(SMALL);
    let train = "\"$CONVNET\" train net.toml --device cpu --threads 1 --set train.keep=1000 --out disk/run";
    let ended = on_a_disk(&folder, "size=256k", &format!("{train}; status=$?; cp -r disk/run run; exit $status"));
    let failed = ended.failed(1, &["disk/run/", "No space left on device"]);
    assert!(failed.stderr.contains("cannot write") || failed.stderr.contains("cannot create"), "{}", failed.stderr);
    let checkpoints = folder.path("run/checkpoints");
    let names: Vec<String> = names(&checkpoints);
    assert!(names.len() > 2 && names.iter().all(|n| n.starts_with("step-")), "{names:?}");
    for (_, path) in checkpoint::list(&checkpoints) {
        Checkpoint::load(&path, true).unwrap();
    }
    let resumed = folder.convnet(&RESUME).ended(0);
    assert!(!resumed.stderr.contains("warning"), "{}", resumed.stderr);
    let alone = Folder::new(SMALL);
    alone.train(&[]).ended(0);
    let weights = |f: &Folder| fs::read(f.path("run/checkpoints/step-300/weights.safetensors")).unwrap();
    assert!(weights(&folder) == weights(&alone), "the weights differ");
}

/// A disk too small for the first checkpoint: no run folder appears, nor a part of one.
#[test]
fn a_disk_too_small_for_a_run_stays_empty() {
    let folder = Folder::new(SMALL);
    let train = "\"$CONVNET\" train net.toml --device cpu --threads 1 --out disk/run";
    let ended = on_a_disk(&folder, "size=12k", &format!("{train}; status=$?; ls -A disk; exit $status"));
    let ended = ended.failed(1, &["No space left on device", "disk/"]);
    assert_eq!(ended.stdout, "");
}

/// Output that nobody reads is no error.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = Folder::new(SMALL);
    let mut child = command(&folder.path(""), &["summary", "net.toml"]).spawn().unwrap();
    drop(child.stdout.take());
    Ended::of(child.wait_with_output().unwrap()).ended(0);
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}
