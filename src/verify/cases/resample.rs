//! Bilinear resampling, and the random window of it.

use super::WRITES;
use crate::device::ImageGeometry;
use crate::op::{RandomWindow, ResampleBackward, ResampleForward, Target};
use crate::verify::case::*;

fn random_window(geometry: ImageGeometry, layer: u32, largest: f64) -> Case {
    // A first cell is a difference of places of all of the scaled image, and its error that of their size.
    let magnitudes = filled(move |k, sums| {
        let (rows, columns) = (k.result[0][1], k.result[0][3]);
        let scaled = |size: i32| f64::from(size) * largest + 1.0;
        sums[0] = vec![scaled(geometry.p) * rows + 1.0, 3.0 * rows, scaled(geometry.q) * columns + 1.0, 3.0 * columns];
    });
    // What is summed up: a uniform number, a cube, its root, and what is made of it.
    Case::new(RandomWindow { layer, geometry, largest, window: 0 }, [unit(vector(4))], magnitudes).summing(9)
}

pub(super) fn cases() -> Vec<Case> {
    // One cell; one to many and many to one; larger, smaller, one axis of each; channels of four and not; several images.
    let sizes = [
        [1, 1, 1, 1, 1, 1],
        [2, 1, 1, 3, 4, 5],
        [2, 5, 4, 3, 1, 1],
        [2, 5, 7, 3, 10, 14],
        [3, 9, 8, 4, 4, 3],
        [1, 6, 11, 8, 13, 5],
        [2, 16, 15, 3, 16, 15],
        [1, 7, 2, 65, 3, 9],
    ];
    let mut all = Vec::new();
    for (i, [n, h, w, c, p, q]) in sizes.into_iter().enumerate() {
        let geometry = ImageGeometry { n, h, w, c, p, q };
        let window = real(vector(4), Start::Window);
        let [x, y] = [geometry.input(), geometry.output()].map(unit);
        all.push(Case::new(ResampleForward { geometry, window: 0, x: 1, y: 2 }, [window, x, y], linear(1)).summing(4));
        all.extend(WRITES.map(|into| {
            let op = ResampleBackward { geometry, window: 0, dy: 1, dx: Target { at: 2, into } };
            Case::new(op, [window, y, x], linear(1)).summing((p * q) as usize)
        }));
        all.push(random_window(geometry, i as u32, [1.0, 1.25, 2.0][i % 3]));
    }
    all
}
