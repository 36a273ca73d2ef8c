//! Caffe's LMDBs: what opens can be read, or an error says why not. `cargo +nightly fuzz run lmdb`
#![no_main]

use convnet::data::{ImageShape, Options, open};
use libfuzzer_sys::fuzz_target;

thread_local!(static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder can be made"));

fuzz_target!(|file: &[u8]| {
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join("data.mdb"), file).expect("a temporary file can be written");
        let options = Options { shape: Some(ImageShape::new(4, 4, 3)), ..Options::default() };
        let Ok(set) = open(&folder.path().to_string_lossy(), &options) else { return };
        for source in [&set.train, &set.test] {
            let mut pixels = vec![0; source.shape().bytes()];
            for i in 0..source.len().min(64) {
                assert!((0..set.classes as i32).contains(&source.label(i)) && !source.origin(i).is_empty());
                let _ = source.read(i, &mut pixels);
            }
        }
    });
});
