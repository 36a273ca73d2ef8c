//! Training passes are recorded and replayed: the same bits as passes queued operation by operation, and fewer calls.

use super::common::{Folder, SMALL, setup};
use super::{child, device, on_a_card, said};
use convnet::data::Loader;
use convnet::device::StepValues;
use convnet::layer::Phase;
use convnet::net::{BatchBytes, UpdateRule};
use convnet::op::Write;
use convnet::train::{Run, Trainer, read_lines};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Two parts a batch, so that one pass sets the gradients and one adds to them; dropout, shifts and a rate of each step.
const TWO_PARTS: &[&str] = &["train.micro_batch=16"];

fn cuda() -> Trainer {
    Trainer::new(setup(SMALL, TWO_PARTS), Box::new(device())).unwrap()
}

fn bits(trainer: &mut Trainer) -> Vec<(String, Vec<u32>)> {
    let checkpoint = trainer.checkpoint(None, 0).unwrap();
    let tensors = checkpoint.weights.into_iter().chain(checkpoint.optimizer);
    tensors.map(|t| (t.name, t.values.iter().map(|v| v.to_bits()).collect())).collect()
}

/// What `Trainer::one_step` does, with nothing recorded and nothing fed ahead.
fn plain_steps(trainer: &mut Trainer, steps: std::ops::Range<u64>) {
    let (t, augment) = (trainer.setup().spec.train.clone(), trainer.setup().spec.data.augment);
    let images = trainer.setup().data.train.clone();
    let micro = trainer.setup().micro_batch();
    let total = trainer.total_steps();
    let mut loader = Loader::train(images, micro, t.seed, augment, steps.start * t.batch as u64).unwrap();
    for step in steps {
        for part in 0..t.batch / micro {
            let batch = loader.next().unwrap();
            let net = trainer.net();
            net.feed(BatchBytes { images: &batch.images, places: &batch.places, labels: &batch.labels, values: &[] }).unwrap();
            net.set_step(StepValues {
                seed: t.seed,
                step,
                first_image: (part * micro) as u32,
                images: micro as u32,
                gradient_scale: 1.0 / t.batch as f64,
                learning_rate: t.learning_rate.rate(step, total),
                momentum: t.momentum.rate(step, total),
            })
            .unwrap();
            net.forward(Phase::Train).unwrap();
            net.backward(if part == 0 { Write::Set } else { Write::Add }).unwrap();
            loader.recycle(batch);
        }
        let rule = UpdateRule {
            weight_decay: t.weight_decay,
            l1_decay: t.l1_decay,
            nesterov: t.nesterov,
            clip_norm: None,
            step,
            total_steps: total,
        };
        trainer.net().update(&rule).unwrap();
    }
}

/// Ten steps recorded, ten steps plain, and ten recorded ones interrupted after the fifth by a test, a checkpoint and a new
/// process's device: equal bits of parameters, momenta and metrics.
#[test]
fn recorded_steps_have_the_bits_of_plain_ones() {
    let mut plain = cuda();
    plain_steps(&mut plain, 0..10);
    let expected = bits(&mut plain);

    let mut recorded = cuda();
    (0..10).for_each(|_| recorded.one_step().unwrap());
    assert!(bits(&mut recorded) == expected, "recorded steps have other bits");

    let mut first = cuda();
    (0..5).for_each(|_| first.one_step().unwrap());
    let middle = first.checkpoint(None, 0).unwrap();
    let mut second = Trainer::resume(setup(SMALL, TWO_PARTS), Box::new(device()), &middle, Path::new("step-5")).unwrap();
    (0..5).for_each(|_| second.one_step().unwrap());
    assert!(bits(&mut second) == expected, "a resumed run has other bits");
}

/// Tests, lines and checkpoints between steps write over the feed and read; the steps after them are replayed all the same,
/// to the bits of plain steps in a row.
#[test]
fn tests_between_recorded_steps_change_no_bit() {
    let sets = [TWO_PARTS, &["train.epochs=0.3", "train.test_every=2", "train.log_every=3"]].concat();
    let new = || Trainer::new(setup(SMALL, &sets), Box::new(device())).unwrap();
    let mut plain = new();
    plain_steps(&mut plain, 0..6);
    let mut tested = new();
    let folder = Folder::new("");
    let first = tested.checkpoint(None, 0).unwrap();
    let mut run = Run::create(&folder.path("run"), &tested.setup().spec.to_toml(), &first).unwrap();
    tested.run(&mut run, &AtomicBool::new(false), &mut |_| ()).unwrap();
    assert_eq!((tested.steps_done(), read_lines(&folder.path("run/metrics.jsonl")).unwrap().len()), (6, 7));
    // The lines cleared the metrics.
    let parameters = |trainer: &mut Trainer| bits(trainer).into_iter().filter(|(name, _)| name != "metrics").collect::<Vec<_>>();
    assert!(parameters(&mut tested) == parameters(&mut plain));
}

/// Called in a process of its own, whose calls of the driver are counted.
#[test]
#[ignore = "a part of another test"]
fn ten_steps() {
    let mut trainer = cuda();
    (0..10).for_each(|_| trainer.one_step().unwrap());
}

/// Of ten steps of two parts, each part's first pass is queued kernel by kernel, its second is recorded, and that and the
/// eight that follow are one call each.
#[test]
fn a_replayed_pass_is_one_call() {
    if on_a_card() {
        return; // only the emulator counts calls
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls");
    let output = child("recorded::ten_steps", &[("CONVNET_EMULATOR_CALLS", path.to_str().unwrap())]);
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(path).unwrap();
    let calls = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |n| n.parse::<usize>().unwrap())
    };
    assert_eq!((calls("cuStreamBeginCapture_v2"), calls("cuGraphInstantiateWithFlags"), calls("cuGraphLaunch")), (2, 2, 18));
}
