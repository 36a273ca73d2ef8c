//! Folding batch normalisation into the layer before it, for testing. With the running moments it is a scale and a shift of
//! each channel: y = a·x + s, a = gamma/√(variance + epsilon), s = beta − mean·a. A convolution has both already: its filters
//! are multiplied by a, and its biases become a·b + s. Predictions differ by rounding alone, and a pass over the output, 8 bytes
//! an element, is saved.
//!
//! [`Graph::fold`] finds the pairs, before memory is planned, and marks the normalisation as computed by the layer before
//! it; [`Net::fold_parameters`] changes filters and biases once they are loaded. A layer without biases keeps them where the
//! running mean was, which nobody reads any more.

use super::{Graph, Input, Net};
use crate::device;
use crate::layer::Role;

/// A layer that has taken in a normalisation: the parameters of both, by their indices in the graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    weights: usize,
    bias: usize,
    /// Whether the layer had biases before.
    had_bias: bool,
    affine: Option<[usize; 2]>,
    /// The running mean and variance.
    running: [usize; 2],
    epsilon: f64,
}

impl Graph {
    /// Takes batch normalisations into the layers before them, for a net that only tests. It runs as before once
    /// [`Net::fold_parameters`] has changed its parameters.
    pub fn fold(&mut self) {
        for norm in 0..self.nodes.len() {
            if let Some(fold) = self.fold_one(norm) {
                self.folds.push(fold);
            }
        }
    }

    /// Folds node `norm` into the one before it, where it is a normalisation that alone reads a layer which can take it.
    fn fold_one(&mut self, norm: usize) -> Option<Fold> {
        let Role::BatchNorm { epsilon, neuron } = self.nodes[norm].role() else { return None };
        let &[Input::Node(layer)] = self.nodes[norm].inputs.as_slice() else { return None };
        let own = &self.nodes[layer].parameters;
        let shared = |k: &usize| self.nodes.iter().filter(|n| n.parameters.contains(k)).count() > 1;
        let alone = self.consumers(layer).eq([norm]) && self.prediction() != Some(layer);
        if !alone || own.iter().chain(&self.nodes[norm].parameters).any(shared) {
            return None;
        }
        let (affine, running) = match *self.nodes[norm].parameters.as_slice() {
            [gamma, beta, mean, variance] => (Some([gamma, beta]), [mean, variance]),
            [mean, variance] => (None, [mean, variance]),
            _ => return None,
        };
        if !self.nodes[layer].layer.take_channel_map(neuron) {
            return None;
        }
        let own = &mut self.nodes[layer].parameters;
        let had_bias = own.len() > 1;
        if !had_bias {
            own.push(running[0]);
        }
        let (weights, bias) = (own[0], own[1]);
        self.nodes[norm].fused = true;
        Some(Fold { weights, bias, had_bias, affine, running, epsilon })
    }
}

impl Net {
    /// Changes the parameters of what [`Graph::fold`] has folded: once after each loading of all parameters.
    ///
    /// # Errors
    /// The device fails.
    pub fn fold_parameters(&mut self) -> device::Result<()> {
        for fold in self.graph.folds.clone() {
            let mut read = |k: usize| self.read(self.plan.parameters[k]);
            let [mean, variance] = [read(fold.running[0])?, read(fold.running[1])?];
            let (gamma, beta) = match fold.affine {
                Some([gamma, beta]) => (read(gamma)?, read(beta)?),
                None => (vec![1.0; mean.len()], vec![0.0; mean.len()]),
            };
            let (mut weights, mut bias) = (read(fold.weights)?, read(fold.bias)?);
            if !fold.had_bias {
                bias.fill(0.0);
            }
            let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + fold.epsilon).sqrt()).collect();
            let channels = scale.len();
            let each = weights.len() / channels;
            for (filter, a) in weights.chunks_exact_mut(each.max(1)).zip(&scale) {
                filter.iter_mut().for_each(|w| *w *= a);
            }
            // Untied biases are one a place, channel fastest.
            for (i, b) in bias.iter_mut().enumerate() {
                let c = i % channels;
                *b = scale[c] * (*b - mean[c]) + beta[c];
            }
            self.write(self.plan.parameters[fold.weights], &weights)?;
            self.write(self.plan.parameters[fold.bias], &bias)?;
        }
        Ok(())
    }
}
