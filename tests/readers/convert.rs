//! `convnet convert`: any config as TOML.

use super::common::{Folder, LENET, SMALL};
use convnet::config::NetSpec;
use std::fs;

/// What it writes reads as the same config, `--set` included, whether it goes to a file or to standard output.
#[test]
fn what_is_written_reads_as_the_same() {
    let folder = Folder::new(LENET);
    let set = "layer.conv1.filters=10".to_owned();
    let spec = NetSpec::load(folder.path("net.toml"), std::slice::from_ref(&set)).unwrap();
    let ended = folder.convnet(&["convert", "net.toml", "--set", &set, "-o", "out.toml"]).ended(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    assert_eq!(NetSpec::load(folder.path("out.toml"), &[]).unwrap(), spec);
    let printed = folder.convnet(&["convert", "net.toml", "--set", &set]).ended(0).stdout;
    assert_eq!(printed, fs::read_to_string(folder.path("out.toml")).unwrap());
    assert!(printed.starts_with("# Converted from net.toml.\n"), "{printed}");
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 2, "something is left beside the two configs");
}

/// A file that cannot be written, or a config that cannot be read, leaves what is there as it was.
#[test]
fn a_failure_leaves_what_was_there() {
    let folder = Folder::new(SMALL);
    folder.convnet(&["convert", "net.toml", "-o", "none/out.toml"]).failed(1, &["cannot create", "none/"]);
    fs::write(folder.path("out.toml"), "old").unwrap();
    folder.convnet(&["convert", "net.toml", "--set", "train.batch=x", "-o", "out.toml"]).failed(2, &["train.batch"]);
    assert_eq!(fs::read_to_string(folder.path("out.toml")).unwrap(), "old");
}

/// A config that names no images can be converted; anything else says how to name some.
#[test]
fn a_config_without_data_says_what_to_give() {
    let folder = Folder::new(&SMALL.replace("\"mnist-10k\"", "\"none\""));
    let written = folder.convnet(&["convert", "net.toml"]).ended(0).stdout;
    assert!(written.contains("source = \"none\""), "{written}");
    let wanted = ["net.toml:4:10", "which images", "--data DATA", "--set data.source=synthetic", "data.synthetic.shape="];
    for command in ["train", "summary", "check", "bench"] {
        folder.convnet(&[command, "net.toml"]).failed(2, &wanted);
    }
    let synthetic = ["--set", "data.source=synthetic", "--set", "data.synthetic.shape=[12,12,1]"];
    folder.convnet(&[&["summary", "net.toml"], synthetic.as_slice()].concat()).ended(0);
    folder.convnet(&["summary", "net.toml", "--data", "mnist-10k"]).ended(0);
}
