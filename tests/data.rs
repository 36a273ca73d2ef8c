//! Data: every source read whole, every error with its message, and an order, augmentation and loader that depend on the
//! seed and the position alone.

use convnet::data::order::{Order, shuffle};
use convnet::data::{
    Augment, Batch, DataSet, Draw, Error, ImageShape, Images, Loader, Mean, Normalisation, Options, Pairs, Result, Source,
    Synthetic, augment, open,
};
use convnet::device::Place;
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

// ---- what the tests are made of ----

fn options() -> Options {
    Options::default()
}

/// An idx file: the header of these dimensions, then the elements.
fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that differ from their neighbours: 0, 7, 14, …
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 % 251) as u8).collect()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// A sound set: 5 training and 3 test images of 4×3, three classes.
fn sound() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (TRAIN_IMAGES, idx(&[5, 4, 3], &pattern(60))),
        (TRAIN_LABELS, idx(&[5], &[0, 1, 2, 1, 0])),
        (TEST_IMAGES, idx(&[3, 4, 3], &pattern(36))),
        (TEST_LABELS, idx(&[3], &[2, 0, 1])),
    ]
}

/// The sound set with one file changed (or, with `None`, taken away).
fn with(name: &str, bytes: Option<Vec<u8>>) -> TempDir {
    let mut files = sound();
    files.retain(|(other, _)| *other != name);
    let folder = folder(&files);
    if let Some(bytes) = bytes {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// What an image is drawn with in an epoch.
fn in_epoch(epoch: u64) -> Draw {
    Draw { seed: 1, epoch, position: 0, augment: Augment::NONE }
}

fn open_at(folder: &Path, options: &Options) -> Result<DataSet> {
    open(folder.to_str().unwrap(), options)
}

/// All pixels and labels of a source.
fn all(source: &dyn Source) -> (Vec<u8>, Vec<i32>) {
    let mut pixels = vec![0; source.len() * source.shape().bytes()];
    for (i, image) in pixels.chunks_exact_mut(source.shape().bytes()).enumerate() {
        source.read(i, image).unwrap();
    }
    (pixels, (0..source.len()).map(|i| source.label(i)).collect())
}

/// The error that a folder gives, with the folder's path written as DIR.
fn error_at(folder: &TempDir, options: &Options) -> String {
    let error = open_at(folder.path(), options).expect_err("a broken set was opened");
    error.to_string().replace(folder.path().to_str().unwrap(), "DIR")
}

// ---- sources ----

/// Counts, labels and sums of pixels, from the files by Python (gzip, struct, sum) without this code.
#[test]
fn the_embedded_set_is_mnists_first_ten_thousand() {
    let set = open("mnist-10k", &options()).unwrap();
    assert_eq!((set.name.as_str(), set.classes, set.shape()), ("mnist-10k", 10, ImageShape::new(28, 28, 1)));
    assert_eq!(set.class_names, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let facts = [
        (&set.train, [800, 901, 792, 825, 784, 690, 811, 856, 755, 782], [7, 3, 6, 0, 1, 9, 8, 1, 6, 1], 209_225_317, 13_685),
        (&set.test, [201, 226, 199, 207, 196, 173, 203, 214, 189, 196], [8, 1, 7, 8, 0, 5, 9, 3, 7, 1], 52_921_283, 33_613),
    ];
    for (source, counts, first, sum, first_image) in facts {
        let (pixels, labels) = all(&**source);
        assert_eq!(source.len(), counts.iter().sum::<usize>());
        assert_eq!(labels[..10], first);
        for (class, count) in counts.into_iter().enumerate() {
            assert_eq!(labels.iter().filter(|&&label| label == class as i32).count(), count, "class {class}");
        }
        assert_eq!(pixels.iter().map(|&x| u64::from(x)).sum::<u64>(), sum);
        assert_eq!(pixels[..784].iter().map(|&x| u64::from(x)).sum::<u64>(), first_image);
    }
    assert_eq!((set.train.len(), set.test.len()), (7996, 2004));
    assert_eq!(set.train.origin(17), "image 17 of mnist-10k/train-images-idx3-ubyte.gz");
}

/// Test images with the pixels of training images are told, and classes without images, whatever the kind of set.
#[test]
fn what_is_odd_about_a_set_is_told() {
    // The sound set's three test images have the pixels of its first training images.
    let sound = folder(&sound());
    let warnings = open_at(sound.path(), &options()).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("3 of the test images are trained on, too: image 0 of "), "{warnings:?}");
    let pixels: Vec<u8> = pattern(60).into_iter().skip(24).map(|x| x ^ 1).collect();
    fs::write(sound.path().join(TEST_IMAGES), idx(&[3, 4, 3], &pixels)).unwrap();
    assert_eq!(open_at(sound.path(), &options()).unwrap().warnings, Vec::<String>::new());
    fs::write(sound.path().join(TEST_LABELS), idx(&[3], &[2, 0, 2])).unwrap();
    assert_eq!(open_at(sound.path(), &options()).unwrap().warnings, ["no test image is of class 1"]);
    fs::write(sound.path().join(TRAIN_LABELS), idx(&[5], &[0, 4, 0, 4, 0])).unwrap();
    let gaps =
        ["no test image is of class 4", "no training image is of class 2", "a gap in the labels: no image is of class 1, 3"];
    assert_eq!(open_at(sound.path(), &options()).unwrap().warnings, gaps);
    assert_eq!(open("mnist-10k", &options()).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn idx_files_are_read_plain_and_gzipped_under_each_of_their_names() {
    let plain = folder(&sound());
    let expected = open_at(plain.path(), &options()).unwrap();
    assert_eq!((expected.classes, expected.shape()), (3, ImageShape::new(4, 3, 1)));
    assert_eq!(all(&*expected.train), (pattern(60), vec![0, 1, 2, 1, 0]));
    assert_eq!(all(&*expected.test), (pattern(36), vec![2, 0, 1]));

    let packed: Vec<_> = sound().into_iter().map(|(name, bytes)| (format!("{name}.gz"), gzip(&bytes))).collect();
    // As a browser leaves them: called .gz, but unpacked already.
    let called: Vec<_> = sound().into_iter().map(|(name, bytes)| (format!("{name}.gz"), bytes)).collect();
    let dotted: Vec<_> = sound().into_iter().map(|(name, bytes)| (name.replace("-idx", ".idx"), bytes)).collect();
    let test: Vec<_> = sound().into_iter().map(|(name, bytes)| (name.replace("t10k", "test"), gzip(&bytes))).collect();
    // A gzip file may be several, one behind the other.
    let members: Vec<_> = sound()
        .into_iter()
        .map(|(name, bytes)| (format!("{name}.gz"), [gzip(&bytes[..9]), gzip(&bytes[9..])].concat()))
        .collect();
    for files in [packed, called, dotted, test, members] {
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let folder = folder(&files);
        let set = open_at(folder.path(), &options()).unwrap_or_else(|e| panic!("{}: {e}", files[0].0));
        assert_eq!(all(&*set.train), all(&*expected.train), "{}", files[0].0);
        assert_eq!(all(&*set.test), all(&*expected.test), "{}", files[0].0);
    }
}

#[test]
fn idx_images_may_have_channels() {
    let folder = folder(&[
        ("train-images-idx4-ubyte", idx(&[2, 3, 2, 4], &pattern(48))),
        (TRAIN_LABELS, idx(&[2], &[1, 0])),
        ("test-images-idx4-ubyte", idx(&[1, 3, 2, 4], &pattern(24))),
        ("test-labels-idx1-ubyte", idx(&[1], &[1])),
    ]);
    let set = open_at(folder.path(), &options()).unwrap();
    assert_eq!(set.shape(), ImageShape::new(3, 2, 4));
    assert_eq!(all(&*set.train), (pattern(48), vec![1, 0]));
}

/// Records of labels and planes, and the pixels that must come out of them.
fn cifar(labels: &[&[u8]], salt: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut file, mut pixels) = (Vec::new(), Vec::new());
    for (i, label) in labels.iter().enumerate() {
        let at = |y: usize, x: usize, c: usize| ((i + salt) * 89 + y * 31 + x * 3 + c * 101) as u8;
        file.extend(*label);
        file.extend((0..3).flat_map(|c| (0..32).flat_map(move |y| (0..32).map(move |x| at(y, x, c)))));
        pixels.extend((0..32).flat_map(|y| (0..32).flat_map(move |x| (0..3).map(move |c| at(y, x, c)))));
    }
    (file, pixels)
}

fn cifar_pixels(count: usize, salt: usize) -> Vec<u8> {
    cifar(&vec![&[][..]; count], salt).1
}

fn cifar_10() -> TempDir {
    folder(&[
        ("data_batch_1.bin", cifar(&[&[3], &[9]], 0).0),
        ("data_batch_2.bin", cifar(&[&[0], &[4], &[4]], 2).0),
        ("test_batch.bin", cifar(&[&[7]], 5).0),
        ("batches.meta.txt", b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n".to_vec()),
        ("readme.html", vec![]),
    ])
}

#[test]
fn cifar_10_batches_are_read_in_turn_and_interleaved() {
    let folder = cifar_10();
    let set = open_at(folder.path(), &options()).unwrap();
    assert_eq!((set.classes, set.shape()), (10, ImageShape::new(32, 32, 3)));
    assert_eq!(set.class_names[3], "cat");
    assert_eq!(all(&*set.train), (cifar_pixels(5, 0), vec![3, 9, 0, 4, 4]));
    assert_eq!(all(&*set.test), (cifar_pixels(1, 5), vec![7]));
    assert_eq!(set.train.origin(3), format!("image 1 of {}", folder.path().join("data_batch_2.bin").display()));

    for limit in 1..=6 {
        let set = open_at(folder.path(), &Options { train: Some(limit), ..options() }).unwrap();
        let count = limit.min(5);
        assert_eq!(all(&*set.train), (cifar_pixels(count, 0), [3, 9, 0, 4, 4][..count].to_vec()));
    }
}

#[test]
fn cifar_100_takes_the_fine_label() {
    let names: String = (0..100).map(|i| format!("thing{i}\n")).collect();
    let folder = folder(&[
        ("train.bin", cifar(&[&[19, 99], &[2, 20]], 0).0),
        ("test.bin", cifar(&[&[0, 5]], 2).0),
        ("fine_label_names.txt", names.into_bytes()),
    ]);
    let set = open_at(folder.path(), &options()).unwrap();
    assert_eq!((set.classes, set.class_names[99].as_str()), (100, "thing99"));
    assert_eq!(all(&*set.train), (cifar_pixels(2, 0), vec![99, 20]));
    assert_eq!(all(&*set.test).1, [5]);
}

#[test]
fn a_limit_takes_the_first_images_and_keeps_the_classes() {
    let folder = folder(&sound());
    let set = open_at(folder.path(), &Options { train: Some(2), test: Some(100), ..options() }).unwrap();
    assert_eq!(all(&*set.train), (pattern(24), vec![0, 1]));
    assert_eq!((set.test.len(), set.classes), (3, 3));
    let set = open_at(folder.path(), &Options { classes: Some(5), ..options() }).unwrap();
    assert_eq!((set.classes, set.class_names), (5, ["0", "1", "2", "3", "4"].map(str::to_owned).to_vec()));
}

#[test]
fn synthetic_images_are_of_any_shape_and_number_and_repeat() {
    let shape = ImageShape::new(224, 224, 3);
    let asked =
        Options { shape: Some(shape), train: Some(1_281_167), test: Some(50_000), classes: Some(1000), seed: 5, ..options() };
    let set = open("synthetic", &asked).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.classes, set.shape()), (1_281_167, 50_000, 1000, shape));
    assert!(set.train.distinct() * shape.bytes() <= 16 << 20);
    let image = |source: &dyn Source, i| {
        let mut pixels = vec![0; shape.bytes()];
        source.read(i, &mut pixels).unwrap();
        (pixels, source.label(i))
    };
    let first = image(&*set.train, 0);
    assert_eq!(first, image(&*set.train, set.train.distinct()));
    assert_ne!(first.0, image(&*set.train, 1).0);
    assert_ne!(first.0, image(&*set.test, 0).0);
    assert_ne!(first.0, image(&*open("synthetic", &Options { seed: 6, ..asked.clone() }).unwrap().train, 0).0);
    assert_eq!(first, image(&*open("synthetic", &asked).unwrap().train, 0));
    // Uniform bytes: 127.5 on average; of so many the mean is within 6 of its deviations, 73.9/√150528.
    let mean = first.0.iter().map(|&x| f64::from(x)).sum::<f64>() / shape.bytes() as f64;
    assert!((mean - 127.5).abs() < 6.0 * 73.9 / (shape.bytes() as f64).sqrt(), "{mean}");
    let odd = open("synthetic", &Options { shape: Some(ImageShape::new(1, 7, 1)), train: Some(3), ..options() }).unwrap();
    assert_eq!((odd.train.len(), odd.train.distinct(), odd.classes), (3, 3, 10));
}

// ---- errors ----

#[test]
fn a_source_that_is_nowhere_lists_what_is_built_in() {
    let unknown = |name: &str| open(name, &options()).unwrap_err().to_string();
    assert_eq!(
        unknown("mnist10k"),
        "no data set 'mnist10k': it is neither built in (mnist-10k, synthetic) nor a folder that exists; \
         did you mean 'mnist-10k'?"
    );
    assert!(unknown("synthetik").ends_with("did you mean 'synthetic'?"));
    assert!(unknown("/no/where").ends_with("nor a folder that exists"));
    assert!(unknown("").ends_with("nor a folder that exists"));
    assert!(unknown("a\0b").ends_with("nor a folder that exists"));
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let images = |n, h, w| idx(&[n, h, w], &pattern((n * h * w) as usize));
    let mut floats = images(5, 4, 3);
    floats[2] = 0x0d;
    let magic = "DIR/train-images-idx3-ubyte begins with";
    let images_magic = "not with 00 00 08 03 or 00 00 08 04 (an idx file of images, h×w or h×w×c, in bytes); \
                        it is another kind of file, or damaged: fetch it again";
    let needs = "a data set of idx files is train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                 t10k-labels-idx1-ubyte, plain or .gz: put the file beside the others";
    let table: Vec<(&str, Option<Vec<u8>>, String)> = vec![
        (TRAIN_IMAGES, None, format!("DIR/train-images-idx3-ubyte is missing; {needs}")),
        (TEST_LABELS, None, format!("DIR/t10k-labels-idx1-ubyte is missing; {needs}")),
        (
            TRAIN_IMAGES,
            Some(images(5, 4, 3)[..70].to_vec()),
            "DIR/train-images-idx3-ubyte should hold 5 images of 4×3, 76 bytes with its header, but holds 70 bytes; \
             fetch it again"
                .into(),
        ),
        (
            TRAIN_IMAGES,
            Some([images(5, 4, 3), vec![0]].concat()),
            "DIR/train-images-idx3-ubyte should hold 5 images of 4×3, 76 bytes with its header, but holds 77 bytes; \
             fetch it again"
                .into(),
        ),
        (
            TRAIN_IMAGES,
            Some(gzip(&images(5, 4, 3)[..70])),
            "DIR/train-images-idx3-ubyte should hold 5 images of 4×3, 76 bytes with its header, but holds 70 bytes; \
             fetch it again"
                .into(),
        ),
        (
            TRAIN_IMAGES,
            Some(gzip(&[images(5, 4, 3), vec![0]].concat())),
            "DIR/train-images-idx3-ubyte should hold 5 images of 4×3, 76 bytes with its header, but holds more than 76 \
             bytes; fetch it again"
                .into(),
        ),
        (
            TEST_LABELS,
            Some(idx(&[4], &[0, 1, 2])),
            "DIR/t10k-labels-idx1-ubyte should hold 4 labels, 12 bytes with its header, but holds 11 bytes; \
             fetch it again"
                .into(),
        ),
        (
            TRAIN_IMAGES,
            Some(images(5, 4, 3)[..10].to_vec()),
            "DIR/train-images-idx3-ubyte should hold a header of 16 bytes, but holds 10 bytes; fetch it again".into(),
        ),
        (TRAIN_IMAGES, Some(vec![]), format!("{magic} nothing (it is empty), {images_magic}")),
        (TRAIN_IMAGES, Some(b"<html>".to_vec()), format!("{magic} 3c 68 74 6d, {images_magic}")),
        (TRAIN_IMAGES, Some(floats), format!("{magic} 00 00 0d 03, {images_magic}")),
        (TRAIN_IMAGES, Some(idx(&[2], &[0, 1])), format!("{magic} 00 00 08 01, {images_magic}")),
        (
            TRAIN_LABELS,
            Some(images(5, 4, 3)),
            "DIR/train-labels-idx1-ubyte begins with 00 00 08 03, not with 00 00 08 01 (an idx file of labels); \
             it is another kind of file, or damaged: fetch it again"
                .into(),
        ),
        (
            TRAIN_LABELS,
            Some(idx(&[4], &[0, 1, 2, 0])),
            "DIR/train-images-idx3-ubyte holds 5 images, but DIR/train-labels-idx1-ubyte holds 4 labels; \
             they do not belong together: take both from the same data set"
                .into(),
        ),
        (
            TEST_LABELS,
            Some(idx(&[3], &[0, 7, 1])),
            "image 1 in DIR/t10k-labels-idx1-ubyte has label 7, but there are 3 classes, 0 to 2; \
             correct the label, or give the net (its last layer, its number of classes) at least 8"
                .into(),
        ),
        (
            TEST_IMAGES,
            Some(images(3, 3, 4)),
            "image 0 of DIR/t10k-images-idx3-ubyte is 3×4×1, but image 0 of DIR/train-images-idx3-ubyte is 4×3×1; \
             all images of a data set have one shape"
                .into(),
        ),
        (TRAIN_IMAGES, Some(images(0, 4, 3)), "DIR/train-images-idx3-ubyte holds no images; at least one is needed".into()),
        (TRAIN_IMAGES, Some(images(5, 0, 3)), "DIR/train-images-idx3-ubyte holds no images; at least one is needed".into()),
        (TEST_LABELS, Some(idx(&[0], &[])), "DIR/t10k-labels-idx1-ubyte holds no images; at least one is needed".into()),
    ];
    for (name, bytes, message) in table {
        assert_eq!(error_at(&with(name, bytes), &options()), message);
    }
}

#[test]
fn a_damaged_gzip_file_is_named() {
    let whole = gzip(&idx(&[5, 4, 3], &pattern(60)));
    let cut = whole[..whole.len() - 20].to_vec();
    let mut checksum = whole.clone();
    let last = checksum.len() - 6;
    checksum[last] ^= 1;
    let mut header = whole.clone();
    header[2] = 9;
    for bytes in [cut, checksum, header, whole[..5].to_vec()] {
        let message = error_at(&with(TRAIN_IMAGES, Some(bytes)), &options());
        assert!(message.starts_with("DIR/train-images-idx3-ubyte is a damaged gzip file ("), "{message}");
        assert!(message.ends_with("); fetch it again"), "{message}");
    }
}

/// Headers that claim up to 2¹²⁸ bytes: held against the file's length, not allocated.
#[test]
fn a_header_is_not_believed() {
    let most = u32::MAX;
    for dimensions in [&[most, 28, 28][..], &[most; 3], &[most; 4], &[5, most, most], &[most, 1, 1, 1]] {
        let file = idx(dimensions, &pattern(60));
        for bytes in [file.clone(), gzip(&file)] {
            let message = error_at(&with(TRAIN_IMAGES, Some(bytes)), &Options { train: Some(1), ..options() });
            assert!(message.starts_with("DIR/train-images-idx3-ubyte should hold "), "{message}");
        }
    }
    // Possible for the size of the packed file: fails when the file ends, holding only what was there.
    let zeros = gzip(&idx(&[1000, 100, 100], &vec![0; 500_000]));
    assert!((zeros.len() as u64) < 10_000_000 / 500);
    let message = error_at(&with(TRAIN_IMAGES, Some([zeros, gzip(&pattern(9000))].concat())), &options());
    assert!(message.contains("1000 images of 100×100, 10000016 bytes with its header, but holds"), "{message}");
    let labels = error_at(&with(TRAIN_LABELS, Some(idx(&[most], &[0, 1, 2]))), &options());
    assert!(labels.contains("should hold 4294967295 labels"), "{labels}");
}

#[test]
fn what_is_wrong_with_cifar_is_named() {
    let table: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        (
            "data_batch_1.bin",
            None,
            "DIR/data_batch_1.bin is missing; CIFAR-10 is data_batch_1.bin to data_batch_5.bin and test_batch.bin: \
             put the file beside the others",
        ),
        (
            "test_batch.bin",
            None,
            "DIR/test_batch.bin is missing; CIFAR-10 is data_batch_1.bin to data_batch_5.bin and test_batch.bin: \
             put the file beside the others",
        ),
        (
            "data_batch_2.bin",
            Some(vec![0; 3075]),
            "DIR/data_batch_2.bin should hold whole CIFAR-10 records of 3073 bytes, but holds 3075 bytes, 2 too many; \
             fetch it again",
        ),
        ("test_batch.bin", Some(vec![]), "DIR/test_batch.bin holds no images; at least one is needed"),
        (
            "data_batch_2.bin",
            Some(cifar(&[&[1], &[10]], 0).0),
            "image 1 of DIR/data_batch_2.bin has label 10, but there are 10 classes, 0 to 9; \
             correct the label, or give the net (its last layer, its number of classes) at least 11",
        ),
        (
            "batches.meta.txt",
            Some(b"cat\ndog".to_vec()),
            "DIR/batches.meta.txt names 2 classes instead of 10; put one name on a line, or remove the file",
        ),
    ];
    for (name, bytes, message) in table {
        let folder = cifar_10();
        match bytes {
            Some(bytes) => fs::write(folder.path().join(name), bytes).unwrap(),
            None => fs::remove_file(folder.path().join(name)).unwrap(),
        }
        assert_eq!(error_at(&folder, &options()), message);
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let sound = folder(&sound());
    let file = sound.path().join(TRAIN_IMAGES);
    let message = open(file.to_str().unwrap(), &options()).unwrap_err().to_string();
    assert_eq!(
        message,
        format!(
            "{} is a file; give the folder that holds the data set's files, a .tar file, a .csv file or a list (.txt)",
            file.display()
        )
    );
    let message = error_at(&folder(&[("cat.jpg", vec![1])]), &options());
    assert!(message.starts_with("DIR holds no data set that is known; looked for idx files"), "{message}");
    assert_eq!(
        error_at(&sound, &Options { train: Some(0), ..options() }),
        "the training set, limited to 0 images, holds no images; at least one is needed"
    );
    assert_eq!(
        error_at(&sound, &Options { shape: Some(ImageShape::new(28, 28, 1)), ..options() }),
        "image 0 of DIR/train-images-idx3-ubyte is 4×3×1, but the shape asked for is 28×28×1; \
         all images of a data set have one shape"
    );
    let too_few = Options { classes: Some(2), ..options() };
    assert!(error_at(&sound, &too_few).starts_with("image 2 in DIR/train-labels-idx1-ubyte has label 2, but there are 2"));
    let set = open_at(sound.path(), &options()).unwrap();
    assert!(set.check_labels(3).is_ok());
    assert!(matches!(set.check_labels(2), Err(Error::Label { label: 2, classes: 2, .. })));
    let huge = usize::MAX;
    for options in [
        Options { shape: Some(ImageShape::new(huge, huge, 3)), ..options() },
        Options { shape: Some(ImageShape::new(0, 1, 3)), ..options() },
        Options { train: Some(huge), ..options() },
        Options { classes: Some(0), ..options() },
        Options { classes: Some(huge), ..options() },
    ] {
        let message = open("synthetic", &options).unwrap_err().to_string();
        assert!(message.starts_with("cannot make"), "{message}");
    }
}

// ---- order and augmentation ----

#[test]
fn an_epoch_is_a_permutation_that_depends_on_seed_and_epoch() {
    for count in [1, 2, 3, 100, 1000] {
        let mut order = Order::new(7, NonZeroU32::new(count).unwrap());
        let epochs: Vec<Vec<usize>> =
            (0..3).map(|epoch| (0..u64::from(count)).map(|p| order.at(epoch * u64::from(count) + p)).collect()).collect();
        for (e, epoch) in epochs.iter().enumerate() {
            assert_eq!(epoch.iter().collect::<HashSet<_>>().len(), count as usize);
            assert!(epoch.iter().all(|&image| image < count as usize));
            let mut images = vec![0; count as usize];
            shuffle(7, e as u64, &mut images);
            assert!(images.iter().zip(epoch).all(|(&a, &b)| a as usize == b));
        }
        if count >= 100 {
            assert_ne!(epochs[0], epochs[1]);
            let mut other = Order::new(8, NonZeroU32::new(count).unwrap());
            assert_ne!(epochs[0], (0..u64::from(count)).map(|p| other.at(p)).collect::<Vec<_>>());
            // From anywhere, in any order, and at the far end of the stream.
            let mut anywhere = Order::new(7, NonZeroU32::new(count).unwrap());
            for p in (0..3 * count as usize).rev().step_by(37) {
                assert_eq!(anywhere.at(p as u64), epochs[p / count as usize][p % count as usize]);
            }
            assert!(anywhere.at(u64::MAX) < count as usize);
        }
    }
}

/// Each of 6 images comes to each place about as often: 6000 shuffles, 1000 ± 6 deviations (√(6000·1/6·5/6) = 28.9).
#[test]
fn shuffles_are_fair() {
    let mut counts = [[0u32; 6]; 6];
    let mut images = [0; 6];
    for epoch in 0..6000 {
        shuffle(3, epoch, &mut images);
        for (place, &image) in images.iter().enumerate() {
            counts[place][image as usize] += 1;
        }
    }
    for count in counts.as_flattened() {
        assert!(count.abs_diff(1000) < 6 * 29, "{counts:?}");
    }
}

#[test]
fn places_stay_in_range_reach_all_of_it_and_depend_on_seed_and_position() {
    let augment = Augment { translate: 2, flip: true, ..Augment::NONE };
    let places: Vec<_> = (0..2000).map(|p| augment.place(1, p, [0, 0])).collect();
    let offsets: HashSet<_> = places.iter().map(|p| (p.top, p.left, p.flip)).collect();
    assert_eq!(offsets.len(), 5 * 5 * 2, "of 2000 draws, each of 50 places is missed with probability 3e-18");
    assert!(offsets.iter().all(|&(top, left, flip)| top.abs() <= 2 && left.abs() <= 2 && (0..=1).contains(&flip)));
    let flips = places.iter().filter(|p| p.flip == 1).count();
    assert!(flips.abs_diff(1000) < 6 * 23, "{flips} of 2000");
    assert_eq!(augment.place(1, 1999, [0, 0]), places[1999]);
    assert_ne!(places, (0..2000).map(|p| augment.place(2, p, [0, 0])).collect::<Vec<_>>());

    let still = Augment::default();
    assert!((0..100).all(|p| still.place(1, p, [0, 0]) == Place::default()));
    let cropped: HashSet<_> = (0..2000).map(|p| still.place(1, p, [3, 1])).map(|p| (p.top, p.left, p.flip)).collect();
    assert_eq!(cropped, (0..=3).flat_map(|top| (0..=1).map(move |left| (top, left, 0))).collect());
    assert_eq!(augment::centred([0, 0]), Place::default());
    assert_eq!(augment::centred([5, 4]), Place { top: 2, left: 2, flip: 0 });
}

#[test]
fn a_shift_out_of_the_image_is_refused() {
    let shape = ImageShape::new(28, 20, 1);
    assert!(Augment { translate: 19, flip: false, ..Augment::NONE }.check(shape).is_ok());
    let message = Augment { translate: 20, flip: false, ..Augment::NONE }.check(shape).unwrap_err().to_string();
    assert_eq!(message, "augment: translate = 20 moves images of 28×20×1 out of sight; use at most 19");
}

#[test]
fn augment_is_written_as_in_a_config() {
    let read = |text: &str| toml::from_str::<Augment>(text);
    assert_eq!(read("translate = 2").unwrap(), Augment { translate: 2, flip: false, ..Augment::NONE });
    assert_eq!(read("flip = true").unwrap(), Augment { translate: 0, flip: true, ..Augment::NONE });
    assert!(read("turn = 3").is_err());
    assert!(read("translate = -1").is_err());
}

// ---- normalisation ----

/// Two passes in f64, as anyone would write them.
fn naive(source: &dyn Source, mean: Mean) -> (Vec<f64>, f64) {
    let (pixels, _) = all(source);
    let values = if mean == Mean::Channel { source.shape().c } else { source.shape().bytes() };
    let n = (pixels.len() / values) as f64;
    let means: Vec<_> =
        (0..values).map(|v| pixels.iter().skip(v).step_by(values).map(|&x| f64::from(x)).sum::<f64>() / n).collect();
    let variance = pixels.iter().enumerate().map(|(i, &x)| (f64::from(x) - means[i % values]).powi(2)).sum::<f64>();
    (means, (variance / pixels.len() as f64).sqrt())
}

#[test]
fn normalisation_is_what_two_naive_passes_give() {
    let shape = ImageShape::new(5, 3, 3);
    let synthetic = Synthetic::new(shape, 150, 10, 1, 0).unwrap();
    let mnist = open("mnist-10k", &Options { train: Some(500), ..options() }).unwrap();
    for source in [&synthetic as &dyn Source, &*mnist.train] {
        for mean in [Mean::Channel, Mean::Pixel] {
            let (means, deviation) = naive(source, mean);
            let normalisation = Normalisation::of(source, mean).unwrap();
            assert_eq!(normalisation.mean.len(), means.len());
            for (i, (&got, &expected)) in normalisation.mean.iter().zip(&means).enumerate() {
                let bound = 1e-7 * expected.max(1.0);
                assert!((f64::from(got) - expected).abs() <= bound, "mean {i}: {got} instead of {expected} ± {bound}");
            }
            let relative = (normalisation.scale * deviation - 1.0).abs();
            assert!(relative < 1e-11, "scale {} instead of 1/{deviation}: off by {relative}", normalisation.scale);
        }
    }
}

/// Mean 33.375316006217396 and deviation 78.62975443640514 of the embedded training set, by Python's integers.
#[test]
fn mnists_normalisation_is_the_published_one() {
    let set = open("mnist-10k", &options()).unwrap();
    let normalisation = Normalisation::of(&*set.train, Mean::Channel).unwrap();
    assert_eq!(normalisation.mean, [33.375_316_f32]);
    assert!((normalisation.scale * 78.629_754_436_405_14 - 1.0).abs() < 1e-14, "{}", normalisation.scale);
    // The middle pixel's mean: 1035495 / 7996.
    let normalisation = Normalisation::of(&*set.train, Mean::Pixel).unwrap();
    assert_eq!(normalisation.mean[14 * 28 + 14], (1_035_495.0 / 7996.0) as f32);
}

#[test]
fn normalisation_does_not_depend_on_threads_and_survives_a_checkpoint() {
    let set = open("mnist-10k", &options()).unwrap();
    for mean in [Mean::Channel, Mean::Pixel] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Normalisation::of(&*set.train, mean).unwrap())
        };
        let one = on(1);
        assert_eq!((one.clone(), one.clone()), (on(2), on(5)));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(one, serde_json::from_str(&text).unwrap());
    }
    // One in six f64s comes back one unit off unless serde_json's float_roundtrip is on (Cargo.toml).
    for i in 1..=1000 {
        let some = Normalisation { mean: vec![255.0 / i as f32], scale: 1.0 / f64::from(i).sqrt() };
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(some, serde_json::from_str(&text).unwrap());
    }
    let flat = Images::new("flat", ImageShape::new(2, 2, 1), vec![9; 8], vec![0, 1]).unwrap();
    assert_eq!(Normalisation::of(&flat, Mean::Channel).unwrap(), Normalisation { mean: vec![9.0], scale: 1.0 });
}

// ---- pairs ----

/// mnist-10k in pairs: each half of a sample's channels is an image of the set, the label says whether both are of one class,
/// about half are, no image is its own partner, and each other image of the class, and of the other classes, can be.
#[test]
fn pairs_are_two_images_and_whether_they_are_of_one_class() {
    let single = open("mnist-10k", &options()).unwrap();
    let set = open("mnist-10k", &Options { pairs: true, seed: 7, ..options() }).unwrap();
    assert_eq!((set.classes, set.class_names.len(), set.shape()), (2, 2, ImageShape::new(28, 28, 2)));
    let pairs = Pairs::new(single.train.clone(), 7).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (single.train.len(), single.test.len()));
    let (mut pixels, mut one) = (vec![0; 2 * 784], vec![0; 784]);
    let mut same = 0;
    for i in 0..2000 {
        let partner = pairs.partner(i, 3);
        assert_ne!(partner, i);
        let label = set.train.sample(i, &in_epoch(3), &mut pixels).unwrap();
        assert_eq!(label, i32::from(single.train.label(i) == single.train.label(partner)));
        same += label;
        for (half, image) in [i, partner].into_iter().enumerate() {
            single.train.read(image, &mut one).unwrap();
            assert!(pixels.iter().skip(half).step_by(2).eq(&one), "half {half} of pair {i} is not image {image}");
        }
    }
    // Within five standard deviations of a half.
    assert!((888..=1112).contains(&same), "{same} of 2000");
    // Epochs differ, and what has no epoch is that of epoch 0.
    let partners = |epoch| (0..100).map(|i| pairs.partner(i, epoch)).collect::<Vec<_>>();
    assert!(partners(0) != partners(1) && partners(1) == partners(1));
    set.train.read(5, &mut pixels).unwrap();
    let read = pixels.clone();
    assert_eq!(set.train.sample(5, &in_epoch(0), &mut pixels).unwrap(), set.train.label(5));
    assert_eq!(read, pixels);
    assert_ne!(partners(0), (0..100).map(|i| Pairs::new(single.train.clone(), 8).unwrap().partner(i, 0)).collect::<Vec<_>>());
}

/// Nine images, four of class 2, three of class 0, one of class 1 and one of class 3, in no order: over many epochs each partner of
/// an image comes as often as it should, within five standard deviations.
#[test]
fn partners_are_fair() {
    const LABELS: [i32; 9] = [2, 0, 2, 1, 0, 2, 3, 2, 0];
    let shape = ImageShape::new(1, 1, 1);
    let single = Arc::new(Images::new("nine", shape, (0..9).collect(), LABELS.to_vec()).unwrap());
    let pairs = Pairs::new(single, 1).unwrap();
    const EPOCHS: usize = 40_000;
    for i in 0..9 {
        let mut counts = [0usize; 9];
        (0..EPOCHS).for_each(|epoch| counts[pairs.partner(i, epoch as u64)] += 1);
        let mates = LABELS.iter().filter(|&&l| l == LABELS[i]).count();
        for (j, &count) in counts.iter().enumerate() {
            let p = match (LABELS[i] == LABELS[j], i == j, mates) {
                (true, true, 1) => 0.5, // alone in its class
                (true, true, _) => 0.0,
                (true, false, _) => 0.5 / (mates - 1) as f64,
                (false, ..) => 0.5 / (9 - mates) as f64,
            };
            let (mean, deviation) = (p * EPOCHS as f64, (p * (1.0 - p) * EPOCHS as f64).sqrt());
            assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{i} with {j}: {count} times, {mean} expected");
        }
    }
    let alike = Images::new("alike", shape, vec![1; 4], vec![3; 4]).unwrap();
    let message = Pairs::new(Arc::new(alike), 1).err().unwrap().to_string();
    assert_eq!(message, "cannot make pairs: all images, such as image 0 of alike, are of one class");
}

/// Both images of a pair are normalised as single ones.
#[test]
fn pairs_are_normalised_as_their_images() {
    let cifar = cifar_10();
    let one = open_at(cifar.path(), &options()).unwrap().train;
    let two = Pairs::new(one.clone(), 1).unwrap();
    for mean in [Mean::Channel, Mean::Pixel] {
        let (one, two) = (Normalisation::of(&*one, mean).unwrap(), Normalisation::of(&two, mean).unwrap());
        assert_eq!((one.scale, 2 * one.mean.len()), (two.scale, two.mean.len()));
        for (single, pair) in one.mean.chunks(3).zip(two.mean.chunks(6)) {
            assert!(&pair[..3] == single && &pair[3..] == single);
        }
    }
}

/// The loader draws each epoch's pairs anew, from the position alone.
#[test]
fn a_loader_of_pairs_resumes_anywhere() {
    let shape = ImageShape::new(1, 2, 1);
    let single = Arc::new(Images::new("ten", shape, (0..20).collect(), (0..10).map(|i| i % 3).collect()).unwrap());
    let pairs = Arc::new(Pairs::new(single, 3).unwrap());
    let from = |start| Loader::train(pairs.clone(), 4, 3, Augment::default(), start).unwrap();
    let whole = take(&mut from(0), 15, Duration::ZERO);
    assert_eq!(take(&mut from(24), 9, Duration::ZERO), whole[6..]);
    let mut order = Order::new(3, NonZeroU32::new(10).unwrap());
    for (p, (pixels, label)) in whole.iter().flat_map(|b| b.images.chunks(4).zip(&b.labels)).enumerate() {
        let (image, epoch) = (order.at(p as u64), p as u64 / 10);
        let partner = pairs.partner(image, epoch);
        // Image i is the bytes 2·i and 2·i + 1.
        let [a, b] = [image as u8, partner as u8].map(|i| 2 * i);
        assert_eq!((pixels, *label), ([a, b, a + 1, b + 1].as_slice(), i32::from(image % 3 == partner % 3)), "position {p}");
    }
}

// ---- the loader ----

/// Image i has the pixels i, i + 1, …; some images are slow, one may be broken.
struct Odd {
    count: usize,
    slow: bool,
    broken: Option<usize>,
    panics: bool,
}

impl Odd {
    fn new(count: usize) -> Self {
        Self { count, slow: false, broken: None, panics: false }
    }
}

impl Source for Odd {
    fn len(&self) -> usize {
        self.count
    }

    fn shape(&self) -> ImageShape {
        ImageShape::new(2, 3, 1)
    }

    fn label(&self, i: usize) -> i32 {
        i as i32
    }

    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()> {
        if self.slow {
            thread::sleep(Duration::from_micros((i * 7919 % 5 * 200) as u64));
        }
        if self.broken == Some(i) {
            assert!(!self.panics, "this panic is part of a test");
            return Err(Error::Empty { what: self.origin(i) });
        }
        for (j, pixel) in pixels.iter_mut().enumerate() {
            *pixel = (i + j) as u8;
        }
        Ok(())
    }

    fn origin(&self, i: usize) -> String {
        format!("odd image {i}")
    }
}

const AUGMENT: Augment = Augment { translate: 1, flip: true, ..Augment::NONE };

fn train(source: Odd, seed: u64, start: u64) -> Loader {
    Loader::train(Arc::new(source), 4, seed, AUGMENT, start).unwrap()
}

/// The next batches, each given back; the consumer pauses for `pause` before each.
fn take(loader: &mut Loader, count: usize, pause: Duration) -> Vec<Batch> {
    (0..count)
        .map(|_| {
            thread::sleep(pause);
            let batch = loader.next().unwrap();
            let copy = batch.clone();
            loader.recycle(batch);
            copy
        })
        .collect()
}

/// Fails if the work takes more than ten seconds, instead of hanging.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    finished.recv_timeout(Duration::from_secs(10)).expect("it hangs, or it panicked")
}

#[test]
fn batches_hold_the_images_of_their_positions() {
    let mut loader = train(Odd::new(10), 3, 0);
    assert_eq!(loader.batches(), 3);
    let mut order = Order::new(3, NonZeroU32::new(10).unwrap());
    for (b, batch) in take(&mut loader, 10, Duration::ZERO).iter().enumerate() {
        assert_eq!((batch.count, batch.first_position), (4, 4 * b as u64));
        for k in 0..4 {
            let position = 4 * b as u64 + k as u64;
            let image = order.at(position);
            assert_eq!(batch.labels[k], image as i32);
            assert_eq!(batch.places[k], AUGMENT.place(3, position, [0, 0]));
            let pixels: Vec<_> = (0..6).map(|j| (image + j) as u8).collect();
            assert_eq!(batch.images[6 * k..6 * k + 6], pixels);
        }
    }
}

#[test]
fn a_loader_resumes_anywhere() {
    let whole = take(&mut train(Odd::new(10), 3, 0), 12, Duration::ZERO);
    for start in [1, 2, 5, 11] {
        assert_eq!(take(&mut train(Odd::new(10), 3, 4 * start as u64), 12 - start, Duration::ZERO), whole[start..]);
    }
    assert_ne!(take(&mut train(Odd::new(10), 4, 0), 12, Duration::ZERO), whole);
    // A position out of a damaged checkpoint is an odd one, not a panic.
    take(&mut train(Odd::new(10), 3, u64::MAX - 5), 3, Duration::ZERO);
}

#[test]
fn timing_does_not_matter() {
    let expected = take(&mut train(Odd::new(23), 9, 0), 30, Duration::ZERO);
    let slow = || Odd { slow: true, ..Odd::new(23) };
    let mut waiting = train(slow(), 9, 0);
    assert_eq!(take(&mut waiting, 30, Duration::ZERO), expected, "a slow source");
    assert!(waiting.waited() > Duration::ZERO);
    assert_eq!(take(&mut train(Odd::new(23), 9, 0), 30, Duration::from_millis(1)), expected, "a slow consumer");
    // Two batches held at a time.
    let mut loader = train(slow(), 9, 0);
    let mut held = loader.next().unwrap();
    for expected in &expected[1..] {
        let next = loader.next().unwrap();
        assert_eq!(next, *expected);
        loader.recycle(std::mem::replace(&mut held, next));
    }
}

#[test]
fn a_test_pass_is_in_order_and_its_last_batch_padded() {
    let mut loader = Loader::test(Arc::new(Odd::new(10)), 4).unwrap();
    assert_eq!(loader.batches(), 3);
    let passes = take(&mut loader, 6, Duration::ZERO);
    assert_eq!(passes[..3], passes[3..]);
    let seen: Vec<_> = passes[..3].iter().map(|b| (b.first_position, b.count, b.labels.clone())).collect();
    assert_eq!(seen, [(0, 4, vec![0, 1, 2, 3]), (4, 4, vec![4, 5, 6, 7]), (8, 2, vec![8, 9, 0, 0])]);
    assert_eq!(passes[2].images[12..], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]);
    assert!(passes.iter().flat_map(|b| &b.places).all(|&place| place == Place::default()));
    // One batch larger than the set, and a set that is whole batches.
    let one = take(&mut Loader::test(Arc::new(Odd::new(3)), 5).unwrap(), 1, Duration::ZERO);
    assert_eq!((one[0].count, one[0].labels.clone()), (3, vec![0, 1, 2, 0, 0]));
    let whole = take(&mut Loader::test(Arc::new(Odd::new(8)), 4).unwrap(), 3, Duration::ZERO);
    assert_eq!(whole.iter().map(|b| (b.first_position, b.count)).collect::<Vec<_>>(), [(0, 4), (4, 4), (0, 4)]);
}

#[test]
fn buffers_come_back() {
    let mut loader = train(Odd::new(10), 3, 0);
    let mut buffers = HashSet::new();
    for _ in 0..50 {
        let batch = loader.next().unwrap();
        buffers.insert(batch.images.as_ptr() as usize);
        loader.recycle(batch);
    }
    assert!(buffers.len() <= 4, "{} buffers", buffers.len());
    // One that was taken apart is made whole.
    loader.recycle(Batch::default());
    assert!(take(&mut loader, 10, Duration::ZERO).iter().all(|batch| batch.images.len() == 24));
}

#[test]
fn a_broken_image_is_an_error_at_next_and_so_is_a_panic() {
    for panics in [false, true] {
        let (first, second) = in_time(move || {
            let mut loader = Loader::test(Arc::new(Odd { broken: Some(9), panics, ..Odd::new(20) }), 4).unwrap();
            take(&mut loader, 2, Duration::ZERO);
            (loader.next().unwrap_err().to_string(), loader.next().unwrap_err().to_string())
        });
        let stopped =
            |how| format!("the thread that loads the data has stopped ({how}); resume the run from its last checkpoint");
        if panics {
            assert_eq!((first, second), (stopped("it panicked"), stopped("it panicked")));
        } else {
            assert_eq!(first, "odd image 9 holds no images; at least one is needed");
            assert_eq!(second, stopped("after an error"));
        }
    }
}

#[test]
fn a_consumer_that_gives_nothing_back_is_told() {
    let message = in_time(|| {
        let mut loader = train(Odd::new(10), 3, 0);
        let held: Vec<_> = (0..4).map(|_| loader.next().unwrap()).collect();
        let message = loader.next().unwrap_err().to_string();
        drop(held);
        message
    });
    assert_eq!(message, "all batches of the loader are lent out; recycle one first");
}

#[test]
fn a_loader_can_be_dropped_at_any_time() {
    in_time(|| {
        for taken in 0..20 {
            let mut loader = train(Odd { slow: taken % 2 == 1, ..Odd::new(10) }, 3, 0);
            take(&mut loader, taken, Duration::ZERO);
            let held = (taken % 3 == 0).then(|| loader.next().unwrap());
            thread::sleep(Duration::from_micros(100 * taken as u64));
            drop(loader);
            drop(held);
        }
    });
}

#[test]
fn a_loader_that_cannot_be_is_refused() {
    let refused = |batch, count, translate| {
        let augment = Augment { translate, ..Augment::NONE };
        Loader::train(Arc::new(Odd::new(count)), batch, 1, augment, 0).err().map(|e| e.to_string())
    };
    assert_eq!(refused(4, 10, 1), None);
    assert_eq!(refused(0, 10, 1).unwrap(), "cannot load batches of 0 images of 2×3×1");
    assert!(refused(usize::MAX, 10, 1).unwrap().starts_with("cannot load batches of"));
    assert!(refused(usize::MAX / 8, 10, 1).unwrap().starts_with("no memory for 4 batches of"));
    assert_eq!(refused(4, 0, 1).unwrap(), "cannot train on 0 images; an epoch has 1 to 4294967295 images");
    assert!(refused(4, 10, 2).unwrap().contains("out of sight; use at most 1"));
    assert!(Loader::test(Arc::new(Odd::new(0)), 4).is_err());
}
