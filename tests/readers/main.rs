//! The readers of configs on whatever they are given: mutations of the fuzz targets' corpora, and each format's own tests.

mod caffe;
#[path = "../common/mod.rs"]
mod common;
mod convert;
mod cuda_convnet;
mod darknet;
#[path = "../../fuzz/holds.rs"]
mod holds;
mod mutations;

use convnet::config::{ConfigError, NetSpec};
use mutations::mutate;

/// Mutated TOML configs read, or get an error that can be shown.
#[test]
fn toml_survives_mutations() {
    mutate("toml", |text| holds::for_config(NetSpec::from_toml(text, "net.toml", &[])));
}

/// Mutated cuda-convnet pairs too.
#[test]
fn pairs_survive_mutations() {
    mutate("cuda_convnet", holds::for_pair);
}

/// Mutated nets and solvers of Caffe.
#[test]
fn caffe_survives_mutations() {
    mutate("caffe", |text| holds::for_config(NetSpec::from_caffe(text, "net.prototxt", &[])));
}

/// Mutated configs of darknet.
#[test]
fn darknet_survives_mutations() {
    mutate("darknet", |text| holds::for_config(NetSpec::from_darknet(text, "net.cfg", &[])));
}

/// A config to set keys of.
fn lenet() -> String {
    common::LENET.to_owned()
}

/// Fails unless a file of a corpus is the same config as the TOML of that name beside these tests, with the notes that its
/// first lines say (`# note: LINE: …`) and images of the shape and number of classes that it says (`# images: …`).
fn becomes(corpus: &str, name: &str, ending: &str, read: fn(&str, &str, &[String]) -> Result<NetSpec, ConfigError>) {
    let text = |path: String| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let root = env!("CARGO_MANIFEST_DIR");
    let spec = read(&text(format!("{root}/fuzz/corpus/{corpus}/{name}.{ending}")), name, &[]);
    let spec = spec.unwrap_or_else(|e| panic!("{}", e.render(false)));
    let wanted = text(format!("{root}/tests/readers/{corpus}/{name}.toml"));
    let notes: Vec<String> = wanted.lines().filter_map(|l| l.strip_prefix("# note: ")).map(|l| format!("{name}:{l}")).collect();
    let images = wanted.lines().find_map(|l| l.strip_prefix("# images: "));
    let wanted = NetSpec::from_toml(&wanted, name, &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    assert!(spec == wanted, "{name} became\n{}", spec.to_toml());
    assert_eq!(spec.notes, notes, "{name}");
    let known = spec.images.map(|i| format!("{:?}, {} classes", i.shape, i.classes));
    assert_eq!(known.as_deref(), images, "{name}");
}
