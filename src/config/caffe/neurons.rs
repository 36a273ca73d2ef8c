//! Caffe's elementwise layers → neurons. A function that ours do not have is a chain of those that they have.

use super::layers::Blobs;
use super::message::Field;
use super::net::{Blob, Layer, Translator};
use crate::config::error::number;

impl Translator<'_> {
    /// An elementwise function as a neuron: it rides on the layer before where it is computed in place of that one's output,
    /// else it is a layer. Of several, each works on what the one before gives.
    pub fn activation(&mut self, layer: &Layer, neurons: Vec<String>) -> Blobs {
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
}

/// A neuron with numbers in brackets.
fn neuron(name: &str, numbers: &[f64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(|&v| number(v)).collect();
    format!("{name}[{}]", numbers.join(", "))
}

/// scale·x + shift, where that is not x.
fn linear(scale: f64, shift: f64) -> Option<String> {
    (scale != 1.0 || shift != 0.0).then(|| neuron("linear", &[scale, shift]))
}

pub fn relu(t: &mut Translator, layer: &Layer) -> Blobs {
    let keys = layer.m.message("relu_param");
    t.engine(keys);
    let slope = keys.and_then(|k| k.float("negative_slope")).unwrap_or(0.0);
    t.activation(layer, vec![if slope == 0.0 { "relu".into() } else { neuron("leaky", &[slope]) }])
}

pub fn elu(t: &mut Translator, layer: &Layer) -> Blobs {
    let alpha = layer.m.message("elu_param").and_then(|k| k.float("alpha")).unwrap_or(1.0);
    t.activation(layer, vec![neuron("elu", &[alpha])])
}

pub fn sigmoid(t: &mut Translator, layer: &Layer) -> Blobs {
    t.engine(layer.m.message("sigmoid_param"));
    t.activation(layer, vec!["logistic".into()])
}

pub fn tanh(t: &mut Translator, layer: &Layer) -> Blobs {
    t.engine(layer.m.message("tanh_param"));
    t.activation(layer, vec!["tanh".into()])
}

/// x·σ(beta·x) = swish(beta·x)/beta.
pub fn swish(t: &mut Translator, layer: &Layer) -> Blobs {
    let field = layer.m.message("swish_param").and_then(|k| k.get("beta"));
    let beta = field.map_or(1.0, Field::as_float);
    if let Some(field) = field.filter(|_| beta == 0.0) {
        return Err(t.fault(layer, field.whole(), "a swish of beta 0 is x/2", "", "use a Power layer of scale 0.5"));
    }
    let neurons = [linear(beta, 0.0), Some("swish".into()), linear(1.0 / beta, 0.0)];
    t.activation(layer, neurons.into_iter().flatten().collect())
}

/// min(max(x, min), max): a bounded relu between two shifts.
pub fn clip(t: &mut Translator, layer: &Layer) -> Blobs {
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
pub fn power(t: &mut Translator, layer: &Layer) -> Blobs {
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
pub fn log(t: &mut Translator, layer: &Layer) -> Blobs {
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
