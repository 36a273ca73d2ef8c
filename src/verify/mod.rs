//! Is this device right? Every [operation](crate::op), over a table of awkward geometries and over random ones, against the CPU
//! in f64. An operation that does the work of several is compared with those ([`Op::parts`]).
//!
//! A case's tensors hold random numbers that are f32 exactly, so both devices start from the same ones. A result may differ
//! from the reference by
//!
//! > ε·(4 + √n)·Σ|terms| + the smallest normal number,
//!
//! where ε is the distance from 1 to the next number of the device's type, n the number of terms that the result sums up,
//! and Σ|terms| their sum without signs: rounding errors behave like a random walk of n steps, each below ε times the sum so
//! far, and the 4 is for the few roundings of every operation and for exponentials that are a unit or two off. Maxima, masks,
//! counts, labels and fills have no such sum: they must be equal. So must every input after the call, and what lies around the
//! tensors: 256 bytes after each, and the gaps between the cells of one that is some channels of a larger tensor. Where the
//! device rounds the operands of convolutions and products to tf32 or bf16, by at most u = 2^-11 or 2^-8 of each
//! ([`Precision`]), those results may differ by (2u + u²)·Σ|terms| more.
//!
//! The table costs less than a second on the CPU in release builds. The device makes one allocation, as large as the
//! largest case.

mod case;
mod cases;

pub use case::Case;
pub use cases::{cases, random_case};

use crate::device::cpu::CpuDevice;
use crate::device::{Device, Dtype, Precision, Result, Shape, Slot, StepValues, Tensor};
use crate::op::Op;
use case::{Known, Operand};
use std::fmt;

/// How a device did in one case: at the element that is worst by its bound.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The operation.
    pub operation: String,
    /// What it was applied to.
    pub geometry: String,
    /// The device's real: `f32`, `f64`; or what operands are rounded to: `tf32`, `bf16`.
    pub dtype: String,
    /// |got − expected| there.
    pub worst: f64,
    /// What it may be there.
    pub bound: f64,
    /// The element's index in its tensor.
    pub index: usize,
    /// What the device made.
    pub got: f64,
    /// What the reference made.
    pub expected: f64,
    /// Whether all is within its bound, and nothing else was touched.
    pub passed: bool,
    /// What else went wrong: a changed input, bytes written after a tensor or in its gaps.
    pub fault: Option<String>,
}

/// One line: the case, the worst element, both values and the bound.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, geometry, dtype, worst, bound, index, got, expected, passed, fault } = self;
        let verdict = if *passed { "ok" } else { "FAILED" };
        write!(f, "{operation} {geometry} {dtype}: {verdict}: ")?;
        write!(f, "at {index} got {got:e}, expected {expected:e}, off by {worst:.2e}, bound {bound:.2e}")?;
        fault.as_ref().map_or(Ok(()), |fault| write!(f, "; {fault}"))
    }
}

/// Runs cases on a device that nothing has been allocated on yet, and on the reference. A case whose form of its operation the
/// device does not [support](Device::supports) is left out of the outcomes. `Err` is the device's own.
pub fn run(device: &mut dyn Device, cases: &[Case]) -> Result<Vec<Outcome>> {
    let mut reference = Reference(CpuDevice::new(1));
    allocate(device, cases)?;
    let mut outcomes = Vec::new();
    for case in cases {
        if supports(device, case) {
            outcomes.push(compare(device, &mut reference, case)?);
        }
    }
    Ok(outcomes)
}

/// The bytes of all results of the cases, one vector a case: two devices that should agree to the bit can be compared. It is
/// empty where the device does not support the case.
pub fn results(device: &mut dyn Device, cases: &[Case]) -> Result<Vec<Vec<u8>>> {
    allocate(device, cases)?;
    let one = |case: &Case| -> Result<Vec<u8>> {
        if !supports(device, case) {
            return Ok(Vec::new());
        }
        let held = execute(device, &[case.op], &case.tensors, case.step, &case.start())?;
        Ok(held.bytes.into_iter().enumerate().filter(|(i, _)| case.writes(*i)).flat_map(|(_, bytes)| bytes).collect())
    };
    cases.iter().map(one).collect()
}

/// The CPU in f64: another one for a case that needs a larger allocation than any before.
struct Reference(CpuDevice<f64>);

impl Reference {
    /// What a case's tensors hold after an operation, or after the operations that it stands for.
    fn run(&mut self, op: &Op<usize>, case: &Case, start: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let mut tensors: Vec<Operand> = case.tensors.iter().map(|t| t.dense()).collect();
        let mut start = start.to_vec();
        let parts = op.parts(&mut |&like| {
            tensors.push(tensors[like]);
            start.push(vec![f64::NAN; start[like].len()]);
            tensors.len() - 1
        });
        let ops = parts.unwrap_or_else(|| vec![*op]);
        let bytes = layout(&self.0, &ops, &tensors).end;
        if bytes > self.0.allocated() {
            self.0 = CpuDevice::new(1);
            self.0.allocate(bytes)?;
        }
        Ok(execute(&mut self.0, &ops, &tensors, case.step, &start)?.values)
    }
}

/// Bytes after each tensor that nothing may write.
const GUARD: usize = 256;
/// What is in them.
const GUARDED: [u8; GUARD] = [0xa5; GUARD];

/// Where tensors lie.
struct Layout {
    tensors: Vec<Tensor>,
    /// What each is channels of; itself, where it has no gaps.
    wholes: Vec<Tensor>,
    scratch: Tensor,
    /// Where all ends, guards included.
    end: usize,
}

/// Where the tensors of operations lie, one after the other, each with a guard after it, and the operations' scratch after them.
fn layout(device: &dyn Device, ops: &[Op<usize>], operands: &[Operand]) -> Layout {
    let (mut tensors, mut wholes, mut end) = (Vec::new(), Vec::new(), 0);
    for operand in operands {
        let (shape, [before, after]) = (operand.shape, operand.gaps);
        let c = before + shape.c + after;
        let whole = Tensor::new(Slot(end), Shape { c, ..shape }, operand.dtype.unwrap_or(device.real()));
        end = (end + whole.bytes()).next_multiple_of(256) + GUARD;
        wholes.push(whole);
        tensors.push(whole.channels(before, shape.c));
    }
    let bytes = ops.iter().map(|op| device.scratch(&on(op, &tensors))).max().unwrap_or(0);
    let scratch = Tensor::new(Slot(end), Shape::new(1, 1, 1, bytes), Dtype::U8);
    Layout { tensors, wholes, scratch, end: (end + bytes).next_multiple_of(256) + GUARD }
}

/// An operation on tensors that have places.
fn on(op: &Op<usize>, tensors: &[Tensor]) -> Op<Tensor> {
    op.map(&mut |&i| tensors[i])
}

fn supports(device: &dyn Device, case: &Case) -> bool {
    device.supports(&on(&case.op, &layout(device, &[], &case.tensors).tensors))
}

fn allocate(device: &mut dyn Device, cases: &[Case]) -> Result<()> {
    let supported = cases.iter().filter(|case| supports(device, case));
    let bytes = supported.map(|case| layout(device, &[case.op], &case.tensors).end).max().unwrap_or(0);
    device.allocate(bytes)
}

fn encode(values: &[f64], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|&v| (v as f32).to_ne_bytes()).collect(),
        Dtype::F64 => values.iter().flat_map(|&v| v.to_ne_bytes()).collect(),
        Dtype::U8 => values.iter().map(|&v| v as u8).collect(),
        Dtype::I32 => values.iter().flat_map(|&v| (v as i32).to_ne_bytes()).collect(),
    }
}

fn decode(bytes: &[u8], dtype: Dtype) -> Vec<f64> {
    match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_ne_bytes(b))).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_ne_bytes(b)).collect(),
        Dtype::U8 => bytes.iter().map(|&b| f64::from(b)).collect(),
        Dtype::I32 => bytes.as_chunks().0.iter().map(|&b| f64::from(i32::from_ne_bytes(b))).collect(),
    }
}

/// The bytes of each cell of a tensor, within those of what it is channels of.
fn cells(t: &Tensor, whole: &Tensor) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (first, size) = (t.slot.0 - whole.slot.0, t.dtype.size());
    let (step, cell) = (t.pitch * size, t.shape.c * size);
    (0..t.shape.n * t.shape.h * t.shape.w).map(move |i| first + i * step..first + i * step + cell)
}

/// What lies in the gaps of tensor `i`, where nothing else does: NaN, of other bits than in any other tensor's.
fn gaps(i: usize, whole: &Tensor) -> Vec<u8> {
    let mut element = vec![0xff; whole.dtype.size()];
    element[0] = i as u8;
    element.repeat(whole.shape.elements())
}

/// What tensors hold after operations.
struct Held {
    bytes: Vec<Vec<u8>>,
    values: Vec<Vec<f64>>,
    /// What else was written.
    fault: Option<String>,
}

/// Fills the tensors of operations, runs these in order, and reads what the tensors hold then.
fn execute(
    device: &mut dyn Device,
    ops: &[Op<usize>],
    operands: &[Operand],
    step: StepValues,
    start: &[Vec<f64>],
) -> Result<Held> {
    let Layout { tensors, wholes, scratch, .. } = layout(device, ops, operands);
    let after = |t: &Tensor| {
        let slot = Slot(t.slot.0 + t.bytes());
        let room = (t.slot.0 + t.bytes()).next_multiple_of(256) + GUARD - slot.0;
        Tensor::new(slot, Shape::new(1, 1, 1, room), Dtype::U8)
    };
    let guard = |t: &Tensor| GUARDED.repeat(2)[..after(t).bytes()].to_vec();
    for (i, ((t, whole), values)) in tensors.iter().zip(&wholes).zip(start).enumerate() {
        let (values, mut bytes) = (encode(values, t.dtype), gaps(i, whole));
        let cell = (t.shape.c * t.dtype.size()).max(1);
        cells(t, whole).zip(values.chunks(cell)).for_each(|(to, cell)| bytes[to].copy_from_slice(cell));
        device.write(*whole, &bytes)?;
    }
    for t in wholes.iter().chain([&scratch]) {
        device.write(after(t), &guard(t))?;
    }
    device.set_step(step)?;
    for op in ops {
        device.run(&on(op, &tensors), scratch)?;
    }

    let mut read = |t: Tensor| {
        let mut bytes = vec![0; t.bytes()];
        device.read(t, &mut bytes).map(|()| bytes)
    };
    let mut held = Held { bytes: Vec::new(), values: Vec::new(), fault: None };
    for (i, (t, whole)) in tensors.iter().zip(&wholes).enumerate() {
        let (mut all, mut bytes, untouched) = (read(*whole)?, Vec::new(), gaps(i, whole));
        for cell in cells(t, whole) {
            bytes.extend_from_slice(&all[cell.clone()]);
            all[cell.clone()].copy_from_slice(&untouched[cell]);
        }
        if all != untouched {
            held.fault.get_or_insert(format!("bytes between the cells of tensor {i} were written"));
        }
        held.values.push(decode(&bytes, t.dtype));
        held.bytes.push(bytes);
    }
    // The scratch counts as the last tensor.
    for (i, t) in wholes.iter().chain([&scratch]).enumerate() {
        if read(after(t))? != guard(t) {
            held.fault.get_or_insert(format!("bytes after tensor {i} were written"));
        }
    }
    Ok(held)
}

fn compare(device: &mut dyn Device, reference: &mut Reference, case: &Case) -> Result<Outcome> {
    let start = case.start();
    let got = execute(device, &[case.op], &case.tensors, case.step, &start)?;
    let expected = reference.run(&case.op, case, &start)?;
    let magnitudes = (case.magnitudes)(&mut Known::new(case, &start, &expected, reference))?;

    let (results, inputs): (Vec<usize>, Vec<usize>) = (0..start.len()).partition(|&i| case.writes(i));
    let held = |i: usize| encode(&start[i], case.tensors[i].dtype.unwrap_or(device.real()));
    let changed = inputs.into_iter().find(|&i| got.bytes[i] != held(i));
    let fault = got.fault.or_else(|| changed.map(|i| format!("tensor {i}, an input, was changed")));

    let (epsilon, tiny, dtype) = match device.real() {
        Dtype::F64 => (f64::EPSILON, f64::MIN_POSITIVE, "f64"),
        _ => (f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE), "f32"),
    };
    let precision = if case.is_rounded() { device.precision() } else { Precision::F32 };
    let dtype = if precision == Precision::F32 { dtype.into() } else { precision.to_string() };
    let factor = epsilon * (4.0 + (case.length as f64).sqrt()) + precision.of_products();
    let mut outcome = Outcome {
        operation: case.operation().into(),
        geometry: case.geometry(),
        dtype,
        worst: 0.0,
        bound: 0.0,
        index: 0,
        got: 0.0,
        expected: 0.0,
        passed: fault.is_none(),
        fault,
    };
    let mut worst_share = -1.0;
    for tensor in results {
        for (index, (&got, &expected)) in got.values[tensor].iter().zip(&expected[tensor]).enumerate() {
            let sum = magnitudes[tensor][index];
            let bound = if sum == 0.0 { 0.0 } else { factor * sum + tiny };
            let same = got == expected || (got.is_nan() && expected.is_nan());
            let error = if same { 0.0 } else { (got - expected).abs() };
            let within = error <= bound;
            outcome.passed &= within;
            // How far into, or out of, its bound; NaN is as far out as can be.
            let share = if error == 0.0 { 0.0 } else { error / bound };
            let share = if share.is_nan() { f64::INFINITY } else { share };
            if share > worst_share {
                worst_share = share;
                (outcome.worst, outcome.bound, outcome.index) = (error, bound, index);
                (outcome.got, outcome.expected) = (got, expected);
            }
        }
    }
    Ok(outcome)
}
