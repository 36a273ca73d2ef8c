//! An ONNX model as a config and weights: one layer an operator, in the model's order. What is done to the images before the
//! first layer (a mean subtracted, a factor) becomes the normalisation of the data, a bias that is added to a product its layer's,
//! an activation the neuron of the layer before. A flattened image stays as it is until something reads it that cares for the
//! order of its elements: then a flatten layer is put there.

use super::super::{Parameters, Tensor, Weights, shown};
use super::{Attribute, Constant, Model, Numbers, Operator, parse, unlike};
use crate::config::NetSpec;
use crate::device::Shape;
use crate::net::Graph;
use std::collections::{HashMap, HashSet};
use toml::{Table, Value as Toml};

/// A net out of a model.
#[derive(Debug)]
pub struct Imported {
    /// The net; there when it is read.
    pub spec: Option<NetSpec>,
    /// Its parameters.
    pub weights: Weights,
    /// Rows, columns and channels of an image.
    pub shape: [usize; 3],
    /// Elements of the output: classes of labels.
    pub classes: usize,
    /// What is subtracted from the pixels: a number a channel, or one a pixel and channel.
    pub mean: Vec<f32>,
    /// What each channel's difference is multiplied by.
    pub factors: Vec<f64>,
}

/// The net of a model, with `--set` arguments. `name` is the net's if it has none.
///
/// # Errors
/// What is wrong with the file, or has no layer here.
pub fn read(file: &[u8], name: &str, sets: &[String]) -> Result<Imported, String> {
    let model = parse(file)?;
    let translated = Translator::run(&model)?;
    let Translator { images, normalised, layers, given, .. } = &translated;
    let [h, w, c] = *images;
    let classes = translated.classes;
    let extents: Vec<Toml> = images.iter().map(|&e| Toml::Integer(e as i64)).collect();
    let synthetic = table([("shape", Toml::Array(extents)), ("classes", (classes as i64).into())]);
    let data_table = table([("source", "synthetic".into()), ("synthetic", Toml::Table(synthetic))]);
    let own: String = model.name.chars().filter(|c| !c.is_control()).take(100).collect();
    let net_name = if own.is_empty() { name.to_owned() } else { own };
    let root = table([
        ("name", net_name.into()),
        ("data", Toml::Table(data_table)),
        ("layer", Toml::Array(layers.iter().cloned().map(Toml::Table).collect())),
    ]);
    let text = toml::to_string(&root).map_err(|e| e.to_string())?;
    let spec = NetSpec::from_toml(&text, "the model's config", sets).map_err(|e| e.render(false))?;
    let graph = Graph::new(&spec, Shape::new(1, h, w, c), classes).map_err(|e| e.render(false))?;
    let mut parameters = Parameters::new(&graph);
    let place: HashMap<&str, usize> = graph.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    for Given { layer, parameter, tensor } in given {
        let node = place.get(layer.as_str()).ok_or_else(|| format!("layer '{layer}' is gone"))?;
        parameters.put(*node, parameter, tensor)?;
    }
    let weights = parameters.whole(Vec::new())?;
    let (mean, factors) = (normalised.mean(*images), normalised.factors.clone());
    if mean.iter().any(|m| !m.is_finite()) || factors.iter().any(|f| !f.is_finite() || *f <= 0.0) {
        return Err("what it subtracts from its images is not finite, or what they are multiplied by not above 0".into());
    }
    Ok(Imported { spec: Some(spec), weights, shape: *images, classes, mean, factors })
}

/// The parameters of a net that is known, out of a model: its layers with weights in their order.
pub fn read_weights(file: &[u8], graph: &Graph) -> Result<Weights, String> {
    let model = parse(file)?;
    let translated = Translator::run(&model)?;
    let mut parameters = Parameters::new(graph);
    let layers = parameters.layers();
    let mut order: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    for given in &translated.given {
        if seen.insert(given.layer.as_str()) {
            order.push(&given.layer);
        }
    }
    if order.len() != layers.len() {
        return Err(format!("it has {} layers with parameters, and the net of this config {}", order.len(), layers.len()));
    }
    let place: HashMap<&str, usize> = order.into_iter().zip(layers).collect();
    for Given { layer, parameter, tensor } in &translated.given {
        parameters.put(place[layer.as_str()], parameter, tensor)?;
    }
    parameters.whole(Vec::new())
}

fn table<const N: usize>(entries: [(&str, Toml); N]) -> Table {
    entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// What is done to the images before the first layer: (x − mean)·factor.
#[derive(Debug)]
struct Normalised {
    /// One a channel, or one a channel and pixel, channels first.
    mean: Vec<f32>,
    factors: Vec<f64>,
}

impl Normalised {
    /// The mean in our order.
    fn mean(&self, [h, w, c]: [usize; 3]) -> Vec<f32> {
        if self.mean.len() == c {
            return self.mean.clone();
        }
        (0..h * w).flat_map(|place| (0..c).map(move |o| self.mean[o * h * w + place])).collect()
    }
}

/// A parameter that was found.
struct Given {
    layer: String,
    parameter: &'static str,
    tensor: Tensor,
}

/// A value of the model that is no constant: what a layer makes.
#[derive(Clone, Debug)]
struct Made {
    /// The layer, or `data`.
    layer: String,
    /// Rows, columns and channels.
    shape: [usize; 3],
    /// It is images × elements, in the order channel, row, column.
    flat: bool,
}

impl Made {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The images' name among the layers.
const DATA: &str = "data";
/// Cells along an axis, and channels, at most: so that products fit.
const MAX: i64 = 1 << 20;
/// What an operator becomes.
type Translate = for<'a> fn(&mut Translator<'a>, &'a Operator) -> Result<(), String>;

/// The operators that are read.
const OPERATORS: [(&str, Translate); 38] = [
    ("Abs", |t, node| t.neuron(node, "abs".into())),
    ("Add", |t, node| t.arithmetic(node, Arithmetic::Add)),
    ("AveragePool", |t, node| t.pool(node, "avg")),
    ("BatchNormalization", |t, node| t.batch_norm(node)),
    ("Clip", |t, node| t.clip(node)),
    ("Concat", |t, node| t.concat(node)),
    ("Constant", |t, node| t.constant_operator(node)),
    ("Conv", |t, node| t.conv(node)),
    ("ConvTranspose", |t, node| t.deconv(node)),
    ("Div", |t, node| t.arithmetic(node, Arithmetic::Div)),
    ("Dropout", |t, node| t.dropout(node)),
    ("Elu", |t, node| t.neuron(node, format!("elu[{}]", float(node, "alpha", 1.0)))),
    ("Flatten", |t, node| t.flatten(node)),
    ("Gemm", |t, node| t.product(node)),
    ("GlobalAveragePool", |t, node| t.global_pool(node, "avg", false)),
    ("GlobalMaxPool", |t, node| t.global_pool(node, "max", false)),
    ("Identity", |t, node| t.identity(node)),
    ("LRN", |t, node| t.lrn(node)),
    ("LeakyRelu", |t, node| t.neuron(node, format!("leaky[{}]", float(node, "alpha", 0.01)))),
    ("LpPool", |t, node| t.norm_pool(node)),
    ("MatMul", |t, node| t.product(node)),
    ("Max", |t, node| t.arithmetic(node, Arithmetic::Max)),
    ("MaxPool", |t, node| t.pool(node, "max")),
    ("Mul", |t, node| t.arithmetic(node, Arithmetic::Mul)),
    ("PRelu", |t, node| t.prelu(node)),
    ("Pad", |t, node| t.pad(node)),
    ("ReduceMean", |t, node| t.reduce_mean(node)),
    ("Relu", |t, node| t.neuron(node, "relu".into())),
    ("Reshape", |t, node| t.reshape(node)),
    ("Sigmoid", |t, node| t.neuron(node, "logistic".into())),
    ("Slice", |t, node| t.slice(node)),
    ("Softmax", |t, node| t.softmax(node)),
    ("Softplus", |t, node| t.neuron(node, "softrelu".into())),
    ("Sqrt", |t, node| t.neuron(node, "sqrt".into())),
    ("Squeeze", |t, node| t.squeeze(node)),
    ("Sub", |t, node| t.arithmetic(node, Arithmetic::Sub)),
    ("Sum", |t, node| t.arithmetic(node, Arithmetic::Sum)),
    ("Tanh", |t, node| t.neuron(node, "tanh[1, 1]".into())),
];

/// What is done to layers of one shape, or to a layer and a constant.
#[derive(Clone, Copy, PartialEq)]
enum Arithmetic {
    Add,
    Div,
    Max,
    Mul,
    Sub,
    /// As `Add`, of any number of layers and of no constant.
    Sum,
}

struct Translator<'a> {
    model: &'a Model,
    constants: HashMap<&'a str, Constant>,
    made: HashMap<&'a str, Made>,
    /// How many operators read a value.
    uses: HashMap<&'a str, usize>,
    images: [usize; 3],
    normalised: Normalised,
    layers: Vec<Table>,
    names: HashMap<String, usize>,
    given: Vec<Given>,
    classes: usize,
}

impl<'a> Translator<'a> {
    fn run(model: &'a Model) -> Result<Self, String> {
        let mut inputs = model.inputs.iter().filter(|(name, _)| !model.constants.contains_key(name));
        let (Some((input, extents)), None) = (inputs.next(), inputs.next()) else {
            return Err("its graph has not one input, the images".into());
        };
        let axis = |i: usize| extents.get(i).copied().flatten().filter(|e| (1..=MAX).contains(e)).map(|e| e as usize);
        let images = match extents.len() {
            2 => axis(1).map(|c| [1, 1, c]),
            4 => axis(1).zip(axis(2)).zip(axis(3)).map(|((c, h), w)| [h, w, c]),
            _ => None,
        };
        let images = images.ok_or_else(|| {
            format!(
                "the extents of its input '{}' are not images × channels × rows × columns, all but the first known",
                shown(input)
            )
        })?;
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for name in model.nodes.iter().flat_map(|n| &n.inputs).chain(&model.outputs) {
            *uses.entry(name.as_str()).or_default() += 1;
        }
        let mut t = Self {
            model,
            constants: HashMap::new(),
            made: HashMap::from([(input.as_str(), Made { layer: DATA.into(), shape: images, flat: extents.len() == 2 })]),
            uses,
            images,
            normalised: Normalised { mean: vec![0.0; images[2]], factors: vec![1.0; images[2]] },
            layers: Vec::new(),
            names: HashMap::from([(DATA.to_owned(), 1), ("labels".to_owned(), 1)]),
            given: Vec::new(),
            classes: 0,
        };
        for node in &model.nodes {
            t.operator(node).map_err(|what| format!("operator {} '{}': {what}", shown(&node.kind), shown(&node.name)))?;
        }
        t.finish()?;
        Ok(t)
    }

    /// A softmax and a cost behind the output, so that the net can be tested and trained.
    fn finish(&mut self) -> Result<(), String> {
        let output = self.model.outputs.first().and_then(|name| self.made.get(name.as_str())).cloned();
        let output = output.filter(|o| o.layer != DATA).ok_or("its output is nothing that its operators make")?;
        self.classes = output.elements();
        let is_softmax = |t: &Table| t["name"].as_str() == Some(&output.layer) && t["type"].as_str() == Some("softmax");
        let probabilities = if self.layers.iter().any(is_softmax) {
            output.layer
        } else {
            self.push("softmax", "probabilities", &[&output.layer], Table::new())
        };
        self.push("logistic-regression", "cost", &[&probabilities], Table::new());
        Ok(())
    }

    /// A constant, of the file or of an operator.
    fn constant(&self, name: &str) -> Option<&Constant> {
        self.constants.get(name).or_else(|| self.model.constants.get(name))
    }

    /// Input `i` of an operator, if it has it.
    fn name(node: &'a Operator, i: usize) -> Option<&'a str> {
        node.inputs.get(i).map(String::as_str).filter(|n| !n.is_empty())
    }

    /// Input `i`, which must be what a layer makes.
    fn value(&self, node: &'a Operator, i: usize) -> Result<Made, String> {
        let name = Self::name(node, i).ok_or_else(|| format!("it has no input {i}"))?;
        self.made.get(name).cloned().ok_or_else(|| format!("its input '{}' is made by no operator before it", shown(name)))
    }

    /// Input `i`, which must be a constant of reals.
    fn weights(&self, node: &'a Operator, i: usize) -> Result<Tensor, String> {
        let name = Self::name(node, i).ok_or_else(|| format!("it has no input {i}"))?;
        let constant = self.constant(name).ok_or_else(|| format!("its input '{}' is no constant", shown(name)))?;
        constant.tensor(name)
    }

    /// Whole numbers of an attribute, or of a constant input.
    fn ints(&self, node: &'a Operator, attribute: &str, input: Option<usize>) -> Result<Option<Vec<i64>>, String> {
        if let Some(Attribute::Ints(v)) = node.attributes.get(attribute) {
            return Ok(Some(v.clone()));
        }
        let Some(name) = input.and_then(|i| Self::name(node, i)) else { return Ok(None) };
        match self.constant(name).and_then(Constant::ints) {
            Some(v) => Ok(Some(v.to_vec())),
            None => Err(format!("its {attribute} are no constant")),
        }
    }

    /// Adds a layer; its name is like the wanted one.
    fn push(&mut self, kind: &str, wanted: &str, inputs: &[&str], keys: Table) -> String {
        let clean: String = wanted.chars().filter(|c| !c.is_control()).take(100).collect();
        let clean = clean.trim_matches(|c: char| c == '/' || c.is_whitespace());
        let base = if clean.is_empty() { kind } else { clean };
        let name = unlike(&mut self.names, base);
        let inputs = inputs.iter().map(|i| Toml::String((*i).to_owned())).collect();
        let mut layer = table([("name", name.as_str().into()), ("type", kind.into()), ("inputs", Toml::Array(inputs))]);
        layer.extend(keys);
        self.layers.push(layer);
        name
    }

    fn give(&mut self, layer: &str, parameter: &'static str, tensor: Tensor) {
        self.given.push(Given { layer: layer.to_owned(), parameter, tensor });
    }

    /// Notes what an operator makes.
    fn makes(&mut self, node: &'a Operator, made: Made) -> Result<(), String> {
        let name = node.outputs.first().map(String::as_str).filter(|n| !n.is_empty()).ok_or("it makes nothing")?;
        if self.made.insert(name, made).is_some() {
            return Err(format!("'{}' is made twice", shown(name)));
        }
        Ok(())
    }

    /// A flattened image as the channels of one cell.
    fn in_order(&mut self, x: Made) -> Made {
        let [h, w, _] = x.shape;
        if !x.flat || h * w == 1 {
            return x;
        }
        let layer = self.push("flatten", &format!("{}.flat", x.layer), &[&x.layer], Table::new());
        Made { layer, shape: [1, 1, x.elements()], flat: true }
    }

    fn operator(&mut self, node: &'a Operator) -> Result<(), String> {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(format!("it is of '{}', not of ONNX itself", shown(&node.domain)));
        }
        match OPERATORS.iter().find(|(kind, _)| *kind == node.kind) {
            Some((_, translate)) => translate(self, node),
            None => {
                let known = OPERATORS.map(|(kind, _)| kind).join(", ");
                Err(format!("it has no layer here; those that have: {known}"))
            }
        }
    }

    fn constant_operator(&mut self, node: &'a Operator) -> Result<(), String> {
        let constant = match (node.attributes.get("value"), node.attributes.get("value_float"), node.attributes.get("value_int"))
        {
            (Some(Attribute::Tensor(c)), ..) => c.clone(),
            (_, Some(Attribute::Float(v)), _) => Constant { shape: Vec::new(), numbers: Numbers::Reals(vec![*v]) },
            (.., Some(Attribute::Int(v))) => Constant { shape: Vec::new(), numbers: Numbers::Ints(vec![*v]) },
            _ => match node.attributes.get("value_ints") {
                Some(Attribute::Ints(v)) => Constant { shape: vec![v.len()], numbers: Numbers::Ints(v.clone()) },
                _ => return Err("its value is of no type that is read".into()),
            },
        };
        let name = node.outputs.first().ok_or("it makes nothing")?;
        self.constants.insert(name, constant);
        Ok(())
    }

    fn identity(&mut self, node: &'a Operator) -> Result<(), String> {
        if self.passes_constant(node)? {
            return Ok(());
        }
        let x = self.value(node, 0)?;
        self.makes(node, x)
    }

    /// Dropout does nothing in testing; it is kept for training.
    fn dropout(&mut self, node: &'a Operator) -> Result<(), String> {
        if self.passes_constant(node)? {
            return Ok(());
        }
        let mut x = self.value(node, 0)?;
        let ratio = Self::name(node, 1).and_then(|n| self.constant(n)).and_then(Constant::reals).and_then(|v| v.first().copied());
        let ratio = ratio.map_or_else(|| float(node, "ratio", 0.5), f64::from);
        if !(0.0..1.0).contains(&ratio) {
            return Err(format!("its ratio is {ratio}"));
        }
        x.layer = self.push("dropout", &node.name, &[&x.layer], table([("keep", (1.0 - ratio).into())]));
        self.makes(node, x)
    }

    /// Passes input 0 on if it is a constant; whether it was.
    fn passes_constant(&mut self, node: &'a Operator) -> Result<bool, String> {
        let Some(constant) = Self::name(node, 0).and_then(|n| self.constant(n)).cloned() else { return Ok(false) };
        let name = node.outputs.first().ok_or("it makes nothing")?;
        self.constants.insert(name, constant);
        Ok(true)
    }

    fn conv(&mut self, node: &'a Operator) -> Result<(), String> {
        let (mut x, w) = (self.image(node)?, self.weights(node, 1)?);
        let &[k, _, r, s] = w.shape.as_slice() else { return Err(format!("its filters are {}", Tensor::extents(&w.shape))) };
        let win = self.window(node, [r, s], &x)?;
        let [top, left, bottom, right] = win.pads;
        let mut keys = table([("filters", (k as i64).into()), ("size", pair([r as i64, s as i64]))]);
        if (top, left) == (bottom, right) {
            keys.insert("padding".into(), pair([top, left]));
        } else {
            x = self.padded(&x, win.pads, &node.name)?;
        }
        keys.insert("stride".into(), pair(win.strides));
        keys.insert("dilation".into(), pair(win.dilations));
        keys.insert("groups".into(), int(node, "group", 1).into());
        let biased = Self::name(node, 2).is_some();
        keys.insert("bias".into(), if biased { "shared" } else { "none" }.into());
        let [p, q] = win.outputs;
        let layer = self.push("conv", &node.name, &[&x.layer], keys);
        self.give(&layer, "weights", w);
        if biased {
            let bias = self.weights(node, 2)?;
            self.give(&layer, "bias", bias);
        }
        self.makes(node, Made { layer, shape: [p, q, k], flat: false })
    }

    fn deconv(&mut self, node: &'a Operator) -> Result<(), String> {
        let (x, w) = (self.image(node)?, self.weights(node, 1)?);
        let &[_, c, r, s] = w.shape.as_slice() else { return Err(format!("its filters are {}", Tensor::extents(&w.shape))) };
        let groups = int(node, "group", 1);
        let all = |name: &str, default: i64| self.ints(node, name, None).map(|v| v.unwrap_or_default()).map(|v| two(&v, default));
        let (strides, dilations) = (all("strides", 1)?, all("dilations", 1)?);
        let more = all("output_padding", 0)?;
        let pads = self.ints(node, "pads", None)?.unwrap_or_else(|| vec![0; 4]);
        let auto = matches!(node.attributes.get("auto_pad"), Some(Attribute::Text(t)) if t != "NOTSET");
        if auto || node.attributes.contains_key("output_shape") || pads.len() != 4 || pads[..2] != pads[2..] {
            return Err("its padding is not the same on both sides".into());
        }
        let mut outputs = [0; 2];
        for axis in 0..2 {
            let size = [r, s][axis] as i64;
            let sane = [strides[axis], dilations[axis], size].iter().all(|v| (1..=MAX).contains(v));
            if !sane || ![pads[axis], more[axis]].iter().all(|v| (0..=MAX).contains(v)) {
                return Err("a size of it is out of range".into());
            }
            outputs[axis] =
                (x.shape[axis] as i64 - 1) * strides[axis] + (size - 1) * dilations[axis] + 1 - 2 * pads[axis] + more[axis];
        }
        let channels = (c as i64).saturating_mul(groups);
        let shape = [extent(outputs[0])?, extent(outputs[1])?, extent(channels)?];
        let biased = Self::name(node, 2).is_some();
        let keys = table([
            ("channels", channels.into()),
            ("size", pair([r as i64, s as i64])),
            ("stride", pair(strides)),
            ("padding", pair([pads[0], pads[1]])),
            ("dilation", pair(dilations)),
            ("groups", groups.into()),
            ("outputs", pair(outputs)),
            ("bias", biased.into()),
        ]);
        let layer = self.push("deconv", &node.name, &[&x.layer], keys);
        self.give(&layer, "weights", w);
        if biased {
            let bias = self.weights(node, 2)?;
            self.give(&layer, "bias", bias);
        }
        self.makes(node, Made { layer, shape, flat: false })
    }

    /// Input 0 as an image that is not flattened.
    fn image(&self, node: &'a Operator) -> Result<Made, String> {
        let x = self.value(node, 0)?;
        let cell = x.shape[0] * x.shape[1] == 1;
        if x.flat && !cell { Err("its input is a flattened image".into()) } else { Ok(Made { flat: false, ..x }) }
    }

    /// The image with a frame of zeros.
    fn padded(&mut self, x: &Made, [top, left, bottom, right]: [i64; 4], name: &str) -> Result<Made, String> {
        let [h, w, c] = x.shape;
        let (rows, columns) = (h as i64 + top + bottom, w as i64 + left + right);
        let keys = table([("size", pair([rows, columns])), ("start", pair([-top, -left]))]);
        let layer = self.push("crop", &format!("{name}.padded"), &[&x.layer], keys);
        Ok(Made { layer, shape: [extent(rows)?, extent(columns)?, c], flat: false })
    }

    /// The window of a convolution or a pool.
    fn window(&self, node: &'a Operator, size: [usize; 2], x: &Made) -> Result<Window, String> {
        let all = |name: &str| self.ints(node, name, None).map(|v| two(&v.unwrap_or_default(), 1));
        let (strides, dilations) = (all("strides")?, all("dilations")?);
        let auto = match node.attributes.get("auto_pad") {
            Some(Attribute::Text(t)) => t.as_str(),
            _ => "NOTSET",
        };
        let pads = self.ints(node, "pads", None)?.unwrap_or_else(|| vec![0; 4]);
        let mut pads: [i64; 4] = pads.try_into().map_err(|_| "its pads are not four")?;
        let mut outputs = [0; 2];
        for axis in 0..2 {
            let cells = x.shape[axis] as i64;
            let (size, stride, dilation) = (size[axis] as i64, strides[axis], dilations[axis]);
            let sane = |v: i64, least: i64| (least..=MAX).contains(&v);
            if !sane(size, 1) || !sane(stride, 1) || !sane(dilation, 1) || !sane(pads[axis], 0) || !sane(pads[axis + 2], 0) {
                return Err("a size, stride or padding of it is out of range".into());
            }
            let span = (size - 1) * dilation + 1;
            if auto.starts_with("SAME") {
                let needed = (((cells + stride - 1) / stride - 1) * stride + span - cells).max(0);
                let less = needed / 2;
                let (before, behind) = if auto == "SAME_LOWER" { (needed - less, less) } else { (less, needed - less) };
                (pads[axis], pads[axis + 2]) = (before, behind);
            } else if auto == "VALID" {
                (pads[axis], pads[axis + 2]) = (0, 0);
            }
            let room = cells + pads[axis] + pads[axis + 2] - span;
            if room < 0 && (int(node, "ceil_mode", 0) == 0 || cells + pads[axis] < 1) {
                return Err(format!("its window of {span} cells does not fit {cells}"));
            }
            let mut count = if room < 0 { 1 } else { room / stride + 1 };
            // A window behind the image and what is before it is none.
            if int(node, "ceil_mode", 0) != 0 && room > 0 && room % stride != 0 && count * stride < cells + pads[axis] {
                count += 1;
            }
            outputs[axis] = extent(count)?;
        }
        Ok(Window { strides, dilations, pads, outputs })
    }

    fn product(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let mut w = self.weights(node, 1)?;
        let &[rows, columns] = w.shape.as_slice() else { return Err(format!("its weights are {}", Tensor::extents(&w.shape))) };
        if float(node, "alpha", 1.0) != 1.0 || float(node, "beta", 1.0) != 1.0 || int(node, "transA", 0) != 0 {
            return Err("its alpha and beta must be 1, and transA 0".into());
        }
        let whole = x.flat || x.shape[0] * x.shape[1] == 1;
        if int(node, "transB", 0) == 0 {
            w.values = (0..columns).flat_map(|o| (0..rows).map(move |i| i * columns + o)).map(|at| w.values[at]).collect();
            w.shape = vec![columns, rows];
        }
        if !whole || w.shape[1] != x.elements() {
            return Err(format!("its weights are for {} numbers an image, and its input has others", w.shape[1]));
        }
        let outputs = w.shape[0];
        let biased = Self::name(node, 2).is_some();
        let keys = table([("outputs", (outputs as i64).into()), ("bias", biased.into())]);
        let layer = self.push("fc", &node.name, &[&x.layer], keys);
        self.give(&layer, "weights", w);
        if biased {
            let bias = self.weights(node, 2)?;
            self.give(&layer, "bias", spread(bias, outputs));
        }
        self.makes(node, Made { layer, shape: [1, 1, outputs], flat: true })
    }

    fn norm_pool(&mut self, node: &'a Operator) -> Result<(), String> {
        match int(node, "p", 2) {
            2 => self.pool(node, "l2"),
            p => Err(format!("its norm is of p = {p}, not of p = 2")),
        }
    }

    fn pool(&mut self, node: &'a Operator, kind: &str) -> Result<(), String> {
        let mut x = self.image(node)?;
        let size = self.ints(node, "kernel_shape", None)?.unwrap_or_default();
        let size: [i64; 2] = size.try_into().map_err(|_| "its kernel_shape is not two numbers")?;
        let mut win = self.window(node, [extent(size[0])?, extent(size[1])?], &x)?;
        if win.dilations != [1, 1] {
            return Err("its dilations are not 1".into());
        }
        // Averages that count the padding are those of an image with a frame of zeros.
        if kind == "avg" && int(node, "count_include_pad", 0) != 0 && win.pads != [0; 4] {
            x = self.padded(&x, win.pads, &node.name)?;
            win.pads = [0; 4];
        }
        let [p, q] = win.outputs;
        let keys = table([
            ("pool", kind.into()),
            ("size", pair(size)),
            ("stride", pair(win.strides)),
            ("start", pair([-win.pads[0], -win.pads[1]])),
            ("outputs", pair([p as i64, q as i64])),
        ]);
        let layer = self.push("pool", &node.name, &[&x.layer], keys);
        self.makes(node, Made { layer, shape: [p, q, x.shape[2]], flat: false })
    }

    fn reduce_mean(&mut self, node: &'a Operator) -> Result<(), String> {
        let mut axes = self.ints(node, "axes", Some(1))?.unwrap_or_default();
        axes.iter_mut().filter(|a| **a < 0).for_each(|a| *a += 4);
        axes.sort_unstable();
        if axes != [2, 3] {
            return Err("its axes are not rows and columns".into());
        }
        self.global_pool(node, "avg", int(node, "keepdims", 1) == 0)
    }

    fn global_pool(&mut self, node: &'a Operator, kind: &str, flat: bool) -> Result<(), String> {
        let x = self.image(node)?;
        let layer = self.push("pool", &node.name, &[&x.layer], table([("pool", kind.into()), ("global", true.into())]));
        self.makes(node, Made { layer, shape: [1, 1, x.shape[2]], flat })
    }

    fn batch_norm(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let x = self.in_order(x);
        let keys = table([("epsilon", float(node, "epsilon", 1e-5).into())]);
        let layer = self.push("batch-norm", &node.name, &[&x.layer], keys);
        for (i, parameter) in (1..).zip(["weights", "bias", "mean", "variance"]) {
            let tensor = self.weights(node, i)?;
            self.give(&layer, parameter, tensor);
        }
        self.makes(node, Made { layer, ..x })
    }

    fn lrn(&mut self, node: &'a Operator) -> Result<(), String> {
        let (x, size) = (self.image(node)?, int(node, "size", 1));
        if size % 2 == 0 {
            return Err("its size is even".into());
        }
        let real = |name: &str, default: f32| Toml::Float(float(node, name, default));
        let keys = table([
            ("size", size.into()),
            ("alpha", real("alpha", 1e-4)),
            ("beta", real("beta", 0.75)),
            ("k", real("bias", 1.0)),
        ]);
        let layer = self.push("lrn", &node.name, &[&x.layer], keys);
        self.makes(node, Made { layer, ..x })
    }

    fn prelu(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let (x, mut slope) = (self.in_order(x), self.weights(node, 1)?);
        let shared = slope.values.len() == 1 && x.shape[2] != 1;
        let layer = self.push("prelu", &node.name, &[&x.layer], table([("shared", shared.into())]));
        slope.shape = vec![slope.values.len()];
        self.give(&layer, "slope", slope);
        self.makes(node, Made { layer, ..x })
    }

    fn flatten(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        self.reshaped(node, x, (int(node, "axis", 1) == 1).then_some(true))
    }

    fn squeeze(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let axes = self.ints(node, "axes", Some(1))?.unwrap_or_default();
        let cell = x.shape[0] * x.shape[1] == 1;
        self.reshaped(node, x, (cell && (axes == [2, 3] || axes == [-1, -2] || axes == [-2, -1])).then_some(true))
    }

    fn reshape(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let is_all = |to: i64| to == -1 || to == x.elements() as i64;
        let flat = match *self.ints(node, "shape", Some(1))?.unwrap_or_default() {
            [_, to] if is_all(to) => Some(true),
            [_, to, 1, 1] if is_all(to) => Some(false),
            _ => None,
        };
        self.reshaped(node, x, flat)
    }

    /// To images × elements, or from there to images × channels × 1 × 1.
    fn reshaped(&mut self, node: &'a Operator, x: Made, flat: Option<bool>) -> Result<(), String> {
        let flat = flat.ok_or("only an image can be flattened, and channels made cells of one row and column")?;
        let x = if flat { Made { flat, ..x } } else { Made { flat, ..self.in_order(Made { flat: true, ..x }) } };
        self.makes(node, x)
    }

    fn concat(&mut self, node: &'a Operator) -> Result<(), String> {
        let mut all: Vec<Made> = (0..node.inputs.len()).map(|i| self.value(node, i)).collect::<Result<_, _>>()?;
        all = all.into_iter().map(|x| self.in_order(x)).collect();
        let first = all.first().cloned().ok_or("it has no inputs")?;
        let rank = if first.flat { 2 } else { 4 };
        let axis = int(node, "axis", 1);
        if axis != 1 && axis != 1 - rank {
            return Err("its axis is not the channels'".into());
        }
        if all.iter().any(|x| x.shape[..2] != first.shape[..2]) {
            return Err("its inputs have different rows and columns".into());
        }
        let channels = all.iter().try_fold(0_usize, |n, x| n.checked_add(x.shape[2])).ok_or("it has too many channels")?;
        let names: Vec<&str> = all.iter().map(|x| x.layer.as_str()).collect();
        let layer = self.push("concat", &node.name, &names, Table::new());
        let [h, w, _] = first.shape;
        self.makes(node, Made { layer, shape: [h, w, extent(channels as i64)?], flat: first.flat })
    }

    fn softmax(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let whole = x.flat || x.shape[0] * x.shape[1] == 1;
        let axis = int(node, "axis", -1);
        if !whole || axis != 1 && !(axis == -1 && x.flat) {
            return Err("it is not over all channels of one cell".into());
        }
        let x = self.in_order(x);
        let layer = self.push("softmax", &node.name, &[&x.layer], Table::new());
        self.makes(node, Made { layer, ..x })
    }

    /// A neuron, on the layer before where nothing else reads that.
    fn neuron(&mut self, node: &'a Operator, neuron: String) -> Result<(), String> {
        let x = self.value(node, 0)?;
        let alone = Self::name(node, 0).is_some_and(|n| self.uses.get(n) == Some(&1));
        let rides = |t: &&mut Table| {
            let kind = t["type"].as_str().unwrap_or_default();
            t["name"].as_str() == Some(&x.layer)
                && !t.contains_key("neuron")
                && matches!(kind, "conv" | "fc" | "batch-norm" | "eltsum")
        };
        if let Some(layer) = self.layers.last_mut().filter(|_| alone).filter(rides) {
            layer.insert("neuron".into(), neuron.into());
            return self.makes(node, x);
        }
        let layer = self.push("neuron", &node.name, &[&x.layer], table([("neuron", neuron.into())]));
        self.makes(node, Made { layer, ..x })
    }

    fn clip(&mut self, node: &'a Operator) -> Result<(), String> {
        let bound = |name: &str, i: usize, none: f64| -> Result<f64, String> {
            if node.attributes.contains_key(name) {
                return Ok(float(node, name, 0.0));
            }
            match Self::name(node, i) {
                None => Ok(none),
                Some(n) => self
                    .constant(n)
                    .and_then(Constant::reals)
                    .and_then(|v| v.first())
                    .map(|&v| f64::from(v))
                    .ok_or(format!("its {name} is no constant")),
            }
        };
        let (least, most) = (bound("min", 1, f64::NEG_INFINITY)?, bound("max", 2, f64::INFINITY)?);
        match (least, most) {
            (0.0, f64::INFINITY) => self.neuron(node, "relu".into()),
            (0.0, most) if most > 0.0 => self.neuron(node, format!("brelu[{most}]")),
            _ => Err("it is not from 0 up".into()),
        }
    }

    fn arithmetic(&mut self, node: &'a Operator, what: Arithmetic) -> Result<(), String> {
        let constants: Vec<Option<Constant>> = (0..node.inputs.len()).map(|i| self.constant(&node.inputs[i]).cloned()).collect();
        match (constants.iter().position(Option::is_some), constants.as_slice()) {
            (None, _) => self.elementwise(node, what),
            (Some(at), [_, _]) if constants.iter().flatten().count() == 1 => {
                let constant = constants[at].clone().expect("it was just found");
                self.with_constant(node, what, at, &constant)
            }
            _ => Err("it is of constants".into()),
        }
    }

    /// Layers of one shape.
    fn elementwise(&mut self, node: &'a Operator, what: Arithmetic) -> Result<(), String> {
        let mut all: Vec<Made> = (0..node.inputs.len()).map(|i| self.value(node, i)).collect::<Result<_, _>>()?;
        let first = all.first().cloned().ok_or("it has no inputs")?;
        if all.iter().any(|x| x.shape != first.shape || x.flat != first.flat) {
            all = all.into_iter().map(|x| self.in_order(x)).collect();
        }
        if all.iter().any(|x| x.shape != all[0].shape) {
            return Err("its inputs have different extents".into());
        }
        let mut keys = Table::new();
        let kind = match what {
            Arithmetic::Add | Arithmetic::Sum => "eltsum",
            Arithmetic::Sub => {
                keys.insert("coefficients".into(), Toml::Array(vec![1.0.into(), (-1.0).into()]));
                "eltsum"
            }
            Arithmetic::Mul => "eltproduct",
            Arithmetic::Max => "eltmax",
            Arithmetic::Div => return Err("a layer divided by another has no layer here".into()),
        };
        let names: Vec<&str> = all.iter().map(|x| x.layer.as_str()).collect();
        let layer = self.push(kind, &node.name, &names, keys);
        self.makes(node, Made { layer, ..all.swap_remove(0) })
    }

    /// A layer, or the images, and a constant, which is input `at`.
    fn with_constant(&mut self, node: &'a Operator, what: Arithmetic, at: usize, constant: &Constant) -> Result<(), String> {
        let x = self.value(node, 1 - at)?;
        let values = constant.reals().ok_or("its constant has whole numbers")?.to_vec();
        if matches!(what, Arithmetic::Sum | Arithmetic::Max) || at == 0 && what == Arithmetic::Div {
            return Err("a constant does not go with it here".into());
        }
        if values.iter().any(|v| !v.is_finite()) || what == Arithmetic::Div && values.contains(&0.0) {
            return Err("a number of its constant is none that can be worked with".into());
        }
        let alone = self.uses.get(node.inputs[1 - at].as_str()) == Some(&1);
        if x.layer == DATA && alone && at == 1 && self.normalise(what, is_per_channel(&constant.shape, x.flat), &values) {
            return self.makes(node, x);
        }
        // A bias of the layer that nothing else reads: a number a channel, or one a place.
        let [h, w, c] = x.shape;
        let (each, wide) = (values.len() == c, constant.shape.iter().any(|&e| e != 1) || constant.shape.len() > 1);
        let shared = each && wide && is_per_channel(&constant.shape, x.flat);
        let untied = !x.flat && h * w > 1 && constant.shape.ends_with(&[c, h, w]) && values.len() == x.elements();
        if what == Arithmetic::Add && alone && (shared || untied) {
            let last = self.layers.last_mut().filter(|t| t["name"].as_str() == Some(&x.layer) && !t.contains_key("neuron"));
            let free = |t: &&mut Table| t.get("bias") == Some(&"none".into()) || t.get("bias") == Some(&false.into());
            let of_conv = |t: &Table| t["type"].as_str() == Some("conv");
            if let Some(layer) = last.filter(free).filter(|t| shared || of_conv(t)) {
                let bias: Toml = match (of_conv(layer), shared) {
                    (true, true) => "shared".into(),
                    (true, false) => "untied".into(),
                    _ => true.into(),
                };
                layer.insert("bias".into(), bias);
                let shape = if shared { vec![c] } else { vec![c, h, w] };
                self.give(&x.layer, "bias", Tensor { name: shown(&node.inputs[at]), shape, values });
                return self.makes(node, x);
            }
        }
        let &[v] = values.as_slice() else {
            return Err("its constant is not one number, and no bias of the layer before".into());
        };
        let v = f64::from(v);
        let [a, b] = match (what, at) {
            (Arithmetic::Add, _) => [1.0, v],
            (Arithmetic::Sub, 1) => [1.0, -v],
            (Arithmetic::Sub, _) => [-1.0, v],
            (Arithmetic::Mul, _) => [v, 0.0],
            _ => [1.0 / v, 0.0],
        };
        self.neuron(node, format!("linear[{a}, {b}]"))
    }

    /// Takes what is done to the images into their normalisation, if it can.
    fn normalise(&mut self, what: Arithmetic, is_per_channel: bool, values: &[f32]) -> bool {
        let [h, w, c] = self.images;
        let per_channel = values.len() == 1 || values.len() == c && is_per_channel;
        let factors = self.normalised.factors.clone();
        match what {
            Arithmetic::Mul | Arithmetic::Div if per_channel => {
                for (i, factor) in self.normalised.factors.iter_mut().enumerate() {
                    let v = f64::from(values[i % values.len()]);
                    *factor *= if what == Arithmetic::Mul { v } else { 1.0 / v };
                }
                true
            }
            Arithmetic::Add | Arithmetic::Sub if per_channel || values.len() == c * h * w => {
                if !per_channel && self.normalised.mean.len() == c {
                    let mean = self.normalised.mean.clone();
                    self.normalised.mean = (0..c * h * w).map(|i| mean[i / (h * w)]).collect();
                }
                let cells = self.normalised.mean.len() / c;
                for (i, mean) in self.normalised.mean.iter_mut().enumerate() {
                    let v = match values.len() {
                        1 => values[0],
                        n if n == c => values[i / cells],
                        _ => values[i],
                    };
                    let v = (f64::from(v) / factors[i / cells]) as f32;
                    *mean += if what == Arithmetic::Sub { v } else { -v };
                }
                true
            }
            _ => false,
        }
    }

    fn slice(&mut self, node: &'a Operator) -> Result<(), String> {
        let mut x = self.value(node, 0)?;
        let lists = [("starts", 1), ("ends", 2), ("axes", 3), ("steps", 4)];
        let [starts, ends, axes, steps] = lists.map(|(name, input)| self.ints(node, name, Some(input)));
        let (starts, ends) = (starts?.unwrap_or_default(), ends?.unwrap_or_default());
        let axes = axes?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || starts.len() > 4 {
            return Err("its starts, ends, axes and steps are not as many".into());
        }
        if x.flat {
            x = self.in_order(x);
        }
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = if axis < 0 { axis + if x.flat { 2 } else { 4 } } else { axis };
            let [h, w, c] = x.shape;
            let Some(cells) = [None, Some(c), Some(h), Some(w)].get(axis as usize).copied().flatten() else {
                return Err("it cuts the images apart".into());
            };
            let cells = cells as i64;
            if step == -1 && axis == 3 && (start == -1 || start >= cells - 1) && end < -cells {
                x.layer = self.push("reflect", &node.name, &[&x.layer], Table::new());
                continue;
            }
            let place = |v: i64| if v < 0 { (v.saturating_add(cells)).max(0) } else { v.min(cells) };
            let (from, to) = (place(start), place(end));
            if step != 1 || from >= to {
                return Err("it leaves nothing, or steps over cells".into());
            }
            if axis == 1 {
                x.layer = self.push("slice", &node.name, &[&x.layer], table([("channels", pair([from, to]))]));
                x.shape[2] = (to - from) as usize;
                continue;
            }
            let (size, start) = match axis {
                2 => ([to - from, w as i64], [from, 0]),
                _ => ([h as i64, to - from], [0, from]),
            };
            x.layer = self.push("crop", &node.name, &[&x.layer], table([("size", pair(size)), ("start", pair(start))]));
            x.shape[axis as usize - 2] = (to - from) as usize;
        }
        self.makes(node, x)
    }

    fn pad(&mut self, node: &'a Operator) -> Result<(), String> {
        let x = self.image(node)?;
        let pads = self.ints(node, "pads", Some(1))?.unwrap_or_default();
        let pads: [i64; 8] = pads.try_into().map_err(|_| "its pads are not eight")?;
        let zeros = Self::name(node, 2)
            .and_then(|n| self.constant(n))
            .and_then(Constant::reals)
            .is_none_or(|v| v.iter().all(|&v| v == 0.0));
        let plain = match node.attributes.get("mode") {
            None => true,
            Some(Attribute::Text(mode)) => mode == "constant",
            Some(_) => false,
        };
        if !zeros || !plain || [pads[0], pads[1], pads[4], pads[5]] != [0; 4] || pads.iter().any(|p| p.abs() > MAX) {
            return Err("it adds other things than zeros, or not around the image alone".into());
        }
        let x = self.padded(&x, [pads[2], pads[3], pads[6], pads[7]], &node.name)?;
        self.makes(node, x)
    }
}

/// What a convolution's or a pool's window is.
struct Window {
    strides: [i64; 2],
    dilations: [i64; 2],
    /// Before rows and columns, and behind them.
    pads: [i64; 4],
    outputs: [usize; 2],
}

fn pair(v: [i64; 2]) -> Toml {
    Toml::Array(v.map(Toml::Integer).to_vec())
}

fn two(v: &[i64], default: i64) -> [i64; 2] {
    [v.first().copied().unwrap_or(default), v.get(1).copied().unwrap_or(default)]
}

/// A whole number of an attribute.
fn int(node: &Operator, attribute: &str, default: i64) -> i64 {
    if let Some(Attribute::Int(v)) = node.attributes.get(attribute) { *v } else { default }
}

/// A real number of an attribute.
fn float(node: &Operator, attribute: &str, default: f32) -> f64 {
    let value = if let Some(Attribute::Float(v)) = node.attributes.get(attribute) { *v } else { default };
    // The decimal number that the 32 bits stand for.
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// A size that a layer may have.
fn extent(v: i64) -> Result<usize, String> {
    if (1..=MAX).contains(&v) { Ok(v as usize) } else { Err(format!("an extent of {v} is out of range")) }
}

/// Whether a constant's last extents are such that its numbers are the channels'.
fn is_per_channel(shape: &[usize], flat: bool) -> bool {
    flat || shape.len() >= 3 && shape[shape.len() - 2..] == [1, 1]
}

/// A bias of one number is every output's.
fn spread(bias: Tensor, outputs: usize) -> Tensor {
    match bias.values.as_slice() {
        &[v] if outputs != 1 => Tensor { shape: vec![outputs], values: vec![v; outputs], ..bias },
        _ => bias,
    }
}

#[cfg(test)]
mod tests {
    use super::OPERATORS;

    #[test]
    fn each_operator_stands_once_and_in_order() {
        assert!(OPERATORS.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
