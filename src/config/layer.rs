//! One `[[layer]]`: the keys that every layer has, and the rest for its type to read.

use super::de::{self, Context};
use super::error::quote;
use super::types::positive;
use super::{ConfigError, Init, Momenta, Multipliers, Node, Rates, Sources, Span, Table, Value};
use crate::op::Neuron;
use serde::de::DeserializeOwned;
use std::fmt::Display;

/// The keys that every layer has.
pub(super) const COMMON: [&str; 13] = [
    "name",
    "type",
    "inputs",
    "neuron",
    "init",
    "init_bias",
    "learning_rate",
    "weight_decay",
    "momentum",
    "max_norm",
    "weight_source",
    "bias_source",
    "gpu",
];

/// A layer as the config has it.
#[derive(Clone, Debug)]
pub struct LayerSpec {
    /// Its name, unlike any other layer's.
    pub name: String,
    /// Its `type`.
    pub kind: String,
    /// What it reads. A layer of type `data` reads nothing, any other at least one thing.
    pub inputs: Vec<InputSpec>,
    /// The neuron that rides on it.
    pub neuron: Option<Neuron>,
    /// Multiplies the learning rate.
    pub learning_rate: Rates,
    /// Multiplies the weight decay.
    pub weight_decay: Multipliers,
    /// In place of `train.momentum`.
    pub momentum: Momenta,
    /// The largest L2 norm of each output's weights, which longer ones are scaled to after each update.
    pub max_norm: Option<f64>,
    /// Where the weights of each input come from, if not the layer's own.
    pub weight_source: Vec<Option<WeightSource>>,
    /// The layer whose biases it uses, if not its own.
    pub bias_source: Option<WeightSource>,
    /// The GPUs that cuda-convnet2 would run the layer on. It is kept, and one device runs all.
    pub gpu: Vec<u32>,
    /// How its weights start.
    pub init: Option<Init>,
    /// How its biases start.
    pub init_bias: Option<Init>,
    /// The keys of its type.
    pub keys: Table,
    /// Where it is written: its `[[layer]]`.
    pub span: Span,
    /// All its keys.
    pub(super) table: Table,
    sources: Sources,
}

/// Weights that a layer shares, written `"conv1"` or `"conv1[1]"`: cuda-convnet's `weightSource`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSource {
    /// The layer that has them.
    pub layer: String,
    /// Which of its inputs' weights, from 0.
    pub input: usize,
}

impl WeightSource {
    /// `conv1`, `conv1[1]`.
    fn parse(text: &str) -> Option<Self> {
        let (layer, input) = match text.strip_suffix(']').and_then(|t| t.rsplit_once('[')) {
            Some((layer, input)) => (layer, input.trim().parse().ok()?),
            None => (text, 0),
        };
        (!layer.is_empty()).then(|| Self { layer: layer.to_owned(), input })
    }
}

/// One input of a layer.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// The name of what is read.
    pub name: String,
    /// Where the config says so; the reading layer's place where it is a default.
    pub span: Span,
    /// What is read.
    pub source: Source,
}

/// What an input reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The images: the name `data`, where no layer has it.
    Images,
    /// Their labels: the name `labels`, where no layer has it.
    Labels,
    /// A layer, by its index in [`NetSpec::layers`](super::NetSpec::layers); it may be one of type `data`.
    Layer(usize),
}

/// Two layers are equal when they say the same, wherever it is written.
impl PartialEq for LayerSpec {
    fn eq(&self, other: &Self) -> bool {
        let inputs = |l: &Self| l.inputs.iter().map(|i| (i.name.clone(), i.source)).collect::<Vec<_>>();
        let common = |l: &Self| {
            let shared = (l.weight_source.clone(), l.bias_source.clone(), l.gpu.clone());
            let rules = (l.learning_rate.clone(), l.weight_decay, l.momentum, l.max_norm);
            (l.neuron, rules, l.init.clone(), l.init_bias.clone(), shared)
        };
        (&self.name, &self.kind, &self.keys) == (&other.name, &other.kind, &other.keys)
            && inputs(self) == inputs(other)
            && common(self) == common(other)
    }
}

impl LayerSpec {
    /// Reads the keys of this layer's type.
    ///
    /// # Errors
    /// What `K` does not take, with its place.
    pub fn keys<K: DeserializeOwned>(&self) -> Result<K, ConfigError> {
        let article = if self.kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let needs = format!("{article} {} layer", self.kind);
        let context = Context { also_known: &COMMON, needs: Some(&needs), ..self.context(self.key_span("type")) };
        de::from_table(&self.keys).map_err(|e| e.explain(&context))
    }

    /// From a key to its value's end, for errors about it; the layer's type where it has no such key.
    pub fn key_span(&self, key: &str) -> Span {
        self.table.get(key).or_else(|| self.table.get("type")).map_or(self.span, |entry| entry.span())
    }

    /// An error about a key of this layer: the message (the layer's name goes before it), a label under the key, and help.
    pub fn error(&self, key: &str, message: impl Display, label: impl Display, help: impl Display) -> ConfigError {
        ConfigError::new(message).in_layer(&self.name).at(&self.sources, self.key_span(key), label).help(help)
    }

    fn context(&self, span: Span) -> Context<'_> {
        Context { sources: &self.sources, span, layer: Some(&self.name), key: "", also_known: &[], needs: None }
    }

    /// Reads the common keys. The inputs are those that are written, not yet resolved.
    pub(super) fn read(node: &Node, sources: &Sources) -> Result<Self, ConfigError> {
        let Value::Table(table) = &node.value else {
            let message = format!("a layer must be a table, not {}", node.value.describe());
            return Err(ConfigError::new(message).at(sources, node.span, "").help("start each layer with [[layer]]"));
        };
        let nameless = Context { sources, span: node.span, layer: None, key: "", also_known: &[], needs: Some("a layer") };
        let text = |key: &'static str, context: &Context| match table.get(key) {
            Some(entry) => de::from_node::<String>(&entry.node).map_err(|e| e.explain(&Context { key, ..*context })),
            None => Err(<de::Error as serde::de::Error>::missing_field(key).explain(context)),
        };
        let name = text("name", &nameless)?;
        let name_span = table.get("name").map_or(node.span, |e| e.span());
        if name.is_empty() || name.chars().any(char::is_control) || name.len() > 200 {
            let message = format!("{} cannot be a layer's name", quote(&name));
            return Err(ConfigError::new(message).at(sources, name_span, "").help("use 1 to 200 printable characters"));
        }
        let context = Context { span: name_span, layer: Some(&name), ..nameless };
        let kind = text("type", &context)?;
        let mut spec = Self {
            name: name.clone(),
            kind,
            inputs: Vec::new(),
            neuron: None,
            learning_rate: Rates::default(),
            weight_decay: Multipliers::default(),
            momentum: Momenta::default(),
            max_norm: None,
            weight_source: Vec::new(),
            bias_source: None,
            gpu: Vec::new(),
            init: None,
            init_bias: None,
            keys: Table::new(),
            span: node.span,
            table: table.clone(),
            sources: sources.clone(),
        };
        for (key, entry) in table {
            let context = Context { key, span: entry.node.span, needs: None, ..context };
            let node = &entry.node;
            match key.as_str() {
                "name" | "type" => {}
                "inputs" => spec.inputs = written_inputs(node, &context)?,
                "neuron" => spec.neuron = Some(read(node, &context)?),
                "init" => spec.init = Some(read(node, &context)?),
                "init_bias" => spec.init_bias = Some(read(node, &context)?),
                "learning_rate" => spec.learning_rate = read(node, &context)?,
                "weight_decay" => spec.weight_decay = read(node, &context)?,
                "momentum" => spec.momentum = read(node, &context)?,
                "max_norm" => {
                    let Norm(norm) = read(node, &context)?;
                    spec.max_norm = Some(norm);
                }
                "weight_source" => spec.weight_source = weight_sources(node, &context)?,
                "bias_source" => spec.bias_source = weight_sources(node, &context)?.into_iter().next().flatten(),
                "gpu" => {
                    let OneOrMore(gpus) = read(node, &context)?;
                    spec.gpu = gpus;
                }
                _ => {
                    spec.keys.insert(key.clone(), entry.clone());
                }
            }
        }
        Ok(spec)
    }

    /// Whether it is a source of labels: a layer below it does not read it by default.
    pub(super) fn is_labels(&self) -> bool {
        self.kind == "data" && self.keys.get("part").and_then(|e| e.node.as_str()) == Some("labels")
    }
}

fn read<T: DeserializeOwned>(node: &Node, context: &Context) -> Result<T, ConfigError> {
    de::from_node(node).map_err(|e| e.explain(context))
}

/// A largest norm.
#[derive(serde::Deserialize)]
struct Norm(#[serde(deserialize_with = "positive")] f64);

/// One value or an array of them.
struct OneOrMore<T>(Vec<T>);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "a number or an array of numbers")]
        enum Written<T> {
            One(T),
            More(Vec<T>),
        }
        Ok(match Written::deserialize(d)? {
            Written::One(one) => Self(vec![one]),
            Written::More(more) => Self(more),
        })
    }
}

/// A source or an array of them, one for each input; `""` is the layer's own.
fn weight_sources(node: &Node, context: &Context) -> Result<Vec<Option<WeightSource>>, ConfigError> {
    let nodes = match &node.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let one = |n: &Node| match n.as_str() {
        Some("") => Ok(None),
        text => text.and_then(WeightSource::parse).map(Some).ok_or_else(|| {
            let error = ConfigError::new(format!("{} must name layers whose weights are shared", context.key))
                .at(context.sources, n.span, "expected a layer's name")
                .help("\"conv1\", or \"conv1[1]\" for the weights of its second input, or an array with one for each input");
            context.layer.into_iter().fold(error, |e, layer| e.in_layer(layer))
        }),
    };
    nodes.iter().map(one).collect()
}

/// A name or an array of names.
fn written_inputs(node: &Node, context: &Context) -> Result<Vec<InputSpec>, ConfigError> {
    fn one(n: &Node) -> Result<InputSpec, &Node> {
        let name = n.as_str().map(str::to_owned).ok_or(n);
        name.map(|name| InputSpec { name, span: n.span, source: Source::Images })
    }
    let read = match &node.value {
        Value::Array(names) => names.iter().map(one).collect::<Result<Vec<_>, _>>(),
        _ => one(node).map(|i| vec![i]),
    };
    let error = |span, message: String| {
        let error = ConfigError::new(message)
            .at(context.sources, span, "expected a layer's name")
            .help("inputs = \"conv1\" or [\"conv1\", \"conv2\"]");
        context.layer.into_iter().fold(error, |e, layer| e.in_layer(layer))
    };
    match read {
        Ok(inputs) if inputs.is_empty() => Err(error(node.span, "inputs names no layer".into())),
        Ok(inputs) => Ok(inputs),
        Err(n) => Err(error(n.span, format!("inputs must be a layer's name or an array of names, not {}", n.value.describe()))),
    }
}

impl LayerSpec {
    /// The layer as it was given, with its inputs unless they are the default.
    pub(super) fn as_written(&self, default_inputs: bool) -> Node {
        let mut table = Table::with_capacity(self.table.len() + 1);
        for key in ["name", "type", "inputs"] {
            if let Some(entry) = self.table.get(key) {
                table.insert(key.to_owned(), entry.clone());
            } else if key == "inputs" && !default_inputs && !self.inputs.is_empty() {
                let names = self.inputs.iter().map(|i| Node::new(Value::String(i.name.clone()), self.span));
                let node = Node::new(Value::Array(names.collect()), self.span);
                table.insert(key.to_owned(), super::Entry { key: self.span, node });
            }
        }
        let rest = self.table.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "type" | "inputs"));
        table.extend(rest.map(|(key, entry)| (key.clone(), entry.clone())));
        Node::new(Value::Table(table), self.span)
    }
}
