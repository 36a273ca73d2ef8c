//! L*a*b* of linear RGB.

use super::WRITES;
use crate::device::Shape;
use crate::op::{LabBackward, LabForward, Target};
use crate::verify::case::*;

/// X, Y and Z of R, G and B.
const XYZ: [[f64; 3]; 3] = [[0.49, 0.31, 0.2], [0.17697, 0.8124, 0.01063], [0.0, 0.01, 0.99]];
/// Below it f is a line.
const LINEAR: f64 = 0.0088564517;

/// X, Y and Z are sums with errors of their terms' size, which f passes on by its slope, and the slope by its own: of a pixel
/// those sums, the sums of their terms' sizes, and the slopes.
fn xyz(rgb: &[f64]) -> [[f64; 3]; 3] {
    let sum = |row: [f64; 3], of: fn(f64) -> f64| (0..3).map(|c| row[c] * of(rgb[c])).sum::<f64>();
    let [exact, terms] = [(|x| x) as fn(f64) -> f64, f64::abs].map(|of| XYZ.map(|row| sum(row, of)));
    [exact, terms, exact.map(|t| if t > LINEAR { 1.0 / (3.0 * t.cbrt().powi(2)) } else { 7.787037 })]
}

fn of(shape: Shape) -> [Case; 3] {
    let x = real(shape, Start::Uniform(-0.125, 1.0));
    let forward = each(1, |k, i| {
        let [exact, terms, slopes] = xyz(image(&k.start[0], i, 3));
        let root = |k: usize| if exact[k] > LINEAR { exact[k].cbrt() } else { 7.787037 * terms[k] + 0.138 };
        let [x, y, z] = [0, 1, 2].map(|k| root(k) + slopes[k] * terms[k]);
        [116.0 * y + 66.0, 500.0 * (x + y), 200.0 * (y + z)][i % 3]
    });
    let [set, add] = WRITES.map(|into| {
        let magnitudes = each(2, move |k, i| {
            let [exact, terms, slopes] = xyz(image(&k.start[0], i, 3));
            let dy = image(&k.start[1], i, 3);
            let [dl, da, db] = [(0, 116.0), (1, 500.0), (2, 200.0)].map(|(k, by)| by * dy[k].abs());
            let of = |k: usize, df: f64| df * slopes[k] * XYZ[k][i % 3] * (1.0 + terms[k] / exact[k].max(LINEAR));
            of(0, da) + of(1, dl + da + db) + of(2, db) + k.before[2][i]
        });
        Case::new(LabBackward { x: 0, dy: 1, dx: Target { at: 2, into } }, [x, unit(shape), unit(shape)], magnitudes)
    });
    let forward = Case::new(LabForward { centre: 50.0, x: 0, y: 1 }, [x, unit(shape)], forward);
    [forward, set, add].map(|case| case.summing(3))
}

pub(super) fn cases() -> Vec<Case> {
    [Shape::new(1, 1, 1, 3), Shape::new(2, 5, 7, 3), Shape::new(3, 41, 40, 3)].into_iter().flat_map(of).collect()
}
