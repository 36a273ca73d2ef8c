//! The memory plan: where each tensor of a net lies in the device's one allocation. What is kept for the whole run comes first;
//! behind it the programs' values have the places that they need while they need them, from the first operation on them to
//! the last. Programs that never run at once (training and testing) share that part.
//!
//! Placement is greedy: one buffer after the other, each at the lowest place that is free for its whole life, the largest
//! first (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020), or those that live longest, or
//! first; the order that takes the least memory wins.

use super::graph::{Graph, Labels, Parameter};
use super::passes::{self, Fold};
use super::writer::{self, Load};
use crate::device::{Device, Dtype, ImageGeometry, Place, Shape, Slot, Tensor};
use crate::layer::Phase;
use crate::op::{Access, Op, Pass, Program, Step, Value};
use std::cmp::Reverse;

/// Every tensor begins on such a boundary: what the widest load of any device wants.
pub(super) const ALIGNMENT: usize = 256;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward, backward and update.
    Train,
    /// Forward alone, with batch normalisations folded into the layers before them where that can be.
    Infer,
}

/// The tensors that a batch comes in by.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// u8 `[n, h, w, c]`, as the source has them.
    pub images: Tensor,
    /// i32 `[n][3]`: [`Place`].
    pub places: Tensor,
    /// i32 `[n]`, or real `[n, 1, 1, values]`.
    pub labels: Tensor,
    /// The mean that is subtracted: real.
    pub mean: Tensor,
}

/// Where all gradients' norm is kept; both are one real.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    /// Σ of the gradients' squares.
    pub sum: Tensor,
    /// What the gradients are multiplied by.
    pub factor: Tensor,
}

/// What is kept for the whole run.
#[derive(Debug)]
pub struct Kept {
    /// Parameters, in the graph's order.
    pub parameters: Vec<Tensor>,
    /// Their gradients; `None` without training, and for what is not learned, as are momenta.
    pub gradients: Vec<Option<Tensor>>,
    /// Their momenta.
    pub momenta: Vec<Option<Tensor>>,
    /// Where a batch is fed.
    pub feed: Feed,
    /// The metrics of all costs, one after the other.
    pub metrics: Tensor,
    /// For `train.clip_norm`.
    pub clip: Clip,
    /// Mean |w| and mean |v| of each parameter, for `monitor_weights`.
    pub means: Tensor,
}

/// A program whose values have places.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The operations in order, each with its scratch.
    pub steps: Vec<(Step<Tensor>, Tensor)>,
    /// Each layer's output; `None` where it has none of its own.
    pub outputs: Vec<Option<Tensor>>,
}

/// Where the net's tensors lie, and what runs on them.
#[derive(Debug)]
pub struct Plan {
    /// What it was made for.
    pub purpose: Purpose,
    /// Bytes of the one allocation.
    pub bytes: usize,
    /// What is kept for the whole run.
    pub kept: Kept,
    /// A training step up to its update, which sets the parameters' gradients; empty without training.
    pub train: Planned,
    /// The same, which adds to them.
    pub adds: Planned,
    /// The forward pass of a test.
    pub test: Planned,
    /// The batch normalisations that the test has in other layers.
    pub folds: Vec<Fold>,
}

/// Hands out places from the start on.
#[derive(Default)]
pub(super) struct Layout {
    /// Bytes handed out.
    pub bytes: usize,
}

impl Layout {
    /// A place that is kept for the whole run.
    pub fn put(&mut self, shape: Shape, dtype: Dtype) -> Tensor {
        let t = Tensor::new(Slot(self.bytes), shape, dtype);
        self.bytes += t.bytes().next_multiple_of(ALIGNMENT);
        t
    }
}

impl Plan {
    /// Plans a graph for a device. `source` is the shape of the images as the data has them, `mean` of what is subtracted, and
    /// `scale` multiplies the difference.
    pub fn new(graph: &Graph, device: &dyn Device, purpose: Purpose, source: Shape, mean: Shape, scale: f64) -> Self {
        let train = purpose == Purpose::Train;
        let mut layout = Layout::default();
        let (real, n) = (device.real(), graph.images.n);
        let parameters = graph.parameters.iter().map(|p| layout.put(p.spec.shape, real)).collect();
        let learned = |layout: &mut Layout| -> Vec<Option<Tensor>> {
            let one = |q: &Parameter| (train && q.learns()).then(|| layout.put(q.spec.shape, real));
            graph.parameters.iter().map(one).collect()
        };
        let (gradients, momenta) = (learned(&mut layout), learned(&mut layout));
        let labels = if let Labels::Classes(_) = graph.labels { Dtype::I32 } else { real };
        let feed = Feed {
            images: layout.put(Shape { n, ..source }, Dtype::U8),
            places: layout.put(Shape::new(n, 1, 1, size_of::<Place>() / 4), Dtype::I32),
            labels: layout.put(graph.labels.shape(n), labels),
            mean: layout.put(mean, real),
        };
        let metrics = layout.put(Shape::new(1, 1, 1, graph.costs().map(|i| graph.nodes[i].metrics()).sum()), real);
        let [sum, factor] = [(); 2].map(|()| layout.put(Shape::new(1, 1, 1, 1), real));
        let means = layout.put(Shape::new(graph.parameters.len(), 1, 1, 2), real);
        let kept = Kept { parameters, gradients, momenta, feed, metrics, clip: Clip { sum, factor }, means };

        let x = graph.images;
        let [n, h, w, c, p, q] = [x.n, source.h, source.w, source.c, x.h, x.w].map(|v| v as i32);
        let load = Load { geometry: ImageGeometry { n, h, w, c, p, q }, scale };
        let mut folds = Vec::new();
        let mut program = |phase: Phase| {
            let mut program = writer::write(graph, &kept, load, real, phase);
            passes::run(&mut program, graph, device, (phase == Phase::Test && !train).then_some(&mut folds));
            debug_assert!(can_add(&program, &kept), "a layer writes a parameter's gradient other than by a target");
            place(&program, device, layout.bytes, graph.share)
        };
        let (test, of_test) = program(Phase::Test);
        let (train, of_train) = if train { program(Phase::Train) } else { Default::default() };
        let is_gradient = |t: &Tensor| kept.gradients.iter().flatten().any(|g| g.slot == t.slot);
        let adds = train.adding(&is_gradient);
        Self { purpose, bytes: of_test.max(of_train).max(layout.bytes), kept, train, adds, test, folds }
    }

    /// The program of a phase.
    pub fn program(&self, phase: Phase) -> &Planned {
        match phase {
            Phase::Train => &self.train,
            Phase::Test => &self.test,
        }
    }
}

impl Planned {
    /// The same, which adds to the targets that `is` tells.
    fn adding(&self, is: &dyn Fn(&Tensor) -> bool) -> Self {
        let one = |&(step, scratch): &(Step<Tensor>, Tensor)| (Step { op: step.op.adding(is), ..step }, scratch);
        Self { steps: self.steps.iter().map(one).collect(), outputs: self.outputs.clone() }
    }

    /// The operations of a pass, each with its scratch.
    pub fn pass(&self, pass: Pass) -> impl Iterator<Item = &(Step<Tensor>, Tensor)> {
        self.steps.iter().filter(move |(step, _)| step.pass == pass)
    }
}

/// Whether a training program becomes one that adds to the parameters' gradients by its targets alone
/// ([`Op::adding`]): nothing else may write them.
fn can_add(program: &Program, kept: &Kept) -> bool {
    let places: Vec<Slot> = kept.gradients.iter().flatten().map(|g| g.slot).collect();
    let is_gradient = |v: &Value| program.buffers[v.slot.buffer].place.is_some_and(|place| places.contains(&place));
    program.steps.iter().all(|s| {
        let (mut written, mut targets) = (0, 0);
        s.op.operands(&mut |access, v| written += usize::from(access != Access::Reads && is_gradient(v)));
        let mut op = s.op;
        op.retarget(&mut |target| targets += usize::from(is_gradient(&target.at)));
        written == targets
    })
}

/// A block of memory with a life, in steps of the program.
#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: usize,
    from: usize,
    until: usize,
}

/// Gives a program's values places from `start` on, and its operations scratch; answers the bytes up to the end of all. They
/// share memory, or not.
pub(super) fn place(program: &Program, device: &dyn Device, start: usize, share: bool) -> (Planned, usize) {
    let mut lives: Vec<Option<Block>> = vec![None; program.buffers.len()];
    let mut live = |buffer: usize, step: usize| {
        let bytes = program.buffers[buffer].bytes;
        let block = lives[buffer].get_or_insert(Block { bytes, from: step, until: step });
        block.until = block.until.max(step);
    };
    for (i, step) in program.steps.iter().enumerate() {
        step.op.operands(&mut |_, value| live(value.slot.buffer, i));
    }
    for (value, pass) in &program.read {
        if let Some(last) = program.last_of(*pass) {
            live(value.slot.buffer, last);
        }
    }
    let anywhere =
        |op: &Op<_>| op.map(&mut |v: &Value| Tensor { slot: Slot(v.slot.bytes), shape: v.shape, dtype: v.dtype, pitch: v.pitch });
    let scratch: Vec<usize> = program.steps.iter().map(|s| device.scratch(&anywhere(&s.op))).collect();
    let mut blocks: Vec<Block> = Vec::new();
    let of_buffer: Vec<Option<usize>> = lives
        .iter()
        .zip(&program.buffers)
        .map(|(life, buffer)| {
            let block = (*life).filter(|_| buffer.place.is_none())?;
            blocks.push(block);
            Some(blocks.len() - 1)
        })
        .collect();
    let first_scratch = blocks.len();
    blocks.extend(scratch.iter().enumerate().map(|(i, &bytes)| Block { bytes, from: i, until: i }));
    if !share {
        blocks.iter_mut().for_each(|block| (block.from, block.until) = (0, program.steps.len()));
    }
    let (offsets, bytes) = best_offsets(&blocks);

    let tensor = |v: &Value| {
        let at = match (program.buffers[v.slot.buffer].place, of_buffer[v.slot.buffer]) {
            (Some(place), _) => place.0,
            (None, block) => start + offsets[block.expect("every operand's buffer has a life")],
        };
        Tensor { slot: Slot(at + v.slot.bytes), shape: v.shape, dtype: v.dtype, pitch: v.pitch }
    };
    let steps = program.steps.iter().enumerate().map(|(i, s)| {
        let scratch = Tensor::new(Slot(start + offsets[first_scratch + i]), Shape::new(1, 1, 1, scratch[i]), Dtype::U8);
        (Step { op: s.op.map(&mut |v| tensor(v)), node: s.node, pass: s.pass }, scratch)
    });
    let exists = |v: &Value| program.buffers[v.slot.buffer].place.is_some() || of_buffer[v.slot.buffer].is_some();
    let planned = Planned {
        steps: steps.collect(),
        outputs: program.outputs.iter().map(|o| o.filter(&exists).map(|v| tensor(&v))).collect(),
    };
    (planned, start + bytes)
}

/// Where the blocks lie in the best of a few orders, and the bytes that they take together.
fn best_offsets(blocks: &[Block]) -> (Vec<usize>, usize) {
    let key = |kind: usize, b: &Block| match kind {
        0 => (Reverse(b.bytes), Reverse(b.until - b.from)),
        1 => (Reverse(b.bytes * (b.until - b.from + 1)), Reverse(b.until - b.from)),
        _ => (Reverse(b.until - b.from), Reverse(b.bytes)),
    };
    let all = (0..3).map(|kind| {
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|&i| (key(kind, &blocks[i]), i));
        offsets(blocks, &order)
    });
    all.min_by_key(|(_, bytes)| *bytes).expect("there are orders to try")
}

/// Places the blocks in an order, each at the lowest place that is free for its whole life.
fn offsets(blocks: &[Block], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut total = 0;
    for &i in order {
        let block = blocks[i];
        let size = block.bytes.next_multiple_of(ALIGNMENT);
        if size == 0 {
            continue;
        }
        let mut offset = 0;
        // `placed` is kept in the order of offsets, so the first gap that is wide enough is the lowest.
        for &j in &placed {
            let other = blocks[j];
            if other.until < block.from || block.until < other.from {
                continue;
            }
            if offset + size <= offsets[j] {
                break;
            }
            offset = offset.max(offsets[j] + other.bytes.next_multiple_of(ALIGNMENT));
        }
        offsets[i] = offset;
        total = total.max(offset + size);
        let position = placed.partition_point(|&j| offsets[j] <= offset);
        placed.insert(position, i);
    }
    (offsets, total)
}
