//! Caffe's nets and solvers. `cargo +nightly fuzz run caffe`
#![no_main]

#[path = "../holds.rs"]
mod holds;

use convnet::config::NetSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    holds::for_config(NetSpec::from_caffe(text, "net.prototxt", &[]));
});
