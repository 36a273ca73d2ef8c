//! The layer of our own config that is being written, value by value, each at the place in the pair's files that it is from.

use super::super::{Entry, Node, Span, Table, Value};
use super::keys::Given;

/// A layer's table.
pub struct Draft {
    table: Table,
    /// The place of what no file says.
    at: Span,
}

impl Draft {
    /// A layer of a name and a type.
    pub fn new(name: Given<&str>, kind: Given<&str>) -> Self {
        let mut draft = Self { table: Table::new(), at: kind.span };
        draft.put("name", name.map_node(text));
        draft.put("type", kind.map_node(text));
        draft
    }

    /// Sets a key.
    pub fn put(&mut self, key: &str, node: Given<Node>) {
        self.table.insert(key.to_owned(), Entry { key: node.key, node: node.value });
    }

    /// Sets a key to something that the files do not say but mean.
    pub fn put_implied(&mut self, key: &str, value: Value) {
        let at = self.at;
        self.put(key, Given { value: Node::new(value, at), key: at, span: at });
    }

    /// Sets a key to a number, if there is one.
    pub fn put_number(&mut self, key: &str, value: Option<Given<f64>>) {
        if let Some(value) = value {
            self.put(key, value.map_node(number));
        }
    }

    /// Sets a key to a whole number.
    pub fn put_int(&mut self, key: &str, value: Given<i64>) {
        self.put(key, value.map_node(Value::Integer));
    }

    /// What was written.
    pub fn into_node(self, at: Span) -> Node {
        Node::new(Value::Table(self.table), at)
    }
}

impl<T> Given<T> {
    /// The value as a node at its place.
    pub fn map_node(self, make: impl FnOnce(T) -> Value) -> Given<Node> {
        let Self { value, key, span } = self;
        Given { value: Node::new(make(value), span), key, span }
    }
}

/// Text.
pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A number: a whole one where it is one, as people write it.
pub fn number(v: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if v.fract() == 0.0 && v.abs() < EXACT { Value::Integer(v as i64) } else { Value::Float(v) }
}

/// A table of values that are all from one key.
pub fn table<T>(from: &Given<T>, entries: impl IntoIterator<Item = (&'static str, Value)>) -> Given<Node> {
    let entry = |(key, value): (&str, Value)| (key.to_owned(), Entry { key: from.key, node: Node::new(value, from.span) });
    let table = entries.into_iter().map(entry).collect();
    Given { value: Node::new(Value::Table(table), from.span), key: from.key, span: from.span }
}

/// The number nearest to `v` with the fewest digits, where rounding alone is between them: 0.3 for 1 − 0.7.
pub fn simple(v: f64) -> f64 {
    let close = |s: &f64| (s - v).abs() <= v.abs() * (4.0 * f64::EPSILON);
    (0..15).filter_map(|digits| format!("{v:.digits$e}").parse().ok()).find(close).unwrap_or(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ratios and differences of decimals come out as the decimals that they are.
    #[test]
    fn simple_numbers_are_decimals() {
        for (v, wanted) in [(1.0 - 0.7, 0.3), (0.004 / 0.0005, 8.0), (0.03 / 0.004, 7.5), (0.002 / 0.001, 2.0), (0.0, 0.0)] {
            assert_eq!(simple(v), wanted);
        }
        assert_eq!(simple(1.0 / 3.0), 1.0 / 3.0);
        assert_eq!(simple(f64::MAX), f64::MAX);
    }
}
