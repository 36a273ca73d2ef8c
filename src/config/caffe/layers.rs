//! Caffe's layer types → ours, one function a type. What a type means is in Caffe's `src/caffe/layers`; where ours computes
//! something else, the layer is refused, and where only the way there differs, a note says so.

use super::data;
use super::message::{Field, Message};
use super::net::{Blob, Known, Layer, Origin, Slot, Translator};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::tree::{Builder, array, tidy};
use crate::config::{ConfigError, Span, Table, Value};
use crate::device::{Rounding, Window, output_size};

pub use super::data::{note_test_data, outside};

type Blobs = Result<Vec<Blob>, ConfigError>;
type Translate = fn(&mut Translator, &Layer) -> Blobs;

/// Caffe's types that have a counterpart.
const TYPES: &[(&str, Translate)] = &[
    ("AbsVal", |t, l| t.activation(l, vec!["abs".into()])),
    ("Accuracy", measure),
    ("ArgMax", measure),
    ("BNLL", |t, l| t.activation(l, vec!["softrelu".into()])),
    ("BatchNorm", batch_norm),
    ("Clip", clip),
    ("Concat", concat),
    ("ContrastiveLoss", contrastive_loss),
    ("Convolution", |t, l| convolution(t, l, false)),
    ("Data", data::data),
    ("Deconvolution", |t, l| convolution(t, l, true)),
    ("Dropout", dropout),
    ("DummyData", data::dummy_data),
    ("ELU", elu),
    ("Eltwise", eltwise),
    ("EuclideanLoss", euclidean_loss),
    ("Flatten", flatten),
    ("HDF5Data", data::hdf5_data),
    ("HingeLoss", hinge_loss),
    ("ImageData", data::image_data),
    ("InnerProduct", inner_product),
    ("Input", data::input),
    ("LRN", lrn),
    ("Log", log),
    ("MemoryData", data::memory_data),
    ("MultinomialLogisticLoss", multinomial_loss),
    ("PReLU", prelu),
    ("Pooling", pooling),
    ("Power", power),
    ("ReLU", relu),
    ("Reshape", reshape),
    ("Scale", scale),
    ("Sigmoid", sigmoid),
    ("SigmoidCrossEntropyLoss", sigmoid_loss),
    ("Silence", measure),
    ("Slice", slice),
    ("Softmax", softmax),
    ("SoftmaxWithLoss", softmax_loss),
    ("Split", split),
    ("Swish", swish),
    ("TanH", tanh),
];

/// Caffe's types that have none.
const OTHERS: &[&str] = &[
    "BatchReindex",
    "Bias",
    "Crop",
    "Embed",
    "Exp",
    "Filter",
    "HDF5Output",
    "Im2col",
    "InfogainLoss",
    "LSTM",
    "MVN",
    "Parameter",
    "Python",
    "RNN",
    "Reduction",
    "SPP",
    "Threshold",
    "Tile",
    "WindowData",
];

/// Whether a type gives images.
pub fn is_data(kind: &str) -> bool {
    matches!(kind, "Data" | "DummyData" | "HDF5Data" | "ImageData" | "Input" | "MemoryData" | "WindowData")
}

/// Whether a type is a cost.
pub fn is_loss(kind: &str) -> bool {
    kind.ends_with("Loss")
}

/// Whether a type only looks at what others make.
pub fn is_measure(kind: &str) -> bool {
    matches!(kind, "Accuracy" | "ArgMax" | "Silence")
}

/// Translates one layer: the blobs that it makes.
pub fn translate(t: &mut Translator, layer: &Layer) -> Blobs {
    layer.m.ignore(&["name", "type", "bottom", "top"]);
    let kind = layer.kind();
    let Some((_, translate)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let known: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        let (message, label) = if OTHERS.contains(&kind) {
            (format!("type {} has no counterpart here", quote(kind)), String::new())
        } else {
            (format!("unknown type {}", quote(kind)), did_you_mean(kind, &known, "not a type that is known here"))
        };
        return Err(t.fault(layer, layer.kind.whole(), &message, &label, &format!("known types: {}", list(&known))));
    };
    if let Some(stopped) = layer.m.all("propagate_down").find(|f| matches!(f.value, super::message::Value::Bool(false))) {
        let help = "remove it, or freeze the layers before with param { lr_mult: 0 }";
        return Err(t.fault(layer, stopped.whole(), "a gradient cannot be stopped here", "", help));
    }
    translate(t, layer)
}

impl Translator<'_> {
    /// Checks how many blobs a layer reads and writes.
    fn arity(
        &self,
        layer: &Layer,
        inputs: std::ops::RangeInclusive<usize>,
        outputs: std::ops::RangeInclusive<usize>,
    ) -> Result<(), ConfigError> {
        for (name, allowed) in [("bottom", inputs), ("top", outputs)] {
            let given: Vec<&Field> = layer.m.all(name).collect();
            if allowed.contains(&given.len()) {
                continue;
            }
            let (least, most) = (*allowed.start(), *allowed.end());
            let wanted = match (least, most) {
                (l, usize::MAX) => format!("at least {l}"),
                (l, m) if l == m => l.to_string(),
                (l, m) => format!("{l} to {m}"),
            };
            let article = if layer.kind().starts_with(['A', 'E', 'I', 'L']) { "an" } else { "a" };
            let message = format!("{} {name}s, but {article} {} layer has {wanted}", given.len(), layer.kind());
            let span = given.get(most).map_or(layer.kind.whole(), |f| f.whole());
            return Err(self.fault(layer, span, &message, "", &format!("give it {wanted}")));
        }
        Ok(())
    }

    /// The message that holds a type's keys; it must be there.
    fn keys<'m>(&self, layer: &Layer<'m>, name: &str, example: &str) -> Result<&'m Message, ConfigError> {
        layer.m.message(name).ok_or_else(|| {
            let message = format!("missing {}", quote(name));
            let label = format!("a {} layer needs it", layer.kind());
            self.fault(layer, layer.kind.whole(), &message, &label, &format!("add {name} {{ {example} }}"))
        })
    }

    /// A field that must be there.
    fn required<'m>(&self, layer: &Layer, keys: &'m Message, name: &str) -> Result<&'m Field, ConfigError> {
        keys.get(name).ok_or_else(|| {
            let label = format!("a {} layer needs {}", layer.kind(), quote(name));
            self.fault(layer, layer.kind.whole(), &format!("missing field {}", quote(name)), &label, &format!("add {name}: …"))
        })
    }

    /// Checks that an axis is the channels'.
    fn channels_axis(&self, layer: &Layer, keys: Option<&Message>, names: &[&str]) -> Result<(), ConfigError> {
        if let Some(field) = names.iter().filter_map(|name| keys?.get(name)).find(|f| f.as_int() != 1) {
            let message = format!("{} = {}: only axis 1, the channels, can be worked along", field.name, field.as_int());
            return Err(self.fault(layer, field.whole(), &message, "", "use axis 1"));
        }
        Ok(())
    }

    fn engine(&mut self, keys: Option<&Message>) {
        if let Some(field) = keys.and_then(|k| k.get("engine")) {
            self.notes.say(self.sources, field.whole(), "engine has no effect: --device says what a net runs on");
        }
    }

    /// An elementwise function as a neuron: it rides on the layer before where it is computed in place of that one's output,
    /// else it is a layer. Of several, each works on what the one before gives.
    fn activation(&mut self, layer: &Layer, neurons: Vec<String>) -> Blobs {
        self.arity(layer, 1..=1, 1..=1)?;
        let mut blob = self.input(layer, 0).clone();
        let mut from = self.input_name(layer, 0)?;
        let mut rest = neurons.into_iter().peekable();
        if layer.in_place
            && let Some(i) = blob.layer.filter(|_| self.only_reader(layer))
            && !self.layers[i].table.contains_key("neuron")
            && let Some(first) = rest.next()
        {
            blob.normalised = false;
            self.layers[i].put_at("neuron", layer.kind.key, first, layer.kind.span);
        }
        while let Some(neuron) = rest.next() {
            let name = if rest.peek().is_none() { layer.name.clone() } else { self.unique(&format!("{}-part", layer.name)) };
            let mut b = self.begin_reading(layer, &name, "neuron", vec![from]);
            b.put_at("neuron", layer.kind.key, neuron, layer.kind.span);
            blob = Blob { shuffled: blob.shuffled, ..self.add(b, blob.shape) };
            from = name;
        }
        Ok(vec![blob])
    }

    /// Multipliers, shared names and initial values of a layer's parameters.
    fn learned(
        &mut self,
        layer: &Layer,
        b: &mut Builder,
        slots: &[Slot],
        fillers: [Option<&Field>; 2],
    ) -> Result<(), ConfigError> {
        let params: Vec<&Field> = layer.m.all("param").collect();
        if let Some(extra) = params.get(slots.len()) {
            let message = format!("{} params for {} kinds of parameters", params.len(), slots.len());
            let help = "the first is the weights', the second the biases', of a layer that has them";
            return Err(self.fault(layer, extra.key, &message, "one too many", help));
        }
        let mut rates = Builder::new(layer.m.span);
        let mut decays = Builder::new(layer.m.span);
        let mut shared = [false; 2];
        for (param, &slot) in params.iter().zip(slots) {
            let Some(m) = param.as_message() else { continue };
            let key = if slot == Slot::Weights { "weights" } else { "bias" };
            for (name, table) in [("lr_mult", &mut rates), ("decay_mult", &mut decays)] {
                if let Some(field) = m.get(name) {
                    table.put_at(key, field.key, field.as_float(), field.span);
                    table.span = if table.table.len() == 1 { field.whole() } else { table.span.to(field.span) };
                }
            }
            if let Some(mode) = m.get("share_mode").filter(|f| f.as_text() == "PERMISSIVE") {
                self.notes.say(self.sources, mode.whole(), "share_mode has no effect: parameters that are shared have one shape");
            }
            if let Some(name) = m.get("name").filter(|f| !f.as_text().is_empty()) {
                shared[slot as usize] = self.share(layer, b, name, slot)?;
            }
        }
        for (key, table) in [("learning_rate", rates), ("weight_decay", decays)] {
            let tells = |e: &crate::config::Entry| e.node.value != Value::Float(1.0);
            if table.table.values().any(tells) {
                let span = table.span;
                b.put(key, table.table, span);
            }
        }
        for ((filler, key), slot) in fillers.into_iter().zip(["init", "init_bias"]).zip([Slot::Weights, Slot::Bias]) {
            let init = match filler {
                Some(field) => self.filler(layer, field, slot)?,
                None => None,
            };
            if let (Some((init, span)), false) = (init, shared[slot as usize]) {
                b.put(key, init, span);
            }
        }
        if fillers[0].is_none() && self.trains && !shared[0] && layer.kind() != "PReLU" && layer.kind() != "Scale" {
            let note =
                "without a weight_filler, Caffe starts at 0, where nothing is learned; here such weights start as msra's do";
            self.notes.say(self.sources, layer.kind.whole(), note);
        }
        Ok(())
    }

    /// A named parameter: the first layer has it, the others use that one's. Whether it is another's.
    fn share(&mut self, layer: &Layer, b: &mut Builder, name: &Field, slot: Slot) -> Result<bool, ConfigError> {
        let Some((owner, theirs)) = self.shared.get(name.as_text()) else {
            self.shared.insert(name.as_text().to_owned(), (layer.name.clone(), slot));
            return Ok(false);
        };
        if *theirs != slot {
            let message = format!("{} is the weights of one layer and the biases of another", quote(name.as_text()));
            return Err(self.fault(layer, name.span, &message, "", "give them names of their own"));
        }
        let key = if slot == Slot::Weights { "weight_source" } else { "bias_source" };
        // What is in brackets at the end of a source counts inputs.
        let source = if owner.ends_with(']') { format!("{owner}[0]") } else { owner.clone() };
        b.put_at(key, name.key, source, name.span);
        Ok(true)
    }

    /// Initial values; none where they are what ours are by default.
    fn filler(&self, layer: &Layer, field: &Field, slot: Slot) -> Result<Option<(Value, Span)>, ConfigError> {
        let Some(m) = field.as_message() else { return Ok(None) };
        let kind = m.text("type").unwrap_or("constant");
        let span = m.get("type").map_or(field.whole(), Field::whole);
        // Numbers of another type's are common, and without effect.
        let float = |name: &str, default: f64| m.float(name).unwrap_or(default);
        let mut init = Table::new();
        let mut put = |key: &str, value: Value, at: Span| {
            init.insert(key.to_owned(), crate::config::Entry { key: at, node: crate::config::Node::new(value, at) });
        };
        let place = |name: &str| m.get(name).map_or(span, Field::whole);
        match kind {
            "constant" => {
                put("kind", "constant".into(), span);
                put("value", float("value", 0.0).into(), place("value"));
            }
            "uniform" => {
                put("kind", "uniform".into(), span);
                put("min", float("min", 0.0).into(), place("min"));
                put("max", float("max", 1.0).into(), place("max"));
            }
            "gaussian" => {
                put("kind", "gaussian".into(), span);
                if let Some(mean) = m.float("mean").filter(|&mean| mean != 0.0) {
                    put("mean", mean.into(), place("mean"));
                }
                put("std", float("std", 1.0).into(), place("std"));
                if let Some(sparse) = m.int("sparse").filter(|&n| n != -1) {
                    put("sparse", sparse.into(), place("sparse"));
                }
            }
            "xavier" | "msra" => {
                put("kind", kind.into(), span);
                let norm = m.text("variance_norm").unwrap_or("FAN_IN");
                // Caffe calls the first extent of a deconvolution's filters its outputs, which are the input's channels.
                let fan = match (norm, layer.kind() == "Deconvolution") {
                    ("FAN_IN", false) | ("FAN_OUT", true) => "in",
                    ("FAN_OUT", false) | ("FAN_IN", true) => "out",
                    _ => "average",
                };
                if (kind, fan) != ("xavier", "average") && (kind, fan) != ("msra", "in") {
                    put("fan", fan.into(), place("variance_norm"));
                }
            }
            _ => {
                let known = ["constant", "uniform", "gaussian", "xavier", "msra"];
                let message = format!("filler type {} is not known here", quote(kind));
                let label = did_you_mean(kind, &known, "not a type that is known here");
                return Err(self.fault(layer, span, &message, &label, &format!("known types: {}", list(&known))));
            }
        }
        if let Some(sparse) = m.get("sparse").filter(|f| f.as_int() != -1 && kind != "gaussian") {
            return Err(self.fault(layer, sparse.whole(), "sparse goes with the gaussian filler alone", "", "remove it"));
        }
        field.ignore();
        let zero = kind == "constant" && m.float("value").unwrap_or(0.0) == 0.0;
        Ok((slot == Slot::Weights || !zero).then_some((Value::Table(init), field.span)))
    }

    /// A size along both axes out of `name` (once, or once an axis) or `name_h` and `name_w`, put under our key.
    fn extent(
        &self,
        layer: &Layer,
        keys: &Message,
        [name, name_h, name_w]: [&str; 3],
        (b, key): (&mut Builder, &str),
    ) -> Result<Option<[i64; 2]>, ConfigError> {
        let both: Vec<&Field> = keys.all(name).collect();
        let (h, w) = (keys.get(name_h), keys.get(name_w));
        if let (Some(once), Some(axis)) = (both.first(), h.or(w)) {
            let error = ConfigError::new(format!("{name} and {} say the same thing twice", axis.name)).in_layer(&layer.called);
            let error = error.at(self.sources, axis.whole(), "").at(self.sources, once.whole(), "");
            return Err(error.help("keep one of them"));
        }
        if let Some(extra) = both.get(2) {
            let message = format!("{name} is given {} times, but images have 2 axes", both.len());
            return Err(self.fault(
                layer,
                extra.whole(),
                &message,
                "one too many",
                "give it once, or once for rows and once for columns",
            ));
        }
        let default = if name == "pad" { Some(0) } else { None };
        let (fields, cells) = match (both.as_slice(), h, w) {
            ([], None, None) => return Ok(None),
            ([one], ..) => (vec![*one], [one.as_int(); 2]),
            ([rows, columns, ..], ..) => (vec![*rows, *columns], [rows.as_int(), columns.as_int()]),
            (_, h, w) => {
                let cells = h.map(Field::as_int).or(default).zip(w.map(Field::as_int).or(default));
                let fields: Vec<&Field> = h.into_iter().chain(w).collect();
                let Some((h, w)) = cells else {
                    let other = if fields[0].name == name_h { name_w } else { name_h };
                    let message = format!("{} without {other}", fields[0].name);
                    return Err(self.fault(layer, fields[0].whole(), &message, "", &format!("add {other}: …")));
                };
                (fields, [h, w])
            }
        };
        let (first, last) = (fields[0], fields[fields.len() - 1]);
        if cells[0] == cells[1] {
            b.put_at(key, first.key, cells[0], first.span);
        } else {
            let span = first.span.to(last.span);
            b.put_at(key, first.key, array(cells, span), span);
        }
        Ok(Some(cells))
    }

    /// The factor of a cost in what is minimised; none where it is 0 and the cost only watched.
    fn loss_weight(&mut self, layer: &Layer) -> Option<f64> {
        let weights: Vec<&Field> = layer.m.all("loss_weight").collect();
        let weight = weights.first().map_or(1.0, |f| f.as_float());
        if weight == 0.0 {
            layer.m.fields.iter().for_each(Field::ignore);
            let note = format!("{} has loss_weight 0 and is left out", quote(&layer.called));
            self.notes.say(self.sources, layer.kind.whole(), note);
            return None;
        }
        Some(weight)
    }

    /// Adds a cost.
    fn cost(&mut self, layer: &Layer, mut b: Builder, coefficient: f64) -> Blobs {
        let (key, span) = layer.m.get("loss_weight").map_or((layer.kind.key, layer.kind.span), |f| (f.key, f.span));
        if coefficient != 1.0 {
            b.put_at("coefficient", key, coefficient, span);
        }
        self.add(b, Known::default());
        Ok(vec![Blob::new(Origin::Nothing, Known::default())])
    }

    /// Checks that a cost's input is the data's labels.
    fn labels(&self, layer: &Layer, i: usize) -> Result<(), ConfigError> {
        if self.input(layer, i).origin == Origin::Labels {
            return Ok(());
        }
        let bottom = layer.m.all("bottom").nth(i).map_or(layer.kind.whole(), |f| f.span);
        Err(self.fault(
            layer,
            bottom,
            "this is not the labels of the data",
            "",
            "let the cost read the data layer's second top here",
        ))
    }

    /// Averages are over the batch: what Caffe's losses mean by VALID without ignored labels, FULL and BATCH_SIZE, for one
    /// output an image.
    fn normalization(&self, layer: &Layer) -> Result<(), ConfigError> {
        let Some(m) = layer.m.message("loss_param") else { return Ok(()) };
        m.ignore(&["normalize"]);
        if let Some(field) = m.get("ignore_label") {
            return Err(self.fault(
                layer,
                field.whole(),
                "labels cannot be ignored here",
                "",
                "remove ignore_label, and such images",
            ));
        }
        match m.get("normalization").filter(|f| f.as_text() == "NONE") {
            Some(field) => {
                let help = "costs are averaged over the batch: remove it, and multiply loss_weight by the batch's size";
                Err(self.fault(layer, field.whole(), "a cost that is not averaged has no counterpart here", "", help))
            }
            None => Ok(()),
        }
    }
}

/// A neuron with numbers in brackets.
fn neuron(name: &str, numbers: &[f64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(|&v| crate::config::error::number(v)).collect();
    format!("{name}[{}]", numbers.join(", "))
}

/// scale·x + shift, where that is not x.
fn linear(scale: f64, shift: f64) -> Option<String> {
    (scale != 1.0 || shift != 0.0).then(|| neuron("linear", &[scale, shift]))
}

/// Measures are of no use to training, and errors are counted anyway.
fn measure(t: &mut Translator, layer: &Layer) -> Blobs {
    if layer.kind() != "Silence" {
        let note = format!("{} layers are left out: top-1 and top-5 errors are counted in any case", layer.kind());
        t.notes.say(t.sources, layer.kind.whole(), note);
    }
    layer.m.fields.iter().for_each(Field::ignore);
    Ok(Vec::new())
}

/// A convolution, or its transpose.
fn convolution(t: &mut Translator, layer: &Layer, transposed: bool) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = t.keys(layer, "convolution_param", "num_output: … kernel_size: …")?;
    t.channels_axis(layer, Some(keys), &["axis"])?;
    keys.ignore(&["force_nd_im2col"]);
    t.engine(Some(keys));
    let (kind, outputs) = if transposed { ("deconv", "channels") } else { ("conv", "filters") };
    let mut b = t.begin(layer, kind)?;
    let filters = t.required(layer, keys, "num_output")?;
    b.put_at(outputs, filters.key, filters.as_int(), filters.span);
    let Some(size) = t.extent(layer, keys, ["kernel_size", "kernel_h", "kernel_w"], (&mut b, "size"))? else {
        return Err(t
            .required(layer, keys, "kernel_size")
            .err()
            .unwrap_or_else(|| t.fault(layer, layer.kind.whole(), "no size", "", "")));
    };
    let stride = t.extent(layer, keys, ["stride", "stride_h", "stride_w"], (&mut b, "stride"))?.unwrap_or([1; 2]);
    let padding = t.extent(layer, keys, ["pad", "pad_h", "pad_w"], (&mut b, "padding"))?.unwrap_or([0; 2]);
    let dilation = t.extent(layer, keys, ["dilation", "", ""], (&mut b, "dilation"))?.unwrap_or([1; 2]);
    if let Some(group) = keys.get("group") {
        b.put_at("groups", group.key, group.as_int(), group.span);
    }
    let bias = keys.flag("bias_term").unwrap_or(true);
    if let (false, Some(field)) = (bias, keys.get("bias_term")) {
        let none = if transposed { Value::Bool(false) } else { "none".into() };
        b.put_at("bias", field.key, none, field.span);
    }
    let fillers = [keys.get("weight_filler"), keys.get("bias_filler").filter(|f| keep(bias, f))];
    t.learned(layer, &mut b, slots(bias), fillers)?;
    let x = t.input(layer, 0).shape;
    let axis = |i: usize, input: Option<i64>| {
        let input = usize::try_from(input?).ok()?;
        let window = window(size[i], stride[i], padding[i], dilation[i])?;
        let outputs = match transposed {
            false => output_size(input, window, Rounding::Floor),
            true => input.checked_sub(1)?.checked_mul(window.stride)?.checked_add(window.span())?.checked_sub(2 * window.padding),
        };
        outputs.map(|n| n as i64)
    };
    let shape = Known { h: axis(0, x.h), w: axis(1, x.w), c: Some(filters.as_int()) };
    Ok(vec![t.add(b, shape)])
}

/// Takes a bias' filler as read where there is no bias.
fn keep(bias: bool, filler: &Field) -> bool {
    if !bias {
        filler.ignore();
    }
    bias
}

fn slots(bias: bool) -> &'static [Slot] {
    if bias { &[Slot::Weights, Slot::Bias] } else { &[Slot::Weights] }
}

/// A window, if its sizes are any that a layer may have.
pub fn window(size: i64, stride: i64, padding: i64, dilation: i64) -> Option<Window> {
    let sane = |v: i64, least: i64| usize::try_from(v).ok().filter(|_| (least..=1 << 20).contains(&v));
    Some(Window { size: sane(size, 1)?, stride: sane(stride, 1)?, padding: sane(padding, 0)?, dilation: sane(dilation, 1)? })
}

fn inner_product(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = t.keys(layer, "inner_product_param", "num_output: …")?;
    t.channels_axis(layer, Some(keys), &["axis"])?;
    // How Caffe keeps the weights, not what they mean.
    keys.ignore(&["transpose"]);
    let mut b = t.begin(layer, "fc")?;
    let outputs = t.required(layer, keys, "num_output")?;
    b.put_at("outputs", outputs.key, outputs.as_int(), outputs.span);
    let bias = keys.flag("bias_term").unwrap_or(true);
    if let (false, Some(field)) = (bias, keys.get("bias_term")) {
        b.put_at("bias", field.key, false, field.span);
    }
    let fillers = [keys.get("weight_filler"), keys.get("bias_filler").filter(|f| keep(bias, f))];
    t.learned(layer, &mut b, slots(bias), fillers)?;
    Ok(vec![t.add(b, Known::flat(Some(outputs.as_int())))])
}

/// Windows round up, and with padding the last is dropped where it would start behind the image: as ours do. Averages divide by
/// the window's cells in the image and its padding, ours by those in the image, so that they agree without padding.
fn pooling(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = t.keys(layer, "pooling_param", "pool: MAX kernel_size: …")?;
    t.engine(Some(keys));
    let mut b = t.begin(layer, "pool")?;
    let method = keys.get("pool");
    let (key, span) = method.map_or((layer.kind.key, layer.kind.span), |f| (f.key, f.span));
    let average = match method.map_or("MAX", Field::as_text) {
        "MAX" => false,
        "AVE" => true,
        _ => return Err(t.fault(layer, key.to(span), "stochastic pooling has no counterpart here", "", "use MAX or AVE")),
    };
    b.put_at("pool", key, if average { "avg" } else { "max" }, span);
    let x = t.input(layer, 0).shape;
    if let Some(global) = keys.get("global_pooling").filter(|_| keys.flag("global_pooling") == Some(true)) {
        b.put_at("global", global.key, true, global.span);
        let stray = ["kernel_size", "kernel_h", "kernel_w", "pad", "pad_h", "pad_w", "stride", "stride_h", "stride_w"];
        let harmless =
            |f: &Field| f.name.starts_with("pad") && f.as_int() == 0 || f.name.starts_with("stride") && f.as_int() == 1;
        if let Some(field) = stray.iter().filter_map(|name| keys.get(name)).find(|f| !harmless(f)) {
            let message = format!("{} beside global_pooling, whose window is the image", field.name);
            return Err(t.fault(layer, field.whole(), &message, "", "keep one of them"));
        }
        keys.ignore(&["round_mode"]);
        return Ok(vec![t.add(b, Known::flat(x.c))]);
    }
    let Some(size) = t.extent(layer, keys, ["kernel_size", "kernel_h", "kernel_w"], (&mut b, "size"))? else {
        return Err(t
            .required(layer, keys, "kernel_size")
            .err()
            .unwrap_or_else(|| t.fault(layer, layer.kind.whole(), "no size", "", "")));
    };
    let stride = t.extent(layer, keys, ["stride", "stride_h", "stride_w"], (&mut b, "stride"))?.unwrap_or([1; 2]);
    let padding = t.extent(layer, keys, ["pad", "pad_h", "pad_w"], (&mut b, "padding"))?.unwrap_or([0; 2]);
    if average && padding != [0; 2] {
        let span = b.table["padding"].span();
        let message =
            "an average over padded windows: Caffe divides by their cells in the padding too, ours by those in the image";
        return Err(t.fault(layer, span, message, "", "use pad: 0, or pool: MAX"));
    }
    let mut rounding = Rounding::Ceil;
    if let Some(mode) = keys.get("round_mode").filter(|f| f.as_text() == "FLOOR") {
        b.put_at("rounding", mode.key, "floor", mode.span);
        rounding = Rounding::Floor;
    }
    let axis = |i: usize, input: Option<i64>| {
        let input = usize::try_from(input?).ok()?;
        output_size(input, window(size[i], stride[i], padding[i], 1)?, rounding).map(|n| n as i64)
    };
    let shape = Known { h: axis(0, x.h), w: axis(1, x.w), c: x.c };
    Ok(vec![t.add(b, shape)])
}

/// x·(k + alpha/N·Σx²)^−beta, over `local_size` neighbouring channels, or in each channel over a square of that side, where k
/// is 1. A square at the border counts all its cells in N.
fn lrn(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let empty = Message { fields: Vec::new(), span: layer.m.span };
    let keys = layer.m.message("lrn_param").unwrap_or(&empty);
    t.engine(Some(keys));
    let within = keys.get("norm_region").filter(|f| f.as_text() == "WITHIN_CHANNEL");
    let mut b = t.begin(layer, "lrn")?;
    let implied = layer.kind.whole();
    match within {
        Some(field) => b.put_at("region", field.key, "within-map", field.span),
        None => b.put("region", "across-maps", keys.get("norm_region").map_or(implied, Field::whole)),
    };
    if let Some(size) = keys.get("local_size").filter(|f| f.as_int() % 2 == 0) {
        let message = format!("local_size must be odd, not {}", size.as_int());
        return Err(t.fault(layer, size.whole(), &message, "", "Caffe takes odd sizes alone"));
    }
    let size = keys.int("local_size").unwrap_or(5);
    b.put("size", size, keys.get("local_size").map_or(implied, Field::whole));
    for (name, default) in [("alpha", 1.0), ("beta", 0.75), ("k", 1.0)] {
        let field = keys.get(name);
        let value = field.map_or(default, Field::as_float);
        let (key, span) = field.map_or((implied, implied), |f| (f.key, f.span));
        match within.is_some() && name == "k" && value != 1.0 {
            false => b.put_at(name, key, value, span),
            true => {
                t.notes.say(t.sources, key.to(span), "k has no effect within a channel, where Caffe takes 1");
                b.put_at(name, key, 1.0, span)
            }
        };
    }
    let shape = t.input(layer, 0).shape;
    Ok(vec![t.add(b, shape)])
}

fn dropout(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let mut b = t.begin(layer, "dropout")?;
    let ratio = layer.m.message("dropout_param").and_then(|m| m.get("dropout_ratio"));
    let (key, span) = ratio.map_or((layer.kind.key, layer.kind.span), |f| (f.key, f.span));
    b.put_at("keep", key, tidy(1.0 - ratio.map_or(0.5, Field::as_float)), span);
    let Blob { shape, shuffled, .. } = *t.input(layer, 0);
    Ok(vec![Blob { shuffled, ..t.add(b, shape) }])
}

fn relu(t: &mut Translator, layer: &Layer) -> Blobs {
    let keys = layer.m.message("relu_param");
    t.engine(keys);
    let slope = keys.and_then(|k| k.float("negative_slope")).unwrap_or(0.0);
    t.activation(layer, vec![if slope == 0.0 { "relu".into() } else { neuron("leaky", &[slope]) }])
}

fn elu(t: &mut Translator, layer: &Layer) -> Blobs {
    let alpha = layer.m.message("elu_param").and_then(|k| k.float("alpha")).unwrap_or(1.0);
    t.activation(layer, vec![neuron("elu", &[alpha])])
}

fn sigmoid(t: &mut Translator, layer: &Layer) -> Blobs {
    t.engine(layer.m.message("sigmoid_param"));
    t.activation(layer, vec!["logistic".into()])
}

fn tanh(t: &mut Translator, layer: &Layer) -> Blobs {
    t.engine(layer.m.message("tanh_param"));
    t.activation(layer, vec!["tanh".into()])
}

/// x·σ(beta·x) = swish(beta·x)/beta.
fn swish(t: &mut Translator, layer: &Layer) -> Blobs {
    let field = layer.m.message("swish_param").and_then(|k| k.get("beta"));
    let beta = field.map_or(1.0, Field::as_float);
    if let Some(field) = field.filter(|_| beta == 0.0) {
        return Err(t.fault(layer, field.whole(), "a swish of beta 0 is x/2", "", "use a Power layer of scale 0.5"));
    }
    let neurons = [linear(beta, 0.0), Some("swish".into()), linear(1.0 / beta, 0.0)];
    t.activation(layer, neurons.into_iter().flatten().collect())
}

/// min(max(x, min), max): a bounded relu between two shifts.
fn clip(t: &mut Translator, layer: &Layer) -> Blobs {
    let keys = t.keys(layer, "clip_param", "min: 0 max: 6")?;
    let (least, most) = (t.required(layer, keys, "min")?, t.required(layer, keys, "max")?);
    let (min, max) = (least.as_float(), most.as_float());
    if max <= min {
        return Err(t.fault(layer, most.whole(), "max must be above min", "", "exchange them"));
    }
    let neurons = [linear(1.0, -min), Some(neuron("brelu", &[max - min])), linear(1.0, min)];
    t.activation(layer, neurons.into_iter().flatten().collect())
}

/// (shift + scale·x)^power.
fn power(t: &mut Translator, layer: &Layer) -> Blobs {
    let keys = layer.m.message("power_param");
    let float = |name: &str, default: f64| keys.and_then(|k| k.float(name)).unwrap_or(default);
    let (scale, shift, power) = (float("scale", 1.0), float("shift", 0.0), float("power", 1.0));
    let inner = linear(scale, shift);
    let neurons = match power {
        0.5 => vec![inner, Some("sqrt".into())],
        1.0 => vec![Some(inner.unwrap_or_else(|| neuron("linear", &[1.0, 0.0])))],
        2.0 => vec![inner, Some("square".into())],
        4.0 => vec![inner, Some("square".into()), Some("square".into())],
        _ => {
            let span = keys.and_then(|k| k.get("power")).map_or(layer.kind.whole(), Field::whole);
            let message = format!("a power of {power} has no counterpart here");
            return Err(t.fault(layer, span, &message, "", "powers that have: 1, 2, 4 and 0.5"));
        }
    };
    t.activation(layer, neurons.into_iter().flatten().collect())
}

/// log_base(shift + scale·x).
fn log(t: &mut Translator, layer: &Layer) -> Blobs {
    let keys = layer.m.message("log_param");
    let float = |name: &str, default: f64| keys.and_then(|k| k.float(name)).unwrap_or(default);
    let (base, scale, shift) = (float("base", -1.0), float("scale", 1.0), float("shift", 0.0));
    let outer = if base == -1.0 { 1.0 } else { 1.0 / base.ln() };
    if !outer.is_finite() {
        let span = keys.and_then(|k| k.get("base")).map_or(layer.kind.whole(), Field::whole);
        return Err(t.fault(layer, span, "there is no logarithm of this base", "", "leave base out for the natural one"));
    }
    let neurons = [linear(scale, 0.0), Some(neuron("log", &[shift])), linear(outer, 0.0)];
    t.activation(layer, neurons.into_iter().flatten().collect())
}

fn prelu(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let mut b = t.begin(layer, "prelu")?;
    let keys = layer.m.message("prelu_param");
    if let Some(field) = keys.and_then(|k| k.get("channel_shared")) {
        let shared = keys.and_then(|k| k.flag("channel_shared")) == Some(true);
        b.put_at("shared", field.key, shared, field.span);
    }
    t.learned(layer, &mut b, &[Slot::Weights], [keys.and_then(|k| k.get("filler")), None])?;
    let shape = t.input(layer, 0).shape;
    Ok(vec![t.add(b, shape)])
}

fn concat(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=usize::MAX, 1..=1)?;
    t.channels_axis(layer, layer.m.message("concat_param"), &["axis", "concat_dim"])?;
    let b = t.begin(layer, "concat")?;
    let shapes: Vec<Known> = (0..layer.inputs.len()).map(|i| t.input(layer, i).shape).collect();
    let c = shapes.iter().try_fold(0i64, |sum, s| Some(sum.saturating_add(s.c?)));
    let known = |axis: fn(&Known) -> Option<i64>| shapes.iter().find_map(axis);
    let shape = Known { h: known(|s| s.h), w: known(|s| s.w), c };
    Ok(vec![t.add(b, shape)])
}

/// Each output is a layer of its own, `channels = [from, to)`.
fn slice(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=usize::MAX)?;
    let keys = layer.m.message("slice_param");
    t.channels_axis(layer, keys, &["axis", "slice_dim"])?;
    let (blob, parts) = (t.input(layer, 0).clone(), layer.m.all("top").count() as i64);
    let points: Vec<&Field> = keys.map(|k| k.all("slice_point").collect()).unwrap_or_default();
    if blob.shuffled {
        let message = "a slice of a flattened image: the order of its elements differs here";
        return Err(t.fault(layer, layer.kind.whole(), message, "", "slice before the image is flattened"));
    }
    let paired = t.pairs && blob.origin == Origin::Images && points.len() == 1;
    let channels = blob.shape.c.or_else(|| paired.then(|| points[0].as_int().saturating_mul(2)));
    let mut ends: Vec<(i64, Span)> = points.iter().map(|f| (f.as_int(), f.whole())).collect();
    if !points.is_empty() && points.len() as i64 != parts - 1 {
        let message = format!("{} slice_points for {parts} tops", points.len());
        return Err(t.fault(
            layer,
            points[0].whole(),
            &message,
            "",
            &format!("{parts} parts have {} points between them", parts - 1),
        ));
    }
    let Some(channels) = channels else {
        let help = "give the data layer's crop_size and mean_value or force_color, or convert the net by hand";
        return Err(t.fault(layer, layer.kind.whole(), "how many channels there are to slice is not said", "", help));
    };
    if points.is_empty() {
        if channels % parts != 0 {
            let message = format!("{channels} channels do not make {parts} equal parts");
            return Err(t.fault(layer, layer.kind.whole(), &message, "", "add slice_point"));
        }
        ends = (1..parts).map(|i| (channels / parts * i, layer.kind.whole())).collect();
    }
    ends.push((channels, ends.last().map_or(layer.kind.whole(), |e| e.1)));
    let mut from = 0;
    let mut blobs = Vec::with_capacity(ends.len());
    for (i, (to, span)) in ends.into_iter().enumerate() {
        if to <= from {
            let message = format!("a part from channel {from} to {to} of {channels} has none");
            return Err(t.fault(layer, span, &message, "", "slice_points ascend, and are below the number of channels"));
        }
        let name = t.unique(&format!("{}-part{}", layer.name, i + 1));
        let input = t.input_name(layer, 0)?;
        let mut b = t.begin_reading(layer, &name, "slice", vec![input]);
        b.put("channels", array([from, to], span), span);
        blobs.push(t.add(b, Known { c: Some(to - from), ..blob.shape }));
        from = to;
    }
    Ok(blobs)
}

fn split(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=usize::MAX)?;
    let blob = Blob { layer: None, normalised: false, ..t.input(layer, 0).clone() };
    Ok(vec![blob; layer.m.all("top").count()])
}

fn eltwise(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=usize::MAX, 1..=1)?;
    let keys = layer.m.message("eltwise_param");
    if let Some(keys) = keys {
        keys.ignore(&["stable_prod_grad"]);
    }
    let operation = keys.and_then(|k| k.text("operation")).unwrap_or("SUM");
    let factors: Vec<&Field> = keys.map(|k| k.all("coeff").collect()).unwrap_or_default();
    let kind = match operation {
        "SUM" => "eltsum",
        "PROD" => "eltproduct",
        _ => "eltmax",
    };
    let mut b = t.begin(layer, kind)?;
    if let (Some(first), Some(last)) = (factors.first(), factors.last()) {
        let span = first.span.to(last.span);
        if operation != "SUM" {
            return Err(t.fault(layer, first.whole(), "coeff goes with operation: SUM", "", "remove it"));
        }
        if factors.len() != layer.inputs.len() {
            let message = format!("{} coeffs for {} bottoms", factors.len(), layer.inputs.len());
            return Err(t.fault(layer, first.whole(), &message, "", "give one for each bottom"));
        }
        if factors.iter().any(|f| f.as_float() != 1.0) {
            let values = factors.iter().map(|f| crate::config::Node::new(f.as_float().into(), f.span)).collect();
            b.put_at("coefficients", first.key, Value::Array(values), span);
        }
    }
    let shape = t.input(layer, 0).shape;
    let shuffled = (0..layer.inputs.len()).any(|i| t.input(layer, i).shuffled);
    Ok(vec![Blob { shuffled, ..t.add(b, shape) }])
}

fn flatten(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = layer.m.message("flatten_param");
    for (name, whole) in [("axis", 1), ("end_axis", -1)] {
        if let Some(field) = keys.and_then(|k| k.get(name)).filter(|f| f.as_int() != whole) {
            return Err(t.fault(layer, field.whole(), "only whole images can be flattened here", "", "remove it"));
        }
    }
    flat(t, layer)
}

fn flat(t: &mut Translator, layer: &Layer) -> Blobs {
    let b = t.begin(layer, "flatten")?;
    let blob = t.input(layer, 0);
    let Known { h, w, c } = blob.shape;
    let shuffled = blob.shuffled || h.zip(w).is_none_or(|(h, w)| h.saturating_mul(w) != 1);
    let elements = h.zip(w).zip(c).map(|((h, w), c)| h.saturating_mul(w).saturating_mul(c));
    Ok(vec![Blob { shuffled, ..t.add(b, Known::flat(elements)) }])
}

/// A reshape to one dimension an image, `dim: 0 dim: -1`, is a flatten.
fn reshape(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = t.keys(layer, "reshape_param", "shape { dim: 0 dim: -1 }")?;
    let dims: Vec<i64> = keys.message("shape").map(|s| s.all("dim").map(Field::as_int).collect()).unwrap_or_default();
    let (axis, axes) = (keys.int("axis").unwrap_or(0), keys.int("num_axes").unwrap_or(-1));
    let flattens = match axis {
        0 => matches!(dims.as_slice(), [0, -1] | [0, -1, 1] | [0, -1, 1, 1]),
        1 => matches!(dims.as_slice(), [-1] | [-1, 1] | [-1, 1, 1]),
        _ => false,
    };
    if !flattens || axes != -1 {
        let help = "use shape { dim: 0 dim: -1 }, which flattens, or convert the net by hand";
        return Err(t.fault(layer, layer.kind.whole(), "a reshape that is no flatten has no counterpart here", "", help));
    }
    flat(t, layer)
}

/// Caffe's statistics are a moving average of which `moving_average_fraction` stays; our momentum is the part that is new.
fn batch_norm(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = layer.m.message("batch_norm_param");
    // Its three blobs are statistics, which are not learned: lr_mult is 0, or taken to be.
    layer.m.ignore(&["param"]);
    layer.m.all("param").for_each(Field::ignore);
    if let Some(field) =
        keys.and_then(|k| k.get("use_global_stats")).filter(|f| matches!(f.value, super::message::Value::Bool(true)))
    {
        let note = "use_global_stats has no effect: statistics are the batch's in training and the running ones in tests";
        if t.trains {
            let help = "remove it, or convert the net by hand";
            let message = "statistics that are fixed while the net trains have no counterpart here";
            return Err(t.fault(layer, field.whole(), message, "", help));
        }
        t.notes.say(t.sources, field.whole(), note);
    }
    let mut b = t.begin(layer, "batch-norm")?;
    let implied = layer.kind.whole();
    let eps = keys.and_then(|k| k.get("eps"));
    b.put("epsilon", eps.map_or(1e-5, Field::as_float), eps.map_or(implied, Field::whole));
    let fraction = keys.and_then(|k| k.get("moving_average_fraction"));
    b.put("momentum", tidy(1.0 - fraction.map_or(0.999, Field::as_float)), fraction.map_or(implied, Field::whole));
    b.put("affine", false, implied);
    let Blob { shape, shuffled, .. } = *t.input(layer, 0);
    Ok(vec![Blob { shuffled, normalised: true, ..t.add(b, shape) }])
}

/// The learned scale and shift behind a batch normalisation, which has both here.
fn scale(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = layer.m.message("scale_param");
    let blob = t.input(layer, 0).clone();
    let Some(i) = blob.layer.filter(|_| blob.normalised && t.only_reader(layer)) else {
        let message = "a Scale layer has a counterpart here only behind a BatchNorm that nobody else reads";
        return Err(t.fault(layer, layer.kind.whole(), message, "", "put it behind a BatchNorm, or convert the net by hand"));
    };
    t.channels_axis(layer, keys, &["axis", "num_axes"])?;
    let bias = keys.and_then(|k| k.flag("bias_term")).unwrap_or(false);
    let mut b = t.layers[i].clone();
    b.put("affine", true, layer.kind.whole());
    let filler = keys.and_then(|k| k.get("filler"));
    let bias_filler = keys.and_then(|k| k.get("bias_filler")).filter(|f| keep(bias, f));
    t.learned(layer, &mut b, slots(bias), [filler, bias_filler])?;
    if !bias {
        // Ours has a shift as well; it stays at 0.
        for key in ["learning_rate", "weight_decay"] {
            let mut both = match b.table.get(key).map(|e| &e.node.value) {
                Some(Value::Table(table)) => table.clone(),
                _ => Table::new(),
            };
            let span = layer.kind.whole();
            let zero = crate::config::Entry { key: span, node: crate::config::Node::new(Value::Float(0.0), span) };
            both.insert("bias".to_owned(), zero);
            b.put(key, both, span);
        }
    }
    t.layers[i] = b;
    Ok(vec![Blob { normalised: false, ..blob }])
}

/// Over the channels of each place in Caffe, over all elements of an image here.
fn one_place(t: &Translator, layer: &Layer, keys: Option<&Message>) -> Result<(), ConfigError> {
    t.channels_axis(layer, keys, &["axis"])?;
    let Known { h, w, .. } = t.input(layer, 0).shape;
    match h.zip(w) {
        Some((h, w)) if h.saturating_mul(w) != 1 => {
            let message = format!("a softmax at each of {h}×{w} places has no counterpart here");
            Err(t.fault(layer, layer.kind.whole(), &message, "", "put a global pooling or an InnerProduct before it"))
        }
        _ => Ok(()),
    }
}

fn softmax(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = layer.m.message("softmax_param");
    t.engine(keys);
    one_place(t, layer, keys)?;
    data::classes(t, layer);
    let b = t.begin(layer, "softmax")?;
    let shape = t.input(layer, 0).shape;
    Ok(vec![t.add(b, shape)])
}

fn softmax_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=2)?;
    let Some(weight) = t.loss_weight(layer) else { return Ok(Vec::new()) };
    t.normalization(layer)?;
    let keys = layer.m.message("softmax_param");
    t.engine(keys);
    one_place(t, layer, keys)?;
    t.labels(layer, 1)?;
    data::classes(t, layer);
    let name = t.unique(&format!("{}-softmax", layer.name));
    let input = t.input_name(layer, 0)?;
    let b = t.begin_reading(layer, &name, "softmax", vec![input]);
    let shape = t.input(layer, 0).shape;
    let probabilities = t.add(b, shape);
    let b = t.begin_reading(layer, &layer.name, "logistic-regression", vec![name]);
    let mut blobs = t.cost(layer, b, weight)?;
    blobs.push(Blob { layer: None, ..probabilities });
    Ok(blobs)
}

/// −log of the label's probability, of which the layer before gives one a class.
fn multinomial_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=1)?;
    let Some(weight) = t.loss_weight(layer) else { return Ok(Vec::new()) };
    t.normalization(layer)?;
    t.labels(layer, 1)?;
    data::classes(t, layer);
    let input = t.input_name(layer, 0)?;
    let b = t.begin_reading(layer, &layer.name, "logistic-regression", vec![input]);
    t.cost(layer, b, weight)
}

/// A logistic and the binary cross-entropy of what it gives, summed over an image's elements.
fn sigmoid_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=2)?;
    let Some(weight) = t.loss_weight(layer) else { return Ok(Vec::new()) };
    t.normalization(layer)?;
    let whole = layer.m.message("loss_param").and_then(|m| m.get("normalization")).filter(|f| f.as_text() != "BATCH_SIZE");
    if let Some(field) = whole {
        let help = "remove it: BATCH_SIZE is this cost's default";
        return Err(t.fault(layer, field.whole(), "an average over an image's elements has no counterpart here", "", help));
    }
    t.engine(layer.m.message("sigmoid_param"));
    let name = t.unique(&format!("{}-logistic", layer.name));
    let (input, target) = (t.input_name(layer, 0)?, t.input_name(layer, 1)?);
    let mut b = t.begin_reading(layer, &name, "neuron", vec![input]);
    b.put_at("neuron", layer.kind.key, "logistic", layer.kind.span);
    let shape = t.input(layer, 0).shape;
    let probabilities = t.add(b, shape);
    let b = t.begin_reading(layer, &layer.name, "binary-cross-entropy", vec![name, target]);
    let mut blobs = t.cost(layer, b, weight)?;
    blobs.push(Blob { layer: None, ..probabilities });
    Ok(blobs)
}

/// ½ Σ (a − b)² an image.
fn euclidean_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=1)?;
    let Some(weight) = t.loss_weight(layer) else { return Ok(Vec::new()) };
    t.normalization(layer)?;
    let b = t.begin(layer, "sum-of-squares")?;
    t.cost(layer, b, 0.5 * weight)
}

/// Σ max(0, 1 ∓ x), or its square: − for the label's class, + for the others.
fn hinge_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=1)?;
    let Some(weight) = t.loss_weight(layer) else { return Ok(Vec::new()) };
    t.normalization(layer)?;
    t.labels(layer, 1)?;
    data::classes(t, layer);
    let input = t.input_name(layer, 0)?;
    let mut b = t.begin_reading(layer, &layer.name, "hinge", vec![input]);
    let norm = layer.m.message("hinge_loss_param").and_then(|m| m.get("norm"));
    let l2 = norm.is_some_and(|f| f.as_text() == "L2");
    b.put("norm", if l2 { 2i64 } else { 1 }, norm.map_or(layer.kind.whole(), Field::whole));
    b.put("kind", "one-vs-all", layer.kind.whole());
    t.cost(layer, b, weight)
}

/// ½ (y·d² + (1 − y)·max(0, margin − d)²) with d the distance of two outputs and y 1 for a pair of one class.
fn contrastive_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 3..=3, 0..=1)?;
    let Some(weight) = t.loss_weight(layer) else { return Ok(Vec::new()) };
    t.normalization(layer)?;
    t.labels(layer, 2)?;
    let keys = layer.m.message("contrastive_loss_param");
    if let Some(field) =
        keys.and_then(|k| k.get("legacy_version")).filter(|_| keys.and_then(|k| k.flag("legacy_version")) == Some(true))
    {
        let help = "use (margin − d)², the default";
        return Err(t.fault(layer, field.whole(), "margin − d² has no counterpart here", "", help));
    }
    let inputs = vec![t.input_name(layer, 0)?, t.input_name(layer, 1)?];
    let mut b = t.begin_reading(layer, &layer.name, "contrastive", inputs);
    if let Some(margin) = keys.and_then(|k| k.get("margin")) {
        b.put_at("margin", margin.key, margin.as_float(), margin.span);
    }
    t.data.put("pairs", true, layer.kind.whole());
    t.cost(layer, b, weight)
}
