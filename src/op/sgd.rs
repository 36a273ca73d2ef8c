//! The update of parameters.

use super::Describe;
use std::fmt::Write as _;

/// One parameter tensor's part of the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Multiplies the step's learning rate.
    pub rate: f64,
    /// Weight decay, its multiplier included.
    pub decay: f64,
    /// L1 decay, its multiplier included.
    pub l1_decay: f64,
    /// In place of the step's momentum.
    pub momentum: Option<f64>,
    /// Whether the weights go on by Nesterov's rule.
    pub nesterov: bool,
}

impl Update {
    /// The plain update, with the step's momentum.
    pub const fn new(rate: f64, decay: f64) -> Self {
        Self { rate, decay, l1_decay: 0.0, momentum: None, nesterov: false }
    }
}

impl Describe for Update {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = write!(text, " rate {} decay {}", self.rate, self.decay);
        if self.l1_decay != 0.0 {
            let _ = write!(text, " l1 {}", self.l1_decay);
        }
        if let Some(momentum) = self.momentum {
            let _ = write!(text, " momentum {momentum}");
        }
        if self.nesterov {
            text.push_str(" nesterov");
        }
    }
}

operation! {
    /// The momentum update of one parameter tensor: s = lr·rate·(g + decay·w + l1_decay·sign w), v ← momentum·v − s,
    /// w ← w + v; by Nesterov's rule w ← w + momentum·v − s with the new v (Sutskever et al. 2013, as in Caffe and PyTorch).
    /// With a factor, one real, g is multiplied by it first: what [`ClipFactor`](super::ClipFactor) made.
    SgdUpdate = "sgd_update" { update: Update }
    [ w: adds, g: reads, v: adds, factor: maybe_reads ]
}
