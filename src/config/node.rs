//! A config as a tree of values that know their places. Every reader of a config format makes this tree, and everything
//! after reads only this tree.

use super::Span;
use indexmap::IndexMap;
use serde::{Serialize, Serializer};

/// A value and its place. Two nodes are equal when their values are, wherever they stand.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub span: Span,
}

/// What a config can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number, finite.
    Float(f64),
    /// Text.
    String(String),
    /// Values in order.
    Array(Vec<Node>),
    /// Values by name.
    Table(Table),
}

/// Values by name, in the order they were written.
pub type Table = IndexMap<String, Entry>;

/// A named value. Two entries are equal when their values are.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where its key was written.
    pub key: Span,
    /// The value.
    pub node: Node,
}

impl Entry {
    /// From the key to the end of the value.
    pub fn span(&self) -> Span {
        self.key.to(self.node.span)
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Node {
    /// A value at a place.
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span }
    }

    /// The table that this is, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(t) => Some(t),
            _ => None,
        }
    }

    /// The text that this is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The entry at a path of keys.
    pub fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (first, rest) = path.split_first()?;
        let entry = self.as_table()?.get(*first)?;
        if rest.is_empty() { Some(entry) } else { entry.node.entry(rest) }
    }
}

impl Value {
    /// What it is, for a sentence: `the number 5`, `an array`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Integer(i) => i.to_string(),
            Self::Float(f) => super::error::number(*f),
            Self::String(s) => format!("the text {}", super::error::double_quote(s)),
            Self::Array(a) => format!("an array of {}", a.len()),
            Self::Table(_) => "a table".into(),
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Integer(v) => s.serialize_i64(*v),
            Value::Float(v) => s.serialize_f64(*v),
            Value::String(v) => s.serialize_str(v),
            Value::Array(v) => s.collect_seq(v),
            Value::Table(v) => s.collect_map(v.iter().map(|(key, entry)| (key, &entry.node))),
        }
    }
}
