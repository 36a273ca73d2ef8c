//! Dropout (Srivastava et al. 2014).

operation! {
    /// y ← x·mask·factor (or y += …); y may be x. Element i of image j is kept where the Philox number of (seed, step, layer,
    /// first_image + j, i) is below keep ([`philox::uniform`](crate::device::philox::uniform)); the backward pass is the same
    /// operation on the gradients.
    Dropout = "dropout" { layer: u32, keep: f64, factor: f64 }
    [ x: reads, y: target ]
    shares [ y: target in x: reads ]
}
