//! `convnet data stats`, `split` and `pack` with the real binary; images that vanish while a run trains.

mod common;

use common::{Ended, Folder, RESUME, TRAIN, classifier, command, on_a_disk};
use convnet::data::{DataSet, ImageShape, Options, Source, open};
use convnet::train::checkpoint;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// A picture that `number` tells from others.
fn picture(w: u32, h: u32, number: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let pixel = |x: u32, y: u32| Rgb([(x * 9 + number) as u8, (y * 7 + 3 * number) as u8, (5 * number) as u8]);
    RgbImage::from_fn(w, h, pixel).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn put(folder: &Folder, name: &str, bytes: &[u8]) {
    let path = folder.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// `pictures/`: 12 training images of ape and bee, of which one is broken, one twice, and one also in the test set of 4.
fn pictures() -> Folder {
    let folder = Folder::new("");
    for i in 0..12 {
        let class = if i % 3 == 0 { "ape" } else { "bee" };
        let (format, end) = if i % 2 == 0 { (ImageFormat::Png, "png") } else { (ImageFormat::Jpeg, "jpg") };
        put(&folder, &format!("pictures/train/{class}/{i:02}.{end}"), &picture(20 + i, 30, i, format));
    }
    put(&folder, "pictures/train/bee/broken.jpg", b"\xff\xd8\xff\xe0 and no more");
    put(&folder, "pictures/train/bee/again.png", &picture(22, 30, 2, ImageFormat::Png));
    for i in 20..23 {
        put(&folder, &format!("pictures/test/ape/{i}.png"), &picture(16, 16, i, ImageFormat::Png));
    }
    put(&folder, "pictures/test/bee/both.png", &picture(24, 30, 4, ImageFormat::Png));
    folder
}

fn json(ended: Ended) -> Value {
    serde_json::from_str(&ended.ended(0).stdout).unwrap()
}

fn opened(folder: &Folder, name: &str) -> DataSet {
    let shape = Some(ImageShape::new(8, 8, 3));
    open(folder.path(name).to_str().unwrap(), &Options { shape, ..Options::default() }).unwrap()
}

/// Counts, sizes, colours; the broken, the duplicate and the image that is in both sets by name.
#[test]
fn stats_count_and_name_what_is_wrong() {
    let folder = pictures();
    let report = json(folder.convnet(&["data", "stats", "pictures", "--json"]));
    let (train, test) = (&report["sets"][0], &report["sets"][1]);
    assert_eq!((&train["images"], &test["images"], &report["classes"]), (&14.into(), &4.into(), &2.into()));
    assert_eq!(train["class_images"], serde_json::json!({ "ape": 4, "bee": 10 }));
    assert_eq!((&train["width"], &train["height"]), (&serde_json::json!([20, 25, 31]), &serde_json::json!([30, 30, 30])));
    assert_eq!((&train["duplicates"], &test["duplicates"], &train["grey"]), (&1.into(), &0.into(), &0.into()));
    let broken = train["broken"].as_array().unwrap();
    assert!(broken.len() == 1 && broken[0].as_str().unwrap().contains("train/bee/broken.jpg"), "{broken:?}");
    let both = report["duplicates_across_sets"].as_array().unwrap();
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(both[0][0].as_str().unwrap().ends_with("train/bee/04.png") && both[0][1].as_str().unwrap().ends_with("both.png"));
    assert_eq!((report["mean"].as_array().unwrap().len(), report["principal_components"].as_array().unwrap().len()), (3, 3));
    let table = folder.convnet(&["data", "stats", "pictures"]).ended(0).stdout;
    for part in ["14 images", "2 of 4 to 10 images", "20 to 31, median 25", "1 images are in both sets", "broken.jpg"] {
        assert!(table.contains(part), "no '{part}' in: {table}");
    }
    folder.convnet(&["data", "stats", "nowhere"]).failed(1, &["no data set 'nowhere'"]);
}

/// Lists of all images, each once, in the same parts of each class, the same for a seed; they open as a set.
#[test]
fn split_makes_lists_that_open() {
    let folder = pictures();
    let split =
        |out: &str, more: &[&str]| folder.convnet(&[&["data", "split", "pictures", "-o", out, "--test", "0.25"], more].concat());
    let told = split("lists", &[]).ended(0).stderr;
    assert!(told.contains("13 images to train and 5 to test on"), "{told}");
    let lines =
        |name: &str| -> BTreeSet<String> { fs::read_to_string(folder.path(name)).unwrap().lines().map(str::to_owned).collect() };
    let (train, test) = (lines("lists/train.txt"), lines("lists/test.txt"));
    assert_eq!((train.len(), test.len(), train.intersection(&test).count()), (13, 5, 0));
    let of = |lines: &BTreeSet<String>, class: &str| lines.iter().filter(|l| l.ends_with(&format!("\t{class}"))).count();
    assert_eq!((of(&test, "ape"), of(&test, "bee")), (2, 3), "a quarter of 7 and of 11");
    split("again", &[]).ended(0);
    split("other", &["--seed", "2"]).ended(0);
    assert_eq!(lines("again/test.txt"), test);
    assert_ne!(lines("other/test.txt"), test);
    let set = opened(&folder, "lists");
    assert_eq!((set.train.len(), set.test.len(), set.class_names), (13, 5, vec!["ape".to_owned(), "bee".to_owned()]));
    split("lists", &[]).failed(1, &["lists is there already"]);
    let all = folder.convnet(&["data", "split", "pictures", "-o", "none", "--test", "1"]);
    all.failed(2, &["--test 1 is not between 0 and 1"]);
}

/// Shards hold every readable image once, those that are larger than asked for resized by the shorter side, the rest byte for byte;
/// the index tells their classes and checksums, and `stats` finds a byte that is not as it was written.
#[test]
fn pack_makes_shards_with_checksums() {
    let folder = pictures();
    let pack = |out: &str| folder.convnet(&["data", "pack", "pictures", "-o", out, "--size", "18", "--shard", "5"]);
    let told = pack("packed").ended(0).stderr;
    assert!(
        told.contains("17 images in 4 shards") && told.contains("warning: left out: ") && told.contains("broken.jpg"),
        "{told}"
    );
    let index: Value = serde_json::from_slice(&fs::read(folder.path("packed/index.json")).unwrap()).unwrap();
    assert_eq!((&index["classes"], &index["size"]), (&serde_json::json!(["ape", "bee"]), &18.into()));
    let mut images = 0;
    for shard in index["shards"].as_array().unwrap() {
        let bytes = fs::read(folder.path("packed").join(shard["file"].as_str().unwrap())).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((shard["sha256"].as_str(), shard["bytes"].as_u64()), (Some(&*hash), Some(bytes.len() as u64)));
        let mut archive = tar::Archive::new(&bytes[..]);
        let members = archive.entries().unwrap().count() as u64;
        assert_eq!(shard["images"].as_u64(), Some(members));
        images += members;
    }
    assert_eq!(images, 17);
    let report = json(folder.convnet(&["data", "stats", "packed", "--json"]));
    let (train, test) = (&report["sets"][0], &report["sets"][1]);
    assert_eq!((&train["class_images"], &train["width"][0]), (&serde_json::json!({ "ape": 4, "bee": 9 }), &18.into()));
    assert_eq!((&test["width"], &test["height"]), (&serde_json::json!([16, 16, 18]), &serde_json::json!([16, 16, 23])));
    assert_eq!(report["damaged_shards"], serde_json::json!([]));

    pack("again").ended(0);
    let mut names: Vec<_> = fs::read_dir(folder.path("packed")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index.json", "test-00000.tar", "train-00000.tar", "train-00001.tar", "train-00002.tar"]);
    for name in &names {
        let read = |folder_name: &str| fs::read(folder.path(folder_name).join(name)).unwrap();
        assert!(read("packed") == read("again"), "{name:?} is packed otherwise the second time");
    }
    let path = folder.path("packed/train-00001.tar");
    let mut bytes = fs::read(&path).unwrap();
    bytes[700] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(folder.path("packed/train-00002.tar")).unwrap();
    let report = json(folder.convnet(&["data", "stats", "packed", "--json"]));
    let damaged: Vec<&str> = report["damaged_shards"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    assert!(damaged.len() == 2 && damaged[0].starts_with("train-00001.tar is not what was packed"), "{damaged:?}");
    assert!(damaged[1].starts_with("train-00002.tar, which index.json lists, cannot be read"), "{damaged:?}");
    pack("packed").failed(1, &["packed is there already"]);
}

/// What a data set of pixels packs comes back the same, label by label and byte for byte.
#[test]
fn pixels_come_back_from_shards_as_they_were() {
    let folder = Folder::new("");
    folder.convnet(&["data", "pack", "mnist-10k", "-o", "packed", "--shard", "100000"]).ended(0);
    let packed = open(folder.path("packed").to_str().unwrap(), &Options::default()).unwrap();
    let original = open("mnist-10k", &Options::default()).unwrap();
    assert_eq!((packed.classes, &packed.class_names, packed.shape()), (10, &original.class_names, original.shape()));
    let images = |source: &dyn Source| -> Vec<(i32, Vec<u8>)> {
        let image = |i| {
            let mut pixels = vec![0; 784];
            source.read(i, &mut pixels).unwrap();
            (source.label(i), pixels)
        };
        let mut all: Vec<_> = (0..source.len()).map(image).collect();
        all.sort();
        all
    };
    assert!(images(&*packed.test) == images(&*original.test), "the test images differ");
}

/// A disk that fills while shards are written: an error with its path, and nothing left behind.
#[test]
fn a_full_disk_leaves_no_part_of_a_pack() {
    let folder = Folder::new("");
    for i in 0..40 {
        put(&folder, &format!("pictures/{}/{i}.png", i % 2), &picture(60, 60, i, ImageFormat::Png));
    }
    let script = "\"$CONVNET\" data pack pictures -o disk/packed; status=$?; ls -A disk; exit $status";
    let ended = on_a_disk(&folder, "size=16k", script).failed(1, &["disk/packed", "No space left on device"]);
    assert_eq!(ended.stdout, "");
}

/// Tar files that lie about their members: one error each, or what is sound of them; never a panic, nor memory for what is not there.
#[test]
fn hostile_tars_are_errors() {
    let member = |name: &str, size: u64, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let mut all = header.as_bytes().to_vec();
        all.extend(bytes);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    };
    let png = picture(8, 8, 1, ImageFormat::Png);
    let whole = |name: &str| member(name, png.len() as u64, tar::EntryType::Regular, &png);
    let huge = member("a/1.png", 1 << 60, tar::EntryType::Regular, &png);
    let mut checksum = whole("a/1.png");
    checksum[150] ^= 1;
    for (what, bytes, part) in [
        ("a member of 2⁶⁰ bytes", huge.clone(), "it ends within a/1.png"),
        ("one behind another", [whole("a/0.png"), huge].concat(), "it ends within a/1.png"),
        ("a checksum that does not match", checksum, "cannot be read as a tar file"),
        ("a long name that is not there", member("x", 1 << 40, tar::EntryType::GNULongName, b""), "cannot be read as a tar file"),
        (
            "a tar file in it that is none",
            member("a.tar", 512, tar::EntryType::Regular, &[7; 512]),
            "cannot be read as a tar file",
        ),
        ("no image with a class", whole("1.png"), "1.png has no class"),
    ] {
        let folder = Folder::new("");
        put(&folder, "train-0.tar", &bytes);
        let ended = folder.convnet(&["data", "stats", "."]).failed(1, &["train-0.tar", part]);
        assert!(!ended.stderr.contains("warning"), "{what}: {}", ended.stderr);
    }
    // A link is no image, wherever it leads.
    let folder = Folder::new("");
    let link = member("a/link.png", 0, tar::EntryType::Symlink, b"");
    put(&folder, "train-0.tar", &[link, whole("a/0.png"), whole("a/1.png"), whole("a/2.png")].concat());
    let report = json(folder.convnet(&["data", "stats", ".", "--json"]));
    assert_eq!((&report["sets"][0]["images"], &report["sets"][1]["images"]), (&2.into(), &1.into()));
}

const VANISHING: &str = classifier!(
    r#"
name = "vanishing"
[data]
source = "pictures"
shape = [8, 8, 3]
readers = 2
[train]
batch = 8
epochs = 200
log_every = 1
test_every = 1000
checkpoint_every = 5
[[layer]]
name = "fc"
type = "fc"
outputs = 2
"#
);

/// A net on 20 images, and a number of the images that are in the training set.
fn vanishing() -> Folder {
    let folder = Folder::new(VANISHING);
    for i in 0..20 {
        put(&folder, &format!("pictures/train/{}/{i}.png", i % 2), &picture(8, 8, i, ImageFormat::Png));
        put(&folder, &format!("pictures/test/{}/{i}.png", i % 2), &picture(8, 8, 40 + i, ImageFormat::Png));
    }
    folder
}

/// Trains until some steps are done, moves an image away, and waits for the run's end.
fn train_while_it_goes(folder: &Folder, more: &[&str], image: &Path, to: &Path) -> Ended {
    let mut child = command(&folder.path(""), &[&TRAIN[..], more].concat()).spawn().unwrap();
    while !fs::read_to_string(folder.path("run/metrics.jsonl")).is_ok_and(|text| text.contains("\"step\":12,")) {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    fs::rename(image, to).unwrap();
    Ended::of(child.wait_with_output().unwrap())
}

/// An image that vanishes in the middle of training is named once, on the terminal and in the log, and training goes on.
#[test]
fn a_file_that_vanishes_is_named_and_training_goes_on() {
    let folder = vanishing();
    let image = folder.path("pictures/train/1/7.png");
    let ended = train_while_it_goes(&folder, &[], &image, &folder.path("7.png")).ended(0);
    let told = |text: &str| text.lines().filter(|l| l.contains("train/1/7.png cannot be read: the file is gone")).count();
    assert_eq!(told(&ended.stderr), 1, "{}", ended.stderr);
    assert_eq!(told(&fs::read_to_string(folder.path("run/log.txt")).unwrap()), 1);
}

/// With `on_error = "stop"` it ends the run; when the image is back, the run goes on and ends with the same bits as one left alone.
#[test]
fn a_file_that_vanishes_stops_a_run_that_is_to_stop() {
    let folder = vanishing();
    let (image, away) = (folder.path("pictures/train/1/7.png"), folder.path("7.png"));
    let stop = ["--set", "data.on_error=\"stop\""];
    train_while_it_goes(&folder, &stop, &image, &away).failed(1, &["train/1/7.png cannot be read: the file is gone", "run: run"]);
    let (step, _) = checkpoint::list(&folder.path("run/checkpoints")).pop().unwrap();
    assert!((10..500).contains(&step), "{step}");
    fs::rename(&away, &image).unwrap();
    folder.convnet(&RESUME).ended(0);
    let weights = |run: &str| fs::read(folder.path(run).join("checkpoints/step-500/weights.safetensors")).unwrap();
    folder.convnet(&["train", "net.toml", "--out", "alone", "--device", "cpu", "--threads", "1"]).ended(0);
    assert!(weights("run") == weights("alone"), "the weights differ");
}
