//! The contrastive loss of pairs (Hadsell et al. 2006).

operation! {
    /// Adds the loss of each counted pair to the metrics: with d = ‖a − b‖, ½·d² where the label is not 0 (a pair of one class),
    /// ½·max(0, margin − d)² where it is. A pair of one class is an error from d = margin/2 on, another one below that; counts
    /// no top-5 errors.
    ContrastiveForward = "contrastive_forward" { margin: f64 }
    [ a: reads, b: reads, labels: reads, metrics: adds ]
}

operation! {
    /// da ← coefficient·gradient_scale·(a − b), or for another pair that times −max(0, margin − d)/d, 0 where d is (or da += …).
    /// The gradient by b is the same with a and b swapped.
    ContrastiveBackward = "contrastive_backward" { margin: f64, coefficient: f64 }
    [ a: reads, b: reads, labels: reads, da: target ]
}
