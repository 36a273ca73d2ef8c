//! The gradient of biases.

operation! {
    /// db ← Σ dy over what the biases are shared by (or db += …): images, and places where db is `[1, 1, 1, k]`.
    BiasBackward = "bias_backward" {}
    [ dy: reads, db: target ]
}
