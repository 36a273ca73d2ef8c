//! Class numbers as probabilities.

operation! {
    /// y ← q of each image's label, as many classes as y has elements an image: q[i] = (1 − smoothing)·1[label = i] +
    /// smoothing/classes (Szegedy et al. 2016).
    OneHot = "one_hot" { smoothing: f64 }
    [ labels: reads, y: writes ]
}
