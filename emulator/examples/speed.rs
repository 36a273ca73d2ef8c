//! How fast the emulator is: lane-instructions a second on a tiled FFMA matrix product, on one core.
//!
//! `cargo run --release -p convnet-emulator --example speed`; RAYON_NUM_THREADS is set to 1 here.

#[path = "../tests/support/mod.rs"]
mod support;

use cudarc::driver::{LaunchConfig, PushKernelArg};

/// Seconds of processor time, so that a busy machine tells the same.
fn seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and the place for its answer is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: nothing else runs yet that reads the environment.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    let (context, stream) = support::context();
    let module = support::module(&context, "kernels");
    let gemm = module.load_function("gemm")?;
    let n = 512usize;
    let (a, b) = (stream.clone_htod(&vec![1f32; n * n])?, stream.clone_htod(&vec![2f32; n * n])?);
    let mut c = stream.alloc_zeros::<f32>(n * n)?;
    let config = LaunchConfig { grid_dim: (n as u32 / 16, n as u32 / 16, 1), block_dim: (16, 16, 1), shared_mem_bytes: 0 };
    let size = n as i32;
    for round in 0..3 {
        let start = seconds();
        let mut launch = stream.launch_builder(&gemm);
        launch.arg(&a).arg(&b).arg(&mut c).arg(&size).arg(&size).arg(&size);
        // SAFETY: the arguments are those the kernel declares.
        unsafe { launch.launch(config) }?;
        let seconds = seconds() - start;
        // In the loop's body: 2 global loads, 32 shared loads, 16 fma, 2 stores, 2 barriers, some 20 of addresses and control.
        let instructions = (n * n) as f64 * (n as f64 / 16.0) * 74.0;
        println!(
            "round {round}: {seconds:.3} s, {:.0} million lane-instructions/s, {:.2} GFLOP/s",
            instructions / seconds / 1e6,
            2.0 * (n * n * n) as f64 / seconds / 1e9
        );
    }
    let c = stream.clone_dtoh(&c)?;
    assert!(c.iter().all(|&v| v == 2.0 * n as f32), "the product is wrong");
    Ok(())
}
