//! Reading a whole config: the file, `--set`, the sections, and the checks that compare one key with another.

use super::de::{self, Context};
use super::error::{did_you_mean, list, quote};
use super::{
    ConfigError, DataSpec, LayerSpec, NetSpec, Node, PretrainSpec, SourceId, Sources, Span, SyntheticSpec, TrainSpec, Value,
    caffe, darknet, graph, set, toml,
};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file that is read: a hundred times any net written so far.
const LARGEST: u64 = 4 << 20;
/// What a config has at its top.
const SECTIONS: [&str; 5] = ["name", "data", "train", "pretrain", "layer"];

impl NetSpec {
    /// Reads a config file, with `--set` arguments (`train.batch=128`) applied: TOML, or by its ending Caffe's `.prototxt` or
    /// darknet's `.cfg`.
    ///
    /// # Errors
    /// What is wrong with the file or an argument, and where.
    pub fn load(path: impl AsRef<Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let (text, name, fallback) = (read_text(path)?, path.display().to_string(), stem(path));
        match path.extension().and_then(|e| e.to_str()) {
            Some("prototxt") => {
                let read_net = |net: &str, sources: &mut Sources| read_beside(path, net, sources);
                Self::foreign(&text, &name, &fallback, sets, |text, source, sources| {
                    caffe::parse(text, source, sources, Some(&read_net))
                })
            }
            Some("cfg") if darknet::recognise(&text) => Self::foreign(&text, &name, &fallback, sets, darknet_tree),
            Some("cfg") => {
                let error = ConfigError::new(format!("'{name}' is no darknet config: its first section is not [net]"));
                Err(error.help("give cuda-convnet's two files as --layer-def LAYERS.cfg --layer-params PARAMS.cfg"))
            }
            _ => Self::parse(&text, &name, &fallback, sets),
        }
    }

    /// Reads a config from text. `name` is what errors call the text, and the net's name if it gives none.
    ///
    /// # Errors
    /// What is wrong with the text or an argument, and where.
    pub fn from_toml(text: &str, name: &str, sets: &[String]) -> Result<Self, ConfigError> {
        Self::parse(text, name, name, sets)
    }

    /// Reads a net or a solver of Caffe from text. A solver's net must be in it, since no file is read.
    ///
    /// # Errors
    /// What is wrong with the text or an argument, and where.
    pub fn from_caffe(text: &str, name: &str, sets: &[String]) -> Result<Self, ConfigError> {
        Self::foreign(text, name, name, sets, |text, source, sources| caffe::parse(text, source, sources, None))
    }

    /// Reads a darknet config from text.
    ///
    /// # Errors
    /// What is wrong with the text or an argument, and where.
    pub fn from_darknet(text: &str, name: &str, sets: &[String]) -> Result<Self, ConfigError> {
        Self::foreign(text, name, name, sets, darknet_tree)
    }

    /// Reads another program's format: its reader makes the tree and the notes.
    fn foreign(
        text: &str,
        name: &str,
        fallback: &str,
        sets: &[String],
        read: impl FnOnce(&str, SourceId, &mut Sources) -> Result<(Node, Vec<String>), ConfigError>,
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        check_length(text, name)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = sources.add(name, text);
        let (mut root, notes) = read(text, source, &mut sources)?;
        apply(&mut root, sets, &mut sources)?;
        let images = set_aside(&mut root, &sources)?;
        Ok(Self { notes, images, ..Self::build(root, sources, fallback)? })
    }

    fn parse(text: &str, name: &str, fallback: &str, sets: &[String]) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        check_length(text, name)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = sources.add(name, text);
        let root = toml::parse(text, source, &sources)?;
        Self::from_node(root, sources, fallback, sets)
    }

    /// Makes the spec of a tree that a reader has made, with `--set` arguments applied. `name` is the net's if it gives none.
    ///
    /// # Errors
    /// What is wrong with a value or an argument, and where.
    pub fn from_node(mut root: Node, mut sources: Sources, name: &str, sets: &[String]) -> Result<Self, ConfigError> {
        apply(&mut root, sets, &mut sources)?;
        // Other images, named by an argument, take the place of the synthetic ones that a config has to be tried out with.
        let written_in = |key: &str| root.entry(&["data", key]).map(|e| e.key.source);
        if written_in("synthetic") == Some(root.span.source) && written_in("source").is_some_and(|s| s != root.span.source) {
            set_aside(&mut root, &sources)?;
        }
        Self::build(root, sources, name)
    }

    fn build(root: Node, sources: Sources, name: &str) -> Result<Self, ConfigError> {
        check_sections(&root, &sources)?;
        let name = section::<Option<String>>(&root, "name", &sources)?.unwrap_or_else(|| name.to_owned());
        let mut data: DataSpec = section(&root, "data", &sources)?;
        let train: TrainSpec = section(&root, "train", &sources)?;
        if data.source == "synthetic" {
            data.synthetic.get_or_insert_with(SyntheticSpec::default);
        }
        check_data(&data, &root, &sources)?;
        check_train(&train, &root, &sources)?;
        let pretrain = section::<Option<PretrainSpec>>(&root, "pretrain", &sources)?;
        let layers = graph::connect(read_layers(&root, &sources)?, &sources)?;
        Ok(Self { name, data, train, pretrain, layers, sources, root, notes: Vec::new(), images: None })
    }
}

fn apply(root: &mut Node, sets: &[String], sources: &mut Sources) -> Result<(), ConfigError> {
    sets.iter().try_for_each(|argument| set::apply(root, argument, sources))
}

fn darknet_tree(text: &str, source: SourceId, sources: &mut Sources) -> Result<(Node, Vec<String>), ConfigError> {
    darknet::parse(text, source, sources)
}

/// Takes what a reader knows of the images out of the tree where they come from a source that is not made up.
fn set_aside(root: &mut Node, sources: &Sources) -> Result<Option<SyntheticSpec>, ConfigError> {
    let Value::Table(table) = &mut root.value else { return Ok(None) };
    let Some(Value::Table(data)) = table.get_mut("data").map(|e| &mut e.node.value) else { return Ok(None) };
    if data.get("source").and_then(|e| e.node.as_str()) == Some("synthetic") {
        return Ok(None);
    }
    let Some(entry) = data.shift_remove("synthetic") else { return Ok(None) };
    let key = "data.synthetic";
    let context = Context { sources, span: entry.node.span, layer: None, key, also_known: &[], needs: None };
    de::from_node(&entry.node).map(Some).map_err(|e| e.explain(&context))
}

/// Reads the net that a solver names.
fn read_beside(solver: &Path, net: &str, sources: &mut Sources) -> Result<(SourceId, String), ConfigError> {
    let places = caffe::places(solver, net);
    let Some(path) = places.iter().find(|place| place.is_file()) else {
        let error = ConfigError::new(format!("cannot read {}: there is no such file", quote(net)));
        let folder = solver.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(error.help(format!("it was looked for in {}, in the folders above and from here", quote_path(folder))));
    };
    let text = read_text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok((sources.add(path.display().to_string(), text), text.to_owned()))
}

/// A file's name without folder and ending: a net's, if its config gives none.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "net".into(), |stem| stem.to_string_lossy().into_owned())
}

/// A config file's text, if it is one.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    String::from_utf8(read_file(path)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let mut sources = Sources::default();
        let source = sources.add(path.display().to_string(), &String::from_utf8_lossy(e.as_bytes()));
        let error = ConfigError::new("this file is not text: a byte in it is not UTF-8");
        error.at(&sources, Span::new(source, at..at + 1), "this byte").help("give a config, saved as UTF-8")
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let name = quote_path(path);
    let unreadable = |e: std::io::Error| {
        let error = ConfigError::new(format!("cannot read {name}: {}", reason(&e)));
        error.help("give the path of a config file, such as configs/lenet.toml")
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        let error = ConfigError::new(format!("cannot read {name}: it is a folder"));
        return Err(error.help("give the path of a config file, such as configs/lenet.toml"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST { Err(too_large(&path.display().to_string())) } else { Ok(bytes) }
}

fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => e.to_string(),
    }
}

fn quote_path(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn too_large(name: &str) -> ConfigError {
    let error = ConfigError::new(format!("'{name}' is too large for a config: more than {} MiB", LARGEST >> 20));
    error.help("is it a config? Weights and images are files of their own")
}

/// Checks that a text is no longer than a config may be.
pub(super) fn check_length(text: &str, name: &str) -> Result<(), ConfigError> {
    if text.len() as u64 > LARGEST { Err(too_large(name)) } else { Ok(()) }
}

fn check_sections(root: &Node, sources: &Sources) -> Result<(), ConfigError> {
    let table = root.as_table().into_iter().flatten();
    for (key, entry) in table {
        if !SECTIONS.contains(&key.as_str()) {
            let label = did_you_mean(key, &SECTIONS, "not a key that is known here");
            let error = ConfigError::new(format!("unknown key {}", quote(key))).at(sources, entry.key, label);
            return Err(error.help(format!("known keys: {}", list(&SECTIONS))));
        }
    }
    Ok(())
}

/// Reads a section, or its default where it is not there.
fn section<T: DeserializeOwned + Default>(root: &Node, key: &str, sources: &Sources) -> Result<T, ConfigError> {
    let Some(entry) = root.entry(&[key]) else { return Ok(T::default()) };
    let context = Context { sources, span: entry.node.span, layer: None, key, also_known: &[], needs: None };
    de::from_node(&entry.node).map_err(|e| e.explain(&context))
}

fn read_layers(root: &Node, sources: &Sources) -> Result<Vec<LayerSpec>, ConfigError> {
    match root.entry(&["layer"]) {
        Some(entry) => match &entry.node.value {
            Value::Array(nodes) if !nodes.is_empty() => nodes.iter().map(|n| LayerSpec::read(n, sources)).collect(),
            Value::Array(_) => Err(no_layers().at(sources, entry.node.span, "empty")),
            other => {
                let error = ConfigError::new(format!("layer must be an array of tables, not {}", other.describe()));
                Err(error.at(sources, entry.span(), "").help("start each layer with [[layer]], in double brackets"))
            }
        },
        None => Err(no_layers()),
    }
}

fn no_layers() -> ConfigError {
    ConfigError::new("the config has no layers").help("add some: [[layer]], then name = …, type = … and the type's keys")
}

/// The place of a key that was given.
fn span_of(root: &Node, path: &[&str]) -> Span {
    root.entry(path).map_or(root.span, |e| e.span())
}

fn check_data(data: &DataSpec, root: &Node, sources: &Sources) -> Result<(), ConfigError> {
    if data.synthetic.is_some() && data.source != "synthetic" {
        let message = format!("data.synthetic is given, but the source is {}", quote(&data.source));
        let error = ConfigError::new(message).at(sources, span_of(root, &["data", "synthetic"]), "not used");
        return Err(error.help("remove it, or use source = \"synthetic\""));
    }
    if data.source.is_empty() {
        let error = ConfigError::new("data.source is empty").at(sources, span_of(root, &["data", "source"]), "");
        return Err(error.help("name a built-in data set, such as \"mnist-10k\", or a path"));
    }
    Ok(())
}

fn check_train(train: &TrainSpec, root: &Node, sources: &Sources) -> Result<(), ConfigError> {
    let Some(part) = train.micro_batch else { return Ok(()) };
    if train.batch.is_multiple_of(part) {
        return Ok(());
    }
    let message = format!("train.batch = {} is not a multiple of train.micro_batch = {part}", train.batch);
    let error = ConfigError::new(message).at(sources, span_of(root, &["train", "micro_batch"]), "does not divide the batch");
    let below = (1..=part.min(train.batch)).rev().find(|p| train.batch.is_multiple_of(*p)).unwrap_or(1);
    Err(error.help(format!("use a divisor of {}, such as {below}", train.batch)))
}
