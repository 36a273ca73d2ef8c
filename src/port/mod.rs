//! Nets and weights of other programs, in and out: Caffe's `.caffemodel`, darknet's `.weights`, PyTorch's state dicts as
//! `.safetensors`, and ONNX, which has the net as well. A file's tensors find their parameters by name or by order, and must
//! have their extents; elements are put in our order (`layout.rs`). What is read is finite and fits, or an error names the layer
//! and the tensor; a file makes no more memory than a few times its size.

mod caffe;
mod darknet;
mod images;
mod layout;
pub mod mean;
pub mod onnx;
mod torch;
mod torchvision;

pub use images::{Channels as ChannelOrder, adapt};

use crate::net::{Graph, Node};
use layout::{Channels, Layout};
use std::path::Path;

/// A format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Caffe's NetParameter.
    Caffe,
    /// Darknet's weights.
    Darknet,
    /// A state dict as safetensors.
    Pytorch,
    /// An ONNX model.
    Onnx,
}

impl Format {
    /// The formats with their names and the endings of their files.
    pub const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Caffe, "caffe", "caffemodel"),
        (Self::Darknet, "darknet", "weights"),
        (Self::Pytorch, "pytorch", "safetensors"),
        (Self::Onnx, "onnx", "onnx"),
    ];

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(format, ..)| *format)
    }

    /// The format that a file's ending says.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Self::ALL.iter().find(|(_, _, e)| *e == ending).map(|(format, ..)| *format)
    }
}

/// A net's parameters out of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The values of each of the graph's parameters, in our order; none of those that no checkpoint has.
    pub values: Vec<Vec<f32>>,
    /// What there is to say, for people: what of the file is not used.
    pub notes: Vec<String>,
}

/// Reads a net's parameters out of a file of weights.
///
/// # Errors
/// What is wrong with the file, or does not fit the net.
pub fn read(format: Format, file: &[u8], graph: &Graph) -> Result<Weights, String> {
    match format {
        Format::Caffe => caffe::read(file, graph),
        Format::Darknet => darknet::read(file, graph),
        Format::Pytorch => torch::read(file, graph),
        Format::Onnx => onnx::read_weights(file, graph),
    }
}

/// A file of a net's parameters, of one of the formats that have weights alone.
///
/// # Errors
/// A layer that has no place in the format.
pub fn write(format: Format, graph: &Graph, values: &[Vec<f32>]) -> Result<Vec<u8>, String> {
    match format {
        Format::Caffe => caffe::write(graph, values),
        Format::Darknet => darknet::write(graph, values),
        Format::Pytorch => torch::write(graph, values),
        Format::Onnx => Err("an ONNX file has a net, not weights alone".into()),
    }
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// Extents as people write them.
    fn extents(shape: &[usize]) -> String {
        if shape.is_empty() {
            return "one number".into();
        }
        shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
    }
}

/// What a net's parameters are in another program's order, while they are filled in or taken out.
struct Parameters<'a> {
    graph: &'a Graph,
    channels: Channels,
    values: Vec<Option<Vec<f32>>>,
}

impl<'a> Parameters<'a> {
    fn new(graph: &'a Graph) -> Self {
        Self { graph, channels: Channels::of(graph), values: vec![None; graph.parameters.len()] }
    }

    /// The layers that have parameters of their own, in order.
    fn layers(&self) -> Vec<usize> {
        let mut seen = vec![false; self.graph.parameters.len()];
        let mut layers = Vec::new();
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let new: Vec<usize> = node.parameters.iter().copied().filter(|&k| !seen[k]).collect();
            new.iter().for_each(|&k| seen[k] = true);
            if new.iter().any(|&k| self.graph.parameters[k].spec.is_saved()) {
                layers.push(i);
            }
        }
        layers
    }

    fn node(&self, i: usize) -> &'a Node {
        &self.graph.nodes[i]
    }

    /// The parameter of a layer that has this name: `weights`, `bias`, ….
    fn index(&self, i: usize, name: &str) -> Option<usize> {
        self.graph.nodes[i].parameters.iter().copied().find(|&k| self.graph.parameters[k].spec.name == name)
    }

    /// Where a parameter's elements are in other programs.
    fn layout(&self, i: usize, k: usize) -> Layout {
        Layout::of(self.graph, &self.channels, i, k)
    }

    /// Gives a layer's parameter the values of a tensor.
    fn put(&mut self, i: usize, name: &str, tensor: &Tensor) -> Result<(), String> {
        let Some(k) = self.index(i, name) else {
            return Err(format!("layer '{}' has no {name}, and '{}' is one", self.node(i).name, tensor.name));
        };
        let layout = self.layout(i, k);
        let layer = &self.node(i).name;
        if !layout.fits(&tensor.shape) {
            let (theirs, ours) = (Tensor::extents(&tensor.shape), Tensor::extents(&layout.shape));
            return Err(format!("layer '{layer}': its {name} are {ours}, '{}' is {theirs}", tensor.name));
        }
        if let Some(at) = tensor.values.iter().position(|v| !v.is_finite()) {
            return Err(format!("layer '{layer}': value number {at} of '{}' is {}", tensor.name, tensor.values[at]));
        }
        self.values[k] = Some(layout.ours(&tensor.values));
        Ok(())
    }

    /// Gives a layer's parameter one value throughout.
    fn fill(&mut self, i: usize, name: &str, value: f32) {
        if let Some(k) = self.index(i, name) {
            self.values[k] = Some(vec![value; self.graph.parameters[k].spec.shape.elements()]);
        }
    }

    /// All of them, or the first that nothing was given to.
    fn whole(self, notes: Vec<String>) -> Result<Weights, String> {
        let one = |(p, values): (&crate::net::Parameter, Option<Vec<f32>>)| match values {
            Some(values) if p.spec.is_saved() => Ok(values),
            None if p.spec.is_saved() => Err(format!("it has nothing for '{}'", p.name)),
            _ => Ok(Vec::new()),
        };
        let values = self.graph.parameters.iter().zip(self.values).map(one).collect::<Result<_, _>>()?;
        Ok(Weights { values, notes })
    }

    /// A parameter of a layer as another program has it; its values are ours.
    fn take(&self, i: usize, name: &str, values: &[Vec<f32>]) -> Option<Tensor> {
        let k = self.index(i, name)?;
        let layout = self.layout(i, k);
        let values = layout.theirs(&values[k]);
        Some(Tensor { name: self.graph.parameters[k].name.clone(), shape: layout.shape, values })
    }
}

/// A name out of a file, for a message: short, and with nothing that steers a terminal.
fn shown(name: impl AsRef<str>) -> String {
    let name = name.as_ref();
    let more = if name.chars().nth(80).is_some() { "…" } else { "" };
    name.chars().take(80).flat_map(char::escape_debug).collect::<String>() + more
}

/// At most ten of some names, and how many more there are.
fn some(names: &[String]) -> String {
    let more = if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
    names.iter().take(10).map(|n| format!("'{}'", shown(n))).collect::<Vec<_>>().join(", ") + &more
}
