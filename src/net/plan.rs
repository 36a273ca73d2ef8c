//! The memory plan: where each tensor of a net lies in the device's one allocation. Tensors whose lifetimes do not meet
//! share memory. Time is counted in layer passes: load at 0, forward of node i at 1 + i, its backward at 2·nodes − i.
//!
//! Lifetimes come from what each layer's backward pass says it reads. An elementwise layer writes over its input where
//! nobody else reads that, and its gradient over its output's. A view lies in its input, and what is passed on unchanged to
//! several inputs in one place for all. Placement is greedy: the largest tensor first, each at the
//! lowest place that is free for its whole life (Pisarchyk and Lee, "Efficient memory management for deep neural net
//! inference", 2020).

use super::{Graph, Input, Labels, Parameter};
use crate::device::{Device, Dtype, Into, Op, Place, Shape, Slot, Tensor};
use crate::layer::{Part, Pass, Reads, Tensors};

/// Every tensor begins on such a boundary: what the widest load of any device wants.
const ALIGNMENT: usize = 256;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward, backward and update.
    Train,
    /// Forward alone.
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

/// Where the net's tensors lie.
#[derive(Debug)]
pub struct Plan {
    /// What it was made for.
    pub purpose: Purpose,
    /// Bytes of the one allocation.
    pub bytes: usize,
    /// Where a batch is fed.
    pub feed: Feed,
    /// The normalised images.
    pub images: Tensor,
    /// The labels.
    pub labels: Tensor,
    /// Each node's tensors.
    pub nodes: Vec<Tensors>,
    /// Parameters, in the graph's order.
    pub parameters: Vec<Tensor>,
    /// Their gradients; `None` without training, and for what is not learned, as are momenta.
    pub gradients: Vec<Option<Tensor>>,
    /// Their momenta.
    pub momenta: Vec<Option<Tensor>>,
    /// The metrics of all costs, one after the other.
    pub metrics: Tensor,
    /// For `train.clip_norm`.
    pub clip: Clip,
    /// Mean |w| and mean |v| of each parameter, for `monitor_weights`.
    pub means: Tensor,
    /// Scratch for those means.
    pub means_scratch: Tensor,
}

/// A block of memory with a life.
#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: usize,
    from: usize,
    until: usize,
    offset: usize,
}

/// The plan while it is made: persistent tensors have places, transient ones blocks.
struct Planner<'a> {
    graph: &'a Graph,
    device: &'a dyn Device,
    train: bool,
    persistent: usize,
    blocks: Vec<Block>,
}

impl Plan {
    /// Plans a graph for a device. `source` is the shape of the images as the data has them, `mean` of what is subtracted.
    pub fn new(graph: &Graph, device: &dyn Device, purpose: Purpose, source: Shape, mean: Shape) -> Self {
        let train = purpose == Purpose::Train;
        let mut p = Planner { graph, device, train, persistent: 0, blocks: Vec::new() };
        let real = device.real();
        let shapes = || graph.parameters.iter().map(|p| p.spec.shape);
        let n = graph.images.n;
        let parameters: Vec<Tensor> = shapes().map(|s| p.persist(s, real)).collect();
        let learned = |p: &mut Planner| -> Vec<Option<Tensor>> {
            let one = |q: &Parameter| (train && q.learns()).then(|| p.persist(q.spec.shape, real));
            graph.parameters.iter().map(one).collect()
        };
        let gradients = learned(&mut p);
        let momenta = learned(&mut p);
        let (labels_shape, labels_type) = p.labels();
        let feed = Feed {
            images: p.persist(Shape { n, ..source }, Dtype::U8),
            places: p.persist(Shape::new(n, 1, 1, size_of::<Place>() / 4), Dtype::I32),
            labels: p.persist(labels_shape, labels_type),
            mean: p.persist(mean, real),
        };
        let metrics = p.persist(Shape::new(1, 1, 1, graph.costs().map(|i| graph.nodes[i].metrics()).sum()), real);
        let [sum, factor] = [(); 2].map(|()| p.persist(Shape::new(1, 1, 1, 1), real));
        let clip = Clip { sum, factor };
        let means = p.persist(Shape::new(graph.parameters.len(), 1, 1, 2), real);
        let largest = shapes().map(|s| s.elements()).max().unwrap_or(0);
        let means_bytes = if train { device.scratch(&Op::MeanAbs(largest)) } else { 0 };
        let means_scratch = p.persist(Shape::new(1, 1, 1, means_bytes), Dtype::U8);

        let (activations, images, labels) = p.activations();
        let gradient_blocks = if train { p.gradients() } else { vec![None; graph.nodes.len()] };
        let scratch: Vec<[usize; 2]> = (0..graph.nodes.len()).map(|i| p.scratch(i)).collect();
        let kept: Vec<usize> = (0..graph.nodes.len()).map(|i| p.kept(i)).collect();
        let bytes = p.place();
        let blocks = &p.blocks;
        let start = p.persistent;
        let at = |block: usize, shape: Shape, dtype: Dtype| Tensor { slot: Slot(start + blocks[block].offset), shape, dtype };

        let images = at(images, graph.images, real);
        let labels = at(labels, labels_shape, labels_type);
        let mut plan = Self {
            purpose,
            bytes: start + bytes,
            feed,
            images,
            labels,
            nodes: Vec::with_capacity(graph.nodes.len()),
            parameters,
            gradients,
            momenta,
            metrics,
            clip,
            means,
            means_scratch,
        };
        let mut counted = 0;
        for (i, node) in graph.nodes.iter().enumerate() {
            let tensor_of = |input: &Input| match *input {
                Input::Source(Part::Images) => images,
                Input::Source(Part::Labels) => labels,
                Input::Node(j) => at(activations[j].expect("only costs have no output"), graph.shape(*input), real),
            };
            let byte_block = |block: usize| at(block, Shape::new(1, 1, 1, blocks[block].bytes), Dtype::U8);
            let kept_shape = Shape::new(1, 1, 1, node.layer.kept());
            let shape = node.layer.output();
            let metrics = node.is_cost().then(|| {
                counted += node.metrics();
                metrics.part(counted - node.metrics(), node.metrics())
            });
            plan.nodes.push(Tensors {
                inputs: node.inputs.iter().map(tensor_of).collect(),
                output: activations[i].map(|b| at(b, shape, real)),
                parameters: node
                    .parameters
                    .iter()
                    .zip(node.layer.parameters())
                    .map(|(&k, p)| plan.parameters[k].reshaped(p.shape))
                    .collect(),
                input_gradients: vec![None; node.inputs.len()],
                output_gradient: gradient_blocks[i].map(|b| at(b, shape, real)),
                parameter_gradients: vec![None; node.parameters.len()],
                kept: Some(at(kept[i], kept_shape, real)),
                forward_scratch: Some(byte_block(scratch[i][0])),
                backward_scratch: Some(byte_block(scratch[i][1])),
                metrics,
            });
        }
        plan.link_input_gradients(graph);
        plan.link_parameter_gradients(graph);
        plan
    }

    /// Gives each layer the places of its parameters' gradients: in backward order the first that shares one sets it.
    fn link_parameter_gradients(&mut self, graph: &Graph) {
        let mut written = vec![false; graph.parameters.len()];
        for i in (0..graph.nodes.len()).rev().filter(|&i| graph.nodes[i].learns) {
            for (slot, &k) in graph.nodes[i].parameters.iter().enumerate() {
                let into = if written[k] { Into::Add } else { Into::Set };
                written[k] |= self.gradients[k].is_some();
                let shape = self.nodes[i].parameters[slot].shape;
                self.nodes[i].parameter_gradients[slot] = self.gradients[k].map(|g| (g.reshaped(shape), into));
            }
        }
    }

    /// Gives each layer the places of its inputs' gradients: in backward order the first writer sets, the others add.
    fn link_input_gradients(&mut self, graph: &Graph) {
        let mut written = vec![false; graph.nodes.len()];
        for i in (0..graph.nodes.len()).rev() {
            if !graph.nodes[i].learns {
                continue;
            }
            for (slot, input) in graph.nodes[i].inputs.iter().enumerate() {
                let Input::Node(j) = *input else { continue };
                let Some(gradient) = self.nodes[j].output_gradient else { continue };
                let into = if written[j] { Into::Add } else { Into::Set };
                written[j] = true;
                self.nodes[i].input_gradients[slot] = Some((gradient, into));
            }
        }
    }
}

impl Planner<'_> {
    /// A place that is kept for the whole run.
    fn persist(&mut self, shape: Shape, dtype: Dtype) -> Tensor {
        let t = Tensor { slot: Slot(self.persistent), shape, dtype };
        self.persistent += t.bytes().next_multiple_of(ALIGNMENT);
        t
    }

    fn block(&mut self, bytes: usize, from: usize, until: usize) -> usize {
        self.blocks.push(Block { bytes, from, until, offset: 0 });
        self.blocks.len() - 1
    }

    fn extend(&mut self, block: usize, time: usize) {
        let b = &mut self.blocks[block];
        b.from = b.from.min(time);
        b.until = b.until.max(time);
    }

    fn forward_time(&self, node: usize) -> usize {
        1 + node
    }

    fn backward_time(&self, node: usize) -> usize {
        2 * self.graph.nodes.len() - node
    }

    /// What node `i`'s backward pass reads of the forward pass; nothing where it does not run.
    fn reads(&self, i: usize) -> Reads {
        let node = &self.graph.nodes[i];
        if self.train && node.learns { node.layer.backward_reads() } else { Reads::default() }
    }

    /// What the labels of a batch are.
    fn labels(&self) -> (Shape, Dtype) {
        let dtype = if let Labels::Classes(_) = self.graph.labels { Dtype::I32 } else { self.device.real() };
        (self.graph.labels.shape(self.graph.images.n), dtype)
    }

    /// Blocks of the outputs of all nodes but costs, and of the images and labels.
    fn activations(&mut self) -> (Vec<Option<usize>>, usize, usize) {
        let (graph, real) = (self.graph, self.device.real());
        let images = self.block(graph.images.elements() * real.size(), 0, 0);
        let (labels, dtype) = self.labels();
        let labels = self.block(labels.elements() * dtype.size(), 0, 0);
        let last = graph.nodes.len();
        let mut blocks: Vec<Option<usize>> = vec![None; last];
        for (i, node) in graph.nodes.iter().enumerate() {
            let now = self.forward_time(i);
            for input in &node.inputs {
                let block = match *input {
                    Input::Source(Part::Images) => images,
                    Input::Source(Part::Labels) => labels,
                    Input::Node(j) => blocks[j].expect("only costs have no output"),
                };
                self.extend(block, now);
                if self.reads(i).inputs {
                    self.extend(block, self.backward_time(i));
                }
            }
            if node.is_cost() {
                continue;
            }
            let shared = self.overwritten(i).and_then(|j| blocks[j]);
            let block = shared.unwrap_or_else(|| self.block(node.layer.output().elements() * real.size(), now, now));
            self.extend(block, now);
            if self.reads(i).output {
                self.extend(block, self.backward_time(i));
            }
            if graph.consumers(i).next().is_none() || graph.prediction() == Some(i) {
                // Read after the whole forward pass.
                self.extend(block, last);
            }
            blocks[i] = Some(block);
        }
        (blocks, images, labels)
    }

    /// The node whose output node `i` writes over.
    fn overwritten(&self, i: usize) -> Option<usize> {
        let node = &self.graph.nodes[i];
        let free = |j: usize| !self.reads(i).inputs && (node.layer.is_view() || !self.is_read_again(j));
        self.only_reader_of(i).find(|&j| node.fused || free(j))
    }

    /// Whether node `i`'s output, or what it is a view of, is read again when its readers' forward passes are done.
    fn is_read_again(&self, i: usize) -> bool {
        let of_view = || self.graph.nodes[i].layer.is_view() && self.overwritten(i).is_some_and(|j| self.is_read_again(j));
        self.reads(i).output || self.graph.prediction() == Some(i) || of_view()
    }

    /// The nodes among the first two inputs of elementwise node `i` that it alone reads, once.
    fn only_reader_of(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        let node = &self.graph.nodes[i];
        let inputs = if node.layer.elementwise() { node.inputs.as_slice() } else { &[] };
        inputs.iter().take(2).filter_map(move |input| {
            let Input::Node(j) = *input else { return None };
            let once = node.inputs.iter().filter(|other| *other == input).count() == 1;
            (once && self.graph.consumers(j).count() == 1).then_some(j)
        })
    }

    /// The inputs of node `i` whose gradient is its output's and stays in that place, the last first. Each is read by no other
    /// node that learns, but the first of them may be: what those add to its gradient comes after the others' backward passes.
    fn passed_on(&self, i: usize) -> Vec<usize> {
        let nodes = &self.graph.nodes;
        let learners = |j: usize| self.graph.consumers(j).rev().filter(|&k| nodes[k].learns);
        let alone = |j: &usize| learners(*j).count() == 1;
        let passed = nodes[i].inputs.iter().enumerate().filter_map(|(slot, input)| {
            let Input::Node(j) = *input else { return None };
            let once = nodes[i].inputs.iter().filter(|other| *other == input).count() == 1;
            let passed = once && nodes[i].layer.passes_gradient(slot) && nodes[j].learns && learners(j).next() == Some(i);
            passed.then_some(j)
        });
        let mut passed: Vec<usize> = passed.collect();
        passed.sort_unstable_by_key(|&j| std::cmp::Reverse(j));
        let first_alone = passed.iter().copied().rfind(alone);
        let late = |j: &usize| learners(*j).nth(1).is_some_and(|adds| first_alone.is_none_or(|first| adds < first));
        let shared = passed.iter().copied().find(late);
        passed.retain(|&j| alone(&j) || shared == Some(j));
        passed
    }

    /// Blocks of the outputs' gradients, where a node learns. Of the nodes that share one by [`passed_on`](Self::passed_on), all
    /// but the first must leave it as it is: their inputs' gradients lie elsewhere.
    fn gradients(&mut self) -> Vec<Option<usize>> {
        let (graph, real) = (self.graph, self.device.real());
        let mut blocks: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        let mut kept = vec![false; graph.nodes.len()];
        for i in (0..graph.nodes.len()).rev() {
            let node = &graph.nodes[i];
            let Some(first) = graph.consumers(i).rfind(|&j| graph.nodes[j].learns) else { continue };
            if !node.learns || node.is_cost() {
                continue;
            }
            let mut in_place = if kept[first] { Vec::new() } else { self.passed_on(first) };
            if in_place.is_empty() && !kept[first] {
                in_place.extend(self.only_reader_of(first).find(|&j| graph.nodes[j].learns));
            }
            kept[i] = in_place.contains(&i) && in_place.last() != Some(&i);
            let shared = in_place.contains(&i).then(|| blocks[first]).flatten();
            let (from, until) = (self.backward_time(first), self.backward_time(i));
            let bytes = node.layer.output().elements() * real.size();
            let block = shared.unwrap_or_else(|| self.block(bytes, from, until));
            self.extend(block, until);
            blocks[i] = Some(block);
        }
        blocks
    }

    /// Blocks of node `i`'s scratch, forward and backward.
    fn scratch(&mut self, i: usize) -> [usize; 2] {
        let node = &self.graph.nodes[i];
        let forward = node.layer.scratch(self.device, Pass::Forward);
        let backward = if self.train && node.learns { node.layer.scratch(self.device, Pass::Backward) } else { 0 };
        let (f, b) = (self.forward_time(i), self.backward_time(i));
        [self.block(forward, f, f), self.block(backward, b, b)]
    }

    /// The block of what node `i` keeps from its forward to its backward pass.
    fn kept(&mut self, i: usize) -> usize {
        let node = &self.graph.nodes[i];
        let now = self.forward_time(i);
        let until = if self.train && node.learns { self.backward_time(i) } else { now };
        self.block(node.layer.kept() * self.device.real().size(), now, until)
    }

    /// Places the blocks; returns the bytes they take together.
    fn place(&mut self) -> usize {
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(self.blocks[i].bytes), i));
        let mut placed: Vec<usize> = Vec::with_capacity(order.len());
        let mut total = 0;
        for i in order {
            let block = self.blocks[i];
            let size = block.bytes.next_multiple_of(ALIGNMENT);
            let mut offset = 0;
            // `placed` is kept in the order of offsets, so the first gap that is wide enough is the lowest.
            for &j in &placed {
                let other = self.blocks[j];
                if other.until < block.from || block.until < other.from {
                    continue;
                }
                if offset + size <= other.offset {
                    break;
                }
                offset = offset.max(other.offset + other.bytes.next_multiple_of(ALIGNMENT));
            }
            self.blocks[i].offset = offset;
            total = total.max(offset + size);
            let position = placed.partition_point(|&j| self.blocks[j].offset <= offset);
            placed.insert(position, i);
        }
        total
    }
}
