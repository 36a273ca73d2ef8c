//! Cross entropy against class probabilities.

operation! {
    /// As [`LogregForward`](super::LogregForward) against a target of class probabilities t: adds −Σ t·log p of each counted image
    /// to the metrics, where p is softmax(x), or max(x, 1e-30) of x that are probabilities already. A class whose t is 0 has no
    /// term. Errors are those against the first of t's largest.
    SoftCrossEntropyForward = "soft_cross_entropy_forward" { softmax: bool }
    [ x: reads, target: reads, metrics: adds ]
}

operation! {
    /// dx ← coefficient·gradient_scale·(softmax(x)·Σt − t), or −coefficient·gradient_scale·t/max(x, 1e-30) of probabilities (or
    /// dx += …).
    SoftCrossEntropyBackward = "soft_cross_entropy_backward" { softmax: bool, coefficient: f64 }
    [ x: reads, target: reads, dx: target ]
}

operation! {
    /// dt ← −coefficient·gradient_scale·log p (or dt += …): the target's gradient.
    SoftCrossEntropyTargetBackward = "soft_cross_entropy_target_backward" { softmax: bool, coefficient: f64 }
    [ x: reads, dt: target ]
}
