//! Neurons, forward and backward: y = f(x), dx = dy·f′. Backward takes f′ from the output y where that is possible, so that
//! the forward pass may overwrite its input. Cost: forward reads x and writes y; backward reads what it sees and dy, and
//! writes dx; the f32 exponentials are vectors too (`math.rs`). The gradient of biases is summed a few rows at a time, as soon as
//! they are made: it costs no memory traffic.

use super::arena::gaps_fit;
use super::bias::{self, add_four, add_rows};
use super::elementwise::{PIECE, map, zip, zip2};
use super::simd::Shared;
use super::{CpuDevice, Real, Workers, scratch_of};
use crate::device::{Result, Run, Tensor};
use crate::op::{Neuron, NeuronBackward, NeuronForward, Target, Write, neuron_table};
use std::ops::Range;

/// y ← f(x), or f(y) without x.
fn forward_by<T: Real>(f: impl Fn(T) -> T, x: Option<&[T]>, y: &mut [T]) {
    match x {
        None => map(y, f),
        Some(x) => zip(x, y, |x, _| f(x)),
    }
}

/// dx ← f(seen, dy), or dx += …; without dy that is dx.
fn backward_by<T: Real>(f: impl Fn(T, T) -> T, into: Write, seen: &[T], dy: Option<&[T]>, dx: &mut [T]) {
    match (dy, into) {
        (None, Write::Set) => zip(seen, dx, f),
        (None, Write::Add) => zip(seen, dx, |seen, dy| dy + f(seen, dy)),
        (Some(dy), Write::Set) => zip2(seen, dy, dx, |seen, dy, _| f(seen, dy)),
        (Some(dy), Write::Add) => zip2(seen, dy, dx, |seen, dy, dx| dx + f(seen, dy)),
    }
}

/// The loops, compiled for each neuron.
macro_rules! compute {
    ($(
        $name:ident $text:literal $([$($p:ident: $of:literal, $check:tt $(= $default:tt)?);*])? $formula:literal $sees:ident
        { $nanoseconds:literal, $value:block, $gradient:block } $verify:tt
    )*) => {
        /// y ← neuron(x), or neuron(y) without x, on the calling thread.
        fn forward<T: Real>(neuron: Neuron, x: Option<&[T]>, y: &mut [T]) {
            #[allow(unused_variables)]
            match neuron {
                $(Neuron::$name { $($($p),*)? } => forward_by($value, x, y),)*
            }
        }

        /// As [`gradient`], of a neuron whose derivative sees something.
        fn seen_gradient<T: Real>(neuron: Neuron, into: Write, seen: &[T], dy: Option<&[T]>, dx: &mut [T]) {
            #[allow(unused_variables)]
            match neuron {
                $(Neuron::$name { $($($p),*)? } => backward_by($gradient, into, seen, dy, dx),)*
            }
        }

        /// Nanoseconds that `elements` elements take on one core, roughly.
        fn nanoseconds(neuron: Neuron, elements: usize) -> usize {
            let each = match neuron {
                $(Neuron::$name { .. } => $nanoseconds,)*
            };
            (elements as f64 * each) as usize
        }
    };
}
neuron_table!(compute);

/// y ← neuron(y), on the calling thread: the last thing that a fused operation does to what it has just made.
pub(super) fn apply<T: Real>(neuron: Neuron, y: &mut [T]) {
    if neuron != Neuron::NONE {
        forward(neuron, None, y);
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
    seen_gradient(neuron, into, seen, dy, dx);
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
        cut.each(&self.workers, ns, y, |i, y| forward(neuron, x.map(|x| run_of(x, i, y.len())), y));
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
