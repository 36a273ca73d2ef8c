//! L*a*b* of linear RGB: X, Y, Z are sums of R, G, B, and L*, a*, b* of their cube roots, which are straight near 0. Cost: one read
//! of x and one write of y, and three cube roots a cell.

use super::{Real, Workers};
use crate::device::Into;

/// X, Y and Z of R, G and B, as cuda-convnet2 has them.
const XYZ: [[f64; 3]; 3] = [[0.49, 0.31, 0.2], [0.17697, 0.8124, 0.01063], [0.0, 0.01, 0.99]];
/// Above it f is a cube root, at and below it a line.
const LINEAR: f64 = 0.008_856_451_7;
/// The line's slope.
const SLOPE: f64 = 7.787_037;
/// The line's height at 0.
const HEIGHT: f64 = 0.137_931_03;

/// Elements that one thread takes at a time: cells of three.
const PIECE: usize = 3 << 12;

/// X, Y and Z.
fn xyz<T: Real>(rgb: &[T; 3]) -> [T; 3] {
    XYZ.map(|row| T::of(row[0]) * rgb[0] + T::of(row[1]) * rgb[1] + T::of(row[2]) * rgb[2])
}

fn f<T: Real>(t: T) -> T {
    if t > T::of(LINEAR) { t.cbrt() } else { T::of(SLOPE) * t + T::of(HEIGHT) }
}

/// f′.
fn slope<T: Real>(t: T) -> T {
    if t > T::of(LINEAR) {
        let root = t.cbrt();
        T::ONE / (T::of(3.0) * root * root)
    } else {
        T::of(SLOPE)
    }
}

/// y ← L*a*b* of x, L* less `centre`.
pub(super) fn forward<T: Real>(workers: &Workers, centre: f64, x: &[T], y: &mut [T]) {
    assert!(x.len() == y.len() && x.len().is_multiple_of(3));
    let offset = T::of(16.0 + centre);
    workers.pieces(y.len() * 10, PIECE, y, |i, y| {
        let x = x[i * PIECE..][..y.len()].as_chunks::<3>().0;
        for (y, x) in y.as_chunks_mut::<3>().0.iter_mut().zip(x) {
            let [x, middle, z] = xyz(x).map(f);
            *y = [T::of(116.0) * middle - offset, T::of(500.0) * (x - middle), T::of(200.0) * (middle - z)];
        }
    });
}

/// dx ← the gradient of [`forward`], or dx += ….
pub(super) fn backward<T: Real>(workers: &Workers, x: &[T], dy: &[T], dx: &mut [T], into: Into) {
    assert!(x.len() == dx.len() && dy.len() == dx.len() && x.len().is_multiple_of(3));
    workers.pieces(dx.len() * 10, PIECE, dx, |i, dx| {
        let cells = |t: &'_ [T]| -> usize { (i * PIECE).min(t.len()) };
        let (x, dy) = (x[cells(x)..].as_chunks::<3>().0, dy[cells(dy)..].as_chunks::<3>().0);
        for ((dx, x), [dl, da, db]) in dx.as_chunks_mut::<3>().0.iter_mut().zip(x).zip(dy) {
            let [da, db] = [T::of(500.0) * *da, T::of(200.0) * *db];
            let df = [da, T::of(116.0) * *dl - da + db, -db];
            let slopes = xyz(x).map(slope);
            for (c, dx) in dx.iter_mut().enumerate() {
                let of = |k: usize| df[k] * slopes[k] * T::of(XYZ[k][c]);
                let gradient = of(0) + of(1) + of(2);
                *dx = if into == Into::Add { *dx + gradient } else { gradient };
            }
        }
    });
}
