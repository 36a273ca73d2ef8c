//! Softmax.

operation! {
    /// y ← eˣ/Σeˣ over the elements of each image.
    SoftmaxForward = "softmax_forward" {}
    [ x: reads, y: writes ]
}

operation! {
    /// dx ← y·(dy − Σ y·dy) (or dx += …).
    SoftmaxBackward = "softmax_backward" {}
    [ y: reads, dy: reads, dx: target ]
}
