//! The driver's interface: streams, events, graphs, attributes, errors, fault injection.

mod support;

use std::process::Command;

use cudarc::driver::{LaunchConfig, PushKernelArg, result, sys};
use support::{context, module};

fn config(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: shared }
}

#[test]
fn the_device_is_what_it_says() {
    let (context, _) = context();
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    assert!(context.name().unwrap().contains("emulator"));
    let (free, total) = context.mem_get_info().unwrap();
    assert!(free <= total && total == 16 << 30);
    // SAFETY: plain queries.
    let version = unsafe {
        let mut version = 0;
        assert_eq!(sys::cuDriverGetVersion(&mut version), sys::CUresult::CUDA_SUCCESS);
        version
    };
    assert_eq!(version, 13000);
}

#[test]
fn a_graph_replays_what_was_captured() {
    let (context, _) = context();
    let stream = context.new_stream().unwrap();
    let scale = module(&context, "driver").load_function("scale").unwrap();
    let mut x = stream.clone_htod(&[1f32; 100]).unwrap();
    let n = 100i32;
    stream.synchronize().unwrap();
    // cudarc's events of a slice would be recorded into the capture.
    // SAFETY: one stream is used.
    unsafe { context.disable_event_tracking() };
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
    // SAFETY: the arguments are those the kernel declares; so in every launch below.
    unsafe { stream.launch_builder(&scale).arg(&mut x).arg(&n).launch(config(1, 128, 0)) }.unwrap();
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).unwrap().expect("a graph");
    assert_eq!(stream.clone_dtoh(&x).unwrap()[1], 1.0, "capturing does nothing yet");
    graph.launch().unwrap();
    graph.launch().unwrap();
    // x ← 2x + 20, twice.
    assert_eq!(stream.clone_dtoh(&x).unwrap()[1], (1.0 * 2.0 + 20.0) * 2.0 + 20.0);
}

#[test]
fn events_streams_and_pinned_memory() {
    let (context, stream) = context();
    let other = context.new_stream().unwrap();
    let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(flags).unwrap();
    let x = stream.clone_htod(&[3f32; 10]).unwrap();
    let end = stream.record_event(flags).unwrap();
    other.wait(&end).unwrap();
    assert!(start.elapsed_ms(&end).unwrap() >= 0.0);
    assert_eq!(other.clone_dtoh(&x).unwrap(), [3.0; 10]);
    // SAFETY: the memory is written before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<f32>(10) }.unwrap();
    other.memcpy_dtoh(&x, &mut pinned).unwrap();
    assert_eq!(pinned.as_slice().unwrap(), [3.0; 10]);
}

#[test]
fn module_variables_and_function_attributes() {
    let (context, stream) = context();
    let module = module(&context, "driver");
    let big = module.load_function("big_shared").unwrap();
    let mut x = stream.alloc_zeros::<f32>(64).unwrap();
    let bytes = 64 * 300 * 4;
    // SAFETY: the arguments are those the kernel declares.
    let refused = unsafe { stream.launch_builder(&big).arg(&mut x).launch(config(1, 64, bytes)) };
    assert_eq!(refused.unwrap_err().0, sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    big.set_attribute(attribute, bytes as i32).unwrap();
    // SAFETY: as above.
    unsafe { stream.launch_builder(&big).arg(&mut x).launch(config(1, 64, bytes)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&x).unwrap(), std::array::from_fn::<f32, 64, _>(|t| (63 - t) as f32));
    assert!(big.set_attribute(attribute, 200 << 10).is_err());
    assert!(big.occupancy_max_active_blocks_per_multiprocessor(64, bytes as usize, None).unwrap() == 2);
    assert_eq!(module.load_function("absent").unwrap_err().0, sys::CUresult::CUDA_ERROR_NOT_FOUND);
}

#[test]
fn lanes_that_meet_at_different_places() {
    let (context, stream) = context();
    let module = module(&context, "driver");
    let f = module.load_function("warp_sync").unwrap();
    let mut x = stream.alloc_zeros::<i32>(32).unwrap();
    // SAFETY: the arguments are those the kernel declares.
    unsafe { stream.launch_builder(&f).arg(&mut x).launch(config(1, 32, 0)) }.unwrap();
    let wanted: Vec<i32> = (0..32)
        .map(|t| {
            let v = if t < 16 { 15 - t + if t < 15 { t + 1 } else { t } } else { 2 * (47 - t) + (16..32).sum::<i32>() };
            v.wrapping_add((0xffu32 << (t / 8 * 8)) as i32).wrapping_add(5)
        })
        .collect();
    assert_eq!(stream.clone_dtoh(&x).unwrap(), wanted);
    let spin = module.load_function("spin").unwrap();
    // SAFETY: as above.
    unsafe { stream.launch_builder(&spin).arg(&mut x).launch(config(1, 64, 0)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&x).unwrap()[0], 7);
}

#[test]
fn what_is_not_known_is_an_error_that_names_it() {
    let (context, _) = context();
    let load = |line: &str| {
        let text =
            format!(".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k() {{ .reg .b32 %r<3>; {line} ret; }}");
        support::ptx(&context, &text).load_function("k").map(|_| ())
    };
    for line in
        ["frobnicate.b32 %r0, %r1;", "add.twice.s32 %r0, %r1, %r2;", "mul.s32 %r0, %r1, %r2;", "wgmma.fence.sync.aligned;"]
    {
        assert_eq!(load(line).unwrap_err().0, sys::CUresult::CUDA_ERROR_INVALID_PTX, "{line}");
    }
    assert!(load("add.s32 %r0, %r1, %r2;").is_ok());
}

#[test]
fn out_of_memory_and_wrong_handles() {
    let (_context, stream) = context();
    // SAFETY: the allocation fails.
    let too_much = unsafe { stream.alloc::<u8>(17 << 30) };
    assert_eq!(too_much.unwrap_err().0, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    // SAFETY: the handles are numbers to the emulator, and wrong ones.
    unsafe {
        assert_eq!(sys::cuStreamSynchronize(0x999 as sys::CUstream), sys::CUresult::CUDA_ERROR_INVALID_HANDLE);
        assert_eq!(sys::cuMemFree_v2(12345), sys::CUresult::CUDA_ERROR_INVALID_VALUE);
        assert!(result::memcpy_htod_sync(0xdead_0000, &[1u8]).is_err());
    }
}

/// What the child of the next test does; alone it does nothing.
#[test]
fn child() {
    if std::env::var_os("EMULATOR_TEST_CHILD").is_none() {
        return;
    }
    emulator::testing::load().unwrap();
    let steps = || -> Result<(), cudarc::driver::DriverError> {
        let context = cudarc::driver::CudaContext::new(0)?;
        let stream = context.default_stream();
        let x = stream.clone_htod(&[1f32; 8])?;
        let y = stream.clone_htod(&[2f32; 8])?;
        stream.clone_dtoh(&x)?;
        stream.clone_dtoh(&y)?;
        context.synchronize()
    };
    match steps() {
        Ok(()) => println!("child: done"),
        Err(e) => println!("child: {}", e.0 as u32),
    }
}

fn child_says(fail: &str, calls: Option<&std::path::Path>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env("EMULATOR_TEST_CHILD", "1").env("CONVNET_EMULATOR_FAIL", fail);
    if let Some(path) = calls {
        command.env("CONVNET_EMULATOR_CALLS", path);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The test harness writes its own words on the same line.
    text.split("child: ").nth(1).map_or(text.clone(), |t| t.lines().next().unwrap_or("").to_string())
}

#[test]
fn each_call_can_be_made_to_fail() {
    let calls = std::env::temp_dir().join(format!("emulator-calls-{}", std::process::id()));
    assert_eq!(child_says("", Some(&calls)), "done");
    let counts = std::fs::read_to_string(&calls).unwrap();
    let _ = std::fs::remove_file(&calls);
    let total: u64 = counts.lines().next().and_then(|l| l.strip_prefix("total ")?.parse().ok()).expect("a total");
    assert!(counts.lines().any(|l| l == "cuInit 1") && total > 10, "{counts}");
    assert_eq!(child_says("cuInit", None), "100");
    assert_eq!(child_says("cuMemAllocAsync:2", None), "2");
    assert_eq!(child_says("cuMemcpyDtoHAsync_v2:1:700", None), "700");
    assert_eq!(child_says("1", None), "100");
    assert_eq!(child_says(&format!("{}", total + 100), None), "done");
}
