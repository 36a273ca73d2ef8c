//! A run whose every call of the driver is failed in turn, and then every call from it on, as after a kernel's fault: an error
//! that names the call each time, never a panic, and a run folder that is not there yet or goes on to the bits of a run that
//! nothing happened to.
//!
//! The run is the library's, as the commands `train` and `resume` make it, of a net so small that what counts is the calls.

use super::common::setup;
use super::{child, on_a_card, said};
use convnet::device;
use convnet::train::{Error, Event, Line, Run, Trainer, checkpoint, read_lines};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Three steps: one queued kernel by kernel, one recorded, one replayed; lines, tests and checkpoints between them.
const TINY: &str = r#"
name = "tiny"
[data]
source = "synthetic"
synthetic = { shape = [6, 6, 1], classes = 3, train_images = 12, test_images = 4 }
[train]
batch = 4
epochs = 1
seed = 3
learning_rate = 0.05
log_every = 2
test_every = 2
checkpoint_every = 1
keep = 2
monitor_weights = true
[[layer]]
name = "conv1"
type = "conv"
filters = 2
size = 3
neuron = "relu"
[[layer]]
name = "fc1"
type = "fc"
outputs = 3
[[layer]]
name = "probabilities"
type = "softmax"
[[layer]]
name = "cost"
type = "logistic-regression"
"#;

/// The command `train`; stopped, as by Ctrl-C, after that step.
fn train(run: &Path, stop_after: u64) -> Result<(), Error> {
    let setup = setup(TINY, &[]);
    let mut trainer = Trainer::new(setup, device::open("cuda", 1)?.0)?;
    let first = trainer.checkpoint(None, 0)?;
    let run = Run::create(run, &trainer.setup().spec.to_toml(), &first)?;
    go(trainer, run, stop_after)
}

/// The command `resume`. The newest checkpoint is whole, whatever happened before.
fn resume(run: &Path) -> Result<(), Error> {
    let mut run = Run::open(run)?;
    let found = checkpoint::newest(&run.checkpoints(), true, |warning| panic!("{warning}"))?;
    let path = run.checkpoints().join(format!("step-{}", found.state.step));
    let trainer = Trainer::resume(setup(TINY, &[]), device::open("cuda", 1)?.0, &found, &path)?;
    run.rewind(found.state.metrics_bytes, |warning| panic!("{warning}"))?;
    go(trainer, run, u64::MAX)
}

fn go(mut trainer: Trainer, mut run: Run, stop_after: u64) -> Result<(), Error> {
    let stop = AtomicBool::new(false);
    trainer.run(&mut run, &stop, &mut |event| {
        if matches!(event, Event::Step { step, .. } if step == stop_after) {
            stop.store(true, Ordering::Relaxed);
        }
    })?;
    // What fails later, while the device goes away, does no harm.
    assert_eq!(emulator::testing::failed().unwrap(), None, "a call failed, and the run went on");
    Ok(())
}

/// What a run ended with: its last checkpoint's weights and optimizer, and its lines but for the times.
fn end(run: &Path) -> (Vec<Vec<u8>>, Vec<Line>) {
    let files = ["weights.safetensors", "optimizer.safetensors"];
    let files = files.map(|name| std::fs::read(run.join("checkpoints/step-3").join(name)).unwrap());
    let mut lines = read_lines(&run.join("metrics.jsonl")).unwrap();
    lines.iter_mut().for_each(|l| (l.seconds, l.images_per_second, l.data_wait) = (0.0, 0.0, 0.0));
    (files.into(), lines)
}

/// A folder in memory, where there is such a place: thousands of runs wait for their files to be on the disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Makes the first call of `attempt` fail, then in a new run the second, and so on until there is none left, each with those
/// after it until `times` have failed.
fn fail_in_turn(times: u64, prepare: impl Fn(&Path), attempt: impl Fn(&Path) -> Result<(), Error>) {
    emulator::testing::load().unwrap();
    let whole = folder();
    let whole = whole.path().join("run");
    train(&whole, u64::MAX).unwrap();
    let whole = end(&whole);
    assert_eq!(whole.1.len(), 4, "two lines of training and two tests");

    let mut functions = BTreeSet::new();
    for call in 1.. {
        let folder = folder();
        let run = folder.path().join("run");
        prepare(&run);
        emulator::testing::fail(call, times).unwrap();
        let attempted = catch_unwind(AssertUnwindSafe(|| attempt(&run)));
        let failed = emulator::testing::failed().unwrap();
        emulator::testing::fail(0, 0).unwrap();
        let attempted = attempted.unwrap_or_else(|_| panic!("call {call}, {failed:?}: it panicked"));
        let Some(function) = failed else {
            attempted.unwrap();
            assert!(end(&run) == whole, "nothing failed, and other bits");
            println!("{} calls of {} functions have failed", call - 1, functions.len());
            return;
        };
        let created = run.exists();
        match attempted {
            Ok(()) => assert!(created),
            Err(error) => {
                let text = error.to_string();
                let named = matches!(error, Error::Device(_)) && text.contains(&function);
                let memory = matches!(error, Error::TooLarge { .. }) && function == "cuMemAlloc_v2";
                assert!(named || memory, "call {call}, {function}: {text}");
            }
        }
        if created {
            resume(&run).unwrap_or_else(|error| panic!("call {call}, {function}: resumed, {error}"));
            assert!(end(&run) == whole, "call {call}, {function}: resumed, other bits");
        }
        functions.insert(function);
    }
}

#[test]
#[ignore = "a part of another test"]
fn one_call_of_training() {
    fail_in_turn(1, |_| (), |run| train(run, u64::MAX));
}

#[test]
#[ignore = "a part of another test"]
fn all_calls_of_training_from_one_on() {
    fail_in_turn(u64::MAX, |_| (), |run| train(run, u64::MAX));
}

#[test]
#[ignore = "a part of another test"]
fn one_call_of_resuming() {
    fail_in_turn(1, |run| train(run, 1).unwrap(), resume);
}

/// Runs one of the above in a process of its own, whose calls are all its own. The functions that fail in it are all that the
/// device calls, but for cuInit, called once a process (`a_failing_driver_loses_no_run` has it), cuMemGetInfo, called when
/// memory has run out, and the two that name errors.
fn in_a_process(test: &str) {
    if on_a_card() {
        return; // no card fails on request
    }
    let output = child(&format!("faults::{test}"), &[]);
    assert!(output.status.success(), "{}", said(&output));
    let said = said(&output);
    let counted = said.lines().find(|l| l.contains("functions have failed")).expect("the child counts");
    let numbers: Vec<usize> = counted.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 500 && numbers[1] == 35, "{counted}");
}

#[test]
fn every_call_of_training_fails_cleanly() {
    in_a_process("one_call_of_training");
}

#[test]
fn a_driver_that_fails_for_good_in_training_fails_cleanly() {
    in_a_process("all_calls_of_training_from_one_on");
}

#[test]
fn every_call_of_resuming_fails_cleanly() {
    in_a_process("one_call_of_resuming");
}
