//! Reads any `Deserialize` type from a [`Node`], with an error that knows what was expected and where.
//!
//! Beyond what serde gives, an enum is a table with a tag, as people write them in configs, and keeps its places (serde's
//! own tagged enums do not). The enum's serde name is the key of the tag: with `#[serde(rename = "kind")]`,
//! `{ kind = "gaussian", std = 0.01 }` is the variant `Gaussian { std }`, and `"xavier"` a variant that needs no keys.
//! A name `kind=gaussian` says which variant a table without the tag is; a name `type[]` also takes a variant's fields as
//! numbers in brackets, as cuda-convnet writes them: `"tanh[1.7159, 0.6667]"`.
//!
//! A custom message may go on with a line `help: …`.

mod message;

use super::{Entry, Node, Span, Table, Value};
use indexmap::map::Iter;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt::{self, Display};

pub(super) use message::Context;

/// What did not read, and where.
#[derive(Debug)]
pub(super) struct Error {
    what: What,
    span: Option<Span>,
    /// The keys that lead there, innermost first.
    path: Vec<String>,
}

#[derive(Debug)]
enum What {
    UnknownKey { key: String, known: Vec<&'static str> },
    UnknownValue { value: String, known: &'static [&'static str] },
    Missing(&'static str),
    Mismatch { expected: String, found: String },
    Custom(String),
}

impl Error {
    fn new(what: What) -> Self {
        Self { what, span: None, path: Vec::new() }
    }

    /// Gives the error a place, unless it has a closer one.
    fn at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    fn under(mut self, key: &str) -> Self {
        self.path.push(key.to_owned());
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(What::Custom(message.to_string()))
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::new(What::Mismatch { expected: message::expected(&expected.to_string()), found: message::found(found) })
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::new(What::Mismatch { expected: message::expected_of(&found, &expected.to_string()), found: message::found(found) })
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let (expected, found) = (message::expected(&expected.to_string()), format!("an array of {length}"));
        Self::new(What::Mismatch { expected, found })
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownValue { value: value.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { key: key.to_owned(), known: known.to_vec() })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(What::Missing(key))
    }
}

/// Reads a value.
pub(super) fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    T::deserialize(NodeReader(node))
}

/// Reads a table.
pub(super) fn from_table<T: DeserializeOwned>(table: &Table) -> Result<T, Error> {
    T::deserialize(TableReader(Entries::new(table, None)))
}

/// A value to be read.
#[derive(Clone, Copy)]
struct NodeReader<'a>(&'a Node);

impl<'de> de::Deserializer<'de> for NodeReader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let read = match &self.0.value {
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Integer(v) => visitor.visit_i64(*v),
            Value::Float(v) => visitor.visit_f64(*v),
            Value::String(v) => visitor.visit_str(v),
            Value::Array(v) => read_all(v, visitor),
            Value::Table(v) => visitor.visit_map(Entries::new(v, None)),
        };
        read.map_err(|e| e.at(self.0.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|e| e.at(self.0.span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let end = name.find(['[', '=']).unwrap_or(name.len());
        let (tag, brackets, default) = (&name[..end], name.contains('['), name[end..].strip_prefix('='));
        let mismatch = |found| Error::new(What::Mismatch { expected: message::one_of(variants), found });
        let read = match &self.0.value {
            Value::String(text) => {
                let (variant, numbers) = if brackets { split_brackets(text, self.0.span)? } else { (text.as_str(), Vec::new()) };
                visitor.visit_enum(Variant { name: variant, span: self.0.span, content: Content::Numbers(numbers), tag })
            }
            Value::Table(table) => match (table.get(tag), default) {
                (Some(Entry { node: Node { value: Value::String(variant), span }, .. }), _) => {
                    let content = Content::Keys(Entries::new(table, Some(tag)));
                    visitor.visit_enum(Variant { name: variant, span: *span, content, tag })
                }
                (Some(other), _) => Err(mismatch(other.node.value.describe()).under(tag).at(other.node.span)),
                (None, Some(variant)) => {
                    let content = Content::Keys(Entries::new(table, None));
                    visitor.visit_enum(Variant { name: variant, span: self.0.span, content, tag })
                }
                (None, None) => Err(Error::new(What::Missing(tag))),
            },
            Value::Integer(v) => visitor.visit_i64(*v),
            Value::Float(v) => visitor.visit_f64(*v),
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
        };
        read.map_err(|mut e| {
            if let What::Mismatch { expected, .. } = &mut e.what
                && expected.starts_with("enum ")
            {
                *expected = message::one_of(variants);
            }
            e.at(self.0.span)
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Visits an array, all of it.
fn read_all<'de, V: Visitor<'de>>(nodes: &[Node], visitor: V) -> Result<V::Value, Error> {
    let mut elements = Elements(nodes.iter());
    let value = visitor.visit_seq(&mut elements)?;
    match elements.0.len() {
        0 => Ok(value),
        left => Err(too_many(nodes.len() - left, nodes.len())),
    }
}

fn too_many(most: usize, given: usize) -> Error {
    let most = if most == 0 { "no numbers".into() } else { format!("at most {most} numbers") };
    de::Error::custom(format!("takes {most}, not {given}"))
}

/// `tanh[1.7159, 0.6667]` → `tanh` and its numbers.
fn split_brackets(text: &str, span: Span) -> Result<(&str, Vec<Node>), Error> {
    let Some((name, rest)) = text.split_once('[') else { return Ok((text, Vec::new())) };
    let malformed = || <Error as de::Error>::custom("must be a name, or a name with numbers as in tanh[1.7159, 0.6667]").at(span);
    let inner = rest.trim_end().strip_suffix(']').ok_or_else(malformed)?;
    let number = |part: &str| {
        let number = part.trim().parse::<f64>().ok().filter(|f| f.is_finite()).ok_or_else(malformed)?;
        Ok(Node::new(Value::Float(number), span))
    };
    let numbers = inner.split([',', ';']).map(number).collect::<Result<_, Error>>()?;
    Ok((name.trim(), numbers))
}

/// A table to be read, all of it or without its tag.
struct TableReader<'a>(Entries<'a>);

impl<'de> de::Deserializer<'de> for TableReader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The entries of a table that are still to be read.
struct Entries<'a> {
    entries: Iter<'a, String, Entry>,
    skip: Option<&'static str>,
    value: Option<(&'a str, &'a Entry)>,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Table, skip: Option<&'static str>) -> Self {
        Self { entries: table.iter(), skip, value: None }
    }

    fn step(&mut self) -> Option<(&'a str, &'a Entry)> {
        let skip = self.skip;
        self.entries.find(|(key, _)| skip != Some(key.as_str())).map(|(key, entry)| (key.as_str(), entry))
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.step();
        let Some((key, entry)) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|e| e.at(entry.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, entry) = self.value.take().ok_or_else(|| <Error as de::Error>::custom("a value was read before its key"))?;
        seed.deserialize(NodeReader(&entry.node)).map_err(|e| e.under(key).at(entry.node.span))
    }
}

/// The elements of an array that are still to be read.
struct Elements<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.0.next() else { return Ok(None) };
        seed.deserialize(NodeReader(node)).map(Some).map_err(|e| e.at(node.span))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A variant of an enum: its name, and what it holds.
struct Variant<'a> {
    name: &'a str,
    span: Span,
    content: Content<'a>,
    tag: &'static str,
}

enum Content<'a> {
    Keys(Entries<'a>),
    Numbers(Vec<Node>),
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|e| e.at(self.span))?;
        Ok((value, self))
    }
}

impl Variant<'_> {
    /// The tag is a key of the table too.
    fn known(&self) -> impl Fn(Error) -> Error + use<> {
        let tag = self.tag;
        move |mut e| {
            if let (What::UnknownKey { known, .. }, true) = (&mut e.what, e.path.is_empty()) {
                known.insert(0, tag);
            }
            e
        }
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        let known = self.known();
        match self.content {
            Content::Keys(mut entries) => match entries.step() {
                None => Ok(()),
                Some((key, entry)) => Err(known(de::Error::unknown_field(key, &[])).at(entry.key)),
            },
            Content::Numbers(numbers) if numbers.is_empty() => Ok(()),
            Content::Numbers(numbers) => Err(too_many(0, numbers.len())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let known = self.known();
        match self.content {
            Content::Keys(entries) => seed.deserialize(TableReader(entries)).map_err(known),
            Content::Numbers(numbers) => match numbers.as_slice() {
                [one] => seed.deserialize(NodeReader(one)),
                _ => seed.deserialize(TableReader(Entries::new(&Table::new(), None))),
            },
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        match self.content {
            Content::Keys(entries) => visitor.visit_map(entries),
            Content::Numbers(numbers) => read_all(&numbers, visitor),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let known = self.known();
        match self.content {
            Content::Keys(entries) => visitor.visit_map(entries).map_err(known),
            Content::Numbers(numbers) if numbers.is_empty() => visitor.visit_map(Entries::new(&Table::new(), None)),
            Content::Numbers(numbers) => read_all(&numbers, visitor),
        }
    }
}
