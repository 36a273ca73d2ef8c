//! Gaussian noise.

operation! {
    /// y ← x + std·g; y may be x. g is the standard normal number of (seed, step, layer, first_image + j, i) for element i of
    /// image j ([`philox::gaussians`](crate::device::philox::gaussians)).
    Noise = "noise" { layer: u32, std: f64 }
    [ x: reads, y: writes ]
    shares [ y: writes in x: reads ]
}
