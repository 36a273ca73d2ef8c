//! Convolution. Operands are rounded to the device's [`Precision`](crate::device::Precision).

use super::{Neuron, NeuronBackward, Op, Target};
use crate::device::ConvGeometry;

operation! {
    /// y ← neuron(x ∗ w + b). x: `[n, h, w, c]`, w: `[k, r, s, c/groups]`, y: `[n, p, q, k]`; b: k values shared by all
    /// places (`[1, 1, 1, k]`), or untied, one a place (`[1, p, q, k]`).
    ConvForward = "conv_forward" { geometry: ConvGeometry, neuron: Neuron }
    [ x: reads, w: reads, b: maybe_reads, y: writes ]
    impl {
        fn multiply_adds(&self) -> u64 {
            all(&self.geometry)
        }
    }
}

operation! {
    /// dx ← dy ∗ᵀ w (or dx += …). With a neuron, whose output `seen` is, the result is then multiplied by the neuron's derivative: of
    /// all that was added to dx, this is the last.
    ConvBackwardImage = "conv_backward_image" { geometry: ConvGeometry, neuron: Neuron }
    [ dy: reads, w: reads, seen: maybe_reads, dx: target ]
    impl {
        fn multiply_adds(&self) -> u64 {
            all(&self.geometry)
        }

        fn parts(&self, _fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Op<T>>> {
            let (seen, dx) = (self.seen?, self.dx.at);
            Some(vec![
                Self { neuron: Neuron::NONE, seen: None, ..*self }.into(),
                NeuronBackward { neuron: self.neuron, seen: Some(seen), dy: dx, dx: Target::set(dx), db: None }.into(),
            ])
        }
    }
}

operation! {
    /// dw ← Σ over images and places of dy · x (or dw += …).
    ConvBackwardFilters = "conv_backward_filters" { geometry: ConvGeometry }
    [ x: reads, dy: reads, dw: target ]
    impl {
        fn multiply_adds(&self) -> u64 {
            all(&self.geometry)
        }
    }
}

/// Multiply-adds of a pass over the whole batch.
pub(super) fn all(g: &ConvGeometry) -> u64 {
    g.n as u64 * g.multiply_adds()
}
