//! Darknet's weights: a header (version, images seen) and, of each section that has any, its numbers as `load_weights_upto` of
//! darknet's `src/parser.c` reads them: of a convolution biases, what a normalisation behind it has (scales, means, variances),
//! filters; of a connected layer biases, weights, and then the normalisation's; of a local one biases and filters; of a
//! normalisation of its own scales, means and variances. Nothing in the file says what is where, so that the net tells it and
//! its length is all that can be checked.

use super::{Parameters, Tensor, Weights};
use crate::layer::ParameterRole;
use crate::net::{Graph, Input};

/// A tensor of the file: layer, and the name of its parameter.
type Part = (usize, &'static str);

/// The tensors of a file in their order.
fn parts(parameters: &Parameters) -> Result<Vec<Part>, String> {
    let graph = parameters.graph;
    let layers = parameters.layers();
    let mut parts = Vec::new();
    let mut behind = None;
    for &i in &layers {
        let node = &graph.nodes[i];
        if behind.take() == Some(i) {
            continue;
        }
        let biased = parameters.index(i, "bias").is_some();
        // `batch_normalize=1`: the normalisation that reads a layer without biases.
        let norm = graph.consumers(i).next().filter(|&j| !biased && graph.nodes[j].kind == "batch-norm");
        let norm = norm.filter(|&j| graph.nodes[j].inputs == [Input::Node(i)] && parameters.index(j, "bias").is_some());
        if node.parameters.iter().filter(|&&k| graph.parameters[k].spec.role == ParameterRole::Weights).count() > 1 {
            return Err(format!("layer '{}' has several inputs, and no layer of darknet has weights for several", node.name));
        }
        let norm_parts = |j: usize| [(j, "weights"), (j, "mean"), (j, "variance")];
        let bias = norm.map(|j| (j, "bias")).or(biased.then_some((i, "bias")));
        match (node.kind.as_str(), bias) {
            ("conv" | "local", Some(bias)) => {
                parts.push(bias);
                parts.extend(norm.into_iter().flat_map(norm_parts));
                parts.push((i, "weights"));
            }
            ("fc", Some(bias)) => {
                parts.extend([bias, (i, "weights")]);
                parts.extend(norm.into_iter().flat_map(norm_parts));
            }
            ("batch-norm", Some(_)) => parts.extend(norm_parts(i)),
            ("conv" | "local" | "fc" | "batch-norm", None) => {
                return Err(format!("layer '{}' has no biases, and darknet's layers have", node.name));
            }
            (kind, _) => {
                return Err(format!("layer '{}' is of type {kind}, which darknet's weights have no place for", node.name));
            }
        }
        behind = norm;
    }
    Ok(parts)
}

/// The parameters of a net out of a file.
pub(super) fn read(file: &[u8], graph: &Graph) -> Result<Weights, String> {
    let mut parameters = Parameters::new(graph);
    let parts = parts(&parameters)?;
    let (transposed, mut rest) = header(file).ok_or("it ends within its header")?;
    let indices: Vec<usize> = parts.iter().filter_map(|&(i, name)| parameters.index(i, name)).collect();
    let elements = |k: usize| graph.parameters[k].spec.shape.elements();
    let needed: usize = indices.iter().map(|&k| elements(k)).sum();
    if rest.len() != needed.saturating_mul(4) {
        let held = rest.len() / 4;
        return Err(format!(
            "it holds {held} numbers behind its header, and the net of this config has {needed} parameters there"
        ));
    }
    for (&(i, name), &k) in parts.iter().zip(&indices) {
        let (bytes, more) = rest.split_at(4 * elements(k));
        rest = more;
        let shape = parameters.layout(i, k).shape;
        let mut values: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        if transposed && name == "weights" && graph.nodes[i].kind == "fc" {
            values = transpose(&values, shape[0]);
        }
        let tensor = Tensor { name: format!("{} in the file's order", graph.nodes[i].name), shape, values };
        parameters.put(i, name, &tensor)?;
    }
    // A normalisation of its own has no shift there.
    for i in parameters.layers() {
        if parameters.index(i, "bias").is_some_and(|k| parameters.values[k].is_none()) {
            parameters.fill(i, "bias", 0.0);
        }
    }
    parameters.whole(Vec::new())
}

/// A file of a net's parameters.
pub(super) fn write(graph: &Graph, values: &[Vec<f32>]) -> Result<Vec<u8>, String> {
    let parameters = Parameters::new(graph);
    let parts = parts(&parameters)?;
    for i in parameters.layers() {
        let alone = graph.nodes[i].kind == "batch-norm" && !parts.contains(&(i, "bias"));
        let shifted = parameters.index(i, "bias").is_some_and(|k| values[k].iter().any(|&v| v != 0.0));
        if alone && shifted {
            return Err(format!("layer '{}' has a shift, and darknet's [batchnorm] keeps none", graph.nodes[i].name));
        }
    }
    // Version 0.2.0, and no images seen.
    let mut file: Vec<u8> = [0_i32, 2, 0].into_iter().flat_map(i32::to_le_bytes).collect();
    file.extend(0_u64.to_le_bytes());
    for (i, name) in parts {
        let tensor = parameters.take(i, name, values).expect("a part is a layer's");
        file.extend(tensor.values.iter().flat_map(|v| v.to_le_bytes()));
    }
    Ok(file)
}

/// Whether connected layers' weights are `[in][out]`, and what is behind the header.
fn header(file: &[u8]) -> Option<(bool, &[u8])> {
    let (version, rest) = file.split_first_chunk::<12>()?;
    let int = |i: usize| i32::from_le_bytes([version[i], version[i + 1], version[i + 2], version[i + 3]]);
    let [major, minor] = [int(0), int(4)].map(i64::from);
    let seen = if major * 10 + minor >= 2 && major < 1000 && minor < 1000 { 8 } else { 4 };
    Some((major > 1000 || minor > 1000, rest.get(seen..)?))
}

fn transpose(values: &[f32], outputs: usize) -> Vec<f32> {
    let inputs = values.len() / outputs.max(1);
    (0..outputs).flat_map(|o| (0..inputs).map(move |i| values[i * outputs + o])).collect()
}
