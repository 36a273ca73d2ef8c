//! Where a parameter's elements are in other programs' files. There the channels come first and ours last: filters are
//! `[out][channel][row][column]` and not `[out][row][column][channel]`, and what a fully connected layer sees of an image is in
//! the order channel, row, column. Biases and what is one number a channel are the same, unless the channels are those of a
//! flattened image.

use crate::layer::{Form, ParameterRole};
use crate::net::{Graph, Input};
use std::rc::Rc;

/// A part of a row: rows, columns and channels.
type Extents = [usize; 3];

/// The order of a parameter's elements in another program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// The extents there.
    pub shape: Vec<usize>,
    /// Whether a file may have the elements under other extents, as many in each row.
    flat: bool,
    /// What a row is made of: each part has its channels last here and first there.
    parts: Vec<Extents>,
}

impl Layout {
    /// The layout of parameter `k`, as input number `input` of node `i` has it.
    pub fn of(graph: &Graph, channels: &Channels, i: usize, k: usize) -> Self {
        let (node, p) = (&graph.nodes[i], &graph.parameters[k].spec);
        let s = p.shape;
        if p.role != ParameterRole::Weights || p.fan_in == 1 && s.n == 1 {
            if s.h * s.w > 1 {
                return Self { shape: vec![s.c, s.h, s.w], flat: true, parts: vec![[s.h, s.w, s.c]] };
            }
            let of_input = matches!(node.layer.form(), Form::BatchNorm { .. } | Form::Prelu);
            let parts = if of_input { channels.at(graph, node.inputs[0]).to_vec() } else { Vec::new() };
            // One slope may be all channels'.
            let fits = parts.iter().map(|[h, w, c]| h * w * c).sum::<usize>() == s.c;
            return Self { shape: vec![s.c], flat: true, parts: if fits { parts } else { vec![[1, 1, s.c]] } };
        }
        if let Form::Fc { groups } = node.layer.form() {
            let nth = node.parameters.iter().position(|&own| own == k).unwrap_or(0);
            let x = graph.shape(node.inputs[nth]);
            if groups > 1 {
                let c = x.c / groups;
                return Self { shape: vec![s.n, c, x.h, x.w], flat: true, parts: vec![[x.h, x.w, c]] };
            }
            let whole = x.h * x.w > 1;
            let parts = if whole { vec![[x.h, x.w, x.c]] } else { channels.at(graph, node.inputs[nth]).to_vec() };
            return Self { shape: vec![s.n, s.image()], flat: true, parts };
        }
        Self { shape: vec![s.n, s.c, s.h, s.w], flat: false, parts: vec![[s.h, s.w, s.c]] }
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether a tensor of these extents can be this: the same, but for extents of 1, or where that cannot be mistaken other
    /// extents of a row.
    pub fn fits(&self, shape: &[usize]) -> bool {
        let wide = |shape: &[usize]| shape.iter().copied().filter(|&e| e != 1).collect::<Vec<_>>();
        let same = wide(shape) == wide(&self.shape);
        let elements = shape.iter().try_fold(1_usize, |n, &e| n.checked_mul(e));
        same || self.flat && elements == Some(self.elements()) && (self.shape.len() < 2 || shape.first() == self.shape.first())
    }

    /// Their order → ours.
    pub fn ours(&self, theirs: &[f32]) -> Vec<f32> {
        let mut ours = vec![0.0; theirs.len()];
        self.pairs(|here, there| ours[here] = theirs[there]);
        ours
    }

    /// Our order → theirs.
    pub fn theirs(&self, ours: &[f32]) -> Vec<f32> {
        let mut theirs = vec![0.0; ours.len()];
        self.pairs(|here, there| theirs[there] = ours[here]);
        theirs
    }

    /// Each element's place here and there.
    fn pairs(&self, mut pair: impl FnMut(usize, usize)) {
        let row: usize = self.parts.iter().map(|p| p.iter().product::<usize>()).sum();
        let mut start = 0;
        for _ in 0..self.elements() / row.max(1) {
            for &[h, w, c] in &self.parts {
                for place in 0..h * w {
                    for channel in 0..c {
                        pair(start + place * c + channel, start + channel * h * w + place);
                    }
                }
                start += h * w * c;
            }
        }
    }
}

/// What the channels of every layer's output are: parts of images that were flattened somewhere before, or as they are.
pub(super) struct Channels(Vec<Rc<[Extents]>>);

impl Channels {
    /// Those of a net.
    pub fn of(graph: &Graph) -> Self {
        let mut all = Self(Vec::with_capacity(graph.nodes.len()));
        for node in &graph.nodes {
            let y = node.layer.output();
            let first = || all.at(graph, node.inputs[0]);
            let of_node = match node.layer.form() {
                Form::Flatten => {
                    let x = graph.shape(node.inputs[0]);
                    if x.h * x.w > 1 { Rc::new([[x.h, x.w, x.c]]) } else { first() }
                }
                Form::Concat if y.h * y.w == 1 => {
                    let mut parts: Vec<Extents> = Vec::new();
                    for &input in &node.inputs {
                        for &part in all.at(graph, input).iter() {
                            match (parts.last_mut(), part) {
                                (Some([1, 1, c]), [1, 1, more]) => *c += more,
                                _ => parts.push(part),
                            }
                        }
                    }
                    parts.into()
                }
                Form::BatchNorm { .. } | Form::Prelu | Form::Neuron(_) | Form::Scale(_) | Form::Softmax => first(),
                Form::Sum(_) | Form::Max | Form::Product => first(),
                _ => Rc::new([[1, 1, y.c]]),
            };
            all.0.push(of_node);
        }
        all
    }

    /// Those of a layer's input.
    pub fn at(&self, graph: &Graph, input: Input) -> Rc<[Extents]> {
        match input {
            Input::Node(i) => Rc::clone(&self.0[i]),
            Input::Source(_) => Rc::new([[1, 1, graph.shape(input).c]]),
        }
    }

    /// Whether they are not those of a flattened image.
    pub fn are_plain(&self, graph: &Graph, input: Input) -> bool {
        self.at(graph, input).iter().all(|&[h, w, _]| h * w == 1)
    }
}
