//! cuda-convnet pairs: the two files with a line `---- parameters ----` between them. `cargo +nightly fuzz run cuda_convnet`
#![no_main]

#[path = "../holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    holds::for_pair(text);
});
