//! Caffe's `.caffemodel`: a NetParameter (Caffe's `src/caffe/proto/caffe.proto`) whose layers, of the new message or the one
//! before it, have blobs. Layers are found by name, so that a config read from the net's prototxt, or one whose layers are called
//! as Caffe's, fits. A BatchNorm has the sums of its moments and what they are divided by; the Scale behind it is our
//! normalisation's gamma and beta.

use super::{Parameters, Tensor, Weights, shown, some};
use crate::format::protobuf::{Field, Message, fields};
use crate::layer::Form;
use crate::net::Graph;
use std::collections::HashMap;

/// Layers of a file, at most.
const MAX_LAYERS: usize = 100_000;

/// A layer with blobs.
#[derive(Debug, Default)]
struct Layer {
    name: String,
    /// Its type; of the older message none.
    kind: String,
    bottom: Option<String>,
    tops: Vec<String>,
    blobs: Vec<Tensor>,
}

/// The parameters of a net out of a file.
pub(super) fn read(file: &[u8], graph: &Graph) -> Result<Weights, String> {
    let layers = layers(file)?;
    let mut parameters = Parameters::new(graph);
    let nodes: HashMap<&str, usize> = parameters.layers().into_iter().map(|i| (graph.nodes[i].name.as_str(), i)).collect();
    let mut makers: HashMap<&str, &Layer> = HashMap::new();
    let mut unused = Vec::new();
    for layer in &layers {
        let before = layer.bottom.as_deref().and_then(|b| makers.get(b).copied());
        for top in &layer.tops {
            makers.insert(top, layer);
        }
        if layer.blobs.is_empty() {
            continue;
        }
        match (nodes.get(layer.name.as_str()), layer.kind.as_str(), before) {
            (None, "Scale", Some(norm)) if norm.kind == "BatchNorm" && nodes.contains_key(norm.name.as_str()) => {
                scale(&mut parameters, nodes[norm.name.as_str()], layer)?;
            }
            (Some(&i), ..) => blobs(&mut parameters, i, layer)?,
            _ => unused.push(layer.name.clone()),
        }
    }
    let notes = if unused.is_empty() { Vec::new() } else { vec![format!("layers that the net has not: {}", some(&unused))] };
    parameters.whole(notes)
}

/// Gives a layer its blobs.
fn blobs(parameters: &mut Parameters, i: usize, layer: &Layer) -> Result<(), String> {
    let node = parameters.node(i);
    let names: &[&str] = match node.layer.form() {
        Form::BatchNorm { .. } if layer.kind == "BatchNorm" || layer.kind.is_empty() => return moments(parameters, i, layer),
        Form::BatchNorm { .. } => {
            return Err(format!("layer '{}' is a batch-norm here and a {} there", layer.name, shown(&layer.kind)));
        }
        Form::Prelu => &["slope"],
        _ => &["weights", "bias"],
    };
    let ours = names.iter().filter(|n| parameters.index(i, n).is_some()).count();
    if layer.blobs.len() != ours {
        return Err(format!("layer '{}' has {ours} kinds of parameters here and {} blobs there", layer.name, layer.blobs.len()));
    }
    names.iter().zip(&layer.blobs).try_for_each(|(name, blob)| parameters.put(i, name, blob))
}

/// A normalisation's mean and variance, each times the third blob.
fn moments(parameters: &mut Parameters, i: usize, layer: &Layer) -> Result<(), String> {
    let [mean, variance, factor] = layer.blobs.as_slice() else {
        return Err(format!("layer '{}': a BatchNorm has 3 blobs, not {}", layer.name, layer.blobs.len()));
    };
    let factor = match factor.values.as_slice() {
        [f] => *f,
        _ => return Err(format!("layer '{}': '{}' is not one number", layer.name, factor.name)),
    };
    let by = if factor == 0.0 { 0.0 } else { 1.0 / factor };
    for (name, blob) in [("mean", mean), ("variance", variance)] {
        let values = blob.values.iter().map(|v| v * by).collect();
        parameters.put(i, name, &Tensor { values, ..blob.clone() })?;
    }
    Ok(())
}

/// The scale and shift behind a normalisation.
fn scale(parameters: &mut Parameters, i: usize, layer: &Layer) -> Result<(), String> {
    let [gamma, beta @ ..] = layer.blobs.as_slice() else { return Ok(()) };
    parameters.put(i, "weights", gamma)?;
    match beta {
        [] => parameters.fill(i, "bias", 0.0),
        [beta] => parameters.put(i, "bias", beta)?,
        _ => return Err(format!("layer '{}': a Scale has 1 or 2 blobs, not {}", layer.name, layer.blobs.len())),
    }
    Ok(())
}

/// The layers of a NetParameter.
fn layers(file: &[u8]) -> Result<Vec<Layer>, String> {
    let mut layers = Vec::new();
    for field in fields(file) {
        let field = field.map_err(|_| "it is no whole caffemodel: a message in it is cut short or damaged")?;
        let (name, bottom, top, kind, blob) = match field.number {
            100 => (1, 3, 4, Some(2), 7),
            // V1LayerParameter, whose type is a number.
            2 => (4, 2, 3, None, 6),
            _ => continue,
        };
        if layers.len() == MAX_LAYERS {
            return Err(format!("it has more than {MAX_LAYERS} layers"));
        }
        let mut layer = Layer::default();
        let mut messages: Vec<Field> = Vec::new();
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                n if n == name => layer.name = field.text()?,
                n if n == bottom => layer.bottom = layer.bottom.or(Some(field.text()?)),
                n if n == top => layer.tops.push(field.text()?),
                n if n == blob => messages.push(field),
                n if Some(n) == kind => layer.kind = field.text()?,
                _ => {}
            }
        }
        for (i, message) in messages.into_iter().enumerate() {
            let name = format!("blob {i} of {}", shown(&layer.name));
            layer.blobs.push(read_blob(message.bytes()?, name)?);
        }
        layers.push(layer);
    }
    if layers.iter().all(|l| l.blobs.is_empty()) {
        return Err("it is no caffemodel: no layer in it has blobs".into());
    }
    Ok(layers)
}

/// A BlobProto: its extents, old or new, and its numbers.
pub(super) fn read_blob(message: &[u8], name: String) -> Result<Tensor, String> {
    let mut old = [None; 4];
    let mut shape: Option<Vec<i64>> = None;
    let mut values = Vec::new();
    for field in fields(message) {
        let field = field?;
        match field.number {
            n @ 1..=4 => old[n as usize - 1] = Some(field.int()?),
            5 => field.floats(&mut values)?,
            7 => {
                let dims = shape.get_or_insert_default();
                for dim in fields(field.bytes()?) {
                    let dim = dim?;
                    if dim.number == 1 {
                        dim.ints(dims)?;
                    }
                }
            }
            8 => field.doubles(&mut values)?,
            _ => {}
        }
    }
    let old = || old.iter().any(Option::is_some).then(|| old.map(|e| e.unwrap_or(0)).to_vec());
    let shape = shape.or_else(old).unwrap_or_else(|| vec![values.len() as i64]);
    let extents: Option<Vec<usize>> = shape.iter().map(|&e| usize::try_from(e).ok()).collect();
    let elements = |e: &[usize]| e.iter().try_fold(1_usize, |n, &e| n.checked_mul(e));
    match extents {
        Some(shape) if elements(&shape) == Some(values.len()) => Ok(Tensor { name, shape, values }),
        _ => {
            let shape: Vec<String> = shape.iter().take(8).map(i64::to_string).collect();
            Err(format!("{name} is {} and has {} numbers", shape.join("×"), values.len()))
        }
    }
}

/// A file of a net's parameters.
pub(super) fn write(graph: &Graph, values: &[Vec<f32>]) -> Result<Vec<u8>, String> {
    let parameters = Parameters::new(graph);
    let mut file = Message::default();
    file.text(1, &graph.name);
    for i in parameters.layers() {
        let node = &graph.nodes[i];
        let take = |names: &[&str]| names.iter().filter_map(|name| parameters.take(i, name, values)).collect::<Vec<_>>();
        let (kind, tensors) = match node.layer.form() {
            Form::Conv([_]) => ("Convolution", take(&["weights", "bias"])),
            Form::Deconv(_) => ("Deconvolution", take(&["weights", "bias"])),
            Form::Fc { groups: 1 } if node.inputs.len() == 1 => ("InnerProduct", take(&["weights", "bias"])),
            Form::Prelu => ("PReLU", take(&["slope"])),
            Form::BatchNorm { .. } => {
                let mut moments = take(&["mean", "variance"]);
                moments.push(Tensor { name: String::new(), shape: vec![1], values: vec![1.0] });
                ("BatchNorm", moments)
            }
            _ => return Err(format!("layer '{}', of type {}, has no counterpart with weights in Caffe", node.name, node.kind)),
        };
        if tensors.iter().any(|t| kind != "Convolution" && kind != "Deconvolution" && t.shape.len() > 2)
            || kind == "Convolution" && tensors.get(1).is_some_and(|t| t.shape.len() > 1)
        {
            return Err(format!("layer '{}' has a bias for each place, and Caffe's layers have one for each channel", node.name));
        }
        file.message(100, &layer(&node.name, kind, &tensors));
        let affine = take(&["weights", "bias"]);
        if kind == "BatchNorm" && !affine.is_empty() {
            let mut scale = layer(&format!("{}_scale", node.name), "Scale", &affine);
            scale.text(3, &node.name);
            file.message(100, &scale);
        }
    }
    Ok(file.0)
}

/// A LayerParameter with its blobs; its top is called as it is.
fn layer(name: &str, kind: &str, blobs: &[Tensor]) -> Message {
    let mut layer = Message::default();
    layer.text(1, name).text(2, kind).text(4, name);
    for tensor in blobs {
        let (mut blob, mut shape) = (Message::default(), Message::default());
        shape.ints(1, tensor.shape.iter().map(|&e| e as i64));
        blob.message(7, &shape).floats(5, &tensor.values);
        layer.message(7, &blob);
    }
    layer
}
