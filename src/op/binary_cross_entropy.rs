//! Binary cross entropy: outputs that are each true or not.

use super::Describe;
use std::fmt::Write as _;

/// How a binary cross entropy reads its outputs x, and weighs them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binary {
    /// p is σ(x), the output of a logistic neuron whose input x is read in its place; otherwise p is x.
    pub logistic: bool,
    /// w, the weight of what is positive.
    pub positive_weight: f64,
}

impl Describe for Binary {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = write!(text, "{} weight {}", if self.logistic { " logistic" } else { "" }, self.positive_weight);
    }
}

operation! {
    /// Adds −Σ w·t·log p + (1 − t)·log(1 − p) of each counted image's outputs to the metrics, and as its error the fraction of its
    /// outputs that are on the other side of ½ than their target; counts no top-5 errors.
    BinaryCrossEntropyForward = "binary_cross_entropy_forward" { binary: Binary }
    [ x: reads, target: reads, metrics: adds ]
}

operation! {
    /// dx ← coefficient·gradient_scale·((1 − t)·σ(x) − w·t·σ(−x)) of a logistic neuron's input, or
    /// coefficient·gradient_scale·((1 − t)/max(1 − x, 1e-30) − w·t/max(x, 1e-30)) of probabilities (or dx += …).
    BinaryCrossEntropyBackward = "binary_cross_entropy_backward" { binary: Binary, coefficient: f64 }
    [ x: reads, target: reads, dx: target ]
}

operation! {
    /// dt ← coefficient·gradient_scale·(log(1 − p) − w·log p) (or dt += …): the target's gradient.
    BinaryCrossEntropyTargetBackward = "binary_cross_entropy_target_backward" { binary: Binary, coefficient: f64 }
    [ x: reads, dt: target ]
}

operation! {
    /// Adds to counts, `[3][outputs of an image]` reals, over the counted images: true positives, false positives, false
    /// negatives. An output is declared positive where p > ½, and is where t > ½.
    CountDetections = "count_detections" { binary: Binary }
    [ x: reads, target: reads, counts: adds ]
}
