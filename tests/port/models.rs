//! ONNX models: PyTorch's come in with their nets and give its logits; ours come in again as they went out. onnxruntime runs
//! ours in check_port.py, which CI does not have.

use super::{Folder, TORCH, close, file, golden, import, logits, pixels};
use convnet::device::Shape;
use convnet::net::Graph;
use std::fs;

/// PyTorch's exporter folds the normalisation. A model that does to the pixels what has to be done says so itself; one that a
/// config is given for finds its layers by order.
#[test]
fn pytorch_s_models_have_its_logits() {
    let folder = Folder::new("");
    let (plain, pixels_too) = (file("tiny.onnx"), file("pixels.onnx"));
    import(&folder, &[&[plain.as_str()], &TORCH[..]].concat()).ended(0);
    folder.convnet(&["import", &pixels_too, "--out", "pixels"]).ended(0);
    folder.convnet(&[&["import", &plain, "run/config.toml", "--out", "known"], &TORCH[..]].concat()).ended(0);
    for run in ["run", "pixels", "known"] {
        close(&logits(&folder.path(run), &pixels()), &golden("pytorch"), 1e-5);
    }
    let other = folder.convnet(&["import", &plain, &file("tiny.toml"), "--mean", "none", "--out", "other"]);
    other.failed(1, &["tiny.onnx", "4 layers", "5"]);
}

/// The net's batch normalisation has gone into the convolution before it; the mean and the factor are in the model.
#[test]
fn a_model_goes_out_and_in_again() {
    let folder = Folder::new("");
    let (weights, config) = (file("tiny.safetensors"), file("tiny.toml"));
    import(&folder, &[&[weights.as_str(), &config], &TORCH[..]].concat()).ended(0);
    folder.convnet(&["export", "run", "out.onnx"]).ended(0);
    folder.convnet(&["import", "out.onnx", "--out", "again"]).ended(0);
    close(&logits(&folder.path("again"), &pixels()), &golden("pytorch"), 1e-5);
    let text = fs::read_to_string(folder.path("again/config.toml")).unwrap();
    assert!(!text.contains("batch-norm") && text.contains("\"conv1\"") && text.contains("neuron = \"relu\""), "{text}");
    folder.convnet(&["export", "run", "out.onnx", "--output", "nothing"]).failed(2, &["'nothing'", "fc4"]);
}

/// A net of every layer that ONNX has a form of: what comes in again computes the same.
#[test]
fn every_layer_with_a_form_goes_out_and_in_again() {
    // What normalises within a map goes out as several operators, one of which no layer is.
    let text = fs::read_to_string(file("zoo.toml")).unwrap();
    let folder = Folder::new(&text.lines().filter(|l| !l.contains("within-map")).collect::<Vec<_>>().join("\n"));
    let set = ["--set", "train.steps=2"];
    folder.convnet(&[&["train", "net.toml", "--out", "run", "--device", "cpu"], &set[..]].concat()).ended(0);
    folder.convnet(&["export", "run", "zoo.onnx"]).ended(0);
    folder.convnet(&["import", "zoo.onnx", "--out", "again"]).ended(0);
    let pixels: Vec<u8> = (0..13 * 12 * 4_u32).map(|i| (i * 7919 % 256) as u8).collect();
    let [there, here] = ["run", "again"].map(|run| logits(&folder.path(run), &pixels));
    assert!(here.iter().any(|v| v.abs() > 0.05), "{here:?}");
    close(&there, &here, 1e-5);
}

#[test]
fn what_has_no_form_is_refused_by_name() {
    let local = "name = \"l\"\n[data]\nsource = \"mnist-10k\"\ntrain_images = 20\ntest_images = 20\n[train]\nbatch = 20\nsteps = 1\n\
                 [[layer]]\nname = \"odd\"\ntype = \"local\"\nfilters = 2\nsize = 9\nstride = 9\n[[layer]]\nname = \"fc\"\ntype = \"fc\"\n\
                 outputs = 10\n[[layer]]\nname = \"p\"\ntype = \"softmax\"\n[[layer]]\nname = \"c\"\ntype = \"logistic-regression\"\n";
    let folder = Folder::new(local);
    folder.convnet(&["train", "net.toml", "--out", "run", "--device", "cpu"]).ended(0);
    folder.convnet(&["export", "run", "x.onnx"]).failed(1, &["'odd'", "local", "ONNX"]);
    folder.convnet(&["export", "run", "x.caffemodel"]).failed(1, &["'odd'", "local", "Caffe"]);
    assert!(!folder.path("x.onnx").exists());
}

/// Models cut short at any place, and with any byte changed, are read or refused, with no panic and nothing large made.
#[test]
fn damaged_models_are_refused() {
    for name in ["tiny.onnx", "pixels.onnx"] {
        let whole = fs::read(file(name)).unwrap();
        convnet::port::onnx::read(&whole, "net", &[]).unwrap();
        for end in (0..whole.len()).step_by(97) {
            assert!(convnet::port::onnx::read(&whole[..end], "net", &[]).is_err(), "{name} up to {end}");
        }
        for at in 0..whole.len().min(2500) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            let _ = convnet::port::onnx::read(&changed, "net", &[]);
        }
    }
    let error = convnet::port::onnx::read(b"\x08\x01", "net", &[]).unwrap_err();
    assert!(error.contains("no graph"), "{error}");
}

/// The same of files of weights.
#[test]
fn damaged_weights_are_refused() {
    use convnet::port::{Format, read};
    for (name, config, format) in [
        ("tiny.caffemodel", "tiny.prototxt", Format::Caffe),
        ("tiny.safetensors", "tiny.toml", Format::Pytorch),
        ("tiny.weights", "tiny.cfg", Format::Darknet),
    ] {
        let spec = convnet::config::NetSpec::load(file(config), &[]).unwrap();
        let graph = Graph::new(&spec, Shape::new(1, 12, 10, 3), 5).unwrap();
        let whole = fs::read(file(name)).unwrap();
        read(format, &whole, &graph).unwrap();
        for end in (0..whole.len()).step_by(61) {
            assert!(read(format, &whole[..end], &graph).is_err(), "{name} up to {end}");
        }
        for at in (0..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            let _ = read(format, &changed, &graph);
        }
    }
}
