//! The CUDA device: on this machine's card where it has one, else on the emulator of `emulator/`, which the tests load as
//! their libcuda. A build without kernels (no nvcc) fails here, on purpose: scripts/install-nvcc.sh is quick.

mod configs;
mod conformance;
mod counters;
mod failures;
mod faults;
mod fused;
mod hopper;
mod memory_bound;
mod order;
mod recorded;
mod runs;
mod tiles;
mod training;

#[path = "../common/mod.rs"]
mod common;

use convnet::device::cuda::CudaDevice;
use std::path::Path;
use std::process::{Command, Output};

/// Whether a card's driver is there. CONVNET_TEST_EMULATOR takes the emulator all the same.
fn on_a_card() -> bool {
    std::env::var_os("CONVNET_TEST_EMULATOR").is_none() && ["/dev/nvidiactl", "/dev/dxg"].iter().any(|p| Path::new(p).exists())
}

/// The device under test.
fn device() -> CudaDevice {
    if !on_a_card() {
        emulator::testing::load().expect("the emulator is built with the tests");
    }
    CudaDevice::new(0).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs one of the ignored tests of this program in a process of its own, with these variables set: the driver is loaded, and
/// the emulator's options are read, once a process.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    // Cargo's own folders, where the emulator lies, are on the library path.
    command.env_remove("LD_LIBRARY_PATH").envs(variables.iter().copied()).output().expect("this program runs again")
}

/// What a child said.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
