//! Response normalisation.

use super::Describe;
use crate::device::LrnGeometry;
use std::fmt::Write as _;

/// How response normalisation weighs its window: s = k + alpha·Σ seen², y = x·s^−beta. alpha is of one element: a config's,
/// divided by the elements of a whole window.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Response {
    pub alpha: f64,
    pub beta: f64,
    pub k: f64,
}

impl Describe for Response {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = write!(text, " alpha {} beta {} k {}", self.alpha, self.beta, self.k);
    }
}

operation! {
    /// y ← x·s^−beta, s = k + alpha·Σ seen² over the window of each element. `seen` is x where it is not given (Krizhevsky et al.
    /// 2012), or, within a map, how far x is from its neighbourhood's mean (Jarrett et al. 2009).
    LrnForward = "lrn_forward" { geometry: LrnGeometry, response: Response }
    [ x: reads, seen: maybe_reads, y: writes ]
}

operation! {
    /// dx ← dy·s^−beta and dseen ← −2·alpha·beta·seen·Σ dy·x·s^(−beta − 1) over the windows that hold each element. Without
    /// `seen` and dseen, where `seen` is x, the second is added to dx.
    LrnBackward = "lrn_backward" { geometry: LrnGeometry, response: Response }
    [ x: reads, seen: maybe_reads, dy: reads, dx: target, dseen: maybe_writes ]
}
