//! L*a*b* of linear RGB: X, Y, Z are sums of R, G, B, and L*, a*, b* of their cube roots, which are straight near 0. Cost: one read
//! of x and one write of y, and three cube roots a cell.

use super::{CpuDevice, Real};
use crate::device::{Result, Run, Tensor};
use crate::op::{LabBackward, LabForward};

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

impl<T: Real> Run<LabForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LabForward<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, y) = (b.read::<T>(op.x), b.write::<T>(op.y));
        assert!(x.len() == y.len() && x.len().is_multiple_of(3));
        let offset = T::of(16.0 + op.centre);
        self.workers.pieces(y.len() * 10, PIECE, y, |i, y| {
            let x = x[i * PIECE..][..y.len()].as_chunks::<3>().0;
            for (y, x) in y.as_chunks_mut::<3>().0.iter_mut().zip(x) {
                let [x, middle, z] = xyz(x).map(f);
                *y = [T::of(116.0) * middle - offset, T::of(500.0) * (x - middle), T::of(200.0) * (middle - z)];
            }
        });
        Ok(())
    }
}

impl<T: Real> Run<LabBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LabBackward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, add) = (self.arena.borrow(), op.dx.adds());
        let (x, dy, dx) = (b.read::<T>(op.x), b.read::<T>(op.dy), b.write::<T>(op.dx.at));
        assert!(x.len() == dx.len() && dy.len() == dx.len() && x.len().is_multiple_of(3));
        self.workers.pieces(dx.len() * 10, PIECE, dx, |i, dx| {
            let [x, dy] = [x, dy].map(|t| t[i * PIECE..].as_chunks::<3>().0);
            for ((dx, x), [dl, da, db]) in dx.as_chunks_mut::<3>().0.iter_mut().zip(x).zip(dy) {
                let [da, db] = [T::of(500.0) * *da, T::of(200.0) * *db];
                let df = [da, T::of(116.0) * *dl - da + db, -db];
                let slopes = xyz(x).map(slope);
                for (c, dx) in dx.iter_mut().enumerate() {
                    let of = |k: usize| df[k] * slopes[k] * T::of(XYZ[k][c]);
                    let gradient = of(0) + of(1) + of(2);
                    *dx = if add { *dx + gradient } else { gradient };
                }
            }
        });
        Ok(())
    }
}
