//! Caffe's layers with weights → ours: multipliers, shared names and initial values, and the sizes of windows.

use super::layers::Blobs;
use super::message::{self, Field, Message};
use super::net::{Blob, Known, Layer, Slot, Translator};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::tree::{Builder, array, tidy};
use crate::config::{ConfigError, Entry, Node, Span, Table, Value};
use crate::device::{Rounding, Window, output_size};

impl Translator<'_> {
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
            let tells = |e: &Entry| e.node.value != Value::Float(1.0);
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
            self.shared.insert(name.as_text().to_owned(), (b.name().to_owned(), slot));
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
            init.insert(key.to_owned(), Entry { key: at, node: Node::new(value, at) });
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
    pub fn extent(
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
}

/// A convolution, or its transpose.
pub fn convolution(t: &mut Translator, layer: &Layer, transposed: bool) -> Blobs {
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
        return Err(t.missing(layer, "kernel_size"));
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

pub fn inner_product(t: &mut Translator, layer: &Layer) -> Blobs {
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

pub fn prelu(t: &mut Translator, layer: &Layer) -> Blobs {
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

/// Caffe's statistics are a moving average of which `moving_average_fraction` stays; our momentum is the part that is new.
pub fn batch_norm(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = layer.m.message("batch_norm_param");
    // Its three blobs are statistics, which are not learned: lr_mult is 0, or taken to be.
    layer.m.ignore(&["param"]);
    layer.m.all("param").for_each(Field::ignore);
    if let Some(field) = keys.and_then(|k| k.get("use_global_stats")).filter(|f| matches!(f.value, message::Value::Bool(true))) {
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
    b.put("running_momentum", tidy(1.0 - fraction.map_or(0.999, Field::as_float)), fraction.map_or(implied, Field::whole));
    b.put("affine", false, implied);
    let Blob { shape, shuffled, .. } = *t.input(layer, 0);
    Ok(vec![Blob { shuffled, normalised: true, ..t.add(b, shape) }])
}

/// The learned scale and shift behind a batch normalisation, which has both here.
pub fn scale(t: &mut Translator, layer: &Layer) -> Blobs {
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
            let zero = Entry { key: span, node: Node::new(Value::Float(0.0), span) };
            both.insert("bias".to_owned(), zero);
            b.put(key, both, span);
        }
    }
    t.layers[i] = b;
    Ok(vec![Blob { normalised: false, ..blob }])
}
