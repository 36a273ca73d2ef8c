//! Boxes copied from tensor to tensor.

use super::WRITES;
use crate::device::CopyGeometry;
use crate::op::{CopyBox, Target};
use crate::verify::case::*;

/// n, the shapes [rows, columns, channels] of x, y and the box, where it starts in both, mirrored or not.
type Row = (i32, [i32; 3], [i32; 3], [i32; 3], [i32; 3], [i32; 3], bool);

const BOXES: &[Row] = &[
    (1, [1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0], false),
    // Concatenations: of images, with and without vectors of four; of vectors; of whole images' rows.
    (2, [3, 5, 4], [3, 5, 11], [3, 5, 4], [0, 0, 0], [0, 0, 3], false),
    (2, [4, 3, 8], [4, 3, 20], [4, 3, 8], [0, 0, 0], [0, 0, 12], false),
    (5, [1, 1, 10], [1, 1, 300], [1, 1, 10], [0, 0, 0], [0, 0, 64], false),
    (2, [3, 5, 7], [9, 5, 7], [3, 5, 7], [0, 0, 0], [4, 0, 0], false),
    // Slices, and their gradients: 0 around them.
    (2, [4, 3, 20], [4, 3, 8], [4, 3, 8], [0, 0, 4], [0, 0, 0], false),
    (2, [4, 3, 8], [4, 3, 20], [4, 3, 20], [0, 0, -4], [0, 0, 0], false),
    (3, [1, 1, 5], [1, 1, 9], [1, 1, 9], [0, 0, -2], [0, 0, 0], false),
    // Crops: inside; reaching out on all sides; not meeting x at all; their gradients; mirrored.
    (2, [7, 9, 3], [4, 5, 3], [4, 5, 3], [2, 3, 0], [0, 0, 0], false),
    (2, [3, 4, 5], [7, 8, 5], [7, 8, 5], [-2, -3, 0], [0, 0, 0], false),
    (2, [3, 4, 4], [7, 8, 4], [7, 8, 4], [-1, -3, 0], [0, 0, 0], true),
    (1, [3, 4, 2], [2, 2, 2], [2, 2, 2], [5, -9, 0], [0, 0, 0], false),
    (2, [6, 5, 3], [6, 5, 3], [6, 5, 3], [0, 0, 0], [0, 0, 0], true),
    (2, [6, 5, 8], [6, 5, 8], [6, 5, 8], [0, 0, 0], [0, 0, 0], true),
    // Everything at once: a box within both, out of x's channels too.
    (2, [5, 6, 7], [6, 7, 9], [4, 5, 6], [2, 3, 4], [1, 2, 3], true),
    (1, [20, 30, 3], [20, 30, 3], [20, 30, 3], [0, 0, 0], [0, 0, 0], false),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &(n, [h, w, c], [p, q, k], size, from, to, mirror) in BOXES {
        let [rows, columns, channels] = size;
        let ([from_h, from_w, from_c], [to_h, to_w, to_c]) = (from, to);
        let mirror = i32::from(mirror);
        let geometry =
            CopyGeometry { n, h, w, c, p, q, k, rows, columns, channels, from_h, from_w, from_c, to_h, to_w, to_c, mirror };
        for into in WRITES {
            let op = CopyBox { geometry, x: 0, y: Target { at: 1, into } };
            let mut case = Case::new(op, [geometry.input(), geometry.output()].map(unit), moved(into));
            // The box alone is written: what is around it is there before, and stays.
            case.tensors[1].start = UNIT;
            all.push(case);
        }
    }
    all
}
