//! Copies of boxes: concatenation, slices, crops, mirror images.

use crate::device::CopyGeometry;

operation! {
    /// The box of y ← the box of x (or += …), 0 where it reaches out of x; mirrored where the geometry says so. The rest of y
    /// stays as it is.
    CopyBox = "copy_box" { geometry: CopyGeometry }
    [ x: reads, y: target ]
}
