//! Single passes over one tensor.

operation! {
    /// y ← factor·x (or y += …). By 1 it is a copy, which a program does without where y can lie in x's place. y may be x.
    Scale = "scale" { factor: f64 }
    [ x: reads, y: target ]
    shares [ y: target in x: reads ]
}

operation! {
    /// x ← value, in every element.
    Fill = "fill" { value: f64 }
    [ x: writes ]
}

operation! {
    /// mean ← (Σ |x|) / elements, one real.
    MeanAbs = "mean_abs" {}
    [ x: reads, mean: writes ]
}
