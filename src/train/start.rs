//! Where a net's parameters start, if not at random: at those of another run (its checkpoint), with filters copied to each
//! place of what is a locally connected layer now, and to each layer of those that share them no longer. cuda-convnet does
//! both to a net that it has loaded: `--conv-to-local`, `--unshare-weights`.

use super::checkpoint::{self, Checkpoint};
use super::{Error, Result};
use crate::config::{LayerSpec, NetSpec, Value, WeightSource};
use crate::layer::ParameterRole;
use crate::net::{Graph, Net};
use std::collections::BTreeSet;
use std::path::Path;

/// What became of a net's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Started {
    /// Those that have the values of the source's.
    pub copied: Vec<String>,
    /// Those that have them once for each place.
    pub spread: Vec<String>,
    /// Those that the source has not, or of another size, which is told: they stay as they were.
    pub missing: Vec<String>,
}

/// The newest whole checkpoint of a run, or the one that the path is of.
///
/// # Errors
/// There is none.
pub fn load(run: &Path, warn: impl FnMut(String)) -> Result<Checkpoint> {
    if run.join("state.json").is_file() {
        return Checkpoint::load(run, false);
    }
    super::Run::config(run)?;
    checkpoint::newest(&run.join("checkpoints"), false, warn)
}

/// Gives the net's parameters the checkpoint's values. `before` is the net's graph before weights were unshared: what a
/// parameter was called there is what it is called in the checkpoint, if that has none of its present name.
///
/// # Errors
/// The device fails.
pub fn from_checkpoint(net: &mut Net, before: &Graph, found: &Checkpoint) -> Result<Started> {
    carry(net, before, |_, name, was| {
        let named = |name: &str| found.weights.iter().find(|t| t.name == name);
        let tensor = named(name).or_else(|| named(was))?;
        Some(tensor.values.iter().map(|&v| f64::from(v)).collect())
    })
}

/// Gives the net's parameters the values that those of the graph before filters were made local and weights unshared start
/// from.
///
/// # Errors
/// The device fails.
pub fn from_values(net: &mut Net, before: &Graph, values: &[Vec<f64>]) -> Result<Started> {
    carry(net, before, |i, _, _| values.get(i).cloned())
}

/// Gives each parameter the values of that which was in its place in the graph before: `values(the latter's index, name,
/// the latter's name)`.
fn carry(net: &mut Net, before: &Graph, values: impl Fn(usize, &str, &str) -> Option<Vec<f64>>) -> Result<Started> {
    let mut started = Started::default();
    let mut done = BTreeSet::new();
    for i in 0..net.graph.nodes.len() {
        let node = &net.graph.nodes[i];
        let Some(was) = before.nodes.iter().find(|n| n.name == node.name) else { continue };
        // One value, or one filter, of each output channel.
        let (channels, local) = (if node.is_cost() { 0 } else { node.layer.output().c }, node.kind == "local");
        for (k, j) in node.parameters.clone().into_iter().zip(was.parameters.iter().copied()) {
            let p = &net.graph.parameters[k];
            if !p.spec.is_saved() || !done.insert(k) {
                continue;
            }
            let name = p.name.clone();
            let Some(values) = values(j, &name, &before.parameters[j].name) else {
                started.missing.push(name);
                continue;
            };
            let shape = p.spec.shape;
            let filter = if p.spec.role == ParameterRole::Weights { shape.image() } else { 1 };
            let (elements, one_place) = (shape.elements(), channels * filter);
            if values.len() == elements {
                net.write(net.plan.kept.parameters[k], &values)?;
                started.copied.push(name);
            } else if local && values.len() == one_place && elements.is_multiple_of(one_place) {
                let all = values.repeat(elements / one_place);
                net.write(net.plan.kept.parameters[k], &all)?;
                started.spread.push(name);
            } else {
                started.missing.push(format!("{name} ({elements} values, {} there)", values.len()));
            }
        }
    }
    Ok(started)
}

/// The settings (`key=value`) that make a conv layer locally connected, and those conv layers that share filters or biases
/// with it, as cuda-convnet does; each place has biases of its own then.
///
/// # Errors
/// There is no such layer, or it is no conv layer.
pub fn to_local(spec: &NetSpec, name: &str) -> Result<Vec<String>> {
    let layer = layer_of(spec, name)?;
    if layer.kind != "conv" {
        return Err(Error::Argument(format!("layer '{name}' is of type {}; only a conv layer can be made local", layer.kind)));
    }
    let sources = |l: &LayerSpec| {
        let all = l.weight_source.iter().flatten().chain(&l.bias_source);
        all.map(|WeightSource { layer, .. }| layer.clone()).collect::<Vec<_>>()
    };
    let mut together = BTreeSet::from([name.to_owned()]);
    loop {
        let before = together.len();
        for l in spec.layers.iter().filter(|l| l.kind == "conv") {
            let sources = sources(l);
            if together.contains(&l.name) {
                let conv = |n: &String| spec.layer(n).is_some_and(|(_, l)| l.kind == "conv");
                together.extend(sources.into_iter().filter(conv));
            } else if sources.iter().any(|s| together.contains(s)) {
                together.insert(l.name.clone());
            }
        }
        if together.len() == before {
            break;
        }
    }
    let mut sets = Vec::new();
    for name in &together {
        let layer = layer_of(spec, name)?;
        sets.push(format!("{}=\"local\"", key(name, "type")));
        let bias = layer.keys.get("bias").map(|entry| &entry.node.value);
        if matches!(bias, Some(Value::String(bias)) if bias == "shared") {
            sets.push(format!("{}=\"untied\"", key(name, "bias")));
        }
    }
    Ok(sets)
}

/// The settings that give a layer, `fc2`, weights and biases of its own, or weights for one of its inputs, `fc2[1]`. None
/// where it has them already.
///
/// # Errors
/// There is no such layer or input.
pub fn unshared(spec: &NetSpec, name: &str) -> Result<Vec<String>> {
    let (name, input) = match name.strip_suffix(']').and_then(|n| n.rsplit_once('[')) {
        Some((layer, input)) if spec.layer(name).is_none() => {
            let number: usize =
                input.parse().map_err(|_| Error::Argument(format!("'{name}': the input must be a number from 0 on")))?;
            (layer, Some(number))
        }
        _ => (name, None),
    };
    let layer = layer_of(spec, name)?;
    if let Some(input) = input
        && input >= layer.inputs.len()
    {
        let message = format!("layer '{name}' has {} inputs, from 0 on; there is no '{name}[{input}]'", layer.inputs.len());
        return Err(Error::Argument(message));
    }
    let mut sets = Vec::new();
    let own = |i: usize, source: &Option<WeightSource>| match source {
        Some(WeightSource { layer, input: of }) if input.is_some_and(|input| input != i) => format!("\"{layer}[{of}]\""),
        _ => "\"\"".to_owned(),
    };
    let shares = |(i, s): (usize, &Option<WeightSource>)| s.is_some() && input.is_none_or(|input| input == i);
    if layer.weight_source.iter().enumerate().any(shares) {
        let sources: Vec<String> = layer.weight_source.iter().enumerate().map(|(i, s)| own(i, s)).collect();
        sets.push(format!("{}=[{}]", key(name, "weight_source"), sources.join(", ")));
    }
    if input.is_none() && layer.bias_source.is_some() {
        sets.push(format!("{}=\"\"", key(name, "bias_source")));
    }
    Ok(sets)
}

fn layer_of<'a>(spec: &'a NetSpec, name: &str) -> Result<&'a LayerSpec> {
    let names = || spec.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ");
    spec.layer(name)
        .map(|(_, l)| l)
        .ok_or_else(|| Error::Argument(format!("no layer is called '{name}'; there are: {}", names())))
}

/// `layer."fc1".type`.
fn key(layer: &str, key: &str) -> String {
    let mark = if layer.contains('"') { '\'' } else { '"' };
    format!("layer.{mark}{layer}{mark}.{key}")
}
