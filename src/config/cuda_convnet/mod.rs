//! The config pairs of cuda-convnet and cuda-convnet2 (Krizhevsky 2011, 2014): a file that defines the layers and one that
//! says how each learns, read as one config of ours. Places are those in the pair's files, so that any later error shows its line there.
//!
//! What is read is what the programs' own `layer.py` reads, of both versions, each key where it reads it ([`keys`]). What has
//! no effect here is noted; what cannot be done is an error, as is a key or a section that nobody reads. The pair
//! does not say which images the net is for, but the programs prepare them in one way: the mean image is subtracted and
//! bytes stay as large as they are. A minibatch has 128, their default.

mod builder;
mod draft;
mod ini;
mod keys;
mod layers;
mod notes;
mod rates;
mod weights;

use super::read::{check_length, read_text, stem};
use super::{ConfigError, DataSpec, Entry, NetSpec, Node, Sources, Span, Table, Value};
use builder::Builder;
use keys::Pair;
use notes::Notes;
use rates::Base;
use std::path::Path;

impl NetSpec {
    /// Reads a cuda-convnet pair, the layers' definitions and their parameters, with `--set` arguments applied.
    ///
    /// # Errors
    /// What is wrong with the files or an argument, and where.
    pub fn load_pair(layers: impl AsRef<Path>, params: impl AsRef<Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let (layers, params) = (layers.as_ref(), params.as_ref());
        let texts = [read_text(layers)?, read_text(params)?];
        let named = [layers, params].map(|path| path.display().to_string());
        let stem = stem(layers);
        let name =
            ["layers-", "layer-"].into_iter().find_map(|p| stem.strip_prefix(p)).filter(|n| !n.is_empty()).unwrap_or(&stem);
        read((&texts[0], &named[0]), (&texts[1], &named[1]), name, sets)
    }

    /// Reads a cuda-convnet pair from texts, each with the name that errors call it by.
    ///
    /// # Errors
    /// What is wrong with the texts or an argument, and where.
    pub fn from_pair(layers: (&str, &str), params: (&str, &str), sets: &[String]) -> Result<Self, ConfigError> {
        read(layers, params, "net", sets)
    }
}

fn read(layers: (&str, &str), params: (&str, &str), name: &str, sets: &[String]) -> Result<NetSpec, ConfigError> {
    let mut sources = Sources::default();
    let mut notes = Notes::default();
    let mut parse = |(text, name): (&str, &str)| {
        check_length(text, name)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = sources.add(name, text);
        ini::parse(text, source, &sources, &mut notes)
    };
    let (layers, params) = (parse(layers)?, parse(params)?);
    let at = Span::new(layers.source, 0..0);
    let pair = Pair { sources, layers, params };
    let mut builder = Builder::new(&pair, notes);
    builder.build()?;
    let Builder { layers, notes, images, .. } = builder;
    if layers.is_empty() {
        let error = pair.error(at, format!("{} has no layers but data", pair.names().0), "", "is this the file of --layer-def?");
        return Err(error);
    }
    let base = Base::of(layers.iter().filter_map(|l| l.learning.as_ref()));
    let layers = layers.into_iter().map(|mut l| {
        if let Some(learning) = &l.learning {
            base.apply(learning, &mut l.draft);
        }
        l.draft.into_node(l.span)
    });
    let layers = Value::Array(layers.collect());
    let table = |entries: &[(&str, Value)], at: Span| -> Table {
        let entry = |(key, value): &(&str, Value)| ((*key).to_owned(), Entry { key: at, node: Node::new(value.clone(), at) });
        entries.iter().map(entry).collect()
    };
    let text = |t: &str| Value::String(t.to_owned());
    let data =
        table(&[("source", text(DataSpec::NONE)), ("mean", text("pixel")), ("scale", Value::Integer(1))], images.unwrap_or(at));
    let mut train = table(&[("batch", Value::Integer(128))], at);
    base.write(&mut train);
    let root = table(&[("data", Value::Table(data)), ("train", Value::Table(train)), ("layer", layers)], at);
    let mut spec = NetSpec::from_node(Node::new(Value::Table(root), at), pair.sources.clone(), name, sets)?;
    spec.notes = notes.into_lines();
    Ok(spec)
}
