//! What a device can do, measured: its fastest product of square matrices and its fastest copy, in the types that nets use
//! there, in the precision that a net asks for. They are the roof that layers are compared with (Williams et al. 2009,
//! "Roofline"): a pass of F operations and B bytes takes at least the longer of F/product and B/copy.
//!
//! Matrices double in size until a product takes long enough that nothing but the product matters, and so does the copy, whose
//! last size no cache holds. The fastest of all repeats counts. Products are this program's own, so a pass may go beyond the
//! roof: where its tensors fit in a cache, by Winograd's algorithm, or by leaving out what is multiplied by padding.

use crate::device::{Device, Dtype, Precision, ProductGeometry, Result, Shape, Slot, Tensor};
use crate::op::{Fill, Neuron, Op, Product, Scale, Target};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A device's measured peaks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// 10⁹ floating-point operations a second of a product, a multiply-add counted as two.
    pub gflops: f64,
    /// What that product's operands are rounded to.
    pub precision: Precision,
    /// Rows of its square matrices.
    pub product_size: usize,
    /// 10⁹ bytes a second of a copy, read and written.
    pub gigabytes_per_second: f64,
}

/// Milliseconds of one product or copy from which on larger ones are not tried.
const LONG: f64 = 8.0;
/// Repeats of each size.
const REPEATS: usize = 5;
const PRODUCTS: std::ops::RangeInclusive<u32> = 7..=13;
const COPIES: std::ops::RangeInclusive<u32> = 18..=28;

impl Peaks {
    /// Measures them; `open` opens the device anew for each size, in the precision that is measured.
    ///
    /// # Errors
    /// The device fails; that it has no memory for larger sizes is no failure.
    pub fn measure(mut open: impl FnMut() -> Result<Box<dyn Device>>) -> Result<Self> {
        let precision = open()?.precision();
        let mut peaks = Self { gflops: 0.0, precision, product_size: 0, gigabytes_per_second: 0.0 };
        for log in PRODUCTS {
            let size = 1 << log;
            let Some(ms) = product(open()?, size)? else { break };
            let gflops = 2.0 * (size as f64).powi(3) / ms / 1e6;
            if gflops > peaks.gflops {
                (peaks.gflops, peaks.product_size) = (gflops, size);
            }
            if ms > LONG {
                break;
            }
        }
        for log in COPIES {
            let Some((bytes, ms)) = copy(open()?, 1 << log)? else { break };
            peaks.gigabytes_per_second = bytes as f64 / ms / 1e6;
            if ms > LONG {
                break;
            }
        }
        Ok(peaks)
    }

    /// The least milliseconds that so many operations and bytes take, and whether the operations bind.
    pub fn floor_ms(&self, operations: u64, bytes: u64) -> (f64, bool) {
        let compute = operations as f64 / self.gflops / 1e6;
        let memory = bytes as f64 / self.gigabytes_per_second / 1e6;
        (compute.max(memory), compute > memory)
    }
}

/// An operation, its three tensors, and its scratch.
type Placed = (Op<Tensor>, [Tensor; 3], Tensor);

/// Allocates three tensors of this shape and scratch for the operation that `make` makes of them; `None` if they do not fit.
fn place<O: Into<Op<Tensor>>>(
    device: &mut dyn Device,
    shape: Shape,
    make: impl FnOnce([Tensor; 3]) -> O,
) -> Result<Option<Placed>> {
    let real = device.real();
    let bytes = (shape.elements() * real.size()).next_multiple_of(256);
    let tensors = [0, 1, 2].map(|i| Tensor::new(Slot(i * bytes), shape, real));
    let op: Op<Tensor> = make(tensors).into();
    let scratch = Tensor::new(Slot(3 * bytes), Shape::new(1, 1, 1, device.scratch(&op)), Dtype::U8);
    match device.allocate(3 * bytes + scratch.bytes()) {
        Err(crate::device::Error::OutOfMemory { .. }) => Ok(None),
        other => other.map(|()| Some((op, tensors, scratch))),
    }
}

/// The fastest of some runs of an operation in milliseconds, after one that does not count; each is waited for by a read.
fn fastest(device: &mut dyn Device, op: &Op<Tensor>, scratch: Tensor, probe: Tensor) -> Result<f64> {
    let mut least = f64::INFINITY;
    let probe = probe.part(0, 1);
    for i in 0..=REPEATS {
        let start = Instant::now();
        device.run(op, scratch)?;
        device.read(probe, &mut vec![0; probe.bytes()])?;
        if i > 0 {
            least = least.min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(least)
}

/// Milliseconds of a product of two square matrices.
fn product(mut device: Box<dyn Device>, size: usize) -> Result<Option<f64>> {
    let device = device.as_mut();
    let geometry = ProductGeometry { m: size as i32, n: size as i32, k: size as i32, transpose_a: 0, transpose_b: 1 };
    let square = Shape::new(size, 1, 1, size);
    let make = |[a, b, c]: [Tensor; 3]| Product { geometry, neuron: Neuron::NONE, a, b, bias: None, c: Target::set(c) };
    let Some((op, [a, b, c], scratch)) = place(device, square, make)? else { return Ok(None) };
    super::single::scatter(device, a, 1)?;
    super::single::scatter(device, b, 2)?;
    fastest(device, &op, scratch, c).map(Some)
}

/// Bytes and milliseconds of a copy of `elements` reals.
fn copy(mut device: Box<dyn Device>, elements: usize) -> Result<Option<(usize, f64)>> {
    let device = device.as_mut();
    let make = |[x, y, _]: [Tensor; 3]| Scale { factor: 1.0, x, y: Target::set(y) };
    let Some((op, [x, y, _], scratch)) = place(device, Shape::new(1, 1, 1, elements), make)? else { return Ok(None) };
    device.run(&Fill { value: 0.5, x }.into(), scratch)?;
    let ms = fastest(device, &op, scratch, y)?;
    Ok(Some((x.bytes() + y.bytes(), ms)))
}

#[cfg(test)]
mod tests {
    use super::{Peaks, Precision};

    #[test]
    fn the_floor_is_the_slower_of_operations_and_bytes() {
        let peaks = Peaks { gflops: 100.0, precision: Precision::F32, product_size: 512, gigabytes_per_second: 10.0 };
        assert_eq!(peaks.floor_ms(1_000_000_000, 1_000_000), (10.0, true));
        assert_eq!(peaks.floor_ms(1_000_000, 1_000_000_000), (100.0, false));
    }
}
