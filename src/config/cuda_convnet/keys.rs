//! The layer types of cuda-convnet and cuda-convnet2 with the keys that each reads from the two files, and a layer's values
//! in them as numbers, names and lists.
//!
//! The keys are those that the programs' `layer.py` ask for, of both versions together; [`KINDS`] is the whole of it.

use super::super::error::{did_you_mean, list, quote};
use super::super::{ConfigError, Sources, Span};
use super::ini::{Ini, Item, Section};

/// A layer type.
pub struct Kind {
    /// The value of `type`.
    pub name: &'static str,
    /// Its keys in the definition file, beside those in [`COMMON`].
    pub layer: &'static [&'static str],
    /// Its keys in the parameter file.
    pub params: &'static [&'static str],
    /// Whether it must have a section in the parameter file.
    pub required: bool,
}

/// The keys of every layer but data layers in the definition file.
const COMMON: [&str; 4] = ["type", "inputs", "neuron", "gpu"];
/// The keys of weight layers in the parameter file.
const LEARN: [&str; 10] = ["epsW", "epsB", "momW", "momB", "wc", "wball", "superEps", "superMom", "updatePeriod", "dropout"];
/// Those of convolutions.
const LEARN_CONV: [&str; 12] =
    ["epsW", "epsB", "momW", "momB", "wc", "wball", "superEps", "superMom", "updatePeriod", "dropout", "wcNormMax", "wcNormMin"];
const FILTERS: &[&str] = &[
    "channels",
    "filters",
    "filterSize",
    "padding",
    "stride",
    "groups",
    "initW",
    "initB",
    "initWFunc",
    "initBFunc",
    "initCFunc",
    "weightSource",
    "modulesX",
    "sumWidth",
    "partialSum",
    "sharedBiases",
    "randSparse",
    "filterChannels",
];
const NORM: &[&str] = &["channels", "size", "blocked"];
const NORM_PARAMS: &[&str] = &["scale", "pow", "minDiv", "dropout"];
const COST: &[&str] = &["children"];
/// What every layer may have in the parameter file of cuda-convnet's fork with dropout.
const DROPOUT: &[&str] = &["dropout"];

/// A type that needs no section in the parameter file.
const fn plain(name: &'static str, layer: &'static [&'static str]) -> Kind {
    Kind { name, layer, params: DROPOUT, required: false }
}

/// A type that needs one.
const fn learned(name: &'static str, layer: &'static [&'static str], params: &'static [&'static str]) -> Kind {
    Kind { name, layer, params, required: true }
}

/// Every layer type.
pub const KINDS: &[Kind] = &[
    plain("data", &["dataIdx", "start", "end"]),
    learned("conv", FILTERS, &LEARN_CONV),
    learned("local", FILTERS, &LEARN),
    learned("fc", &["outputs", "initW", "initB", "initWFunc", "initBFunc", "weightSource"], &LEARN),
    learned("sfc", &["outputs", "parts", "initW", "initB", "initWFunc", "initBFunc", "weightSource"], &LEARN),
    plain("softmax", &[]),
    Kind { name: "eltsum", layer: &["coeffs"], params: &["coeffs", "dropout"], required: false },
    plain("eltmax", &[]),
    plain("sum", &["stride"]),
    plain("neuron", &[]),
    plain("pool", &["channels", "pool", "sizeX", "start", "stride", "outputsX", "sum"]),
    plain("cmpool", &["channels", "pool", "size", "start", "stride", "outputs"]),
    learned("rnorm", NORM, NORM_PARAMS),
    learned("cnorm", NORM, NORM_PARAMS),
    learned("cmrnorm", NORM, NORM_PARAMS),
    plain("nailbed", &["channels", "stride"]),
    plain("blur", &["channels", "filterSize", "stdev"]),
    plain("href", &["channels"]),
    plain("resize", &["channels", "scale"]),
    plain("rgb2yuv", &[]),
    plain("rgb2lab", &["center"]),
    plain("rscale", &["channels", "maxScale", "tgtSize"]),
    plain("crop", &["channels", "startX", "startY", "sizeX"]),
    plain("concat", &[]),
    plain("pass", &[]),
    learned("dropout", &[], &["enable", "keep", "dropout"]),
    learned("dropout2", &[], &["enable", "keep", "dropout"]),
    learned("cost.logreg", COST, &["coeff", "topk"]),
    learned("cost.crossent", COST, &["coeff"]),
    learned("cost.bce", COST, &["coeff", "posWeight"]),
    learned("cost.dce", COST, &["coeff", "posWeight"]),
    learned("cost.sum2", COST, &["coeff"]),
];

impl Kind {
    /// Its keys in the definition file, all of them.
    fn layer_keys(&self) -> Vec<&'static str> {
        let common = COMMON.iter().filter(|k| match self.name {
            "data" => **k == "type",
            name => !name.starts_with("cost.") || **k != "neuron",
        });
        common.chain(self.layer).copied().collect()
    }
}

/// The two files.
pub struct Pair {
    /// Their texts.
    pub sources: Sources,
    /// The definition file.
    pub layers: Ini,
    /// The parameter file.
    pub params: Ini,
}

impl Pair {
    /// The names of the definition and the parameter file.
    pub fn names(&self) -> (&str, &str) {
        let name = |ini: &Ini| self.sources.get(ini.source).map_or("", |(name, _)| name);
        (name(&self.layers), name(&self.params))
    }

    /// What is written at a place.
    fn written(&self, span: Span) -> &str {
        let text = self.sources.get(span.source).map_or("", |(_, text)| text);
        text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// An error at a place.
    pub fn error(&self, span: Span, message: String, label: &str, help: &str) -> ConfigError {
        ConfigError::new(message).at(&self.sources, span, label).help(help)
    }

    /// Checks that some layer type reads each key of `[DEFAULT]`.
    pub fn check_defaults(&self) -> Result<(), ConfigError> {
        let layers: Vec<&str> = KINDS.iter().flat_map(Kind::layer_keys).collect();
        let params: Vec<&str> = KINDS.iter().flat_map(|k| k.params).copied().collect();
        for (ini, known) in [(&self.layers, layers), (&self.params, params)] {
            for item in ini.defaults.items.values() {
                let key = self.written(item.key);
                if !known.iter().any(|k| k.eq_ignore_ascii_case(key)) {
                    let message = format!("unknown key {} in [DEFAULT]", quote(key));
                    let label = did_you_mean(key, &known, "no layer type has this key here");
                    return Err(self.error(item.key, message, &label, "remove it"));
                }
            }
        }
        Ok(())
    }

    /// Checks a layer's keys in both files.
    pub fn check_keys(&self, kind: &Kind, layer: &Layer) -> Result<(), ConfigError> {
        let (layers, params) = (kind.layer_keys(), kind.params);
        let (layers_file, params_file) = self.names();
        let sides =
            [(Some(layer.layer), layers.as_slice(), params, params_file), (layer.params, params, layers.as_slice(), layers_file)];
        for (section, known, others, other_file) in sides {
            for item in section.iter().flat_map(|s| s.items.values()) {
                let key = self.written(item.key);
                let has = |keys: &[&str]| keys.iter().any(|k| k.eq_ignore_ascii_case(key));
                if has(known) {
                    continue;
                }
                let message = format!("unknown key {} of a {} layer", quote(key), kind.name);
                let error = if has(others) {
                    let help = format!("write it into the layer's section in {other_file}");
                    self.error(item.key, message, "not in this file", &help)
                } else {
                    let help =
                        if known.is_empty() { "no keys are known here".into() } else { format!("known keys: {}", list(known)) };
                    self.error(item.key, message, &did_you_mean(key, known, "not a key that is known here"), &help)
                };
                return Err(error.in_layer(layer.name));
            }
        }
        Ok(())
    }
}

/// A layer's sections in the two files.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// The files.
    pub pair: &'a Pair,
    /// Its name.
    pub name: &'a str,
    /// Its definition.
    pub layer: &'a Section,
    /// Its parameters, if it has a section of them.
    pub params: Option<&'a Section>,
}

/// Which of the two files.
#[derive(Clone, Copy, PartialEq)]
pub enum File {
    /// The definitions.
    Layers,
    /// The parameters.
    Params,
}
use File::{Layers, Params};

/// A value of a file and its places.
#[derive(Clone, Copy, Debug)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where its key is written.
    pub key: Span,
    /// Where it is written.
    pub span: Span,
}

impl<T> Given<T> {
    /// Another value at the same places.
    pub fn with<U>(&self, value: U) -> Given<U> {
        Given { value, key: self.key, span: self.span }
    }
}

impl<'a> Layer<'a> {
    /// The place of its name.
    pub fn span(&self) -> Span {
        self.layer.name
    }

    /// A key's value, its section's or the default of all sections.
    pub fn item(&self, file: File, key: &str) -> Option<&'a Item> {
        let (section, ini) = match file {
            Layers => (Some(self.layer), &self.pair.layers),
            Params => (self.params, &self.pair.params),
        };
        let key = key.to_ascii_lowercase();
        section?.items.get(&key).or_else(|| ini.defaults.items.get(&key))
    }

    /// A key that must be there.
    pub fn required(&self, file: File, key: &str) -> Result<&'a Item, ConfigError> {
        self.needed(file, key, self.item(file, key))
    }

    /// What was read of a key that must be there.
    pub fn needed<T>(&self, file: File, key: &str, read: Option<T>) -> Result<T, ConfigError> {
        read.ok_or_else(|| {
            let span = if file == Layers { self.layer.name } else { self.params.map_or(self.layer.name, |p| p.name) };
            let label = format!("this layer needs {}", quote(key));
            self.error(span, format!("missing key {}", quote(key)), &label, &format!("add {key}=…"))
        })
    }

    /// An error about this layer.
    pub fn error(&self, span: Span, message: String, label: &str, help: &str) -> ConfigError {
        self.pair.error(span, message, label, help).in_layer(self.name)
    }

    /// A value that is not what it should be.
    fn mismatch(&self, key: &str, text: &str, span: Span, expected: &str) -> ConfigError {
        let help = if text.contains('\n') {
            "an indented line goes on with the value above: start keys at the line's start"
        } else {
            ""
        };
        let help =
            if text.contains(['#', ';']) { "a comment has a line of its own, or starts with ; behind a space" } else { help };
        self.error(span, format!("{key} must be {expected}, not {}", quote(text)), &format!("expected {expected}"), help)
    }

    fn read<T>(
        &self,
        key: &str,
        item: &Item,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Given<T>, ConfigError> {
        let value = parse(&item.text).ok_or_else(|| self.mismatch(key, &item.text, item.span(), expected))?;
        Ok(Given { value, key: item.key, span: item.span() })
    }

    /// A whole number of at least `least`, if it is given.
    pub fn int(&self, file: File, key: &str, least: i64) -> Result<Option<Given<i64>>, ConfigError> {
        let number = |item| self.read(key, item, "a whole number", whole);
        self.item(file, key).map(number).transpose()?.map(|n| self.at_least(key, n, least)).transpose()
    }

    /// A whole number of at least `least`.
    pub fn needed_int(&self, file: File, key: &str, least: i64) -> Result<Given<i64>, ConfigError> {
        let item = self.required(file, key)?;
        self.at_least(key, self.read(key, item, "a whole number", whole)?, least)
    }

    fn at_least(&self, key: &str, n: Given<i64>, least: i64) -> Result<Given<i64>, ConfigError> {
        if n.value >= least {
            return Ok(n);
        }
        let message = format!("{key} must be at least {least}, not {}", n.value);
        Err(self.error(n.span, message, &format!("must be at least {least}"), ""))
    }

    /// A number, if it is given.
    pub fn float(&self, file: File, key: &str) -> Result<Option<Given<f64>>, ConfigError> {
        self.item(file, key).map(|item| self.read(key, item, "a number", finite)).transpose()
    }

    /// A number.
    pub fn needed_float(&self, file: File, key: &str) -> Result<Given<f64>, ConfigError> {
        self.read(key, self.required(file, key)?, "a number", finite)
    }

    /// Yes or no, if it is given.
    pub fn flag(&self, file: File, key: &str) -> Result<Option<Given<bool>>, ConfigError> {
        self.item(file, key).map(|item| self.read(key, item, "0 or 1", flag)).transpose()
    }

    /// A text, if one is given that is not empty.
    pub fn text(&self, file: File, key: &str) -> Option<Given<&'a str>> {
        let item = self.item(file, key).filter(|item| !item.text.is_empty())?;
        Some(Given { value: item.text.as_str(), key: item.key, span: item.span() })
    }

    /// One value for each input: a list of so many, or one for all.
    pub fn each<T: Clone>(
        &self,
        file: File,
        key: &str,
        inputs: usize,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<Given<T>>>, ConfigError> {
        let Some(item) = self.item(file, key) else { return Ok(None) };
        let one = |(text, span): (&str, Span)| {
            let value = parse(text).ok_or_else(|| self.mismatch(key, text, span, expected))?;
            Ok(Given { value, key: item.key, span })
        };
        let values: Vec<_> = item.list().map(one).collect::<Result<_, _>>()?;
        match values.as_slice() {
            [all] => Ok(Some(vec![all.clone(); inputs])),
            _ if values.len() == inputs => Ok(Some(values)),
            _ => {
                let message = format!("{key} has {} values for {inputs} inputs", values.len());
                Err(self.error(item.span(), message, "", "give one for each input, or one for all"))
            }
        }
    }

    /// A whole number of at least `least` for each input.
    pub fn ints(&self, file: File, key: &str, inputs: usize, least: i64) -> Result<Option<Vec<Given<i64>>>, ConfigError> {
        let Some(values) = self.each(file, key, inputs, "a whole number", whole)? else { return Ok(None) };
        values.into_iter().map(|n| self.at_least(key, n, least)).collect::<Result<_, _>>().map(Some)
    }

    /// A number for each input.
    pub fn floats(&self, file: File, key: &str, inputs: usize) -> Result<Option<Vec<Given<f64>>>, ConfigError> {
        self.each(file, key, inputs, "a number", finite)
    }
}

fn whole(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|v: &f64| v.is_finite())
}

/// As Python's `getboolean`.
pub fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}
