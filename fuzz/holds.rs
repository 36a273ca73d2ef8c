//! What holds of every text that a reader is given, whatever it is: for the fuzz targets and for the tests that mutate their
//! corpora.

use convnet::config::{ConfigError, NetSpec};
use convnet::device::Shape;
use convnet::layer::KINDS;
use convnet::net::Graph;

/// The largest text that is read.
const LARGEST: usize = 4 << 20;

/// A config that reads can be written as TOML and reads again as the same, unless it has become too large, and its graph is there or an error says why not.
/// An error can be shown: it is short, and nothing in it steers a terminal. Says whether it read.
pub fn for_config(read: Result<NetSpec, ConfigError>) -> bool {
    let spec = match read {
        Ok(spec) => spec,
        Err(e) => {
            for_error(&e);
            return false;
        }
    };
    let written = spec.to_toml();
    if written.len() > LARGEST {
        return true;
    }
    match NetSpec::from_toml(&written, "written.toml", &[]) {
        Ok(again) => assert!(again == spec, "it reads otherwise when written:\n{written}"),
        Err(e) => panic!("it does not read when written:\n{}\n{written}", e.render(false)),
    }
    assert!(spec.notes.iter().all(|note| note.len() < 1000 && !steers(note)), "{:?}", spec.notes);
    let known: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
    let graph = spec.check_kinds(&known).and_then(|()| Graph::new(&spec, Shape::new(2, 32, 32, 3), 10));
    if let Err(e) = graph {
        for_error(&e);
    }
    true
}

/// The same of a cuda-convnet pair, written as one text with [`BETWEEN`] between the two files.
pub fn for_pair(text: &str) -> bool {
    let (layers, params) = split_pair(text);
    for_config(NetSpec::from_pair((layers, "layers.cfg"), (params, "params.cfg"), &[]))
}

/// The line between the files of a pair in a corpus.
pub const BETWEEN: &str = "---- parameters ----\n";

/// The two files of a pair.
pub fn split_pair(text: &str) -> (&str, &str) {
    text.split_once(BETWEEN).unwrap_or((text, ""))
}

fn for_error(e: &ConfigError) {
    let shown = e.render(false);
    assert!(shown.contains("  × ") && shown.len() < 20_000 && !steers(&shown), "{shown:?}");
}

fn steers(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}
