//! Folding batch normalisation into the layer before it, for testing. With the running moments it is a scale and a shift of
//! each channel: y = a·x + s, a = gamma/√(variance + epsilon), s = beta − mean·a. A convolution has both already: its filters
//! are multiplied by a, and its biases become a·b + s. Predictions differ by rounding alone, and a pass over the output, 8 bytes
//! an element, is saved.
//!
//! [`fold`] changes the program; [`Net::fold_parameters`] changes filters and biases once they are loaded. A layer without biases
//! keeps them where the running mean was, which nobody reads any more.

use super::uses;
use crate::device;
use crate::net::{Graph, Net};
use crate::op::{Access, BatchNormApply, BatchNormRunning, Neuron, Op, Program, Value, Write};

/// A layer that has taken in a normalisation: the parameters of both, by their indices in the graph.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    /// The node of the layer.
    pub layer: usize,
    /// The node of the normalisation.
    pub norm: usize,
    /// The layer's weights, output channel outermost.
    pub weights: usize,
    /// Its biases: one a channel, or one a place and channel.
    pub bias: usize,
    /// Whether it had biases before.
    had_bias: bool,
    /// gamma and beta.
    affine: Option<[usize; 2]>,
    /// The running mean and variance.
    running: [usize; 2],
    epsilon: f64,
}

/// Takes batch normalisations into what they alone read, in a program that only tests.
pub(super) fn fold(program: &mut Program, graph: &Graph) -> Vec<Fold> {
    let uses = uses(program);
    let mut folds = Vec::new();
    let mut folded = vec![false; program.steps.len()];
    for j in 0..program.steps.len() {
        let Op::BatchNormApply(apply) = program.steps[j].op else { continue };
        let running = program.steps[..j].iter().enumerate().rev().find_map(|(at, s)| match s.op {
            Op::BatchNormRunning(r) if r.saved.slot == apply.saved.slot => Some((at, r)),
            _ => None,
        });
        let ([made, read], Some((at, running))) = (uses[apply.x.slot.buffer].as_slice(), running) else { continue };
        if !program.is_whole(&apply.x) || (made.access, read.access, read.step) != (Access::Writes, Access::Reads, j) {
            continue;
        }
        let (before, norm) = (program.steps[made.step], program.steps[j].node);
        let Some((op, weights, bias)) = with_map(&before.op, &apply, &running) else { continue };
        let of = |v: Value| v.slot.buffer;
        let affine = apply.gamma.zip(apply.beta).map(|(gamma, beta)| [of(gamma), of(beta)]);
        let running_at = [of(running.mean), of(running.variance)];
        let all = [weights, of(bias.0)].into_iter().chain(affine.into_iter().flatten()).chain(running_at);
        let shared = |k: usize| graph.nodes.iter().filter(|n| n.parameters.contains(&k)).count() > 1;
        if all.into_iter().any(|k| k >= graph.parameters.len() || shared(k)) {
            continue;
        }
        program.steps[made.step].op = op;
        program.forget(apply.x);
        (folded[at], folded[j]) = (true, true);
        folds.push(Fold {
            layer: before.node,
            norm,
            weights,
            bias: of(bias.0),
            had_bias: bias.1,
            affine,
            running: running_at,
            epsilon: running.epsilon,
        });
    }
    program.remove(&folded);
    folds
}

/// The operation that ends with a normalisation's map of each channel, its weights, and its biases with whether it had them.
fn with_map(
    op: &Op<Value>,
    apply: &BatchNormApply<Value>,
    running: &BatchNormRunning<Value>,
) -> Option<(Op<Value>, usize, (Value, bool))> {
    let mut op = *op;
    let (neuron, y, bias, weights) = match &mut op {
        Op::ConvForward(c) => (&mut c.neuron, &mut c.y, &mut c.b, c.w),
        Op::LocalForward(l) if l.geometry.p * l.geometry.q == 1 => (&mut l.neuron, &mut l.y, &mut l.b, l.w),
        Op::Product(p) if p.c.into == Write::Set => (&mut p.neuron, &mut p.c.at, &mut p.bias, p.b),
        _ => return None,
    };
    if *neuron != Neuron::NONE || y.shape.c != apply.x.shape.c {
        return None;
    }
    (*neuron, *y) = (apply.neuron, apply.y.reshaped(y.shape));
    let had_bias = bias.is_some();
    let of = *bias.get_or_insert(running.mean);
    Some((op, weights.slot.buffer, (of, had_bias)))
}

impl Net {
    /// Gives the graph's layers the biases that folding gave their operations, for who writes the net for other programs; answers
    /// the nodes of the normalisations that are in them.
    pub fn fold_graph(&mut self) -> Vec<usize> {
        for fold in self.plan.folds.iter().filter(|fold| !fold.had_bias) {
            self.graph.nodes[fold.layer].parameters.push(fold.bias);
        }
        self.plan.folds.iter().map(|fold| fold.norm).collect()
    }

    /// Changes the parameters of what [`fold`] has folded: once after each loading of all parameters.
    ///
    /// # Errors
    /// The device fails.
    pub fn fold_parameters(&mut self) -> device::Result<()> {
        for fold in self.plan.folds.clone() {
            let mut read = |k: usize| self.read(self.plan.kept.parameters[k]);
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
            self.write(self.plan.kept.parameters[fold.weights], &weights)?;
            self.write(self.plan.kept.parameters[fold.bias], &bias)?;
        }
        Ok(())
    }
}
