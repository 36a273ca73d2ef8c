//! Caffe's layer types → ours, one function a type. What a type means is in Caffe's `src/caffe/layers`; where ours computes
//! something else, the layer is refused, and where only the way there differs, a note says so.

use super::message::{self, Field, Message};
use super::net::{Blob, Known, Layer, Origin, Translator};
use super::{data, losses, neurons, weights};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::tree::{array, tidy};
use crate::config::{ConfigError, Node, Span, Value};
use crate::device::{Rounding, output_size};

pub use super::data::{note_test_data, outside};

/// What a layer makes.
pub type Blobs = Result<Vec<Blob>, ConfigError>;
type Translate = fn(&mut Translator, &Layer) -> Blobs;

/// Caffe's types that have a counterpart.
const TYPES: &[(&str, Translate)] = &[
    ("AbsVal", |t, l| t.activation(l, vec!["abs".into()])),
    ("Accuracy", measure),
    ("ArgMax", measure),
    ("BNLL", |t, l| t.activation(l, vec!["softrelu".into()])),
    ("BatchNorm", weights::batch_norm),
    ("Clip", neurons::clip),
    ("Concat", concat),
    ("ContrastiveLoss", losses::contrastive_loss),
    ("Convolution", |t, l| weights::convolution(t, l, false)),
    ("Data", data::data),
    ("Deconvolution", |t, l| weights::convolution(t, l, true)),
    ("Dropout", dropout),
    ("DummyData", data::dummy_data),
    ("ELU", neurons::elu),
    ("Eltwise", eltwise),
    ("EuclideanLoss", losses::euclidean_loss),
    ("Flatten", flatten),
    ("HDF5Data", data::hdf5_data),
    ("HingeLoss", losses::hinge_loss),
    ("ImageData", data::image_data),
    ("InnerProduct", weights::inner_product),
    ("Input", data::input),
    ("LRN", lrn),
    ("Log", neurons::log),
    ("MemoryData", data::memory_data),
    ("MultinomialLogisticLoss", losses::multinomial_loss),
    ("PReLU", weights::prelu),
    ("Pooling", pooling),
    ("Power", neurons::power),
    ("ReLU", neurons::relu),
    ("Reshape", reshape),
    ("Scale", weights::scale),
    ("Sigmoid", neurons::sigmoid),
    ("SigmoidCrossEntropyLoss", losses::sigmoid_loss),
    ("Silence", measure),
    ("Slice", slice),
    ("Softmax", losses::softmax),
    ("SoftmaxWithLoss", losses::softmax_loss),
    ("Split", split),
    ("Swish", neurons::swish),
    ("TanH", neurons::tanh),
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
    if let Some(stopped) = layer.m.all("propagate_down").find(|f| matches!(f.value, message::Value::Bool(false))) {
        let help = "remove it, or freeze the layers before with param { lr_mult: 0 }";
        return Err(t.fault(layer, stopped.whole(), "a gradient cannot be stopped here", "", help));
    }
    translate(t, layer)
}

impl Translator<'_> {
    /// Checks how many blobs a layer reads and writes.
    pub fn arity(
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
            let message = format!("{} {name}s, but a layer of type {} has {wanted}", given.len(), layer.kind());
            let span = given.get(most).map_or(layer.kind.whole(), |f| f.whole());
            return Err(self.fault(layer, span, &message, "", &format!("give it {wanted}")));
        }
        Ok(())
    }

    /// The message that holds a type's keys; it must be there.
    pub fn keys<'m>(&self, layer: &Layer<'m>, name: &str, example: &str) -> Result<&'m Message, ConfigError> {
        layer.m.message(name).ok_or_else(|| {
            let message = format!("missing {}", quote(name));
            let label = format!("a layer of type {} needs it", layer.kind());
            self.fault(layer, layer.kind.whole(), &message, &label, &format!("add {name} {{ {example} }}"))
        })
    }

    /// A field that must be there.
    pub fn required<'m>(&self, layer: &Layer, keys: &'m Message, name: &str) -> Result<&'m Field, ConfigError> {
        keys.get(name).ok_or_else(|| self.missing(layer, name))
    }

    /// What is said about a field that is not there.
    pub fn missing(&self, layer: &Layer, name: &str) -> ConfigError {
        let label = format!("a layer of type {} needs it", layer.kind());
        self.fault(layer, layer.kind.whole(), &format!("missing field {}", quote(name)), &label, &format!("add {name}: …"))
    }

    /// Checks that an axis is the channels'.
    pub fn channels_axis(&self, layer: &Layer, keys: Option<&Message>, names: &[&str]) -> Result<(), ConfigError> {
        if let Some(field) = names.iter().filter_map(|name| keys?.get(name)).find(|f| f.as_int() != 1) {
            let message = format!("{} = {}: only axis 1, the channels, can be worked along", field.name, field.as_int());
            return Err(self.fault(layer, field.whole(), &message, "", "use axis 1"));
        }
        Ok(())
    }

    pub fn engine(&mut self, keys: Option<&Message>) {
        if let Some(field) = keys.and_then(|k| k.get("engine")) {
            self.notes.say(self.sources, field.whole(), "engine has no effect: --device says what a net runs on");
        }
    }
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
        return Err(t.missing(layer, "kernel_size"));
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
        output_size(input, weights::window(size[i], stride[i], padding[i], 1)?, rounding).map(|n| n as i64)
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
            let values = factors.iter().map(|f| Node::new(f.as_float().into(), f.span)).collect();
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
