//! Fully connected layers whose weights are masked for each image by itself (Wan et al. 2013). The masks are made anew in each
//! of the three passes.

use super::Describe;
use std::fmt::Write as _;

/// The masks: weight e = output·inputs + input has the factor 1/keep for image j where the Philox number of (seed, step, stream,
/// first_image + j, e) is below keep, and 0 where it is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropConnect {
    /// Stands for the layer, and keeps its inputs apart.
    pub stream: u32,
    /// The probability that a weight is kept, above 0.
    pub keep: f64,
}

impl DropConnect {
    /// Of 2²⁴ equally likely numbers, those below it are kept.
    pub fn threshold(&self) -> u32 {
        (self.keep * 16_777_216.0).ceil() as u32
    }
}

impl Describe for DropConnect {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = write!(text, " stream {} keep {}", self.stream, self.keep);
    }
}

operation! {
    /// y ← Σ m·w·x + b over the inputs (or y += …). x: `[n, in]`, w: `[out, in]`, b: out values, y: `[n, out]`.
    DropConnectForward = "drop_connect_forward" { masks: DropConnect }
    [ x: reads, w: reads, b: maybe_reads, y: target ]
}

operation! {
    /// dx ← Σ m·w·dy over the outputs (or dx += …).
    DropConnectBackwardInput = "drop_connect_backward_input" { masks: DropConnect }
    [ dy: reads, w: reads, dx: target ]
}

operation! {
    /// dw ← Σ m·dy·x over the images (or dw += …).
    DropConnectBackwardWeights = "drop_connect_backward_weights" { masks: DropConnect }
    [ x: reads, dy: reads, dw: target ]
}
