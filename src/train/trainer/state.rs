//! Checkpoints of a net: what is saved of it and of the data, and the way back. Tensors are found by name and must have the
//! net's extents.

use super::{Setup, Trainer};
use crate::data::{ImageShape, Normalisation};
use crate::device;
use crate::layer::ParameterRole;
use crate::net::{Graph, Net, Parameter};
use crate::train::checkpoint::{Checkpoint, DataState, HostTensor, State, Tested};
use crate::train::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the data's mean among the weights.
const MEAN: &str = "data.mean";

impl Trainer {
    /// Puts the net, and what was counted since the last line, where the checkpoint left them.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
        let net = &mut self.net;
        load_parameters(net, checkpoint, path)?;
        for i in 0..net.graph.parameters.len() {
            let Some(to) = net.plan.kept.momenta[i] else { continue };
            let name = momentum_name(&net.graph.parameters[i]);
            net.write(to, &find(&checkpoint.optimizer, &name, to.shape.elements(), path)?)?;
        }
        let metrics = net.plan.kept.metrics;
        net.write(metrics, &find(&checkpoint.optimizer, "metrics", metrics.shape.elements(), path)?)?;
        self.line_step = checkpoint.state.line_step;
        self.seconds = checkpoint.state.seconds;
        Ok(())
    }

    /// The whole state as a checkpoint.
    ///
    /// # Errors
    /// The device fails, or a parameter is no longer finite.
    pub fn checkpoint(&mut self, tested: Option<Tested>, metrics_bytes: u64) -> Result<Checkpoint> {
        self.clock();
        let (mut weights, mut optimizer) = (Vec::new(), Vec::new());
        for i in 0..self.net.graph.parameters.len() {
            let p = &self.net.graph.parameters[i];
            if !p.spec.is_saved() {
                continue;
            }
            let (name, momentum, shape) = (p.name.clone(), momentum_name(p), host_shape(p));
            weights.push(self.host_tensor(name, shape.clone(), self.net.plan.kept.parameters[i])?);
            if let Some(velocity) = self.net.plan.kept.momenta[i] {
                optimizer.push(self.host_tensor(momentum, shape, velocity)?);
            }
        }
        let metrics = self.net.plan.kept.metrics;
        optimizer.push(self.host_tensor("metrics".into(), vec![metrics.shape.elements()], metrics)?);
        weights.push(mean(&self.setup));
        let state = State {
            step: self.step,
            position: self.step * self.setup.spec.train.batch as u64,
            metrics_bytes,
            line_step: self.line_step,
            seconds: self.seconds,
            tested,
            ..first_state(&self.setup, &self.net.graph)
        };
        Ok(Checkpoint { weights, optimizer, state })
    }

    fn host_tensor(&mut self, name: String, shape: Vec<usize>, from: device::Tensor) -> Result<HostTensor> {
        let values: Vec<f32> = self.net.read(from)?.into_iter().map(|v| v as f32).collect();
        self.finite(&name, values.iter().all(|v| v.is_finite()))?;
        Ok(HostTensor { name, shape, values })
    }
}

/// The checkpoint of step 0 of a net whose parameters are these: one list a parameter of the graph, none of those that no
/// checkpoint has.
pub fn first_checkpoint(setup: &Setup, graph: &Graph, values: &[Vec<f32>]) -> Checkpoint {
    let (mut weights, mut optimizer) = (Vec::new(), Vec::new());
    for (p, values) in graph.parameters.iter().zip(values).filter(|(p, _)| p.spec.is_saved()) {
        let shape = host_shape(p);
        if p.learns() {
            optimizer.push(HostTensor { name: momentum_name(p), shape: shape.clone(), values: vec![0.0; values.len()] });
        }
        weights.push(HostTensor { name: p.name.clone(), shape, values: values.clone() });
    }
    let metrics = graph.costs().map(|i| graph.nodes[i].metrics()).sum();
    optimizer.push(HostTensor { name: "metrics".into(), shape: vec![metrics], values: vec![0.0; metrics] });
    weights.push(mean(setup));
    Checkpoint { weights, optimizer, state: first_state(setup, graph) }
}

/// The state of step 0.
fn first_state(setup: &Setup, graph: &Graph) -> State {
    State {
        format: 1,
        net: graph.name.clone(),
        step: 0,
        seed: setup.spec.train.seed,
        position: 0,
        metrics_bytes: 0,
        line_step: 0,
        seconds: 0.0,
        tested: None,
        data: data_state(setup),
        files: BTreeMap::new(),
        checksum: String::new(),
    }
}

/// The mean as the tensor that checkpoints have of it.
fn mean(setup: &Setup) -> HostTensor {
    let mean = &setup.normalisation.mean;
    HostTensor { name: MEAN.into(), shape: vec![mean.len()], values: mean.clone() }
}

/// The values of a graph's parameters in a checkpoint: one list a parameter, none of those that no checkpoint has.
///
/// # Errors
/// The checkpoint is of another net.
pub fn parameter_values(graph: &Graph, checkpoint: &Checkpoint, path: &Path) -> Result<Vec<Vec<f32>>> {
    let other = |what: String| Error::OtherNet { path: path.to_owned(), what };
    let of_one = |p: &Parameter| {
        if !p.spec.is_saved() {
            return Ok(Vec::new());
        }
        let tensor = checkpoint.weights.iter().find(|t| t.name == p.name && t.shape == host_shape(p));
        tensor.map(|t| t.values.clone()).ok_or_else(|| other(format!("it has no fitting '{}'", p.name)))
    };
    graph.parameters.iter().map(of_one).collect()
}

/// The data as a run sees it.
fn data_state(setup: &Setup) -> DataState {
    let ImageShape { h, w, c } = setup.data.shape();
    DataState {
        shape: [h, w, c],
        train_images: setup.data.train.len(),
        classes: setup.data.classes,
        class_names: setup.data.class_names.clone(),
        values: setup.data.train.values() > 0,
        scale: setup.normalisation.scale,
    }
}

/// Writes a checkpoint's parameters into a net.
///
/// # Errors
/// The checkpoint is of another net.
pub fn load_parameters(net: &mut Net, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    let other = |what: String| Error::OtherNet { path: path.to_owned(), what };
    for i in 0..net.graph.parameters.len() {
        let p = &net.graph.parameters[i];
        if !p.spec.is_saved() {
            continue;
        }
        let (name, shape) = (p.name.clone(), host_shape(p));
        let Some(tensor) = checkpoint.weights.iter().find(|t| t.name == name) else {
            return Err(other(format!("it has no '{name}'")));
        };
        if tensor.shape != shape {
            return Err(other(format!("its '{name}' is {:?}, the net's is {shape:?}", tensor.shape)));
        }
        let values: Vec<f64> = tensor.values.iter().map(|&v| f64::from(v)).collect();
        net.write(net.plan.kept.parameters[i], &values)?;
    }
    let known = |t: &&HostTensor| t.name != MEAN && !net.graph.parameters.iter().any(|p| p.name == t.name);
    match checkpoint.weights.iter().find(known) {
        Some(extra) => Err(other(format!("it has '{}', which the net has not", extra.name))),
        None => Ok(net.fold_parameters()?),
    }
}

/// The normalisation that a checkpoint was trained with.
///
/// # Errors
/// It has none.
pub fn normalisation_of(checkpoint: &Checkpoint, path: &Path) -> Result<Normalisation> {
    let mean = checkpoint.weights.iter().find(|t| t.name == MEAN).map(|t| t.values.clone());
    let [h, w, c] = checkpoint.state.data.shape;
    match mean {
        Some(mean) if mean.len() == c || mean.len() == h * w * c => {
            Ok(Normalisation { mean, scale: checkpoint.state.data.scale })
        }
        _ => Err(Error::Damaged { path: path.to_owned(), what: format!("{MEAN} does not fit the images") }),
    }
}

fn find(tensors: &[HostTensor], name: &str, elements: usize, path: &Path) -> Result<Vec<f64>> {
    match tensors.iter().find(|t| t.name == name && t.values.len() == elements) {
        Some(t) => Ok(t.values.iter().map(|&v| f64::from(v)).collect()),
        None => Err(Error::OtherNet { path: path.to_owned(), what: format!("it has no fitting '{name}'") }),
    }
}

fn momentum_name(p: &Parameter) -> String {
    format!("{}.momentum", p.name)
}

/// A parameter's extents as files have them: filters `[k, r, s, c]`, weights `[out, in]`, biases and what is one number a
/// channel `[k]`.
fn host_shape(p: &Parameter) -> Vec<usize> {
    let s = p.spec.shape;
    let all = [s.n, s.h, s.w, s.c];
    if p.spec.role != ParameterRole::Weights || (p.spec.fan_in == 1 && s.n == 1) {
        let first = all.iter().position(|&e| e != 1).unwrap_or(3);
        return all[first..].to_vec();
    }
    if s.h == 1 && s.w == 1 && p.spec.fan_in == s.c && p.spec.fan_out == s.n { vec![s.n, s.c] } else { all.to_vec() }
}
