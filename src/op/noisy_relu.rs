//! Relu with noise (Nair and Hinton 2010).

operation! {
    /// y ← max(0, x + √σ(x)·g), where σ is the logistic function and g, of element i of image j, a standard normal number of
    /// (seed, step, layer, first_image + j, i) ([`philox::gaussians`](crate::device::philox::gaussians)): noise of variance σ(x).
    NoisyReluForward = "noisy_relu_forward" { layer: u32 }
    [ x: reads, y: writes ]
}

operation! {
    /// dx ← the gradient of [`NoisyReluForward`], whose numbers are drawn again (or dx += …); dx may be dy.
    NoisyReluBackward = "noisy_relu_backward" { layer: u32 }
    [ x: reads, dy: reads, dx: target ]
    shares [ dx: target in dy: reads ]
}
