//! One layer on a device of its own.

use super::{BOUND, LayerCheck, Options};
use crate::device::cpu::CpuDevice;
use crate::device::philox::{Purpose, Stream};
use crate::device::{Device, Dtype, METRIC_LOSS, Result, Shape, Slot, StepValues, Tensor};
use crate::layer::{Domain, ParameterRole, Role};
use crate::net::alone::{Alone, Variable, group};
use crate::net::{Graph, NO_SCRATCH, Node};
use crate::op::{Fill, Pass, Write};

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
    alone: Alone,
    /// The node that reads the inputs.
    first: usize,
    random: Stream,
    /// Inputs, without labels, and parameters: what can be varied, with its values.
    variables: Vec<(Variable, Vec<f64>)>,
    /// The output's gradient r.
    weights: Vec<f64>,
}

/// The gradients of all variables.
type Gradients = Vec<Vec<f64>>;

impl<'a> Bench<'a> {
    /// The graph's node `index` with random inputs and parameters.
    pub fn new(graph: &'a Graph, index: usize, options: &Options) -> Result<Self> {
        let mut device = CpuDevice::<f64>::new(0);
        let nodes = group(graph, index);
        let alone = Alone::new(graph, &nodes, &device);
        device.allocate(alone.bytes)?;
        for v in alone.variables.iter().filter(|v| v.gradient.is_none()) {
            if let Some(ParameterRole::Fixed(values)) = v.parameter.as_ref().map(|p| &p.role) {
                device.write(v.tensor, bytemuck::cast_slice(values))?;
            }
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
        let variables = alone.variables.iter().filter(|v| v.gradient.is_some()).map(|v| (v.clone(), Vec::new())).collect();
        let mut bench = Self { graph, index, device, alone, first: nodes[0], random, variables, weights: Vec::new() };
        bench.draw()?;
        Ok(bench)
    }

    fn node(&self) -> &'a Node {
        &self.graph.nodes[self.index]
    }

    /// Draws inputs, parameters and the output's gradient.
    fn draw(&mut self) -> Result<()> {
        self.draw_variables(self.graph.nodes[self.first].layer.domain())?;
        if self.forward()?.iter().any(|y| !y.is_finite()) {
            // Such as a neuron's root.
            self.draw_variables(Domain::Positive)?;
        }
        let outputs = self.alone.output.map_or(0, |[y, _]| y.shape.elements());
        self.weights = (0..outputs).map(|_| self.random.gaussian()).collect();
        Ok(())
    }

    fn draw_variables(&mut self, domain: Domain) -> Result<()> {
        for (v, values) in &mut self.variables {
            let weights = v.parameter.as_ref().filter(|p| !p.is_bias());
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
            *values = (0..v.tensor.shape.elements()).map(|_| draw()).collect();
            self.device.write(v.tensor, bytemuck::cast_slice(values))?;
        }
        let labels = self.alone.variables.iter().find(|v| v.gradient.is_none() && v.parameter.is_none());
        let Some(labels) = labels.map(|v| v.tensor) else { return Ok(()) };
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
        if let Some(x) = self.alone.metrics {
            self.device.run(&Fill { value: 0.0, x }.into(), NO_SCRATCH)?;
        }
        self.alone.run(&mut self.device, Pass::Forward, Write::Set)?;
        match (self.alone.output, self.alone.metrics, self.node().role()) {
            (Some([y, _]), ..) => self.read(y),
            (None, Some(metrics), Role::Cost { coefficient }) => {
                Ok(vec![coefficient * self.read(metrics)?[METRIC_LOSS] / self.graph.images.n as f64])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// All gradients of L, added to `known` or set where that is `None`.
    fn backward(&mut self, known: Option<&Gradients>) -> Result<Gradients> {
        let into = if known.is_some() { Write::Add } else { Write::Set };
        self.alone.run(&mut self.device, Pass::Forward, into)?;
        self.poison(into)?;
        for (i, (v, values)) in self.variables.iter().enumerate() {
            let nothing = vec![f64::NAN; values.len()];
            let gradient = v.gradient.expect("what is varied has a gradient");
            self.device.write(gradient, bytemuck::cast_slice(known.map_or(&nothing, |known| &known[i])))?;
        }
        if let Some([_, gradient]) = self.alone.output {
            self.device.write(gradient, bytemuck::cast_slice(&self.weights))?;
        }
        self.alone.run(&mut self.device, Pass::Backward, into)?;
        let gradients: Vec<Tensor> = self.variables.iter().filter_map(|(v, _)| v.gradient).collect();
        let gradients = gradients.into_iter().map(|g| self.read(g)).collect();
        for (v, values) in &self.variables {
            self.device.write(v.tensor, bytemuck::cast_slice(values))?;
        }
        gradients
    }

    /// Puts NaN where backward has nothing to read: in inputs, in the output, and in all that the program has for itself.
    fn poison(&mut self, into: Write) -> Result<()> {
        let read = self.alone.read_by_backward(into);
        let mut poison = |from: usize, to: usize| {
            self.device.write(Tensor::new(Slot(from), Shape::new(1, 1, 1, to - from), Dtype::U8), &vec![0xff; to - from])
        };
        let inputs = self.alone.variables.iter().filter(|v| v.parameter.is_none()).map(|v| v.tensor);
        for t in inputs.chain(self.alone.output.map(|[y, _]| y)).filter(|t| t.dtype == Dtype::F64) {
            let (from, to) = (t.slot.0, t.slot.0 + t.bytes());
            if !read.iter().any(|&[a, b]| a < to && from < b) {
                poison(from, to)?;
            }
        }
        let mut from = self.alone.kept;
        for &[a, b] in read.iter().chain([&[self.alone.bytes; 2]]) {
            if a > from {
                poison(from, a)?;
            }
            from = from.max(b);
        }
        Ok(())
    }

    fn read(&mut self, t: Tensor) -> Result<Vec<f64>> {
        let mut values = vec![0.0; t.shape.elements()];
        self.device.read(t, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// L with one element at `x`, as terms that are summed only after those of another x are taken from them: so what the
    /// element does not reach cancels exactly.
    fn outputs_at(&mut self, variable: usize, element: usize, x: f64) -> Result<Vec<f64>> {
        let t = self.variables[variable].0.tensor;
        let one = t.part(element, 1);
        self.device.write(one, bytemuck::bytes_of(&x))?;
        let outputs = self.forward();
        self.device.write(one, bytemuck::bytes_of(&self.variables[variable].1[element]))?;
        outputs
    }

    /// ∂L/∂x by central differences of step `h`.
    fn difference(&mut self, variable: usize, element: usize, h: f64) -> Result<f64> {
        let x = self.variables[variable].1[element];
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
        let shape = self.variables[i].0.tensor.shape;
        let place = |e: usize| {
            let (pixel, c) = (e / shape.c, e % shape.c);
            [pixel / shape.w / shape.h, pixel / shape.w % shape.h, pixel % shape.w, c]
        };
        let mut worst: Option<LayerCheck> = None;
        let checked = self.sample(set.len(), elements);
        let (name, kind, what) = (&self.node().name, &self.node().kind, self.variables[i].0.what.clone());
        let mut see = |e: usize, backward: f64, differences: f64, error: f64| {
            if worst.as_ref().is_none_or(|w| error > w.worst_relative_error) {
                let (name, kind, what) = (name.clone(), kind.clone(), what.clone());
                let (at, elements) = (place(e), checked.len());
                worst = Some(LayerCheck { name, kind, what, worst_relative_error: error, at, backward, differences, elements });
            }
        };
        for &e in &checked {
            let (mut best, mut differences) = (f64::INFINITY, f64::NAN);
            let x = self.variables[i].1[e];
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

/// |a − b| / max(|a|, |b|, floor); the largest number where one of them is none.
fn relative_error(a: f64, b: f64, floor: f64) -> f64 {
    let error = (a - b).abs() / a.abs().max(b.abs()).max(floor);
    if error.is_finite() { error } else { f64::MAX }
}
