//! A case, and the words that the files of `cases/` write theirs in.

use super::Reference;
use crate::device::philox::{Purpose, Stream};
use crate::device::{Dtype, METRICS, Result, Shape, StepValues};
use crate::op::{Access, Neuron, Op, Write};
use std::fmt;
use std::sync::Arc;

/// An operation on tensors of certain shapes, holding certain numbers.
#[derive(Clone)]
pub struct Case {
    /// Its operands are numbers of tensors; what works in place names one twice.
    pub(super) op: Op<usize>,
    /// Those that the operation does not name must stay as they are.
    pub(super) tensors: Vec<Operand>,
    pub(super) step: StepValues,
    /// Terms that one result sums up.
    pub(super) length: usize,
    pub(super) magnitudes: Magnitudes,
    /// What its text says of the tensors, where the operation's parameters do not.
    pub(super) note: String,
    /// Decides what the tensors hold.
    pub(super) seed: u64,
}

impl Case {
    pub(super) fn new(op: impl Into<Op<usize>>, tensors: impl Into<Vec<Operand>>, magnitudes: Magnitudes) -> Self {
        let (op, tensors, note) = (op.into(), tensors.into(), String::new());
        let mut case = Self { op, tensors, step: STEP, length: 1, magnitudes, note, seed: 0 };
        for i in 0..case.tensors.len() {
            if case.has(i, &[Access::Writes]) && !case.has(i, &[Access::Reads, Access::Adds]) {
                case.tensors[i].start = Start::Undefined;
            }
        }
        case
    }

    /// With results that sum up so many terms.
    pub(super) fn summing(self, length: usize) -> Self {
        Self { length, ..self }
    }

    /// In a step in which so many images count.
    pub(super) fn counting(mut self, images: usize) -> Self {
        self.step.images = images as u32;
        self
    }

    /// With gaps between the cells of these tensors: each is some channels of a larger one, which has `before` channels more in
    /// front of them and `after` behind. The gaps hold NaN, which spreads to results where it is read, and must hold the same
    /// bytes afterwards. The reference works without gaps.
    pub(super) fn with_gaps(mut self, tensors: &[usize], before: usize, after: usize) -> Self {
        tensors.iter().for_each(|&i| self.tensors[i].gaps = [before, after]);
        self
    }

    /// With something to be said in its text.
    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether the operation accesses a tensor in one of these ways.
    fn has(&self, tensor: usize, ways: &[Access]) -> bool {
        let mut has = false;
        self.op.operands(&mut |access, t| has |= *t == tensor && ways.contains(&access));
        has
    }

    /// Whether a tensor is, or is among, the operation's results.
    pub(super) fn writes(&self, tensor: usize) -> bool {
        self.has(tensor, &[Access::Writes, Access::Adds])
    }

    /// The operation's name.
    pub fn operation(&self) -> &'static str {
        self.op.name()
    }

    /// Whether a [`Precision`](crate::device::Precision) rounds the operands of it, or of an operation that it does the work of.
    pub fn is_rounded(&self) -> bool {
        let rounded = |op: &Op<usize>| {
            matches!(op, Op::ConvForward(_) | Op::ConvBackwardImage(_) | Op::ConvBackwardFilters(_) | Op::Product(_))
        };
        rounded(&self.op) || self.op.parts(&mut |&like| like).is_some_and(|parts| parts.iter().any(rounded))
    }

    /// What it is applied to.
    pub fn geometry(&self) -> String {
        let (parameters, first) = (self.op.describe(), self.tensors[0].shape);
        let counted = if self.step.images == STEP.images { String::new() } else { format!("{}/", self.step.images) };
        // A geometry among the parameters has the shape already.
        let shape = if parameters.contains('×') { String::new() } else { format!("{counted}{} of {first}", first.n) };
        let mut named = Vec::new();
        self.op.operands(&mut |_, t| named.push(*t));
        let in_place = if (1..named.len()).any(|i| named[..i].contains(&named[i])) { " in place" } else { "" };
        let mut gaps = String::new();
        for (i, t) in self.tensors.iter().enumerate() {
            if t.gaps != [0; 2] {
                gaps += &format!(" tensor {i} between {} and {}", t.gaps[0], t.gaps[1]);
            }
        }
        let note = if self.note.is_empty() { String::new() } else { format!(" {}", self.note) };
        format!("{shape}{parameters}{in_place}{gaps}{note}").trim_start().into()
    }

    /// What the tensors hold before the operation: numbers that are f32 exactly, so that every device starts from the same.
    pub(super) fn start(&self) -> Vec<Vec<f64>> {
        let fill = |(number, operand): (usize, &Operand)| {
            let mut random = Stream::new(self.seed, Purpose::Data, number as u32, 0);
            let mut uniform = |a: f64, b: f64| f64::from((a + (b - a) * random.uniform()) as f32);
            let element = |i: usize| match operand.start {
                Start::Undefined => f64::NAN,
                Start::Uniform(a, b) => uniform(a, b),
                Start::Clipped(a, b, least, most) => f64::from(uniform(a, b).clamp(least, most) as f32),
                Start::Ties => (uniform(-1.0, 1.0) * 4.0).round() / 4.0,
                Start::Whole(bound) => uniform(0.0, f64::from(bound)).floor().min(f64::from(bound) - 1.0),
                Start::Window => (if i.is_multiple_of(2) { uniform(-32.0, 32.0) } else { uniform(1.0, 40.0) }).round() / 16.0,
                Start::Places(rows, columns) => match i % 3 {
                    0 => uniform(-3.0, f64::from(rows) + 4.0).floor(),
                    1 => uniform(-3.0, f64::from(columns) + 4.0).floor(),
                    _ => uniform(0.0, 2.0).floor().min(1.0),
                },
            };
            (0..operand.shape.elements()).map(element).collect()
        };
        self.tensors.iter().enumerate().map(fill).collect()
    }
}

/// As in `conv_forward 2 of 5×7×3 k4 3×2 s2×1 p1 d1 g1 relu with b`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation(), self.geometry())
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} seed {}", self.seed)
    }
}

/// The step's values, where a case does not change them.
pub(super) const STEP: StepValues = StepValues {
    seed: 0x0123_4567_89ab_cdef,
    step: 5_000_000_123,
    first_image: 3,
    images: u32::MAX,
    gradient_scale: 1.0 / 7.0,
    learning_rate: 0.1,
    momentum: 0.9,
};

/// A cost's coefficient.
pub(super) const COEFFICIENT: f64 = 0.75;
/// What a cost multiplies its gradients by.
pub(super) const FACTOR: f64 = COEFFICIENT * STEP.gradient_scale;

/// A tensor of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub shape: Shape,
    /// `None`: the device's real.
    pub dtype: Option<Dtype>,
    pub start: Start,
    /// Channels of a larger tensor in front of its cells and behind them.
    pub gaps: [usize; 2],
}

impl Operand {
    /// The same without gaps.
    pub fn dense(self) -> Self {
        Self { gaps: [0; 2], ..self }
    }
}

/// What a tensor holds before the operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// NaN: it is only written.
    Undefined,
    /// Uniform.
    Uniform(f64, f64),
    /// Uniform, then clipped: corners are hit.
    Clipped(f64, f64, f64, f64),
    /// Multiples of ¼ from −1 to 1: many are equal.
    Ties,
    /// Integers from 0 on, below the bound.
    Whole(u32),
    /// A window of a resampling: first cells from −2 to 2, steps from 1/16 to 5/2, all multiples of 1/16, so that places are exact.
    Window,
    /// Places around sources of so many rows and columns.
    Places(i32, i32),
}

/// Uniform around 0.
pub(super) const UNIT: Start = Start::Uniform(-1.0, 1.0);

/// A tensor of reals. Where the operation writes it without reading it, it is [`Start::Undefined`] all the same.
pub(super) fn real(shape: Shape, start: Start) -> Operand {
    Operand { shape, dtype: None, start, gaps: [0; 2] }
}

/// A tensor of reals from −1 to 1.
pub(super) fn unit(shape: Shape) -> Operand {
    real(shape, UNIT)
}

/// A vector of integers.
pub(super) fn integers(elements: usize, start: Start) -> Operand {
    Operand { dtype: Some(Dtype::I32), ..real(vector(elements), start) }
}

/// The labels of images that have as many classes as elements.
pub(super) fn labels_of(shape: Shape) -> Operand {
    integers(shape.n, Start::Whole(shape.image() as u32))
}

/// The four metrics.
pub(super) fn metrics() -> Operand {
    real(vector(METRICS), Start::Whole(9))
}

pub(super) fn vector(c: usize) -> Shape {
    Shape::new(1, 1, 1, c)
}

/// Numbers for each tensor.
pub(super) type Values = Vec<Vec<f64>>;

/// Makes Σ |terms| of every result, tensor by tensor; 0 where the result must be exact. What stands for a tensor that is not
/// written is not looked at.
pub(super) type Magnitudes = Arc<dyn Fn(&mut Known<'_>) -> Result<Values> + Send + Sync>;

/// What is known of a case once the reference has run it.
pub(super) struct Known<'a> {
    pub case: &'a Case,
    /// What the tensors held.
    pub start: &'a [Vec<f64>],
    /// What they hold.
    pub result: &'a [Vec<f64>],
    /// The size of what a result was added to; 0 where it was set.
    pub before: Values,
    reference: &'a mut Reference,
}

impl<'a> Known<'a> {
    pub fn new(case: &'a Case, start: &'a [Vec<f64>], result: &'a [Vec<f64>], reference: &'a mut Reference) -> Self {
        let size = |(i, v): (usize, &Vec<f64>)| {
            let added = case.has(i, &[Access::Adds]);
            v.iter().map(|v| if added { v.abs() } else { 0.0 }).collect()
        };
        Self { case, start, result, before: start.iter().enumerate().map(size).collect(), reference }
    }

    /// What another operation on these tensors makes of other numbers.
    pub fn run(&mut self, op: impl Into<Op<usize>>, start: &[Vec<f64>]) -> Result<Values> {
        self.reference.run(&op.into(), self.case, start)
    }

    /// What the tensors held, and from number `first` on without signs.
    pub fn absolutes(&self, first: usize) -> Values {
        let size = |(i, v): (usize, &Vec<f64>)| v.iter().map(|v| if i < first { *v } else { v.abs() }).collect();
        self.start.iter().enumerate().map(size).collect()
    }
}

/// Any function, where the others do not serve.
pub(super) fn by(f: impl Fn(&mut Known<'_>) -> Result<Values> + Send + Sync + 'static) -> Magnitudes {
    Arc::new(f)
}

/// A function that fills in what is not 0.
pub(super) fn filled(f: impl Fn(&Known<'_>, &mut [Vec<f64>]) + Send + Sync + 'static) -> Magnitudes {
    by(move |k| {
        let mut sums: Values = k.start.iter().map(|v| vec![0.0; v.len()]).collect();
        f(k, &mut sums);
        Ok(sums)
    })
}

/// A function of each element of one tensor.
pub(super) fn each(tensor: usize, f: impl Fn(&Known<'_>, usize) -> f64 + Send + Sync + 'static) -> Magnitudes {
    filled(move |k, sums| sums[tensor].iter_mut().enumerate().for_each(|(i, sum)| *sum = f(k, i)))
}

/// Every result is exact.
pub(super) fn exact() -> Magnitudes {
    filled(|_, _| {})
}

/// Of an operation that is linear in its tensors from number `first` on: what it makes of their absolute values.
pub(super) fn linear(first: usize) -> Magnitudes {
    by(move |k| k.run(k.case.op, &k.absolutes(first)))
}

/// What another operation, of no negative terms, makes of absolute values.
pub(super) fn absolute(op: impl Into<Op<usize>>) -> Magnitudes {
    let op = op.into();
    by(move |k| k.run(op, &k.absolutes(0)))
}

/// What is only moved is exact, but where it is added.
pub(super) fn moved(into: Write) -> Magnitudes {
    if into == Write::Set { exact() } else { linear(0) }
}

/// A few roundings of each result, and of what it was added to.
pub(super) fn rounded(tensor: usize) -> Magnitudes {
    each(tensor, move |k, i| k.result[tensor][i].abs() + 2.0 * k.before[tensor][i])
}

/// Of an operation that ends in a neuron, and is `op` without it: the neuron passes an error of y on by its slope, and rounds
/// its own result.
pub(super) fn through(neuron: Neuron, op: impl Into<Op<usize>>, y: usize) -> Magnitudes {
    let op = op.into();
    let slope = match neuron {
        Neuron::Linear { a, .. } => a.abs(),
        Neuron::Tanh { a, b } => (a * b).abs(),
        Neuron::Leaky { a } | Neuron::Elu { a } => a.max(1.0),
        _ => 1.0,
    };
    by(move |k| {
        let mut sums = k.run(op, &k.absolutes(0))?;
        sums[y].iter_mut().zip(&k.result[y]).for_each(|(sum, y)| *sum = *sum * slope + y.abs());
        Ok(sums)
    })
}

/// The image of `size` elements that element `i` is in.
pub(super) fn image(x: &[f64], i: usize, size: usize) -> &[f64] {
    &x[i / size * size..][..size]
}

/// The largest of an image's elements, and Σ eˣ over it as a multiple of that one's.
pub(super) fn softmax(image: &[f64]) -> (f64, f64) {
    let most = image.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (most, image.iter().map(|x| (x - most).exp()).sum())
}
