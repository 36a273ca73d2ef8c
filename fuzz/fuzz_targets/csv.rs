//! Tables of targets: what opens can be read, or an error says why not. `cargo +nightly fuzz run csv`
#![no_main]

#[path = "../opens.rs"]
mod opens;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| opens::with("train.csv", file));
