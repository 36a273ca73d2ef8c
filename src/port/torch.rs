//! PyTorch's state dicts, as safetensors: `MODULE.weight`, `MODULE.bias`, `MODULE.running_mean`, `MODULE.running_var`. A file
//! has them sorted by name, so that a module finds its layer by name, where all do, or by order: that in which the modules of
//! torchvision's AlexNet, VGG, ResNet and SqueezeNet run, which their names tell, and numbers in names count.

use super::{Parameters, Tensor, Weights, shown, some, torchvision};
use crate::format::safetensors;
use crate::net::Graph;
use ::safetensors::tensor::{SafeTensors, TensorView};
use std::collections::{BTreeMap, HashSet};

/// Our names of parameters and theirs.
const NAMES: [(&str, &str); 5] =
    [("weights", "weight"), ("bias", "bias"), ("mean", "running_mean"), ("variance", "running_var"), ("slope", "weight")];
/// What a state dict counts, and no net needs.
const COUNTER: &str = "num_batches_tracked";

/// What of a file belongs to one module, by the last part of the name.
type Module = BTreeMap<String, String>;

/// The parameters of a net out of a state dict.
pub(super) fn read(file: &[u8], graph: &Graph) -> Result<Weights, String> {
    let file = SafeTensors::deserialize(file).map_err(|e| format!("it is no whole safetensors file: {e}"))?;
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for full in file.names() {
        let (module, part) = full.rsplit_once('.').unwrap_or(("", full));
        if part != COUNTER {
            modules.entry(module.to_owned()).or_default().insert(part.to_owned(), full.to_owned());
        }
    }
    let mut parameters = Parameters::new(graph);
    let layers = parameters.layers();
    let names = |i: usize| parameters.node(i).name.clone();
    let by_name = layers.iter().all(|&i| modules.contains_key(&names(i)));
    let mut ordered: Vec<String> = modules.keys().cloned().collect();
    ordered.sort_by_cached_key(|name| order(name));
    let pairs: Vec<(usize, String)> = if by_name {
        layers.iter().map(|&i| (i, names(i))).collect()
    } else if ordered.len() == layers.len() {
        layers.iter().copied().zip(ordered.iter().cloned()).collect()
    } else {
        let ours: Vec<String> = layers.iter().map(|&i| names(i)).collect();
        return Err(format!(
            "it has {} modules with parameters, the net {} layers, and they have other names: {} there, {} here",
            ordered.len(),
            layers.len(),
            some(&ordered),
            some(&ours)
        ));
    };
    for (i, module) in &pairs {
        let found = &modules[module];
        for &k in &parameters.node(*i).parameters {
            let spec = &graph.parameters[k].spec;
            if !spec.is_saved() || parameters.values[k].is_some() {
                continue;
            }
            let ours = spec.name.clone();
            let theirs = NAMES.iter().find(|(name, _)| *name == ours).map_or(ours.as_ref(), |(_, name)| name);
            let Some(full) = found.get(theirs) else {
                let layer = &parameters.node(*i).name;
                return Err(format!("layer '{layer}' has {ours}, and module '{}' has no {theirs}", shown(module)));
            };
            let view = file.tensor(full).map_err(|e| e.to_string())?;
            parameters.put(*i, &ours, &tensor(full, &view)?)?;
        }
        let known =
            |part: &&String| !NAMES.iter().any(|(ours, theirs)| *theirs == **part && parameters.index(*i, ours).is_some());
        if let Some(extra) = found.keys().find(|part| known(part) && !part.starts_with("weights")) {
            let layer = &parameters.node(*i).name;
            return Err(format!("module '{}' has a {}, and layer '{layer}' has none", shown(module), shown(extra)));
        }
    }
    let used: HashSet<&String> = pairs.iter().map(|(_, module)| module).collect();
    let unused: Vec<String> = ordered.into_iter().filter(|name| !used.contains(name)).collect();
    let notes = if unused.is_empty() { Vec::new() } else { vec![format!("modules that the net has not: {}", some(&unused))] };
    parameters.whole(notes)
}

/// A state dict of a net, its modules named as torchvision's where it is one of its nets, else after the layers.
pub(super) fn write(graph: &Graph, values: &[Vec<f32>]) -> Result<Vec<u8>, String> {
    let parameters = Parameters::new(graph);
    let layers = parameters.layers();
    let own = || layers.iter().map(|&i| parameters.node(i).name.clone()).collect();
    let names = torchvision::names(graph, &layers).unwrap_or_else(own);
    let mut tensors = BTreeMap::new();
    for (i, module) in layers.iter().copied().zip(&names) {
        for &k in &parameters.node(i).parameters {
            let spec = &graph.parameters[k].spec;
            let Some(t) = parameters.take(i, &spec.name, values).filter(|_| spec.is_saved()) else { continue };
            let theirs = NAMES.iter().find(|(ours, _)| *ours == spec.name).map_or(spec.name.as_ref(), |(_, name)| name);
            tensors.entry(format!("{module}.{theirs}")).or_insert((t.shape, t.values));
        }
    }
    safetensors::write(tensors.iter().map(|(name, (shape, values))| (name.as_str(), &shape[..], &values[..])))
}

fn tensor(name: &str, view: &TensorView) -> Result<Tensor, String> {
    let other = || format!("'{}' is of type {:?}; floats are read: F16, BF16, F32, F64", shown(name), view.dtype());
    let values = safetensors::floats(view, |v| v as f32).ok_or_else(other)?;
    Ok(Tensor { name: shown(name), shape: view.shape().to_vec(), values })
}

/// When a module runs, as far as its name tells: each part of it is a group, a number and what is left.
fn order(module: &str) -> Vec<(u8, u64, String)> {
    module.split('.').map(part_order).collect()
}

/// `features` comes before `classifier`, the squeezing layer of a fire module before the expanding ones, `bn1` behind `conv1`
/// and before `conv2`, the stages behind the stem, a shortcut's projection behind the block's other layers, `fc` last.
fn part_order(part: &str) -> (u8, u64, String) {
    let digits = part.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (word, number) = part.split_at(part.len() - digits);
    let number = number.parse::<u64>().unwrap_or(0).min(u64::MAX / 4);
    let (group, number) = match word {
        "" | "features" => (0, number),
        "squeeze" | "conv" => (1, 2 * number),
        "bn" | "norm" => (1, 2 * number + 1),
        // `expand1x1` and `expand3x3`.
        "expand1x" | "expand3x" => (2, number),
        "layer" => (4, number),
        "downsample" | "shortcut" => (5, number),
        "classifier" | "fc" | "head" => (9, number),
        _ => (6, number),
    };
    (group, number, word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn modules_run_in_this_order() {
        for names in [
            &["features.0", "features.3", "features.10", "classifier.1", "classifier.6"][..],
            &["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2", "layer1.0.bn2", "layer1.1.conv1", "fc"],
            &["layer2.0.bn3", "layer2.0.downsample.0", "layer2.0.downsample.1", "layer2.1.conv1", "layer10.0.conv1"],
            &["features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3", "features.4.squeeze", "classifier.1"],
            &["conv1", "conv2", "fc1", "fc2"],
        ] {
            let orders: Vec<_> = names.iter().map(|n| order(n)).collect();
            assert!(orders.is_sorted_by(|a, b| a < b), "{names:?}");
        }
    }
}
