//! What holds of a folder with one file, whatever is in it: for the fuzz targets of data sources.

use convnet::data::{ImageShape, Options, open};

thread_local!(static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder can be made"));

/// A folder with this file opens, and its images can be read or an error says why not, or an error says why it does not open.
pub fn with(name: &str, file: &[u8]) {
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join(name), file).expect("a temporary file can be written");
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
}
