//! Neurons, forward and backward: y = f(x), dx = dy·f′. Backward takes f′ from the output y where that is possible, so that
//! the forward pass may overwrite its input. Cost: forward reads x and writes y; backward reads what it sees and dy, and
//! writes dx; the f32 exponentials are vectors too (`math.rs`). The gradient of biases is summed a few rows at a time, as soon as
//! they are made: it costs no memory traffic.
//!
//! f′ is 0 at the corners of relu, brelu and abs, and of sqrt at 0; at leaky's it is a.

use super::arena::gaps_fit;
use super::bias::{self, add_four, add_rows};
use super::elementwise::{PIECE, map, zip, zip2};
use super::simd::Shared;
use super::{CpuDevice, Real, Workers, scratch_of};
use crate::device::{Result, Run, Tensor};
use crate::op::{Neuron, NeuronBackward, NeuronForward, Target, Write};
use std::ops::Range;

/// Binds `$f` to the neuron's function and runs `$then`, once for each kind, so that every loop is compiled for its own.
macro_rules! with_function {
    ($neuron:expr, |$f:ident| $then:expr) => {
        match $neuron {
            Neuron::Linear { a, b } => {
                let (a, b) = (T::of(a), T::of(b));
                let $f = move |x: T| a * x + b;
                $then
            }
            Neuron::Relu | Neuron::Nrelu => {
                let $f = |x: T| if x < T::ZERO { T::ZERO } else { x };
                $then
            }
            Neuron::Brelu { a } => {
                let a = T::of(a);
                let $f = move |x: T| {
                    let x = if x < T::ZERO { T::ZERO } else { x };
                    if x > a { a } else { x }
                };
                $then
            }
            // log(1 + eˣ) = max(0, x) + log(1 + e^−|x|): nothing overflows.
            Neuron::Softrelu => {
                let $f = |x: T| (if x < T::ZERO { T::ZERO } else { x }) + (-x.abs()).exp().ln_1p();
                $then
            }
            Neuron::Tanh { a, b } => {
                let (a, b) = (T::of(a), T::of(b));
                let $f = move |x: T| a * (b * x).tanh();
                $then
            }
            Neuron::Logistic => {
                let $f = |x: T| T::ONE / (T::ONE + (-x).exp());
                $then
            }
            Neuron::Abs => {
                let $f = |x: T| x.abs();
                $then
            }
            Neuron::Square => {
                let $f = |x: T| x * x;
                $then
            }
            Neuron::Sqrt => {
                let $f = |x: T| x.sqrt();
                $then
            }
            Neuron::Log { a } => {
                let a = T::of(a);
                let $f = move |x: T| (a + x).ln();
                $then
            }
            Neuron::Drelu { a } => {
                let (unit, a) = (T::of(1.0 / a), T::of(a));
                let $f = move |x: T| x - a * (x * unit).tanh();
                $then
            }
            Neuron::Leaky { a } => {
                let a = T::of(a);
                let $f = move |x: T| if x < T::ZERO { a * x } else { x };
                $then
            }
            // eˣ − 1 = 2t/(1 − t) with t = tanh(x/2), exact to a few units where eˣ is near 1; x is below 0 there.
            Neuron::Elu { a } => {
                let (a, half) = (T::of(a), T::of(0.5));
                let $f = move |x: T| {
                    let t = (x * half).tanh();
                    if x < T::ZERO { a * ((t + t) / (T::ONE - t)) } else { x }
                };
                $then
            }
            Neuron::Swish => {
                let $f = |x: T| x / (T::ONE + (-x).exp());
                $then
            }
        }
    };
}

/// As [`with_function`], of the gradient as a function of dy and of what is seen: the neuron's input where
/// [`Neuron::derivative_reads_input`] says so, else its output. Linear sees nothing and is not here.
macro_rules! with_gradient {
    ($neuron:expr, |$f:ident| $then:expr) => {
        match $neuron {
            Neuron::Linear { a, .. } => {
                let a = T::of(a);
                let $f = move |_: T, dy: T| dy * a;
                $then
            }
            Neuron::Relu | Neuron::Nrelu => {
                let $f = |y: T, dy: T| if y > T::ZERO { dy } else { T::ZERO };
                $then
            }
            Neuron::Brelu { a } => {
                let a = T::of(a);
                let $f = move |y: T, dy: T| if (y > T::ZERO) & (y < a) { dy } else { T::ZERO };
                $then
            }
            // f′ = eˣ/(1 + eˣ) = 1 − e^−y
            Neuron::Softrelu => {
                let $f = |y: T, dy: T| dy * (T::ONE - (-y).exp());
                $then
            }
            // f′ = a·b·(1 − (y/a)²)
            Neuron::Tanh { a, b } => {
                let (ab, unit) = (T::of(a * b), T::of(if a == 0.0 { 0.0 } else { 1.0 / a }));
                let $f = move |y: T, dy: T| {
                    let t = y * unit;
                    dy * (ab * (T::ONE - t * t))
                };
                $then
            }
            Neuron::Logistic => {
                let $f = |y: T, dy: T| dy * (y * (T::ONE - y));
                $then
            }
            Neuron::Abs => {
                let $f = |x: T, dy: T| {
                    let down = if x < T::ZERO { -dy } else { T::ZERO };
                    if x > T::ZERO { dy } else { down }
                };
                $then
            }
            Neuron::Square => {
                let $f = |x: T, dy: T| dy * (x + x);
                $then
            }
            Neuron::Sqrt => {
                let $f = |y: T, dy: T| if y > T::ZERO { dy / (y + y) } else { T::ZERO };
                $then
            }
            // f′ = 1/(a + x) = e^−y
            Neuron::Log { .. } => {
                let $f = |y: T, dy: T| dy * (-y).exp();
                $then
            }
            Neuron::Drelu { a } => {
                let unit = T::of(1.0 / a);
                let $f = move |x: T, dy: T| {
                    let t = (x * unit).tanh();
                    dy * (t * t)
                };
                $then
            }
            Neuron::Leaky { a } => {
                let a = T::of(a);
                let $f = move |y: T, dy: T| if y > T::ZERO { dy } else { dy * a };
                $then
            }
            // f′ = a·eˣ = y + a
            Neuron::Elu { a } => {
                let a = T::of(a);
                let $f = move |y: T, dy: T| if y > T::ZERO { dy } else { dy * (y + a) };
                $then
            }
            // f′ = s + x·s·(1 − s) with s = 1/(1 + e⁻ˣ)
            Neuron::Swish => {
                let $f = |x: T, dy: T| {
                    let s = T::ONE / (T::ONE + (-x).exp());
                    dy * (s * (T::ONE + x * (T::ONE - s)))
                };
                $then
            }
        }
    };
}

/// y ← neuron(y), on the calling thread: the last thing that a fused operation does to what it has just made.
pub(super) fn apply<T: Real>(neuron: Neuron, y: &mut [T]) {
    if neuron != Neuron::NONE {
        with_function!(neuron, |f| map(y, f));
    }
}

/// dx ← the gradient of dy, or dx += …, on the calling thread; without dy that is dx. A linear neuron sees nothing.
fn gradient<T: Real>(neuron: Neuron, into: Write, seen: Option<&[T]>, dy: Option<&[T]>, dx: &mut [T]) {
    let Some(seen) = seen else {
        let Neuron::Linear { a, .. } = neuron else { unreachable!("{neuron}'s derivative is computed from what it sees") };
        let a = T::of(a);
        return match (dy, into) {
            (None, Write::Set) => map(dx, |dy| dy * a),
            (None, Write::Add) => map(dx, |dy| dy + dy * a),
            (Some(dy), Write::Set) => zip(dy, dx, |dy, _| dy * a),
            (Some(dy), Write::Add) => zip(dy, dx, |dy, dx| dx + dy * a),
        };
    };
    with_gradient!(neuron, |f| match (dy, into) {
        (None, Write::Set) => zip(seen, dx, f),
        (None, Write::Add) => zip(seen, dx, |seen, dy| dy + f(seen, dy)),
        (Some(dy), Write::Set) => zip2(seen, dy, dx, |seen, dy, _| f(seen, dy)),
        (Some(dy), Write::Add) => zip2(seen, dy, dx, |seen, dy, dx| dx + f(seen, dy)),
    })
}

/// dx ← dx · neuron′ in cells of `c` elements, on the calling thread: the last thing that a fused operation does to a gradient
/// that it has just made. What is seen, which may go on after dx ends, and dx come with the distance of their cells.
pub(super) fn mask<T: Real>(neuron: Neuron, c: usize, (seen, pitch): (&[T], usize), (dx, dx_pitch): (&mut [T], usize)) {
    if pitch == c && dx_pitch == c {
        return gradient(neuron, Write::Set, Some(&seen[..dx.len()]), None, dx);
    }
    for (dx, seen) in dx.chunks_mut(dx_pitch).zip(seen.chunks(pitch)) {
        gradient(neuron, Write::Set, Some(&seen[..c]), None, &mut dx[..c]);
    }
}

/// Nanoseconds that `elements` elements take on one core, roughly.
fn nanoseconds(neuron: Neuron, elements: usize) -> usize {
    match neuron {
        Neuron::Softrelu | Neuron::Log { .. } => elements * 8,
        Neuron::Tanh { .. } | Neuron::Logistic | Neuron::Drelu { .. } | Neuron::Elu { .. } | Neuron::Swish => elements,
        _ => elements / 4,
    }
}

/// How tensors are cut for what goes element by element: into pieces of some runs of `width` elements. A run is a cell where one of
/// the tensors has gaps, and otherwise a piece.
#[derive(Clone, Copy)]
struct Cut {
    gaps: bool,
    width: usize,
    /// Runs of a piece.
    runs: usize,
}

impl Cut {
    fn new(tensors: &[&Tensor]) -> Self {
        let (first, gaps) = (tensors[0].shape, tensors.iter().any(|t| !t.is_dense()));
        assert!(tensors.iter().all(|t| t.shape.elements() == first.elements() && (!gaps || t.shape.c == first.c)));
        let width = if gaps { first.c } else { PIECE };
        Self { gaps, width, runs: (PIECE / width).max(1) }
    }

    /// A tensor and the elements from one of its runs to the next.
    fn in_runs<T>(&self, (x, pitch): (T, usize)) -> (T, usize) {
        (x, if self.gaps { pitch } else { self.width })
    }

    /// Calls `work(i, run)` for run number `i` of y, on all threads.
    fn each<T: Real>(
        &self,
        workers: &Workers,
        nanoseconds: usize,
        (y, pitch): (&mut [T], usize),
        work: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        workers.pieces(nanoseconds, self.runs * pitch, y, |piece, y| {
            for (i, y) in y.chunks_mut(pitch).enumerate() {
                let width = self.width.min(y.len());
                work(piece * self.runs + i, &mut y[..width]);
            }
        });
    }
}

/// Run number `i`, as long as another tensor's.
fn run_of<T>((x, pitch): (&[T], usize), i: usize, width: usize) -> &[T] {
    &x[i * pitch..][..width]
}

impl<T: Real> Run<NeuronForward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &NeuronForward<Tensor>, _: Tensor) -> Result<()> {
        let (mut b, neuron, cut) = (self.arena.borrow(), op.neuron, Cut::new(&[&op.x, &op.y]));
        let x = (op.x.slot != op.y.slot).then(|| cut.in_runs(b.read_cells::<T>(op.x)));
        let y = cut.in_runs(b.write_cells::<T>(op.y));
        let ns = nanoseconds(neuron, op.y.shape.elements());
        cut.each(&self.workers, ns, y, |i, y| match x {
            None => apply(neuron, y),
            Some(x) => {
                let x = run_of(x, i, y.len());
                with_function!(neuron, |f| zip(x, y, |x, _| f(x)))
            }
        });
        Ok(())
    }

    fn supports(&self, op: &NeuronForward<Tensor>) -> bool {
        gaps_fit(op, &["x", "y"])
    }
}

impl<T: Real> Run<NeuronBackward<Tensor>> for CpuDevice<T> {
    fn run(&mut self, op: &NeuronBackward<Tensor>, scratch: Tensor) -> Result<()> {
        let (mut b, neuron, into) = (self.arena.borrow(), op.neuron, op.dx.into);
        // A linear neuron's derivative needs nothing.
        let seen = op.seen.filter(|_| !matches!(neuron, Neuron::Linear { .. }));
        let cut = Cut::new(&[&op.dx.at, &op.dy, seen.as_ref().unwrap_or(&op.dy)]);
        let ns = nanoseconds(neuron, op.dx.at.shape.elements());
        let apart = (op.dy.slot != op.dx.at.slot).then_some(op.dy);
        let [seen_at, dy] = [seen, apart].map(|t| t.map(|t| b.read_cells::<T>(t)));
        let dx = b.write_cells::<T>(op.dx.at);
        let Some(db) = op.db else {
            let [seen, dy] = [seen_at, dy].map(|x| x.map(|x| cut.in_runs(x)));
            cut.each(&self.workers, ns, cut.in_runs(dx), |i, dx| {
                let [seen, dy] = [seen, dy].map(|x| x.map(|x| run_of(x, i, dx.len())));
                gradient(neuron, into, seen, dy, dx);
            });
            return Ok(());
        };
        assert!(into == Write::Set, "the bias gradient of what is added to is not that of the neuron's alone");
        let pitch = |t: &Tensor| bias::row_pitch(t, &db.at);
        let row = Masked {
            neuron,
            seen: seen_at.zip(seen.as_ref()).map(|((x, _), t)| (x, pitch(t))),
            dy: dy.map(|(x, _)| (x, pitch(&op.dy))),
            dx: Shared::new(dx.0),
            pitch: pitch(&op.dx.at),
        };
        let rows = op.dx.at.shape.elements() / db.at.shape.elements();
        let (db, scratch) = (b.target::<T>(db), scratch_of::<T>(&mut b, scratch));
        bias::sum(&self.workers, ns, rows, db, scratch, |rows, from, sum| {
            // SAFETY: each row and column is made once.
            unsafe { row.add(rows, from, sum) }
        });
        Ok(())
    }

    fn scratch(&self, op: &NeuronBackward<Tensor>) -> usize {
        op.db.map_or(0, |db| bias::scratch::<T>(&op.dx.at, &db.at))
    }

    /// The bias gradient sums what is set; with gaps it sums cells: biases are shared by the places.
    fn supports(&self, op: &NeuronBackward<Tensor>) -> bool {
        let dense = [Some(op.dy), Some(op.dx.at), op.seen].iter().flatten().all(Tensor::is_dense);
        let sums = |db: &Target<Tensor>| !op.dx.adds() && (dense || db.at.shape.elements() == op.dx.at.shape.c);
        gaps_fit(op, &["seen", "dy", "dx"]) && op.db.as_ref().is_none_or(sums)
    }
}

/// A gradient that is made a few rows at a time, each added to a sum while it is in the cache. Tensors come with the distance of
/// their rows.
struct Masked<'a, T> {
    neuron: Neuron,
    seen: Option<(&'a [T], usize)>,
    /// `None`: dx.
    dy: Option<(&'a [T], usize)>,
    dx: Shared<'a, T>,
    pitch: usize,
}

/// Elements that are made before they are summed: with what they are made of, they stay in the first-level cache.
const SUMMED: usize = 2048;

impl<T: Real> Masked<'_, T> {
    /// Makes some columns of some rows, and adds them to sum.
    ///
    /// # Safety
    /// No other thread makes these.
    unsafe fn add(&self, rows: Range<usize>, from: usize, sum: &mut [T]) {
        let (n, Self { neuron, seen, dy, dx, pitch }) = (sum.len(), self);
        // Whole rows without gaps are one run. Sums take four rows at a time.
        let whole = [seen, dy].iter().all(|x| x.is_none_or(|(_, pitch)| pitch == n)) && *pitch == n;
        let block = (SUMMED / n / 4).max(1) * 4;
        for first in rows.clone().step_by(block) {
            let count = block.min(rows.end - first);
            let (runs, len) = if whole { (1, count * n) } else { (count, n) };
            for i in first..first + runs {
                let [seen, dy] = [*seen, *dy].map(|x| x.map(|(x, pitch)| &x[i * pitch + from..][..len]));
                // SAFETY: these elements are this call's alone.
                gradient(*neuron, Write::Set, seen, dy, unsafe { dx.part(i * pitch + from, len) });
            }
            if whole {
                // SAFETY: as above.
                add_rows(unsafe { dx.part(first * n, len) }, n, 0..count, 0, sum);
                continue;
            }
            // SAFETY: as above.
            let row = |i: usize| &*unsafe { dx.part(i * pitch + from, n) };
            let fours = count / 4 * 4;
            for i in (first..first + fours).step_by(4) {
                add_four([row(i), row(i + 1), row(i + 2), row(i + 3)], sum);
            }
            for i in first + fours..first + count {
                add_rows(row(i), n, 0..1, 0, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Shape;
    use crate::device::cpu::arena::tests::{has_the_bits_of_dense_tensors, has_the_bits_of_its_parts};

    const NEURONS: [Neuron; 4] =
        [Neuron::Relu, Neuron::Linear { a: -1.5, b: 0.25 }, Neuron::Tanh { a: 1.75, b: 0.625 }, Neuron::Elu { a: 0.75 }];

    /// Biases' sums cut into parts and into columns; of few elements and of many; rows that four does not divide.
    const SHAPES: [Shape; 6] = [
        Shape::new(1, 1, 1, 1),
        Shape::new(3, 2, 5, 7),
        Shape::new(5, 13, 11, 67),
        Shape::new(9, 24, 24, 20),
        Shape::new(7, 1, 1, 3000),
        Shape::new(67, 5, 1, 1100),
    ];

    fn backward(neuron: Neuron, dx: usize, into: Write, db: Option<Target<usize>>) -> NeuronBackward<usize> {
        let linear = matches!(neuron, Neuron::Linear { .. });
        NeuronBackward { neuron, seen: (!linear).then_some(0), dy: 1, dx: Target { at: dx, into }, db }
    }

    /// The gradient with the biases' has the bits of the two, with gaps and without, in place and not.
    #[test]
    fn sums_have_the_bits_of_their_parts() {
        for (neuron, shape) in NEURONS.into_iter().flat_map(|neuron| SHAPES.map(|shape| (neuron, shape))) {
            for (dx, into) in [(1, Write::Set), (2, Write::Set), (2, Write::Add)] {
                for (gaps, untied) in [([0; 3], false), ([0; 3], true), ([5, 0, 3], false), ([0, 8, 8], false)] {
                    let db = if untied { Shape { n: 1, ..shape } } else { Shape::new(1, 1, 1, shape.c) };
                    let op = backward(neuron, dx, Write::Set, Some(Target { at: 3, into }));
                    let tensors = [(shape, gaps[0]), (shape, gaps[1]), (shape, gaps[2]), (db, 0)];
                    assert!(has_the_bits_of_its_parts(op, &tensors), "{neuron} of {shape:?}, gaps {gaps:?}");
                }
            }
        }
    }

    #[test]
    fn gaps_change_no_bits() {
        for (neuron, shape) in NEURONS.into_iter().flat_map(|neuron| SHAPES.map(|shape| (neuron, shape))) {
            for gaps in [[0, 0, 9], [5, 0, 3], [1, 8, 0]] {
                let tensors = gaps.map(|gap| (shape, gap));
                for y in [1, 2] {
                    assert!(has_the_bits_of_dense_tensors(NeuronForward { neuron, x: 1, y }, &tensors));
                    for into in [Write::Set, Write::Add] {
                        assert!(has_the_bits_of_dense_tensors(backward(neuron, y, into, None), &tensors));
                    }
                }
            }
        }
    }
}
