//! Interrupt and resume, with the real binary: whatever stops a run, it goes on as if nothing had, or says why it cannot.

mod common;

use common::{Ended, Folder, RESUME, SMALL, TRAIN, classifier, command};
use convnet::train::checkpoint::{self, Checkpoint};
use convnet::train::{Line, Split, read_lines};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Killed by SIGKILL at 20 moments drawn from a seed, and resumed each time, a run ends with the same files as one left
/// alone: the same checkpoints, their weights and optimizer byte for byte, the same metrics but for the times, and nothing
/// left over.
#[test]
fn a_run_killed_at_20_random_moments_ends_as_one_left_alone() {
    let alone = Folder::new(SMALL);
    let start = Instant::now();
    alone.train(&[]).ended(0);
    let whole = start.elapsed();
    let expected = ends(&alone.path("run"));
    let (mut kills, mut midway, mut random) = (0, 0, Xoshiro256PlusPlus::seed_from_u64(42));
    while kills < 20 {
        // A run that is done before the last kill is compared, and another begun.
        let folder = Folder::new(SMALL);
        loop {
            let begun = folder.path("run").exists();
            let arguments: &[&str] = if begun { &RESUME } else { &TRAIN };
            let mut child = command(&folder.path(""), arguments).spawn().unwrap();
            if kills < 20 {
                std::thread::sleep(whole.mul_f64(random.random_range(0.0..0.1)));
                kills += i32::from(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            if output.status.code().is_some() {
                Ended::of(output).ended(0);
                break;
            }
            midway += i32::from(steps(&folder.path("run")).pop().is_some_and(|step| 0 < step && step < 300));
        }
        assert_eq!(ends(&folder.path("run")), expected);
    }
    assert!(midway >= 5, "only {midway} kills came between the first checkpoint and the last");
}

/// A run on tar shards with everything that is drawn for an image (order within a window, part, turn, colours, cutout, mixup, shift,
/// mirror), killed in the middle of an epoch and resumed by another number of readers, ends with the same bits as one left alone.
/// One of the images is broken, and the same one takes its place.
#[test]
fn training_on_shards_goes_on_at_the_exact_image() {
    let folder = || {
        let folder = Folder::new(SHARDS);
        fs::create_dir(folder.path("shards")).unwrap();
        for (name, first, count) in [("train-0", 0, 50), ("train-1", 50, 50), ("train-2", 100, 53), ("test-0", 153, 20)] {
            fs::write(folder.path("shards").join(format!("{name}.tar")), shard(first..first + count)).unwrap();
        }
        folder
    };
    let readers = |readers: &str| ["--set".to_owned(), format!("data.readers={readers}")];
    let alone = folder();
    alone.train(&readers("1").each_ref().map(String::as_str)).ended(0);
    let expected = ends(&alone.path("run"));
    for (first, second) in [("1", "3"), ("4", "2")] {
        let folder = folder();
        let mut child = Running::start(&folder, &[&TRAIN[..], &readers(first).each_ref().map(String::as_str)].concat());
        wait_for(&mut child, || fs::read_to_string(folder.path("run/metrics.jsonl")).is_ok_and(|t| t.contains("\"step\":65,")));
        child.send("KILL");
        assert_eq!(child.end().status, -1);
        let step = steps(&folder.path("run")).pop().unwrap();
        // An epoch has 153 images, and a step 16.
        assert!((63..EPOCHS_OF_SHARDS * 153 / 16).contains(&step) && !(step * 16).is_multiple_of(153), "step {step}");
        folder.convnet(&[&RESUME[..], &readers(second).each_ref().map(String::as_str)].concat()).ended(0);
        assert_eq!(ends(&folder.path("run")), expected, "{first} readers, then {second} from step {step} on");
    }
}

/// The first Ctrl-C finishes the step, saves it, says how to go on and exits 130; going on so ends as a run left alone.
#[test]
fn ctrl_c_saves_and_tells_how_to_go_on() {
    for signal in ["INT", "TERM"] {
        let folder = Folder::new(SMALL);
        let mut child = Running::start(&folder, &TRAIN);
        wait_for(&mut child, || {
            fs::read_to_string(folder.path("run/metrics.jsonl")).is_ok_and(|text| text.contains("\"step\":10,"))
        });
        child.send(signal);
        let ended = child.end().ended(130);
        let (step, _) = checkpoint::list(&folder.path("run/checkpoints")).pop().unwrap();
        let line = format!("stopped after step {step}, saved; go on with: convnet resume run");
        assert!(step >= 10 && ended.stderr.lines().any(|l| l == line), "{line} in {}", ended.stderr);
        folder.convnet(&RESUME).ended(0);
        let alone = Folder::new(SMALL);
        alone.train(&[]).ended(0);
        let (ours, theirs) = (ends(&folder.path("run")), ends(&alone.path("run")));
        assert_eq!((ours.metrics, ours.newest), (theirs.metrics, theirs.newest));
    }
}

/// A second Ctrl-C leaves at once with 130, in the middle of a step that takes minutes.
#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let folder = Folder::new(SMALL);
    let long = ["--set", "train.batch=3200000", "--set", "train.micro_batch=32", "--set", "train.epochs=100000"];
    let mut child = Running::start(&folder, &[&TRAIN[..], &long[..]].concat());
    wait_for(&mut child, || folder.path("run").exists());
    std::thread::sleep(Duration::from_millis(100));
    child.send("INT");
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.runs(), "the first finishes the step");
    child.send("INT");
    let ended = child.end().ended(130);
    assert!(!ended.stderr.contains("stopped after"), "{}", ended.stderr);
    assert_eq!(steps(&folder.path("run")), [0]);
}

/// Whatever happens to a file of the newest checkpoint, a byte flipped anywhere, its end or the file lost: a warning names
/// the checkpoint and the file, and the one before is used.
#[test]
fn a_damaged_newest_checkpoint_is_named_and_the_one_before_used() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let checkpoints = folder.path("run/checkpoints");
    assert_eq!(steps(&folder.path("run")), [7, 14, 20]);
    for file in FILES {
        let path = checkpoints.join("step-20").join(file);
        let whole = fs::read(&path).unwrap();
        let check = |what: &str| {
            let mut warnings = Vec::new();
            let found = checkpoint::newest(&checkpoints, true, |w| warnings.push(w)).unwrap();
            assert_eq!((found.state.step, warnings.len()), (14, 1), "{file} {what}: {warnings:?}");
            assert!(warnings[0].contains("step-20") && warnings[0].contains(file), "{file} {what}: {warnings:?}");
        };
        let last = whole.len() - 1;
        for at in [0, 1, 7, 8, 9, 100, last / 4, last / 2, last - 66, last - 1, last] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, damaged).unwrap();
            check(&format!("with byte {at} flipped"));
        }
        for length in [0, 1, 8, last / 2, last] {
            fs::write(&path, &whole[..length]).unwrap();
            check(&format!("cut to {length} bytes"));
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        check("with a byte too many");
        fs::remove_file(&path).unwrap();
        check("lost");
        fs::write(&path, whole).unwrap();
    }
    let found = checkpoint::newest(&checkpoints, true, |w| panic!("{w}")).unwrap();
    assert_eq!(found.state.step, 20, "whole again");
}

/// The same through the command, which then does the lost steps again, to the same bits, and mends the damaged checkpoint.
#[test]
fn resume_does_the_steps_of_a_damaged_checkpoint_again() {
    for file in FILES {
        let folder = Folder::new(SMALL);
        folder.train(&["--epochs", "1"]).ended(0);
        let expected = ends(&folder.path("run"));
        flip(&folder.path("run/checkpoints/step-20").join(file), 50);
        let ended = folder.convnet(&RESUME).ended(0);
        let warnings: Vec<&str> = ended.stderr.lines().filter(|l| l.starts_with("warning: ")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains("step-20") && warnings[0].contains(file), "{}", ended.stderr);
        assert!(ended.stderr.contains("at step 14 of 20"), "{}", ended.stderr);
        assert!(fs::read_to_string(folder.path("run/log.txt")).unwrap().contains(warnings[0]));
        assert_eq!(ends(&folder.path("run")), expected);
        assert!(!folder.convnet(&RESUME).ended(0).stderr.contains("warning"), "it is mended");
    }
}

/// With every checkpoint damaged there is one error, after a warning for each, and status 1.
#[test]
fn all_checkpoints_damaged_is_an_error() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    for (_, path) in checkpoint::list(&folder.path("run/checkpoints")) {
        flip(&path.join("weights.safetensors"), 500);
    }
    let metrics = fs::read(folder.path("run/metrics.jsonl")).unwrap();
    let failed = folder.convnet(&RESUME).failed(1, &["run/checkpoints has no whole checkpoint"]);
    assert_eq!(failed.stderr.lines().filter(|l| l.starts_with("warning: ")).count(), 3, "{}", failed.stderr);
    assert_eq!(fs::read(folder.path("run/metrics.jsonl")).unwrap(), metrics, "nothing is touched");
}

/// How a run learns may be changed when it is resumed, and is written to its config; what it learns on may not.
#[test]
fn learning_settings_can_be_changed_on_resume_and_others_cannot() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let resume = |set: &str| folder.convnet(&[&RESUME[..], &["--set", set]].concat());
    for (set, named) in [
        ("train.batch=64", "train.batch"),
        ("train.micro_batch=16", "train.micro_batch"),
        ("train.seed=4", "train.seed"),
        ("data.train_images=64", "data.train_images"),
        ("layer.fc1.outputs=12", "layer.fc1.outputs"),
    ] {
        let before = fs::read(folder.path("run/config.toml")).unwrap();
        resume(set).failed(2, &[named, "train a new one"]);
        assert_eq!(fs::read(folder.path("run/config.toml")).unwrap(), before);
    }
    resume("train.epoch=2").failed(2, &["epochs"]);
    resume("train.epochs=2").ended(0);
    resume("train.learning_rate=0.001").ended(0);
    resume("train.epochs=3").ended(0);
    let config = fs::read_to_string(folder.path("run/config.toml")).unwrap();
    assert!(config.contains("\nepochs = 3.0\n") && config.contains("\nlearning_rate = 0.001\n"), "{config}");
    let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    let last = lines.last().unwrap();
    assert_eq!((last.step, last.epoch, last.learning_rate), (60, 3.0, 0.001));
    let at: Vec<u64> = lines.iter().filter(|l| l.split == Split::Train).map(|l| l.step).collect();
    assert_eq!(at, (1..=12).map(|i| 5 * i).collect::<Vec<_>>(), "no gap, no repeat");
}

/// A line of metrics.jsonl has the keys that scripts read, and the last train line before a test the layers' weights too;
/// epochs and rates are those of its step; train and test lines come in order.
#[test]
fn metrics_have_the_documented_keys() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "5"]).ended(0);
    let text = fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap();
    let keys =
        ["data_wait", "epoch", "error", "error_top5", "images_per_second", "learning_rate", "loss", "seconds", "split", "step"];
    for line in text.lines() {
        let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let weights = json.remove("weights");
        let before_a_test = json["split"] == "train" && (json["step"] == 50 || json["step"] == 100);
        assert_eq!(weights.is_some(), before_a_test, "{line}");
        let mut found: Vec<&str> = json.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, keys);
        assert!(json.iter().all(|(k, v)| if k == "split" { v == "train" || v == "test" } else { v.is_number() }), "{line}");
    }
    let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    let split = |split: Split| lines.iter().filter(move |l| l.split == split).map(|l| l.step).collect::<Vec<_>>();
    assert_eq!(split(Split::Train), (1..=20).map(|i| 5 * i).collect::<Vec<_>>());
    assert_eq!(split(Split::Test), [50, 100]);
    for l in &lines {
        assert_eq!(l.epoch, l.step as f64 / 20.0);
        let cosine = 0.05 * (1.0 + (std::f64::consts::PI * (l.step - 1) as f64 / 100.0).cos()) / 2.0;
        assert!((l.learning_rate - cosine).abs() < 1e-12, "step {}: {}, not {cosine}", l.step, l.learning_rate);
        assert!((0.0..=1.0).contains(&l.error) && (0.0..=l.error).contains(&l.error_top5) && l.loss > 0.0, "{l:?}");
    }
    assert!(lines.windows(2).all(|w| w[0].step <= w[1].step && w[0].seconds <= w[1].seconds));
}

/// The last `keep` checkpoints are kept, and the best: the least test error, then the least loss, then the first.
#[test]
fn the_last_checkpoints_and_the_best_are_kept() {
    let folder = Folder::new(SMALL);
    // The rate rises until the net gets worse.
    let sets =
        ["train.learning_rate={ schedule = \"linear\", base = 0.05, target = 1.0 }", "train.keep=2", "train.test_every=14"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    folder.train(&[&["--epochs", "14"], &sets[..]].concat()).ended(0);
    let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    let tests = lines.iter().filter(|l| l.split == Split::Test);
    let best = tests.min_by(|a, b| (a.error, a.loss).partial_cmp(&(b.error, b.loss)).unwrap()).unwrap().step;
    assert!(best < 273, "the net got worse: {best}");
    assert_eq!(steps(&folder.path("run")), [best, 273, 280]);
    let test = |which: &str| folder.convnet(&["test", "run", "--device", "cpu", "--json", "--checkpoint", which]).ended(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&test("best")).unwrap();
    let line = lines.iter().find(|l| l.split == Split::Test && l.step == best).unwrap();
    assert_eq!((report["step"].as_u64(), report["error"].as_f64()), (Some(best), Some(line.error)));
    assert_eq!((report["loss"].as_f64(), report["images"].as_u64()), (Some(line.loss), Some(100)));
}

/// A test that is the best so far is saved whatever `checkpoint_every` says, and kept; and so it is after an interruption.
#[test]
fn the_best_test_has_a_checkpoint_between_the_regular_ones() {
    let sets = [
        "train.learning_rate={ schedule = \"linear\", base = 0.05, target = 1.0 }",
        "train.keep=1",
        "train.test_every=14",
        "train.checkpoint_every=200",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let folder = Folder::new(SMALL);
    folder.train(&[&["--epochs", "14"], &sets[..]].concat()).ended(0);
    let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    let tests = lines.iter().filter(|l| l.split == Split::Test);
    let best = tests.min_by(|a, b| (a.error, a.loss).partial_cmp(&(b.error, b.loss)).unwrap()).unwrap().step;
    assert!(best < 280 && best != 200, "neither the last nor a regular one: {best}");
    assert_eq!(steps(&folder.path("run")), [best, 280]);

    let other = Folder::new(SMALL);
    let mut child = Running::start(&other, &[&TRAIN[..], &["--epochs", "14"], &sets[..]].concat());
    wait_for(&mut child, || fs::read_to_string(other.path("run/metrics.jsonl")).is_ok_and(|t| t.contains("\"step\":150,")));
    child.send("KILL");
    assert_eq!(child.end().status, -1);
    other.convnet(&RESUME).ended(0);
    assert_eq!(ends(&other.path("run")), ends(&folder.path("run")));
}

/// A checkpoint whose state was changed by another hand is not the best one, however good it says it is.
#[test]
fn a_damaged_state_is_not_the_best() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "2", "--set", "train.test_every=10"]).ended(0);
    let checkpoints = folder.path("run/checkpoints");
    let best = checkpoint::best(&checkpoints).unwrap();
    let (other, path) = checkpoint::list(&checkpoints)
        .into_iter()
        .find(|(step, path)| {
            let tested = Checkpoint::load(path, false).unwrap().state.tested;
            *step != best && tested.is_some()
        })
        .expect("another was tested");
    let path = path.join("state.json");
    let text = fs::read_to_string(&path).unwrap();
    let error = text.lines().find(|l| l.contains("\"error\"")).unwrap();
    fs::write(&path, text.replace(error, "    \"error\": 0.0")).unwrap();
    assert!(checkpoint::best(&checkpoints) == Some(best), "step {other} is not");
}

/// While a run is trained, `resume` says so and touches nothing; once its process is gone, however it went, it resumes.
#[test]
fn two_processes_do_not_train_one_run() {
    let folder = Folder::new(SMALL);
    let mut child = Running::start(&folder, &[&TRAIN[..], &["--epochs", "100000"]].concat());
    wait_for(&mut child, || folder.path("run/checkpoints/step-7").exists());
    for _ in 0..3 {
        folder.convnet(&RESUME).failed(1, &["run is being trained by another process", "Ctrl-C"]);
    }
    folder.train(&[]).failed(1, &["run is there already"]);
    assert!(child.runs(), "the first goes on");
    child.send("KILL");
    assert_eq!(child.end().status, -1);
    folder.convnet(&[&RESUME[..], &["--set", "train.epochs=1"]].concat()).ended(0);
}

/// Lines of metrics.jsonl that are gone are an error that says what to do; doing it, the run goes on without them.
#[test]
fn lost_lines_of_metrics_are_told_and_can_be_given_up() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1"]).ended(0);
    let (metrics, weights) = (folder.path("run/metrics.jsonl"), folder.path("run/checkpoints/step-40/weights.safetensors"));
    let whole = fs::read(&metrics).unwrap();
    let more = || folder.convnet(&[&RESUME[..], &["--set", "train.epochs=2"]].concat());
    fs::write(&metrics, &whole[..whole.len() / 2]).unwrap();
    more().failed(1, &["has lost lines of metrics.jsonl", "from a copy", "remove the file"]);

    fs::remove_file(&metrics).unwrap();
    let ended = more().ended(0);
    assert!(ended.stderr.contains("warning: run/metrics.jsonl is not there; a new one is begun"), "{}", ended.stderr);
    let steps: Vec<u64> = read_lines(&metrics).unwrap().iter().map(|l| l.step).collect();
    assert_eq!(steps, [25, 30, 35, 40, 40]);

    let kept = Folder::new(SMALL);
    kept.train(&["--epochs", "1"]).ended(0);
    kept.convnet(&[&RESUME[..], &["--set", "train.epochs=2"]].concat()).ended(0);
    assert!(fs::read(&weights).unwrap() == fs::read(kept.path("run/checkpoints/step-40/weights.safetensors")).unwrap());
}

// ---- what the tests are made of ----

const EPOCHS_OF_SHARDS: u64 = 30;

/// A small net on the shards that [`shard`] makes.
const SHARDS: &str = classifier!(
    r#"
name = "shards"
[data]
source = "shards"
size = 12
shape = [10, 10, 3]
shuffle_window = 40
[data.augment]
translate = 1
flip = true
resized_crop = { scale = [0.3, 1.0] }
rotate = 10.0
brightness = 0.2
contrast = 0.2
saturation = 0.2
pca = 0.1
cutout = 3
mixup = 0.4
[train]
batch = 16
epochs = 30
seed = 3
learning_rate = 0.01
log_every = 5
test_every = 50
checkpoint_every = 7
[[layer]]
name = "conv1"
type = "conv"
filters = 4
size = 3
neuron = "relu"
[[layer]]
name = "fc1"
type = "fc"
outputs = 3
"#
);

/// A tar file of pictures of several sizes in three classes; number 77 is broken.
fn shard(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for i in numbers {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let pixel = |x: u32, y: u32| image::Rgb([(x * 16 + i) as u8, (y * 13 + 5 * i) as u8, (x * y + 83 * (i % 3)) as u8]);
        image::RgbImage::from_fn(14 + i % 5, 13 + i % 7, pixel).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let bytes = if i == 77 { b"broken".to_vec() } else { bytes.into_inner() };
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, format!("class-{}/{i}.png", i % 3), &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILES: [&str; 3] = ["weights.safetensors", "optimizer.safetensors", "state.json"];

/// All of a run that must not depend on when it was interrupted.
#[derive(PartialEq)]
struct Ends {
    metrics: Vec<Line>,
    /// The newest checkpoint's files; the times in state.json taken out.
    newest: Vec<(String, Vec<u8>)>,
    files: BTreeSet<PathBuf>,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sums: Vec<_> =
            self.newest.iter().map(|(n, b)| (n, b.iter().fold(0u64, |h, &b| h.wrapping_mul(31) + u64::from(b)))).collect();
        writeln!(f, "{:#?}\n{sums:?}", self.files)?;
        self.metrics.iter().try_for_each(|l| writeln!(f, "{l:?}"))
    }
}

fn ends(run: &Path) -> Ends {
    let mut metrics = read_lines(&run.join("metrics.jsonl")).unwrap();
    metrics.iter_mut().for_each(|l| (l.seconds, l.images_per_second, l.data_wait) = (0.0, 0.0, 0.0));
    let (_, path) = checkpoint::list(&run.join("checkpoints")).pop().unwrap();
    let mut newest: Vec<_> = FILES[..2].iter().map(|f| ((*f).to_owned(), fs::read(path.join(f)).unwrap())).collect();
    let mut state = Checkpoint::load(&path, true).unwrap().state;
    assert_eq!(state.metrics_bytes, fs::metadata(run.join("metrics.jsonl")).unwrap().len());
    // Which depends on how many digits the times have.
    (state.seconds, state.metrics_bytes, state.checksum) = (0.0, 0, String::new());
    newest.push((FILES[2].into(), serde_json::to_vec(&state).unwrap()));
    let mut files = BTreeSet::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry.clone());
            }
            files.insert(entry.strip_prefix(run).unwrap().to_owned());
        }
    }
    Ends { metrics, newest, files }
}

fn steps(run: &Path) -> Vec<u64> {
    checkpoint::list(&run.join("checkpoints")).into_iter().map(|(step, _)| step).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// A process that does not outlive its test.
struct Running(Option<Child>);

impl Running {
    fn start(folder: &Folder, arguments: &[&str]) -> Self {
        Self(Some(command(&folder.path(""), arguments).spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("only `end` takes it")
    }

    fn send(&mut self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child().id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn runs(&mut self) -> bool {
        self.child().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    fn end(mut self) -> Ended {
        Ended::of(self.0.take().expect("only `end` takes it").wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so while a process runs.
fn wait_for(process: &mut Running, condition: impl Fn() -> bool) {
    while !condition() {
        assert!(process.runs(), "it ended too early");
        std::thread::sleep(Duration::from_millis(2));
    }
}
