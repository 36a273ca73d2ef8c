//! L*a*b* of linear RGB.

operation! {
    /// y ← L*a*b* of x, both of 3 channels: with (X, Y, Z) of the linear (R, G, B) and f(t) = ∛t above 0.0088564517, else
    /// 7.787037·t + 0.13793103, the channels 116·f(Y) − 16 − `centre`, 500·(f(X) − f(Y)) and 200·(f(Y) − f(Z)).
    LabForward = "lab_forward" { centre: f64 }
    [ x: reads, y: writes ]
}

operation! {
    /// dx ← the gradient of [`LabForward`] (or dx += …).
    LabBackward = "lab_backward" {}
    [ x: reads, dy: reads, dx: target ]
}
