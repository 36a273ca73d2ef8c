//! Checkpoints: bytes that are tensors or a state are the same when they are saved and loaded again; as any one file of a whole
//! checkpoint they load, or an error names it. `cargo +nightly fuzz run checkpoint`
#![no_main]

use convnet::train::checkpoint::{Checkpoint, HostTensor, State, list, newest, tensors_of};
use libfuzzer_sys::fuzz_target;
use std::fs;

/// A whole checkpoint, and a folder to save others in.
struct Folder {
    folder: tempfile::TempDir,
    whole: Checkpoint,
}

impl Folder {
    fn new() -> Self {
        let state = include_bytes!("../corpus/checkpoint/state.json");
        let tensor = HostTensor { name: "fc.weights".into(), shape: vec![2, 3], values: vec![0.5; 6] };
        let state = serde_json::from_slice(state).expect("the corpus's state reads");
        let whole = Checkpoint { weights: vec![tensor.clone()], optimizer: vec![tensor], state };
        Self { folder: tempfile::tempdir().expect("a temporary folder can be made"), whole }
    }

    /// Saves a checkpoint, loads it, and removes it.
    fn again(&self, checkpoint: &Checkpoint) -> Checkpoint {
        checkpoint.save(self.folder.path()).expect("it can be saved");
        let found = newest(self.folder.path(), true, |w| panic!("{w}")).expect("what was saved is whole");
        list(self.folder.path()).iter().for_each(|(_, path)| fs::remove_dir_all(path).expect("it can be removed"));
        found
    }
}

thread_local!(static FOLDER: Folder = Folder::new());

fuzz_target!(|file: &[u8]| {
    FOLDER.with(|f| {
        if let Ok(tensors) = tensors_of(file) {
            assert!(tensors.iter().all(|t| t.values.len() == t.shape.iter().product::<usize>()));
            let found = f.again(&Checkpoint { weights: tensors.clone(), ..f.whole.clone() }).weights;
            // The order in the file is that of sizes and names. Not-a-numbers equal nothing: bits are compared.
            let bits = |t: &HostTensor| (t.name.clone(), t.shape.clone(), t.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            let sorted = |tensors: &[HostTensor]| {
                let mut all: Vec<_> = tensors.iter().map(bits).collect();
                all.sort();
                all
            };
            assert_eq!(sorted(&found), sorted(&tensors));
        }
        if let Ok(state) = serde_json::from_slice::<State>(file)
            && state.format == f.whole.state.format
        {
            let found = f.again(&Checkpoint { state: state.clone(), ..f.whole.clone() }).state;
            let (files, checksum) = (state.files.clone(), state.checksum.clone());
            assert_eq!(State { files, checksum, ..found }, state);
        }
        for name in ["weights.safetensors", "optimizer.safetensors", "state.json"] {
            let folder = f.folder.path().join("one");
            let _ = fs::create_dir(&folder);
            for (other, bytes) in [("weights.safetensors", &b""[..]), ("optimizer.safetensors", b""), ("state.json", b"{}")] {
                fs::write(folder.join(other), if other == name { file } else { bytes }).expect("a temporary file can be written");
            }
            let error = Checkpoint::load(&folder, true).err().map(|e| e.to_string());
            assert!(error.is_none_or(|e| e.contains("is damaged") && e.len() < 20_000));
        }
    });
});
