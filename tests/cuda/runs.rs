//! The command on the CUDA device, on the emulator: killed, and with a driver whose calls fail.

use super::common::{Ended, Folder, SMALL, command};
use super::on_a_card;
use std::path::Path;
use std::time::{Duration, Instant};

/// `convnet` in a folder, with the emulator as its driver and these variables set.
fn on_the_emulator(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> std::process::Command {
    let library = emulator::testing::folder(&folder.path("")).unwrap();
    let mut command = command(&folder.path(""), arguments);
    command.args(["--device", "cuda"]).env("LD_LIBRARY_PATH", library).envs(variables.iter().copied());
    command
}

fn run(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    Ended::of(on_the_emulator(folder, arguments, variables).output().unwrap())
}

/// The twenty steps of one epoch, into a folder.
fn train(out: &str) -> Vec<&str> {
    vec!["train", "net.toml", "--epochs", "1", "--set", "train.checkpoint_every=2", "--out", out]
}

fn last_weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("checkpoints/step-20/weights.safetensors")).unwrap()
}

/// A run that was killed by SIGKILL and resumed ends with the bits of one that was left alone.
#[test]
fn a_killed_run_resumes_to_equal_bits() {
    if on_a_card() {
        return; // scripts/gpu-check.sh does this on a card
    }
    let folder = Folder::new(SMALL);
    run(&folder, &train("whole"), &[]).ended(0);
    let mut child = on_the_emulator(&folder, &train("killed"), &[]).spawn().unwrap();
    let begun = Instant::now();
    while !folder.path("killed/checkpoints/step-4").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint of step 4 within two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    run(&folder, &["resume", "killed"], &[]).ended(0);
    assert!(last_weights(&folder.path("killed")) == last_weights(&folder.path("whole")), "other bits");
}

/// Calls of the driver that fail, ten from the first (cuInit) to the last of a run: one message and status 1, or no difference
/// where all goes away; and the run, if it had begun, is resumed to the bits of one that was left alone. (Every call, without
/// the command around it: faults.rs.)
#[test]
fn a_failing_driver_loses_no_run() {
    if on_a_card() {
        return; // no card fails on request
    }
    let folder = Folder::new(SMALL);
    let calls = folder.path("calls");
    run(&folder, &train("whole"), &[("CONVNET_EMULATOR_CALLS", calls.to_str().unwrap())]).ended(0);
    let counts = std::fs::read_to_string(calls).unwrap();
    let total = counts.lines().find_map(|l| l.strip_prefix("total ")?.parse::<usize>().ok()).unwrap();
    assert!(total > 1000, "{counts}");
    for k in 0..10 {
        let n = (1 + k * (total - 1) / 9).to_string();
        let out = format!("run-{k}");
        let ended = run(&folder, &train(&out), &[("CONVNET_EMULATOR_FAIL", &n)]);
        if ended.status != 0 {
            ended.failed(1, &[]);
        }
        if folder.path(&out).exists() {
            run(&folder, &["resume", &out], &[]).ended(0);
            assert!(last_weights(&folder.path(&out)) == last_weights(&folder.path("whole")), "call {n}: other bits");
        }
    }
}
