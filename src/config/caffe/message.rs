//! Fields that are known and of their types: a text's fields held against the schema. What has been read of a message is marked,
//! so that whatever nobody read can be reported instead of being lost.

use super::schema::{FieldSpec, Kind, Schema};
use super::text::{Fields, Raw};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::{ConfigError, Sources, Span};
use std::cell::Cell;

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    pub fields: Vec<Field>,
    /// With its braces.
    pub span: Span,
}

/// A field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: &'static str,
    pub key: Span,
    pub value: Value,
    /// Of the value.
    pub span: Span,
    read: Cell<bool>,
}

/// A value of its field's type.
#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Enum(&'static str),
    Message(Message),
}

impl Field {
    pub fn new(name: &'static str, key: Span, value: Value, span: Span) -> Self {
        Self { name, key, value, span, read: Cell::new(false) }
    }

    /// From its name to the end of its value.
    pub fn whole(&self) -> Span {
        self.key.to(self.span)
    }

    pub fn as_message(&self) -> Option<&Message> {
        match &self.value {
            Value::Message(m) => Some(m),
            _ => None,
        }
    }

    /// The text, or "" where it is none.
    pub fn as_text(&self) -> &str {
        match &self.value {
            Value::Text(t) => t,
            Value::Enum(name) => name,
            _ => "",
        }
    }

    /// The number, or 0 where it is none.
    pub fn as_int(&self) -> i64 {
        match self.value {
            Value::Int(i) => i,
            _ => 0,
        }
    }

    /// The number, or 0 where it is none.
    pub fn as_float(&self) -> f64 {
        match self.value {
            Value::Int(i) => i as f64,
            Value::Float(f) => f,
            _ => 0.0,
        }
    }

    fn is(&self, other: &Self, but: &[&str]) -> bool {
        self.name == other.name
            && match (&self.value, &other.value) {
                (Value::Int(a), Value::Int(b)) => a == b,
                (Value::Float(a), Value::Float(b)) => a == b,
                (Value::Bool(a), Value::Bool(b)) => a == b,
                (Value::Text(a), Value::Text(b)) => a == b,
                (Value::Enum(a), Value::Enum(b)) => a == b,
                (Value::Message(a), Value::Message(b)) => a.is(b, but),
                _ => false,
            }
    }
}

impl Message {
    /// The values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Field> {
        self.fields.iter().filter(move |f| f.name == name).inspect(|f| f.read.set(true))
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Field> {
        let field = self.fields.iter().find(|f| f.name == name)?;
        field.read.set(true);
        Some(field)
    }

    /// A message in this one.
    pub fn message(&self, name: &str) -> Option<&Message> {
        self.get(name)?.as_message()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(Field::as_text)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(Field::as_int)
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        self.get(name).map(Field::as_float)
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|f| matches!(f.value, Value::Bool(true)))
    }

    /// Takes fields as read that have no meaning here.
    pub fn ignore(&self, names: &[&str]) {
        self.fields.iter().filter(|f| names.contains(&f.name)).for_each(Field::ignore);
    }

    /// The first field that nobody read, with the names that lead to it.
    pub fn unread(&self) -> Option<(String, &Field)> {
        self.fields.iter().find_map(|f| match &f.value {
            _ if !f.read.get() => Some((f.name.to_owned(), f)),
            Value::Message(m) => m.unread().map(|(path, inner)| (format!("{}.{path}", f.name), inner)),
            _ => None,
        })
    }

    /// Whether another message says the same, but for some fields, at any depth.
    pub fn is(&self, other: &Self, but: &[&str]) -> bool {
        let those = |m: &Self| m.fields.iter().filter(|f| !but.contains(&f.name)).cloned().collect::<Vec<_>>();
        let (a, b) = (those(self), those(other));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.is(b, but))
    }
}

impl Field {
    /// Takes the field and all in it as read.
    pub fn ignore(&self) {
        self.read.set(true);
        if let Value::Message(m) = &self.value {
            m.fields.iter().for_each(Field::ignore);
        }
    }
}

/// Holds fields against a schema. `what` is what they belong to, for messages: `a layer`.
pub fn check(raw: Fields, schema: &'static Schema, what: &str, sources: &Sources) -> Result<Message, ConfigError> {
    let mut fields: Vec<Field> = Vec::with_capacity(raw.fields.len());
    for field in raw.fields {
        let Some(spec) = schema.iter().find(|s| s.name == field.name) else {
            let known: Vec<&str> = schema.iter().map(|s| s.name).collect();
            let label = did_you_mean(&field.name, &known, "not a field that is known here");
            let error = ConfigError::new(format!("unknown field {} in {what}", quote(&field.name)));
            return Err(error.at(sources, field.key, label).help(format!("known fields: {}", list(&known))));
        };
        if !spec.repeated
            && let Some(first) = fields.iter().find(|f| f.name == spec.name)
        {
            let error = ConfigError::new(format!("{} is given twice in {what}", quote(spec.name)));
            return Err(error.at(sources, field.key, "again").at(sources, first.key, "first").help("keep one of them"));
        }
        let value = value(field.value, spec, field.key, field.span, sources)?;
        fields.push(Field::new(spec.name, field.key, value, field.span));
    }
    Ok(Message { fields, span: raw.span })
}

fn value(raw: Raw, spec: &FieldSpec, key: Span, span: Span, sources: &Sources) -> Result<Value, ConfigError> {
    let raw = match (spec.kind, raw) {
        (Kind::Message(schema), Raw::Message(fields)) => return check(fields, schema, spec.name, sources).map(Value::Message),
        (_, raw) => raw,
    };
    let name = spec.name;
    let found = match &raw {
        Raw::Text(text) => format!("the text {}", crate::config::error::double_quote(text)),
        Raw::Word(word) => quote(word),
        Raw::Message(_) => "a message in braces".into(),
    };
    let wrong = |expected: &str| {
        let message = format!("{name} must be {expected}, not {found}");
        // A message is pointed at by its name: it may go over many lines.
        let span = if matches!(raw, Raw::Message(_)) { key } else { span };
        ConfigError::new(message).at(sources, span, format!("expected {expected}"))
    };
    Ok(match (spec.kind, &raw) {
        (Kind::Int, Raw::Word(word)) => Value::Int(whole(word).ok_or_else(|| wrong("a whole number"))?),
        (Kind::Natural, Raw::Word(word)) => {
            let natural = whole(word).filter(|v| (0..=i64::from(u32::MAX)).contains(v));
            Value::Int(natural.ok_or_else(|| wrong("a whole number of at least 0"))?)
        }
        (Kind::Float, Raw::Word(word)) => Value::Float(number(word).ok_or_else(|| wrong("a finite number"))?),
        (Kind::Bool, Raw::Word(word)) => match word.as_str() {
            "true" | "True" | "t" | "1" => Value::Bool(true),
            "false" | "False" | "f" | "0" => Value::Bool(false),
            _ => return Err(wrong("true or false")),
        },
        (Kind::Text, Raw::Text(text)) => Value::Text(text.clone()),
        (Kind::Text, Raw::Word(word)) => return Err(wrong("text in quotes").help(format!("write {name}: \"{word}\""))),
        (Kind::Enum(names), Raw::Word(word)) => {
            let numbered = whole(word).and_then(|n| names.iter().find(|(_, number)| *number == n));
            let Some((known, _)) = names.iter().find(|(known, _)| known == word).or(numbered) else {
                let known: Vec<&str> = names.iter().map(|(known, _)| *known).collect();
                let label = did_you_mean(word, &known, "not a value that is known here");
                let error = ConfigError::new(format!("unknown {name} {}", quote(word))).at(sources, span, label);
                return Err(error.help(format!("known values: {}", list(&known))));
            };
            Value::Enum(known)
        }
        (Kind::Enum(names), Raw::Text(text)) => {
            let help = names
                .iter()
                .find(|(known, _)| known == text)
                .map_or(String::new(), |(known, _)| format!("write {name}: {known}"));
            return Err(wrong("a name without quotes").help(help));
        }
        (Kind::Message(_), _) => return Err(wrong("a message in braces").help(format!("write {name} {{ … }}"))),
        (Kind::Int | Kind::Natural, _) => return Err(wrong("a whole number")),
        (Kind::Float, _) => return Err(wrong("a number")),
        (Kind::Bool, _) => return Err(wrong("true or false")),
        (Kind::Text, _) => return Err(wrong("text in quotes")),
        (Kind::Enum(_), _) => return Err(wrong("a name")),
    })
}

/// Decimal, 0x hexadecimal or 0 octal.
fn whole(word: &str) -> Option<i64> {
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    let plain = digits.starts_with(|c: char| c.is_ascii_alphanumeric());
    i64::from_str_radix(digits, radix).ok().filter(|_| plain)?.checked_mul(sign)
}

/// A finite number, with C's `f` behind it or not.
fn number(word: &str) -> Option<f64> {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let hexadecimal = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    if hexadecimal {
        return whole(word).map(|v| v as f64);
    }
    let text = word.strip_suffix(['f', 'F']).unwrap_or(word);
    text.parse::<f64>().ok().filter(|v| v.is_finite() && decimal)
}
