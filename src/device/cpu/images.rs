//! Bytes to normalised activations: y = (x at its place − mean)·scale, each output image a window that the augmentation
//! placed on its source, mirrored or not. Outside the source y is 0. Cost: one read of x, one write of y; images in parallel.

use super::{CpuDevice, Real};
use crate::device::{ImageGeometry, Place, Result, Run, Tensor};
use crate::op::{LoadImages, LoadLabels};

impl<T: Real> Run<LoadImages<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LoadImages<Tensor>, _: Tensor) -> Result<()> {
        let ImageGeometry { n, h, w, c, p, q } = op.geometry;
        let [n, h, w, c, p, q] = [n, h, w, c, p, q].map(|v| v as usize);
        let (mut b, scale) = (self.arena.borrow(), T::of(op.scale));
        let (x, places, mean, y) = (b.read::<u8>(op.x), b.read::<Place>(op.places), b.read::<T>(op.mean), b.write::<T>(op.y));
        assert!(x.len() == n * h * w * c && places.len() == n && y.len() == n * p * q * c);
        assert!(mean.len() == c || mean.len() == h * w * c);
        self.workers.pieces(y.len(), p * q * c, y, |image, y| {
            let (x, place) = (&x[image * h * w * c..][..h * w * c], places[image]);
            for (row, y) in y.chunks_exact_mut(q * c).enumerate() {
                let from = row as i64 + i64::from(place.top);
                if !(0..h as i64).contains(&from) {
                    y.fill(T::ZERO);
                    continue;
                }
                let from = from as usize * w * c;
                for (column, y) in y.chunks_exact_mut(c).enumerate() {
                    let mut across = column as i64 + i64::from(place.left);
                    if !(0..w as i64).contains(&across) {
                        y.fill(T::ZERO);
                        continue;
                    }
                    if place.flip == 1 {
                        across = w as i64 - 1 - across;
                    }
                    let at = from + across as usize * c;
                    let mean = if mean.len() == c { mean } else { &mean[at..at + c] };
                    for ((y, &x), &mean) in y.iter_mut().zip(&x[at..at + c]).zip(mean) {
                        *y = (T::of(f64::from(x)) - mean) * scale;
                    }
                }
            }
        });
        Ok(())
    }
}

impl<T: Real> Run<LoadLabels<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &LoadLabels<Tensor>, _: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        b.write::<u8>(op.y).copy_from_slice(b.read(op.x));
        Ok(())
    }
}
