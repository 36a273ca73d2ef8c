//! `[net]` → `[train]` and `[data]`.

use super::Extents;
use super::section::{Section, number};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::tree::{Builder, Notes, array};
use crate::config::{ConfigError, DataSpec, Sources, Span, Table, Value};

/// What `[net]` says beside `[train]`.
pub(super) struct Settings {
    pub shape: Extents,
    pub augment: Augment,
}

/// What is done to training images.
#[derive(Clone, Copy)]
pub(super) struct Augment {
    pub flip: bool,
    /// Pixels become 2x − 1.
    pub at: Span,
}

/// `[net]`, and the tree with `[train]` in it.
pub(super) fn settings(net: &Section, sources: &Sources, notes: &mut Notes) -> Result<(Settings, Builder), ConfigError> {
    let size = |key| net.at_least(0, key, 0, sources);
    let (h, w, c) = (size("height")?, size("width")?, size("channels")?);
    let inputs = size("inputs")?;
    let shape = match (h > 0 && w > 0 && c > 0, inputs) {
        (true, n) if n == 0 || n == h * w * c => [h, w, c],
        (false, n) if n > 0 && h == 0 && w == 0 => [1, 1, n],
        (true, n) => {
            let message = format!("inputs = {n} is not height·width·channels = {}", h * w * c);
            return Err(net.error("inputs", sources, &message, "remove inputs"));
        }
        (false, _) => {
            let message = "[net] does not say the images' size";
            return Err(ConfigError::new(message).at(sources, net.span, "").help("add height=…, width=… and channels=…"));
        }
    };
    let mut train = Builder::new(net.span);
    let (batch, parts) = (net.at_least(1, "batch", 1, sources)?, net.at_least(1, "subdivisions", 1, sources)?);
    let part = batch / parts;
    if part == 0 {
        let message = format!("{parts} subdivisions of a batch of {batch}");
        return Err(net.error("subdivisions", sources, &message, "use at most as many as there are images in a batch"));
    }
    train.put("batch", part * parts, net.place("batch"));
    if part * parts != batch {
        let note = format!("a batch of {batch} in {parts} parts is {} images in darknet too", part * parts);
        notes.say(sources, net.place("batch"), note);
    }
    if parts > 1 {
        train.put("micro_batch", part, net.place("subdivisions"));
    }
    let steps = net.int("max_batches", 0, sources)?;
    if steps > 0 {
        train.put("steps", steps, net.place("max_batches"));
    } else {
        notes.say(sources, net.place("max_batches"), "without max_batches, darknet trains for ever: train.epochs is our default");
    }
    for (key, ours, default) in [("momentum", "momentum", 0.9), ("decay", "weight_decay", 0.0001)] {
        train.put(ours, net.float(key, default, sources)?, net.place(key));
    }
    train.put("learning_rate", rate(net, sources)?, net.place("policy"));
    for (key, default) in [("adam", 0.0), ("clip", 0.0), ("time_steps", 1.0), ("notruth", 0.0)] {
        net.only(key, default, sources)?;
    }
    let varied = ["max_crop", "min_crop", "max_ratio", "min_ratio", "center", "angle", "aspect", "saturation", "exposure", "hue"];
    let mut given = Vec::new();
    for key in varied {
        if net.get(key).is_some() {
            net.float(key, 0.0, sources)?;
            given.push(key);
        }
    }
    if let Some(first) = given.first() {
        let note = format!("{}: images are only mirrored, not varied otherwise", list(&given));
        notes.say(sources, net.place(first), note);
    }
    if net.flag("random", sources)? {
        notes.say(sources, net.place("random"), "random has no effect: images keep one size");
    }
    // Adam's, which may stay where adam is 0.
    net.ignore(&["B1", "B2", "eps"]);
    net.ignore(&["power", "step", "steps", "scale", "scales", "gamma"]);
    net.all_read(sources)?;
    let mut root = Builder::new(net.span);
    root.put("train", train.table, net.span);
    Ok((Settings { shape, augment: Augment { flip: true, at: net.span } }, root))
}

/// The learning rate as one of our schedules, with `burn_in` as its warmup.
fn rate(net: &Section, sources: &Sources) -> Result<Value, ConfigError> {
    let base = net.float("learning_rate", 0.001, sources)?;
    let mut b = Builder::new(net.place("policy"));
    let policy = net.get("policy").map_or("constant", |o| o.value.as_str());
    let at = net.place("policy");
    let power = net.float("power", 4.0, sources)?;
    let named = |b: &mut Builder, name: &str| {
        b.put("schedule", name, at).put("base", base, net.place("learning_rate"));
    };
    match policy {
        "constant" => named(&mut b, "const"),
        "step" => {
            named(&mut b, "step");
            b.put("every", net.at_least(1, "step", 1, sources)?, net.place("step"));
            b.put("gamma", net.float("scale", 1.0, sources)?, net.place("scale"));
        }
        "steps" => {
            let numbers = |key: &str| {
                let Some(choice) = net.get(key) else {
                    return Err(net.error("policy", sources, &format!("policy=steps without {key}"), &format!("add {key}=…")));
                };
                let numbers: Option<Vec<f64>> = choice.value.split(',').map(number).collect();
                numbers.ok_or_else(|| {
                    let message = format!("{key} must be numbers with commas between, not {}", quote(&choice.value));
                    ConfigError::new(message).at(sources, choice.span, "")
                })
            };
            let (steps, scales) = (numbers("steps")?, numbers("scales")?);
            if steps.len() != scales.len() {
                let message = format!("{} scales for {} steps", scales.len(), steps.len());
                return Err(net.error("scales", sources, &message, "give one for each step"));
            }
            let whole = |&v: &f64| (v.fract() == 0.0 && (0.0..=1e15).contains(&v)).then_some(v as i64);
            let Some(steps) = steps.iter().map(whole).collect::<Option<Vec<i64>>>() else {
                return Err(net.error("steps", sources, "steps must be whole numbers", ""));
            };
            named(&mut b, "multistep");
            b.put("at", array(steps, net.place("steps")), net.place("steps"));
            match scales.as_slice() {
                [one, rest @ ..] if rest.iter().all(|s| s == one) => b.put("gamma", *one, net.place("scales")),
                each => b.put("gamma", array(each.iter().copied(), net.place("scales")), net.place("scales")),
            };
        }
        "exp" => {
            named(&mut b, "step");
            b.put("every", 1i64, at).put("gamma", net.float("gamma", 1.0, sources)?, net.place("gamma"));
        }
        "poly" => {
            named(&mut b, "poly");
            b.put("power", power, net.place("power"));
        }
        "sigmoid" => {
            named(&mut b, "sigmoid");
            b.put("gamma", -net.float("gamma", 1.0, sources)?, net.place("gamma"));
            b.put("at", net.at_least(0, "step", 1, sources)?, net.place("step"));
        }
        other => {
            let known = ["constant", "step", "steps", "exp", "poly", "sigmoid"];
            let (message, label) = if other == "random" {
                ("policy=random has no counterpart here".to_owned(), String::new())
            } else {
                (format!("unknown policy {}", quote(other)), did_you_mean(other, &known, "not a policy that is known here"))
            };
            let span = net.get("policy").map_or(net.span, |o| o.span);
            return Err(ConfigError::new(message).at(sources, span, label).help(format!("known policies: {}", list(&known))));
        }
    }
    let burn_in = net.at_least(0, "burn_in", 0, sources)?;
    if burn_in > 0 {
        let mut warmup = Builder::new(net.place("burn_in"));
        warmup.imply("steps", burn_in).put("power", power, net.place("power"));
        b.put("warmup", warmup.table, net.place("burn_in"));
    }
    Ok(if policy == "constant" && burn_in == 0 { Value::Float(base) } else { Value::Table(b.table) })
}

/// `[data]`: darknet's images are in a file of their own; it divides bytes by 255, and mirrors every other.
pub(super) fn data(net: &Section, settings: &Settings, classes: Option<(i64, Span)>, augment: Augment) -> Table {
    let mut data = Builder::new(net.span);
    data.imply("source", DataSpec::NONE).imply("mean", "none").imply("scale", 1.0 / 255.0);
    let mut flips = Builder::new(augment.at);
    flips.imply("flip", augment.flip);
    data.put("augment", flips.table, augment.at);
    let at = net.place("height");
    let mut synthetic = Builder::new(at);
    synthetic.put("shape", array(settings.shape, at), at);
    if let Some((classes, span)) = classes {
        synthetic.put("classes", classes, span);
    }
    data.put("synthetic", synthetic.table, at);
    data.table
}
