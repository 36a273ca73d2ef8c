//! Python's batches and Caffe's LMDBs, as Python and LMDB wrote them (tests/golden/batches, by make_batches.py beside it), and what is
//! wrong with damaged and hostile ones.

use convnet::data::{DataSet, ImageShape, Options, Source, open, pickle};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/batches").join(name)
}

fn open_at(path: &Path, options: &Options) -> Result<DataSet, String> {
    open(path.to_str().unwrap(), options).map_err(|e| e.to_string())
}

/// Image i as make_batches.py made it.
fn image(i: usize, ImageShape { h, w, c }: ImageShape) -> Vec<u8> {
    let value = |at: usize| (7 * i + 3 * (at / c / w) + 5 * (at / c % w) + 11 * (at % c)) % 256;
    (0..h * w * c).map(|at| value(at) as u8).collect()
}

/// A source holds these images, in this order, of this shape.
fn holds(source: &dyn Source, images: impl IntoIterator<Item = usize>, shape: ImageShape) {
    assert_eq!(source.shape(), shape);
    let images: Vec<usize> = images.into_iter().collect();
    assert_eq!(source.len(), images.len());
    for (i, number) in images.into_iter().enumerate() {
        let mut pixels = vec![0; shape.bytes()];
        source.read(i, &mut pixels).unwrap();
        assert_eq!((pixels, source.label(i)), (image(number, shape), number as i32 % 3), "image {i}");
    }
}

/// CIFAR's Python version: an image a row, planes of red, green and blue; in protocols 0, 2, 4 and 5.
#[test]
fn batches_with_an_image_a_row() {
    let set = open_at(&golden("rows"), &Options::default()).unwrap();
    let shape = ImageShape::new(4, 4, 3);
    holds(&*set.train, 0..12, shape);
    holds(&*set.test, 12..15, shape);
    assert_eq!((set.classes, set.class_names), (3, ["ape", "bee", "cat"].map(str::to_owned).to_vec()));
    let few = open_at(&golden("rows"), &Options { train: Some(5), test: Some(1), ..Options::default() }).unwrap();
    holds(&*few.train, 0..5, shape);
    assert!(few.train.origin(4).starts_with("image 0 of ") && few.train.origin(4).ends_with("data_batch_2"));
}

/// cuda-convnet's: an image a column, in either order of memory; labels in an array; the last batch is tested on.
#[test]
fn batches_with_an_image_a_column() {
    let set = open_at(&golden("columns"), &Options::default()).unwrap();
    holds(&*set.train, 0..8, ImageShape::new(4, 4, 3));
    holds(&*set.test, 8..12, ImageShape::new(4, 4, 3));
    assert_eq!(set.class_names, ["0", "1", "2"]);
}

/// cuda-convnet2's: a list of files.
#[test]
fn batches_of_files() {
    let set = open_at(&golden("files"), &Options::default()).unwrap();
    holds(&*set.train, 0..5, ImageShape::new(6, 5, 3));
    holds(&*set.test, 5..8, ImageShape::new(6, 5, 3));
}

/// A pickle that would call something is read, and nothing is called: what would be made is no data.
#[test]
fn a_pickle_runs_nothing() {
    let error = open_at(&golden("evil"), &Options::default()).unwrap_err();
    assert!(error.contains("its 'data' is neither an array of bytes nor a list"), "{error}");
    assert!(!Path::new("/tmp/a-pickle-has-run").exists());
    let file = fs::read(golden("evil/data_batch_1")).unwrap();
    let read = pickle::read(&file).unwrap();
    let data = read.get(read.root, "data").unwrap();
    let pickle::Node::Object { callable, .. } = read.node(data) else { panic!("{:?}", read.node(data)) };
    assert_eq!(read.node(*callable), &pickle::Node::Global("posix system".to_owned()));
}

/// Databases of pixels, on leaf and on overflow pages, and of encoded files: keys in order, planes of blue, green and red.
#[test]
fn databases_of_caffe() {
    let set = open_at(&golden("pixels"), &Options::default()).unwrap();
    holds(&*set.train, 0..60, ImageShape::new(6, 5, 3));
    holds(&*set.test, 60..63, ImageShape::new(6, 5, 3));
    let set = open_at(&golden("encoded"), &Options::default()).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.train.shape()), (3, 3, ImageShape::new(9, 8, 3)));
    let large = open_at(&golden("large"), &Options::default()).unwrap();
    holds(&*large.train, 0..3, ImageShape::new(36, 32, 3));
    assert_eq!(large.test.shape().c, 3, "grey images are seen in the training set's channels");
    assert!(set.train.origin(0).starts_with("00000000 in "));
}

/// A copy of a golden folder.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        for entry in fs::read_dir(golden(name).join(&below)).unwrap() {
            let (entry, to) = (entry.as_ref().unwrap().path(), below.join(entry.unwrap().file_name()));
            if entry.is_dir() {
                fs::create_dir(folder.path().join(&to)).unwrap();
                left.push(to);
            } else {
                fs::copy(entry, folder.path().join(to)).unwrap();
            }
        }
    }
    folder
}

/// Opens a folder and reads all that it has: whatever it is, it reads or an error says why not.
fn read_all(folder: &Path) {
    let Ok(set) = open_at(folder, &Options { shape: Some(ImageShape::new(4, 4, 3)), ..Options::default() }) else { return };
    for source in [&set.train, &set.test] {
        let mut pixels = vec![0; source.shape().bytes()];
        (0..source.len()).for_each(|i| drop(source.read(i, &mut pixels)));
    }
}

/// Files with bytes changed, cut or repeated never panic, and never take memory for what they claim.
#[test]
fn damaged_files_never_panic() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let cases = [
        ("rows", "data_batch_1"),
        ("rows", "data_batch_3"),
        ("rows", "batches.meta"),
        ("columns", "data_batch_2"),
        ("files", "data_batch_0"),
        ("pixels", "x_train_lmdb/data.mdb"),
        ("large", "train_lmdb/data.mdb"),
        ("encoded", "data.mdb"),
    ];
    for (name, file) in cases {
        let folder = copy(name);
        let sound = fs::read(folder.path().join(file)).unwrap();
        for _ in 0..150 {
            let mut bytes = sound.clone();
            // Of a database, mostly the pages that hold its tree.
            let most = if file.ends_with("mdb") && random.random() { 200 } else { bytes.len() };
            for _ in 0..random.random_range(1..7) {
                let at = random.random_range(0..most);
                bytes[at] = *[random.random(), 0xff, 0, bytes[at].wrapping_add(1)].choose(&mut random).unwrap();
            }
            if random.random_ratio(1, 5) {
                bytes.truncate(random.random_range(0..bytes.len()));
            }
            fs::write(folder.path().join(file), bytes).unwrap();
            read_all(folder.path());
        }
    }
}

/// What is wrong is told, with the file.
#[test]
fn what_is_wrong_with_a_file_is_told() {
    let pickles: [(&[u8], &str); 9] = [
        (b"", "it is cut off"),
        (b"\x80\x02}.", "it has no 'data'"),
        (b"\x80\x02}U\x04datacos\nsystem\ns.", "it has no 'labels'"),
        (b"\x80\x02}(U\x04data]U\x06labels](K\x01eu.", "it has 0 images and 1 labels"),
        (b"\x80\x02.", "it takes a value where there is none"),
        (b"h\x07.", "it uses a value that it does not have"),
        (b"P1\n.", "code 0x50"),
        (b"T\xff\xff\xff\x7fx.", "it is cut off"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffx.", "it is cut off"),
    ];
    let folder = copy("rows");
    let path = folder.path().join("data_batch_1");
    for (bytes, part) in pickles {
        fs::write(&path, bytes).unwrap();
        let error = open_at(folder.path(), &Options::default()).expect_err(part);
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(part), "{error}\ndoes not tell: {part}");
    }
    let folder = copy("encoded");
    let path = folder.path().join("data.mdb");
    let sound = fs::read(&path).unwrap();
    let mut circle = sound.clone();
    // The root, a leaf page, becomes a branch page whose nodes lead to what their low bytes say.
    let meta =
        if u64::from_le_bytes(sound[144..152].try_into().unwrap()) > u64::from_le_bytes(sound[4240..4248].try_into().unwrap()) {
            0
        } else {
            4096
        };
    let root = u64::from_le_bytes(sound[meta + 128..meta + 136].try_into().unwrap()) as usize;
    circle[root * 4096 + 10] = 1;
    let first = usize::from(u16::from_le_bytes(sound[root * 4096 + 16..root * 4096 + 18].try_into().unwrap()));
    circle[root * 4096 + first..][..6].copy_from_slice(&[root as u8, 0, 0, 0, 0, 0]);
    let cases = [
        (vec![0; 10_000], "it does not begin as an LMDB file"),
        (sound[..5000].to_vec(), "cut off"),
        (circle, "its tree does not end"),
    ];
    for (bytes, part) in cases {
        fs::write(&path, bytes).unwrap();
        let error = open_at(folder.path(), &Options::default()).expect_err(part);
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(part), "{error}\ndoes not tell: {part}");
    }
}
