//! Parametric relu (He et al. 2015).

operation! {
    /// y ← x where that is above 0, else slope·x: a slope for each channel, or one. y may be x.
    PreluForward = "prelu_forward" {}
    [ x: reads, slope: reads, y: writes ]
    shares [ y: writes in x: reads ]
}

operation! {
    /// dx ← dy where x is above 0, else slope·dy (or dx += …); dx may be dy.
    PreluBackward = "prelu_backward" {}
    [ x: reads, slope: reads, dy: reads, dx: target ]
    shares [ dx: target in dy: reads ]
}

operation! {
    /// dslope ← Σ min(0, x)·dy over what a slope is shared by (or dslope += …).
    PreluBackwardSlope = "prelu_backward_slope" {}
    [ x: reads, dy: reads, dslope: target ]
}
