//! Is this device right? Every operation of [`Device`], over a table of awkward geometries and over random ones, against
//! the CPU in f64.
//!
//! A case's tensors hold random numbers that are f32 exactly, so both devices start from the same ones. A result may differ
//! from the reference by
//!
//! > ε·(4 + √n)·Σ|terms| + the smallest normal number,
//!
//! where ε is the distance from 1 to the next number of the device's type, n the number of terms that the result sums up,
//! and Σ|terms| their sum without signs: rounding errors behave like a random walk of n steps, each below ε times the sum so
//! far, and the 4 is for the few roundings of every operation and for exponentials that are a unit or two off. Maxima, masks,
//! counts, labels and fills have no such sum: they must be equal. So must every input after the call, and 256 bytes behind
//! every tensor. Where the device rounds the operands of convolutions and products to tf32 or bf16, by at most u = 2^-11 or
//! 2^-8 of each ([`Precision`]), those results may differ by (2u + u²)·Σ|terms| more.
//!
//! The table costs less than a second on the CPU in release builds. The device makes one allocation, as large as the
//! largest case.

mod cases;
mod operation;
mod table;

pub use table::{cases, random_case};

use crate::device::cpu::CpuDevice;
use crate::device::{Device, Dtype, Precision, Result, Shape, Slot, Tensor};
use operation::{Call, Role, start, step_values};
use std::fmt;
use std::sync::Arc;

/// An operation on tensors of certain shapes, holding certain numbers.
#[derive(Clone, Debug)]
pub struct Case {
    operation: Arc<dyn Call>,
    seed: u64,
}

impl Case {
    /// The operation: a method of [`Device`].
    pub fn operation(&self) -> &'static str {
        self.operation.name()
    }

    /// Whether it is one that a [`Precision`] rounds the operands of.
    pub fn is_rounded(&self) -> bool {
        self.operation.is_rounded()
    }

    /// What it is applied to.
    pub fn geometry(&self) -> String {
        self.operation.geometry()
    }
}

/// As in `conv_forward 2 of 5×7×3 k4 3×2 s2×1 p1 d1 g1 bias relu`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation(), self.geometry())
    }
}

/// How a device did in one case: at the element that is worst by its bound.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The method of [`Device`].
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
    /// What else went wrong: a changed input, bytes written behind a tensor.
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

/// Runs cases on a device that nothing has been allocated on yet, and on the reference. `Err` is the device's own.
pub fn run(device: &mut dyn Device, cases: &[Case]) -> Result<Vec<Outcome>> {
    let mut reference = CpuDevice::<f64>::new(1);
    allocate(device, cases)?;
    allocate(&mut reference, cases)?;
    cases.iter().map(|case| compare(device, &mut reference, case)).collect()
}

/// The bytes of all results of the cases, one vector a case: two devices that should agree to the bit can be compared.
pub fn results(device: &mut dyn Device, cases: &[Case]) -> Result<Vec<Vec<u8>>> {
    allocate(device, cases)?;
    let one = |case: &Case| {
        let held = execute(device, case.operation.as_ref(), &start(case.operation.as_ref(), case.seed))?;
        let written = case.operation.operands().into_iter().zip(held.bytes).filter(|(o, _)| o.role != Role::In);
        Ok(written.flat_map(|(_, bytes)| bytes).collect())
    };
    cases.iter().map(one).collect()
}

/// Bytes behind each tensor that nothing may write.
const GUARD: usize = 256;
/// What is in them.
const GUARDED: [u8; GUARD] = [0xa5; GUARD];

/// The tensors of an operation one after the other, its scratch last, each with a guard behind it.
fn layout(device: &dyn Device, operation: &dyn Call) -> (Vec<Tensor>, Tensor, usize) {
    let mut end = 0;
    let mut place = |shape: Shape, dtype: Dtype| {
        let t = Tensor { slot: Slot(end), shape, dtype };
        end = (end + t.bytes()).next_multiple_of(256) + GUARD;
        t
    };
    let real = device.real();
    let tensors = operation.operands().iter().map(|o| place(o.shape, o.dtype.unwrap_or(real))).collect();
    let scratch = operation.op().map_or(0, |op| device.scratch(&op));
    let scratch = place(Shape::new(1, 1, 1, scratch), Dtype::U8);
    (tensors, scratch, end)
}

fn allocate(device: &mut dyn Device, cases: &[Case]) -> Result<()> {
    let bytes = cases.iter().map(|case| layout(device, case.operation.as_ref()).2).max().unwrap_or(0);
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

/// What the tensors hold after a call.
struct Held {
    bytes: Vec<Vec<u8>>,
    values: Vec<Vec<f64>>,
    fault: Option<String>,
}

/// Fills an operation's tensors, calls it, reads them.
fn execute(device: &mut dyn Device, operation: &dyn Call, start: &[Vec<f64>]) -> Result<Held> {
    let (tensors, scratch, _) = layout(device, operation);
    let behind = |t: &Tensor| {
        let slot = Slot(t.slot.0 + t.bytes());
        let room = (t.slot.0 + t.bytes()).next_multiple_of(256) + GUARD - slot.0;
        Tensor { slot, shape: Shape::new(1, 1, 1, room), dtype: Dtype::U8 }
    };
    let guard = |t: &Tensor| GUARDED.repeat(2)[..behind(t).bytes()].to_vec();
    for (t, values) in tensors.iter().zip(start) {
        device.write(*t, &encode(values, t.dtype))?;
        device.write(behind(t), &guard(t))?;
    }
    device.write(behind(&scratch), &guard(&scratch))?;
    device.set_step(step_values(operation))?;
    operation.call(device, &tensors, scratch)?;

    let mut held = Held { bytes: Vec::new(), values: Vec::new(), fault: None };
    let mut read = |t: Tensor| {
        let mut bytes = vec![0; t.bytes()];
        device.read(t, &mut bytes).map(|()| bytes)
    };
    for (i, t) in tensors.iter().chain([&scratch]).enumerate() {
        if read(behind(t))? != guard(t) {
            held.fault.get_or_insert(format!("bytes behind tensor {i} were written"));
        }
    }
    for (i, (t, operand)) in tensors.iter().zip(operation.operands()).enumerate() {
        let bytes = read(*t)?;
        if operand.role == Role::In && bytes != encode(&start[i], t.dtype) {
            held.fault.get_or_insert(format!("tensor {i}, an input, was changed"));
        }
        held.values.push(decode(&bytes, t.dtype));
        held.bytes.push(bytes);
    }
    Ok(held)
}

fn compare(device: &mut dyn Device, reference: &mut dyn Device, case: &Case) -> Result<Outcome> {
    let operation = case.operation.as_ref();
    let start = start(operation, case.seed);
    let got = execute(device, operation, &start)?;
    let expected = execute(reference, operation, &start)?.values;
    let magnitudes =
        operation.magnitudes(&start, &expected, &mut |op, start| execute(reference, op, start).map(|held| held.values))?;

    let (epsilon, tiny, dtype) = match device.real() {
        Dtype::F64 => (f64::EPSILON, f64::MIN_POSITIVE, "f64"),
        _ => (f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE), "f32"),
    };
    let precision = if operation.is_rounded() { device.precision() } else { Precision::F32 };
    let dtype = if precision == Precision::F32 { dtype.into() } else { precision.to_string() };
    let factor = epsilon * (4.0 + (operation.length() as f64).sqrt()) + precision.of_products();
    let mut outcome = Outcome {
        operation: operation.name().into(),
        geometry: operation.geometry(),
        dtype,
        worst: 0.0,
        bound: 0.0,
        index: 0,
        got: 0.0,
        expected: 0.0,
        passed: got.fault.is_none(),
        fault: got.fault,
    };
    let mut worst_share = -1.0;
    for (tensor, operand) in operation.operands().iter().enumerate() {
        if operand.role == Role::In {
            continue;
        }
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
