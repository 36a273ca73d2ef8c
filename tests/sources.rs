//! Image files as data sets: class folders, tar shards, lists; what is taken of a picture; order and augmentation that depend on the
//! seed and the position alone, whatever the number of threads; images that cannot be read.

use convnet::data::order::{Order, Shuffle};
use convnet::data::{
    Augment, Batch, DataSet, ImageShape, Loader, Normalisation, OnError, Options, Reading, ResizedCrop, Source, open,
};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

// ---- what the tests are made of ----

/// A PNG of one colour.
fn png(w: u32, h: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(w, h, Rgb(colour)).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A PNG whose pixel (x, y) is (10·x, 10·y, number).
fn ramp(w: u32, h: u32, number: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(w, h, |x, y| Rgb([10 * x as u8, 10 * y as u8, number]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn tar(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Set as bytes: the crate would refuse names that lead out of a folder.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn open_at(folder: &Path, options: &Options) -> Result<DataSet, String> {
    open(folder.to_str().unwrap(), options).map_err(|e| e.to_string().replace(folder.to_str().unwrap(), "DIR"))
}

/// Blue values and labels of all images: the blue of [`ramp`] tells the image.
fn blues(source: &dyn Source) -> Vec<(u8, i32)> {
    let mut pixels = vec![0; source.shape().bytes()];
    let one = |i| {
        source.read(i, &mut pixels).unwrap();
        (pixels[2], source.label(i))
    };
    (0..source.len()).map(one).collect()
}

fn batches(loader: &mut Loader, count: usize) -> Vec<Batch> {
    let next = |_| {
        let batch = loader.next().unwrap();
        let copy = batch.clone();
        loader.recycle(batch);
        copy
    };
    (0..count).map(next).collect()
}

// ---- sources ----

/// Class folders, nested ones and other files among them: classes in the order of their names, images in that of theirs. With `val`
/// and `test`, `val` is tested on.
#[test]
fn class_folders_are_read_in_the_order_of_names() {
    let folder = folder(&[
        ("train/dog/b.png", ramp(4, 4, 11)),
        ("train/dog/a.png", ramp(4, 4, 10)),
        ("train/cat/inner/deep/x.PNG", ramp(4, 4, 1)),
        ("train/cat/notes.txt", b"no image".to_vec()),
        ("train/.cache/y.png", ramp(4, 4, 99)),
        ("val/cat/x.png", ramp(4, 4, 2)),
        ("val/dog/x.png", ramp(4, 4, 12)),
        ("test/dog/x.png", ramp(4, 4, 50)),
    ]);
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!((set.classes, set.class_names), (2, vec!["cat".to_owned(), "dog".to_owned()]));
    assert_eq!(blues(&*set.train), [(1, 0), (10, 1), (11, 1)]);
    assert_eq!(blues(&*set.test), [(2, 0), (12, 1)]);
    assert_eq!(set.train.shape(), ImageShape::new(4, 4, 3));
    assert!(set.train.origin(0).ends_with("train/cat/inner/deep/x.PNG"));
    assert_eq!(set.warnings, Vec::<String>::new());
}

/// Class folders alone: one image in ten of each class, the second of each ten, is tested on, and that is said.
#[test]
fn a_tenth_is_held_out_where_there_is_no_test_set() {
    let files: Vec<(String, Vec<u8>)> =
        (0..24).map(|i| (format!("{}/{i:02}.png", if i < 4 { "a" } else { "b" }), ramp(4, 4, i))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let folder = folder(&files);
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!(blues(&*set.test), [(1, 0), (5, 1), (15, 1)]);
    assert_eq!(set.train.len(), 21);
    assert!(set.warnings[0].contains("one image in 10 of each class, 3 in all, is tested on"), "{:?}", set.warnings);
}

/// Tar shards with class folders; the names of the shards tell the sets, and the image is read where it lies.
#[test]
fn tar_shards_are_read_where_they_lie() {
    let folder = folder(&[
        ("train-1.tar", tar(&[("dog/2.png", ramp(4, 4, 3)), ("README", b"x".to_vec())])),
        ("train-0.tar", tar(&[("dog/0.png", ramp(4, 4, 1)), ("cat/1.png", ramp(4, 4, 2))])),
        ("test-0.tar", tar(&[("./cat/9.png", ramp(4, 4, 9)), ("test/dog/8.png", ramp(4, 4, 8))])),
        ("README.md", b"about".to_vec()),
    ]);
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!(set.class_names, ["cat", "dog"]);
    assert_eq!(blues(&*set.train), [(1, 1), (2, 0), (3, 1)]);
    assert_eq!(blues(&*set.test), [(9, 0), (8, 1)]);
    assert!((0..3).map(|i| set.train.starts_shard(i)).eq([true, false, true]));
    assert!(set.train.origin(2).contains("dog/2.png in "));
}

/// WebDataset shards: `.cls` before or behind its image, `.json` with a number or a name; labels that are numbers are the classes'.
#[test]
fn webdataset_keys_make_samples() {
    let numbers = folder(&[
        (
            "web-train-000000.tar",
            tar(&[
                ("00/a.jpg.not", b"?".to_vec()),
                ("k1.png", ramp(4, 4, 1)),
                ("k1.cls", b"3\n".to_vec()),
                ("k2.json", br#"{"label": 1, "text": "x"}"#.to_vec()),
                ("k2.png", ramp(4, 4, 2)),
            ]),
        ),
        ("web-val-000000.tar", tar(&[("k3.seg.png", ramp(4, 4, 3)), ("k3.cls", b"0".to_vec())])),
    ]);
    let set = open_at(numbers.path(), &Options::default()).unwrap();
    assert_eq!((blues(&*set.train), blues(&*set.test)), (vec![(1, 3), (2, 1)], vec![(3, 0)]));
    assert_eq!(set.classes, 4);
    assert_eq!(
        set.warnings,
        ["no test image is of class 1, 3", "no training image is of class 0", "a gap in the labels: no image is of class 2"]
    );
    let named = folder(&[
        ("train.tar", tar(&[("k.png", ramp(4, 4, 1)), ("k.json", br#"{"cls": "owl"}"#.to_vec())])),
        ("test.tar", tar(&[("k.png", ramp(4, 4, 1)), ("k.cls", b"owl".to_vec())])),
    ]);
    assert_eq!(open_at(named.path(), &Options::default()).unwrap().class_names, ["owl"]);
}

/// Lists: paths with spaces, relative to the list; labels that are numbers, or names; a list alone is held out from.
#[test]
fn lists_name_images_and_labels() {
    let folder = folder(&[
        ("images/one image.png", ramp(4, 4, 1)),
        ("images/b.png", ramp(4, 4, 2)),
        ("train.txt", b"images/one image.png 1\n\nimages/b.png\t0\r\n".to_vec()),
        ("val.txt", b"images/b.png 0\n".to_vec()),
        ("names.lst", b"images/b.png owl\nimages/one image.png owl\nimages/b.png bat\n".to_vec()),
    ]);
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!((blues(&*set.train), blues(&*set.test)), (vec![(1, 1), (2, 0)], vec![(2, 0)]));
    assert_eq!((set.warnings.len(), set.warnings[0].as_str()), (2, "no test image is of class 1"));
    assert!(set.warnings[1].starts_with("1 of the test images is trained on, too: "), "{:?}", set.warnings);
    let set = open_at(&folder.path().join("names.lst"), &Options::default()).unwrap();
    assert_eq!((set.class_names, set.train.len(), set.test.len()), (vec!["bat".to_owned(), "owl".to_owned()], 2, 1));
}

/// The one message that tells what is wrong with a set, and what to do.
#[test]
fn what_is_wrong_with_a_set_is_told() {
    let image = || ramp(4, 4, 1);
    let cut = {
        let mut whole = tar(&[("a/1.png", image())]);
        whole.truncate(600);
        whole
    };
    type Files = Vec<(&'static str, Vec<u8>)>;
    let cases: Vec<(Files, Options, &str)> = vec![
        (
            vec![("train/a/1.png", image()), ("train/a/2.png", ramp(5, 4, 1)), ("val/a/1.png", image())],
            Options::default(),
            "say what to make of pictures of different sizes: data.shape",
        ),
        (
            vec![("train/a/1.png", image()), ("val/README", b"x".to_vec())],
            Options::default(),
            "the test set of DIR holds no images",
        ),
        (vec![("a/notes.txt", b"x".to_vec())], Options::default(), "holds no data set that is known"),
        (vec![("train-0.tar", cut)], Options::default(), "DIR/train-0.tar cannot be read as a tar file"),
        (vec![("train-0.tar", b"not a tar file".repeat(60))], Options::default(), "DIR/train-0.tar cannot be read as a tar file"),
        (vec![("train-0.tar", tar(&[("1.png", image())]))], Options::default(), "1.png has no class: neither a folder"),
        (vec![("train.txt", b"a.png\n".to_vec())], Options::default(), "DIR/train.txt, line 1: a line is the path of an image"),
        (vec![("train.txt", vec![b'a'; 70_000])], Options::default(), "DIR/train.txt, line 1: the line is too long"),
        (vec![("train.txt", b"a.png 4000000000\n".to_vec())], Options::default(), "label 4000000000 makes too many classes"),
        (vec![("a/1.png", image())], Options::default(), "the test set of DIR holds no images"),
        (
            vec![("a/1.png", image()), ("a/2.png", image())],
            Options { size: Some(3), shape: Some(ImageShape::new(4, 4, 3)), ..Options::default() },
            "data.size = 3 is below",
        ),
        (
            vec![("a/1.png", image()), ("a/2.png", image())],
            Options { shape: Some(ImageShape::new(4, 4, 7)), ..Options::default() },
            "they have 1 or 3 channels",
        ),
        (
            vec![("a/1.png", b"no".to_vec()), ("a/2.png", b"no".to_vec())],
            Options { on_error: OnError::Stop, ..Options::default() },
            "DIR/a/1.png cannot be read: it is no JPEG",
        ),
    ];
    for (files, options, part) in cases {
        let folder = folder(&files);
        let error = open_at(folder.path(), &options).expect_err(part);
        assert!(error.contains(part), "{error}\ndoes not tell: {part}");
    }
}

/// A member's name is but a name: one that is absolute or leads upwards is read where it lies, and nothing is written anywhere.
#[test]
fn names_in_a_tar_lead_nowhere() {
    let folder = folder(&[
        ("train-0.tar", tar(&[("/etc/evil.png", ramp(4, 4, 1)), ("../../up/evil.png", ramp(4, 4, 2))])),
        ("test-0.tar", tar(&[("etc/x.png", ramp(4, 4, 3)), ("up/y.png", ramp(4, 4, 4))])),
    ]);
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!((set.class_names, blues(&*set.train)), (vec!["etc".to_owned(), "up".to_owned()], vec![(1, 0), (2, 1)]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// A link from a class folder to a folder above it ends.
#[test]
fn links_in_a_circle_end() {
    let folder = folder(&[("train/a/1.png", ramp(4, 4, 1)), ("val/a/1.png", ramp(4, 4, 2))]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("train/a/above")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("train/a"), folder.path().join("train/b")).unwrap();
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!(blues(&*set.train), [(1, 0), (1, 1)]);
}

/// Pictures of several sizes: the shorter side is resized to `size`, and a test takes the middle; `shape` alone is covered.
#[test]
fn pictures_of_any_size_make_images_of_one_shape() {
    let files = [("train/a/1.png", ramp(24, 8, 7)), ("train/a/2.png", png(8, 30, [9, 9, 9])), ("val/a/1.png", ramp(8, 8, 7))];
    let folder = folder(&files);
    let sized = Options { size: Some(8), ..Options::default() };
    let set = open_at(folder.path(), &sized).unwrap();
    assert_eq!(set.train.shape(), ImageShape::new(8, 8, 3));
    let mut pixels = vec![0; 192];
    set.train.read(0, &mut pixels).unwrap();
    assert_eq!(pixels[..6], [80, 0, 7, 90, 0, 7], "the middle 8 of 24 columns, unchanged");
    let covered = Options { shape: Some(ImageShape::new(4, 6, 1)), ..Options::default() };
    let set = open_at(folder.path(), &covered).unwrap();
    let mut grey = vec![0; 24];
    set.train.read(1, &mut grey).unwrap();
    assert_eq!(grey, [9; 24]);
    // Grey pictures make grey images.
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_pixel(5, 5, Luma([3])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    for name in ["train/a", "val/a"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("1.png"), bytes.get_ref()).unwrap();
    }
    assert_eq!(open_at(folder.path(), &Options::default()).unwrap().train.shape(), ImageShape::new(5, 5, 1));
}

/// A file of tests/golden/ilsvrc.
fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ilsvrc").join(name)).unwrap()
}

fn devkit(meta: &[u8], labels: &str) -> Vec<u8> {
    let members = tar(&[
        ("ILSVRC2012_devkit_t12/readme.txt", b"about".to_vec()),
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", labels.as_bytes().to_vec()),
        ("ILSVRC2012_devkit_t12/data/meta.mat", meta.to_vec()),
    ]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &members).unwrap();
    encoder.finish().unwrap()
}

/// ILSVRC2012's files in small, with another download beside them that is not for this task.
fn ilsvrc(devkit: Option<Vec<u8>>) -> TempDir {
    let class = |wnid: &str, blues: std::ops::Range<u8>| {
        let members: Vec<_> = blues.map(|blue| (format!("{wnid}_{blue}.JPEG"), ramp(4, 4, blue))).collect();
        tar(&members.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
    };
    let train = tar(&[
        ("n03126707.tar", class("n03126707", 30..32)),
        ("n01440764.tar", class("n01440764", 10..13)),
        ("n02084071.tar", class("n02084071", 40..41)),
        ("n02012849.tar", class("n02012849", 20..22)),
    ]);
    let validation: Vec<_> = (1..=5).rev().map(|i| (format!("ILSVRC2012_val_{i:08}.JPEG"), ramp(4, 4, 100 + i))).collect();
    let validation = tar(&validation.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>());
    let mut files = vec![
        ("ILSVRC2012_img_train.tar", train),
        ("ILSVRC2012_img_val.tar", validation),
        ("ILSVRC2012_img_train_t3.tar", tar(&[("n02085620.tar", class("n02085620", 90..92))])),
    ];
    files.extend(devkit.map(|bytes| ("ILSVRC2012_devkit_t12.tar.gz", bytes)));
    folder(&files)
}

/// ILSVRC2012 as it is downloaded: the class tars are read where they lie; classes are in the order of their WordNet identifiers, as
/// torchvision has them, and not in that of the challenge's numbers, by which the validation images are labelled; of two
/// classes with the same word the identifiers tell them apart. Each class tar counts as a shard.
#[test]
fn ilsvrc2012_is_read_as_it_is_downloaded() {
    for meta in ["meta.mat", "plain.mat"] {
        let folder = ilsvrc(Some(devkit(&golden(meta), "3\n1\n2\n4\n2\n")));
        let set = open_at(folder.path(), &Options::default()).unwrap();
        assert_eq!(set.class_names, ["tench", "crane n02012849", "dog", "crane n03126707"]);
        let train = [(30, 3), (31, 3), (10, 0), (11, 0), (12, 0), (40, 2), (20, 1), (21, 1)];
        assert_eq!(blues(&*set.train), train);
        assert_eq!(blues(&*set.test), [(105, 0), (104, 2), (103, 0), (102, 1), (101, 3)]);
        let starts: Vec<usize> = (0..8).filter(|&i| set.train.starts_shard(i)).collect();
        assert_eq!((starts, set.warnings), (vec![0, 2, 5, 6], Vec::<String>::new()));
        assert!(set.train.origin(2).starts_with("n01440764_10.JPEG in "), "{}", set.train.origin(2));
    }
    // Without the devkit the validation images have no classes; the training images alone need none.
    let folder = ilsvrc(None);
    let error = open_at(folder.path(), &Options::default()).unwrap_err();
    assert!(error.contains("DIR/ILSVRC2012_devkit_t12.tar.gz is missing") && error.contains("tells the classes"), "{error}");
    fs::remove_file(folder.path().join("ILSVRC2012_img_val.tar")).unwrap();
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!(set.class_names, ["n01440764", "n02012849", "n02084071", "n03126707"]);
    assert_eq!((set.train.len(), set.test.len()), (5, 3));
    // What is wrong with a devkit is told.
    let whole = golden("meta.mat");
    for (meta, labels, part) in [
        (&whole[..], "3\n1\n2\n", "ILSVRC2012_val_00000005.JPEG has no class"),
        (&whole[..], "3 1 two 4 2", "its validation labels are no numbers"),
        (&whole[..], "3 1 9 4 2", "ILSVRC2012_val_00000003.JPEG has no class"),
        (&b"not from MATLAB"[..], "", "meta.mat: it is no MATLAB file"),
        (&whole[..150], "", "meta.mat: it ends within an element"),
        (&whole[..128], "", "its meta.mat has no synsets"),
    ] {
        let folder = ilsvrc(Some(devkit(meta, labels)));
        let error = open_at(folder.path(), &Options::default()).expect_err(part);
        assert!(error.contains(part), "{error}\ndoes not tell: {part}");
    }
    let mut damaged = devkit(&whole, "1");
    damaged.truncate(damaged.len() / 2);
    let error = open_at(ilsvrc(Some(damaged)).path(), &Options::default()).unwrap_err();
    assert!(error.contains("is a damaged gzip file"), "{error}");
    // A random byte in another place is an error or is not seen; never a panic.
    let plain = golden("plain.mat");
    for i in (128..plain.len()).step_by(7) {
        let mut other = plain.clone();
        other[i] = other[i].wrapping_add(97);
        let _ = open_at(ilsvrc(Some(devkit(&other, "3 1 2 4 2"))).path(), &Options::default());
    }
}

/// Tables of targets: the values of each image by its path, quoted or not; parts of a set keep theirs.
#[test]
fn tables_tell_values() {
    let folder = folder(&[
        ("images/a, b.png", ramp(4, 4, 1)),
        ("images/c.png", ramp(4, 4, 2)),
        ("images/d.png", ramp(4, 4, 3)),
        (
            "train.csv",
            b"\xef\xbb\xbfpath,\"left, right\",up\r\n\"images/a, b.png\", 0.5 ,-1\r\n\r\nimages/c.png,1e3,2\n".to_vec(),
        ),
        ("val.csv", b"path,\"left, right\",up\nimages/d.png,7,8\n".to_vec()),
        ("alone.csv", b"x,y\nimages/c.png,1\nimages/d.png,2\nimages/c.png,3\n".to_vec()),
    ]);
    let values = |source: &dyn Source| -> Vec<Vec<f32>> {
        let one = |i| {
            let mut values = vec![0.0; source.values()];
            source.read_values(i, &mut values);
            values
        };
        (0..source.len()).map(one).collect()
    };
    let set = open_at(folder.path(), &Options::default()).unwrap();
    assert_eq!((set.classes, set.class_names), (2, vec!["left, right".to_owned(), "up".to_owned()]));
    assert_eq!((blues(&*set.train), blues(&*set.test)), (vec![(1, 0), (2, 0)], vec![(3, 0)]));
    assert_eq!((values(&*set.train), values(&*set.test)), (vec![vec![0.5, -1.0], vec![1000.0, 2.0]], vec![vec![7.0, 8.0]]));
    assert_eq!(set.warnings, Vec::<String>::new());
    let alone = open_at(&folder.path().join("alone.csv"), &Options::default()).unwrap();
    assert_eq!((values(&*alone.train), values(&*alone.test)), (vec![vec![1.0], vec![3.0]], vec![vec![2.0]]));
    assert!(alone.warnings[0].contains("one image in 10, 1 in all, is tested on"), "{:?}", alone.warnings);
    let mut loader = Loader::test(set.train, 2).unwrap();
    assert_eq!(batches(&mut loader, 1)[0].values, [0.5, -1.0, 1000.0, 2.0]);
    for (text, part) in [
        ("path,x\na.png,cat\n", "DIR/train.csv, line 2: 'cat' in column 'x' is no number; for classes make a list"),
        ("path,x\n\na.png,nan\n", "DIR/train.csv, line 3: 'nan' in column 'x' is no number"),
        ("path,x\na.png,1,2\n", "DIR/train.csv, line 2: 2 values for 1 columns"),
        ("a.png,1\n", "DIR/train.csv, line 1: the first line names the columns"),
        ("path\na.png\n", "DIR/train.csv, line 1: the first line names the columns"),
        ("path,x\n\"a.png,1\n", "DIR/train.csv, line 2: a quotation mark is not closed"),
        ("\n\n", "DIR/train.csv holds no images"),
        ("path,y\na.png,1\n", "DIR/val.csv, line 1: its columns are left, right, up, and those of train.csv are y"),
    ] {
        fs::write(folder.path().join("train.csv"), text).unwrap();
        let error = open_at(folder.path(), &Options::default()).expect_err(part);
        assert!(error.contains(part), "{error}\ndoes not tell: {part}");
    }
}

// ---- order, augmentation, threads ----

/// 30 pictures of 12×10 in two classes, and 4 to test on.
fn thirty() -> TempDir {
    let name =
        |i: u8| format!("{}/{}/{i:02}.png", if i < 30 { "train" } else { "val" }, if i.is_multiple_of(2) { "a" } else { "b" });
    let files: Vec<(String, Vec<u8>)> = (0..34).map(|i| (name(i), ramp(12, 10, i))).collect();
    folder(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
}

fn small() -> Options {
    Options { size: Some(10), shape: Some(ImageShape::new(8, 8, 3)), ..Options::default() }
}

const EVERYTHING: Augment = Augment {
    translate: 1,
    flip: true,
    resized_crop: Some(ResizedCrop { scale: [0.3, 1.0], ratio: [0.75, 1.5] }),
    rotate: 10.0,
    brightness: 0.2,
    contrast: 0.2,
    saturation: 0.2,
    pca: 0.1,
    cutout: 3,
    mixup: 0.5,
};

/// With all augmentations on, batches are equal bit for bit whatever the number of threads, and from any position on.
#[test]
fn batches_depend_on_seed_and_position_alone() {
    let folder = thirty();
    let set = open_at(folder.path(), &small()).unwrap();
    let loader = |threads, window, start| {
        let reading = Reading { threads, window, classes: 2, ..Reading::of(&*set.train, EVERYTHING).unwrap() };
        Loader::train(set.train.clone(), 7, 3, reading, start).unwrap()
    };
    for window in [None, Some(5)] {
        let one = batches(&mut loader(1, window, 0), 10);
        assert_eq!(one, batches(&mut loader(4, window, 0), 10));
        assert_eq!(one[6..], batches(&mut loader(3, window, 42), 4)[..]);
    }
    let (a, b) = (batches(&mut loader(2, None, 0), 1), batches(&mut loader(2, None, 30), 1));
    assert_ne!(a[0].images, b[0].images, "another epoch, other pictures");
}

/// With mixup, image p is λ of itself and 1 − λ of image p + 1 of the stream, to the nearest byte, and so are its labels; λ depends on
/// the seed and the position, not on the batches, and is distributed as Beta(α, α), whose mean is ½ and variance 1/(8α + 4).
#[test]
fn mixup_mixes_an_image_with_the_next() {
    let folder = thirty();
    let set = open_at(folder.path(), &small()).unwrap();
    let loader = |batch, mixup, seed| {
        let reading = Reading { classes: 2, ..Reading::from(Augment { mixup, ..Augment::NONE }) };
        Loader::train(set.train.clone(), batch, seed, reading, 0).unwrap()
    };
    let all = |batch: usize, mixup, seed, images: usize| {
        let batches = batches(&mut loader(batch, mixup, seed), images / batch);
        let images: Vec<Vec<u8>> = batches.iter().flat_map(|b| b.images.chunks(192)).map(<[u8]>::to_vec).collect();
        let values: Vec<f32> = batches.iter().flat_map(|b| b.values.clone()).collect();
        let labels: Vec<i32> = batches.iter().flat_map(|b| b.labels.clone()).collect();
        (images, values, labels)
    };
    for (alpha, seed) in [(0.2, 1), (1.0, 2), (8.0, 3)] {
        let (plain, none, labels) = all(10, 0.0, seed, 4010);
        let (mixed, values, own) = all(10, alpha, seed, 4000);
        assert!(none.is_empty() && own == labels[..4000]);
        assert!((mixed.clone(), values.clone(), own) == all(16, alpha, seed, 4000), "other batches mix otherwise");
        let mut shares = Vec::new();
        for p in 0..4000 {
            let (a, b) = (labels[p] as usize, labels[p + 1] as usize);
            let (first, second) = (values[2 * p + a], values[2 * p + 1 - a]);
            assert!((first + second - 1.0).abs() < 1e-6 && (a != b || first == 1.0), "{first} + {second}");
            if a == b {
                continue;
            }
            shares.push(f64::from(first));
            for (&x, (&y, &z)) in mixed[p].iter().zip(plain[p].iter().zip(&plain[p + 1])) {
                let exact = f64::from(first) * f64::from(y) + (1.0 - f64::from(first)) * f64::from(z);
                assert!((f64::from(x) - exact).abs() <= 0.5 + 1e-4, "{x}, not {exact}, of {y} and {z} at {p}");
            }
        }
        let count = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / count;
        let expected = 1.0 / (8.0 * alpha + 4.0);
        // Five standard errors of the mean, and 15 % of the variance.
        assert!((mean - 0.5).abs() < 5.0 * (expected / count).sqrt(), "mean {mean} of {count}");
        assert!((variance / expected - 1.0).abs() < 0.15, "variance {variance}, not {expected}");
    }
    let reading = Reading::from(Augment { mixup: 1.0, ..Augment::NONE });
    let error = Loader::train(set.train.clone(), 4, 1, reading, 0).err().unwrap().to_string();
    assert!(error.contains("mixup needs the number of classes"), "{error}");
}

/// Without resizing, a random part is one of 3×5 places of 8×8 in 10×12, all of which come; its pixels are those of the picture.
#[test]
fn random_parts_are_the_pictures_pixels() {
    let folder = thirty();
    let set = open_at(folder.path(), &small()).unwrap();
    let mut loader = Loader::train(set.train.clone(), 30, 1, Augment::default(), 0).unwrap();
    let mut seen = BTreeSet::new();
    for batch in batches(&mut loader, 10) {
        for image in batch.images.chunks_exact(192) {
            let (left, top) = (image[0], image[1]);
            seen.insert((left, top));
            for (i, pixel) in image.chunks_exact(3).enumerate() {
                assert_eq!(pixel[..2], [left + 10 * (i % 8) as u8, top + 10 * (i / 8) as u8]);
            }
        }
    }
    assert_eq!(seen, (0..5).flat_map(|x| (0..3).map(move |y| (10 * x, 10 * y))).collect());
}

/// Each augmentation changes pixels as its formula says.
#[test]
fn colours_change_by_their_formulas() {
    let folder = folder(&[("train/a/1.png", png(8, 8, [100, 50, 20])), ("val/a/1.png", png(8, 8, [0, 0, 0]))]);
    let set = open_at(folder.path(), &Options::default()).unwrap();
    let drawn = |augment: Augment| {
        let reading = Reading::of(&*set.train, augment).unwrap();
        let mut loader = Loader::train(set.train.clone(), 40, 5, reading, 0).unwrap();
        batches(&mut loader, 1).remove(0).images
    };
    let plain = Augment::NONE;
    for pixel in drawn(Augment { brightness: 0.5, ..plain }).chunks_exact(192).map(|image| &image[..3]) {
        let factor = f64::from(pixel[0]) / 100.0;
        assert!((0.5..=1.5).contains(&factor) && (f64::from(pixel[1]) - 50.0 * factor).abs() <= 1.0, "{pixel:?}");
    }
    // A picture of one colour has no contrast to change; its saturation moves it along the line to its grey, 61.5.
    assert!(
        drawn(Augment { contrast: 0.9, ..plain }).chunks_exact(3).all(|pixel| pixel == [100, 50, 20]
            || pixel.iter().zip([61.5, 61.5, 61.5]).all(|(x, g)| (f64::from(*x) - g).abs() <= 79.0))
    );
    for pixel in drawn(Augment { saturation: 0.5, ..plain }).chunks_exact(192).map(|image| &image[..3]) {
        let grey = 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]);
        assert!((grey - 61.53).abs() <= 1.0, "{pixel:?}");
    }
    // Cutout puts the mean, here the colour itself: nothing is to be seen; a turn of one colour neither.
    for same in [Augment { cutout: 5, ..plain }, Augment { rotate: 45.0, ..plain }] {
        assert!(drawn(same).chunks_exact(3).all(|pixel| pixel == [100, 50, 20]));
    }
    let out_of_range = [("rotate", Augment { rotate: 181.0, ..plain }), ("pca", Augment { pca: f64::NAN, ..plain })];
    for (name, augment) in out_of_range {
        let error = augment.check(set.train.shape()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

/// In a window, every image comes once an epoch; each comes at most a window's length early; with a window of one, shards come
/// whole, in an order of the epoch's own.
#[test]
fn a_window_shuffles_near_images() {
    let count = NonZeroU32::new(100).unwrap();
    let order = |images, seed, epoch: u64| {
        let how = Shuffle::Window { images, shards: vec![0, 40, 70] };
        let mut order = Order::new(seed, count).shuffled(how);
        (0..100).map(|i| order.at(100 * epoch + i)).collect::<Vec<_>>()
    };
    let whole = order(1, 1, 0);
    let starts: Vec<usize> = (0..100).filter(|&i| i == 0 || whole[i] != whole[i - 1] + 1).map(|i| whole[i]).collect();
    assert_eq!(starts.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 40, 70]));
    assert!((0..20).map(|epoch| order(1, 1, epoch)).collect::<BTreeSet<_>>().len() > 3);
    let (shuffled, again) = (order(10, 1, 3), order(10, 1, 3));
    assert_eq!(shuffled, again);
    assert_eq!(shuffled.iter().copied().collect::<BTreeSet<_>>().len(), 100);
    let plain = order(1, 1, 3);
    let early = |(i, image): (usize, &usize)| plain.iter().position(|p| p == image).unwrap() as i64 - i as i64;
    assert!(shuffled.iter().enumerate().map(early).max().unwrap() <= 9);
    assert_ne!(shuffled, plain);
}

// ---- images that cannot be read ----

/// A broken image is named once and counted; another of the set comes in its place, the same whatever the number of threads; in a
/// test it does not count. With `stop` it is an error. One that vanishes is broken.
#[test]
fn broken_images_are_named_and_training_goes_on() {
    let folder = thirty();
    fs::write(folder.path().join("train/a/04.png"), b"broken").unwrap();
    fs::write(folder.path().join("val/a/30.png"), b"").unwrap();
    let set = open_at(folder.path(), &small()).unwrap();
    fs::remove_file(folder.path().join("train/b/07.png")).unwrap();
    assert!(Normalisation::of(&*set.train, convnet::data::Mean::Channel).is_ok());
    let train = |threads| {
        let reading = Reading { threads, ..Reading::from(Augment::default()) };
        batches(&mut Loader::train(set.train.clone(), 10, 1, reading, 0).unwrap(), 6)
    };
    let found = train(3);
    assert_eq!(found, train(1));
    let blues: BTreeSet<u8> = found.iter().flat_map(|batch| batch.images.chunks_exact(192)).map(|image| image[2]).collect();
    assert_eq!(blues, (0..30).filter(|&i| i != 4 && i != 7).collect());
    let faults = set.train.faults().unwrap();
    let mut told = 0;
    let mut news = faults.news(&mut told);
    news.sort();
    assert_eq!((faults.count(), told, news.len()), (2, 2, 2));
    assert!(
        news[0].contains("a/04.png cannot be read: it is no JPEG")
            && news[1].contains("b/07.png cannot be read: the file is gone"),
        "{news:?}"
    );
    assert!(faults.news(&mut told).is_empty(), "told once");
    let test = batches(&mut Loader::test(set.test.clone(), 3).unwrap(), 3);
    assert_eq!(test.iter().map(|batch| batch.count).collect::<Vec<_>>(), [2, 1, 2]);
    assert_eq!((test[0].images[2], test[0].labels[..2].to_vec()), (32, vec![0, 1]), "what counts comes first");
    assert_eq!(test[0], test[2]);
    let stop = open_at(folder.path(), &Options { on_error: OnError::Stop, ..small() });
    let stop =
        stop.and_then(|set| Loader::train(set.train, 30, 1, Augment::default(), 0).unwrap().next().map_err(|e| e.to_string()));
    assert!(stop.unwrap_err().contains("cannot be read"));
}

/// When nothing can be read any more, that is an error, not an endless search.
#[test]
fn a_vanished_disk_stops_training() {
    let folder = thirty();
    let set = open_at(folder.path(), &small()).unwrap();
    fs::remove_dir_all(folder.path().join("train")).unwrap();
    let error = Loader::train(Arc::clone(&set.train), 8, 1, Augment::default(), 0).unwrap().next().unwrap_err().to_string();
    assert!(error.contains("is the disk still there?"), "{error}");
}
