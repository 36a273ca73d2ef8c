//! Loading a batch out of the tensors that [`Device::feed`](crate::device::Device::feed) writes.

use crate::device::ImageGeometry;

operation! {
    /// y ← (x at its place − mean)·scale. x: u8 `[n, h, w, c]`, places: i32 `[n][3]` ([`Place`](crate::device::Place)), mean: real,
    /// c values or an image of the source's size (`[1, h, w, c]`, moved with the image), y: real `[n, p, q, c]`.
    LoadImages = "load_images" { geometry: ImageGeometry, scale: f64 }
    [ x: reads, places: reads, mean: reads, y: writes ]
}

operation! {
    /// y ← x, both i32 or both reals: labels.
    LoadLabels = "load_labels" {}
    [ x: reads, y: writes ]
}
