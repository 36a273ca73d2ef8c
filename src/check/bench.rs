//! One layer on a device of its own.

use super::{BOUND, LayerCheck, Options};
use crate::device::cpu::CpuDevice;
use crate::device::philox::{Purpose, Stream};
use crate::device::{Device, Dtype, Into, METRIC_LOSS, Result, Shape, Slot, StepValues, Tensor};
use crate::layer::{Domain, Io, Layer, ParameterRole, ParameterSpec, Part, Pass, Phase, Role, Tensors};
use crate::net::{Graph, Input, Labels, Node};

/// Every tensor begins on such a boundary, as in a net's plan.
const ALIGNMENT: usize = 256;
/// Steps to try, in units of max(1, |x|), until one agrees. The first suits smooth functions of values about 1. Where it
/// crosses a kink (a relu's, a tie of a max pool's), a smaller one does not; where a large sum hides the difference, a
/// larger one shows it. A wrong gradient agrees with none.
const STEPS: [f64; 5] = [1e-5, 1e-6, 1e-7, 1e-4, 1e-3];
/// A relative error with which no other step is tried.
const GOOD: f64 = BOUND / 100.0;
/// Gradients smaller than this share of the tensor's largest are compared with that.
const FLOOR: f64 = 1e-3;

/// A layer with its tensors.
pub(super) struct Bench<'a> {
    graph: &'a Graph,
    index: usize,
    device: CpuDevice<f64>,
    tensors: Tensors,
    /// The tensors of the neuron that the layer's forward pass computes; its gradient is a pass of its own.
    neuron: Option<Tensors>,
    random: Stream,
    /// Inputs, without labels, and parameters: what can be varied.
    variables: Vec<Variable>,
    /// The output's gradient r.
    weights: Vec<f64>,
}

/// An input or a parameter.
struct Variable {
    what: String,
    tensor: Tensor,
    gradient: Tensor,
    values: Vec<f64>,
}

/// Puts tensors one behind the other.
#[derive(Default)]
struct Layout {
    bytes: usize,
}

impl Layout {
    fn put(&mut self, shape: Shape, dtype: Dtype) -> Tensor {
        let t = Tensor { slot: Slot(self.bytes), shape, dtype };
        self.bytes += t.bytes().next_multiple_of(ALIGNMENT);
        t
    }
}

/// The gradients of all variables.
type Gradients = Vec<Vec<f64>>;

impl<'a> Bench<'a> {
    /// The graph's node `index` with random inputs and parameters.
    pub fn new(graph: &'a Graph, index: usize, options: &Options) -> Result<Self> {
        let node = &graph.nodes[index];
        let mut device = CpuDevice::<f64>::new(0);
        let mut layout = Layout::default();
        let (mut variables, mut constants) = (Vec::new(), Vec::new());
        let mut tensors = Tensors::default();
        for (i, &input) in node.inputs.iter().enumerate() {
            let labels = input == Input::Source(Part::Labels);
            let classes = labels && matches!(graph.labels, Labels::Classes(_));
            let tensor = layout.put(graph.shape(input), if classes { Dtype::I32 } else { Dtype::F64 });
            tensors.inputs.push(tensor);
            let gradient = (!labels).then(|| layout.put(tensor.shape, Dtype::F64));
            tensors.input_gradients.push(gradient.map(|g| (g, Into::Set)));
            variables.extend(gradient.map(|gradient| Variable {
                what: format!("input {i}"),
                tensor,
                gradient,
                values: Vec::new(),
            }));
        }
        for p in node.layer.parameters() {
            let [tensor, gradient] = [(); 2].map(|()| layout.put(p.shape, Dtype::F64));
            tensors.parameters.push(tensor);
            tensors.parameter_gradients.push(p.is_learned().then_some((gradient, Into::Set)));
            if p.is_learned() {
                variables.push(Variable { what: p.name.into_owned(), tensor, gradient, values: Vec::new() });
            } else {
                let values = match p.role {
                    ParameterRole::Fixed(values) => values,
                    _ => vec![0.0; tensor.shape.elements()],
                };
                constants.push((tensor, values));
            }
        }
        if node.is_cost() {
            tensors.metrics = Some(layout.put(Shape::new(1, 1, 1, node.metrics()), Dtype::F64));
        } else {
            let [output, gradient] = [(); 2].map(|()| layout.put(node.layer.output(), Dtype::F64));
            (tensors.output, tensors.output_gradient) = (Some(output), Some(gradient));
        }
        let mut scratch = |pass| layout.put(Shape::new(1, 1, 1, node.layer.scratch(&device, pass)), Dtype::U8);
        tensors.forward_scratch = Some(scratch(Pass::Forward));
        tensors.backward_scratch = Some(scratch(Pass::Backward));
        // As in a plan, the neuron's output is its input's place, and its gradients share one too.
        let neuron = riding(graph, index).map(|_| Tensors {
            inputs: vec![tensors.output.expect("a layer with a neuron has an output")],
            output: tensors.output,
            input_gradients: vec![tensors.output_gradient.map(|g| (g, Into::Set))],
            output_gradient: tensors.output_gradient,
            ..Tensors::default()
        });
        tensors.kept = Some(layout.put(Shape::new(1, 1, 1, node.layer.kept()), Dtype::F64));
        device.allocate(layout.bytes)?;
        for (tensor, values) in constants {
            device.write(tensor, bytemuck::cast_slice(&values))?;
        }
        device.set_step(StepValues {
            seed: options.seed,
            step: 0,
            first_image: 0,
            images: graph.images.n as u32,
            gradient_scale: 1.0 / graph.images.n as f64,
            learning_rate: 0.0,
            momentum: 0.0,
        })?;
        let random = Stream::new(options.seed, Purpose::Data, index as u32, 0);
        let mut bench = Self { graph, index, device, tensors, neuron, random, variables, weights: Vec::new() };
        bench.draw()?;
        Ok(bench)
    }

    fn node(&self) -> &'a Node {
        &self.graph.nodes[self.index]
    }

    /// Draws inputs, parameters and the output's gradient.
    fn draw(&mut self) -> Result<()> {
        self.draw_variables(self.node().layer.domain())?;
        if self.forward()?.iter().any(|y| !y.is_finite()) {
            // Such as a neuron's root.
            self.draw_variables(Domain::Positive)?;
        }
        let outputs = self.tensors.output.map_or(0, |y| y.shape.elements());
        self.weights = (0..outputs).map(|_| self.random.gaussian()).collect();
        Ok(())
    }

    fn draw_variables(&mut self, domain: Domain) -> Result<()> {
        let parameters: Vec<_> = self.node().layer.parameters().into_iter().filter(ParameterSpec::is_learned).collect();
        let first = self.variables.len() - parameters.len();
        for (i, v) in self.variables.iter_mut().enumerate() {
            let weights = i.checked_sub(first).map(|p| &parameters[p]).filter(|p| !p.is_bias());
            // Outputs of about 1, where neurons are neither flat nor straight.
            let scale = weights.map_or(1.0, |p| 1.0 / (p.fan_in as f64).sqrt());
            let mut draw = || {
                let g = self.random.gaussian();
                scale
                    * match domain {
                        Domain::Reals => g,
                        Domain::Positive => g.exp(),
                        Domain::Unit => 1.0 / (1.0 + (-g).exp()),
                    }
            };
            v.values = (0..v.tensor.shape.elements()).map(|_| draw()).collect();
            self.device.write(v.tensor, bytemuck::cast_slice(&v.values))?;
        }
        let Some(labels) = self.node().inputs.iter().position(|i| *i == Input::Source(Part::Labels)) else { return Ok(()) };
        let labels = self.tensors.inputs[labels];
        let count = labels.shape.elements();
        if labels.dtype == Dtype::I32 {
            let classes = self.node().layer.classes().unwrap_or(2) as u32;
            let classes: Vec<i32> = (0..count).map(|_| self.random.below(classes) as i32).collect();
            self.device.write(labels, bytemuck::cast_slice(&classes))
        } else {
            let values: Vec<f64> = (0..count).map(|_| self.random.uniform()).collect();
            self.device.write(labels, bytemuck::cast_slice(&values))
        }
    }

    /// The output, or a cost's loss.
    fn forward(&mut self) -> Result<Vec<f64>> {
        let out = self.tensors.output.or(self.tensors.metrics).expect("a layer has an output, a cost metrics");
        if let Some(metrics) = self.tensors.metrics {
            self.device.fill(metrics, 0.0)?;
        }
        let io = Io { tensors: &self.tensors, phase: Phase::Train, accumulate: Into::Set, layer: self.index as u32 };
        self.graph.nodes[self.index].layer.forward(&mut self.device, &io)?;
        let values = self.read(out)?;
        Ok(match self.node().role() {
            Role::Cost { coefficient } => vec![coefficient * values[METRIC_LOSS] / self.graph.images.n as f64],
            _ => values,
        })
    }

    /// All gradients of L, added to `known` or set where that is `None`.
    fn backward(&mut self, known: Option<&Gradients>) -> Result<Gradients> {
        let into = if known.is_some() { Into::Add } else { Into::Set };
        self.forward()?;
        self.poison()?;
        for (i, v) in self.variables.iter().enumerate() {
            match known {
                Some(known) => self.device.write(v.gradient, bytemuck::cast_slice(&known[i]))?,
                None => self.device.fill(v.gradient, f64::NAN)?,
            }
        }
        if let Some(gradient) = self.tensors.output_gradient {
            self.device.write(gradient, bytemuck::cast_slice(&self.weights))?;
        }
        if let Some((neuron, tensors)) = riding(self.graph, self.index).zip(self.neuron.as_ref()) {
            let io = Io { tensors, phase: Phase::Train, accumulate: Into::Set, layer: self.index as u32 + 1 };
            neuron.backward(&mut self.device, &io)?;
        }
        let mut tensors = self.tensors.clone();
        tensors.input_gradients.iter_mut().flatten().for_each(|(_, i)| *i = into);
        let io = Io { tensors: &tensors, phase: Phase::Train, accumulate: into, layer: self.index as u32 };
        self.graph.nodes[self.index].layer.backward(&mut self.device, &io)?;
        let gradients = (0..self.variables.len()).map(|i| self.read(self.variables[i].gradient)).collect();
        for v in &self.variables {
            self.device.write(v.tensor, bytemuck::cast_slice(&v.values))?;
        }
        gradients
    }

    /// Puts NaN where backward has nothing to read.
    fn poison(&mut self) -> Result<()> {
        let reads = self.node().layer.backward_reads();
        let seen = riding(self.graph, self.index).is_some_and(|n| n.backward_reads().output);
        let inputs = self.tensors.inputs.iter().filter(|t| !reads.inputs && t.dtype == Dtype::F64);
        let output = self.tensors.output.iter().filter(|_| !reads.output && !seen);
        for &t in inputs.chain(output) {
            self.device.fill(t, f64::NAN)?;
        }
        let scratch = self.tensors.backward_scratch.expect("a layer has scratch, if of no bytes");
        self.device.write(scratch, &vec![0xff; scratch.bytes()])
    }

    fn read(&mut self, t: Tensor) -> Result<Vec<f64>> {
        let mut values = vec![0.0; t.shape.elements()];
        self.device.read(t, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// L with one element at `x`, as terms that are summed only after those of another x are taken from them: so what the
    /// element does not reach cancels exactly.
    fn outputs_at(&mut self, variable: usize, element: usize, x: f64) -> Result<Vec<f64>> {
        let t = self.variables[variable].tensor;
        let slot = Slot(t.slot.0 + element * size_of::<f64>());
        let one = Tensor { slot, shape: Shape::new(1, 1, 1, 1), dtype: Dtype::F64 };
        self.device.write(one, bytemuck::bytes_of(&x))?;
        let outputs = self.forward();
        self.device.write(one, bytemuck::bytes_of(&self.variables[variable].values[element]))?;
        outputs
    }

    /// ∂L/∂x by central differences of step `h`.
    fn difference(&mut self, variable: usize, element: usize, h: f64) -> Result<f64> {
        let x = self.variables[variable].values[element];
        let (high, low) = (x + h, x - h);
        let (above, below) = (self.outputs_at(variable, element, high)?, self.outputs_at(variable, element, low)?);
        let differences = above.iter().zip(&below).map(|(a, b)| a - b);
        let sum: f64 = match self.weights.as_slice() {
            [] => differences.sum(),
            r => differences.zip(r).map(|(d, r)| d * r).sum(),
        };
        // The step as it was taken, rounding included.
        Ok(sum / (high - low))
    }

    /// Compares every gradient with differences at up to `elements` elements.
    pub fn check(mut self, elements: usize) -> Result<Vec<LayerCheck>> {
        let set = self.backward(None)?;
        let mut known = set.clone();
        for v in known.iter_mut().flatten() {
            *v = self.random.gaussian();
        }
        let sums = self.backward(Some(&known))?;
        (0..set.len()).map(|i| self.check_variable(i, &set[i], &known[i], &sums[i], elements)).collect()
    }

    fn check_variable(&mut self, i: usize, set: &[f64], known: &[f64], sums: &[f64], elements: usize) -> Result<LayerCheck> {
        let floor = FLOOR * set.iter().fold(f64::MIN_POSITIVE, |m, g| m.max(g.abs()));
        let shape = self.variables[i].tensor.shape;
        let place = |e: usize| {
            let (pixel, c) = (e / shape.c, e % shape.c);
            [pixel / shape.w / shape.h, pixel / shape.w % shape.h, pixel % shape.w, c]
        };
        let mut worst: Option<LayerCheck> = None;
        let checked = self.sample(set.len(), elements);
        let (name, kind, what) = (&self.node().name, &self.node().kind, self.variables[i].what.clone());
        let mut see = |e: usize, backward: f64, differences: f64, error: f64| {
            if worst.as_ref().is_none_or(|w| error > w.worst_relative_error) {
                let (name, kind, what) = (name.clone(), kind.clone(), what.clone());
                let (at, elements) = (place(e), checked.len());
                worst = Some(LayerCheck { name, kind, what, worst_relative_error: error, at, backward, differences, elements });
            }
        };
        for &e in &checked {
            let (mut best, mut differences) = (f64::INFINITY, f64::NAN);
            let x = self.variables[i].values[e];
            for step in STEPS {
                // Near 0 a positive variable's step stays on its side.
                let d = self.difference(i, e, step * x.abs().max(1.0))?;
                let error = relative_error(set[e], d, floor);
                if error < best || differences.is_nan() {
                    (best, differences) = (error, d);
                }
                if best < GOOD {
                    break;
                }
            }
            see(e, set[e], differences, best);
        }
        for (e, ((&set, &known), &sum)) in set.iter().zip(known).zip(sums).enumerate() {
            // The sum is rounded as numbers of its size are.
            let error = relative_error(sum - known, set, floor.max(known.abs() * 1e-6));
            see(e, sum - known, set, error);
        }
        Ok(worst.expect("a tensor has elements"))
    }

    /// All of `size` elements, or so many random ones of them, in order.
    fn sample(&mut self, size: usize, elements: usize) -> Vec<usize> {
        if size <= elements {
            return (0..size).collect();
        }
        let mut chosen = std::collections::BTreeSet::new();
        while chosen.len() < elements {
            chosen.insert(self.random.below(u32::try_from(size).unwrap_or(u32::MAX)) as usize);
        }
        chosen.into_iter().collect()
    }
}

/// The neuron that node `index` computes in its own forward pass.
fn riding(graph: &Graph, index: usize) -> Option<&dyn Layer> {
    let next = graph.nodes.get(index + 1)?;
    (next.fused && next.inputs == [Input::Node(index)]).then_some(next.layer.as_ref())
}

/// |a − b| / max(|a|, |b|, floor); the largest number where one of them is none.
fn relative_error(a: f64, b: f64, floor: f64) -> f64 {
    let error = (a - b).abs() / a.abs().max(b.abs()).max(floor);
    if error.is_finite() { error } else { f64::MAX }
}
