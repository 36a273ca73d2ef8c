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

/// A frozen layer has no gradient computed, only passes on the one that layers before it need; and those before which nothing
/// learns have none at all. By the kernels that one step and its test launch, as the emulator counts them.
#[test]
fn a_frozen_layer_queues_no_gradient() {
    if on_a_card() {
        return; // only the emulator counts
    }
    let layers = r#"
[[layer]]
name = "a"
type = "conv"
filters = 4
size = 6
stride = 3
[[layer]]
name = "b"
type = "local"
filters = 4
size = 3
stride = 3
[[layer]]
name = "c"
type = "fc"
outputs = 12
[[layer]]
name = "probabilities""#;
    let (head, tail) = (SMALL.split("[[layer]]").next().unwrap(), SMALL.split("name = \"probabilities\"").nth(1).unwrap());
    let folder = Folder::new(&format!("{head}{layers}{tail}"));
    let backward = ["conv_backward_filters", "conv_backward_image", "local_backward_filters", "local_backward_image"];
    let counted = [&backward[..], &["gemm_tn", "gemm_nn", "bias_backward", "sgd_update"]].concat();
    let mut out = 0;
    let mut launches = |frozen: &[&str]| -> Vec<u64> {
        out += 1;
        let (out, profile) = (format!("run{out}"), folder.path(&format!("profile{out}")));
        let sets: Vec<String> = frozen.iter().map(|layer| format!("layer.{layer}.learning_rate=0")).collect();
        let mut arguments = vec!["train", "net.toml", "--epochs", "0.05", "--set", "train.precision=f32", "--out", &out];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        run(&folder, &arguments, &[("CONVNET_EMULATOR_PROFILE", profile.to_str().unwrap())]).ended(0);
        let kernels: serde_json::Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
        let of = |prefix: &str| {
            let named = kernels.as_object().unwrap().iter().filter(|(name, _)| name.starts_with(prefix));
            named.map(|(_, counts)| counts["launches"].as_u64().unwrap()).sum()
        };
        assert!(of("local_forward") > 0, "the profile has what ran: {kernels}");
        counted.iter().map(|prefix| of(prefix)).collect()
    };
    //                                  conv: filters, image; local: filters, image; fc: weights, input; biases; updates
    assert_eq!(launches(&[]), [1, 0, 1, 1, 1, 1, 3, 6], "{counted:?}");
    assert_eq!(launches(&["b", "c"]), [1, 0, 0, 1, 0, 1, 1, 2], "{counted:?}, two frozen behind one that learns");
    assert_eq!(launches(&["a", "b"]), [0, 0, 0, 0, 1, 0, 1, 2], "{counted:?}, two frozen before one that learns");
}

/// The peaks that a net is compared with are those of the precision that it runs in.
#[test]
fn peaks_are_of_the_nets_precision() {
    if on_a_card() {
        return; // only the emulator counts
    }
    let folder = Folder::new(SMALL);
    for precision in ["tf32", "bf16"] {
        let set = format!("train.precision={precision}");
        let arguments = ["bench", "net.toml", "--batch", "2", "--repeats", "1", "--warm-up", "0", "--json", "--set", &set];
        let profile = folder.path(precision);
        let ended = run(&folder, &arguments, &[("CONVNET_EMULATOR_PROFILE", profile.to_str().unwrap())]).ended(0);
        let times: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(times["peaks"]["precision"], precision, "{}", times["peaks"]);
        let kernels: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
        let ran: Vec<&String> = kernels.keys().filter(|name| name.ends_with("tf32") || name.ends_with("bf16")).collect();
        assert!(!ran.is_empty() && ran.iter().all(|name| name.ends_with(precision)), "in {precision}: {ran:?}");
    }
}
