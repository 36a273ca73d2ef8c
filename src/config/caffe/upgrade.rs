//! Caffe's older layers → its newest: `layers { type: CONVOLUTION blobs_lr: 1 }` (V1) and `layers { layer { type: "conv" } }`
//! (V0) say the same as `layer { type: "Convolution" param { lr_mult: 1 } }`, in other words.

use super::message::{Field, Message, Value};
use super::schema::{FieldSpec, Kind, LAYER, Schema};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::{ConfigError, Sources};

/// V1's types and today's.
const TYPES: [(&str, &str); 38] = [
    ("ABSVAL", "AbsVal"),
    ("ACCURACY", "Accuracy"),
    ("ARGMAX", "ArgMax"),
    ("BNLL", "BNLL"),
    ("CONCAT", "Concat"),
    ("CONTRASTIVE_LOSS", "ContrastiveLoss"),
    ("CONVOLUTION", "Convolution"),
    ("DATA", "Data"),
    ("DECONVOLUTION", "Deconvolution"),
    ("DROPOUT", "Dropout"),
    ("DUMMY_DATA", "DummyData"),
    ("ELTWISE", "Eltwise"),
    ("EUCLIDEAN_LOSS", "EuclideanLoss"),
    ("EXP", "Exp"),
    ("FLATTEN", "Flatten"),
    ("HDF5_DATA", "HDF5Data"),
    ("HDF5_OUTPUT", "HDF5Output"),
    ("HINGE_LOSS", "HingeLoss"),
    ("IM2COL", "Im2col"),
    ("IMAGE_DATA", "ImageData"),
    ("INFOGAIN_LOSS", "InfogainLoss"),
    ("INNER_PRODUCT", "InnerProduct"),
    ("LRN", "LRN"),
    ("MEMORY_DATA", "MemoryData"),
    ("MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"),
    ("MVN", "MVN"),
    ("POOLING", "Pooling"),
    ("POWER", "Power"),
    ("RELU", "ReLU"),
    ("SIGMOID", "Sigmoid"),
    ("SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
    ("SILENCE", "Silence"),
    ("SLICE", "Slice"),
    ("SOFTMAX", "Softmax"),
    ("SOFTMAX_LOSS", "SoftmaxWithLoss"),
    ("SPLIT", "Split"),
    ("TANH", "TanH"),
    ("THRESHOLD", "Threshold"),
];

/// Keys, each as V0 calls it and as a message of today does.
type Keys = &'static [(&'static str, &'static str)];

/// V0's types, today's, and the message that today has a type's keys.
const V0_TYPES: &[(&str, &str, &str, Keys)] = &[
    ("accuracy", "Accuracy", "accuracy_param", &[]),
    ("bnll", "BNLL", "", &[]),
    ("concat", "Concat", "concat_param", &[("concat_dim", "concat_dim")]),
    (
        "conv",
        "Convolution",
        "convolution_param",
        &[
            ("num_output", "num_output"),
            ("biasterm", "bias_term"),
            ("weight_filler", "weight_filler"),
            ("bias_filler", "bias_filler"),
            ("pad", "pad"),
            ("kernelsize", "kernel_size"),
            ("group", "group"),
            ("stride", "stride"),
        ],
    ),
    ("data", "Data", "data_param", &[("source", "source"), ("batchsize", "batch_size"), ("rand_skip", "rand_skip")]),
    ("dropout", "Dropout", "dropout_param", &[("dropout_ratio", "dropout_ratio")]),
    ("euclidean_loss", "EuclideanLoss", "", &[]),
    ("flatten", "Flatten", "", &[]),
    ("hdf5_data", "HDF5Data", "hdf5_data_param", &[("source", "source"), ("batchsize", "batch_size")]),
    (
        "images",
        "ImageData",
        "image_data_param",
        &[
            ("source", "source"),
            ("batchsize", "batch_size"),
            ("rand_skip", "rand_skip"),
            ("shuffle_images", "shuffle"),
            ("new_height", "new_height"),
            ("new_width", "new_width"),
        ],
    ),
    (
        "innerproduct",
        "InnerProduct",
        "inner_product_param",
        &[
            ("num_output", "num_output"),
            ("biasterm", "bias_term"),
            ("weight_filler", "weight_filler"),
            ("bias_filler", "bias_filler"),
        ],
    ),
    ("lrn", "LRN", "lrn_param", &[("local_size", "local_size"), ("alpha", "alpha"), ("beta", "beta"), ("k", "k")]),
    ("multinomial_logistic_loss", "MultinomialLogisticLoss", "", &[]),
    (
        "pool",
        "Pooling",
        "pooling_param",
        &[("pool", "pool"), ("pad", "pad"), ("kernelsize", "kernel_size"), ("stride", "stride")],
    ),
    ("relu", "ReLU", "", &[]),
    ("sigmoid", "Sigmoid", "", &[]),
    ("softmax", "Softmax", "", &[]),
    ("softmax_loss", "SoftmaxWithLoss", "", &[]),
    ("split", "Split", "", &[]),
    ("tanh", "TanH", "", &[]),
];
/// V0's keys for what is done to images.
const V0_TRANSFORM: Keys = &[("scale", "scale"), ("meanfile", "mean_file"), ("cropsize", "crop_size"), ("mirror", "mirror")];

/// A V1 or V0 layer as a layer of today.
pub fn upgrade(old: &Message, sources: &Sources) -> Result<Message, ConfigError> {
    let Some(inner) = old.fields.iter().find(|f| f.name == "layer") else { return upgrade_v1(old, old, sources) };
    let v0 = inner.as_message().expect("the schema makes it one");
    let mut new = upgrade_v1(old, v0, sources)?;
    let kind = v0.get("type");
    let Some(kind) = kind else { return Ok(new) };
    let name = kind.as_text();
    let Some(&(_, today, param, keys)) = V0_TYPES.iter().find(|(old, ..)| *old == name) else {
        let known: Vec<&str> = V0_TYPES.iter().map(|(old, ..)| *old).collect();
        let error = ConfigError::new(format!("layer type {} is not known here", quote(name)));
        let error = error.at(sources, kind.span, did_you_mean(name, &known, "not a type that is known here"));
        let help = match name {
            "padding" => "write the padding as the next convolution's pad".into(),
            _ => format!("types of layers in this oldest of formats: {}", list(&known)),
        };
        return Err(error.help(help));
    };
    new.fields.push(Field::new("type", kind.key, Value::Text(today.to_owned()), kind.span));
    for (param, keys) in [(param, keys), ("transform_param", V0_TRANSFORM)] {
        let Some(schema) = message_schema(param) else { continue };
        let moved = |(old, today): &(&str, &str)| {
            let field = v0.get(old)?;
            let name = schema.iter().find(|s| s.name == *today)?.name;
            let moved = Field::new(name, field.key, field.value.clone(), field.span);
            field.ignore();
            Some(moved)
        };
        let fields: Vec<Field> = keys.iter().filter_map(moved).collect();
        if !fields.is_empty() {
            let name = spec(param).map_or("", |s| s.name);
            new.fields.push(Field::new(name, v0.span, Value::Message(Message { fields, span: v0.span }), v0.span));
        }
    }
    let apart = ["name", "type", "blobs", "blobs_lr", "weight_decay"];
    v0.ignore(&apart);
    match v0.unread() {
        None => Ok(new),
        Some((path, field)) => {
            let error = ConfigError::new(format!("{path} has no meaning for a layer of type {}", quote(name)));
            Err(error.at(sources, field.whole(), "").help("remove it"))
        }
    }
}

/// The schema of a message in a layer.
fn message_schema(name: &str) -> Option<&'static Schema> {
    match spec(name)?.kind {
        Kind::Message(schema) => Some(schema),
        _ => None,
    }
}

fn spec(name: &str) -> Option<&'static FieldSpec> {
    LAYER.iter().find(|s| s.name == name)
}

/// What V1 says otherwise: the type, and lists of one value a blob of weights, which V0 has in its inner layer.
fn upgrade_v1(old: &Message, lists: &Message, sources: &Sources) -> Result<Message, ConfigError> {
    let mut new = Message { fields: Vec::new(), span: old.span };
    let (mut names, mut modes) = (Vec::new(), Vec::new());
    for field in &old.fields {
        match field.name {
            "blobs_lr" | "weight_decay" | "layer" => {}
            "param" => names.push(field),
            "blob_share_mode" => modes.push(field),
            "type" => {
                let today = TYPES.iter().find(|(old, _)| *old == field.as_text()).map(|(_, today)| *today);
                let Some(today) = today else {
                    let error = ConfigError::new(format!("layer type {} has no counterpart here", quote(field.as_text())));
                    return Err(error.at(sources, field.span, "").help("remove the layer, or use another"));
                };
                new.fields.push(Field::new("type", field.key, Value::Text(today.to_owned()), field.span));
            }
            _ => new.fields.push(field.clone()),
        }
    }
    if !std::ptr::eq(old, lists)
        && let Some(name) = lists.fields.iter().find(|f| f.name == "name")
    {
        new.fields.push(name.clone());
    }
    let rates: Vec<&Field> = lists.fields.iter().filter(|f| f.name == "blobs_lr").collect();
    let decays: Vec<&Field> = lists.fields.iter().filter(|f| f.name == "weight_decay").collect();
    for i in 0..rates.len().max(decays.len()).max(names.len()) {
        let parts =
            [(names.get(i), "name"), (modes.get(i), "share_mode"), (rates.get(i), "lr_mult"), (decays.get(i), "decay_mult")];
        let given = parts.into_iter().filter_map(|(field, name)| {
            let field = field?;
            Some(Field::new(name, field.key, field.value.clone(), field.span))
        });
        let fields: Vec<Field> = given.collect();
        let span = fields.iter().map(Field::whole).reduce(super::super::Span::to).unwrap_or(old.span);
        new.fields.push(Field::new("param", span, Value::Message(Message { fields, span }), span));
    }
    Ok(new)
}
