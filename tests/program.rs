//! A training step as a page that can be read: what `convnet summary --program` prints, and what it says of the passes.

mod common;

use common::Folder;
use serde_json::Value;

/// The step of a config in configs/.
fn program(config: &str, sets: &[&str]) -> Value {
    let folder = Folder::new("");
    let path = format!("{}/configs/{config}.toml", env!("CARGO_MANIFEST_DIR"));
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["summary", &path, "--program", "--json"].into_iter().chain(sets).collect();
    let printed = folder.convnet(&arguments).ended(0).stdout;
    serde_json::from_str::<Value>(&printed).unwrap()["program"].take()
}

/// ResNet-50 at batch 128 in f32: what is bound by memory, that is, all but convolutions and products, moves 81 GB operation by
/// operation (batch normalisation 45.5 of them, the masks of relus 14.8, sums 8.5, relus 9.8), and at most 52 GB fused: masks are
/// computed where the gradient is read or written, and residual sums with the normalisation before them.
#[test]
fn passes_save_a_third_of_resnet_50s_traffic() {
    let bytes = |fuse: &str| program("resnet-50", &["train.batch=128", fuse])["memory_bound_bytes"].as_f64().unwrap() / 1e9;
    let (parts, fused) = (bytes("train.fuse=false"), bytes("train.fuse=true"));
    assert!((80.0..82.0).contains(&parts), "{parts} GB operation by operation");
    assert!((45.0..52.0).contains(&fused), "{fused} GB fused");
}

/// Every operation says what it reads and writes, and sums are those of the operations; concatenations copy nothing.
#[test]
fn a_step_is_listed_operation_by_operation() {
    let step = program("squeezenet-1.1", &["train.batch=2", "train.micro_batch=2"]);
    let operations = step["operations"].as_array().unwrap();
    let sum = |key: &str| operations.iter().map(|o| o[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("bytes"), sum("multiply_adds")), (step["bytes"].as_u64().unwrap(), step["multiply_adds"].as_u64().unwrap()));
    // Forward and two gradients of every convolution, but for the gradient of the images.
    assert!((2.9..3.0).contains(&(sum("multiply_adds") as f64 / (2.0 * 349_151_936.0))));
    for o in operations {
        let operands = o["operands"].as_array().unwrap();
        assert!(operands.iter().any(|t| t["access"] != "reads"), "{o} writes nothing");
        assert!(operands.iter().all(|t| t["shape"].as_array().unwrap().len() == 4 && t["place"].is_u64()), "{o}");
    }
    let passes: Vec<&str> = operations.iter().map(|o| o["pass"].as_str().unwrap()).collect();
    assert!(passes.is_sorted_by_key(|p| ["load", "forward", "backward", "update"].iter().position(|q| q == p)));
    let copies = operations.iter().filter(|o| o["operation"] == "copy_box").count();
    assert_eq!(copies, 0, "a concatenation's inputs are written in place");
}
