//! From the layers of a pair to ours, one after the other: their names, what they read, and what rides on them.

use super::super::error::{did_you_mean, list, quote};
use super::super::{ConfigError, Node, Span, Value};
use super::draft::{Draft, number, simple, text};
use super::ini::Ini;
use super::keys::{File, Given, KINDS, Kind, Layer, Pair};
use super::notes::Notes;
use super::rates::{Learning, Weights};
use File::{Layers, Params};
use indexmap::IndexMap;
use std::collections::HashSet;

/// One of our layers.
pub struct Made {
    /// Its table.
    pub draft: Draft,
    /// How it learns, if it does.
    pub learning: Option<Learning>,
    /// The place of the layer that it is from.
    pub span: Span,
}

/// What layers below need to know of one.
pub struct Known {
    /// The name of what they read: the layer's, or that of what rides on it.
    pub output: String,
    /// Its type.
    pub kind: &'static str,
    /// Its output's channels, where the files say them.
    pub channels: Option<i64>,
    /// Its output's values, where the files say them.
    pub values: Option<i64>,
    /// The GPUs that cuda-convnet2 runs it on, each with a part of the batch.
    pub replicas: usize,
    /// Its weights, one for each input.
    pub weights: Vec<Owned>,
    /// Where it is in `layers`, if it is the matrix of labels, whose classes only its readers know.
    pub one_hot: Option<usize>,
}

/// Weights, where they are in our layers.
#[derive(Clone)]
pub struct Owned {
    /// The layer's name.
    pub layer: String,
    /// Which of its inputs they are for.
    pub input: usize,
    /// How they learn.
    pub learning: Weights,
}

/// An input of a layer.
pub struct Input<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Where it is named.
    pub span: Span,
    /// The name of what is read here.
    pub output: String,
    /// Its channels, where the files say them.
    pub channels: Option<i64>,
    /// Its values, where the files say them.
    pub values: Option<i64>,
    /// The GPUs that cuda-convnet2 runs it on.
    pub replicas: usize,
    /// Where it is in our layers, if it is the matrix of labels.
    pub one_hot: Option<usize>,
}

/// The layers so far.
pub struct Builder<'a> {
    /// The files.
    pub pair: &'a Pair,
    /// What has no effect.
    pub notes: Notes,
    /// Our layers.
    pub layers: Vec<Made>,
    /// The pair's layers by name.
    pub known: IndexMap<&'a str, Known>,
    /// Every name that is in use.
    names: HashSet<String>,
    /// Where the first layer is that reads images.
    pub images: Option<Span>,
    /// Each `updatePeriod` that is more than a step, with its layer.
    pub periods: Vec<(&'a str, Given<i64>)>,
}

impl<'a> Builder<'a> {
    /// No layers yet.
    pub fn new(pair: &'a Pair, notes: Notes) -> Self {
        let names = pair.layers.sections.keys().cloned().chain(["data".into(), "labels".into()]).collect();
        Self { pair, notes, layers: Vec::new(), known: IndexMap::new(), names, images: None, periods: Vec::new() }
    }

    /// Checks that both files are about the same layers, and adds them all.
    pub fn build(&mut self) -> Result<(), ConfigError> {
        let pair = self.pair;
        let (layers_file, params_file) = pair.names();
        pair.check_defaults()?;
        let typed = |ini: &Ini| ini.sections.values().any(|s| s.items.contains_key("type"));
        if !typed(&pair.layers) && typed(&pair.params) {
            let message = format!("{params_file} defines layers, {layers_file} does not");
            let at = pair.params.sections.values().next().map_or(pair.params.defaults.name, |s| s.name);
            return Err(pair.error(at, message, "", &format!("give --layer-def {params_file} --layer-params {layers_file}")));
        }
        for (name, section) in &pair.params.sections {
            let neuron = name.strip_suffix("_neuron").and_then(|n| pair.layers.sections.get(n)).is_some();
            if !pair.layers.sections.contains_key(name) && !neuron {
                let known: Vec<&String> = pair.layers.sections.keys().collect();
                let label = did_you_mean(name, &known, "no such layer");
                let message = format!("{layers_file} has no layer {}", quote(name));
                let help =
                    format!("every section of {params_file} is about a layer of {layers_file}; those are: {}", list(&known));
                return Err(pair.error(section.name, message, &label, &help));
            }
        }
        for (name, section) in &pair.layers.sections {
            let layer = Layer { pair, name, layer: section, params: pair.params.sections.get(name) };
            let kind = layer.required(Layers, "type")?;
            let Some(known) = KINDS.iter().find(|k| k.name == kind.text) else {
                let names: Vec<_> = KINDS.iter().map(|k| k.name).collect();
                let label = did_you_mean(&kind.text, &names, "not a type that is known here");
                let message = format!("unknown type {}", quote(&kind.text));
                return Err(layer.error(kind.span(), message, &label, &format!("known types: {}", list(&names))));
            };
            pair.check_keys(known, &layer)?;
            if known.required && layer.params.is_none() {
                let keys = known.params.iter().filter(|k| **k != "dropout").copied().collect::<Vec<_>>();
                let message = format!("{params_file} has no section for this {} layer", known.name);
                let (name, keys) = (list(&[name]), list(&keys));
                let help = format!("add [{name}] to {params_file}; a {} layer has these keys there: {keys}", known.name);
                return Err(layer.error(section.name, message, "no parameters", &help));
            }
            self.add(known, &layer)?;
        }
        self.check_periods()
    }

    /// A name like `wish` that no layer has, from now on taken.
    pub fn free_name(&mut self, wish: &str) -> String {
        let others = (1..).map(|i| format!("{wish}.{i}"));
        let name = std::iter::once(wish.to_owned()).chain(others).find(|name| !self.names.contains(name));
        let name = name.expect("one of infinitely many names is free");
        self.names.insert(name.clone());
        name
    }

    /// The name that a layer gets: its own, unless that is the name of the images or the labels, which it is not.
    pub fn own_name(&mut self, layer: &Layer<'a>) -> String {
        match layer.name {
            "data" | "labels" => {
                let what = "has another name here: this one means the images or their labels";
                self.notes.add(&self.pair.sources, layer.span(), "", layer.name, what);
                self.free_name(&format!("{}_layer", layer.name))
            }
            name => name.to_owned(),
        }
    }

    /// What a layer reads; each name must be that of a layer above.
    pub fn inputs(&self, layer: &Layer<'a>) -> Result<Vec<Input<'a>>, ConfigError> {
        let item = layer.required(Layers, "inputs")?;
        item.list().map(|(name, span)| self.input(layer, name, span)).collect()
    }

    fn input(&self, layer: &Layer<'a>, name: &'a str, span: Span) -> Result<Input<'a>, ConfigError> {
        if let Some(known) = self.known.get(name) {
            if known.kind.starts_with("cost.") {
                let message = format!("{} is a cost, which has no output", quote(name));
                return Err(layer.error(span, message, "", "name another layer"));
            }
            let Known { channels, values, replicas, one_hot, .. } = *known;
            return Ok(Input { name, span, output: known.output.clone(), channels, values, replicas, one_hot });
        }
        let (message, label) = if name == layer.name {
            ("a layer cannot read itself".to_owned(), "its own name".to_owned())
        } else if self.pair.layers.sections.contains_key(name) {
            (format!("{} is defined below", quote(name)), "move its section above this one".to_owned())
        } else {
            let known: Vec<&&str> = self.known.keys().collect();
            (format!("no layer has the name {}", quote(name)), did_you_mean(name, &known, "no such layer"))
        };
        let above: Vec<&str> = self.pair.layers.sections.keys().map(String::as_str).take_while(|n| *n != layer.name).collect();
        let help = if above.is_empty() { "no layers are above".into() } else { format!("layers above: {}", list(&above)) };
        Err(layer.error(span, message, &label, &help))
    }

    /// The one input of a layer.
    pub fn one_input(&self, layer: &Layer<'a>) -> Result<Input<'a>, ConfigError> {
        Ok(self.some_inputs(layer, 1)?.remove(0))
    }

    /// So many inputs.
    pub fn some_inputs(&self, layer: &Layer<'a>, count: usize) -> Result<Vec<Input<'a>>, ConfigError> {
        let inputs = self.inputs(layer)?;
        if inputs.len() == count {
            return Ok(inputs);
        }
        let span = layer.required(Layers, "inputs")?.span();
        let message = format!("this layer reads {count} {}, not {}", if count == 1 { "layer" } else { "layers" }, inputs.len());
        Err(layer.error(span, message, "", "see what cuda-convnet says of its type"))
    }

    /// Checks a `channels` key against what its input has, where that is known.
    pub fn check_channels(&self, layer: &Layer<'a>, input: &Input, channels: &Given<i64>) -> Result<(), ConfigError> {
        let Some(has) = input.channels.filter(|&c| c != channels.value) else { return Ok(()) };
        let message = format!("channels = {}, but its input {} has {has}", channels.value, quote(input.name));
        let help = match input.values {
            Some(n) if n == has => {
                "the outputs of a fully connected layer are 1×1 images of so many channels, and cannot be others"
            }
            _ => "channels are those of the input",
        };
        Err(layer.error(channels.span, message, "", help))
    }

    /// A layer of ours with its name, its type and what it reads.
    pub fn draft(&self, layer: &Layer<'a>, name: &str, kind: &str, inputs: &[Input]) -> Result<Draft, ConfigError> {
        let from = layer.required(Layers, "type")?;
        let name = Given { value: name, key: layer.span(), span: layer.span() };
        let mut draft = Draft::new(name, Given { value: kind, key: from.key, span: from.span() });
        if let Some(item) = layer.item(Layers, "inputs").filter(|_| !inputs.is_empty()) {
            let nodes = inputs.iter().map(|i| Node::new(text(&i.output), i.span)).collect();
            draft.put("inputs", Given { value: Node::new(Value::Array(nodes), item.span()), key: item.key, span: item.span() });
        }
        Ok(draft)
    }

    /// A note about a key that has no effect here.
    pub fn note(&mut self, layer: &Layer<'a>, file: File, key: &str, what: &'static str) {
        if let Some(item) = layer.item(file, key) {
            self.notes.add(&self.pair.sources, item.key, key, layer.name, what);
        }
    }

    /// Adds a layer of ours that others do not read.
    pub fn push(&mut self, layer: &Layer<'a>, draft: Draft, learning: Option<Learning>) -> usize {
        self.layers.push(Made { draft, learning, span: layer.span() });
        self.layers.len() - 1
    }

    /// Adds a layer with what rides on it: its `dropout` (of cuda-convnet's fork with dropout), its neuron, and that neuron's
    /// dropout. `ridden` says that a neuron is on it already.
    pub fn finish(
        &mut self,
        layer: &Layer<'a>,
        mut draft: Draft,
        learning: Option<Learning>,
        ridden: bool,
        known: Known,
    ) -> Result<(), ConfigError> {
        let replicas = self.place(layer, &mut draft, known.replicas)?;
        // Data and costs read no neuron, though [DEFAULT] may have one; a neuron layer has its own.
        let none = matches!(known.kind, "neuron" | "data") || known.kind.starts_with("cost.");
        let neuron = layer.text(Layers, "neuron").filter(|n| n.value != "ident" && !none);
        let dropout = self.dropout(layer)?;
        let of_neuron = Layer { params: self.pair.params.sections.get(&format!("{}_neuron", layer.name)), ..*layer };
        let neuron_dropout = match neuron {
            Some(_) if !self.pair.layers.sections.contains_key(&format!("{}_neuron", layer.name)) => self.dropout(&of_neuron)?,
            _ => None,
        };
        let mut output = known.output.clone();
        self.push(layer, draft, learning);
        if let Some(keep) = dropout {
            output = self.push_dropout(layer, &output, keep);
        }
        if let Some(neuron) = neuron {
            if ridden && dropout.is_none() {
                let name = self.free_name(&format!("{}_neuron", layer.name));
                let after = self.rider(layer, &name, neuron.with("neuron"), &output);
                self.push(layer, after, None);
                output = name;
            }
            if let Some(top) = self.layers.last_mut() {
                top.draft.put("neuron", neuron.map_node(text));
            }
        }
        if let Some(keep) = neuron_dropout {
            output = self.push_dropout(layer, &output, keep);
        }
        self.known.insert(layer.name, Known { output, replicas, ..known });
        Ok(())
    }

    /// A layer that rides on another.
    fn rider(&self, layer: &Layer<'a>, name: &str, kind: Given<&str>, input: &str) -> Draft {
        let mut draft = Draft::new(Given { value: name, key: layer.span(), span: layer.span() }, kind);
        draft.put_implied("inputs", Value::Array(vec![Node::new(text(input), kind.span)]));
        draft
    }

    /// Dropout that is not inverted: in training elements are dropped, in testing all are multiplied by the part that is kept.
    pub fn put_dropout(draft: &mut Draft, keep: Given<f64>) {
        draft.put("keep", keep.map_node(number));
        draft.put_implied("at_test", text("scale"));
    }

    fn push_dropout(&mut self, layer: &Layer<'a>, input: &str, keep: Given<f64>) -> String {
        let name = self.free_name(&format!("{input}_dropout"));
        let mut draft = self.rider(layer, &name, keep.with("dropout"), input);
        Self::put_dropout(&mut draft, keep);
        self.push(layer, draft, None);
        name
    }

    /// What a layer's `dropout` keeps, if it drops anything.
    fn dropout(&self, layer: &Layer<'a>) -> Result<Option<Given<f64>>, ConfigError> {
        let Some(dropout) = layer.params.map(|_| layer.float(Params, "dropout")).transpose()?.flatten() else { return Ok(None) };
        if !(0.0..1.0).contains(&dropout.value) {
            let message = format!("dropout must be at least 0 and below 1, not {}", super::super::error::number(dropout.value));
            return Err(layer.error(dropout.span, message, "the fraction that is dropped", ""));
        }
        Ok((dropout.value > 0.0).then(|| dropout.with(simple(1.0 - dropout.value))))
    }

    /// Keeps a layer's `gpu`; the number of GPUs that it runs on.
    fn place(&mut self, layer: &Layer<'a>, draft: &mut Draft, inherited: usize) -> Result<usize, ConfigError> {
        let Some(item) = layer.item(Layers, "gpu") else { return Ok(inherited) };
        let count = item.list().count();
        let gpus = layer.ints(Layers, "gpu", count, 0)?.unwrap_or_default();
        let given = Given { value: (), key: item.key, span: item.span() };
        let nodes: Vec<Node> = gpus.into_iter().map(|g| Node::new(Value::Integer(g.value), g.span)).collect();
        draft.put(
            "gpu",
            match nodes.as_slice() {
                [one] => given.with(one.clone()),
                _ => given.with(Node::new(Value::Array(nodes), given.span)),
            },
        );
        self.note(layer, Layers, "gpu", "is kept, but one device runs all layers");
        Ok(count)
    }

    /// Every layer is updated once a step. In cuda-convnet2 `updatePeriod` counts passes, of which a minibatch takes as many
    /// as the layer on most GPUs has times those of the layer on fewest.
    fn check_periods(&self) -> Result<(), ConfigError> {
        let replicas = || self.known.values().filter(|k| k.kind != "data").map(|k| k.replicas);
        let passes = replicas().max().unwrap_or(1) / replicas().min().unwrap_or(1).max(1);
        for (name, period) in &self.periods {
            if period.value > passes as i64 {
                let message = format!("updatePeriod = {}: a layer cannot be updated less often than once a step", period.value);
                let help = "leave it out; a train.batch that is so many times larger updates all layers as seldom";
                return Err(self.pair.error(period.span, message, "", help).in_layer(name));
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: &'static Kind, layer: &Layer<'a>) -> Result<(), ConfigError> {
        match kind.name {
            "data" => self.data(layer),
            "conv" | "local" | "fc" | "sfc" => self.weight_layer(kind.name, layer),
            name if name.starts_with("cost.") => self.cost(name, layer),
            name => self.plain_layer(name, layer),
        }
    }
}
