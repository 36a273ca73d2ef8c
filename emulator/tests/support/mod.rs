//! What the tests share: nvcc, and a context on the emulator through cudarc.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaModule, CudaStream};
use cudarc::nvrtc::Ptx;

/// nvcc: NVCC, the PATH, or what scripts/install-nvcc.sh installed. Its absence fails the test.
pub fn nvcc() -> PathBuf {
    if let Some(path) = std::env::var_os("NVCC") {
        return path.into();
    }
    let on_path = std::env::var_os("PATH").and_then(|p| std::env::split_paths(&p).map(|d| d.join("nvcc")).find(|n| n.is_file()));
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cuda/nvidia/cu13/bin/nvcc");
    on_path.or(Some(installed).filter(|n| n.is_file())).expect("no nvcc: run scripts/install-nvcc.sh, or set NVCC")
}

/// Compiles tests/fixtures/NAME.cu to a fatbin with PTX for compute_80.
pub fn compile(name: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.cu"));
    let out = std::env::temp_dir().join(format!("{name}-{}-{:?}.fatbin", std::process::id(), std::thread::current().id()));
    let result = Command::new(nvcc())
        .args(["-fatbin", "-gencode", "arch=compute_80,code=compute_80", "--no-compress", "-O3", "-lineinfo", "-std=c++17", "-o"])
        .args([&out, &source])
        .output()
        .expect("nvcc runs");
    assert!(result.status.success(), "nvcc: {}", String::from_utf8_lossy(&result.stderr));
    let bytes = std::fs::read(&out).expect("the fatbin");
    let _ = std::fs::remove_file(&out);
    bytes
}

/// A context and its default stream on the emulator.
pub fn context() -> (Arc<CudaContext>, Arc<CudaStream>) {
    emulator::testing::load().expect("the emulator loads");
    let context = CudaContext::new(0).expect("a context on the emulator");
    let stream = context.default_stream();
    (context, stream)
}

/// Loads a fixture.
pub fn module(context: &Arc<CudaContext>, name: &str) -> Arc<CudaModule> {
    context.load_module(Ptx::from_binary(compile(name))).expect("the module loads")
}

/// Loads PTX text.
pub fn ptx(context: &Arc<CudaContext>, text: &str) -> Arc<CudaModule> {
    context.load_module(Ptx::from_src(text)).expect("the PTX loads")
}
