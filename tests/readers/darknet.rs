//! Darknet's classifiers: what files of every kind become, and what is said about files that are wrong.

use super::common::Folder;
use super::{becomes, lenet};
use convnet::config::NetSpec;
use convnet::op::Neuron;
use std::fs;

/// The files of the corpus have between them every section; what they become is written beside this file.
#[test]
fn files_become_what_they_say() {
    for name in ["small", "residual", "everything"] {
        becomes("darknet", name, "cfg", NetSpec::from_darknet);
    }
}

/// Every policy is one of our schedules.
#[test]
fn policies_become_schedules() {
    let table = [
        ("", "0.1"),
        ("policy=constant\nburn_in=7", "{ base = 0.1, warmup = { steps = 7, power = 4 } }"),
        ("policy=step\nstep=9\nscale=.5", "{ schedule = \"step\", base = 0.1, every = 9, gamma = 0.5 }"),
        ("policy=steps\nsteps=5,7\nscales=.1,.1", "{ schedule = \"multistep\", base = 0.1, at = [5, 7], gamma = 0.1 }"),
        ("policy=steps\nsteps=5,7\nscales=2,.1", "{ schedule = \"multistep\", base = 0.1, at = [5, 7], gamma = [2, 0.1] }"),
        ("policy=exp\ngamma=0.99", "{ schedule = \"step\", base = 0.1, every = 1, gamma = 0.99 }"),
        ("policy=poly", "{ schedule = \"poly\", base = 0.1, power = 4 }"),
        ("policy=poly\npower=2\nburn_in=7", "{ schedule = \"poly\", base = 0.1, power = 2, warmup = { steps = 7, power = 2 } }"),
        ("policy=sigmoid\ngamma=0.1\nstep=9", "{ schedule = \"sigmoid\", base = 0.1, gamma = -0.1, at = 9 }"),
    ];
    for (policy, schedule) in table {
        let text = format!("[net]\nheight=8\nwidth=8\nchannels=1\nlearning_rate=0.1\nmax_batches=100\n{policy}\n[avgpool]\n");
        let spec = NetSpec::from_darknet(&text, "net.cfg", &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let set = format!("train.learning_rate={schedule}");
        let wanted = NetSpec::from_toml(&lenet(), "net.toml", &[set]).unwrap();
        assert_eq!(spec.train.learning_rate, wanted.train.learning_rate, "{policy}");
    }
}

/// Each activation is a neuron, or a chain of neurons that makes the same function, checked at points on both sides of its
/// corners against darknet's formulas (`src/activations.h`).
#[test]
fn activations_become_neurons() {
    type Function = fn(f64) -> f64;
    let table: [(&str, Function); 11] = [
        ("linear", |x| x),
        ("relu", |x| x.max(0.0)),
        ("logistic", |x| 1.0 / (1.0 + (-x).exp())),
        ("tanh", f64::tanh),
        ("leaky", |x| if x > 0.0 { x } else { 0.1 * x }),
        ("relie", |x| if x > 0.0 { x } else { 0.01 * x }),
        ("elu", |x| if x >= 0.0 { x } else { x.exp() - 1.0 }),
        ("ramp", |x| if x > 0.0 { 1.1 * x } else { 0.1 * x }),
        ("selu", |x| if x >= 0.0 { 1.0507 * x } else { 1.0507 * 1.6732 * (x.exp() - 1.0) }),
        ("loggy", |x| 2.0 / (1.0 + (-x).exp()) - 1.0),
        ("hardtan", |x| x.clamp(-1.0, 1.0)),
    ];
    for (name, function) in table {
        let spec = NetSpec::from_darknet(&NET.replace("=linear", &format!("={name}")), "net.cfg", &[]);
        let spec = spec.unwrap_or_else(|e| panic!("{}", e.render(false)));
        for x in [-3.0, -1.5, -0.5, 0.0, 0.25, 0.75, 1.5, 4.0] {
            let y = spec.layers.iter().filter_map(|l| l.neuron).fold(x, |x, neuron| match neuron {
                Neuron::Linear { a, b } => a * x + b,
                Neuron::Relu => x.max(0.0),
                Neuron::Brelu { a } => x.clamp(0.0, a),
                Neuron::Tanh { a, b } => a * (b * x).tanh(),
                Neuron::Logistic => 1.0 / (1.0 + (-x).exp()),
                Neuron::Leaky { a } => {
                    if x < 0.0 {
                        a * x
                    } else {
                        x
                    }
                }
                Neuron::Elu { a } => {
                    if x < 0.0 {
                        a * (x.exp() - 1.0)
                    } else {
                        x
                    }
                }
                other => panic!("{name} became {other:?}"),
            });
            let wanted = function(x);
            assert!((y - wanted).abs() <= 1e-15 * (1.0 + wanted.abs()), "{name}({x}) is {wanted}, not {y}");
        }
    }
}

/// A pool makes as many windows as darknet's formula, from where darknet starts, whichever of our keys say so.
#[test]
fn pools_are_darknets() {
    for (size, stride, padding) in (1..6).flat_map(|s| (1..4).flat_map(move |t| (0..6).map(move |p| (s, t, p)))) {
        for input in [5usize, 6, 7, 12] {
            if input + padding < size {
                continue;
            }
            let text = format!(
                "[net]\nheight={input}\nwidth={input}\nchannels=1\n[maxpool]\nsize={size}\nstride={stride}\npadding={padding}\n"
            );
            let spec = NetSpec::from_darknet(&text, "net.cfg", &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
            let keys = &spec.layers[0].keys;
            let number = |key: &str| {
                let node = keys.get(key).map(|e| e.node.value.clone());
                node.map(|v| if let convnet::config::Value::Integer(i) = v { i } else { panic!("{key} is no number") })
            };
            let rounding = keys.get("rounding").and_then(|e| e.node.as_str());
            let ours = number("padding").unwrap_or(0);
            let start = number("start").unwrap_or(-ours);
            let room = input as i64 + 2 * ours - size as i64;
            let outputs = number("outputs").unwrap_or_else(|| match rounding {
                Some("floor") => room / stride as i64 + 1,
                _ => {
                    let outputs = (room.max(0) + stride as i64 - 1) / stride as i64 + 1;
                    // The window that would start behind the image is dropped.
                    (1..=outputs).rev().find(|n| (n - 1) * (stride as i64) < input as i64 + ours).unwrap()
                }
            });
            let what = format!("{size}/{stride}, padding {padding}, of {input}: {:?}", spec.layers[0].keys);
            assert_eq!(start, -(padding as i64 / 2), "{what}");
            assert_eq!(outputs, ((input + padding - size) / stride + 1) as i64, "{what}");
        }
    }
}

/// What only asks for shapes has them from [net]; what trains wants images.
#[test]
fn a_summary_needs_no_images() {
    let folder = Folder::new("");
    fs::write(
        folder.path("net.cfg"),
        NET.replace("activation", "size=3\npad=1\nactivation") + "[connected]\noutput=10\n[softmax]\n",
    )
    .unwrap();
    let summary = folder.convnet(&["summary", "net.cfg"]).ended(0).stdout;
    // 3·3·3·4 + 4, and 8·8·4·10 + 10.
    assert!(summary.contains("2,682 parameters"), "{summary}");
    folder.convnet(&["train", "net.cfg", "--device", "cpu"]).failed(2, &["does not say which images", "--data"]);
}

/// `.cfg` files are told apart by their first section.
#[test]
fn a_cfg_of_cuda_convnet_is_told_apart() {
    let folder = Folder::new("");
    fs::write(folder.path("layers.cfg"), "# layers\n[data]\ntype=data\ndataIdx=0\n").unwrap();
    let ended = folder.convnet(&["convert", "layers.cfg"]);
    ended.failed(2, &["'layers.cfg' is no darknet config", "--layer-def LAYERS.cfg --layer-params PARAMS.cfg"]);
    fs::write(folder.path("net.cfg"), "\u{feff}; darknet\r\n[net]\r\nheight = 8\r\nwidth=8\r\nchannels=1\r\n[avgpool]\r\n")
        .unwrap();
    let spec = NetSpec::load(folder.path("net.cfg"), &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    assert_eq!((spec.name.as_str(), spec.layers.len()), ("net", 1));
}

/// A net of lines 1 to 8.
const NET: &str = "[net]\nheight=8\nwidth=8\nchannels=3\n\n[convolutional]\nfilters=4\nactivation=linear\n";

/// One message with the line, a part of it that names the fault, and the exit status of a wrong config.
#[test]
fn wrong_files_are_shown_their_lines() {
    let more = |text: &str| format!("{NET}{text}\n");
    let instead = |from: &str, to: &str| {
        assert!(NET.contains(from), "{from}");
        NET.replacen(from, to, 1)
    };
    let net = |text: &str| instead("channels=3\n", &format!("channels=3\n{text}\n"));
    let rows: Vec<(String, &str, usize)> = vec![
        // The text.
        (more("[maxpool"), "'[maxpool' is not closed", 9),
        (more("[maxpool]\nsize"), "neither a section nor an option", 10),
        (more("[maxpool]\nsize="), "'size' has no value", 10),
        (more("size=3\nsize=3"), "'size' is given twice in [convolutional]", 10),
        (more("[maxpol]"), "unknown section '[maxpol]'", 9),
        (more("[yolo]"), "[yolo] is no part of a classifier", 9),
        (more("[net]"), "[net] stands again", 9),
        (more("sise=3"), "unknown option 'sise' in [convolutional]", 9),
        (more("size=3x"), "size must be a whole number, not '3x'", 9),
        (more("stride=0"), "stride must be at least 1, not 0", 9),
        (more("size=99999999999999999999"), "size must be a whole number", 9),
        (more("learning_rate=fast"), "learning_rate must be a number, not 'fast'", 9),
        // [net]
        (instead("height=8\n", ""), "[net] does not say the images' size", 1),
        (net("inputs=5"), "inputs = 5 is not height·width·channels = 192", 5),
        (net("batch=2\nsubdivisions=3"), "3 subdivisions of a batch of 2", 6),
        (net("adam=1"), "adam has no counterpart here", 5),
        (net("policy=stpes"), "unknown policy 'stpes'", 5),
        (net("policy=random"), "policy=random has no counterpart here", 5),
        (net("policy=steps\nsteps=1,2"), "policy=steps without scales", 5),
        (net("policy=steps\nsteps=1,2\nscales=.1"), "1 scales for 2 steps", 7),
        (net("policy=steps\nsteps=2,1\nscales=.1,.1"), "must be ascending numbers of steps", 6),
        (net("momentum=1"), "train.momentum must be at least 0 and below 1", 5),
        (net("bacth=8"), "unknown option 'bacth' in [net]", 5),
        // Layers.
        (instead("activation=linear", "activation=leeky"), "unknown activation 'leeky'", 8),
        (instead("activation=linear", "activation=stair"), "activation=stair has no counterpart here", 8),
        (more("size=9"), "[convolutional] of 9 cells does not fit its input of 8", 9),
        (more("xnor=1"), "xnor has no counterpart here", 9),
        (more("[route]"), "missing option 'layers'", 9),
        (more("[route]\nlayers=-2"), "layers = -2: there is no such layer before this one", 10),
        (more("[route]\nlayers=one"), "layers must be whole numbers, not 'one'", 10),
        (more("[maxpool]\nsize=2\nstride=2\n[route]\nlayers=0,1"), "channels of 8×8 and of 4×4 cannot stand side by side", 13),
        (more("[shortcut]\nfrom=1"), "from = 1: there is no such layer before this one", 10),
        (more("[avgpool]\n[convolutional]\nsize=1\npadding=1\n[shortcut]\nfrom=-2"), "cells cannot be added to 3×3", 14),
        (more("[local]\nsize=5\npad=1"), "pad=1 with size=5", 11),
        (more("[maxpool]\nsize=9\npadding=0"), "a pool of 9 cells does not fit its 8×8 input", 10),
        (more("[softmax]\ngroups=2"), "groups has no counterpart here", 10),
        (more("[softmax]\ntree=x"), "a tree of classes has no counterpart here", 10),
        (more("[cost]\ntype=smooth"), "type=smooth has no counterpart here", 10),
        (more("[crop]\ncrop_height=9\ncrop_width=8"), "a crop of 9×8 out of 8×8", 10),
        (more(&"[convolutional]\npadding=1000000\n".repeat(2)), "values an image are too many", 9),
    ];
    assert!(rows.len() >= 15);
    let folder = Folder::new("");
    for (text, part, line) in rows {
        fs::write(folder.path("net.cfg"), &text).unwrap();
        let place = format!("[net.cfg:{line}:");
        folder.convnet(&["convert", "net.cfg"]).failed(2, &[part, &place]);
    }
}
