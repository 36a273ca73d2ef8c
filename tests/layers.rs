//! `convnet layers`: what it prints is what the configs take.

mod common;

use common::convnet;
use convnet::config::NetSpec;
use convnet::device::Shape;
use convnet::layer::{COMMON_KEYS, KINDS};
use convnet::net::Graph;

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
    let list = convnet(&["layers"]).ended(0).stdout;
    for kind in KINDS {
        assert!(list.lines().any(|l| l.split_whitespace().next() == Some(kind.name)), "{} is not listed", kind.name);
        let text = convnet(&["layers", kind.name]).ended(0).stdout;
        for part in [kind.doc.about, kind.doc.shape, kind.doc.formula, kind.doc.source] {
            assert!(!part.is_empty() && text.contains(part), "{}: no '{part}' in {text}", kind.name);
        }
    }
    convnet(&["layers", "covn"]).failed(2, &["did you mean conv?"]);
}

/// What a layer's keys say that cannot be is an error at the key, with a way out.
#[test]
fn keys_that_do_not_fit_are_refused() {
    for (layer, message, help) in [
        (r#"type = "lrn", k = 0"#, "k is 0", "use k > 0"),
        (r#"type = "lrn", alpha = -1"#, "alpha is -1", "use alpha ≥ 0"),
        (r#"type = "lrn", region = "within-map", blocked = true"#, "blocks are of channels", "leave out blocked"),
        (r#"type = "batch-norm", epsilon = 0"#, "epsilon is 0", "use epsilon > 0"),
        (r#"type = "batch-norm", running_momentum = 1.5"#, "running_momentum is 1.5", "use 0 ≤ running_momentum ≤ 1"),
        (r#"type = "pool", pool = "l2""#, "the pool has no size", "or global = true"),
        (r#"type = "pool", pool = "max", global = true, stride = 2"#, "stride says nothing", "leave it out"),
        (r#"type = "cross-map-pool", pool = "max", size = 2, outputs = 4"#, "none of the 4 channels", "change start"),
        (r#"type = "cross-map-pool", pool = "max", size = 2, start = -2"#, "none of the 4 channels", "change start"),
        (r#"type = "spatial-pyramid", levels = []"#, "has no output", "levels = [1]"),
        (r#"type = "spatial-pyramid", levels = [70000]"#, "is too large a size", "use smaller layers"),
        (r#"type = "contrast-norm", k = -1"#, "k is -1", "use k > 0"),
    ] {
        let text = format!("layer = [{{ name = \"x\", inputs = \"data\", {layer} }}]");
        let spec = NetSpec::from_toml(&text, "test.toml", &[]).unwrap();
        let error = Graph::new(&spec, Shape::new(2, 9, 7, 4), 5).err().unwrap_or_else(|| panic!("{layer} is taken"));
        let said = error.render(false);
        assert!(said.contains(message) && said.contains(help), "{layer}: {said}");
    }
}
