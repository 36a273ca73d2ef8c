//! Caffe's losses → costs. Both are averages over a batch; a loss_weight is our coefficient.

use super::data;
use super::layers::Blobs;
use super::message::{Field, Message};
use super::net::{Blob, Known, Layer, Origin, Translator};
use crate::config::ConfigError;
use crate::config::error::quote;
use crate::config::tree::Builder;

impl Translator<'_> {
    /// The factor of a cost in what is minimised, where that is an average as ours are; none where it is 0 and the cost only watched.
    fn loss_weight(&mut self, layer: &Layer) -> Result<Option<f64>, ConfigError> {
        let weights: Vec<&Field> = layer.m.all("loss_weight").collect();
        let weight = weights.first().map_or(1.0, |f| f.as_float());
        if weight == 0.0 {
            layer.m.fields.iter().for_each(Field::ignore);
            let note = format!("{} has loss_weight 0 and is left out", quote(&layer.called));
            self.notes.say(self.sources, layer.kind.whole(), note);
            return Ok(None);
        }
        self.normalization(layer)?;
        Ok(Some(weight))
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

pub fn softmax(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 1..=1, 1..=1)?;
    let keys = layer.m.message("softmax_param");
    t.engine(keys);
    one_place(t, layer, keys)?;
    data::classes(t, layer);
    let b = t.begin(layer, "softmax")?;
    let shape = t.input(layer, 0).shape;
    Ok(vec![t.add(b, shape)])
}

pub fn softmax_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=2)?;
    let Some(weight) = t.loss_weight(layer)? else { return Ok(Vec::new()) };
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
pub fn multinomial_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=1)?;
    let Some(weight) = t.loss_weight(layer)? else { return Ok(Vec::new()) };
    t.labels(layer, 1)?;
    data::classes(t, layer);
    let input = t.input_name(layer, 0)?;
    let b = t.begin_reading(layer, &layer.name, "logistic-regression", vec![input]);
    t.cost(layer, b, weight)
}

/// A logistic and the binary cross-entropy of what it gives, summed over an image's elements.
pub fn sigmoid_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=2)?;
    let Some(weight) = t.loss_weight(layer)? else { return Ok(Vec::new()) };
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
pub fn euclidean_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=1)?;
    let Some(weight) = t.loss_weight(layer)? else { return Ok(Vec::new()) };
    let b = t.begin(layer, "sum-of-squares")?;
    t.cost(layer, b, 0.5 * weight)
}

/// Σ max(0, 1 ∓ x), or its square: − for the label's class, + for the others.
pub fn hinge_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 2..=2, 0..=1)?;
    let Some(weight) = t.loss_weight(layer)? else { return Ok(Vec::new()) };
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
pub fn contrastive_loss(t: &mut Translator, layer: &Layer) -> Blobs {
    t.arity(layer, 3..=3, 0..=1)?;
    let Some(weight) = t.loss_weight(layer)? else { return Ok(Vec::new()) };
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
