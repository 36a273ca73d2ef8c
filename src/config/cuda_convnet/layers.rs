//! The layers without weights: each type of cuda-convnet as the one of ours that computes the same.

use super::super::error::{number as shown, quote};
use super::super::{ConfigError, Node, Value};
use super::builder::{Builder, Input, Known};
use super::draft::{Draft, number, simple, text};
use super::keys::{File, Given, Layer};
use File::{Layers, Params};

/// Channels and values of an output, where the files say them.
type Size = (Option<i64>, Option<i64>);

impl<'a> Builder<'a> {
    /// A layer that reads data: images, labels, or the labels as a matrix, which cuda-convnet2's providers give.
    pub(super) fn data(&mut self, layer: &Layer<'a>) -> Result<(), ConfigError> {
        let index = layer.needed_int(Layers, "dataIdx", 0)?;
        for key in ["start", "end"] {
            if let Some(range) = layer.int(Layers, key, 0)?.filter(|r| key == "end" || r.value > 0) {
                let message = format!("{key} = {}: a layer cannot read a part of the data's values", range.value);
                return Err(layer.error(range.span, message, "", "leave it out; a slice layer takes some of the channels"));
            }
        }
        if index.value == 0 {
            self.images.get_or_insert(index.span);
        }
        let (images, labels) = (index.value == 0, index.value == 1);
        let (kind, size): (&str, Size) = match index.value {
            0 => ("data", (None, None)),
            1 => ("data", (Some(1), Some(1))),
            2 => ("one-hot", (None, None)),
            other => {
                let message = format!("dataIdx = {other}: there is no such data");
                let help = "0 is the images, 1 their labels, 2 the labels as a matrix of 0 and 1";
                return Err(layer.error(index.span, message, "", help));
            }
        };
        // Layers of these names and types are there without being defined.
        let is_source = (layer.name == "data" && images) || (layer.name == "labels" && labels);
        let name = if is_source { layer.name.to_owned() } else { self.own_name(layer) };
        let known = |output: String, one_hot| Known {
            output,
            kind: "data",
            channels: size.0,
            values: size.1,
            replicas: 1,
            weights: Vec::new(),
            one_hot,
        };
        if is_source && layer.params.is_none() {
            self.known.insert(layer.name, known(name, None));
            return Ok(());
        }
        let mut draft = self.draft(layer, &name, kind, &[])?;
        if labels {
            draft.put("part", index.with("labels").map_node(text));
        }
        if index.value == 2 {
            let place = index.with("labels").map_node(text);
            draft.put(
                "inputs",
                Given { value: Node::new(Value::Array(vec![place.value]), place.span), key: place.key, span: place.span },
            );
        }
        let one_hot = (index.value == 2).then_some(self.layers.len());
        self.finish(layer, draft, None, false, known(name, one_hot))
    }

    /// A cost. cuda-convnet has the labels first, we last.
    pub(super) fn cost(&mut self, kind: &'static str, layer: &Layer<'a>) -> Result<(), ConfigError> {
        let ours = match kind {
            "cost.logreg" => "logistic-regression",
            "cost.crossent" => "cross-entropy",
            "cost.bce" => "binary-cross-entropy",
            "cost.dce" => "detection-cross-entropy",
            _ => "sum-of-squares",
        };
        let mut inputs = self.some_inputs(layer, if ours == "sum-of-squares" { 1 } else { 2 })?;
        inputs.reverse();
        let coefficient = layer.needed_float(Params, "coeff")?;
        let positive = layer.float(Params, "posWeight")?;
        layer.int(Params, "topk", 1)?;
        let name = self.own_name(layer);
        let mut draft = self.draft(layer, &name, ours, &inputs)?;
        draft.put_number("coefficient", Some(coefficient).filter(|c| c.value != 1.0));
        draft.put_number("positive_weight", positive.filter(|p| p.value != 1.0));
        // The matrix of labels has as many classes as what it is compared with has values.
        if let [of, Input { one_hot: Some(index), .. }] = inputs.as_slice()
            && let Some(values) = of.values
        {
            self.layers[*index].draft.put_implied("classes", Value::Integer(values));
        }
        self.note(layer, Params, "topk", "has no effect: the metrics have the errors of the first and of the first five guesses");
        self.note(layer, Layers, "children", "has no effect: each cost is shown by itself");
        let replicas = inputs[0].replicas;
        let known = Known { output: name, kind, channels: None, values: None, replicas, weights: Vec::new(), one_hot: None };
        self.finish(layer, draft, None, true, known)
    }

    /// A layer of any other type.
    pub(super) fn plain_layer(&mut self, kind: &'static str, layer: &Layer<'a>) -> Result<(), ConfigError> {
        let inputs = match kind {
            "eltsum" | "eltmax" | "concat" | "pass" => self.inputs(layer)?,
            _ => vec![self.one_input(layer)?],
        };
        let input = &inputs[0];
        let channels = layer.int(Layers, "channels", 1)?;
        if let Some(channels) = &channels {
            self.check_channels(layer, input, channels)?;
        }
        let images = || match &channels {
            Some(channels) => Ok((Some(channels.value), None)),
            None => layer.required(Layers, "channels").map(|_| (None, None)),
        };
        let same: Size = (input.channels, input.values);
        let replicas = input.replicas;
        let name = self.own_name(layer);
        let ours = match kind {
            "cmpool" => "cross-map-pool",
            "rnorm" | "cmrnorm" => "lrn",
            "cnorm" => "contrast-norm",
            "href" => "reflect",
            "rscale" => "random-scale",
            "pass" => "concat",
            "dropout2" if !self.enabled(layer)? => "neuron",
            "dropout2" => "dropout",
            other => other,
        };
        let mut draft = self.draft(layer, &name, ours, &inputs)?;
        let mut ridden = false;
        let size: Size = match kind {
            "softmax" | "eltmax" => same,
            "concat" | "pass" => {
                let sum = |part: fn(&Input) -> Option<i64>| inputs.iter().map(part).try_fold(0i64, |a, b| a.checked_add(b?));
                (sum(|i| i.channels), sum(|i| i.values))
            }
            "eltsum" => {
                // The first version has them with the layers, the second with the parameters.
                for file in [Layers, Params] {
                    if let Some(coefficients) = layer.floats(file, "coeffs", inputs.len())? {
                        put_list(&mut draft, "coefficients", &coefficients);
                    }
                }
                same
            }
            "sum" => {
                let span = layer.required(Layers, "type")?.span();
                let help = "cuda-convnet2 only reads such layers and does not run them; remove it";
                return Err(layer.error(span, "there is no layer that sums its inputs' values".into(), "", help));
            }
            "neuron" => {
                let item = layer.required(Layers, "neuron")?;
                let given = Given { value: item.text.as_str(), key: item.key, span: item.span() };
                draft.put("neuron", given.with(if given.value == "ident" { "linear" } else { given.value }).map_node(text));
                ridden = true;
                same
            }
            "pool" => {
                self.pool(layer, &mut draft)?;
                images()?
            }
            "cmpool" => {
                draft.put("pool", self.pool_kind(layer, &["max"])?);
                draft.put_int("size", layer.needed_int(Layers, "size", 1)?);
                draft.put_int("stride", layer.needed_int(Layers, "stride", 1)?);
                put_nonzero(&mut draft, "start", layer.int(Layers, "start", i64::MIN)?);
                let outputs = layer.int(Layers, "outputs", 0)?;
                put_nonzero(&mut draft, "outputs", outputs);
                images()?;
                (outputs.map(|o| o.value).filter(|&o| o > 0), None)
            }
            "rnorm" | "cmrnorm" | "cnorm" => {
                self.norm(kind, layer, &mut draft)?;
                images()?
            }
            "nailbed" => {
                draft.put_int("stride", layer.needed_int(Layers, "stride", 1)?);
                images()?
            }
            "blur" => {
                draft.put_int("size", layer.needed_int(Layers, "filterSize", 1)?);
                draft.put("std", layer.needed_float(Layers, "stdev")?.map_node(number));
                images()?
            }
            "href" => images()?,
            "resize" => {
                // Theirs is the input's size over the output's.
                let scale = layer.needed_float(Layers, "scale")?;
                let ratio = 1.0 / scale.value;
                if ratio <= 0.0 || !ratio.is_finite() {
                    let message = format!("scale must be above 0, not {}", shown(scale.value));
                    return Err(layer.error(scale.span, message, "the input's size over the output's", ""));
                }
                draft.put("scale", scale.with(simple(ratio)).map_node(number));
                let what = "is by the sizes' ratio here: where image/scale is no whole number, edges are off by part of a cell";
                self.note(layer, Layers, "scale", what);
                images()?
            }
            "rscale" => {
                draft.put("max", layer.needed_float(Layers, "maxScale")?.map_node(number));
                // The first version makes it of the image's size, which is not known here.
                if layer.item(Layers, "tgtSize").is_none() {
                    let help = "add tgtSize=…, the image's size / maxScale, rounded down";
                    return Err(layer.error(layer.span(), "missing key 'tgtSize'".into(), "this layer needs 'tgtSize'", help));
                }
                draft.put_int("size", layer.needed_int(Layers, "tgtSize", 1)?);
                images()?
            }
            "crop" => {
                draft.put_int("size", layer.needed_int(Layers, "sizeX", 1)?);
                let column = layer.needed_int(Layers, "startX", 0)?;
                let row = layer.int(Layers, "startY", 0)?.unwrap_or(column);
                if row.value == column.value {
                    draft.put_int("start", column);
                } else {
                    let start = [row, column].map(|g| g.map_node(Value::Integer).value);
                    draft.put("start", column.with(Node::new(Value::Array(start.into()), column.span)));
                }
                images()?
            }
            "rgb2yuv" => (Some(3), None),
            "rgb2lab" => {
                if let Some(center) = layer.flag(Layers, "center")?.filter(|c| c.value) {
                    draft.put("centre", center.map_node(Value::Bool));
                }
                (Some(3), None)
            }
            _ => {
                ridden = self.dropout_layer(kind, layer, &mut draft)?;
                same
            }
        };
        let known = Known { output: name, kind, channels: size.0, values: size.1, replicas, weights: Vec::new(), one_hot: None };
        self.finish(layer, draft, None, ridden, known)
    }

    /// Pools: windows from `start`, of `sizeX`, as many as cover the image unless `outputsX` says how many.
    fn pool(&mut self, layer: &Layer<'a>, draft: &mut Draft) -> Result<(), ConfigError> {
        draft.put("pool", self.pool_kind(layer, &["max", "avg"])?);
        draft.put_int("size", layer.needed_int(Layers, "sizeX", 1)?);
        draft.put_int("stride", layer.needed_int(Layers, "stride", 1)?);
        put_nonzero(draft, "start", layer.int(Layers, "start", i64::MIN)?);
        put_nonzero(draft, "outputs", layer.int(Layers, "outputsX", 0)?);
        if let Some(sum) = layer.flag(Layers, "sum")?.filter(|s| s.value) {
            let help = "leave it out for the mean of each window, and give the layer above smaller weights";
            return Err(layer.error(sum.span, "pools that sum their windows are not there".into(), "", help));
        }
        Ok(())
    }

    /// A pool's kind, if we have it.
    fn pool_kind(&self, layer: &Layer<'a>, known: &[&str]) -> Result<Given<Node>, ConfigError> {
        let item = layer.required(Layers, "pool")?;
        if known.contains(&item.text.as_str()) {
            return Ok(Given { value: item.text.as_str(), key: item.key, span: item.span() }.map_node(text));
        }
        let message = format!("there is no pool {}", quote(&item.text));
        Err(layer.error(item.span(), message, "", &format!("pool is one of: {}", known.join(", "))))
    }

    /// Normalisations. `layer.py` divides `scale` by the cells that are summed, as ours do alpha.
    fn norm(&mut self, kind: &str, layer: &Layer<'a>, draft: &mut Draft) -> Result<(), ConfigError> {
        if kind == "rnorm" {
            draft.put_implied("region", text("within-map"));
        }
        draft.put_int("size", layer.needed_int(Layers, "size", 1)?);
        draft.put("alpha", layer.needed_float(Params, "scale")?.map_node(number));
        draft.put("beta", layer.needed_float(Params, "pow")?.map_node(number));
        draft.put_number("k", layer.float(Params, "minDiv")?.filter(|k| k.value != 1.0));
        match layer.flag(Layers, "blocked")? {
            Some(blocked) if blocked.value && kind == "cmrnorm" => draft.put("blocked", blocked.map_node(Value::Bool)),
            Some(blocked) if blocked.value => {
                self.note(layer, Layers, "blocked", "has no effect on layers that are not cmrnorm, there as here")
            }
            _ => {}
        }
        Ok(())
    }

    fn enabled(&self, layer: &Layer<'a>) -> Result<bool, ConfigError> {
        Ok(layer.flag(Params, "enable")?.is_none_or(|e| e.value))
    }

    /// Dropout: `dropout` is inverted as ours is; `dropout2` multiplies by what it keeps in testing, and always where it is not
    /// enabled. Says whether a neuron rides on it.
    fn dropout_layer(&mut self, kind: &str, layer: &Layer<'a>, draft: &mut Draft) -> Result<bool, ConfigError> {
        let span = layer.required(Layers, "type")?.span();
        let keep = layer.float(Params, "keep")?.unwrap_or(Given { value: 0.5, key: span, span });
        if !(keep.value > 0.0 && keep.value <= 1.0) {
            let message = format!("keep must be above 0 and at most 1, not {}", shown(keep.value));
            return Err(layer.error(keep.span, message, "the fraction that is kept", ""));
        }
        match (kind, self.enabled(layer)?) {
            ("dropout", true) => draft.put("keep", keep.map_node(number)),
            ("dropout", false) => draft.put("keep", keep.with(1.0).map_node(number)),
            (_, true) => Self::put_dropout(draft, keep),
            (_, false) => {
                let scale = keep.map_node(|k| Value::String(format!("linear[{}, 0]", shown(k))));
                draft.put("neuron", scale);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Sets a key, unless its value is 0, which is the default.
fn put_nonzero(draft: &mut Draft, key: &str, value: Option<Given<i64>>) {
    if let Some(value) = value.filter(|v| v.value != 0) {
        draft.put_int(key, value);
    }
}

/// Sets a key to a list of numbers.
fn put_list(draft: &mut Draft, key: &str, values: &[Given<f64>]) {
    let Some(first) = values.first() else { return };
    let nodes = values.iter().map(|v| v.map_node(number).value).collect();
    draft.put(key, first.with(Node::new(Value::Array(nodes), first.span)));
}
