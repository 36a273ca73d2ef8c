//! Hinge losses.

use super::Describe;
use std::fmt::Write as _;

/// A hinge loss of class scores x and a label y. With h(v) = max(0, v): Σ h(margin + x\[j] − x\[y]) over the other classes
/// (Weston and Watkins 1999), or one against all h(margin − x\[y]) + Σ h(margin + x\[j]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HingeLoss {
    /// One against all.
    pub one_vs_all: bool,
    /// h(v) is squared.
    pub squared: bool,
    /// How far apart scores should be.
    pub margin: f64,
}

impl Describe for HingeLoss {
    fn describe(&self, _name: &str, text: &mut String) {
        let [against, squared] =
            [(self.one_vs_all, " one against all"), (self.squared, " squared")].map(|(is, text)| if is { text } else { "" });
        let _ = write!(text, "{against}{squared} margin {}", self.margin);
    }
}

operation! {
    /// Adds the loss of each counted image to the metrics, and its errors as [`LogregForward`](super::LogregForward).
    HingeForward = "hinge_forward" { loss: HingeLoss }
    [ x: reads, labels: reads, metrics: adds ]
}

operation! {
    /// dx ← coefficient·gradient_scale·the gradient of [`HingeForward`] (or dx += …); 0 where a term is.
    HingeBackward = "hinge_backward" { loss: HingeLoss, coefficient: f64 }
    [ x: reads, labels: reads, dx: target ]
}
