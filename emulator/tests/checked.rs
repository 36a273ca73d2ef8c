//! Checked mode: every planted fault is caught and named, every repaired twin passes clean.
//!
//! One process in checked mode; findings are read from the report file, so the tests here are one test.

mod support;

use cudarc::driver::{DriverError, LaunchConfig, PushKernelArg};
use support::{context, module};

/// (kernel without "_fixed", what it is to be called, the CUresult of its launch). A kernel that has no fault is its own twin.
const FAULTS: [(&str, &str, u32); 11] = [
    ("global_overrun", "out-of-bounds", 700),
    ("shared_overrun", "out-of-bounds", 700),
    ("misaligned", "misaligned", 716),
    ("uninitialised", "uninitialised", 0),
    ("uninitialised_shared", "uninitialised", 0),
    ("missing_barrier", "shared-race", 0),
    ("missing_second_barrier", "shared-race", 0),
    ("divergent_barrier", "divergent-barrier", 0),
    ("outside_its_part", "global-race", 0),
    ("never_written", "never-written", 0),
    ("pending_copy", "pending-copy", 0),
];

fn code(result: Result<(), DriverError>) -> u32 {
    result.map_or_else(|e| e.0 as u32, |()| 0)
}

#[test]
fn planted_faults_are_caught_and_their_twins_pass() {
    let report = std::env::temp_dir().join(format!("emulator-report-{}.jsonl", std::process::id()));
    // SAFETY: this process has one test, and nothing has read the environment yet.
    unsafe {
        std::env::set_var("CONVNET_EMULATOR_CHECK", "1");
        std::env::set_var("CONVNET_EMULATOR_REPORT", &report);
    }
    let (context, stream) = context();
    let faults = module(&context, "faults");
    let findings = || {
        let text = std::fs::read_to_string(&report).unwrap_or_default();
        let _ = std::fs::remove_file(&report);
        text
    };
    let config = LaunchConfig { grid_dim: (2, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 };
    let n = 100i32;
    let run = |name: &str| {
        let f = faults.load_function(name).expect(name);
        // SAFETY: the kernel writes what it reads, or that is the fault to be found.
        let mut x = unsafe { stream.alloc::<f32>(if name.starts_with("global") { 100 } else { 128 }) }.unwrap();
        if matches!(name, "misaligned" | "misaligned_fixed" | "early_exit_fixed" | "global_overrun_fixed" | "outside_its_part") {
            stream.memset_zeros(&mut x).unwrap();
        }
        // SAFETY: the arguments are those the kernel declares.
        let result = unsafe { stream.launch_builder(&f).arg(&mut x).arg(&n).launch(config) };
        let result = code(result.map(|_| ()));
        let back = if result == 0 { stream.clone_dtoh(&x).unwrap() } else { Vec::new() };
        (result, back)
    };
    for (name, kind, wanted) in FAULTS {
        let (result, _) = run(name);
        let found = findings();
        assert_eq!(result, wanted, "{name}: the launch's result; findings: {found}");
        let line = found.lines().find(|l| l.contains(&format!("\"kind\":\"{kind}\"")));
        let line = line.unwrap_or_else(|| panic!("{name}: no {kind} among: {found}"));
        if kind != "never-written" {
            assert!(line.contains(&format!("\"kernel\":\"{name}\"")) && line.contains("faults.cu:"), "{name}: {line}");
        }
        assert!(found.lines().all(|l| l.contains(kind)), "{name}: other findings too: {found}");

        let (result, _) = run(&format!("{name}_fixed"));
        assert_eq!((result, findings().as_str()), (0, ""), "{name}_fixed is clean");
    }
    let (result, back) = run("early_exit_fixed");
    assert_eq!((result, findings().as_str()), (0, ""), "early exits are clean");
    assert_eq!(back[..50], std::array::from_fn::<f32, 50, _>(|t| (49 - t) as f32));

    // Use after free: the address of an allocation that is gone.
    let f = faults.load_function("use_after_free").expect("use_after_free");
    let gone = {
        use cudarc::driver::DevicePtr;
        let x = stream.alloc_zeros::<f32>(128).unwrap();
        x.device_ptr(&stream).0
    };
    // SAFETY: the fault to be found.
    let result = unsafe { stream.launch_builder(&f).arg(&gone).arg(&n).launch(config) };
    let found = findings();
    assert_eq!(code(result.map(|_| ())), 700);
    assert!(found.contains("\"kind\":\"use-after-free\"") && found.contains("faults.cu:"), "{found}");
}
