//! Norms of gradients and weights.

operation! {
    /// sum ← Σ x² over all elements, one real (or sum += …).
    SumSquares = "sum_squares" {}
    [ x: reads, sum: target ]
}

operation! {
    /// factor ← min(1, limit/√sum), of one real each: what scales gradients whose squares sum up to `sum` to a norm of at
    /// most `limit` (Pascanu et al. 2013).
    ClipFactor = "clip_factor" { limit: f64 }
    [ sum: reads, factor: writes ]
}

operation! {
    /// w[i] ← w[i]·min(1, limit/√(Σ w[i]²)) for each of the w.shape.n rows: weight vectors held to an L2 norm (Srebro and
    /// Shraibman 2005; Srivastava et al. 2014).
    LimitNorms = "limit_norms" { limit: f64 }
    [ w: adds ]
}
