//! State dicts with torchvision's names, their values a formula's: AlexNet's and ResNet-18's find their layers by order alone and
//! give torchvision's logits, of small images (tests/golden/make_configs.py).

#[allow(dead_code)]
#[path = "../common/nets.rs"]
mod nets;

use super::{Folder, close, import, logits};
use convnet::device::Shape;
use convnet::layer::ParameterRole;
use convnet::net::Graph;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeSet;

/// The modules of ResNet-18 that have parameters, in the order in which they run.
fn resnet_18() -> Vec<String> {
    let mut names: Vec<String> = ["conv1", "bn1"].map(String::from).to_vec();
    for (stage, block) in (1..=4).flat_map(|stage| [(stage, 0), (stage, 1)]) {
        let projected = stage > 1 && block == 0;
        let of_block = ["conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1"];
        let own = &of_block[..if projected { 6 } else { 4 }];
        names.extend(own.iter().map(|m| format!("layer{stage}.{block}.{m}")));
    }
    names.push("fc".into());
    names
}

fn alexnet() -> Vec<String> {
    let features = [0, 3, 6, 8, 10].map(|i| format!("features.{i}"));
    features.into_iter().chain([1, 4, 6].map(|i| format!("classifier.{i}"))).collect()
}

/// Imports the formula's state dict and compares logits with torchvision's.
fn has_torchvision_s_logits(name: &str, modules: &[String]) {
    let golden = &nets::golden()["reduced"][name];
    let sets: Vec<&str> = golden["sets"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let spec = nets::spec(name, &sets);
    let [h, w, c] = spec.data.synthetic.as_ref().unwrap().shape;
    let graph = Graph::new(&spec, Shape::new(1, h, w, c), 100).unwrap();
    let nodes: Vec<_> = graph.nodes.iter().filter(|n| !n.parameters.is_empty()).collect();
    assert_eq!(nodes.len(), modules.len());
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (node, module) in nodes.iter().zip(modules) {
        for &k in &node.parameters {
            let p = &graph.parameters[k].spec;
            let (s, elements) = (p.shape, p.shape.elements() as u64);
            let wide = p.role == ParameterRole::Weights && s.elements() > s.c;
            let (shape, part) = match (node.kind.as_str(), p.name.as_ref()) {
                ("conv", "weights") => (vec![s.n, s.c, s.h, s.w], "weight"),
                ("fc", "weights") => (vec![s.n, s.image()], "weight"),
                (_, "weights") => (vec![s.c], "weight"),
                (_, "mean") => (vec![s.c], "running_mean"),
                (_, "variance") => (vec![s.c], "running_var"),
                (_, other) => (vec![s.c], other),
            };
            let scale = (6.0 / s.image() as f64).sqrt();
            let value = |u: f64| match part {
                "weight" if wide => u * scale,
                "weight" | "running_var" => 1.0 + u / 2.0,
                _ => u * 0.1,
            };
            let bytes = (0..elements).flat_map(|e| (value(nets::uniform(k as u64, e)) as f32).to_le_bytes()).collect();
            tensors.push((format!("{module}.{part}"), shape, bytes));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let folder = Folder::new("");
    std::fs::write(folder.path("net.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let config = format!("{}/configs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let normalised = ["net.safetensors", &config, "--mean", "128", "--scale", "0.015625"];
    import(&folder, &[&normalised, &sets[..]].concat()).ended(0);
    let pixels: Vec<u8> = (0..(h * w * c) as u64).map(|e| ((nets::uniform(1 << 20, e) + 1.0) * 128.0) as u8).collect();
    let theirs: Vec<f64> = golden["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let largest = theirs.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let ours: Vec<f64> = logits(&folder.path("run"), &pixels).iter().map(|v| v / largest).collect();
    close(&ours, &theirs.iter().map(|v| v / largest).collect::<Vec<_>>(), 1e-4);

    // What goes out has torchvision's names again, and the values of what came in.
    folder.convnet(&["export", "run", "out.safetensors"]).ended(0);
    let [before, after] = ["net.safetensors", "out.safetensors"].map(|name| std::fs::read(folder.path(name)).unwrap());
    let [before, after] = [&before, &after].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let names = |file: &SafeTensors| file.names().into_iter().map(String::from).collect::<BTreeSet<_>>();
    assert_eq!(names(&after), names(&before));
    for (name, tensor) in before.tensors() {
        let again = after.tensor(&name).unwrap();
        assert!(again.shape() == tensor.shape() && again.data() == tensor.data(), "{name} is another");
    }
}

#[test]
fn resnet_18_s_state_dict() {
    has_torchvision_s_logits("resnet-18", &resnet_18());
}

#[test]
fn alexnet_s_state_dict() {
    has_torchvision_s_logits("alexnet-one-weird-trick", &alexnet());
}
