//! Is each layer's backward pass the gradient of its forward pass? Finite differences in f64, layer by layer, as Caffe's
//! `GradientChecker` does.
//!
//! Each layer of a graph is taken alone, with random inputs and parameters, and given the loss L = Σ r·y with random r, so
//! that its output's gradient is r; a cost's loss is its coefficient times the mean over the images. What backward makes
//! of it is compared with (L(x + h) − L(x − h))/2h, one element x of an input or a parameter at a time. A neuron that rides
//! fused is checked as part of its layer, and alone.
//!
//! Backward runs twice: setting gradients where there is NaN, and adding to gradients that are known. Scratch, and what
//! [`backward_reads`](crate::layer::Layer::backward_reads) says is not read, is NaN by then.

mod bench;

use crate::device::Result;
use crate::net::Graph;
use bench::Bench;
use serde::Serialize;

/// A relative error from which on a gradient is wrong.
pub const BOUND: f64 = 1e-6;

/// Which layers to check, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the inputs, the parameters and the choice of elements.
    pub seed: u64,
    /// Elements of one tensor that are checked; all, where there are no more.
    pub elements: usize,
    /// Check only the layer of this name, with its neuron.
    pub layer: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, elements: 60, layer: None }
    }
}

/// What was found of one gradient of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCheck {
    /// The layer's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose gradient it is: `input 0`, `weights`, `bias`.
    pub what: String,
    /// The largest |a − b| / max(|a|, |b|, a thousandth of the tensor's largest gradient).
    pub worst_relative_error: f64,
    /// Where it is: the element's place along each axis.
    pub at: [usize; 4],
    /// The gradient there that backward computed.
    pub backward: f64,
    /// The gradient there by differences.
    pub differences: f64,
    /// Elements checked.
    pub elements: usize,
}

impl LayerCheck {
    /// Whether the gradient is right.
    pub fn is_right(&self) -> bool {
        self.worst_relative_error < BOUND
    }
}

/// Whether `--layer name` means the node: the layer itself, or the neuron that rides on it.
fn is_of_layer(node: &str, layer: &str) -> bool {
    node.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest == ".neuron")
}

/// Checks the gradients of the graph's layers. `progress` is told the layers done and their number.
///
/// # Errors
/// There is not the memory for a layer.
pub fn check(graph: &Graph, options: &Options, mut progress: impl FnMut(usize, usize)) -> Result<Vec<LayerCheck>> {
    let nodes = graph.nodes.len();
    let mut found = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if options.layer.as_ref().is_none_or(|l| is_of_layer(&node.name, l)) {
            found.extend(Bench::new(graph, i, options)?.check(options.elements)?);
        }
        progress(i + 1, nodes);
    }
    Ok(found)
}

/// The largest relative error of all; 0 of none.
pub fn worst(checks: &[LayerCheck]) -> f64 {
    checks.iter().map(|c| c.worst_relative_error).fold(0.0, f64::max)
}
