//! Batch normalisation (Ioffe and Szegedy 2015).

use super::{Describe, Merge, Merging, Neuron, NeuronBackward, NeuronForward, Op, Target};
use std::fmt::Write as _;

/// How batch normalisation takes its moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// The weight of a batch in the running mean and variance.
    pub momentum: f64,
}

impl Describe for BatchNorm {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = write!(text, " epsilon {} momentum {}", self.epsilon, self.momentum);
    }
}

operation! {
    /// saved ← the mean of each of x's channels over images and places, then 1/√(variance + epsilon) of each: 2·c reals. The
    /// running mean and variance move towards the batch's: running ← (1 − momentum)·running + momentum·batch, of the variance
    /// the unbiased one, as in PyTorch. Exact also where the mean is large beside the deviation.
    BatchNormMoments = "batch_norm_moments" { norm: BatchNorm }
    [ x: reads, mean: adds, variance: adds, saved: writes ]
}

operation! {
    /// As [`BatchNormMoments`], of the running mean and variance, which stay.
    BatchNormRunning = "batch_norm_running" { epsilon: f64 }
    [ mean: reads, variance: reads, saved: writes ]
}

operation! {
    /// y ← neuron((x − mean)·spread·gamma + beta + residual), where `saved` holds the means and the spreads 1/√…; without gamma and
    /// beta as if they were 1 and 0. y may be x, or the residual.
    BatchNormApply = "batch_norm_apply" { neuron: Neuron }
    [ saved: reads, gamma: maybe_reads, beta: maybe_reads, x: reads, residual: maybe_reads, y: writes ]
    shares [ y: writes in x: reads, y: writes in residual: maybe_reads ]
    impl {
        fn parts(&self, fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Op<T>>> {
            let residual = self.residual?;
            let normed = fresh(&self.y);
            let how = Merging::Sum { a: 1.0, b: 1.0 };
            let mut parts = vec![
                Self { neuron: Neuron::NONE, residual: None, y: normed, ..*self }.into(),
                Merge { how, a: normed, b: residual, y: Target::set(self.y) }.into(),
            ];
            if self.neuron != Neuron::NONE {
                parts.push(NeuronForward { neuron: self.neuron, x: self.y, y: self.y }.into());
            }
            Some(parts)
        }
    }
}

operation! {
    /// The gradients of what a batch's own moments normalised, x̂ = (x − mean)·spread: dgamma ← Σ dy·x̂, dbeta ← Σ dy,
    /// dx ← gamma·spread·(dy − mean of dy − x̂·mean of dy·x̂); dx may be dy. With a neuron, dy is that of the neuron after the
    /// normalisation, and first multiplied by its derivative at gamma·x̂ + beta, which is computed again as
    /// [`BatchNormApply`] did; beta is read for that alone.
    BatchNormBackward = "batch_norm_backward" { neuron: Neuron }
    [
        x: reads, saved: reads, gamma: maybe_reads, beta: maybe_reads, dy: reads, dgamma: maybe_target, dbeta: maybe_target,
        dx: maybe_target,
    ]
    shares [ dx: maybe_target in dy: reads ]
    impl {
        fn parts(&self, fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Op<T>>> {
            if self.neuron == Neuron::NONE {
                return None;
            }
            let Self { neuron, x, saved, gamma, beta, dy, .. } = *self;
            let [y, masked] = [(); 2].map(|()| fresh(&self.dy));
            Some(vec![
                BatchNormApply { neuron, saved, gamma, beta, x, residual: None, y }.into(),
                NeuronBackward { neuron, seen: Some(y), dy, dx: Target::set(masked), db: None }.into(),
                Self { neuron: Neuron::NONE, beta: None, dy: masked, ..*self }.into(),
            ])
        }
    }
}
