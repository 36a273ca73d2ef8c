//! A net as an ONNX model: what a layer computes in testing, as operators of version 13. Batch normalisations are folded into
//! the layers before them where the graph is. Images are bytes' values, 0 to 255, in the order channel, row, column: what is
//! done to the pixels is part of the model.

use super::super::layout::{Channels, Layout};
use super::{FLOAT, INT64, unlike};
use crate::device::{ConvGeometry, CopyGeometry, LrnGeometry, PoolGeometry};
use crate::format::protobuf::Message;
use crate::layer::{Form, Part};
use crate::net::{Graph, Input};
use crate::op::{Neuron, PoolKind, Response};
use std::collections::HashMap;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The layers, batch normalisations folded or not.
    pub graph: &'a Graph,
    /// Nodes of batch normalisations that are in the layers before them ([`Net::fold_graph`](crate::net::Net::fold_graph)).
    pub folded: &'a [usize],
    /// The values of each parameter, in our order.
    pub values: &'a [Vec<f32>],
    /// What is subtracted from the pixels: a number a channel, or one a pixel and channel.
    pub mean: &'a [f32],
    /// What the difference is multiplied by.
    pub scale: f64,
    /// The layer whose output is the model's.
    pub output: usize,
}

/// A tensor of the model.
#[derive(Clone, Debug)]
struct Value {
    name: String,
    /// It is images × channels.
    flat: bool,
}

/// What an attribute holds.
enum Attribute<'a> {
    Int(i64),
    Float(f64),
    Ints(&'a [i64]),
}

struct Writer<'a> {
    model: Model<'a>,
    channels: Channels,
    names: HashMap<String, usize>,
    nodes: Vec<Message>,
    constants: Vec<Message>,
    /// What each layer makes.
    given: Vec<Option<Value>>,
}

/// The bytes of a model.
///
/// # Errors
/// A layer that has no form in ONNX, or a model that is too large for one file.
pub fn write(model: Model) -> Result<Vec<u8>, String> {
    let graph = model.graph;
    let names = HashMap::from([("images".to_owned(), 1)]);
    let given = vec![None; graph.nodes.len()];
    let mut w = Writer { model, channels: Channels::of(graph), names, nodes: Vec::new(), constants: Vec::new(), given };
    let images = w.images();
    let mut needed = vec![false; graph.nodes.len()];
    needed[model.output] = true;
    for i in (0..=model.output).rev() {
        if !needed[i] {
            continue;
        }
        for input in &graph.nodes[i].inputs {
            if let Input::Node(j) = *input {
                needed[j] = true;
            }
        }
    }
    for i in (0..graph.nodes.len()).filter(|&i| needed[i]) {
        let value = w.layer(i, &images)?;
        w.given[i] = Some(value);
    }
    let last = w.given[model.output].clone().expect("the output is needed");
    let y = graph.nodes[model.output].layer.output();
    let mut message = Message::default();
    for node in &w.nodes {
        message.message(1, node);
    }
    message.text(2, &graph.name);
    for constant in &w.constants {
        message.message(5, constant);
    }
    let x = graph.images;
    message.message(11, &tensor_info("images", &[x.c, x.h, x.w]));
    let extents: &[usize] = if last.flat { &[y.image()] } else { &[y.c, y.h, y.w] };
    message.message(12, &tensor_info(&last.name, extents));
    let (mut file, mut operators) = (Message::default(), Message::default());
    operators.text(1, "").int(2, 13);
    file.int(1, 8).text(2, "convnet").text(3, env!("CARGO_PKG_VERSION")).message(7, &message).message(8, &operators);
    if file.0.len() > i32::MAX as usize {
        return Err("the model is larger than the 2 GiB that one ONNX file can have".into());
    }
    Ok(file.0)
}

/// A ValueInfoProto of reals, of any number of images.
fn tensor_info(name: &str, extents: &[usize]) -> Message {
    let mut shape = Message::default();
    let mut dimension = Message::default();
    shape.message(1, dimension.text(2, "N"));
    for &extent in extents {
        let mut dimension = Message::default();
        shape.message(1, dimension.int(1, extent as i64));
    }
    let (mut tensor, mut kind, mut info) = (Message::default(), Message::default(), Message::default());
    tensor.int(1, FLOAT).message(2, &shape);
    kind.message(1, &tensor);
    info.text(1, name).message(2, &kind);
    info
}

impl Writer<'_> {
    /// A name that nothing has so far.
    fn name(&mut self, wanted: &str) -> String {
        unlike(&mut self.names, wanted)
    }

    /// An operator, and the name of what it makes.
    fn op(&mut self, kind: &str, wanted: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = self.name(wanted);
        let mut node = Message::default();
        for input in inputs {
            node.text(1, input);
        }
        node.text(2, &output).text(3, &output).text(4, kind);
        for (name, value) in attributes {
            let mut attribute = Message::default();
            attribute.text(1, name);
            match value {
                Attribute::Int(v) => attribute.int(3, *v).int(20, 2),
                Attribute::Float(v) => attribute.float(2, *v as f32).int(20, 1),
                Attribute::Ints(v) => {
                    for &v in *v {
                        attribute.int(8, v);
                    }
                    attribute.int(20, 7)
                }
            };
            node.message(5, &attribute);
        }
        self.nodes.push(node);
        output
    }

    /// A tensor of reals.
    fn constant(&mut self, wanted: &str, shape: &[usize], values: &[f32]) -> String {
        let name = self.name(wanted);
        let mut tensor = Message::default();
        for &extent in shape {
            tensor.int(1, extent as i64);
        }
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensor.int(2, FLOAT).text(8, &name).bytes(9, &raw);
        self.constants.push(tensor);
        name
    }

    /// A list of whole numbers.
    fn ints(&mut self, wanted: &str, values: &[i64]) -> String {
        let name = self.name(wanted);
        let mut tensor = Message::default();
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensor.int(1, values.len() as i64).int(2, INT64).text(8, &name).bytes(9, &raw);
        self.constants.push(tensor);
        name
    }

    /// A parameter's tensor under these extents, or its own.
    fn parameter(&mut self, i: usize, nth: usize, shape: Option<&[usize]>) -> String {
        let graph = self.model.graph;
        let k = graph.nodes[i].parameters[nth];
        let layout = Layout::of(graph, &self.channels, i, k);
        let values = layout.theirs(&self.model.values[k]);
        self.constant(&graph.parameters[k].name, shape.unwrap_or(&layout.shape), &values)
    }

    /// What the net sees of the images.
    fn images(&mut self) -> Value {
        let (x, Model { mean, scale, .. }) = (self.model.graph.images, self.model);
        let mut name = "images".to_owned();
        if mean.iter().any(|&m| m != 0.0) {
            let mean = if mean.len() == x.c {
                self.constant("data.mean", &[1, x.c, 1, 1], mean)
            } else {
                let layout = |o: usize, place: usize| mean[place * x.c + o];
                let values: Vec<f32> = (0..x.c).flat_map(|o| (0..x.h * x.w).map(move |p| layout(o, p))).collect();
                self.constant("data.mean", &[1, x.c, x.h, x.w], &values)
            };
            name = self.op("Sub", "data.centred", &[&name, &mean], &[]);
        }
        if scale != 1.0 {
            let scale = self.constant("data.scale", &[], &[scale as f32]);
            name = self.op("Mul", "data.scaled", &[&name, &scale], &[]);
        }
        Value { name, flat: false }
    }

    /// A value as images × channels × rows × columns.
    fn square(&mut self, value: &Value) -> String {
        if !value.flat {
            return value.name.clone();
        }
        let shape = self.ints("shape", &[0, -1, 1, 1]);
        self.op("Reshape", &format!("{}.square", value.name), &[&value.name, &shape], &[])
    }

    /// A value as images × channels.
    fn flat(&mut self, value: &Value) -> String {
        if value.flat {
            return value.name.clone();
        }
        self.op("Flatten", &format!("{}.flat", value.name), &[&value.name], &[("axis", Attribute::Int(1))])
    }

    /// Values in one form: flat if all are.
    fn alike(&mut self, values: &[Value]) -> (Vec<String>, bool) {
        let flat = values.iter().all(|v| v.flat);
        (values.iter().map(|v| if flat { v.name.clone() } else { self.square(v) }).collect(), flat)
    }

    fn layer(&mut self, i: usize, images: &Value) -> Result<Value, String> {
        let graph = self.model.graph;
        let node = &graph.nodes[i];
        let name = node.name.as_str();
        let inputs: Vec<Value> = node
            .inputs
            .iter()
            .map(|input| match input {
                Input::Node(j) => Ok(self.given[*j].clone().expect("layers come after their inputs")),
                Input::Source(Part::Images) => Ok(images.clone()),
                Input::Source(Part::Labels) => Err(format!("layer '{name}' reads labels, and an ONNX model has none")),
            })
            .collect::<Result<_, _>>()?;
        let no_form = |why: &str| Err(format!("layer '{name}', of type {}, has no form in ONNX here{why}", node.kind));
        let plain = |w: &Self| w.channels.are_plain(graph, node.inputs[0]);
        let square = |name: String| Ok(Value { name, flat: false });
        match node.layer.form() {
            Form::Conv(geometries) => {
                let y = self.conv(i, &inputs, geometries);
                square(y)
            }
            Form::Deconv(g) => {
                let x = self.square(&inputs[0]);
                square(self.deconv(i, &x, &g))
            }
            Form::Fc { groups: 1 } => {
                let biased = node.parameters.len() > inputs.len();
                let mut sum = None;
                for (nth, x) in inputs.iter().enumerate() {
                    let (x, w) = (self.flat(x), self.parameter(i, nth, None));
                    let bias = (nth == 0 && biased).then(|| self.parameter(i, inputs.len(), None));
                    let all: Vec<&str> = [x.as_str(), &w].into_iter().chain(bias.as_deref()).collect();
                    let y = self.op("Gemm", name, &all, &[("transB", Attribute::Int(1))]);
                    sum = Some(sum.map_or_else(|| y.clone(), |sum: String| self.op("Add", name, &[&sum, &y], &[])));
                }
                Ok(Value { name: sum.expect("a layer has an input"), flat: true })
            }
            // Filters as large as the image.
            Form::Fc { groups } => {
                let mut sum = None;
                for (nth, x) in inputs.iter().enumerate() {
                    let (x, w) = (self.square(x), self.parameter(i, nth, None));
                    let bias = (nth == 0 && node.parameters.len() > inputs.len()).then(|| self.parameter(i, inputs.len(), None));
                    let all: Vec<&str> = [x.as_str(), &w].into_iter().chain(bias.as_deref()).collect();
                    let y = self.op("Conv", name, &all, &[("group", Attribute::Int(groups as i64))]);
                    sum = Some(sum.map_or_else(|| y.clone(), |sum: String| self.op("Add", name, &[&sum, &y], &[])));
                }
                square(sum.expect("a layer has an input"))
            }
            Form::Pool(g, kind) => {
                let x = self.square(&inputs[0]);
                match self.pool(name, &x, &g, kind) {
                    Some(y) => square(y),
                    None => no_form(", where its windows are of different sizes"),
                }
            }
            Form::Lrn(g, response) => {
                if g.blocked == 1 || g.within == 0 && !plain(self) {
                    return no_form(if g.blocked == 1 { " with blocks" } else { " behind a flattened image" });
                }
                let x = self.square(&inputs[0]);
                match self.lrn(name, &x, &g, response) {
                    Some(y) => square(y),
                    None => no_form(" with windows of an even size"),
                }
            }
            // Folded into the layer before.
            Form::BatchNorm { .. } if self.model.folded.contains(&i) => Ok(inputs[0].clone()),
            Form::BatchNorm { epsilon } => {
                let channels = node.layer.output().c;
                let affine = node.parameters.len() > 2;
                let own = |w: &mut Self, nth: usize| match (affine, nth) {
                    (false, 0) => w.constant(&format!("{name}.one"), &[channels], &vec![1.0; channels]),
                    (false, 1) => w.constant(&format!("{name}.zero"), &[channels], &vec![0.0; channels]),
                    (false, nth) => w.parameter(i, nth - 2, None),
                    (true, nth) => w.parameter(i, nth, None),
                };
                let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(|nth| own(self, nth));
                let all = [inputs[0].name.as_str(), &gamma, &beta, &mean, &variance];
                let name = self.op("BatchNormalization", name, &all, &[("epsilon", Attribute::Float(epsilon))]);
                Ok(Value { name, flat: inputs[0].flat })
            }
            Form::Neuron(neuron) => Ok(Value { name: self.neuron(name, &inputs[0].name, neuron), flat: inputs[0].flat }),
            Form::Prelu => {
                let slopes = graph.parameters[node.parameters[0]].spec.shape.c;
                let shape: &[usize] = if inputs[0].flat || slopes == 1 { &[slopes] } else { &[slopes, 1, 1] };
                let slope = self.parameter(i, 0, Some(shape));
                let name = self.op("PRelu", name, &[&inputs[0].name, &slope], &[]);
                Ok(Value { name, flat: inputs[0].flat })
            }
            Form::Concat => {
                let (all, flat) = self.alike(&inputs);
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                Ok(Value { name: self.op("Concat", name, &all, &[("axis", Attribute::Int(1))]), flat })
            }
            Form::Sum(coefficients) => {
                let (mut all, flat) = self.alike(&inputs);
                for (x, &c) in all.iter_mut().zip(coefficients).filter(|(_, c)| **c != 1.0) {
                    *x = self.times(&format!("{name}.term"), x, c);
                }
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                let kind = if all.len() == 2 { "Add" } else { "Sum" };
                Ok(Value { name: self.op(kind, name, &all, &[]), flat })
            }
            Form::Max => {
                let (all, flat) = self.alike(&inputs);
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                Ok(Value { name: self.op("Max", name, &all, &[]), flat })
            }
            Form::Product => {
                let (all, flat) = self.alike(&inputs);
                let mut product = all[0].clone();
                for x in &all[1..] {
                    product = self.op("Mul", name, &[&product, x], &[]);
                }
                Ok(Value { name: product, flat })
            }
            Form::Copy(copy) => {
                if copy.channels != copy.c && !plain(self) {
                    return no_form(" behind a flattened image");
                }
                let x = self.square(&inputs[0]);
                square(self.copy(name, &x, &copy))
            }
            Form::Flatten => Ok(Value { name: self.flat(&inputs[0]), flat: true }),
            Form::Scale(1.0) => Ok(inputs[0].clone()),
            Form::Scale(factor) => Ok(Value { name: self.times(name, &inputs[0].name, factor), flat: inputs[0].flat }),
            Form::Softmax => {
                let x = self.flat(&inputs[0]);
                Ok(Value { name: self.op("Softmax", name, &[&x], &[("axis", Attribute::Int(1))]), flat: true })
            }
            Form::Other => no_form(""),
        }
    }

    /// A tensor times a number.
    fn times(&mut self, name: &str, x: &str, factor: f64) -> String {
        let factor = self.constant(&format!("{name}.factor"), &[], &[factor as f32]);
        self.op("Mul", name, &[x, &factor], &[])
    }

    fn plus(&mut self, name: &str, x: &str, term: f64) -> String {
        let term = self.constant(&format!("{name}.added"), &[], &[term as f32]);
        self.op("Add", name, &[x, &term], &[])
    }

    fn conv(&mut self, i: usize, inputs: &[Value], geometries: &[ConvGeometry]) -> String {
        let node = &self.model.graph.nodes[i];
        let name = node.name.as_str();
        let bias = node.parameters.get(inputs.len()).map(|&k| self.model.graph.parameters[k].spec.shape);
        let untied = bias.is_some_and(|b| b.h * b.w > 1);
        let mut sum = None;
        for (nth, (x, g)) in inputs.iter().zip(geometries).enumerate() {
            let (x, w) = (self.square(x), self.parameter(i, nth, None));
            let bias = (nth == 0 && bias.is_some() && !untied).then(|| self.parameter(i, inputs.len(), None));
            let all: Vec<&str> = [x.as_str(), &w].into_iter().chain(bias.as_deref()).collect();
            let rows = end([g.h, g.p, g.stride_h, g.padding_h], (g.r - 1) * g.dilation_h + 1);
            let columns = end([g.w, g.q, g.stride_w, g.padding_w], (g.s - 1) * g.dilation_w + 1);
            let y = self.op(
                "Conv",
                name,
                &all,
                &[
                    ("kernel_shape", Attribute::Ints(&[g.r, g.s].map(i64::from))),
                    ("strides", Attribute::Ints(&[g.stride_h, g.stride_w].map(i64::from))),
                    ("pads", Attribute::Ints(&[g.padding_h, g.padding_w, rows, columns].map(i64::from))),
                    ("dilations", Attribute::Ints(&[g.dilation_h, g.dilation_w].map(i64::from))),
                    ("group", Attribute::Int(g.groups.into())),
                ],
            );
            sum = Some(sum.map_or_else(|| y.clone(), |sum: String| self.op("Add", name, &[&sum, &y], &[])));
        }
        let sum = sum.expect("a layer has an input");
        match bias.filter(|_| untied) {
            Some(b) => {
                let bias = self.parameter(i, inputs.len(), Some(&[1, b.c, b.h, b.w]));
                self.op("Add", name, &[&sum, &bias], &[])
            }
            None => sum,
        }
    }

    /// The geometry is that of the convolution from the output to the input.
    fn deconv(&mut self, i: usize, x: &str, g: &ConvGeometry) -> String {
        let node = &self.model.graph.nodes[i];
        let w = self.parameter(i, 0, None);
        let bias = (node.parameters.len() > 1).then(|| self.parameter(i, 1, None));
        let all: Vec<&str> = [x, &w].into_iter().chain(bias.as_deref()).collect();
        // Cells behind what the rule gives, or too many.
        let extra = |h: i32, p: i32, stride: i32, padding: i32, span: i32| h - ((p - 1) * stride + span - 2 * padding);
        let rows = extra(g.h, g.p, g.stride_h, g.padding_h, (g.r - 1) * g.dilation_h + 1);
        let columns = extra(g.w, g.q, g.stride_w, g.padding_w, (g.s - 1) * g.dilation_w + 1);
        let pads = [g.padding_h, g.padding_w, g.padding_h - rows.min(0), g.padding_w - columns.min(0)].map(i64::from);
        self.op(
            "ConvTranspose",
            &node.name,
            &all,
            &[
                ("kernel_shape", Attribute::Ints(&[g.r, g.s].map(i64::from))),
                ("strides", Attribute::Ints(&[g.stride_h, g.stride_w].map(i64::from))),
                ("pads", Attribute::Ints(&pads)),
                ("output_padding", Attribute::Ints(&[rows.max(0), columns.max(0)].map(i64::from))),
                ("dilations", Attribute::Ints(&[g.dilation_h, g.dilation_w].map(i64::from))),
                ("group", Attribute::Int(g.groups.into())),
            ],
        )
    }

    /// None where an axis is divided into windows of different sizes.
    fn pool(&mut self, name: &str, x: &str, g: &PoolGeometry, kind: PoolKind) -> Option<String> {
        let mut x = x.to_owned();
        let (mut sizes, mut strides, mut pads) = ([0; 2], [0; 2], [0; 4]);
        for (axis, [cells, windows, size, stride, start]) in
            [[g.h, g.p, g.size_h, g.stride_h, g.start_h], [g.w, g.q, g.size_w, g.stride_w, g.start_w]].into_iter().enumerate()
        {
            let (size, stride, start) = match stride {
                0 if cells % windows == 0 => (cells / windows, cells / windows, 0),
                0 => return None,
                _ => (size, stride, start),
            };
            let needed = (windows - 1) * stride + size;
            // Cells that no window sees.
            let (from, to) = (start.max(0), cells.min(start + needed));
            if from > 0 || (cells - start - size) / stride + 1 > windows {
                x = self.slice(&format!("{name}.part"), &x, 2 + axis as i64, from.into(), to.into(), 1);
            }
            let before = (-start).max(0);
            (sizes[axis], strides[axis]) = (size.into(), stride.into());
            (pads[axis], pads[axis + 2]) = (before.into(), (start + needed - to).max(0).into());
        }
        let attributes = |more: Option<(&'static str, i64)>| {
            let own = [
                ("kernel_shape", Attribute::Ints(&sizes)),
                ("strides", Attribute::Ints(&strides)),
                ("pads", Attribute::Ints(&pads)),
            ];
            own.into_iter().chain(more.map(|(name, v)| (name, Attribute::Int(v)))).collect::<Vec<_>>()
        };
        Some(match kind {
            PoolKind::Max => self.op("MaxPool", name, &[&x], &attributes(None)),
            PoolKind::Avg => self.op("AveragePool", name, &[&x], &attributes(Some(("count_include_pad", 0)))),
            PoolKind::L2 => self.op("LpPool", name, &[&x], &attributes(Some(("p", 2)))),
        })
    }

    /// A part of an axis.
    fn slice(&mut self, name: &str, x: &str, axis: i64, from: i64, to: i64, step: i64) -> String {
        let all = [from, to, axis, step].map(|v| self.ints(&format!("{name}.slice"), &[v]));
        self.op("Slice", name, &[x, &all[0], &all[1], &all[2], &all[3]], &[])
    }

    /// A box, which may reach outside.
    fn copy(&mut self, name: &str, x: &str, g: &CopyGeometry) -> String {
        let mut x = x.to_owned();
        let axes = [(g.from_c, g.channels, g.c), (g.from_h, g.rows, g.h), (g.from_w, g.columns, g.w)];
        if axes.iter().any(|&(from, cells, all)| from < 0 || from + cells > all) {
            let before = axes.map(|(from, ..)| i64::from(-from));
            let behind = axes.map(|(from, cells, all)| i64::from(from + cells - all));
            let pads: Vec<i64> = [0].into_iter().chain(before).chain([0]).chain(behind).collect();
            let pads = self.ints(&format!("{name}.pads"), &pads);
            x = self.op("Pad", name, &[&x, &pads], &[]);
        } else {
            for (axis, (from, cells, all)) in (1..).zip(axes).filter(|(_, (_, cells, all))| cells != all) {
                debug_assert!(from + cells <= all);
                x = self.slice(name, &x, axis, from.into(), (from + cells).into(), 1);
            }
        }
        if g.mirror == 1 { self.slice(name, &x, 3, -1, i64::MIN, -1) } else { x }
    }

    /// None for windows that no operator has.
    fn lrn(&mut self, name: &str, x: &str, g: &LrnGeometry, r: Response) -> Option<String> {
        let size = i64::from(g.size);
        if g.within == 0 {
            // A window that reaches past all channels does so if it is larger, too.
            let size = if g.size >= 2 * g.c { 2 * i64::from(g.c) + 1 } else { size };
            if size % 2 == 0 {
                return None;
            }
            let alpha = r.alpha * size as f64;
            let own = [("alpha", alpha), ("beta", r.beta), ("bias", r.k)].map(|(n, v)| (n, Attribute::Float(v)));
            let attributes: Vec<_> = [("size", Attribute::Int(size))].into_iter().chain(own).collect();
            return Some(self.op("LRN", name, &[x], &attributes));
        }
        // The mean of a window, its padding counted, is its sum over size².
        let part = |what: &str| format!("{name}.{what}");
        let squares = self.op("Mul", &part("squares"), &[x, x], &[]);
        let (before, behind) = (size / 2, size - 1 - size / 2);
        let means = self.op(
            "AveragePool",
            &part("means"),
            &[&squares],
            &[
                ("kernel_shape", Attribute::Ints(&[size; 2])),
                ("pads", Attribute::Ints(&[before, before, behind, behind])),
                ("count_include_pad", Attribute::Int(1)),
            ],
        );
        let sums = self.times(&part("sums"), &means, r.alpha * (size * size) as f64);
        let bases = self.plus(&part("bases"), &sums, r.k);
        let beta = self.constant(&part("beta"), &[], &[r.beta as f32]);
        let powers = self.op("Pow", &part("powers"), &[&bases, &beta], &[]);
        Some(self.op("Div", name, &[x, &powers], &[]))
    }

    fn neuron(&mut self, name: &str, x: &str, neuron: Neuron) -> String {
        let inner = format!("{name}.inner");
        match neuron {
            Neuron::Linear { a, b } => {
                let y = if a == 1.0 { x.to_owned() } else { self.times(if b == 0.0 { name } else { &inner }, x, a) };
                if b == 0.0 { y } else { self.plus(name, &y, b) }
            }
            Neuron::Relu | Neuron::Nrelu => self.op("Relu", name, &[x], &[]),
            Neuron::Brelu { a } => {
                let [least, most] = [0.0, a as f32].map(|v| self.constant(&inner, &[], &[v]));
                self.op("Clip", name, &[x, &least, &most], &[])
            }
            Neuron::Softrelu => self.op("Softplus", name, &[x], &[]),
            Neuron::Tanh { a, b } => {
                let x = if b == 1.0 { x.to_owned() } else { self.times(&inner, x, b) };
                let y = self.op("Tanh", if a == 1.0 { name } else { &inner }, &[&x], &[]);
                if a == 1.0 { y } else { self.times(name, &y, a) }
            }
            Neuron::Logistic => self.op("Sigmoid", name, &[x], &[]),
            Neuron::Abs => self.op("Abs", name, &[x], &[]),
            Neuron::Square => self.op("Mul", name, &[x, x], &[]),
            Neuron::Sqrt => self.op("Sqrt", name, &[x], &[]),
            Neuron::Log { a } => {
                let x = self.plus(&inner, x, a);
                self.op("Log", name, &[&x], &[])
            }
            Neuron::Drelu { a } => {
                let t = self.times(&inner, x, 1.0 / a);
                let t = self.op("Tanh", &inner, &[&t], &[]);
                let t = self.times(&inner, &t, a);
                self.op("Sub", name, &[x, &t], &[])
            }
            Neuron::Leaky { a } => self.op("LeakyRelu", name, &[x], &[("alpha", Attribute::Float(a))]),
            Neuron::Elu { a } => self.op("Elu", name, &[x], &[("alpha", Attribute::Float(a))]),
            Neuron::Swish => {
                let s = self.op("Sigmoid", &inner, &[x], &[]);
                self.op("Mul", name, &[x, &s], &[])
            }
        }
    }
}

/// The padding behind an axis of [cells, outputs, stride, padding]: the same as before it, unless a last window needs more.
fn end([cells, outputs, stride, padding]: [i32; 4], span: i32) -> i32 {
    let same = (cells + 2 * padding - span) / stride + 1 == outputs && cells + 2 * padding >= span;
    if same { padding } else { ((outputs - 1) * stride + span - cells - padding).max(0) }
}
