//! The readers of configs on whatever they are given: mutations of the fuzz targets' corpora, and each format's own tests.

#[path = "../common/mod.rs"]
mod common;
mod convert;
mod cuda_convnet;
#[path = "../../fuzz/holds.rs"]
mod holds;
mod mutations;

use convnet::config::NetSpec;
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
