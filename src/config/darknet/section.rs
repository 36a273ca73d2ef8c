//! The syntax of darknet's files: sections of options, a line each, without blanks; and which there are.

use crate::config::error::{did_you_mean, list, quote};
use crate::config::{ConfigError, SourceId, Sources, Span};
use std::cell::Cell;
use std::collections::HashMap;

/// Whether a text is a darknet file: its first section says so.
pub(in crate::config) fn recognise(text: &str) -> bool {
    let line = text.lines().map(strip).find(|line| line.starts_with('['));
    line.is_some_and(|line| is_net(&line))
}

pub(super) fn is_net(name: &str) -> bool {
    matches!(name, "[net]" | "[network]")
}

/// Darknet takes all blanks out of a line.
fn strip(line: &str) -> String {
    line.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r')).collect()
}

/// `[convolutional]` and its options.
pub(super) struct Section {
    /// With its brackets.
    pub name: String,
    pub span: Span,
    pub options: Vec<Choice>,
}

/// `key=value`.
pub(super) struct Choice {
    pub key: String,
    pub at: Span,
    pub value: String,
    pub span: Span,
    read: Cell<bool>,
}

impl Choice {
    pub fn whole(&self) -> Span {
        self.at.to(self.span)
    }
}

pub(super) fn sections(text: &str, source: SourceId, sources: &Sources) -> Result<Vec<Section>, ConfigError> {
    let mut sections: Vec<Section> = Vec::new();
    // The options of the newest section.
    let mut given: HashMap<String, Span> = HashMap::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let from = start + (line.len() - line.trim_start().len());
        let to = start + line.trim_end().len();
        let span = Span::new(source, from..to.max(from));
        start += line.len();
        let stripped = strip(line.trim_end());
        let Some(mark) = stripped.chars().next() else { continue };
        if matches!(mark, '#' | ';') {
            continue;
        }
        if mark == '[' {
            let name = stripped.split(['#', ';']).next().unwrap_or_default().to_owned();
            if !name.ends_with(']') {
                let error = ConfigError::new(format!("{} is not closed", quote(&name))).at(sources, span, "expected ']'");
                return Err(error.help("write a section as [convolutional]"));
            }
            sections.push(Section { name, span, options: Vec::new() });
            given.clear();
            continue;
        }
        let line = text[from..to].split('#').next().unwrap_or_default();
        let Some((key, value)) = line.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            let error = ConfigError::new("this line is neither a section nor an option").at(sources, span, "");
            return Err(error.help("write [section] or key=value"));
        };
        let Some(section) = sections.last_mut() else {
            let error = ConfigError::new(format!("{} stands before any section", quote(key.trim()))).at(sources, span, "");
            return Err(error.help("the file starts with [net]"));
        };
        let at = Span::new(source, from..from + key.trim_end().len());
        let first = from + key.len() + 1 + (value.len() - value.trim_start().len());
        let choice = Choice {
            key: strip(key),
            at,
            value: strip(value),
            span: Span::new(source, first..first + value.trim().len()),
            read: Cell::new(false),
        };
        if choice.value.is_empty() {
            let error = ConfigError::new(format!("{} has no value", quote(&choice.key))).at(sources, span, "");
            return Err(error.help(format!("write {}=…, or remove the line", choice.key)));
        }
        if let Some(before) = given.insert(choice.key.clone(), at) {
            let error = ConfigError::new(format!("{} is given twice in {}", quote(&choice.key), section.name));
            let error = error.at(sources, at, "again").at(sources, before, "first");
            return Err(error.help("keep one of them; darknet takes the first"));
        }
        section.options.push(choice);
    }
    Ok(sections)
}

/// Options that every layer may have and that are without effect here: they say which weights are loaded and saved.
pub(super) const LOADING: [&str; 5] = ["dontload", "dontloadscales", "dontsave", "numload", "onlyforward"];

/// The options of a section, as far as darknet knows them.
fn known(section: &str) -> Vec<&'static str> {
    let own: &[&str] = match section {
        "net" => &[
            "batch",
            "subdivisions",
            "time_steps",
            "notruth",
            "random",
            "adam",
            "B1",
            "B2",
            "eps",
            "height",
            "width",
            "channels",
            "inputs",
            "max_crop",
            "min_crop",
            "max_ratio",
            "min_ratio",
            "center",
            "clip",
            "angle",
            "aspect",
            "saturation",
            "exposure",
            "hue",
            "learning_rate",
            "momentum",
            "decay",
            "policy",
            "burn_in",
            "power",
            "step",
            "steps",
            "scale",
            "scales",
            "gamma",
            "max_batches",
        ],
        "convolutional" => &[
            "filters",
            "size",
            "stride",
            "pad",
            "padding",
            "groups",
            "activation",
            "batch_normalize",
            "binary",
            "xnor",
            "flipped",
            "dot",
        ],
        "local" => &["filters", "size", "stride", "pad", "activation"],
        "connected" => &["output", "activation", "batch_normalize"],
        "maxpool" => &["size", "stride", "padding"],
        "dropout" => &["probability"],
        "softmax" => &["groups", "temperature", "tree", "spatial", "noloss"],
        "cost" => &["type", "scale", "ratio", "noobj", "thresh"],
        "route" => &["layers"],
        "shortcut" => &["from", "activation", "alpha", "beta"],
        "crop" => &["crop_height", "crop_width", "flip", "angle", "saturation", "exposure", "shift", "noadjust"],
        "normalization" => &["alpha", "beta", "kappa", "size"],
        "activation" => &["activation"],
        _ => &[],
    };
    let every: &[&str] = if section == "net" { &[] } else { &["learning_rate", "smooth", "stopbackward", "truth"] };
    own.iter().chain(every).chain(if section == "net" { &[] } else { LOADING.as_slice() }).copied().collect()
}

/// The sections of classifiers, and their other names.
const SECTIONS: [(&str, &str); 19] = [
    ("[net]", "net"),
    ("[network]", "net"),
    ("[convolutional]", "convolutional"),
    ("[conv]", "convolutional"),
    ("[local]", "local"),
    ("[connected]", "connected"),
    ("[conn]", "connected"),
    ("[maxpool]", "maxpool"),
    ("[max]", "maxpool"),
    ("[avgpool]", "avgpool"),
    ("[avg]", "avgpool"),
    ("[dropout]", "dropout"),
    ("[softmax]", "softmax"),
    ("[soft]", "softmax"),
    ("[normalization]", "normalization"),
    ("[lrn]", "normalization"),
    ("[batchnorm]", "batchnorm"),
    ("[activation]", "activation"),
    ("[cost]", "cost"),
];
/// Sections that have one name.
const MORE: [&str; 4] = ["[route]", "[shortcut]", "[crop]", "[logistic]"];
/// Darknet's other sections.
const OTHERS: [&str; 14] = [
    "[detection]",
    "[region]",
    "[yolo]",
    "[iseg]",
    "[deconvolutional]",
    "[deconv]",
    "[l2norm]",
    "[crnn]",
    "[gru]",
    "[lstm]",
    "[rnn]",
    "[reorg]",
    "[upsample]",
    "[seg]",
];

impl Section {
    /// Which section it is.
    pub fn kind(&self, sources: &Sources) -> Result<&str, ConfigError> {
        let named = SECTIONS.iter().find(|(name, _)| *name == self.name).map(|(_, kind)| *kind);
        let other = MORE.iter().find(|name| **name == self.name).map(|name| name.trim_matches(['[', ']']));
        if let Some(kind) = named.or(other) {
            return Ok(kind);
        }
        let known: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).chain(MORE).collect();
        let help = format!("known sections: {}", list(&known));
        let (message, label) = if OTHERS.contains(&self.name.as_str()) {
            (format!("{} is no part of a classifier and has no counterpart here", self.name), String::new())
        } else {
            let label = did_you_mean(&self.name, &known, "not a section that is known here");
            (format!("unknown section {}", quote(&self.name)), label)
        };
        Err(ConfigError::new(message).at(sources, self.span, label).help(help))
    }

    pub fn get(&self, key: &str) -> Option<&Choice> {
        let choice = self.options.iter().find(|o| o.key == key)?;
        choice.read.set(true);
        Some(choice)
    }

    pub fn ignore(&self, keys: &[&str]) {
        for key in keys {
            self.get(key);
        }
    }

    /// Where a key's value stands; the section, where it is a default.
    pub fn place(&self, key: &str) -> Span {
        self.get(key).map_or(self.span, Choice::whole)
    }

    pub fn error(&self, key: &str, sources: &Sources, message: &str, help: &str) -> ConfigError {
        ConfigError::new(message).at(sources, self.place(key), "").help(help)
    }

    /// A whole number, or its default.
    pub fn int(&self, key: &str, default: i64, sources: &Sources) -> Result<i64, ConfigError> {
        let Some(choice) = self.get(key) else { return Ok(default) };
        let small = choice.value.parse::<i64>().ok().filter(|v| v.unsigned_abs() <= i32::MAX.unsigned_abs().into());
        small.ok_or_else(|| {
            let message = format!("{key} must be a whole number, not {}", quote(&choice.value));
            ConfigError::new(message).at(sources, choice.span, "expected a whole number")
        })
    }

    /// A whole number of at least `least`.
    pub fn at_least(&self, least: i64, key: &str, default: i64, sources: &Sources) -> Result<i64, ConfigError> {
        let value = self.int(key, default, sources)?;
        if value >= least && value <= 1 << 20 {
            return Ok(value);
        }
        let message = if value < least {
            format!("{key} must be at least {least}, not {value}")
        } else {
            format!("{key} is too large: {value}")
        };
        Err(self.error(key, sources, &message, ""))
    }

    pub fn flag(&self, key: &str, sources: &Sources) -> Result<bool, ConfigError> {
        self.int(key, 0, sources).map(|v| v != 0)
    }

    pub fn float(&self, key: &str, default: f64, sources: &Sources) -> Result<f64, ConfigError> {
        let Some(choice) = self.get(key) else { return Ok(default) };
        number(&choice.value).ok_or_else(|| {
            let message = format!("{key} must be a number, not {}", quote(&choice.value));
            ConfigError::new(message).at(sources, choice.span, "expected a number")
        })
    }

    /// Refuses an option that would change what is computed, unless it has its default.
    pub fn only(&self, key: &str, default: f64, sources: &Sources) -> Result<(), ConfigError> {
        if self.float(key, default, sources)? == default {
            return Ok(());
        }
        Err(self.error(key, sources, &format!("{key} has no counterpart here"), "remove it, or convert the net by hand"))
    }

    pub fn all_read(&self, sources: &Sources) -> Result<(), ConfigError> {
        let Some(choice) = self.options.iter().find(|o| !o.read.get()) else { return Ok(()) };
        let known = known(self.kind(sources)?);
        let label = did_you_mean(&choice.key, &known, "not an option that is known here");
        let error =
            ConfigError::new(format!("unknown option {} in {}", quote(&choice.key), self.name)).at(sources, choice.at, label);
        Err(error.help(format!("known options: {}", list(&known))))
    }
}

/// A finite decimal number.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    text.parse::<f64>().ok().filter(|v| v.is_finite() && plain)
}
