//! Bilinear resampling.

use crate::device::ImageGeometry;

operation! {
    /// y ← x at other places, bilinearly: y's cell (i, j) is x at row a + i·b and column c + j·d, held between x's first and last
    /// cell; the fraction between two cells is the share of the second. window: the reals a, b, c, d; b and d are above 0.
    ResampleForward = "resample_forward" { geometry: ImageGeometry }
    [ window: reads, x: reads, y: writes ]
}

operation! {
    /// dx ← the gradient of [`ResampleForward`] (or dx += …).
    ResampleBackward = "resample_backward" { geometry: ImageGeometry }
    [ window: reads, dy: reads, dx: target ]
}

operation! {
    /// window ← that of [`ResampleForward`] which scales all of x to r·p × r·q cells and takes p × q of them at a random place.
    /// r, from 1 to `largest`, has a probability of (p·(r − 1) + 1)², about as many as there are such places (cuda-convnet2's); r
    /// and the place are of the numbers of (seed, step, layer).
    RandomWindow = "random_window" { layer: u32, geometry: ImageGeometry, largest: f64 }
    [ window: writes ]
}
