//! From names to a graph: every input finds its layer, and the layers get an order in which each comes after its inputs.

use super::error::{did_you_mean, list, quote};
use super::layer::{InputSpec, LayerSpec, Source};
use super::{ConfigError, Sources};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Resolves the inputs and sorts the layers. Layers that are in order already stay where they are.
pub(super) fn connect(mut layers: Vec<LayerSpec>, sources: &Sources) -> Result<Vec<LayerSpec>, ConfigError> {
    let names = index_names(&layers, sources)?;
    let mut above = None;
    for i in 0..layers.len() {
        if layers[i].kind == "data" {
            if let Some(input) = layers[i].inputs.first() {
                let error = ConfigError::new("a data layer has no inputs").in_layer(&layers[i].name);
                return Err(error.at(sources, input.span, "").help("remove inputs"));
            }
        } else if layers[i].inputs.is_empty() {
            let (name, source) = match above {
                Some(j) => (layers[j as usize].name.clone(), Source::Layer(j as usize)),
                None => ("data".to_owned(), names.get("data").map_or(Source::Images, |&j| Source::Layer(j))),
            };
            let span = layers[i].key_span("inputs");
            layers[i].inputs.push(InputSpec { name, span, source });
        } else {
            let (name, mut inputs) = (layers[i].name.clone(), std::mem::take(&mut layers[i].inputs));
            for input in &mut inputs {
                input.source = find(&name, input, &names, &layers, sources)?;
            }
            layers[i].inputs = inputs;
        }
        if !layers[i].is_labels() {
            above = Some(i as u32);
        }
    }
    drop(names);
    sort(layers, sources)
}

fn index_names(layers: &[LayerSpec], sources: &Sources) -> Result<HashMap<String, usize>, ConfigError> {
    let mut names = HashMap::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let here = layer.key_span("name");
        if let Some(first) = names.insert(layer.name.clone(), i) {
            let there = layers[first].key_span("name");
            let message = format!("two layers have the name {}", quote(&layer.name));
            let error = ConfigError::new(message).at(sources, here, "the second").at(sources, there, "the first");
            return Err(error.help("give each layer a name of its own"));
        }
        let source = match layer.name.as_str() {
            "data" => layer.kind == "data" && !layer.is_labels(),
            "labels" => layer.is_labels(),
            _ => true,
        };
        if !source {
            let (what, part) = if layer.name == "data" { ("images", "images") } else { ("labels", "labels") };
            let message = format!("{} is the name of the {what}", quote(&layer.name));
            let help = format!("give the layer another name, or type = \"data\" and part = \"{part}\"");
            return Err(ConfigError::new(message).at(sources, here, "").help(help));
        }
    }
    Ok(names)
}

fn find(
    reader: &str,
    input: &InputSpec,
    names: &HashMap<String, usize>,
    layers: &[LayerSpec],
    sources: &Sources,
) -> Result<Source, ConfigError> {
    if input.name == reader {
        let error = ConfigError::new("a layer cannot read itself").in_layer(reader);
        return Err(error.at(sources, input.span, "its own name").help("name another layer"));
    }
    match (names.get(&input.name), input.name.as_str()) {
        (Some(&i), _) => Ok(Source::Layer(i)),
        (None, "data") => Ok(Source::Images),
        (None, "labels") => Ok(Source::Labels),
        (None, name) => {
            let others = layers.iter().map(|l| l.name.as_str()).filter(|&n| n != reader);
            let sourced = ["data", "labels"].into_iter().filter(|&s| !names.contains_key(s));
            let known: Vec<&str> = others.chain(sourced).collect();
            let error = ConfigError::new(format!("no layer has the name {}", quote(name))).in_layer(reader);
            let label = did_you_mean(name, &known, "no such layer");
            Err(error.at(sources, input.span, label).help(format!("known layers: {}", list(&known))))
        }
    }
}

fn layer_inputs(layer: &LayerSpec) -> impl Iterator<Item = (usize, &InputSpec)> {
    layer.inputs.iter().filter_map(|input| match input.source {
        Source::Layer(i) => Some((i, input)),
        Source::Images | Source::Labels => None,
    })
}

/// Kahn's algorithm, always taking the layer that was written first.
fn sort(layers: Vec<LayerSpec>, sources: &Sources) -> Result<Vec<LayerSpec>, ConfigError> {
    let mut waits = vec![0usize; layers.len()];
    let mut readers = vec![Vec::new(); layers.len()];
    for (i, layer) in layers.iter().enumerate() {
        for (input, _) in layer_inputs(layer) {
            readers[input].push(i);
            waits[i] += 1;
        }
    }
    let mut ready: BinaryHeap<_> = (0..layers.len()).filter(|&i| waits[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(layers.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < layers.len() {
        return Err(cycle(&layers, &waits, sources));
    }
    let mut place = vec![0; layers.len()];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new;
    }
    let mut sorted: Vec<_> = layers.into_iter().zip(&place).collect();
    sorted.sort_by_key(|(_, place)| **place);
    let mut layers: Vec<_> = sorted.into_iter().map(|(layer, _)| layer).collect();
    for input in layers.iter_mut().flat_map(|l| &mut l.inputs) {
        if let Source::Layer(i) = &mut input.source {
            *i = place[*i];
        }
    }
    Ok(layers)
}

/// Every layer that still waits reads another that does, so going from one to the next ends in a circle.
fn cycle(layers: &[LayerSpec], waits: &[usize], sources: &Sources) -> ConfigError {
    let waiting = |i: usize| layer_inputs(&layers[i]).find(|(j, _)| waits[*j] > 0);
    let mut seen = HashMap::new();
    let mut path = Vec::new();
    let mut next = waits.iter().position(|&w| w > 0);
    while let Some(i) = next {
        if let Some(start) = seen.insert(i, path.len()) {
            path.drain(..start);
            break;
        }
        path.push(i);
        next = waiting(i).map(|(j, _)| j);
    }
    let first = (0..path.len()).min_by_key(|&k| path[k]).unwrap_or(0);
    path.rotate_left(first);
    const SHOWN: usize = 8;
    let mut names: Vec<_> = path.iter().take(SHOWN).map(|&i| quote(&layers[i].name)).collect();
    if path.len() > SHOWN {
        names.push(format!("… {} more", path.len() - SHOWN));
    }
    let Some(&start) = path.first() else { return ConfigError::new("layers read one another in a circle") };
    names.push(quote(&layers[start].name));
    let error = ConfigError::new(format!("layers read one another in a circle: {}", names.join(" reads ")));
    let error = match waiting(start) {
        Some((_, input)) => error.at(sources, input.span, "the circle starts here"),
        None => error,
    };
    error.help("let one of them read a layer outside the circle")
}
