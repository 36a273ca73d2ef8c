//! The section `[pretrain]`: layers that are first trained one after the other, each as a tied-weight autoencoder of its
//! input (Vincent et al. 2010 with noise, sparse with `sparsity`), before the whole net is trained on the labels.

use super::types::{at_least_one, below_one, non_negative, positive, some_at_least_one, some_non_negative};
use super::{
    ConfigError, DataSpec, Entry, LayerSpec, NetSpec, Node, Schedule, Source, Span, Table, TrainSpec, Value, graph, toml,
};
use crate::device::Shape;
use serde::{Deserialize, Serialize};

/// The section `[pretrain]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainSpec {
    /// The layers, in the order in which they are trained: convolutions and fully connected ones of one input.
    pub layers: Vec<String>,
    /// Passes over the training images for each. Default 5.
    #[serde(deserialize_with = "positive")]
    pub epochs: f64,
    /// Default 0.001.
    pub learning_rate: Schedule,
    /// Default `train.batch`.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Default `train.weight_decay`.
    #[serde(deserialize_with = "some_non_negative", skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The part of a layer's inputs that is set to 0, at random, before it codes them; it is to restore them. Default 0.3.
    #[serde(deserialize_with = "below_one")]
    pub noise: f64,
    /// λ of the term λ·Σ|h| over the layer's outputs. Default 0.
    #[serde(deserialize_with = "non_negative")]
    pub sparsity: f64,
    /// Only the first so many training images. Default all that the source has, whatever `data.train_images` says: labels
    /// are not used.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub train_images: Option<usize>,
    /// Steps between two looks at the loss. Default 50.
    #[serde(deserialize_with = "at_least_one")]
    pub log_every: u64,
}

impl Default for PretrainSpec {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            epochs: 5.0,
            learning_rate: Schedule::constant(0.001),
            batch: None,
            weight_decay: None,
            noise: 0.3,
            sparsity: 0.0,
            train_images: None,
            log_every: 50,
        }
    }
}

/// The keys that say which inputs a convolution's window sees: its decoder's are the same.
const WINDOW: [&str; 5] = ["size", "stride", "padding", "dilation", "groups"];

impl NetSpec {
    /// The net that trains one layer as an autoencoder: what the layer reads, frozen and without noise of its own; its
    /// input with noise; the layer; and a decoder with its weights, whose distance from the input is the cost: half the sum of
    /// squares, over the places that share the weights, so that one learning rate suits convolutions and fully connected
    /// layers. `input` and `output` are the shapes of what the layer reads and makes.
    ///
    /// # Errors
    /// The layer is none that has a decoder.
    pub fn pretraining(&self, pretrain: &PretrainSpec, layer: &str, input: Shape, output: Shape) -> Result<Self, ConfigError> {
        let place = self.root.entry(&["pretrain", "layers"]).map_or(self.root.span, Entry::span);
        let fault = |message: String, help: &str| Err(self.error_at(place, message, "", help));
        let Some((index, spec)) = self.layer(layer) else {
            let names: Vec<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
            let label = super::did_you_mean(layer, &names, "no such layer");
            let message = format!("pretrain: no layer has the name {}", super::quote(layer));
            return Err(self.error_at(place, message, label, "name layers of this config"));
        };
        if !["conv", "fc"].contains(&spec.kind.as_str()) || spec.inputs.len() != 1 {
            let message = format!("pretrain: {} is no convolution or fully connected layer of one input", super::quote(layer));
            return fault(message, "name layers of type conv or fc that read one layer");
        }
        let read = &spec.inputs[0];
        let mut nodes: Vec<Node> = self.before(index).into_iter().map(|i| frozen(&self.layers[i])).collect();
        let named = |part: &str| format!("{layer}.{part}");
        let mut sources = self.sources.clone();
        let (corrupted, decoder) = (named("corrupted"), named("decoder"));
        let text = |s: &str| ::toml::Value::from(s).to_string();
        let mut extra = format!(
            "layer = [\n{{ name = {}, type = \"dropout\", inputs = {}, keep = {} }},\n{{ name = {}, type = \"deconv\", inputs = {}, \
             channels = {}, size = [{}, {}], weight_source = {} }},\n{{ name = \"reconstruction\", type = \"sum-of-squares\", \
             inputs = [{}, {}], coefficient = {} }},\n",
            text(&corrupted),
            text(&read.name),
            1.0 - pretrain.noise,
            text(&decoder),
            text(layer),
            input.c,
            input.h,
            input.w,
            text(layer),
            text(&decoder),
            text(&read.name),
            0.5 / (output.h * output.w) as f64,
        );
        if pretrain.sparsity > 0.0 {
            // Σ|h| is the sum of the squares of √|h|.
            extra += &format!(
                "{{ name = {}, type = \"neuron\", inputs = {}, neuron = \"abs\" }},\n{{ name = {}, type = \"neuron\", neuron = \
                 \"sqrt\" }},\n{{ name = \"sparsity\", type = \"sum-of-squares\", coefficient = {} }},\n",
                text(&named("abs")),
                text(layer),
                text(&named("sqrt")),
                pretrain.sparsity,
            );
        }
        extra += "]";
        let source = sources.add(format!("pretraining of {layer}"), &extra);
        let tree = toml::parse(&extra, source, &sources)?;
        let added = tree.entry(&["layer"]).map(|e| &e.node.value);
        let Some(Value::Array(added)) = added else { return fault("pretrain: no layers".into(), "") };
        let (noise, rest) = added.split_at(1);
        nodes.extend_from_slice(noise);
        nodes.push(reading(spec.as_written(false), &corrupted));
        let mut rest = rest.to_vec();
        if spec.kind == "conv" {
            let decoder = table_of(&mut rest[0]);
            for key in WINDOW {
                if let Some(entry) = spec.keys.get(key) {
                    decoder.insert(key.into(), entry.clone());
                }
            }
            let sides = [input.h, input.w].map(|v| Node::new(Value::Integer(v as i64), Span::new(source, 0..0)));
            let outputs = Node::new(Value::Array(sides.to_vec()), Span::new(source, 0..0));
            decoder.insert("outputs".into(), Entry { key: outputs.span, node: outputs });
        }
        nodes.extend(rest);
        let layers = nodes.iter().map(|n| LayerSpec::read(n, &sources)).collect::<Result<_, _>>()?;
        Ok(Self {
            name: format!("{} (pretraining {layer})", self.name),
            data: DataSpec { train_images: pretrain.train_images, ..self.data.clone() },
            train: TrainSpec {
                batch: pretrain.batch.unwrap_or(self.train.batch),
                micro_batch: self.train.micro_batch.filter(|_| pretrain.batch.is_none()),
                epochs: pretrain.epochs,
                steps: None,
                learning_rate: pretrain.learning_rate.clone(),
                weight_decay: pretrain.weight_decay.unwrap_or(self.train.weight_decay),
                log_every: pretrain.log_every,
                ..self.train.clone()
            },
            layers: graph::connect(layers, &sources)?,
            pretrain: None,
            sources,
            root: self.root.clone(),
            notes: Vec::new(),
            images: None,
        })
    }

    /// The layers that a layer depends on, in order.
    fn before(&self, layer: usize) -> Vec<usize> {
        let mut needed = vec![false; layer + 1];
        needed[layer] = true;
        for i in (0..=layer).rev().filter(|&i| needed[i]).collect::<Vec<_>>() {
            self.need(i, &mut needed);
        }
        (0..layer).filter(|&i| needed[i]).collect()
    }

    fn need(&self, layer: usize, needed: &mut [bool]) {
        for input in &self.layers[layer].inputs {
            if let Source::Layer(i) = input.source
                && !std::mem::replace(&mut needed[i], true)
            {
                self.need(i, needed);
            }
        }
    }
}

fn table_of(node: &mut Node) -> &mut Table {
    match &mut node.value {
        Value::Table(table) => table,
        _ => unreachable!("a layer is a table"),
    }
}

/// A layer that neither learns nor draws random numbers.
fn frozen(layer: &LayerSpec) -> Node {
    let mut node = layer.as_written(false);
    let span = node.span;
    let mut set = |key: &str, value: f64| {
        let entry = Entry { key: span, node: Node::new(Value::Float(value), span) };
        table_of(&mut node).insert(key.into(), entry);
    };
    set("learning_rate", 0.0);
    match layer.kind.as_str() {
        "dropout" => set("keep", 1.0),
        "noise" => set("std", 0.0),
        _ => {}
    }
    node
}

/// A layer with another input.
fn reading(mut node: Node, input: &str) -> Node {
    let span = node.span;
    let name = Node::new(Value::String(input.into()), span);
    table_of(&mut node).insert("inputs".into(), Entry { key: span, node: name });
    node
}
