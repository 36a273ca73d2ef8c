//! DropConnect (Wan et al. 2013): a fully connected layer in training, whose every weight is kept with probability `keep` for
//! each image by itself, and divided by it: y[n][o] = Σ m(n,o,i)·w[o][i]·x[n][i] + b[o] with m = 1/keep or 0. The mask is a
//! function of (seed, step, layer, image, weight), made anew in each pass, sixty-four weights at a time, and stored nowhere.
//! Cost: n·out·in masks a pass, about a nanosecond each, which the products hide behind.

use super::dispatch::simd;
use super::dropout::{BLOCK, Stream, blocks};
use super::elementwise::zip2;
use super::{CpuDevice, Real};
use crate::device::{Result, Run, Shape, StepValues, Tensor};
use crate::op::{DropConnect, DropConnectBackwardInput, DropConnectBackwardWeights, DropConnectForward};

/// Images and sizes of the layer, and its masks.
struct Masked {
    seed: u64,
    step: u64,
    stream: u32,
    first_image: u32,
    threshold: u32,
    factor: f64,
    images: usize,
    outputs: usize,
    inputs: usize,
}

simd! {
    /// The factors of the 64 weights from 64·`at` on.
    fn factors<T: Real>(stream: Stream, at: usize, threshold: u32, factor: T, to: &mut [T; BLOCK]) {
        let numbers = blocks(stream, (at * (BLOCK / 4)) as u32);
        for (j, four) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (i, m) in four.iter_mut().enumerate() {
                *m = if (numbers[i][j] >> 8) < threshold { factor } else { T::ZERO };
            }
        }
    }
}

simd! {
    /// Σ m·w·x, in 16 interleaved parts, which are added in their order.
    fn dot<T: Real>(m: &[T], w: &[T], x: &[T]) -> f64 {
        let mut lanes = [T::ZERO; 16];
        for ((m, w), x) in m.chunks(16).zip(w.chunks(16)).zip(x.chunks(16)) {
            for (((lane, &m), &w), &x) in lanes.iter_mut().zip(m).zip(w).zip(x) {
                *lane += m * w * x;
            }
        }
        let mut sum = 0.0;
        for lane in lanes {
            sum += lane.f64();
        }
        sum
    }
}

impl Masked {
    /// For inputs x and outputs y of these shapes.
    fn new(m: &DropConnect, step: &StepValues, x: Shape, y: Shape) -> Self {
        let (images, outputs, inputs) = (x.n, y.image(), x.image());
        let StepValues { seed, step, first_image, .. } = *step;
        let (threshold, factor) = (m.threshold(), 1.0 / m.keep);
        Self { seed, step, stream: m.stream, first_image, threshold, factor, images, outputs, inputs }
    }

    /// Calls `run(first input, factors)` for the runs that output `o`'s weights are cut into, in order.
    fn row<T: Real>(&self, image: usize, o: usize, mut run: impl FnMut(usize, &[T])) {
        let stream = Stream { seed: self.seed, step: self.step, layer: self.stream, image: self.first_image + image as u32 };
        let (first, end) = (o * self.inputs, (o + 1) * self.inputs);
        let mut factors_of = [T::ZERO; BLOCK];
        for at in first / BLOCK..end.div_ceil(BLOCK) {
            factors(stream, at, self.threshold, T::of(self.factor), &mut factors_of);
            let (from, to) = ((at * BLOCK).max(first), ((at + 1) * BLOCK).min(end));
            run(from - first, &factors_of[from - at * BLOCK..to - at * BLOCK]);
        }
    }

    /// About the nanoseconds of a pass.
    fn nanoseconds(&self) -> usize {
        self.images * self.outputs * self.inputs
    }
}

impl<T: Real> Run<DropConnectForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &DropConnectForward<Tensor>, _: Tensor) -> Result<()> {
        let masked = Masked::new(&op.masks, &self.step, op.x.shape, op.y.at.shape);
        let (mut t, add) = (self.arena.borrow(), op.y.adds());
        let (x, w, b, y) = (t.read::<T>(op.x), t.read::<T>(op.w), op.b.map(|b| t.read::<T>(b)), t.write::<T>(op.y.at));
        self.workers.pieces(masked.nanoseconds(), masked.outputs, y, |image, y| {
            let x = &x[image * masked.inputs..][..masked.inputs];
            for (o, y) in y.iter_mut().enumerate() {
                let w = &w[o * masked.inputs..][..masked.inputs];
                let mut sum = b.map_or(0.0, |b| b[o].f64());
                masked.row::<T>(image, o, |i, m| sum += dot(m, &w[i..][..m.len()], &x[i..][..m.len()]));
                *y = if add { *y + T::of(sum) } else { T::of(sum) };
            }
        });
        Ok(())
    }
}

impl<T: Real> Run<DropConnectBackwardInput<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &DropConnectBackwardInput<Tensor>, _: Tensor) -> Result<()> {
        let masked = Masked::new(&op.masks, &self.step, op.dx.at.shape, op.dy.shape);
        let (mut b, add) = (self.arena.borrow(), op.dx.adds());
        let (dy, w, dx) = (b.read::<T>(op.dy), b.read::<T>(op.w), b.write::<T>(op.dx.at));
        self.workers.pieces(masked.nanoseconds(), masked.inputs, dx, |image, dx| {
            if !add {
                dx.fill(T::ZERO);
            }
            for o in 0..masked.outputs {
                let (w, dy) = (&w[o * masked.inputs..][..masked.inputs], dy[image * masked.outputs + o]);
                masked.row::<T>(image, o, |i, m| {
                    zip2(m, &w[i..][..m.len()], &mut dx[i..][..m.len()], |m, w, dx| dx + m * w * dy);
                });
            }
        });
        Ok(())
    }
}

impl<T: Real> Run<DropConnectBackwardWeights<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &DropConnectBackwardWeights<Tensor>, _: Tensor) -> Result<()> {
        let masked = Masked::new(&op.masks, &self.step, op.x.shape, op.dy.shape);
        let (mut b, add) = (self.arena.borrow(), op.dw.adds());
        let (x, dy, dw) = (b.read::<T>(op.x), b.read::<T>(op.dy), b.write::<T>(op.dw.at));
        self.workers.pieces(masked.nanoseconds(), masked.inputs, dw, |o, dw| {
            if !add {
                dw.fill(T::ZERO);
            }
            for image in 0..masked.images {
                let (x, dy) = (&x[image * masked.inputs..][..masked.inputs], dy[image * masked.outputs + o]);
                masked.row::<T>(image, o, |i, m| {
                    zip2(m, &x[i..][..m.len()], &mut dw[i..][..m.len()], |m, x, dw| dw + m * x * dy);
                });
            }
        });
        Ok(())
    }
}
