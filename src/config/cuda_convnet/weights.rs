//! The layers with weights: conv, local, fc and sfc. They read several inputs with weights for each, which may be another
//! layer's (`weightSource`).
//!
//! One layer of ours has one `init`, learning rate and so on for the weights of all its inputs. Where the lists of a layer
//! here say otherwise, it becomes a layer for each input and an eltsum of them, which computes the same.

use super::super::error::{list, number as shown, quote};
use super::super::{ConfigError, Node, Table, Value};
use super::builder::{Builder, Input, Known, Owned};
use super::draft::{Draft, number, text};
use super::keys::{File, Given, Layer, flag};
use super::rates::{Learning, Rate, Weights};
use File::{Layers, Params};
use std::ops::Range;

/// A layer as the files have it, one entry for each input.
struct Weighty<'a> {
    inputs: Vec<Input<'a>>,
    form: Form,
    init: Vec<Given<f64>>,
    init_bias: Option<Given<f64>>,
    learned: Learned,
    sources: Vec<Option<Source<'a>>>,
}

/// How a layer learns, and what holds its weights.
struct Learned {
    weights: Vec<Weights>,
    /// `wball`
    ball: Vec<Given<f64>>,
    bias: (Given<Rate>, Given<f64>),
}

/// Weights that are shared: a layer's, of one of its inputs.
#[derive(Clone, Copy)]
struct Source<'a> {
    layer: &'a str,
    input: usize,
    given: Given<()>,
}

/// What the weights are for.
enum Form {
    /// Outputs of one part, and the parts.
    Full { outputs: Given<i64>, parts: Option<Given<i64>> },
    /// Filters of all groups.
    Filters {
        filters: Given<i64>,
        size: Vec<Given<i64>>,
        stride: Sizes,
        padding: Sizes,
        groups: Sizes,
        bias: Option<Given<&'static str>>,
    },
}

/// A size for each input; `None` where no file says it.
type Sizes = Option<Vec<Given<i64>>>;

impl Form {
    fn output(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Full { outputs, parts } => {
                let all = outputs.value.checked_mul(parts.map_or(1, |p| p.value));
                (all, all)
            }
            Self::Filters { filters, .. } => (Some(filters.value), None),
        }
    }

    /// Its keys, for some of the inputs.
    fn write(&self, range: &Range<usize>, draft: &mut Draft) {
        match self {
            Self::Full { outputs, parts } => {
                let all = self.output().0.unwrap_or(i64::MAX);
                draft.put_int("outputs", outputs.with(all));
                if let Some(parts) = parts.filter(|p| p.value != 1) {
                    draft.put_int("groups", parts);
                }
            }
            Self::Filters { filters, size, stride, padding, groups, .. } => {
                draft.put_int("filters", *filters);
                let keys = [
                    ("size", Some(size), None),
                    ("stride", stride.as_ref(), Some(1)),
                    ("padding", padding.as_ref(), Some(0)),
                    ("groups", groups.as_ref(), Some(1)),
                ];
                let mut own: Vec<Table> = vec![Table::new(); range.len()];
                for (key, sizes, usual) in keys {
                    let Some([first, others @ ..]) = sizes.map(|s| &s[range.clone()]) else { continue };
                    if Some(first.value) != usual {
                        draft.put_int(key, *first);
                    }
                    if others.iter().any(|o| o.value != first.value) {
                        for (table, size) in own.iter_mut().zip(std::iter::once(first).chain(others)) {
                            let entry = super::super::Entry { key: size.key, node: size.map_node(Value::Integer).value };
                            table.insert(key.to_owned(), entry);
                        }
                    }
                }
                if let Some(at) = size.first().filter(|_| own.iter().any(|t| !t.is_empty())) {
                    let nodes = own.into_iter().map(|t| Node::new(Value::Table(t), at.span)).collect();
                    draft.put("per_input", at.with(Node::new(Value::Array(nodes), at.span)));
                }
                draft.put_implied("rounding", text("ceil"));
            }
        }
    }
}

impl<'a> Builder<'a> {
    /// Adds a weight layer.
    pub(super) fn weight_layer(&mut self, kind: &'static str, layer: &Layer<'a>) -> Result<(), ConfigError> {
        let inputs = self.inputs(layer)?;
        let count = inputs.len();
        let form = self.form(kind, layer, &inputs)?;
        self.check_functions(layer)?;
        let span = layer.required(Layers, "type")?.span();
        let usual = (kind == "fc" || kind == "sfc").then(|| vec![Given { value: 0.01, key: span, span }; count]);
        let init = layer.needed(Layers, "initW", layer.floats(Layers, "initW", count)?.or(usual))?;
        let learned = self.learning(layer, count)?;
        let sources = self.sources(layer, count)?;
        let init_bias = layer.float(Layers, "initB")?.filter(|b| b.value != 0.0);
        let all = Weighty { inputs, form, init, init_bias, learned, sources };
        let name = self.own_name(layer);
        let (channels, values) = all.form.output();
        let replicas = all.inputs[0].replicas;
        let ours = if kind == "sfc" { "fc" } else { kind };
        let known = |output, weights| Known { output, kind, channels, values, replicas, weights, one_hot: None };
        if all.is_one() {
            let names: Vec<_> = (0..count).map(|i| (name.as_str(), i)).collect();
            let owned = self.owned(layer, &all, &names)?;
            let mut draft = self.draft(layer, &name, ours, &all.inputs)?;
            let learning = all.write(0..count, true, &owned, &mut draft);
            return self.finish(layer, draft, Some(learning), false, known(name.clone(), owned));
        }
        let parts: Vec<String> = (0..count).map(|i| self.free_name(&format!("{name}.{i}"))).collect();
        let names: Vec<_> = parts.iter().map(|part| (part.as_str(), 0)).collect();
        let owned = self.owned(layer, &all, &names)?;
        let mut sum = self.draft(layer, &name, "eltsum", &all.inputs)?;
        let nodes: Vec<Node> = parts.iter().zip(&all.inputs).map(|(part, input)| Node::new(text(part), input.span)).collect();
        for (i, part) in parts.iter().enumerate() {
            let mut draft = self.draft(layer, part, ours, &all.inputs[i..=i])?;
            let learning = all.write(i..i + 1, i == 0, &owned, &mut draft);
            self.push(layer, draft, Some(learning));
        }
        sum.put_implied("inputs", Value::Array(nodes));
        let what = "has values that differ from input to input: it is a layer for each and an eltsum of them";
        self.notes.add(&self.pair.sources, layer.span(), "", layer.name, what);
        self.finish(layer, sum, None, false, known(name, owned))
    }

    fn form(&mut self, kind: &str, layer: &Layer<'a>, inputs: &[Input]) -> Result<Form, ConfigError> {
        if kind == "fc" || kind == "sfc" {
            let outputs = layer.needed_int(Layers, "outputs", 1)?;
            let parts = (kind == "sfc").then(|| layer.needed_int(Layers, "parts", 1)).transpose()?;
            return Ok(Form::Full { outputs, parts });
        }
        let n = inputs.len();
        let needed = |key| layer.needed(Layers, key, layer.ints(Layers, key, n, 1)?);
        for (input, channels) in inputs.iter().zip(&needed("channels")?) {
            self.check_channels(layer, input, channels)?;
        }
        let size = needed("filterSize")?;
        let stride = layer.ints(Layers, "stride", n, 1)?;
        let padding = layer.ints(Layers, "padding", n, 0)?;
        let groups = layer.ints(Layers, "groups", n, 1)?;
        self.check_connections(layer, n)?;
        let of_group = needed("filters")?;
        let bias = match layer.flag(Layers, "sharedBiases")?.filter(|b| !b.value || kind == "local") {
            Some(shared) if kind == "conv" => Some(shared.with("untied")),
            _ => None,
        };
        if kind == "local" {
            self.note(layer, Layers, "sharedBiases", "has no effect on local layers, there as here: their biases are untied");
        }
        // Each input has its groups' filters; they all make the same outputs.
        let total = |i: usize| of_group[i].value.checked_mul(groups.as_ref().map_or(1, |g| g[i].value));
        let Some(filters) = total(0) else {
            return Err(layer.error(of_group[0].span, "there are too many filters".into(), "filters × groups", ""));
        };
        if let Some(i) = (1..n).find(|&i| total(i) != Some(filters)) {
            let message = format!("input {i} makes {} channels, the first {filters}", total(i).unwrap_or(i64::MAX));
            return Err(layer.error(
                of_group[i].span,
                message,
                "filters × groups",
                "make them equal: the inputs' outputs are summed",
            ));
        }
        for key in ["sumWidth", "partialSum"] {
            layer.int(Layers, key, 0)?;
            self.note(layer, Layers, key, "has no effect: it cut the sums of weight gradients for one GPU");
        }
        Ok(Form::Filters { filters: of_group[0].with(filters), size, stride, padding, groups, bias })
    }

    /// What of a filter layer's connections we do not have.
    fn check_connections(&mut self, layer: &Layer<'a>, n: usize) -> Result<(), ConfigError> {
        let sparse = layer.each(Layers, "randSparse", n, "0 or 1", flag)?.unwrap_or_default();
        if let Some(sparse) = sparse.iter().find(|s| s.value) {
            let help = "groups=… without randSparse connects each group to channels side by side";
            return Err(layer.error(sparse.span, "random sparse connections are not there".into(), "", help));
        }
        layer.ints(Layers, "filterChannels", n, 1)?;
        self.note(layer, Layers, "filterChannels", "has no effect without randSparse, there as here");
        if let Some(modules) = layer.int(Layers, "modulesX", 0)?.filter(|m| m.value > 0) {
            let help = "leave it out: the outputs are 1 + ceil((image + 2·padding − filterSize)/stride)";
            return Err(layer.error(modules.span, "the number of outputs cannot be given".into(), "", help));
        }
        Ok(())
    }

    /// Functions of Python that make weights: they cannot be called.
    fn check_functions(&self, layer: &Layer<'a>) -> Result<(), ConfigError> {
        for (key, init) in [("initWFunc", "init"), ("initBFunc", "init_bias"), ("initCFunc", "")] {
            let Some(function) = layer.text(Layers, key) else { continue };
            let message = format!("{key} is a function of Python, which is not called here");
            let help = match init {
                "" => "random sparse connections are not there; remove it".to_owned(),
                init => {
                    let name = list(&[layer.name]);
                    let set = format!("--set \"layer.{name}.{init}={{ kind = 'file', path = '{name}.npy' }}\"");
                    format!("save what it makes with numpy.save, remove it here, and give {set}")
                }
            };
            return Err(layer.error(function.span, message, "", &help));
        }
        Ok(())
    }

    /// How a layer's weights and biases learn, and the norms of its weights.
    fn learning(&mut self, layer: &Layer<'a>, n: usize) -> Result<Learned, ConfigError> {
        let rate = |key, n| layer.needed(Params, key, layer.each(Params, key, n, Rate::EXPECTED, Rate::parse)?);
        let (rates, bias_rate) = (rate("epsW", n)?, rate("epsB", 1)?[0]);
        let momenta = layer.needed(Params, "momW", layer.floats(Params, "momW", n)?)?;
        let bias_momentum = layer.needed_float(Params, "momB")?;
        let zeros = || rates.iter().map(|r| r.with(0.0)).collect::<Vec<_>>();
        let decays = layer.floats(Params, "wc", n)?.unwrap_or_else(zeros);
        let ball = layer.floats(Params, "wball", n)?.unwrap_or_else(zeros);
        if let Some(negative) = ball.iter().find(|b| b.value < 0.0) {
            return Err(layer.error(negative.span, format!("wball must be at least 0, not {}", shown(negative.value)), "", ""));
        }
        if ball.iter().any(|b| b.value > 0.0) {
            let what = "is a largest norm here: cuda-convnet2 also scales weights below it up to it";
            self.note(layer, Params, "wball", what);
        }
        for key in ["wcNormMax", "wcNormMin"] {
            let norms = layer.floats(Params, key, n)?.unwrap_or_default();
            if let Some(norm) = norms.iter().find(|v| v.value != 0.0) {
                let message = format!("{key}: filters are not held to a standard deviation here");
                return Err(layer.error(norm.span, message, "", "remove it, or use wball, which bounds the norm"));
            }
        }
        for key in ["superEps", "superMom"] {
            layer.float(Params, key)?;
            self.note(layer, Params, key, "has no effect, there as here");
        }
        if let Some(period) = layer.int(Params, "updatePeriod", 0)? {
            self.note(layer, Params, "updatePeriod", "has no effect: every layer is updated once a step");
            if period.value > 1 {
                self.periods.push((layer.name, period));
            }
        }
        let each = rates.into_iter().zip(momenta).zip(decays);
        let weights = each.map(|((rate, momentum), decay)| Weights { rate, momentum, decay }).collect();
        Ok(Learned { weights, ball, bias: (bias_rate, bias_momentum) })
    }

    /// A layer's `weightSource`.
    fn sources(&self, layer: &Layer<'a>, n: usize) -> Result<Vec<Option<Source<'a>>>, ConfigError> {
        let Some(item) = layer.item(Layers, "weightSource") else { return Ok(vec![None; n]) };
        let parts: Vec<_> = item.list().collect();
        if parts.len() != n {
            let message = format!("weightSource has {} layers for {n} inputs", parts.len());
            return Err(layer.error(
                item.span(),
                message,
                "",
                "give one for each input, nothing between two commas for own weights",
            ));
        }
        let one = |(part, span): (&'a str, _)| {
            let given = Given { value: (), key: item.key, span };
            let bad = || {
                let message = format!("weightSource must name layers whose weights are shared, not {}", quote(part));
                layer.error(span, message, "", "fc1, or fc1[1] for the weights of its second input")
            };
            if part.is_empty() {
                return Ok(None);
            }
            let (name, input) = match part.strip_suffix(']').and_then(|p| p.split_once('[')) {
                Some((name, input)) => (name, input.trim().parse().map_err(|_| bad())?),
                None => (part, 0),
            };
            if name.is_empty() || name.contains(['[', ']']) || name.contains(char::is_whitespace) {
                return Err(bad());
            }
            Ok(Some(Source { layer: name, input, given }))
        };
        parts.into_iter().map(one).collect()
    }

    /// Where the weights of each input are, given the names and inputs that those of its own get.
    fn owned(&self, layer: &Layer<'a>, all: &Weighty<'a>, names: &[(&str, usize)]) -> Result<Vec<Owned>, ConfigError> {
        let kind = layer.required(Layers, "type")?.text.as_str();
        let mut owned: Vec<Owned> = Vec::with_capacity(names.len());
        for (i, source) in all.sources.iter().enumerate() {
            let Some(source) = source else {
                let (name, input) = names[i];
                owned.push(Owned { layer: name.to_owned(), input, learning: all.learned.weights[i] });
                continue;
            };
            let span = source.given.span;
            let place = format!("{}[{}]", source.layer, source.input);
            let missing = |message: String| {
                layer.error(
                    span,
                    message,
                    "",
                    &format!("weights are shared with {kind} layers above, or with inputs before this one"),
                )
            };
            let owner = if source.layer == layer.name {
                owned.get(source.input).ok_or_else(|| missing(format!("there are no weights {} by then", quote(&place))))?
            } else {
                let Some(known) = self.known.get(source.layer) else {
                    return Err(missing(format!("there is no layer {} above", quote(source.layer))));
                };
                if known.kind != kind {
                    let message = format!("{} is a {} layer, this is a {kind} layer", quote(source.layer), known.kind);
                    return Err(layer.error(span, message, "", "layers that share weights are of one type"));
                }
                known.weights.get(source.input).ok_or_else(|| {
                    missing(format!(
                        "{} has {} inputs, so no weights {}",
                        quote(source.layer),
                        known.weights.len(),
                        quote(&place)
                    ))
                })?
            };
            all.check_shared(layer, i, &place, &owner.learning)?;
            owned.push(owner.clone());
        }
        Ok(owned)
    }
}

impl Weighty<'_> {
    /// Whether the weights of all inputs are alike, but for those that are another's.
    fn is_one(&self) -> bool {
        let own = || (0..self.inputs.len()).filter(|&i| self.sources[i].is_none());
        let values = |i: usize| {
            let w = &self.learned.weights[i];
            (self.init[i].value, w.rate.value, w.momentum.value, w.decay.value, self.learned.ball[i].value)
        };
        own().next().is_none_or(|first| own().all(|i| values(i) == values(first)))
    }

    /// Shared weights learn as their owner's: the files must not say otherwise.
    fn check_shared(&self, layer: &Layer, i: usize, owner: &str, with: &Weights) -> Result<(), ConfigError> {
        let own = &self.learned.weights[i];
        let faults = [
            ("epsW", own.rate.span, own.rate.value != with.rate.value),
            ("momW", own.momentum.span, own.momentum.value != with.momentum.value),
            ("wc", own.decay.span, own.decay.value != with.decay.value),
        ];
        let Some((key, span, _)) = faults.into_iter().find(|(.., differs)| *differs) else { return Ok(()) };
        let message = format!("{key} differs from that of {}, whose weights these are", quote(owner));
        Err(layer.error(span, message, "", "give both the same: weights that are shared learn in one way"))
    }

    /// The keys of a layer for some of the inputs.
    fn write(&self, range: Range<usize>, with_bias: bool, owned: &[Owned], draft: &mut Draft) -> Learning {
        self.form.write(&range, draft);
        let own = range.clone().find(|&i| self.sources[i].is_none());
        if let Some(i) = own {
            let std = self.init[i].map_node(number);
            draft.put("init", super::draft::table(&self.init[i], [("kind", text("gaussian")), ("std", std.value.value)]));
            if self.learned.ball[i].value > 0.0 {
                draft.put("max_norm", self.learned.ball[i].map_node(number));
            }
        }
        if range.clone().any(|i| self.sources[i].is_some()) {
            let node = |i: usize| {
                let (span, value) = match &self.sources[i] {
                    Some(source) => (source.given.span, source_text(&owned[i])),
                    None => (self.inputs[i].span, String::new()),
                };
                Node::new(Value::String(value), span)
            };
            let nodes: Vec<Node> = range.clone().map(node).collect();
            if let Some(given) = range.clone().find_map(|i| self.sources[i]).map(|s| s.given) {
                draft.put(
                    "weight_source",
                    match nodes.as_slice() {
                        [one] => given.with(one.clone()),
                        _ => given.with(Node::new(Value::Array(nodes), given.span)),
                    },
                );
            }
        }
        match (&self.form, with_bias) {
            (Form::Full { .. }, false) => draft.put_implied("bias", Value::Bool(false)),
            (Form::Filters { .. }, false) => draft.put_implied("bias", text("none")),
            (Form::Filters { bias: Some(bias), .. }, true) => draft.put("bias", bias.map_node(text)),
            _ => {}
        }
        if let Some(init) = self.init_bias.filter(|_| with_bias) {
            draft.put("init_bias", super::draft::table(&init, [("kind", text("constant")), ("value", number(init.value))]));
        }
        Learning { weights: own.map(|i| self.learned.weights[i]), bias: with_bias.then_some(self.learned.bias) }
    }
}

/// `conv1`, `conv1[1]`.
fn source_text(owned: &Owned) -> String {
    if owned.input == 0 { owned.layer.clone() } else { format!("{}[{}]", owned.layer, owned.input) }
}
