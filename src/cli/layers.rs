//! `convnet layers`.

use super::{Failure, Result, table};
use crate::config::nearest;
use crate::layer::{COMMON_KEYS, KINDS, Key, Kind};
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// The arguments of `layers`.
#[derive(Args)]
pub struct Arguments {
    /// The type to explain; all are listed without it
    name: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(rename = "type")]
    name: &'static str,
    about: &'static str,
    keys: Vec<KeyRow>,
    shape: &'static str,
    formula: &'static str,
    source: &'static str,
}

#[derive(Serialize)]
struct KeyRow {
    name: &'static str,
    default: &'static str,
    about: &'static str,
}

impl From<&Kind> for Report {
    fn from(kind: &Kind) -> Self {
        let key = |k: &Key| KeyRow { name: k.name, default: k.default, about: k.about };
        let doc = &kind.doc;
        let keys = doc.keys.iter().map(key).collect();
        Self { name: kind.name, about: doc.about, keys, shape: doc.shape, formula: doc.formula, source: doc.source }
    }
}

pub(super) fn run(a: Arguments) -> Result {
    let Some(name) = a.name else {
        if a.json {
            super::print_json(&KINDS.iter().map(Report::from).collect::<Vec<_>>());
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<(&str, String)> = KINDS.iter().map(|k| (k.name, k.doc.about.to_owned())).collect();
        super::print(table::pairs(&rows));
        super::print("\n`convnet layers NAME` prints a type's keys, shape and formula. Every layer has these keys too:\n");
        super::print(keys(COMMON_KEYS));
        return Ok(ExitCode::SUCCESS);
    };
    let Some(kind) = KINDS.iter().find(|k| k.name == name) else {
        let names: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
        let hint = nearest(&name, &names).map_or_else(String::new, |n| format!("; did you mean {n}?"));
        return Err(Failure::usage(format!("there is no layer type '{name}'{hint}; `convnet layers` lists them")));
    };
    if a.json {
        super::print_json(&Report::from(kind));
        return Ok(ExitCode::SUCCESS);
    }
    let doc = &kind.doc;
    super::print(format!("{}: {}\n", kind.name, doc.about));
    if !doc.keys.is_empty() {
        super::print(keys(doc.keys));
        super::print("");
    }
    let facts = [("shape", doc.shape), ("formula", doc.formula), ("source", doc.source)];
    super::print(table::pairs(&facts.map(|(name, text)| (name, text.to_owned()))));
    Ok(ExitCode::SUCCESS)
}

fn keys(keys: &[Key]) -> String {
    let rows = keys.iter().map(|k| vec![k.name.into(), k.default.into(), k.about.into()]);
    table::table(&["key", "default", "what it says"], 3, rows)
}
