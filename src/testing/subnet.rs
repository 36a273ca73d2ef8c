//! Other nets of a config, which use its parameters: one that ends at a layer, and one that is dense.
//!
//! A fully connected layer over an image of h×w×c is a convolution with filters of h×w: its weights lie in the same order. A net
//! of convolutions takes images of any size, and gives a prediction for each place where a window of the trained size fits, at
//! the cost of the new pixels alone (Sermanet et al. 2013, "OverFeat", section 3.5).

use crate::config::{NetSpec, Source};
use crate::device::Shape;
use crate::layer::Role;
use crate::net::{Graph, Input};
use crate::op::Neuron;
use crate::train::checkpoint::{Checkpoint, HostTensor};
use crate::train::{Error, Result};
use std::collections::BTreeMap;

/// A net whose fully connected layers are convolutions.
pub struct Dense {
    /// The net, up to the scores.
    pub spec: NetSpec,
    /// Its last layer.
    layer: String,
    /// What the last layer makes is probabilities, not scores.
    pub probabilities: bool,
    /// The shapes of filters that were weights of fully connected layers, by the tensors' names.
    filters: BTreeMap<String, Vec<usize>>,
}

/// The config's layers that `keep` says, each changed by `edit`, which is given a layer's index; what they read is written out.
fn rewritten(spec: &NetSpec, keep: &[bool], mut edit: impl FnMut(usize, &mut toml::Table) -> Result<()>) -> Result<NetSpec> {
    let mut document: toml::Table = toml::from_str(&spec.to_toml()).expect("a config's TOML reads");
    document.remove("pretrain");
    let Some(toml::Value::Array(layers)) = document.remove("layer") else {
        return Err(Error::Argument("the net has no layers".into()));
    };
    let mut kept = Vec::with_capacity(layers.len());
    for (i, (layer, written)) in spec.layers.iter().zip(layers).enumerate().filter(|(i, _)| keep[*i]) {
        let toml::Value::Table(mut table) = written else { continue };
        if !layer.inputs.is_empty() {
            let names: Vec<toml::Value> = layer.inputs.iter().map(|input| input.name.clone().into()).collect();
            table.insert("inputs".into(), names.into());
        }
        edit(i, &mut table)?;
        kept.push(toml::Value::Table(table));
    }
    document.insert("layer".into(), kept.into());
    Ok(NetSpec::from_toml(&document.to_string(), &spec.name, &[])?)
}

/// The layers that one of them needs: what it reads, and whose weights it shares.
fn needed(spec: &NetSpec, last: usize) -> Vec<bool> {
    let mut needed = vec![false; spec.layers.len()];
    let mut left = vec![last];
    while let Some(i) = left.pop() {
        if std::mem::replace(&mut needed[i], true) {
            continue;
        }
        let layer = &spec.layers[i];
        left.extend(layer.inputs.iter().filter_map(|input| match input.source {
            Source::Layer(j) => Some(j),
            Source::Images | Source::Labels => None,
        }));
        let shared = layer.weight_source.iter().flatten().chain(&layer.bias_source);
        left.extend(shared.filter_map(|source| spec.layer(&source.layer).map(|(j, _)| j)));
    }
    needed
}

/// The last node of a layer: its neuron, where one rides on it. A layer of type `data` has none.
pub fn node_of(graph: &Graph, layer: &str) -> Option<usize> {
    let neuron = format!("{layer}.neuron");
    graph.nodes.iter().rposition(|n| n.name == layer || n.name == neuron)
}

/// The net that ends at a layer.
///
/// # Errors
/// There is no such layer.
pub fn ending_at(spec: &NetSpec, layer: &str) -> Result<NetSpec> {
    let Some((last, _)) = spec.layer(layer) else {
        let names: Vec<&str> = spec.layers.iter().map(|l| l.name.as_str()).collect();
        let near = crate::config::nearest(layer, &names).map_or(String::new(), |near| format!("did you mean '{near}'? "));
        return Err(Error::Argument(format!("no layer has the name '{layer}'; {near}There are: {}", names.join(", "))));
    };
    rewritten(spec, &needed(spec, last), |_, _| Ok(()))
}

/// A checkpoint with those parameters alone that a net has.
pub fn parameters_of(spec: &NetSpec, found: &Checkpoint) -> Checkpoint {
    let of_layer = |t: &HostTensor| spec.layers.iter().any(|l| t.name.strip_prefix(&l.name).is_some_and(|r| r.starts_with('.')));
    let weights = found.weights.iter().filter(|t| t.name == "data.mean" || of_layer(t)).cloned().collect();
    Checkpoint { weights, ..found.clone() }
}

impl Dense {
    /// The dense net of a config, whose graph tells the shapes that its layers were trained on.
    ///
    /// # Errors
    /// A layer that cannot be made a convolution.
    pub fn new(spec: &NetSpec, graph: &Graph) -> Result<Self> {
        let none = || Error::Argument("the net has no output to predict with".into());
        let prediction = graph.prediction().ok_or_else(none)?;
        let (scores, probabilities) = match (graph.nodes[prediction].role(), graph.nodes[prediction].inputs[0]) {
            (Role::Softmax, Input::Node(below)) => (below, false),
            (role, _) => (prediction, role == Role::Neuron(Neuron::Logistic)),
        };
        let node = &graph.nodes[scores].name;
        let is_of = |layer: &str| node == layer || node.strip_suffix(".neuron") == Some(layer);
        let last = spec.layers.iter().rposition(|l| is_of(&l.name)).ok_or_else(none)?;
        let mut keep = needed(spec, last);
        // What each flattened image is made of.
        let mut flattened: BTreeMap<String, String> = BTreeMap::new();
        let mut filters = BTreeMap::new();
        for (i, layer) in spec.layers.iter().enumerate().filter(|(_, l)| l.kind == "flatten") {
            let below = &layer.inputs[0].name;
            let below = flattened.get(below).unwrap_or(below).clone();
            flattened.insert(layer.name.clone(), below);
            keep[i] = false;
        }
        let shape_of = |name: &str| -> Shape { node_of(graph, name).map_or(graph.images, |i| graph.nodes[i].layer.output()) };
        let edited = rewritten(spec, &keep, |i, table| {
            let layer = &spec.layers[i];
            let cannot = |why: &str| Error::Argument(format!("--views dense: layer '{}' {why}", layer.name));
            let read: Vec<String> =
                layer.inputs.iter().map(|input| flattened.get(&input.name).unwrap_or(&input.name).clone()).collect();
            if !read.is_empty() {
                table.insert("inputs".into(), read.iter().map(|name| toml::Value::from(name.clone())).collect::<Vec<_>>().into());
            }
            match layer.kind.as_str() {
                "fc" => {
                    let [input] = read.as_slice() else {
                        return Err(cannot("reads several inputs, and a convolution of them is none"));
                    };
                    let number = |key: &str| table.get(key).and_then(toml::Value::as_integer);
                    if number("groups").is_some_and(|groups| groups > 1) {
                        return Err(cannot("is in groups, which a convolution would cut otherwise"));
                    }
                    let outputs = number("outputs").ok_or_else(|| cannot("has no outputs"))?;
                    let x = shape_of(input);
                    let bias = table.get("bias").and_then(toml::Value::as_bool).unwrap_or(true);
                    ["outputs", "bias", "groups", "drop_connect"].iter().for_each(|key| drop(table.remove(*key)));
                    table.insert("type".into(), "conv".into());
                    table.insert("filters".into(), outputs.into());
                    table.insert("size".into(), vec![x.h as i64, x.w as i64].into());
                    table.insert("bias".into(), if bias { "shared" } else { "none" }.into());
                    if (x.h, x.w) != (1, 1) {
                        filters.insert(format!("{}.weights", layer.name), vec![outputs as usize, x.h, x.w, x.c]);
                    }
                }
                "local" => return Err(cannot("has filters for each place of one size of image")),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self { spec: edited, layer: spec.layers[last].name.clone(), probabilities, filters })
    }

    /// The node whose output is the scores.
    pub fn output(&self, graph: &Graph) -> usize {
        node_of(graph, &self.layer).expect("the net ends at the layer")
    }

    /// A checkpoint of the net that it was made of, as one of this net.
    pub fn checkpoint(&self, found: &Checkpoint) -> Checkpoint {
        let mut found = parameters_of(&self.spec, found);
        for t in &mut found.weights {
            if let Some(shape) = self.filters.get(&t.name) {
                t.shape = shape.clone();
            }
        }
        found
    }

    /// Rows and columns of the map of predictions for an image of a size, where one fits.
    pub fn places(&self, h: usize, w: usize, c: usize) -> Option<[usize; 2]> {
        let graph = Graph::new(&self.spec, Shape::new(1, h, w, c), 1).ok()?;
        let y = graph.nodes[self.output(&graph)].layer.output();
        Some([y.h, y.w])
    }

    /// Pixels between two neighbouring predictions, for a net that was trained on images of `h` rows. The last of those may have
    /// been left out by a window that did not fit, so it is how far apart the second and the third row of predictions come.
    pub fn stride(&self, h: usize, w: usize, c: usize) -> Option<usize> {
        const MAX: usize = 512;
        let [rows, _] = self.places(h, w, c)?;
        let first_with = |count: usize| (1..=MAX).find(|d| self.places(h + d, w, c).is_some_and(|[r, _]| r >= count));
        Some(first_with(rows + 2)? - first_with(rows + 1)?)
    }
}
