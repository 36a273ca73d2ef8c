//! Darknet's classifiers (`.cfg`) → the tree that the TOML would have made. What a key means and is by default is in darknet's
//! `src/parser.c` and the layers' files.
//!
//! A layer is named after its section and its number, which `[route]` and `[shortcut]` count by: `conv0`, `pool1`. Sizes are known
//! from the first line to the last, so that what darknet rounds otherwise can be said in our keys. Differences that remain:
//! darknet's rate for an update is ours for the next (it counts from 1), the learning rate multiplies the momentum's sum and not
//! what goes into it, and its running variance is the unbiased one.

mod net;
mod section;

pub(super) use section::recognise;

use super::error::{did_you_mean, list, number, quote};
use super::tree::{self, Builder, Notes, array, tidy};
use super::{ConfigError, Node, SourceId, Sources, Span};
use crate::device::{Rounding, Window, output_size};
use net::Augment;
use section::{LOADING, Section};

/// Values of an image that a layer may make.
const LARGEST: f64 = (1u64 << 31) as f64;

/// Reads a whole file.
pub(super) fn parse(text: &str, source: SourceId, sources: &Sources) -> Result<(Node, Vec<String>), ConfigError> {
    let sections = section::sections(text, source, sources)?;
    let mut notes = Notes::default();
    let Some((first, layers)) = sections.split_first() else {
        return Err(ConfigError::new("the file has no sections").help("the first is [net]"));
    };
    if !section::is_net(&first.name) {
        let error = ConfigError::new(format!("the first section is {}, not [net]", quote(&first.name)));
        return Err(error.at(sources, first.span, "").help("start with [net], its width, height and channels"));
    }
    let (settings, mut root) = net::settings(first, sources, &mut notes)?;
    let mut reader =
        Reader { sources, notes: &mut notes, outputs: Vec::new(), layers: Vec::new(), classes: None, augment: settings.augment };
    for (i, section) in layers.iter().enumerate() {
        let before =
            reader.outputs.last().cloned().unwrap_or(Output { name: "data".into(), shape: settings.shape, softmax: Softmax::No });
        let output = reader.layer(section, i, before)?;
        section.all_read(sources)?;
        let values: f64 = output.shape.iter().map(|&n| n as f64).product();
        if values > LARGEST {
            let [h, w, c] = output.shape;
            let error = ConfigError::new(format!("{h}×{w}×{c} values an image are too many")).at(sources, section.span, "");
            return Err(error.help("use fewer filters, a larger stride or less padding"));
        }
        reader.outputs.push(output);
    }
    if reader.layers.is_empty() {
        return Err(ConfigError::new("the net has no layers").at(sources, first.span, "").help("add [convolutional], …"));
    }
    let (layers, classes, augment) = (reader.layers, reader.classes, reader.augment);
    root.put("data", net::data(first, &settings, classes, augment), first.span);
    root.put("layer", tree::layers(layers), Span::new(source, 0..0));
    Ok((root.node(), notes.into_vec()))
}

/// Rows, columns and channels.
type Extents = [i64; 3];

/// Whether an output is a softmax's, behind which a `[cost]` means something else.
#[derive(Clone, Copy)]
enum Softmax {
    No,
    /// With `noloss`.
    Alone {
        temperature: f64,
    },
    /// With a cost of its own: our layer, by index.
    WithCost {
        temperature: f64,
        cost: usize,
    },
}

/// What a section makes.
#[derive(Clone)]
struct Output {
    /// Our layer.
    name: String,
    shape: Extents,
    softmax: Softmax,
}

struct Reader<'a> {
    sources: &'a Sources,
    notes: &'a mut Notes,
    /// Of each section.
    outputs: Vec<Output>,
    layers: Vec<Builder>,
    classes: Option<(i64, Span)>,
    augment: Augment,
}

impl Reader<'_> {
    fn fault(&self, section: &Section, key: &str, message: &str, help: &str) -> ConfigError {
        section.error(key, self.sources, message, help)
    }

    /// A layer of ours that is made of a section.
    fn begin(&self, section: &Section, name: &str, kind: &str, inputs: &[&str]) -> Builder {
        let mut b = Builder::new(section.span);
        b.imply("name", name).imply("type", kind).imply("inputs", array(inputs.iter().copied(), section.span));
        b
    }

    /// Neurons behind the layer that was made last: the first rides on it. The name of the layer that gives the result.
    fn activate(&mut self, section: &Section, name: &str, neurons: &[String], key: &str) -> String {
        let at = section.place(key);
        let mut from = name.to_owned();
        for (i, neuron) in neurons.iter().enumerate() {
            let first = self.layers.last_mut().filter(|b| i == 0 && !b.table.contains_key("neuron"));
            if let Some(layer) = first {
                layer.put("neuron", neuron.as_str(), at);
                continue;
            }
            let part = format!("{name}-part{}", i + 1);
            let mut b = self.begin(section, &part, "neuron", &[&from]);
            b.put("neuron", neuron.as_str(), at);
            self.layers.push(b);
            from = part;
        }
        from
    }

    /// Darknet's activation functions as neurons, each working on what the one before gives.
    fn neurons(&self, section: &Section, default: &str) -> Result<Vec<String>, ConfigError> {
        let name = section.get("activation").map_or(default, |o| o.value.as_str());
        let neurons: &[&str] = match name {
            "linear" => &[],
            "relu" => &["relu"],
            "logistic" => &["logistic"],
            "tanh" => &["tanh"],
            "leaky" => &["leaky[0.1]"],
            "relie" => &["leaky[0.01]"],
            "elu" => &["elu[1]"],
            // 1.1·x above 0, 0.1·x below.
            "ramp" => &["leaky[0.09090909090909091]", "linear[1.1, 0]"],
            "selu" => &["elu[1.6732]", "linear[1.0507, 0]"],
            // 2/(1 + e⁻ˣ) − 1
            "loggy" => &["tanh[1, 0.5]"],
            // x, held to −1 … 1
            "hardtan" => &["linear[1, 1]", "brelu[2]", "linear[1, -1]"],
            other => {
                let known = ["linear", "relu", "logistic", "tanh", "leaky", "relie", "elu", "ramp", "selu", "loggy", "hardtan"];
                let (message, label) = if matches!(other, "plse" | "stair" | "lhtan") {
                    (format!("activation={other} has no counterpart here"), String::new())
                } else {
                    let label = did_you_mean(other, &known, "not an activation that is known here");
                    (format!("unknown activation {}", quote(other)), label)
                };
                let span = section.get("activation").map_or(section.span, |o| o.span);
                let error = ConfigError::new(message).at(self.sources, span, label);
                return Err(error.help(format!("known activations: {}", list(&known))));
            }
        };
        Ok(neurons.iter().map(|&n| n.to_owned()).collect())
    }

    /// Weights have the net's rate times the layer's and its decay; biases are not decayed.
    fn learned(&self, section: &Section, b: &mut Builder, weights: bool) -> Result<(), ConfigError> {
        let rate = section.float("learning_rate", 1.0, self.sources)?;
        if rate != 1.0 {
            b.put("learning_rate", rate, section.place("learning_rate"));
        }
        let mut decay = Builder::new(section.span);
        decay.imply("weights", if weights { 1.0 } else { 0.0 }).imply("bias", 0.0);
        b.imply("weight_decay", decay.table);
        Ok(())
    }

    fn layer(&mut self, section: &Section, index: usize, x: Output) -> Result<Output, ConfigError> {
        let kind = section.kind(self.sources)?;
        for key in ["smooth", "stopbackward", "truth"] {
            section.only(key, 0.0, self.sources)?;
        }
        section.ignore(&LOADING);
        if !matches!(kind, "convolutional" | "connected" | "local" | "batchnorm") {
            section.ignore(&["learning_rate"]);
        }
        match kind {
            "convolutional" => self.convolutional(section, &format!("conv{index}"), x),
            "local" => self.local(section, &format!("local{index}"), x),
            "connected" => self.connected(section, &format!("fc{index}"), x),
            "maxpool" => self.maxpool(section, &format!("pool{index}"), x),
            "avgpool" => {
                let name = format!("pool{index}");
                let mut b = self.begin(section, &name, "pool", &[&x.name]);
                b.imply("pool", "avg").imply("global", true);
                Ok(self.made(b, name, [1, 1, x.shape[2]]))
            }
            "dropout" => {
                let name = format!("dropout{index}");
                let mut b = self.begin(section, &name, "dropout", &[&x.name]);
                b.put("keep", tidy(1.0 - section.float("probability", 0.5, self.sources)?), section.place("probability"));
                Ok(self.made(b, name, x.shape))
            }
            "softmax" => self.softmax(section, index, x),
            "cost" => self.cost(section, index, x),
            "logistic" => self.logistic(section, index, x),
            "route" => self.route(section, index),
            "shortcut" => self.shortcut(section, index, x),
            "crop" => self.crop(section, index, x),
            "normalization" => self.normalization(section, &format!("lrn{index}"), x),
            "batchnorm" => {
                let name = format!("norm{index}");
                let b = self.batch_norm(section, &name, &x.name)?;
                Ok(self.made(b, name, x.shape))
            }
            "activation" => {
                let neurons = self.neurons(section, "linear")?;
                let name = format!("neuron{index}");
                let Some((first, rest)) = neurons.split_first() else { return Ok(x) };
                let mut b = self.begin(section, &name, "neuron", &[&x.name]);
                b.put("neuron", first.as_str(), section.place("activation"));
                self.layers.push(b);
                let name = self.activate(section, &name, rest, "activation");
                Ok(Output { name, shape: x.shape, softmax: Softmax::No })
            }
            // A second [net].
            _ => {
                let error = ConfigError::new("[net] stands again").at(self.sources, section.span, "");
                Err(error.help("there is one, at the start"))
            }
        }
    }

    fn made(&mut self, b: Builder, name: String, shape: Extents) -> Output {
        self.layers.push(b);
        Output { name, shape, softmax: Softmax::No }
    }

    /// The outputs along an axis, or what is wrong.
    fn outputs(&self, section: &Section, input: i64, window: Window, rounding: Rounding) -> Result<i64, ConfigError> {
        let outputs = usize::try_from(input).ok().and_then(|input| output_size(input, window, rounding));
        outputs.map(|n| n as i64).ok_or_else(|| {
            let message = format!("{} of {} cells does not fit its input of {input}", section.name, window.size);
            self.fault(section, "size", &message, "use a smaller size, or pad=1")
        })
    }

    fn normalised(&mut self, section: &Section, name: &str) -> Result<String, ConfigError> {
        let norm = format!("{name}-norm");
        let b = self.batch_norm(section, &norm, name)?;
        self.layers.push(b);
        Ok(norm)
    }

    /// With darknet's constants, as its GPU code has them.
    fn batch_norm(&self, section: &Section, name: &str, input: &str) -> Result<Builder, ConfigError> {
        let mut b = self.begin(section, name, "batch-norm", &[input]);
        b.put("epsilon", 1e-5, section.place("batch_normalize")).put("running_momentum", 0.01, section.place("batch_normalize"));
        self.learned(section, &mut b, false)?;
        Ok(b)
    }

    fn convolutional(&mut self, section: &Section, name: &str, x: Output) -> Result<Output, ConfigError> {
        let sources = self.sources;
        let size = section.at_least(1, "size", 1, sources)?;
        let stride = section.at_least(1, "stride", 1, sources)?;
        let given = section.at_least(0, "padding", 0, sources)?;
        let (padding, key) = if section.flag("pad", sources)? { (size / 2, "pad") } else { (given, "padding") };
        let groups = section.at_least(1, "groups", 1, sources)?;
        let filters = section.at_least(1, "filters", 1, sources)?;
        for key in ["binary", "xnor", "dot"] {
            section.only(key, 0.0, sources)?;
        }
        // How darknet's weights are kept in files.
        section.ignore(&["flipped"]);
        let mut b = self.begin(section, name, "conv", &[&x.name]);
        b.put("filters", filters, section.place("filters")).put("size", size, section.place("size"));
        for (ours, value, default, place) in
            [("stride", stride, 1, "stride"), ("padding", padding, 0, key), ("groups", groups, 1, "groups")]
        {
            if value != default {
                b.put(ours, value, section.place(place));
            }
        }
        let window = Window { size: size as usize, stride: stride as usize, padding: padding as usize, dilation: 1 };
        let [h, w, _] = x.shape;
        let axis = |input| self.outputs(section, input, window, Rounding::Floor);
        let shape = [axis(h)?, axis(w)?, filters];
        let normalised = section.flag("batch_normalize", sources)?;
        if normalised {
            b.put("bias", "none", section.place("batch_normalize"));
        }
        self.learned(section, &mut b, true)?;
        let neurons = self.neurons(section, "logistic")?;
        self.layers.push(b);
        let last = if normalised { self.normalised(section, name)? } else { name.to_owned() };
        let name = self.activate(section, &last, &neurons, "activation");
        Ok(Output { name, shape, softmax: Softmax::No })
    }

    /// pad=1 is a cell of padding, with a number of outputs that fits it for size 3 alone.
    fn local(&mut self, section: &Section, name: &str, x: Output) -> Result<Output, ConfigError> {
        let sources = self.sources;
        let size = section.at_least(1, "size", 1, sources)?;
        let stride = section.at_least(1, "stride", 1, sources)?;
        let filters = section.at_least(1, "filters", 1, sources)?;
        let padded = section.flag("pad", sources)?;
        if padded && size != 3 {
            let message = format!("pad=1 with size={size}: darknet counts more outputs than it computes");
            return Err(self.fault(section, "pad", &message, "use size=3, or pad=0"));
        }
        let padding = i64::from(padded);
        let mut b = self.begin(section, name, "local", &[&x.name]);
        b.put("filters", filters, section.place("filters")).put("size", size, section.place("size"));
        for (key, value, default, place) in [("stride", stride, 1, "stride"), ("padding", padding, 0, "pad")] {
            if value != default {
                b.put(key, value, section.place(place));
            }
        }
        let window = Window { size: size as usize, stride: stride as usize, padding: padding as usize, dilation: 1 };
        let [h, w, c] = x.shape;
        let axis = |input| self.outputs(section, input, window, Rounding::Floor);
        let shape = [axis(h)?, axis(w)?, filters];
        self.uniform(section, &mut b, (size * size) as f64 * c as f64);
        self.learned(section, &mut b, true)?;
        let neurons = self.neurons(section, "logistic")?;
        self.layers.push(b);
        let name = self.activate(section, name, &neurons, "activation");
        Ok(Output { name, shape, softmax: Softmax::No })
    }

    /// ±√(2/fan_in).
    fn uniform(&self, section: &Section, b: &mut Builder, fan_in: f64) {
        let mut init = Builder::new(section.span);
        init.imply("kind", "uniform").imply("range", (2.0 / fan_in).sqrt());
        b.imply("init", init.table);
    }

    fn connected(&mut self, section: &Section, name: &str, x: Output) -> Result<Output, ConfigError> {
        let outputs = section.at_least(1, "output", 1, self.sources)?;
        let mut b = self.begin(section, name, "fc", &[&x.name]);
        b.put("outputs", outputs, section.place("output"));
        let normalised = section.flag("batch_normalize", self.sources)?;
        if normalised {
            b.put("bias", false, section.place("batch_normalize"));
        }
        self.uniform(section, &mut b, x.shape.iter().map(|&n| n as f64).product());
        self.learned(section, &mut b, true)?;
        let neurons = self.neurons(section, "logistic")?;
        self.layers.push(b);
        let last = if normalised { self.normalised(section, name)? } else { name.to_owned() };
        let name = self.activate(section, &last, &neurons, "activation");
        Ok(Output { name, shape: [1, 1, outputs], softmax: Softmax::No })
    }

    /// (h + padding − size)/stride + 1 windows, of which the first starts padding/2 cells before the image.
    fn maxpool(&mut self, section: &Section, name: &str, x: Output) -> Result<Output, ConfigError> {
        let sources = self.sources;
        let stride = section.at_least(1, "stride", 1, sources)?;
        let size = section.at_least(1, "size", stride, sources)?;
        let padding = section.at_least(0, "padding", size - 1, sources)?;
        let mut b = self.begin(section, name, "pool", &[&x.name]);
        b.imply("pool", "max").put("size", size, section.place("size"));
        if stride != 1 {
            b.put("stride", stride, section.place("stride"));
        }
        let [h, w, c] = x.shape;
        if h.min(w) + padding < size {
            let message = format!("a pool of {size} cells does not fit its {h}×{w} input");
            return Err(self.fault(section, "size", &message, "use a smaller size, or more padding"));
        }
        let outputs = [h, w].map(|n| (n + padding - size) / stride + 1);
        let (before, place) = (padding / 2, section.place("padding"));
        let window = Window { size: size as usize, stride: stride as usize, padding: before as usize, dilation: 1 };
        let is_rule = |rounding| [h, w].map(|n| output_size(n as usize, window, rounding).map(|n| n as i64)) == outputs.map(Some);
        match [Rounding::Ceil, Rounding::Floor].into_iter().find(|&rounding| is_rule(rounding)) {
            Some(rounding) => {
                if before != 0 {
                    b.put("padding", before, place);
                }
                if rounding == Rounding::Floor {
                    b.put("rounding", "floor", place);
                }
            }
            None => {
                b.put("start", -before, place);
                match outputs {
                    [p, q] if p == q => b.put("outputs", p, place),
                    both => b.put("outputs", array(both, place), place),
                };
            }
        }
        let [p, q] = outputs;
        Ok(self.made(b, name.to_owned(), [p, q, c]))
    }

    /// kappa + alpha·Σx² to the power −beta; our alpha is divided by the size.
    fn normalization(&mut self, section: &Section, name: &str, x: Output) -> Result<Output, ConfigError> {
        let size = section.at_least(1, "size", 5, self.sources)?;
        let mut b = self.begin(section, name, "lrn", &[&x.name]);
        b.imply("region", "across-maps").put("size", size, section.place("size"));
        b.put("alpha", tidy(section.float("alpha", 0.0001, self.sources)? * size as f64), section.place("alpha"));
        for (key, ours, default) in [("beta", "beta", 0.75), ("kappa", "k", 1.0)] {
            b.put(ours, section.float(key, default, self.sources)?, section.place(key));
        }
        let note = format!(
            "{}: darknet leaves one map out of its sums, and its gradient is an approximation; here both are whole",
            section.name
        );
        self.notes.say(self.sources, section.span, note);
        Ok(self.made(b, name.to_owned(), x.shape))
    }

    fn seen_classes(&mut self, section: &Section, [h, w, c]: Extents) {
        self.classes.get_or_insert((h * w * c, section.span));
    }

    /// A softmax of x/temperature and, unless noloss, the cross-entropy with the label. Darknet does not divide the gradient by
    /// the temperature again; the cost's coefficient makes up for ours.
    fn softmax(&mut self, section: &Section, index: usize, x: Output) -> Result<Output, ConfigError> {
        for (key, default) in [("groups", 1.0), ("spatial", 0.0)] {
            section.only(key, default, self.sources)?;
        }
        if section.get("tree").is_some() {
            let help = "use a softmax over all classes";
            return Err(self.fault(section, "tree", "a tree of classes has no counterpart here", help));
        }
        let temperature = section.float("temperature", 1.0, self.sources)?;
        if temperature <= 0.0 {
            return Err(self.fault(section, "temperature", "temperature must be above 0", "1 is the default"));
        }
        self.seen_classes(section, x.shape);
        let (name, place) = (format!("softmax{index}"), section.place("temperature"));
        let mut from = x.name;
        if temperature != 1.0 {
            let part = format!("{name}-part1");
            let mut b = self.begin(section, &part, "neuron", &[&from]);
            b.put("neuron", format!("linear[{}, 0]", number(1.0 / temperature)), place);
            self.layers.push(b);
            from = part;
        }
        let b = self.begin(section, &name, "softmax", &[&from]);
        let mut output = self.made(b, name.clone(), x.shape);
        output.softmax = Softmax::Alone { temperature };
        if !section.flag("noloss", self.sources)? {
            let mut b = self.begin(section, &format!("cost{index}"), "logistic-regression", &[&name]);
            if temperature != 1.0 {
                b.put("coefficient", temperature, place);
            }
            self.layers.push(b);
            output.softmax = Softmax::WithCost { temperature, cost: self.layers.len() - 1 };
        }
        Ok(output)
    }

    /// (truth − x)² of a one-hot truth, with half its gradient. Behind a softmax, darknet takes truth − x for the gradient of what
    /// the softmax reads: the cross-entropy's.
    fn cost(&mut self, section: &Section, index: usize, x: Output) -> Result<Output, ConfigError> {
        let kind = section.get("type").map_or("sse", |o| o.value.as_str());
        if kind != "sse" {
            let known = ["sse"];
            let other = matches!(kind, "seg" | "masked" | "smooth" | "L1" | "wgan");
            let message =
                if other { format!("type={kind} has no counterpart here") } else { format!("unknown type {}", quote(kind)) };
            let label = if other { String::new() } else { did_you_mean(kind, &known, "not a type that is known here") };
            let span = section.get("type").map_or(section.span, |o| o.span);
            return Err(ConfigError::new(message).at(self.sources, span, label).help("known types: sse"));
        }
        for (key, default) in [("ratio", 0.0), ("noobj", 1.0), ("thresh", 0.0)] {
            section.only(key, default, self.sources)?;
        }
        let scale = section.float("scale", 1.0, self.sources)?;
        self.seen_classes(section, x.shape);
        let place = section.place("scale");
        match x.softmax {
            Softmax::WithCost { temperature, cost } => {
                let note = "behind a softmax, darknet adds this cost's gradient to the cross-entropy's, which is its multiple";
                self.notes.say(self.sources, section.span, note);
                self.layers[cost].put("coefficient", (1.0 + scale) * temperature, place);
            }
            Softmax::Alone { temperature } => {
                let mut b = self.begin(section, &format!("cost{index}"), "logistic-regression", &[&x.name]);
                if scale * temperature != 1.0 {
                    b.put("coefficient", scale * temperature, place);
                }
                self.layers.push(b);
            }
            Softmax::No => {
                let target = self.target(section, index, x.shape);
                let mut b = self.begin(section, &format!("cost{index}"), "sum-of-squares", &[&x.name, &target]);
                b.put("coefficient", 0.5 * scale, place);
                self.layers.push(b);
            }
        }
        Ok(Output { softmax: Softmax::No, ..x })
    }

    /// The labels as one 1 among 0s.
    fn target(&mut self, section: &Section, index: usize, [h, w, c]: Extents) -> String {
        let name = format!("target{index}");
        let mut b = self.begin(section, &name, "one-hot", &["labels"]);
        b.imply("classes", h * w * c);
        self.layers.push(b);
        name
    }

    /// A logistic and the binary cross-entropy with a one-hot truth.
    fn logistic(&mut self, section: &Section, index: usize, x: Output) -> Result<Output, ConfigError> {
        self.seen_classes(section, x.shape);
        let name = format!("logistic{index}");
        let mut b = self.begin(section, &name, "neuron", &[&x.name]);
        b.imply("neuron", "logistic");
        self.layers.push(b);
        let target = self.target(section, index, x.shape);
        let b = self.begin(section, &format!("cost{index}"), "binary-cross-entropy", &[&name, &target]);
        self.layers.push(b);
        Ok(Output { name, shape: x.shape, softmax: Softmax::No })
    }

    /// The output that a number names: the section of that number, or one so many sections before.
    fn output(&self, section: &Section, key: &str, text: &str, index: usize) -> Result<Output, ConfigError> {
        let number = text.parse::<i64>().ok();
        let at = number.map(|n| if n < 0 { index as i64 + n } else { n });
        let output = at.and_then(|at| self.outputs.get(usize::try_from(at).ok()?));
        output.cloned().ok_or_else(|| {
            let message = match number {
                Some(n) => format!("{key} = {n}: there is no such layer before this one, which is number {index}"),
                None => format!("{key} must be whole numbers, not {}", quote(text)),
            };
            self.fault(section, key, &message, "layers are counted from 0, without [net]; -1 is the one before")
        })
    }

    /// The channels of several layers side by side; of one, that layer again.
    fn route(&mut self, section: &Section, index: usize) -> Result<Output, ConfigError> {
        let Some(choice) = section.get("layers") else {
            let error = ConfigError::new("missing option 'layers'").at(self.sources, section.span, "[route] needs it");
            return Err(error.help("add layers=-1,-4"));
        };
        let inputs =
            choice.value.split(',').map(|text| self.output(section, "layers", text, index)).collect::<Result<Vec<_>, _>>()?;
        if let [one] = inputs.as_slice() {
            return Ok(one.clone());
        }
        let [h, w, _] = inputs[0].shape;
        if let Some(other) = inputs.iter().find(|o| o.shape[..2] != [h, w]) {
            let [p, q, _] = other.shape;
            let message = format!("channels of {h}×{w} and of {p}×{q} cannot stand side by side");
            return Err(self.fault(section, "layers", &message, "name layers of one size"));
        }
        let name = format!("route{index}");
        let names: Vec<&str> = inputs.iter().map(|o| o.name.as_str()).collect();
        let b = self.begin(section, &name, "concat", &names);
        let c = inputs.iter().map(|o| o.shape[2]).sum();
        Ok(self.made(b, name, [h, w, c]))
    }

    /// alpha·x + beta·from. Where `from` is larger, every second of its cells is taken, or as many more as its size is; where it
    /// has other channels, the first of them are added that both have.
    fn shortcut(&mut self, section: &Section, index: usize, x: Output) -> Result<Output, ConfigError> {
        let Some(choice) = section.get("from") else {
            let error = ConfigError::new("missing option 'from'").at(self.sources, section.span, "[shortcut] needs it");
            return Err(error.help("add from=-3"));
        };
        let from = self.output(section, "from", &choice.value, index)?;
        let name = format!("shortcut{index}");
        let ([h, w, c], [from_h, from_w, from_c]) = (x.shape, from.shape);
        let mut other = from.name.clone();
        let times = from_w / w;
        if from_w < w || from_h < h || times != from_h / h {
            let message = format!("{from_h}×{from_w} cells cannot be added to {h}×{w}");
            return Err(self.fault(section, "from", &message, "name a layer of this size, or of a multiple of it"));
        }
        let place = section.place("from");
        if times > 1 || from_h != h || from_w != w {
            let part = format!("{name}-cells");
            let mut b = self.begin(section, &part, "pool", &[&other]);
            b.put("pool", "max", place).put("size", 1i64, place).put("stride", times, place).put("start", 0i64, place);
            b.put("outputs", array([h, w], place), place);
            self.layers.push(b);
            other = part;
        }
        let slice = |reader: &mut Self, part: &str, input: &str, from: i64, to: i64| {
            let part = format!("{name}-{part}");
            let mut b = reader.begin(section, &part, "slice", &[input]);
            b.put("channels", array([from, to], place), place);
            reader.layers.push(b);
            part
        };
        if from_c > c {
            other = slice(self, "first", &other, 0, c);
        }
        let neurons = self.neurons(section, "linear")?;
        let (mut mine, mut rest) = (x.name.clone(), None);
        if from_c < c {
            mine = slice(self, "first", &x.name, 0, from_c);
            rest = Some(slice(self, "rest", &x.name, from_c, c));
        }
        let sum = if rest.is_some() { format!("{name}-sum") } else { name.clone() };
        let mut b = self.begin(section, &sum, "eltsum", &[&mine, &other]);
        let (alpha, beta) = (section.float("alpha", 1.0, self.sources)?, section.float("beta", 1.0, self.sources)?);
        if (alpha, beta) != (1.0, 1.0) {
            let span = if alpha == 1.0 { section.place("beta") } else { section.place("alpha") };
            b.put("coefficients", array([alpha, beta], span), span);
        }
        self.layers.push(b);
        if let Some(rest) = rest {
            let b = self.begin(section, &name, "concat", &[&sum, &rest]);
            self.layers.push(b);
        }
        let name = self.activate(section, &name, &neurons, "activation");
        Ok(Output { name, shape: x.shape, softmax: Softmax::No })
    }

    /// The middle of the images, from −1 to 1 unless noadjust. Darknet's training takes another place for each batch.
    fn crop(&mut self, section: &Section, index: usize, x: Output) -> Result<Output, ConfigError> {
        let sources = self.sources;
        let [h, w, c] = x.shape;
        let rows = section.at_least(1, "crop_height", 1, sources)?;
        let columns = section.at_least(1, "crop_width", 1, sources)?;
        if rows > h || columns > w {
            let message = format!("a crop of {rows}×{columns} out of {h}×{w}");
            return Err(self.fault(section, "crop_height", &message, "use at most the images' size"));
        }
        self.augment = Augment { flip: section.flag("flip", sources)?, at: section.place("flip") };
        for key in ["angle", "saturation", "exposure", "shift"] {
            section.float(key, 0.0, sources)?;
        }
        let note = "[crop] takes the middle of an image, in training too, and does not vary its colours";
        self.notes.say(sources, section.span, note);
        let name = format!("crop{index}");
        let mut b = self.begin(section, &name, "crop", &[&x.name]);
        let at = section.place("crop_height");
        b.put("size", array([rows, columns], at), at).put("start", array([(h - rows) / 2, (w - columns) / 2], at), at);
        if !section.flag("noadjust", sources)? {
            b.put("neuron", "linear[2, -1]", section.place("noadjust"));
        }
        Ok(self.made(b, name, [rows, columns, c]))
    }
}
