//! Writes a graph as a program: its layers' operations, on values.

use super::plan::Kept;
use super::{Graph, Input, Labels, Node};
use crate::device::{Dtype, ImageGeometry, Shape, Slot, Tensor};
use crate::layer::{Io, Part, Phase, Tape};
use crate::op::{LoadImages, LoadLabels, Pass, Program, Step, Target, Value, Write};

/// How a batch is taken out of the feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// From the source's images to the net's.
    pub geometry: ImageGeometry,
    /// Multiplies what the mean is subtracted from.
    pub scale: f64,
}

/// A graph's program: the load, the forward pass, and in training the backward pass.
pub(super) fn write(graph: &Graph, kept: &Kept, load: Load, real: Dtype, phase: Phase) -> Program {
    let mut program = Program::new(graph.nodes.len());
    // The first buffers are the parameters, in their order: passes know them by that.
    let parameters: Vec<Value> = kept.parameters.iter().map(|t| program.placed(*t)).collect();
    let gradients: Vec<Option<Value>> = kept.gradients.iter().map(|t| t.map(|t| program.placed(t))).collect();
    let (metrics, feed) = (program.placed(kept.metrics), kept.feed);
    let images = program.value(graph.images, real);
    let labels = program.value(feed.labels.shape, feed.labels.dtype);
    let [x, places, mean, fed] = [feed.images, feed.places, feed.mean, feed.labels].map(|t| program.placed(t));
    let loads = [
        LoadImages { geometry: load.geometry, scale: load.scale, x, places, mean, y: images }.into(),
        LoadLabels { x: fed, y: labels }.into(),
    ];
    program.steps.extend(loads.map(|op| Step { op, node: graph.nodes.len(), pass: Pass::Load }));
    let mut ios = ios(graph, &mut program, (images, labels, metrics), (&parameters, &gradients), real, phase);
    let runs = |node: &Node| phase == Phase::Test || node.trains;
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| runs(n)) {
        forward(&mut program, i, node, &mut ios[i], real);
    }
    for (i, node) in graph.nodes.iter().enumerate().rev().filter(|(_, n)| phase == Phase::Train && n.learns) {
        backward(&mut program, i, node, &mut ios[i], real);
    }
    let read = graph.outputs().chain(graph.prediction()).chain(graph.shown.iter().copied());
    for i in read {
        if let Some(output) = program.outputs[i].filter(|_| runs(&graph.nodes[i]) && !graph.nodes[i].is_cost()) {
            program.read.push((output, Pass::Forward));
        }
    }
    program
}

/// Writes a layer's forward pass.
pub(super) fn forward(program: &mut Program, i: usize, node: &Node, io: &mut Io, real: Dtype) {
    let mut saved = Vec::new();
    node.layer.forward(&mut Tape::new(program, i, Pass::Forward, real, &mut saved), io);
    io.saved = saved;
    program.outputs[i] = io.output;
}

/// Writes a layer's backward pass.
pub(super) fn backward(program: &mut Program, i: usize, node: &Node, io: &mut Io, real: Dtype) {
    node.layer.backward(&mut Tape::new(program, i, Pass::Backward, real, &mut Vec::new()), io);
}

/// Values of each layer: what it reads and makes, forward and backward.
fn ios(
    graph: &Graph,
    program: &mut Program,
    (images, labels, metrics): (Value, Value, Value),
    (parameters, gradients): (&[Value], &[Option<Value>]),
    real: Dtype,
    phase: Phase,
) -> Vec<Io> {
    let nodes = &graph.nodes;
    let mut outputs: Vec<Option<Value>> = Vec::with_capacity(nodes.len());
    let mut ios: Vec<Io> = Vec::with_capacity(nodes.len());
    let mut counted = 0;
    for (i, node) in nodes.iter().enumerate() {
        let output = (!node.is_cost()).then(|| program.value(node.layer.output(), real));
        let read = |input: &Input| match *input {
            Input::Source(Part::Images) => images,
            Input::Source(Part::Labels) => labels,
            Input::Node(j) => outputs[j].expect("only costs have no output"),
        };
        let specs = node.layer.parameters();
        ios.push(Io {
            inputs: node.inputs.iter().map(read).collect(),
            output,
            parameters: node.parameters.iter().zip(&specs).map(|(&k, p)| parameters[k].reshaped(p.shape)).collect(),
            input_gradients: vec![None; node.inputs.len()],
            output_gradient: None,
            parameter_gradients: vec![None; node.parameters.len()],
            saved: Vec::new(),
            metrics: node.is_cost().then(|| {
                counted += node.metrics();
                metrics.part(counted - node.metrics(), node.metrics())
            }),
            phase,
            layer: i as u32,
        });
        outputs.push(output);
    }
    if phase == Phase::Train {
        let mut set = vec![false; gradients.len()];
        for i in (0..nodes.len()).rev().filter(|&i| nodes[i].learns) {
            // In backward order the first that writes a gradient sets it, the others add.
            for (slot, &k) in nodes[i].parameters.iter().enumerate() {
                let Some(gradient) = gradients[k] else { continue };
                let into = if std::mem::replace(&mut set[k], true) { Write::Add } else { Write::Set };
                let at = gradient.reshaped(ios[i].parameters[slot].shape);
                ios[i].parameter_gradients[slot] = Some(Target { at, into });
            }
            for (slot, input) in nodes[i].inputs.iter().enumerate() {
                let Input::Node(j) = *input else { continue };
                if !nodes[j].learns {
                    continue;
                }
                let target = match ios[j].output_gradient {
                    Some(at) => Target::add(at),
                    None => {
                        let at = program.value(nodes[j].layer.output(), real);
                        ios[j].output_gradient = Some(at);
                        Target::set(at)
                    }
                };
                ios[i].input_gradients[slot] = Some(target);
            }
        }
    }
    ios
}

/// Multiply-adds of a layer's forward pass on the whole batch, as it is in testing.
pub(super) fn multiply_adds(graph: &Graph, node: &Node) -> u64 {
    let mut program = Program::new(1);
    let anywhere = |shape: Shape, dtype: Dtype| Tensor::new(Slot(0), shape, dtype);
    let labels = |input: &Input| *input == Input::Source(Part::Labels) && matches!(graph.labels, Labels::Classes(_));
    let inputs: Vec<Tensor> =
        node.inputs.iter().map(|i| anywhere(graph.shape(*i), if labels(i) { Dtype::I32 } else { Dtype::F32 })).collect();
    let mut io = Io {
        inputs: inputs.into_iter().map(|t| program.placed(t)).collect(),
        output: (!node.is_cost()).then(|| program.value(node.layer.output(), Dtype::F32)),
        parameters: node.layer.parameters().iter().map(|p| program.value(p.shape, Dtype::F32)).collect(),
        input_gradients: Vec::new(),
        output_gradient: None,
        parameter_gradients: Vec::new(),
        saved: Vec::new(),
        metrics: node.is_cost().then(|| program.value(Shape::new(1, 1, 1, node.metrics()), Dtype::F32)),
        phase: Phase::Test,
        layer: 0,
    };
    forward(&mut program, 0, node, &mut io, Dtype::F32);
    program.steps.iter().map(|s| s.op.multiply_adds()).sum()
}
