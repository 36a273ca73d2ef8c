//! `convnet convert`.

use super::{Result, config::ConfigArguments};
use crate::train::files;
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `convert`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(a: Arguments) -> Result {
    let spec = a.config.load([])?;
    let mut text = String::new();
    for line in std::iter::once(format!("Converted from {}.", a.config.origin())).chain(spec.notes.iter().cloned()) {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(text, "# {line}").expect("strings grow");
    }
    text += &spec.to_toml();
    match &a.output {
        Some(path) => files::replace(path, text.as_bytes())?,
        None => super::print(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
