//! `convnet layers`: what it prints is what the configs take.

use convnet::config::NetSpec;
use convnet::device::Shape;
use convnet::layer::{COMMON_KEYS, KINDS};
use convnet::net::Graph;
use std::process::Command;

fn convnet(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_convnet")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The keys that a layer of this type takes, as the error about an unknown one lists them: its own, then the common ones.
fn taken(kind: &str) -> Vec<String> {
    let text = format!(
        "layer = [{{ name = \"x\", type = \"{kind}\", {}no_such_key = 1 }}]",
        match KINDS.iter().find(|k| k.name == kind).and_then(|k| k.labels) {
            _ if kind == "data" => "",
            Some(0) => "inputs = \"labels\", ",
            _ => "inputs = \"data\", ",
        }
    );
    let spec = NetSpec::from_toml(&text, "test.toml", &[]).unwrap();
    let error = Graph::new(&spec, Shape::new(2, 9, 7, 4), 5).err();
    let error = error.unwrap_or_else(|| panic!("{kind} takes any key"));
    let advice = error.advice().unwrap_or_else(|| panic!("{kind}: {error}"));
    let known = advice.strip_prefix("known keys: ").unwrap_or_else(|| panic!("{kind}: {error}: {advice}"));
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_documented_keys_are_those_that_are_taken() {
    for kind in KINDS {
        let keys = kind.doc.keys.iter().chain(COMMON_KEYS).map(|k| k.name.to_owned());
        let (mut documented, mut taken): (Vec<String>, _) = (keys.collect(), taken(kind.name));
        documented.sort();
        taken.sort();
        assert_eq!(documented, taken, "{}", kind.name);
    }
}

#[test]
fn types_are_listed_and_explained() {
    let (status, list, _) = convnet(&["layers"]);
    assert_eq!(status, Some(0));
    for kind in KINDS {
        assert!(list.lines().any(|l| l.split_whitespace().next() == Some(kind.name)), "{} is not listed", kind.name);
        let (status, text, _) = convnet(&["layers", kind.name]);
        assert_eq!(status, Some(0));
        for part in [kind.doc.about, kind.doc.shape, kind.doc.formula, kind.doc.source] {
            assert!(!part.is_empty() && text.contains(part), "{}: no '{part}' in {text}", kind.name);
        }
    }
    let (status, _, error) = convnet(&["layers", "covn"]);
    assert_eq!((status, error.contains("did you mean conv?")), (Some(2), true), "{error}");
}
