//! A layer by itself: with what it reads, makes and learns in places that are kept, for gradient checks and benchmarks of single
//! layers. What belongs to it comes along: the neuron that rides on it, or the softmax or logistic neuron that a cost is the cost
//! of, so that passes fuse them as in the whole net.

use super::plan::{Layout, Planned, place};
use super::{Graph, Input, Labels, Node, passes, writer};
use crate::device::{self, Device, Dtype, Shape, Tensor};
use crate::layer::{Io, ParameterSpec, Part, Phase, Role};
use crate::op::{Access, Neuron, Pass, Program, Target, Write};

/// What a layer reads or learns.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    /// `input 0`, or the parameter's name.
    pub what: String,
    /// Its tensor.
    pub tensor: Tensor,
    /// Where its gradient goes; `None` for labels and for what is not learned.
    pub gradient: Option<Tensor>,
    /// The parameter that it is.
    pub parameter: Option<ParameterSpec>,
}

/// A layer by itself.
#[derive(Debug)]
pub(crate) struct Alone {
    /// What it reads, then what it learns or keeps.
    pub variables: Vec<Variable>,
    /// Its output and that one's gradient; a cost has neither.
    pub output: Option<[Tensor; 2]>,
    /// A cost's metrics.
    pub metrics: Option<Tensor>,
    /// Its passes in training, which set the gradients of its variables.
    pub train: Planned,
    /// The same, which add to them.
    pub adds: Planned,
    /// Its forward pass in testing.
    pub test: Planned,
    /// Bytes of all that is kept; the programs' own values come after it.
    pub kept: usize,
    /// Bytes of the one allocation.
    pub bytes: usize,
}

/// The nodes of a graph that are run with one: that one and its neuron, or what it is the cost of and that one.
pub(crate) fn group(graph: &Graph, node: usize) -> Vec<usize> {
    let rides = |next: &Node| matches!(next.role(), Role::Neuron(n) if next.rides && !n.derivative_reads_input());
    if graph.nodes.get(node + 1).is_some_and(rides) {
        return vec![node, node + 1];
    }
    match (graph.nodes[node].is_cost(), graph.nodes[node].inputs[0]) {
        (true, Input::Node(i)) if matches!(graph.nodes[i].role(), Role::Softmax | Role::Neuron(Neuron::Logistic)) => {
            vec![i, node]
        }
        _ => vec![node],
    }
}

impl Alone {
    /// Plans a [`group`] of nodes, each of which but the first reads the one before.
    pub fn new(graph: &Graph, nodes: &[usize], device: &dyn Device) -> Self {
        let (real, mut layout) = (device.real(), Layout::default());
        let (mut inputs, mut parameters) = (Vec::new(), Vec::new());
        for (k, &i) in nodes.iter().enumerate() {
            for &input in &graph.nodes[i].inputs {
                if k > 0 && input == Input::Node(nodes[k - 1]) {
                    continue;
                }
                let labels = input == Input::Source(Part::Labels);
                let classes = labels && matches!(graph.labels, Labels::Classes(_));
                let tensor = layout.put(graph.shape(input), if classes { Dtype::I32 } else { real });
                let gradient = (!labels).then(|| layout.put(tensor.shape, real));
                inputs.push(Variable { what: format!("input {}", inputs.len()), tensor, gradient, parameter: None });
            }
            for p in graph.nodes[i].layer.parameters() {
                let tensor = layout.put(p.shape, real);
                let gradient = p.is_learned().then(|| layout.put(p.shape, real));
                parameters.push(Variable { what: p.name.to_string(), tensor, gradient, parameter: Some(p) });
            }
        }
        let last = &graph.nodes[nodes[nodes.len() - 1]];
        let output = (!last.is_cost()).then(|| [(); 2].map(|()| layout.put(last.layer.output(), real)));
        let metrics = last.is_cost().then(|| layout.put(Shape::new(1, 1, 1, last.metrics()), real));
        let kept = layout.bytes;
        let mut alone = Self {
            variables: inputs.into_iter().chain(parameters).collect(),
            output,
            metrics,
            train: Planned::default(),
            adds: Planned::default(),
            test: Planned::default(),
            kept,
            bytes: 0,
        };
        let mut planned = |phase, into| {
            let mut program = alone.program(graph, nodes, real, phase, into);
            passes::run(&mut program, graph, device, None);
            let (planned, bytes) = place(&program, device, kept, graph.share);
            alone.bytes = alone.bytes.max(bytes);
            planned
        };
        let train = planned(Phase::Train, Write::Set);
        let adds = planned(Phase::Train, Write::Add);
        let test = planned(Phase::Test, Write::Set);
        (alone.train, alone.adds, alone.test) = (train, adds, test);
        alone
    }

    fn program(&self, graph: &Graph, nodes: &[usize], real: Dtype, phase: Phase, into: Write) -> Program {
        let mut program = Program::new(graph.nodes.len());
        let mut place = |v: &Variable| (program.placed(v.tensor), v.gradient.map(|g| Target { at: program.placed(g), into }));
        let placed: Vec<_> = self.variables.iter().map(&mut place).collect();
        let (inputs, parameters) = placed.split_at(self.variables.iter().filter(|v| v.parameter.is_none()).count());
        let (mut inputs, mut parameters) = (inputs.iter().copied(), parameters.iter().copied());
        let mut before: Option<(usize, crate::op::Value, crate::op::Value)> = None;
        let mut ios: Vec<(usize, Io)> = Vec::new();
        for (k, &i) in nodes.iter().enumerate() {
            let node = &graph.nodes[i];
            let mut read = |input: &Input| match before {
                Some((j, output, gradient)) if *input == Input::Node(j) => (output, Some(Target::set(gradient))),
                _ => inputs.next().expect("there is a tensor for each input"),
            };
            let (values, input_gradients) = node.inputs.iter().map(&mut read).unzip();
            let (own, parameter_gradients) = node.layer.parameters().iter().filter_map(|_| parameters.next()).unzip();
            let made = match self.output {
                Some(places) if k + 1 == nodes.len() => Some(places.map(|t| program.placed(t))),
                None if k + 1 == nodes.len() => None,
                _ => Some([(); 2].map(|()| program.value(node.layer.output(), real))),
            };
            before = made.map(|[output, gradient]| (i, output, gradient));
            let io = Io {
                inputs: values,
                output: made.map(|m| m[0]),
                parameters: own,
                input_gradients,
                output_gradient: made.map(|m| m[1]),
                parameter_gradients,
                saved: Vec::new(),
                metrics: self.metrics.filter(|_| node.is_cost()).map(|t| program.placed(t)),
                phase,
                layer: i as u32,
            };
            ios.push((i, io));
        }
        for (i, io) in &mut ios {
            writer::forward(&mut program, *i, &graph.nodes[*i], io, real);
        }
        for (i, io) in ios.iter_mut().rev().filter(|_| phase == Phase::Train) {
            writer::backward(&mut program, *i, &graph.nodes[*i], io, real);
        }
        program
    }

    /// Queues a pass of training; `into` says whether the gradients of its variables are set or added to.
    pub fn run(&self, device: &mut dyn Device, pass: Pass, into: Write) -> device::Result<()> {
        let program = if into == Write::Add { &self.adds } else { &self.train };
        program.pass(pass).try_for_each(|(step, scratch)| device.run(&step.op, *scratch))
    }

    /// The bytes, [from, to), that the backward pass reads of what the forward pass or its caller left.
    pub fn read_by_backward(&self, into: Write) -> Vec<[usize; 2]> {
        let mut read = Vec::new();
        let program = if into == Write::Add { &self.adds } else { &self.train };
        for (step, _) in program.pass(Pass::Backward) {
            step.op.operands(&mut |access, t| {
                if access != Access::Writes {
                    read.push([t.slot.0, t.slot.0 + t.span()]);
                }
            });
        }
        read.sort_unstable();
        read
    }
}
