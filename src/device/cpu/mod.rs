//! The CPU device: every operation in Rust, generic over f32 and f64, on all cores. Each family of operations has a file, which
//! implements [`Run`](super::Run) for them; here is what they share. Work is cut the same way for any number of threads and sums
//! have a fixed order, so the bits do not depend on it. No operation allocates.

mod arena;
mod batch_norm;
mod bias;
mod binary_cross_entropy;
mod contrastive;
mod conv;
mod copy;
mod cost;
mod dispatch;
mod drop_connect;
mod dropout;
mod elementwise;
mod hinge;
mod images;
mod lab;
mod local;
mod lrn;
mod math;
mod merge;
mod neuron;
mod noise;
mod noisy_relu;
mod norm;
mod one_hot;
mod pool;
mod prelu;
mod product;
mod real;
mod resample;
mod sgd;
mod simd;
mod soft_cross_entropy;
mod softmax;
mod workers;

pub use real::Real;
pub use workers::Workers;

use super::{Device, Dtype, Error, Result, StepValues, Tensor};
use crate::op::Op;
use arena::{Arena, Borrow};

/// All cores, or some of them, as a [`Device`] whose reals are `T`. It stays on the thread that made it.
pub struct CpuDevice<T: Real> {
    arena: Arena,
    workers: Workers,
    step: StepValues,
    /// Whether convolutions may take fewer multiply-adds than their definition has.
    winograd: bool,
    real: std::marker::PhantomData<T>,
}

impl<T: Real> CpuDevice<T> {
    /// A device with `threads` threads; 0: one for each core.
    pub fn new(threads: usize) -> Self {
        let step =
            StepValues { seed: 0, step: 0, first_image: 0, images: 0, gradient_scale: 0.0, learning_rate: 0.0, momentum: 0.0 };
        Self { arena: Arena::default(), workers: Workers::new(threads), step, winograd: true, real: std::marker::PhantomData }
    }
}

/// Bytes of memory that the system has, and that are still available; 0 where it does not say.
pub fn memory() -> (u64, u64) {
    [meminfo("MemTotal:"), meminfo("MemAvailable:")].map(|n| n.unwrap_or(0) as u64).into()
}

/// Bytes of memory that are still available; `None` where the system does not say.
fn free() -> Option<usize> {
    meminfo("MemAvailable:")
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// Scratch to write; empty scratch may have any slot.
fn scratch_of<'a, T: Real>(b: &mut Borrow<'a>, scratch: Tensor) -> &'a mut [T] {
    if scratch.bytes() == 0 { &mut [] } else { b.write(scratch) }
}

/// The operands of an operation that may work in place: x, unless it is y, and y.
fn in_place<'a, T: Real>(b: &mut Borrow<'a>, x: Tensor, y: Tensor) -> (Option<&'a [T]>, &'a mut [T]) {
    let apart = (x.slot != y.slot).then(|| b.read(x));
    (apart, b.write(y))
}

/// As [`in_place`], of two inputs: a and b, unless they are y, and y.
fn either_in_place<'a, T: Real>(
    t: &mut Borrow<'a>,
    a: Tensor,
    b: Tensor,
    y: Tensor,
) -> (Option<&'a [T]>, Option<&'a [T]>, &'a mut [T]) {
    let [a, b] = [a, b].map(|x| (x.slot != y.slot).then(|| t.read(x)));
    (a, b, t.write(y))
}

impl<T: Real> Device for CpuDevice<T> {
    fn name(&self) -> String {
        let threads = self.workers.threads();
        let s = if threads == 1 { "" } else { "s" };
        format!("cpu ({threads} thread{s}, {})", dispatch::Level::best().name())
    }

    fn real(&self) -> Dtype {
        T::DTYPE
    }

    fn allocate(&mut self, bytes: usize) -> Result<()> {
        self.arena = Arena::default();
        let free = free();
        let arena = if free.is_some_and(|free| bytes > free) { None } else { Arena::new(bytes) };
        self.arena = arena.ok_or_else(|| Error::OutOfMemory { device: self.name(), asked: bytes, free: free.unwrap_or(0) })?;
        Ok(())
    }

    fn allocated(&self) -> usize {
        self.arena.bytes()
    }

    fn supports(&self, op: &Op<Tensor>) -> bool {
        op.is_supported_by(self)
    }

    fn scratch(&self, op: &Op<Tensor>) -> usize {
        op.scratch_on(self)
    }

    fn run(&mut self, op: &Op<Tensor>, scratch: Tensor) -> Result<()> {
        op.run_on(self, scratch)
    }

    fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()> {
        self.arena.borrow().write::<u8>(to).copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, from: Tensor, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(self.arena.borrow().read::<u8>(from));
        Ok(())
    }

    /// Everything queued before is done already: this is [`write`](Device::write).
    fn feed(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()> {
        parts.iter().try_for_each(|&(to, bytes)| self.write(to, bytes))
    }

    fn set_winograd(&mut self, allowed: bool) {
        self.winograd = allowed;
    }

    fn set_step(&mut self, values: StepValues) -> Result<()> {
        self.step = values;
        Ok(())
    }
}
