//! What readers of other programs' formats share: building the tree that the TOML would have made, with places in the file it
//! comes from, and the notes on what of it has no effect here.

use super::{ConfigError, Entry, Node, Sources, Span, Table, Value};
use std::collections::HashSet;
use std::fmt::Display;

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Integer(v)
    }
}

impl From<usize> for Value {
    fn from(v: usize) -> Self {
        Self::Integer(i64::try_from(v).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::String(v.to_owned())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::String(v)
    }
}

impl From<Table> for Value {
    fn from(v: Table) -> Self {
        Self::Table(v)
    }
}

/// An array whose elements all stand at one place.
pub(super) fn array<T: Into<Value>>(values: impl IntoIterator<Item = T>, span: Span) -> Value {
    Value::Array(values.into_iter().map(|v| Node::new(v.into(), span)).collect())
}

/// A table under construction. Every value has the place of what it was made from; a value that nothing in the file says has
/// the table's own.
#[derive(Clone, Debug)]
pub(super) struct Builder {
    pub table: Table,
    pub span: Span,
}

impl Builder {
    pub fn new(span: Span) -> Self {
        Self { table: Table::new(), span }
    }

    /// Sets a key to a value that stands at `span`, key and all.
    pub fn put(&mut self, key: &str, value: impl Into<Value>, span: Span) -> &mut Self {
        self.put_at(key, span, value, span)
    }

    /// Sets a key that stands at one place to a value that stands at another.
    pub fn put_at(&mut self, key: &str, key_span: Span, value: impl Into<Value>, span: Span) -> &mut Self {
        self.table.insert(key.to_owned(), Entry { key: key_span, node: Node::new(value.into(), span) });
        self
    }

    /// Sets a key to a value that nothing in the file says.
    pub fn imply(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let span = self.span;
        self.put(key, value, span)
    }

    /// Its key `name`.
    pub fn name(&self) -> &str {
        self.table.get("name").and_then(|e| e.node.as_str()).unwrap_or_default()
    }

    pub fn node(self) -> Node {
        Node::new(Value::Table(self.table), self.span)
    }
}

/// The layers of a config, in order. One that reads the layer above and nothing else need not say so.
pub(super) fn layers(layers: Vec<Builder>) -> Value {
    let mut above = "data".to_owned();
    let one = |mut b: Builder| {
        let alone = match b.table.get("inputs").map(|e| &e.node.value) {
            Some(Value::Array(inputs)) => matches!(inputs.as_slice(), [one] if one.as_str() == Some(&above)),
            _ => false,
        };
        if alone {
            b.table.shift_remove("inputs");
        }
        b.name().clone_into(&mut above);
        b.node()
    };
    Value::Array(layers.into_iter().map(one).collect())
}

/// What a reader says about a file that reads: its options that have no effect here, each kind once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: Vec<String>,
    said: HashSet<String>,
}

impl Notes {
    /// Says something about a place.
    pub fn say(&mut self, sources: &Sources, span: Span, note: impl Display) {
        let note = note.to_string();
        if self.said.insert(note.clone()) {
            let place = ConfigError::new("").at(sources, span, "");
            let place = place.location().map(|(name, line, _)| format!("{name}:{line}: "));
            self.notes.push(place.unwrap_or_default() + &note);
        }
    }

    pub fn into_vec(self) -> Vec<String> {
        self.notes
    }
}

/// A number without the noise that arithmetic on decimal fractions leaves behind its twelfth digit: 1 − 0.9 is 0.1.
pub(super) fn tidy(v: f64) -> f64 {
    format!("{v:.11e}").parse().unwrap_or(v)
}
