//! `--set key=value`: changes the tree before it is read, so that the new value is checked like any other, and errors
//! about it show the argument.

use super::error::{did_you_mean, list, quote};
use super::{ConfigError, Entry, Node, SourceId, Sources, Span, Table, Value, toml};

/// What stands before the argument in the text that errors show.
const OPTION: &str = "--set ";

/// Applies one argument to the tree.
pub(super) fn apply(root: &mut Node, argument: &str, sources: &mut Sources) -> Result<(), ConfigError> {
    let source = sources.add("command line", &format!("{OPTION}{argument}"));
    let offset = OPTION.len();
    let whole = Span::new(source, offset..offset + argument.len());
    let malformed = |message: &str| {
        let error = ConfigError::new(message).at(sources, whole, "expected key=value");
        error.help("for example --set train.batch=128 or --set layer.conv1.filters=32")
    };
    let (path, rest) = split_path(argument, offset, source).ok_or_else(|| malformed("this is not a path of keys and a value"))?;
    let text = &argument[rest..];
    let start = offset + rest + (text.len() - text.trim_start().len());
    let text = text.trim();
    let bare = || Node::new(Value::String(text.to_owned()), Span::new(source, start..start + text.len()));
    let value = toml::parse_value(text, start, source, sources).transpose()?.unwrap_or_else(bare);
    let (last, tables) = path.split_last().ok_or_else(|| malformed("there is no key"))?;
    let table = descend(root, tables, sources)?;
    table.insert(last.name.clone(), Entry { key: last.span, node: value });
    // The length of a run is said in one of two ways; the argument's is meant.
    if let [Key { name: section, .. }] = tables
        && section == "train"
        && last.name == "epochs"
    {
        table.shift_remove("steps");
    }
    Ok(())
}

/// One key of a path.
struct Key {
    name: String,
    span: Span,
}

/// The keys before the `=`, and where the value starts. A key with a dot in it stands in quotes.
fn split_path(argument: &str, offset: usize, source: SourceId) -> Option<(Vec<Key>, usize)> {
    let mut keys = Vec::new();
    let mut at = 0;
    loop {
        at += argument[at..].len() - argument[at..].trim_start().len();
        let rest = &argument[at..];
        let quoted = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (name, end) = match quoted {
            Some(mark) => {
                let length = rest[1..].find(mark)?;
                (&rest[1..=length], at + length + 2)
            }
            None => {
                let length = rest.find(['.', '='])?;
                (rest[..length].trim_end(), at + length)
            }
        };
        let bare = quoted.is_none() && (name.is_empty() || name.contains(['"', '\'', '\n']));
        if bare {
            return None;
        }
        let span = if quoted.is_some() { at..end } else { at..at + name.len() };
        keys.push(Key { name: name.to_owned(), span: Span::new(source, span.start + offset..span.end + offset) });
        let left = argument[end..].trim_start();
        at = argument.len() - left.len() + 1;
        match left.chars().next()? {
            '=' => return Some((keys, at)),
            '.' => {}
            _ => return None,
        }
    }
}

/// The table at a path; tables that are not there yet are made, layers are not.
fn descend<'a>(root: &'a mut Node, path: &[Key], sources: &Sources) -> Result<&'a mut Table, ConfigError> {
    let mut node = root;
    let mut so_far = String::new();
    let mut rest = path;
    while let [key, after @ ..] = rest {
        let top = so_far.is_empty();
        let table = table_of(node, &so_far, key.span, sources)?;
        if top
            && key.name == "layer"
            && matches!(table.get("layer"), Some(Entry { node: Node { value: Value::Array(_), .. }, .. }))
        {
            let Some((name, after)) = after.split_first() else {
                let error = ConfigError::new("layer needs a layer's name and a key").at(sources, key.span, "");
                return Err(error.help("for example --set layer.conv1.filters=32"));
            };
            node = layer(table, name, sources)?;
            so_far = format!("layer.{}", name.name);
            rest = after;
            continue;
        }
        let empty = || Entry { key: key.span, node: Node::new(Value::Table(Table::new()), key.span) };
        node = &mut table.entry(key.name.clone()).or_insert_with(empty).node;
        so_far = if top { key.name.clone() } else { format!("{so_far}.{}", key.name) };
        rest = after;
    }
    let span = path.last().map_or(node.span, |k| k.span);
    table_of(node, &so_far, span, sources)
}

fn table_of<'a>(node: &'a mut Node, path: &str, span: Span, sources: &Sources) -> Result<&'a mut Table, ConfigError> {
    match &mut node.value {
        Value::Table(table) => Ok(table),
        other => {
            let message = format!("{} is {}, not a table that has keys", quote(path), other.describe());
            let error = ConfigError::new(message).at(sources, span, "");
            Err(error.help(format!("set it as a whole: --set {path}=… or {{ … }}")))
        }
    }
}

fn layer<'a>(root: &'a mut Table, name: &Key, sources: &Sources) -> Result<&'a mut Node, ConfigError> {
    let Some(Value::Array(layers)) = root.get_mut("layer").map(|e| &mut e.node.value) else {
        return Err(ConfigError::new("there are no layers").at(sources, name.span, ""));
    };
    let name_of = |n: &Node| n.entry(&["name"]).and_then(|e| e.node.as_str()).map(str::to_owned);
    let names: Vec<String> = layers.iter().filter_map(name_of).collect();
    match layers.iter().position(|n| name_of(n).as_deref() == Some(name.name.as_str())) {
        Some(i) => Ok(&mut layers[i]),
        None => {
            let error = ConfigError::new(format!("no layer has the name {}", quote(&name.name)));
            let label = did_you_mean(&name.name, &names, "no such layer");
            Err(error.at(sources, name.span, label).help(format!("known layers: {}", list(&names))))
        }
    }
}

/// The argument that sets a key to a text as it is, even one that reads as a number or a table.
pub fn set_text(key: &str, value: &str) -> String {
    format!("{key}={}", ::toml::Value::from(value))
}
