//! Caffe's net → the layers of ours. Caffe's layers read and write named blobs, some in place; here a layer reads layers. Each
//! time a blob is written, a new version of it begins, and whoever reads it then reads that version.
//!
//! One net stands for both of Caffe's phases. It is the one that trains; a layer that only tests is left out if it only
//! measures something, and must say the same as its twin in training otherwise.

use super::layers;
use super::message::{Field, Message};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::tree::{self, Builder, Notes};
use crate::config::{ConfigError, Node, Sources, Span, Value};
use std::collections::{HashMap, HashSet};

/// Blobs that a layer may read or write.
const MAX: usize = 4096;

/// What the files say, in our terms.
pub struct Net {
    pub name: Option<(String, Span)>,
    /// The keys of `[data]`.
    pub data: Builder,
    /// Images that go through the net at once.
    pub batch: Option<(i64, Span)>,
    pub layers: Value,
}

/// The phase, level and stages that a net is made for, which rules of layers ask for.
#[derive(Clone, Debug)]
pub struct State {
    pub phase: &'static str,
    pub level: i64,
    pub stages: HashSet<String>,
}

impl State {
    pub fn new(phase: &'static str) -> Self {
        Self { phase, level: 0, stages: HashSet::new() }
    }

    /// With what a `NetState` adds.
    pub fn with(mut self, more: Option<&Message>) -> Self {
        if let Some(state) = more {
            self.level = state.int("level").unwrap_or(self.level);
            self.stages.extend(state.all("stage").map(|s| s.as_text().to_owned()));
            state.ignore(&["phase"]);
        }
        self
    }

    fn meets(&self, rule: &Message) -> bool {
        let has = |f: &Field| self.stages.contains(f.as_text());
        rule.text("phase").is_none_or(|phase| phase == self.phase)
            && rule.int("min_level").is_none_or(|least| self.level >= least)
            && rule.int("max_level").is_none_or(|most| self.level <= most)
            && rule.all("stage").all(has)
            && !rule.all("not_stage").any(has)
    }
}

/// Where a blob comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    Images,
    Labels,
    /// One of our layers, by its name.
    Layer(String),
    /// A layer that was left out.
    Nothing,
}

/// Extents of an image of a blob, as far as the file tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    pub h: Option<i64>,
    pub w: Option<i64>,
    pub c: Option<i64>,
}

impl Known {
    /// `c` values in one place.
    pub fn flat(c: Option<i64>) -> Self {
        Self { h: Some(1), w: Some(1), c }
    }
}

/// What is known of a version of a blob.
#[derive(Clone, Debug)]
pub struct Blob {
    pub origin: Origin,
    pub shape: Known,
    /// Flattened out of several places: Caffe's order of the elements is another than ours.
    pub shuffled: bool,
    /// The layer whose output it is, by index, where it is that and nothing more.
    pub layer: Option<usize>,
    /// That layer is a batch normalisation which waits for its scale.
    pub normalised: bool,
}

impl Blob {
    pub fn new(origin: Origin, shape: Known) -> Self {
        Self { origin, shape, shuffled: false, layer: None, normalised: false }
    }
}

/// One time a blob is written.
#[derive(Debug)]
struct Version {
    /// Layers that read it, but for those that only measure.
    readers: usize,
    blob: Blob,
}

/// A layer of Caffe, with its place among the blobs.
pub struct Layer<'a> {
    pub m: &'a Message,
    /// As the file has it, for messages.
    pub called: String,
    /// As ours are called, unlike any other.
    pub name: String,
    pub kind: &'a Field,
    /// Versions of blobs.
    pub inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// The one blob that it reads is the one that it writes.
    pub in_place: bool,
}

impl Layer<'_> {
    pub fn kind(&self) -> &str {
        self.kind.as_text()
    }
}

/// Which of a layer's parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slot {
    Weights,
    Bias,
}

/// A net on its way.
pub struct Translator<'a> {
    pub sources: &'a Sources,
    pub notes: &'a mut Notes,
    versions: Vec<Version>,
    pub layers: Vec<Builder>,
    /// The shape that the last of them makes.
    last: Known,
    names: HashSet<String>,
    /// How often a name was wanted.
    wanted: HashMap<String, usize>,
    /// Parameters that have names: the layer that has them first.
    pub shared: HashMap<String, (String, Slot)>,
    pub data: Builder,
    pub batch: Option<(i64, Span)>,
    /// The keys of `data.synthetic`, where the file tells the images' shape.
    pub synthetic: Builder,
    pub has_images: bool,
    pub has_labels: bool,
    /// Whether it is to be trained: it has a cost.
    pub trains: bool,
    /// Whether two images make one, and the label says if they are of one class.
    pub pairs: bool,
}

/// A layer and the phases it runs in.
struct Phased<'a> {
    m: &'a Message,
    kind: &'a Field,
    train: bool,
    test: bool,
}

/// Translates a net for the states that it trains and tests in.
pub fn translate(m: &Message, train: State, test: State, sources: &Sources, notes: &mut Notes) -> Result<Net, ConfigError> {
    m.ignore(&["force_backward", "debug_info"]);
    let name = m.get("name").map(|f| (f.as_text().to_owned(), f.whole())).filter(|(name, _)| !name.is_empty());
    let state = m.message("state");
    let (train, test) = (train.with(state), test.with(state));
    let upgraded = upgraded(m, sources)?;
    let layers: Vec<&Message> = m.all("layer").filter_map(Field::as_message).chain(&upgraded).collect();
    let mut phased = Vec::with_capacity(layers.len());
    for layer in layers {
        phased.push(in_phases(layer, &train, &test, sources)?);
    }
    // A net that has images only in tests, such as one that is given them from outside, is meant as it is in tests.
    let from_outside = m.fields.iter().any(|f| f.name == "input");
    let trains = !from_outside && phased.iter().any(|l| l.train && layers::is_data(l.kind.as_text()));
    if !trains {
        for layer in &mut phased {
            layer.train = layer.test;
        }
    }
    let pairs = phased.iter().any(|l| l.train && l.kind.as_text() == "ContrastiveLoss");
    let has_cost = phased.iter().any(|l| l.train && layers::is_loss(l.kind.as_text()));
    let mut translator = Translator {
        sources,
        notes,
        versions: Vec::new(),
        layers: Vec::new(),
        last: Known::default(),
        names: HashSet::from(["data".to_owned(), "labels".to_owned()]),
        wanted: HashMap::new(),
        shared: HashMap::new(),
        data: Builder::new(m.span),
        batch: None,
        synthetic: Builder::new(m.span),
        has_images: false,
        has_labels: false,
        trains: has_cost,
        pairs,
    };
    translator.left_out(&phased)?;
    translator.run(m, &phased)?;
    if let Some((path, field)) = m.fields.iter().filter(|f| !matches!(f.name, "layer" | "layers")).find_map(unread) {
        return Err(no_counterpart(&path, field, sources));
    }
    translator.finish(name)
}

fn unread(field: &Field) -> Option<(String, &Field)> {
    let one = Message { fields: vec![field.clone()], span: field.span };
    one.unread().map(|(path, _)| (path, field))
}

fn no_counterpart(path: &str, field: &Field, sources: &Sources) -> ConfigError {
    let error = ConfigError::new(format!("{path} has no counterpart here")).at(sources, field.whole(), "");
    error.help("remove it, or convert the net by hand")
}

/// The layers of an old file as those of a new one.
fn upgraded(m: &Message, sources: &Sources) -> Result<Vec<Message>, ConfigError> {
    let new = m.fields.iter().find(|f| f.name == "layer");
    let old = m.fields.iter().find(|f| f.name == "layers");
    if let (Some(new), Some(old)) = (new, old) {
        let error = ConfigError::new("layer and layers in one file: they are of different versions of the format");
        let error = error.at(sources, new.key, "").at(sources, old.key, "");
        return Err(error.help("write all of them as layer { type: \"Convolution\" … }"));
    }
    m.all("layers").filter_map(Field::as_message).map(|layer| super::upgrade::upgrade(layer, sources)).collect()
}

fn in_phases<'a>(m: &'a Message, train: &State, test: &State, sources: &Sources) -> Result<Phased<'a>, ConfigError> {
    m.ignore(&["phase"]);
    let Some(kind) = m.get("type") else {
        let error = ConfigError::new("a layer has no type").at(sources, m.span, "");
        return Err(error.help("add, say, type: \"Convolution\""));
    };
    let includes: Vec<&Field> = m.all("include").collect();
    let excludes: Vec<&Field> = m.all("exclude").collect();
    if let (Some(include), Some(exclude)) = (includes.first(), excludes.first()) {
        let error = ConfigError::new("a layer has rules to include and rules to exclude it");
        return Err(error.at(sources, include.key, "").at(sources, exclude.key, "").help("keep one kind of them"));
    }
    let meets = |state: &State, rules: &[&Field]| {
        // Every rule is read, whichever decides.
        let met: Vec<bool> = rules.iter().filter_map(|f| f.as_message()).map(|rule| state.meets(rule)).collect();
        rules.iter().for_each(|f| f.ignore());
        met.contains(&true)
    };
    let active = |state: &State| {
        if includes.is_empty() { !meets(state, &excludes) } else { meets(state, &includes) }
    };
    Ok(Phased { m, kind, train: active(train), test: active(test) })
}

/// The names of the blobs that a layer writes.
fn tops(m: &Message) -> Vec<&str> {
    m.all("top").map(Field::as_text).collect()
}

impl<'a> Translator<'a> {
    /// Checks that what runs in tests alone may be left out, and what runs in training alone does not reach the rest.
    fn left_out(&mut self, layers: &[Phased]) -> Result<(), ConfigError> {
        let mut trained: HashMap<&str, &Phased> = HashMap::new();
        for layer in layers.iter().filter(|l| l.train && !l.test) {
            trained.extend(tops(layer.m).into_iter().map(|top| (top, layer)));
        }
        let mut twins: HashSet<&str> = HashSet::new();
        for layer in layers.iter().filter(|l| l.test && !l.train) {
            let kind = layer.kind.as_text();
            let twin = tops(layer.m).iter().find_map(|top| trained.get(top));
            let name = layer.m.text("name").unwrap_or_default();
            if layers::is_data(kind) {
                layers::note_test_data(self, layer.m, twin.map(|t| t.m));
            } else if let Some(twin) = twin {
                let but = ["name", "include", "exclude", "phase", "use_global_stats"];
                if !layer.m.is(twin.m, &but) {
                    let error = ConfigError::new(format!("layer {} differs between training and tests", quote(name)));
                    let error =
                        error.at(self.sources, layer.kind.whole(), "in tests").at(self.sources, twin.kind.whole(), "in training");
                    return Err(error.help("one net is trained and tested here: make both layers equal, or remove one"));
                }
                twins.extend(tops(layer.m));
            } else if !layers::is_measure(kind) {
                self.notes.say(
                    self.sources,
                    layer.kind.whole(),
                    format!("layer {} runs in tests alone and is left out", quote(name)),
                );
            }
        }
        for layer in layers.iter().filter(|l| l.train && l.test) {
            for bottom in layer.m.all("bottom") {
                let Some(from) = trained.get(bottom.as_text()).filter(|_| !twins.contains(bottom.as_text())) else { continue };
                let kind = from.kind.as_text();
                if !layers::is_data(kind) && kind != "Dropout" {
                    let message =
                        format!("{} is made in training alone, and a layer of both phases reads it", quote(bottom.as_text()));
                    let error = ConfigError::new(message).at(self.sources, bottom.whole(), "");
                    let error = error.at(self.sources, from.kind.whole(), "runs in training alone");
                    return Err(error.help("one net is trained and tested here: let the layer run in both phases"));
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, m: &Message, layers: &[Phased]) -> Result<(), ConfigError> {
        // The newest version of each blob.
        let mut newest: HashMap<String, usize> = HashMap::new();
        for (name, blob) in layers::outside(self, m)? {
            newest.insert(name, self.versions.len());
            self.versions.push(Version { readers: 0, blob });
        }
        let active: Vec<&Phased> = layers.iter().filter(|l| l.train).collect();
        let mut wired = Vec::with_capacity(active.len());
        for &layer in &active {
            wired.push(self.wire(layer, &mut newest)?);
        }
        for layer in &wired {
            let blobs = layers::translate(self, layer)?;
            for (&version, blob) in layer.outputs.iter().zip(blobs) {
                self.versions[version].blob = blob;
            }
            if let Some((path, field)) = layer.m.unread() {
                return Err(no_counterpart(&path, field, self.sources).in_layer(&layer.called));
            }
        }
        Ok(())
    }

    /// Finds the versions that a layer reads, and begins those that it writes.
    fn wire<'m>(&mut self, layer: &Phased<'m>, newest: &mut HashMap<String, usize>) -> Result<Layer<'m>, ConfigError> {
        let (m, kind) = (layer.m, layer.kind);
        let called = m.text("name").filter(|n| !n.is_empty()).map_or_else(|| kind.as_text().to_lowercase(), str::to_owned);
        let name = if layers::is_data(kind.as_text()) { called.clone() } else { self.unique(&called) };
        let bottoms: Vec<&Field> = m.all("bottom").collect();
        let tops: Vec<&Field> = m.all("top").collect();
        if let Some(extra) = bottoms.get(MAX).or(tops.get(MAX)) {
            let error = ConfigError::new(format!("more than {MAX} blobs")).in_layer(&called).at(self.sources, extra.whole(), "");
            return Err(error.help("split the layer"));
        }
        let mut inputs = Vec::with_capacity(bottoms.len());
        for bottom in &bottoms {
            let Some(&version) = newest.get(bottom.as_text()) else {
                let known: Vec<&String> = newest.keys().collect();
                let mut known: Vec<&str> = known.into_iter().map(String::as_str).collect();
                known.sort_unstable();
                let error = ConfigError::new(format!("no layer above makes {}", quote(bottom.as_text()))).in_layer(&called);
                let error = error.at(self.sources, bottom.span, did_you_mean(bottom.as_text(), &known, "no such blob"));
                return Err(error.help(format!("made so far: {}", list(&known))));
            };
            if !layers::is_measure(kind.as_text()) {
                self.versions[version].readers += 1;
            }
            inputs.push(version);
        }
        let in_place = match (bottoms.as_slice(), tops.as_slice()) {
            ([bottom], [top]) => bottom.as_text() == top.as_text(),
            _ => false,
        };
        let mut outputs = Vec::with_capacity(tops.len());
        for (i, top) in tops.iter().enumerate() {
            let replaces = bottoms.get(i).is_some_and(|bottom| bottom.as_text() == top.as_text());
            let version = self.versions.len();
            if newest.insert(top.as_text().to_owned(), version).is_some() && !replaces {
                let error = ConfigError::new(format!("two layers make {}", quote(top.as_text()))).in_layer(&called);
                return Err(error.at(self.sources, top.span, "").help("give each layer's output a name of its own"));
            }
            self.versions.push(Version { readers: 0, blob: Blob::new(Origin::Nothing, Known::default()) });
            outputs.push(version);
        }
        Ok(Layer { m, called, name, kind, inputs, outputs, in_place })
    }

    /// A name for a layer of ours that none has yet.
    pub fn unique(&mut self, wanted: &str) -> String {
        let count = self.wanted.entry(wanted.to_owned()).or_insert(0);
        loop {
            *count += 1;
            let name = if *count == 1 { wanted.to_owned() } else { format!("{wanted}-{count}") };
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// The blob that a layer reads at an input.
    pub fn input(&self, layer: &Layer, i: usize) -> &Blob {
        &self.versions[layer.inputs[i]].blob
    }

    /// Whether nobody else reads what a layer reads first.
    pub fn only_reader(&self, layer: &Layer) -> bool {
        layer.inputs.first().is_some_and(|&version| self.versions[version].readers == 1)
    }

    /// What our layers call an input of a layer.
    pub fn input_name(&self, layer: &Layer, i: usize) -> Result<String, ConfigError> {
        match &self.input(layer, i).origin {
            Origin::Images => Ok("data".into()),
            Origin::Labels => Ok("labels".into()),
            Origin::Layer(name) => Ok(name.clone()),
            Origin::Nothing => {
                let bottom = layer.m.all("bottom").nth(i).map_or(layer.m.span, |f| f.span);
                let help = "measures and costs of weight 0 are left out: let the layer read another";
                Err(self.fault(layer, bottom, "this is made by a layer that is left out here", "", help))
            }
        }
    }

    /// An error about a layer.
    pub fn fault(&self, layer: &Layer, span: Span, message: &str, label: &str, help: &str) -> ConfigError {
        ConfigError::new(message).in_layer(&layer.called).at(self.sources, span, label).help(help)
    }

    /// One of our layers under its Caffe layer's name and places, reading all that that one reads.
    pub fn begin(&self, layer: &Layer, kind: &str) -> Result<Builder, ConfigError> {
        let names = (0..layer.inputs.len()).map(|i| self.input_name(layer, i)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.begin_reading(layer, &layer.name, kind, names))
    }

    /// One of our layers under a name of its own, reading others.
    pub fn begin_reading(&self, layer: &Layer, name: &str, kind: &str, inputs: Vec<String>) -> Builder {
        let mut b = Builder::new(layer.m.span);
        let (key, span) = layer.m.get("name").map_or((layer.kind.key, layer.kind.span), |f| (f.key, f.span));
        b.put_at("name", key, name, span).put_at("type", layer.kind.key, kind, layer.kind.span);
        let bottoms: Vec<&Field> = layer.m.all("bottom").collect();
        let whole = bottoms.iter().map(|f| f.whole()).reduce(Span::to).unwrap_or(layer.kind.whole());
        let place = |i: usize| bottoms.get(i).map_or(whole, |f| f.span);
        let nodes = inputs.into_iter().enumerate().map(|(i, name)| Node::new(Value::String(name), place(i))).collect();
        b.put("inputs", Value::Array(nodes), whole);
        b
    }

    /// Adds a layer, and gives the blob that it makes.
    pub fn add(&mut self, b: Builder, shape: Known) -> Blob {
        let name = b.name().to_owned();
        self.layers.push(b);
        self.last = shape;
        Blob { layer: Some(self.layers.len() - 1), ..Blob::new(Origin::Layer(name), shape) }
    }

    fn finish(mut self, name: Option<(String, Span)>) -> Result<Net, ConfigError> {
        if self.layers.is_empty() {
            let error = ConfigError::new("the net has no layers").at(self.sources, self.data.span, "");
            return Err(error.help("is this a net? A solver has net: \"…\" and base_lr"));
        }
        let outputs = if let Known { h: Some(1), w: Some(1), c } = self.last { c } else { None };
        if let (Some(outputs), false) = (outputs, self.synthetic.table.contains_key("classes")) {
            self.synthetic.imply("classes", outputs);
        }
        if self.pairs {
            // The file tells the shape of a pair, which the source would make of two images of half its channels.
            self.synthetic.table.shift_remove("shape");
        }
        if self.synthetic.table.contains_key("shape") {
            self.synthetic.span = self.synthetic.table["shape"].node.span;
            let span = self.synthetic.span;
            self.data.put("synthetic", self.synthetic.table, span);
        }
        let layers = tree::layers(self.layers);
        Ok(Net { name, data: self.data, batch: self.batch, layers })
    }
}
