//! Pooling.

use super::{Describe, Neuron, NeuronBackward, Op, Target};
use crate::device::PoolGeometry;
use std::fmt::Write as _;

/// What a pool makes of its window: `max`, `avg` or `l2` in a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolKind {
    /// The largest value.
    Max,
    /// The mean over the cells of the window that lie inside the image.
    Avg,
    /// The root of the sum of squares.
    L2,
}

impl PoolKind {
    /// Whether its gradient is computed from its input.
    pub const fn gradient_reads_input(self) -> bool {
        matches!(self, Self::Max | Self::L2)
    }

    /// Whether its gradient is computed from its output.
    pub const fn gradient_reads_output(self) -> bool {
        matches!(self, Self::L2)
    }
}

impl Describe for PoolKind {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = write!(text, " {}", ["max", "avg", "l2"][*self as usize]);
    }
}

operation! {
    /// y ← the maximum, the mean or the root of the sum of squares over each window of x, windows clipped to the image.
    PoolForward = "pool_forward" { kind: PoolKind, geometry: PoolGeometry }
    [ x: reads, y: writes ]
}

operation! {
    /// dx ← the gradient of [`PoolForward`] (or dx += …). Of equal maxima the first in row-major order takes it all; a root's is
    /// 0 at 0. x and y are there where the kind's gradient reads them ([`PoolKind::gradient_reads_input`]). With a neuron, whose
    /// output x is, the result is then multiplied by the neuron's derivative: of all that was added to dx, this is the last.
    PoolBackward = "pool_backward" { kind: PoolKind, geometry: PoolGeometry, neuron: Neuron }
    [ x: maybe_reads, y: maybe_reads, dy: reads, dx: target ]
    impl {
        fn parts(&self, _fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Op<T>>> {
            if self.neuron == Neuron::NONE {
                return None;
            }
            let dx = self.dx.at;
            let x = self.x.filter(|_| self.kind.gradient_reads_input());
            Some(vec![
                Self { neuron: Neuron::NONE, x, ..*self }.into(),
                NeuronBackward { neuron: self.neuron, seen: self.x, dy: dx, dx: Target::set(dx), db: None }.into(),
            ])
        }
    }
}
