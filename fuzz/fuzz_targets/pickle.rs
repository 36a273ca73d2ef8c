//! Python's pickles, as batches of images are read. `cargo +nightly fuzz run pickle`
#![no_main]

use convnet::data::pickle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(pickle) = pickle::read(file) else { return };
    for key in ["data", "labels", "label_names"] {
        let Some(value) = pickle.get(pickle.root, key) else { continue };
        if let Some((shape, bytes, _)) = pickle.byte_array(value) {
            assert_eq!(shape.iter().product::<usize>(), bytes.len());
        }
        for &value in pickle.list(value).unwrap_or_default() {
            let _ = (pickle.bytes(value), pickle.int(value), pickle.list(value));
        }
    }
});
