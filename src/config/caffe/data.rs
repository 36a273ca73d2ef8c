//! Caffe's data layers → `[data]`: the source, what is done to its pixels, and the batch. Caffe says them in the net, once for
//! training and once for tests; here the config has one section, and a source has both sets.

use super::message::{self, Field, Message};
use super::net::{Blob, Known, Layer, Origin, Translator};
use crate::config::error::quote;
use crate::config::tree::{Builder, array};
use crate::config::{ConfigError, DataSpec, Span};

type Blobs = Result<Vec<Blob>, ConfigError>;

/// The messages of types that read images from somewhere.
const MESSAGES: [&str; 3] = ["data_param", "image_data_param", "hdf5_data_param"];

/// Says what is lost with a data layer of the test phase.
pub fn note_test_data(t: &mut Translator, m: &Message, twin: Option<&Message>) {
    let source = |m: &Message| {
        let field = MESSAGES.iter().find_map(|name| m.message(name)?.get("source"));
        field.map(|f| (f.as_text().to_owned(), f.whole()))
    };
    let Some((tests, span)) = source(m) else { return };
    if twin.and_then(source).is_none_or(|(trains, _)| trains != tests) {
        let note = format!("the test images of {} are not used: data.source names a set with both", quote(&tests));
        t.notes.say(t.sources, span, note);
    }
}

/// The blobs that a net is given from outside: `input: "data"` with `input_dim` or `input_shape`.
pub fn outside(t: &mut Translator, m: &Message) -> Result<Vec<(String, Blob)>, ConfigError> {
    let inputs: Vec<&Field> = m.all("input").collect();
    let shapes: Vec<Vec<&Field>> = m.all("input_shape").filter_map(Field::as_message).map(|s| s.all("dim").collect()).collect();
    let dims: Vec<&Field> = m.all("input_dim").collect();
    if let (Some(dim), Some(shape)) = (dims.first(), m.get("input_shape")) {
        let error = ConfigError::new("input_dim and input_shape say the same thing twice");
        let error = error.at(t.sources, dim.whole(), "").at(t.sources, shape.key, "");
        return Err(error.help("keep one of them"));
    }
    let shapes = if dims.is_empty() { shapes } else { dims.chunks(4).map(<[&Field]>::to_vec).collect() };
    if let Some(first) = dims.first().filter(|_| dims.len() != 4 * inputs.len()) {
        let message = format!("{} input_dims for {} inputs", dims.len(), inputs.len());
        let error = ConfigError::new(message).at(t.sources, first.whole(), "");
        return Err(error.help("give 4 for each input: images, channels, height, width"));
    }
    if let Some(extra) = inputs.get(shapes.len()) {
        let error = ConfigError::new(format!("input {} has no shape", quote(extra.as_text()))).at(t.sources, extra.whole(), "");
        return Err(error.help("add input_shape { dim: 1 dim: 3 dim: 227 dim: 227 }"));
    }
    let mut blobs = Vec::with_capacity(inputs.len());
    for (input, dims) in inputs.iter().zip(&shapes) {
        if blobs.iter().any(|(name, _)| name == input.as_text()) {
            let error =
                ConfigError::new(format!("{} is an input twice", quote(input.as_text()))).at(t.sources, input.whole(), "");
            return Err(error.help("give each input a name of its own"));
        }
        blobs.push((input.as_text().to_owned(), given(t, input, dims)?));
    }
    if let Some(input) = inputs.first() {
        t.data.put("source", "synthetic", input.whole());
        unprocessed(t, input.whole());
    }
    Ok(blobs)
}

/// Pixels that come as the net sees them.
fn unprocessed(t: &mut Translator, span: Span) {
    t.data.put("mean", "none", span).put("scale", 1.0, span);
}

/// A blob of a given shape: the images where it is the first of 2 or 4 dimensions, else their labels.
fn given(t: &mut Translator, at: &Field, dims: &[&Field]) -> Result<Blob, ConfigError> {
    let sizes: Vec<i64> = dims.iter().map(|d| d.as_int()).collect();
    let label = t.has_images && sizes.iter().skip(1).all(|&d| d == 1) || at.as_text() == "label";
    if label && !t.has_labels {
        t.has_labels = true;
        return Ok(Blob::new(Origin::Labels, Known::flat(Some(1))));
    }
    let span = dims.iter().map(|d| d.whole()).reduce(Span::to).unwrap_or(at.whole());
    let shape = match *sizes.as_slice() {
        [_, c, h, w] => [h, w, c],
        [_, c] => [1, 1, c],
        _ => {
            let error = ConfigError::new(format!("images have 4 dimensions, not {}", sizes.len())).at(t.sources, span, "");
            return Err(error.help("give images, channels, height, width"));
        }
    };
    if t.has_images {
        let error = ConfigError::new("a second source of images").at(t.sources, at.whole(), "");
        return Err(error.help("a net has one source here: remove one, or convert the net by hand"));
    }
    t.has_images = true;
    t.synthetic.put("shape", array(shape, span), span);
    if let Some(first) = dims.first().filter(|d| d.as_int() > 0) {
        t.batch = Some((first.as_int(), first.whole()));
    }
    Ok(Blob::new(Origin::Images, Known { h: Some(shape[0]), w: Some(shape[1]), c: Some(shape[2]) }))
}

/// The number of classes that a made-up set has: as many as the first cost or softmax reads.
pub fn classes(t: &mut Translator, layer: &Layer) {
    if let Known { h: Some(1), w: Some(1), c: Some(c) } = t.input(layer, 0).shape
        && c > 0
        && !t.synthetic.table.contains_key("classes")
    {
        t.synthetic.put("classes", c, layer.kind.whole());
    }
}

/// Takes the place of the net's source of images.
fn first(t: &mut Translator, layer: &Layer) -> Result<(), ConfigError> {
    if t.has_images {
        let help = "a net has one source here: remove one, or convert the net by hand";
        return Err(t.fault(layer, layer.kind.whole(), "a second source of images", "", help));
    }
    t.has_images = true;
    Ok(())
}

/// A data layer's blobs: the images, and their labels.
fn tops(t: &mut Translator, layer: &Layer, shape: Known) -> Blobs {
    let tops: Vec<&Field> = layer.m.all("top").collect();
    if let Some(extra) = tops.get(2) {
        let help = "data layers make images and labels: remove the others, or convert the net by hand";
        return Err(t.fault(layer, extra.whole(), "a data layer of more than two tops has no counterpart here", "", help));
    }
    t.has_labels |= tops.len() > 1;
    Ok(vec![Blob::new(Origin::Images, shape), Blob::new(Origin::Labels, Known::flat(Some(1)))])
}

/// The options that all types with a source share, and what is known of the images' shape.
fn source(t: &mut Translator, layer: &Layer, keys: &Message) -> Result<Known, ConfigError> {
    first(t, layer)?;
    let Some(path) = keys.get("source") else { return Err(t.missing(layer, "source")) };
    t.data.put_at("source", path.key, path.as_text(), path.span);
    keys.ignore(&["backend", "prefetch", "shuffle"]);
    if let Some(skip) = keys.get("rand_skip").filter(|f| f.as_int() != 0) {
        t.notes.say(t.sources, skip.whole(), "rand_skip has no effect: the images of an epoch are shuffled");
    }
    if let Some(root) = keys.get("root_folder").filter(|f| !f.as_text().is_empty()) {
        t.notes.say(t.sources, root.whole(), "root_folder has no effect: data.source names the images");
    }
    if let Some(batch) = keys.get("batch_size") {
        t.batch = Some((batch.as_int(), batch.whole()));
    }
    let note = format!("the {} layer's format is not read here: --data names the same images in another", layer.kind());
    t.notes.say(t.sources, path.whole(), note);
    processing(t, layer, keys)
}

/// What is done to the pixels: in `transform_param`, in old files in the type's own message.
fn processing(t: &mut Translator, layer: &Layer, keys: &Message) -> Result<Known, ConfigError> {
    let transform = layer.m.message("transform_param");
    let get = |name: &str| transform.and_then(|m| m.get(name)).or_else(|| keys.get(name));
    let means: Vec<&Field> = transform.map(|m| m.all("mean_value").collect()).unwrap_or_default();
    let implied = layer.kind.whole();
    match (get("mean_file"), means.first()) {
        (Some(file), Some(value)) => {
            let error = ConfigError::new("mean_file and mean_value say the same thing twice").in_layer(&layer.called);
            let error = error.at(t.sources, value.whole(), "").at(t.sources, file.whole(), "");
            return Err(error.help("keep one of them"));
        }
        (Some(file), None) => {
            t.notes.say(t.sources, file.whole(), "mean_file is not read: each pixel's mean is measured on the training images");
            t.data.put("mean", "pixel", file.whole());
        }
        (None, Some(value)) => {
            t.notes.say(
                t.sources,
                value.whole(),
                "mean_value has no effect: each channel's mean is measured on the training images",
            );
            t.data.put("mean", "channel", value.whole());
        }
        (None, None) => {
            t.data.put("mean", "none", implied);
        }
    }
    match get("scale") {
        Some(scale) => t.data.put_at("scale", scale.key, scale.as_float(), scale.span),
        None => t.data.put("scale", 1.0, implied),
    };
    let flag = |name: &str| get(name).filter(|f| matches!(f.value, message::Value::Bool(true)));
    if let Some(mirror) = flag("mirror") {
        let mut augment = Builder::new(mirror.whole());
        augment.put_at("flip", mirror.key, true, mirror.span);
        t.data.put("augment", augment.table, mirror.whole());
    }
    let colour = [("force_color", 3), ("force_encoded_color", 3), ("force_gray", 1)];
    let mut channels = colour.into_iter().find_map(|(name, c)| flag(name).map(|_| c));
    for name in ["force_color", "force_encoded_color", "force_gray"] {
        if let Some(field) = get(name) {
            t.notes.say(t.sources, field.whole(), format!("{name} has no effect: images are used with the channels they have"));
        }
    }
    channels = channels.or((means.len() > 1).then_some(means.len() as i64));
    if layer.kind() == "ImageData" {
        channels = channels.or(Some(if get("is_color").is_some() && flag("is_color").is_none() { 1 } else { 3 }));
    }
    let (mut h, mut w) = (None, None);
    if let (Some(height), Some(width)) = (keys.get("new_height"), keys.get("new_width")) {
        let note = "new_height and new_width have no effect: images are used in the size they have";
        t.notes.say(t.sources, height.whole().to(width.span), note);
        (h, w) = (Some(height.as_int()), Some(width.as_int()));
    } else {
        keys.ignore(&["new_height", "new_width"]);
    }
    if let Some(crop) = get("crop_size").filter(|f| f.as_int() != 0) {
        let note = "crop_size has no effect: images are used in the size they have, which must be this";
        t.notes.say(t.sources, crop.whole(), note);
        (h, w) = (Some(crop.as_int()), Some(crop.as_int()));
    }
    if let (Some(h), Some(w)) = (h, w) {
        let at = get("crop_size").or_else(|| keys.get("new_height")).map_or(implied, Field::whole);
        t.synthetic.put("shape", array([h, w, channels.unwrap_or(3)], at), at);
    }
    Ok(Known { h, w, c: channels })
}

/// LMDB and LevelDB.
pub fn data(t: &mut Translator, layer: &Layer) -> Blobs {
    file(t, layer, "data_param")
}

/// A list of image files.
pub fn image_data(t: &mut Translator, layer: &Layer) -> Blobs {
    file(t, layer, "image_data_param")
}

/// HDF5 files.
pub fn hdf5_data(t: &mut Translator, layer: &Layer) -> Blobs {
    file(t, layer, "hdf5_data_param")
}

fn file(t: &mut Translator, layer: &Layer, name: &str) -> Blobs {
    let empty = Message { fields: Vec::new(), span: layer.m.span };
    let keys = layer.m.message(name).unwrap_or(&empty);
    let shape = source(t, layer, keys)?;
    tops(t, layer, shape)
}

/// Images that a program hands over; only their shape is in the file.
pub fn memory_data(t: &mut Translator, layer: &Layer) -> Blobs {
    first(t, layer)?;
    let empty = Message { fields: Vec::new(), span: layer.m.span };
    let keys = layer.m.message("memory_data_param").unwrap_or(&empty);
    let mut shape = [0; 3];
    for (size, name) in shape.iter_mut().zip(["height", "width", "channels"]) {
        let Some(field) = keys.get(name) else { return Err(t.missing(layer, name)) };
        *size = field.as_int();
    }
    if let Some(batch) = keys.get("batch_size") {
        t.batch = Some((batch.as_int(), batch.whole()));
    }
    t.data.put("source", DataSpec::NONE, layer.kind.whole());
    let known = processing(t, layer, keys)?;
    let [h, w, c] = shape;
    let shape = Known { h: known.h.or(Some(h)), w: known.w.or(Some(w)), c: Some(c) };
    let sizes = [shape.h.unwrap_or(h), shape.w.unwrap_or(w), c];
    t.synthetic.put("shape", array(sizes, layer.kind.whole()), layer.kind.whole());
    tops(t, layer, shape)
}

/// Made-up images.
pub fn dummy_data(t: &mut Translator, layer: &Layer) -> Blobs {
    let empty = Message { fields: Vec::new(), span: layer.m.span };
    let keys = layer.m.message("dummy_data_param").unwrap_or(&empty);
    keys.all("data_filler").for_each(Field::ignore);
    let mut shapes: Vec<Vec<&Field>> = keys.all("shape").filter_map(Field::as_message).map(|s| s.all("dim").collect()).collect();
    let sizes: Vec<Vec<&Field>> = ["num", "channels", "height", "width"].map(|name| keys.all(name).collect()).to_vec();
    if shapes.is_empty() {
        let count = sizes.iter().map(Vec::len).min().unwrap_or(0);
        shapes = (0..count).map(|i| sizes.iter().map(|s| s[i]).collect()).collect();
    }
    shaped(t, layer, &shapes)
}

/// Blobs that are given from outside.
pub fn input(t: &mut Translator, layer: &Layer) -> Blobs {
    let empty = Message { fields: Vec::new(), span: layer.m.span };
    let keys = layer.m.message("input_param").unwrap_or(&empty);
    let shapes: Vec<Vec<&Field>> = keys.all("shape").filter_map(Field::as_message).map(|s| s.all("dim").collect()).collect();
    shaped(t, layer, &shapes)
}

/// A blob of a shape for each top; one shape serves them all.
fn shaped(t: &mut Translator, layer: &Layer, shapes: &[Vec<&Field>]) -> Blobs {
    let tops: Vec<&Field> = layer.m.all("top").collect();
    if shapes.len() != tops.len() && shapes.len() != 1 {
        let message = format!("{} shapes for {} tops", shapes.len(), tops.len());
        let help = "give one shape { dim: … } for all, or one for each";
        return Err(t.fault(layer, layer.kind.whole(), &message, "", help));
    }
    let mut blobs = Vec::with_capacity(tops.len());
    for (i, top) in tops.iter().enumerate() {
        let dims = shapes.get(i).unwrap_or(&shapes[0]);
        blobs.push(given(t, top, dims).map_err(|e| e.in_layer(&layer.called))?);
    }
    t.data.put("source", "synthetic", layer.kind.whole());
    layer.m.get("transform_param").into_iter().for_each(Field::ignore);
    unprocessed(t, layer.kind.whole());
    Ok(blobs)
}
