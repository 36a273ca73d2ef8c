//! Whatever is handed in: an error, never a panic, and one that can be shown.

use super::{LENET, good, read};
use convnet::config::NetSpec;
use proptest::prelude::*;
use std::fs;

/// Reads a text and shows what comes of it.
fn survives(text: &str, sets: &[&str]) {
    match read(text, sets) {
        Ok(spec) => {
            let again = read(&spec.to_toml(), &[]).unwrap_or_else(|e| panic!("{}\n{text}", e.render(false)));
            assert_eq!(again, spec, "{text}");
        }
        Err(e) => {
            let shown = e.render(false);
            assert!(shown.contains("  × "), "{shown}");
            assert!(shown.len() < 20_000, "a message of {} bytes", shown.len());
            assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}', '\r']), "{shown:?}");
        }
    }
}

/// The message that a file gets.
fn message(path: &std::path::Path) -> String {
    NetSpec::load(path, &[]).unwrap_err().render(false)
}

#[test]
fn files_that_are_no_configs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let missing = message(&folder.path().join("none.toml"));
    assert!(
        missing.contains("none.toml': there is no such file") && missing.contains("help: give the path of a config"),
        "{missing}"
    );
    let directory = message(folder.path());
    assert!(directory.contains("': it is a folder"), "{directory}");
    let binary = message(&file("a.png", b"name = \"x\"\n\x89PNG\r\n\x1a\n\xff"));
    assert!(
        binary.contains("a byte in it is not UTF-8") && binary.contains("a.png:2:1]") && binary.contains("this byte"),
        "{binary}"
    );
    assert!(!binary.contains('\u{1a}'), "{binary:?}");
    let large = message(&file("large.toml", &vec![b'\n'; 100_000_000]));
    assert!(large.contains("too large for a config: more than 4 MiB"), "{large}");
    let empty = message(&file("empty.toml", b""));
    assert!(empty.contains("the config has no layers"), "{empty}");
    #[cfg(unix)]
    if std::path::Path::new("/dev/zero").exists() {
        assert!(message("/dev/zero".as_ref()).contains("too large"));
    }
}

#[test]
fn deep_and_wide() {
    let many = 200_000;
    for text in [
        format!("a = {}", "[".repeat(many)),
        format!("a = {}", "{a=".repeat(many)),
        format!("{}a = 1", "a.".repeat(many)),
        format!("[{}a]", "a.".repeat(many)),
        format!("[layer]\n{}", "[[layer]]\n".repeat(many)),
        "[[layer]]\n".repeat(many),
        format!("[[layer]]\nname = \"{}\"\ntype = \"fc\"", "x".repeat(many)),
        format!("[[layer]]\nname = \"a\"\ntype = \"{}\"", "x".repeat(many)),
        format!("[[layer]]\nname = \"a\"\ntype = \"fc\"\n{} = 1", "x".repeat(many)),
        format!("[[layer]]\nname = \"a\"\ntype = \"fc\"\ninputs = \"{}\"", "é".repeat(many)),
        format!("{}é", "é".repeat(many)),
        format!("data = \"\"\"{}\"\"\"", "line\n".repeat(many)),
        format!("name = \"{}\\u001b[2J\"\n[[layer]]\nname = \"\\u001b[2J\"", "x".repeat(many)),
    ] {
        survives(&text, &[]);
    }
    survives(LENET, &[&format!("{}=1", "a.".repeat(many)), &"[".repeat(many)]);
    survives(LENET, &[&format!("name={}", "[".repeat(many))]);
}

/// Fifty thousand layers, each reading the next: sorted without recursion, and without a list of them all in the message.
#[test]
fn long_chains_and_circles() {
    let n = 50_000;
    let chain = |last: &str| {
        let one = |i: usize| {
            let input = if i + 1 < n { format!("l{}", i + 1) } else { last.to_owned() };
            format!("[[layer]]\nname = \"l{i}\"\ntype = \"fc\"\ninputs = \"{input}\"\n")
        };
        (0..n).map(one).collect::<String>()
    };
    let spec = good(&chain("data"), &[]);
    assert_eq!(spec.layers[0].name, format!("l{}", n - 1));
    let circle = read(&chain("l0"), &[]).unwrap_err().render(false);
    assert!(circle.contains("in a circle: 'l0' reads 'l1' reads") && circle.contains("more reads 'l0'"), "{circle}");
    assert!(circle.len() < 1000, "{circle}");
    let unknown = read(&chain("l00"), &[]).unwrap_err().render(false);
    assert!(unknown.contains("did you mean 'l0'?") && unknown.contains("more"), "{unknown}");
}

/// Pieces that configs are made of, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "name",
        "type",
        "conv",
        "size",
        "inputs",
        "data",
        "labels",
        "train",
        "layer",
        "[[layer]]\n",
        "[train]\n",
        "[data]\n",
        "[",
        "]",
        "{",
        "}",
        "=",
        " = ",
        "\n",
        "\r\n",
        ",",
        ".",
        "\"",
        "'",
        "\"\"\"",
        "\\u",
        "#",
        "-1",
        "0",
        "1e999",
        "nan",
        "inf",
        "0x",
        "1979-05-27",
        "true",
        "\"conv1\"",
        "\"tanh[1,2]\"",
        "\"tanh[\"",
        "learning_rate",
        "{ schedule = \"dexp\", base = 1, target_factor = 2, num_steps = 3 }",
        "é",
        "\u{1b}",
        "\u{9b}",
        "\0",
        "\t",
    ];
    prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&String::from_utf8_lossy(&bytes), &[]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, &bytes).unwrap();
        if let Err(e) = NetSpec::load(&path, &[]) {
            e.render(true);
        }
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        survives(&pieces.concat(), &[]);
    }

    /// A good config with a few places overwritten.
    #[test]
    fn mutated_configs(edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, piece()), 1..4)) {
        let mut text = LENET.to_owned();
        for (at, length, piece) in edits {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                text.replace_range(start..end, &piece);
            }
        }
        survives(&text, &[]);
    }

    /// A good config with one value overwritten by another of any type: past the parser, into every reader.
    #[test]
    fn exchanged_values(at in any::<prop::sample::Index>(), value in value()) {
        let lines: Vec<&str> = LENET.lines().collect();
        let i = at.index(lines.len());
        let changed = match lines[i].split_once(" = ") {
            Some((key, _)) => format!("{key} = {value}"),
            None => format!("{}\nextra = {value}", lines[i]),
        };
        let text = [&lines[..i], &[changed.as_str()], &lines[i + 1..]].concat().join("\n");
        survives(&text, &[]);
    }

    #[test]
    fn random_sets(
        path in prop_oneof!["(train|data|layer|name|x)(\\.[a-z'\"0-9]{0,7}){0,3}", "layer.conv1.(size|neuron|init|inputs|name)", "\\PC{0,10}"],
        value in prop_oneof![value(), "\\PC{0,10}"],
    ) {
        survives(LENET, &[&format!("{path}={value}")]);
        survives(LENET, &[&path]);
    }
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|i| i.to_string()),
        (-3i64..100).prop_map(|i| i.to_string()),
        any::<f64>().prop_map(|f| format!("{f:?}").replace("NaN", "nan")),
        any::<bool>().prop_map(|b| b.to_string()),
        "\"(conv1|pool1|relu|tanh\\[1,2\\]|gaussian|cosine|std|[a-z \\[\\],]{0,8})\"",
        Just("1979-05-27".to_owned()),
    ];
    let key = proptest::sample::select(vec!["schedule", "base", "kind", "std", "type", "a", "at", "weights", "warmup", "shape"]);
    leaf.prop_recursive(4, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            prop::collection::btree_map(key.clone(), inner, 0..4).prop_map(|m| {
                let pairs: Vec<_> = m.into_iter().map(|(k, v)| format!("{k} = {v}")).collect();
                format!("{{ {} }}", pairs.join(", "))
            }),
        ]
    })
}
