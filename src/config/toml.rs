//! TOML text → [`Node`]. The toml crate parses, with places; its tables come sorted by key and are put back in the
//! order they were written.

use super::error::quote;
use super::{ConfigError, Entry, Node, SourceId, Sources, Span, Table, Value};
use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

/// Reads a whole text as a table.
pub(super) fn parse(text: &str, source: SourceId, sources: &Sources) -> Result<Node, ConfigError> {
    let reader = Reader { source, offset: 0 };
    let whole = Span::new(source, 0..0);
    DeTable::parse(text)
        .map_err(|e| invalid(&e, source, sources))
        .and_then(|t| reader.table(t.get_ref()).map_err(|w| w.explain(sources)))
        .map(|t| Node::new(Value::Table(t), whole))
}

/// Reads one value that stands at `offset` in its source; `None` if it is not TOML.
pub(super) fn parse_value(text: &str, offset: usize, source: SourceId, sources: &Sources) -> Option<Result<Node, ConfigError>> {
    let value = DeValue::parse(text).ok()?;
    Some(Reader { source, offset }.value(&value).map_err(|w| w.explain(sources)))
}

fn invalid(error: &::toml::de::Error, source: SourceId, sources: &Sources) -> ConfigError {
    let message = error.message();
    let help = match message {
        m if m.starts_with("string values must be quoted") => "put text in quotes: neuron = \"relu\"",
        "duplicate key" => "give each key once; a second layer starts with its own [[layer]]",
        _ => "",
    };
    let said = if message.starts_with("string values must be quoted") { "text must be in quotes" } else { message };
    let shown = ConfigError::new(format!("this is not TOML: {said}")).help(help);
    match error.span() {
        Some(span) => shown.at(sources, Span::new(source, span), "here"),
        None => shown,
    }
}

/// A value that TOML has and configs have no use for.
struct Unusable {
    span: Span,
    message: String,
    named: bool,
}

impl Unusable {
    /// Names the key that has the value, once.
    fn of(mut self, key: &str) -> Self {
        if !std::mem::replace(&mut self.named, true) {
            self.message = format!("{} {}", quote(key), self.message);
        }
        self
    }

    fn explain(self, sources: &Sources) -> ConfigError {
        ConfigError::new(self.message).at(sources, self.span, "here")
    }
}

struct Reader {
    source: SourceId,
    offset: usize,
}

impl Reader {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(self.source, range.start + self.offset..range.end + self.offset)
    }

    fn table(&self, table: &DeTable) -> Result<Table, Unusable> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let one = |(key, value): (&Spanned<_>, &Spanned<DeValue>)| {
            let name: &std::borrow::Cow<str> = key.get_ref();
            Ok((name.to_string(), Entry { key: self.span(key.span()), node: self.value(value).map_err(|w| w.of(name))? }))
        };
        entries.into_iter().map(one).collect()
    }

    fn value(&self, value: &Spanned<DeValue>) -> Result<Node, Unusable> {
        let span = self.span(value.span());
        let unusable = |message: &str| Unusable { span, message: message.into(), named: false };
        let value = match value.get_ref() {
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
                .map(Value::Integer)
                .map_err(|_| unusable("is too large: whole numbers have 64 bits"))?,
            DeValue::Float(f) => match f.as_str().parse::<f64>() {
                Ok(f) if f.is_finite() => Value::Float(f),
                _ => return Err(unusable("is not a finite number")),
            },
            DeValue::String(s) => Value::String(s.to_string()),
            DeValue::Datetime(_) => return Err(unusable("is a date, which no key takes")),
            DeValue::Array(a) => Value::Array(a.iter().map(|v| self.value(v)).collect::<Result<_, _>>()?),
            DeValue::Table(t) => Value::Table(self.table(t)?),
        };
        Ok(Node::new(value, span))
    }
}
