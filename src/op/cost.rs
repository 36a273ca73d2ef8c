//! Logistic regression against class numbers, and sums of squares. What a cost adds to its metrics is in the order of
//! [`METRIC_LOSS`](crate::device::METRIC_LOSS) and its siblings; its gradient is multiplied by the step's gradient_scale.

operation! {
    /// Adds −Σ q·log softmax(x) of each counted image, and its errors, to the metrics; q is that of [`OneHot`](super::OneHot):
    /// without smoothing the loss is −log softmax(x)[label]. An image is an error when any other output is larger than its
    /// label's, or equal to it and before it: the first of equal maxima is the prediction.
    LogregForward = "logreg_forward" { smoothing: f64 }
    [ x: reads, labels: reads, metrics: adds ]
}

operation! {
    /// dx ← coefficient·gradient_scale·(softmax(x) − q), 0 for images that do not count (or dx += …).
    LogregBackward = "logreg_backward" { smoothing: f64, coefficient: f64 }
    [ x: reads, labels: reads, dx: target ]
}

operation! {
    /// As [`LogregForward`] for x that are probabilities already: −Σ q·log max(x, 1e-30).
    CrossEntropyForward = "cross_entropy_forward" { smoothing: f64 }
    [ x: reads, labels: reads, metrics: adds ]
}

operation! {
    /// dx ← −coefficient·gradient_scale·q/max(x, 1e-30) (or dx += …).
    CrossEntropyBackward = "cross_entropy_backward" { smoothing: f64, coefficient: f64 }
    [ x: reads, labels: reads, dx: target ]
}

operation! {
    /// Adds Σ (x − target)² over each counted image's elements to the metrics (cuda-convnet's sum2); without a target, Σ x².
    /// Counts no errors.
    SquaresForward = "squares_forward" {}
    [ x: reads, target: maybe_reads, metrics: adds ]
}

operation! {
    /// dx ← coefficient·gradient_scale·2·(x − target), 0 for images that do not count (or dx += …). The gradient of the target
    /// is the same with x and the target swapped.
    SquaresBackward = "squares_backward" { coefficient: f64 }
    [ x: reads, target: maybe_reads, dx: target ]
}
