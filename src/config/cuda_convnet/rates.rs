//! How each layer learns, and from that `[train]`: cuda-convnet gives every layer its own learning rates, momenta and weight
//! decay, we a base and multiples of it.
//!
//! Its update is ours: v ← mom·v − eps·(g + wc·w), w ← w + v, with the gradient g averaged over the minibatch (`WeightLayer`
//! scales by 1/numCases) and no decay of biases. So:
//!
//! - `learning_rate` of `[train]` is the commonest `epsW` where all schedules are alike but for their base; each layer has its
//!   multiple of it. Otherwise it is 1, and each layer has its own schedule.
//! - `momentum` is the commonest `momW`; a layer with others has them as its own.
//! - `weight_decay` is the commonest `wc` that is not 0, with multiples; it multiplies no bias.

use super::super::{Entry, Node, Span, Table, Value};
use super::draft::{Draft, number, simple, table, text};
use super::keys::Given;

/// A learning rate over a training run: `0.001`, `dexp[base=0.01;tgtFactor=250;numSteps=4]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The rate that it starts from.
    pub base: f64,
    /// How it goes on.
    pub form: Form,
}

/// How a rate goes on from its base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// Not at all.
    Const,
    /// Straight to base / this.
    Linear(f64),
    /// As a power to base / this.
    Exp(f64),
    /// In so many stairs of `Exp`.
    Dexp(f64, i64),
}

impl Rate {
    /// What a rate is written as, for messages.
    pub const EXPECTED: &str =
        "a number, const[base=…], linear[base=…;tgtFactor=…], exp[base=…;tgtFactor=…] or dexp[base=…;tgtFactor=…;numSteps=…]";

    /// Reads one, as `ParamParser` does: names in any case, keys in their order.
    pub fn parse(given: &str) -> Option<Self> {
        let finite = |t: &str| t.parse().ok().filter(|v: &f64| v.is_finite());
        if let Some(base) = finite(given) {
            return Some(Self { base, form: Form::Const });
        }
        let (name, rest) = given.split_once('[')?;
        let mut values = rest.trim_end().strip_suffix(']')?.split(';');
        let mut next = |key: &str| {
            let (name, value) = values.next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
        };
        let base = next("base").and_then(finite)?;
        let mut factor = || next("tgtFactor").and_then(finite);
        let form = match name.trim().to_ascii_lowercase().as_str() {
            "const" => Form::Const,
            "linear" => Form::Linear(factor()?),
            "exp" => Form::Exp(factor()?),
            "dexp" => Form::Dexp(factor()?, next("numSteps")?.parse().ok()?),
            _ => return None,
        };
        values.next().is_none().then_some(Self { base, form })
    }

    /// It as a schedule of ours.
    fn node(rate: Given<Self>) -> Given<Node> {
        let Self { base, form } = rate.value;
        let (name, factor, steps) = match form {
            Form::Const => return rate.with(base).map_node(number),
            Form::Linear(factor) => ("linear", factor, None),
            Form::Exp(factor) => ("exp", factor, None),
            Form::Dexp(factor, steps) => ("dexp", factor, Some(steps)),
        };
        let fixed = [("schedule", text(name)), ("base", number(base)), ("target_factor", number(factor))];
        table(&rate, fixed.into_iter().chain(steps.map(|n| ("num_steps", Value::Integer(n)))))
    }
}

/// How one layer learns. Weights that it shares with another layer learn as that one's.
#[derive(Clone, Copy)]
pub struct Learning {
    /// `epsW`, `momW` and `wc` of weights of its own.
    pub weights: Option<Weights>,
    /// `epsB` and `momB`, where it has biases.
    pub bias: Option<(Given<Rate>, Given<f64>)>,
}

/// How weights learn.
#[derive(Clone, Copy)]
pub struct Weights {
    /// `epsW`
    pub rate: Given<Rate>,
    /// `momW`
    pub momentum: Given<f64>,
    /// `wc`; its place is that of `epsW` where it is not given.
    pub decay: Given<f64>,
}

/// What `[train]` has, and how layers differ from it.
pub struct Base {
    rate: Option<Given<Rate>>,
    momentum: Option<Given<f64>>,
    decay: Option<Given<f64>>,
}

impl Base {
    /// The base of these layers.
    pub fn of<'a>(layers: impl Iterator<Item = &'a Learning> + Clone) -> Self {
        let weights = layers.clone().filter_map(|l| l.weights);
        let learned = |r: &Given<Rate>| r.value.base != 0.0;
        let rates = weights.clone().map(|w| w.rate).chain(layers.filter_map(|l| l.bias.map(|b| b.0))).filter(learned);
        let rate = rates.clone().next().map(|first| {
            if rates.clone().all(|r| r.value.form == first.value.form) {
                common(weights.clone().map(|w| w.rate).filter(learned), |r| r.base).unwrap_or(first)
            } else {
                first.with(Rate { base: 1.0, form: Form::Const })
            }
        });
        let momentum = common(weights.clone().map(|w| w.momentum), |v| *v);
        let decays = weights.map(|w| w.decay);
        let decay = common(decays.clone().filter(|d| d.value != 0.0), |v| *v).or_else(|| decays.clone().next());
        Self { rate, momentum, decay }
    }

    /// The keys of `[train]`.
    pub fn write(&self, train: &mut Table) {
        let rate = self.rate.map(Rate::node);
        let momentum = self.momentum.map(|m| m.map_node(number));
        let decay = self.decay.map(|d| d.map_node(number));
        for (key, node) in [("learning_rate", rate), ("momentum", momentum), ("weight_decay", decay)] {
            if let Some(node) = node {
                train.insert(key.to_owned(), Entry { key: node.key, node: node.value });
            }
        }
    }

    /// The keys of a layer.
    pub fn apply(&self, learning: &Learning, draft: &mut Draft) {
        let Learning { weights, bias } = *learning;
        let one = |node: &Given<Node>| matches!(node.value.value, Value::Integer(1));
        let rate = [("weights", weights.map(|w| self.multiple(w.rate))), ("bias", bias.map(|b| self.multiple(b.0)))];
        put_both(draft, "learning_rate", rate.map(|(key, node)| (key, node.filter(|n| !one(n)))));
        let usual = self.momentum.map(|m| m.value);
        let momentum = [("weights", weights.map(|w| w.momentum)), ("bias", bias.map(|b| b.1))];
        let others = momentum.map(|(key, m)| (key, m.filter(|m| Some(m.value) != usual).map(|m| m.map_node(number))));
        put_both(draft, "momentum", others);
        let decay = self.decay.map_or(0.0, |d| d.value);
        if decay != 0.0 {
            let multiple = weights.map(|w| w.decay.with(simple(w.decay.value / decay)).map_node(number));
            let none = bias.map(|(rate, _)| rate.with(0.0).map_node(number));
            put_both(draft, "weight_decay", [("weights", multiple.filter(|n| !one(n))), ("bias", none)]);
        }
    }

    /// A rate as a multiple of the base.
    fn multiple(&self, rate: Given<Rate>) -> Given<Node> {
        let Rate { base, form } = rate.value;
        match self.rate.map(|b| b.value) {
            _ if base == 0.0 => rate.with(0.0).map_node(number),
            Some(all) if form == all.form => rate.with(simple(base / all.base)).map_node(number),
            _ => Rate::node(rate),
        }
    }
}

/// Sets a key to a table of what is there for weights and biases.
fn put_both(draft: &mut Draft, key: &str, parts: [(&str, Option<Given<Node>>); 2]) {
    let parts: Vec<_> = parts.into_iter().filter_map(|(name, node)| Some((name, node?))).collect();
    let Some((_, first)) = parts.first() else { return };
    let (at, span): (Span, Span) = (first.key, first.span);
    let entry = |(name, node): (&str, Given<Node>)| (name.to_owned(), Entry { key: node.key, node: node.value });
    let table = parts.into_iter().map(entry).collect();
    draft.put(key, Given { value: Node::new(Value::Table(table), span), key: at, span });
}

/// The value that most have, the first of those where they are equally many.
fn common<T: Copy>(given: impl Iterator<Item = Given<T>>, value: impl Fn(&T) -> f64) -> Option<Given<T>> {
    let mut counts: indexmap::IndexMap<u64, (Given<T>, usize)> = indexmap::IndexMap::new();
    for g in given {
        counts.entry(value(&g.value).to_bits()).or_insert((g, 0)).1 += 1;
    }
    let most = counts.values().map(|(_, n)| *n).max()?;
    counts.into_values().find(|(_, n)| *n == most).map(|(g, _)| g)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms that `ParamParser` and the old-style numbers take.
    #[test]
    fn rates_as_they_are_written() {
        let rate = |base, form| Some(Rate { base, form });
        for (text, wanted) in [
            ("0.001", rate(0.001, Form::Const)),
            (".5", rate(0.5, Form::Const)),
            ("const[base=0.1]", rate(0.1, Form::Const)),
            ("linear[base=1;tgtFactor=4]", rate(1.0, Form::Linear(4.0))),
            ("EXP [ Base = 1 ; tgtfactor = 4 ]", rate(1.0, Form::Exp(4.0))),
            ("dexp[base=0.01;tgtFactor=250;numSteps=4]", rate(0.01, Form::Dexp(250.0, 4))),
            ("dexp[base=0.01;tgtFactor=250]", None),
            ("dexp[base=0.01;numSteps=4;tgtFactor=250]", None),
            ("const[base=0.1;tgtFactor=2]", None),
            ("const", None),
            ("const[base=inf]", None),
            ("nan", None),
            ("step[base=1]", None),
            ("dexp[base=1;tgtFactor=2;numSteps=2.5]", None),
            ("const[base=1", None),
            ("", None),
        ] {
            assert_eq!(Rate::parse(text), wanted, "{text}");
        }
    }
}
