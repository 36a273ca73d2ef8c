//! Locally connected layers (LeCun 1989; cuda-convnet's local): convolutions with filters of its own for each place.

use super::Neuron;
use super::conv::all;
use crate::device::ConvGeometry;

operation! {
    /// y ← neuron(x ∗ w + b) where each place has filters of its own: w is `[p·q, k, r, s, c/groups]`, all else as in
    /// [`ConvForward`](super::ConvForward).
    LocalForward = "local_forward" { geometry: ConvGeometry, neuron: Neuron }
    [ x: reads, w: reads, b: maybe_reads, y: writes ]
    impl {
        fn multiply_adds(&self) -> u64 {
            all(&self.geometry)
        }
    }
}

operation! {
    /// dx ← Σ over the places that see a cell of dy · w, each place with its own w (or dx += …).
    LocalBackwardImage = "local_backward_image" { geometry: ConvGeometry }
    [ dy: reads, w: reads, dx: target ]
    impl {
        fn multiply_adds(&self) -> u64 {
            all(&self.geometry)
        }
    }
}

operation! {
    /// dw ← Σ over images of dy · x, at each place (or dw += …).
    LocalBackwardFilters = "local_backward_filters" { geometry: ConvGeometry }
    [ x: reads, dy: reads, dw: target ]
    impl {
        fn multiply_adds(&self) -> u64 {
            all(&self.geometry)
        }
    }
}
