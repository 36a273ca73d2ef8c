//! The sentences for what did not read: serde's words in the words of someone who writes a config.

use super::{Error, What};
use crate::config::error::{did_you_mean, double_quote, list, number, quote};
use crate::config::{ConfigError, Sources, Span};
use serde::de::Unexpected;

/// What is being read, for the sentence.
#[derive(Clone, Copy)]
pub(in crate::config) struct Context<'a> {
    pub sources: &'a Sources,
    /// Where to point when nothing closer is known.
    pub span: Span,
    /// The layer, if it is one.
    pub layer: Option<&'a str>,
    /// The key or section that is read: `train`; empty for a layer's keys or the whole file.
    pub key: &'a str,
    /// Keys that are known beside those of the type that is read.
    pub also_known: &'a [&'static str],
    /// What needs a missing key: `a conv layer`.
    pub needs: Option<&'a str>,
}

impl Error {
    /// The error for people.
    pub(in crate::config) fn explain(self, context: &Context) -> ConfigError {
        let outer = (!context.key.is_empty()).then_some(context.key);
        let path = outer.into_iter().chain(self.path.iter().rev().map(String::as_str)).map(shorten).collect::<Vec<_>>().join(".");
        let within = if path.is_empty() { String::new() } else { format!(" in {path}") };
        let span = self.span.unwrap_or(context.span);
        let (message, label, help) = match self.what {
            What::UnknownKey { key, known } => {
                let mut known = known;
                if self.path.is_empty() {
                    known.extend(context.also_known);
                }
                let help =
                    if known.is_empty() { "no keys are known here".into() } else { format!("known keys: {}", list(&known)) };
                (format!("unknown key {}{within}", quote(&key)), did_you_mean(&key, &known, "not a key that is known here"), help)
            }
            What::UnknownValue { value, known } => {
                let subject = if path.is_empty() { "unknown value".into() } else { format!("unknown {path}") };
                let label = did_you_mean(&value, known, "not a value that is known here");
                (format!("{subject} {}", quote(&value)), label, format!("known values: {}", list(known)))
            }
            What::Missing(key) => {
                let label = format!(
                    "{} needs {}",
                    if self.path.is_empty() { context.needs.unwrap_or("this") } else { "this" },
                    quote(key)
                );
                (format!("missing key {}{within}", quote(key)), label, format!("add {key} = …"))
            }
            What::Mismatch { expected, found } => {
                let subject = if path.is_empty() { "this".into() } else { path };
                (format!("{subject} must be {expected}, not {found}"), format!("expected {expected}"), String::new())
            }
            What::Custom(text) => {
                let (said, help) = text.split_once("\nhelp: ").unwrap_or((&text, ""));
                let label = said.split_once(", not ").map_or("", |(must, _)| must);
                let between = if said.starts_with("must ") || said.starts_with("takes ") { " " } else { ": " };
                let message = if path.is_empty() { said.to_owned() } else { format!("{path}{between}{said}") };
                (message, label.to_owned(), help.to_owned())
            }
        };
        let error = ConfigError::new(message).at(context.sources, span, label).help(help);
        match context.layer {
            Some(layer) => error.in_layer(layer),
            None => error,
        }
    }
}

fn shorten(key: &str) -> String {
    let quoted = quote(key);
    quoted[1..quoted.len() - 1].to_owned()
}

/// What serde expected.
pub(super) fn expected(what: &str) -> String {
    match what {
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number of at least 1".into()
        }
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "text".into(),
        "a sequence" => "an array".into(),
        "a map" => "a table".into(),
        w if bounds(w).is_some() => "a whole number".into(),
        w if w.starts_with("struct ") => "a table".into(),
        w => w.to_owned(),
    }
}

/// What serde expected of a value of the right type: a bound, if it is a whole number outside.
pub(super) fn expected_of(found: &Unexpected, what: &str) -> String {
    let value = match *found {
        Unexpected::Signed(v) => i128::from(v),
        Unexpected::Unsigned(v) => i128::from(v),
        _ => return expected(what),
    };
    match bounds(what) {
        Some((least, _)) if value < least => format!("at least {least}"),
        Some((_, most)) if value > most => format!("at most {most}"),
        _ => expected(what),
    }
}

/// The range of one of Rust's integers, by serde's name for it.
fn bounds(what: &str) -> Option<(i128, i128)> {
    let nonzero = what.strip_prefix("a nonzero ");
    let (least, most) = match nonzero.unwrap_or(what) {
        "u8" => (0, u8::MAX.into()),
        "u16" => (0, u16::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "u64" | "usize" => (0, u64::MAX.into()),
        "i8" => (i8::MIN.into(), i8::MAX.into()),
        "i16" => (i16::MIN.into(), i16::MAX.into()),
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    };
    Some((if nonzero.is_some() { 1 } else { least }, most))
}

/// What was found.
pub(super) fn found(what: Unexpected) -> String {
    match what {
        Unexpected::Bool(b) => b.to_string(),
        Unexpected::Unsigned(i) => i.to_string(),
        Unexpected::Signed(i) => i.to_string(),
        Unexpected::Float(f) => number(f),
        Unexpected::Str(s) => format!("the text {}", double_quote(s)),
        Unexpected::Seq => "an array".into(),
        Unexpected::Map => "a table".into(),
        other => other.to_string(),
    }
}

/// Any of an enum's names.
pub(super) fn one_of(variants: &[&str]) -> String {
    format!("one of {}", list(variants))
}
