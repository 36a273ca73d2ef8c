//! Darknet's classifiers. `cargo +nightly fuzz run darknet`
#![no_main]

#[path = "../holds.rs"]
mod holds;

use convnet::config::NetSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    holds::for_config(NetSpec::from_darknet(text, "net.cfg", &[]));
});
