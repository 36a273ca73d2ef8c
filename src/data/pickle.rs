//! Python's pickles, read without running anything: a reader of data alone. What a pickle would call (`REDUCE`, `NEWOBJ`, `BUILD`) becomes a
//! [`Node::Object`] that names the callable and holds its arguments and its state; nothing is looked up, and nothing is called. Protocols
//! 0 to 5, without what no data need (persistent ids, extension registries, buffers out of band).
//!
//! Values lie in one list and refer to each other by number, so that a pickle may share values, or make them their own parts; readers
//! go a known number of levels down.

use std::collections::HashMap;
use std::ops::Range;

/// Values of a pickle, at most.
const MAX: usize = 4 << 20;

/// The number of a value.
pub type Id = usize;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, or an integer that is too long.
    Float(f64),
    /// Bytes: where they lie in the file.
    Bytes(Range<usize>),
    /// Bytes or text that the file has in another form.
    Text(Vec<u8>),
    /// A list, a tuple or a set.
    List(Vec<Id>),
    /// Keys and values.
    Dict(Vec<(Id, Id)>),
    /// The name of something that would be imported: module, name.
    Global(String),
    /// What a call would give.
    Object {
        /// What would be called.
        callable: Id,
        /// With what.
        arguments: Id,
        /// What it would be filled with then.
        state: Option<Id>,
    },
}

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle<'a> {
    file: &'a [u8],
    nodes: Vec<Node>,
    /// The value that was pickled.
    pub root: Id,
}

/// Reads a pickle.
///
/// # Errors
/// It is none, or cut off, or has too many values.
pub fn read(file: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { file, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let root = machine.run()?;
    Ok(Pickle { file, nodes: machine.nodes, root })
}

impl Pickle<'_> {
    /// A value.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The bytes of a value: of a string, of bytes, or of text that would be encoded as Latin-1, as Python 3 pickles bytes in protocols
    /// up to 2.
    pub fn bytes(&self, id: Id) -> Option<std::borrow::Cow<'_, [u8]>> {
        match self.node(id) {
            Node::Bytes(range) => Some(self.file[range.clone()].into()),
            Node::Text(text) => Some(text.into()),
            Node::Object { callable, arguments, .. } if self.is_global(*callable, "_codecs encode") => {
                // One level down only: a pickle may hold an object within itself.
                let text = *self.list(*arguments)?.first()?;
                let text = if self.is_object(text) { None } else { self.bytes(text) }?;
                let text = std::str::from_utf8(&text).ok()?;
                text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>().map(Into::into)
            }
            _ => None,
        }
    }

    fn is_object(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Object { .. })
    }

    fn is_global(&self, id: Id, name: &str) -> bool {
        matches!(self.node(id), Node::Global(global) if global == name)
    }

    /// The values of a list or tuple.
    pub fn list(&self, id: Id) -> Option<&[Id]> {
        if let Node::List(values) = self.node(id) { Some(values) } else { None }
    }

    /// A whole number.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The value of a dictionary's key, or of an object's state.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        let Node::Dict(pairs) = self.node(id) else { return None };
        let is_it = |id: Id| match self.node(id) {
            Node::Bytes(range) => &self.file[range.clone()] == key.as_bytes(),
            Node::Text(text) => text == key.as_bytes(),
            _ => false,
        };
        pairs.iter().rev().find(|(k, _)| is_it(*k)).map(|(_, value)| *value)
    }

    /// The shape and the bytes of a numpy array of bytes; whether columns lie together.
    pub fn byte_array(&self, id: Id) -> Option<(Vec<usize>, std::borrow::Cow<'_, [u8]>, bool)> {
        let Node::Object { callable, arguments, state } = self.node(id) else { return None };
        let Node::Global(name) = self.node(*callable) else { return None };
        let (shape, dtype, data, fortran) = match (name.split_once(' ')?, state) {
            ((module, "_reconstruct"), Some(state)) if module.starts_with("numpy") => {
                // Filled with: version, shape, type, whether in Fortran's order, bytes.
                let &[_, shape, dtype, fortran, data] = self.list(*state)? else { return None };
                (shape, dtype, data, self.int(fortran) == Some(1))
            }
            // Since protocol 5.
            ((module, "_frombuffer"), _) if module.starts_with("numpy") => {
                let &[data, dtype, shape, order] = self.list(*arguments)? else { return None };
                (shape, dtype, data, *self.bytes(order)? == *b"F")
            }
            _ => return None,
        };
        let Node::Object { arguments, .. } = self.node(dtype) else { return None };
        let kind = self.bytes(*self.list(*arguments)?.first()?)?;
        if !matches!(&*kind, b"u1" | b"|u1") {
            return None;
        }
        let shape: Option<Vec<usize>> =
            self.list(shape)?.iter().map(|&n| self.int(n).and_then(|n| usize::try_from(n).ok())).collect();
        let (shape, data) = (shape?, self.bytes(data)?);
        let count = shape.iter().try_fold(1_usize, |count, &n| count.checked_mul(n))?;
        (count == data.len()).then_some((shape, data, fortran))
    }
}

struct Machine<'a> {
    file: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// The height of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let start = self.at;
            let code = self.take(1)?[0];
            match code {
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let top = *self.stack.last().ok_or_else(empty)?;
                    self.stack.push(top);
                }
                b'N' => self.push(Node::None)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'I' => {
                    let node = match self.line()? {
                        b"00" => Node::Bool(false),
                        b"01" => Node::Bool(true),
                        digits => integer(digits)?,
                    };
                    self.push(node)?;
                }
                b'L' => {
                    let digits = self.line()?;
                    let node = integer(digits.strip_suffix(b"L").unwrap_or(digits))?;
                    self.push(node)?;
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(i64::from(value)))?;
                }
                b'K' => {
                    let value = self.number(1)?;
                    self.push(Node::Int(value as i64))?;
                }
                b'M' => {
                    let value = self.number(2)?;
                    self.push(Node::Int(value as i64))?;
                }
                0x8a | 0x8b => {
                    let length = self.number(if code == 0x8a { 1 } else { 4 })?;
                    let node = long(self.take(length)?);
                    self.push(node)?;
                }
                b'F' => {
                    let text = String::from_utf8_lossy(self.line()?).into_owned();
                    let value = text.trim().parse().map_err(|_| format!("a number that is none at byte {start}"))?;
                    self.push(Node::Float(value))?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Node::Float(value))?;
                }
                b'S' => {
                    let node = Node::Text(unquoted(self.line()?));
                    self.push(node)?;
                }
                b'V' => {
                    let node = Node::Text(unescaped(self.line()?));
                    self.push(node)?;
                }
                b'T' | b'U' | b'B' | b'C' | b'X' | 0x8c | 0x8d | 0x8e | 0x96 => {
                    let width = match code {
                        b'U' | b'C' | 0x8c => 1,
                        b'T' | b'B' | b'X' => 4,
                        _ => 8,
                    };
                    let length = self.number(width)?;
                    self.take(length)?;
                    self.push(Node::Bytes(self.at - length as usize..self.at))?;
                }
                b']' | b')' | 0x8f => self.push(Node::List(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b'l' | b't' | 0x91 => {
                    let values = self.since_mark()?;
                    self.push(Node::List(values))?;
                }
                b'd' => {
                    let pairs = pairs(&self.since_mark()?)?;
                    self.push(Node::Dict(pairs))?;
                }
                0x85..=0x87 => {
                    let count = usize::from(code - 0x84);
                    let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor()).ok_or_else(empty)?;
                    let values = self.stack.split_off(from);
                    self.push(Node::List(values))?;
                }
                b'a' => {
                    let value = self.pop()?;
                    self.extend(&[value])?;
                }
                b'e' | 0x90 => {
                    let values = self.since_mark()?;
                    self.extend(&values)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.insert(&[key, value])?;
                }
                b'u' => {
                    let values = self.since_mark()?;
                    self.insert(&values)?;
                }
                b'c' => {
                    let name = format!("{} {}", lossy(self.line()?), lossy(self.line()?));
                    self.push(Node::Global(name))?;
                }
                0x93 => {
                    let name = self.pop()?;
                    let module = self.pop()?;
                    let text = |id: Id| match &self.nodes[id] {
                        Node::Bytes(range) => lossy(&self.file[range.clone()]),
                        Node::Text(text) => lossy(text),
                        _ => String::new(),
                    };
                    let name = format!("{} {}", text(module), text(name));
                    self.push(Node::Global(name))?;
                }
                b'R' | 0x81 => {
                    let arguments = self.pop()?;
                    let callable = self.pop()?;
                    self.push(Node::Object { callable, arguments, state: None })?;
                }
                b'b' => {
                    let filled = self.pop()?;
                    let object = *self.stack.last().ok_or_else(empty)?;
                    if let Node::Object { state, .. } = &mut self.nodes[object] {
                        *state = Some(filled);
                    }
                }
                b'p' => {
                    let key = std::str::from_utf8(self.line()?).ok().and_then(|digits| digits.trim().parse().ok());
                    self.remember(key.ok_or("a memo that is no number")?)?;
                }
                b'q' | b'r' => {
                    let key = self.number(if code == b'q' { 1 } else { 4 })?;
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'g' | b'h' | b'j' => {
                    let key = match code {
                        b'g' => std::str::from_utf8(self.line()?).ok().and_then(|digits| digits.trim().parse().ok()),
                        b'h' => Some(self.number(1)?),
                        _ => Some(self.number(4)?),
                    };
                    let known = key.and_then(|key| self.memo.get(&key)).copied();
                    self.stack.push(known.ok_or("it uses a value that it does not have")?);
                }
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                _ => return Err(format!("no pickle of data: code 0x{code:02x} at byte {start}")),
            }
        }
    }

    fn push(&mut self, node: Node) -> Result<(), String> {
        if self.nodes.len() == MAX || self.stack.len() == MAX {
            return Err(format!("it has more than {MAX} values"));
        }
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
        Ok(())
    }

    /// Values below belong to what was begun before the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, String> {
        if self.stack.len() <= self.floor() {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or_else(empty)?;
        Ok(self.stack.split_off(mark))
    }

    fn extend(&mut self, values: &[Id]) -> Result<(), String> {
        let list = *self.stack.last().ok_or_else(empty)?;
        match &mut self.nodes[list] {
            Node::List(all) => all.extend(values),
            // An object that is a list of its own kind: what it holds is not data that we read.
            Node::Object { .. } => {}
            _ => return Err("it adds to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, values: &[Id]) -> Result<(), String> {
        let dict = *self.stack.last().ok_or_else(empty)?;
        let new = pairs(values)?;
        match &mut self.nodes[dict] {
            Node::Dict(all) => all.extend(new),
            Node::Object { .. } => {}
            _ => return Err("it adds to what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = *self.stack.last().ok_or_else(empty)?;
        if self.memo.len() >= MAX {
            return Err(format!("it has more than {MAX} values"));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn take(&mut self, length: u64) -> Result<&[u8], String> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let bytes = end.and_then(|end| self.file.get(self.at..end)).ok_or("it is cut off")?;
        self.at += bytes.len();
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| "it is cut off".to_owned())
    }

    /// A number of so many bytes, the lowest first.
    fn number(&mut self, width: u64) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Result<&'_ [u8], String> {
        let rest = &self.file[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("it is cut off")?;
        self.at += length + 1;
        Ok(&self.file[self.at - length - 1..self.at - 1])
    }
}

fn empty() -> String {
    "it takes a value where there is none".to_owned()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pairs(values: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    if !values.len().is_multiple_of(2) {
        return Err("it has a key without a value".to_owned());
    }
    Ok(values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn integer(digits: &[u8]) -> Result<Node, String> {
    let text = std::str::from_utf8(digits).map_err(|_| "a number that is none")?.trim();
    match (text.parse(), text.parse()) {
        (Ok(value), _) => Ok(Node::Int(value)),
        (Err(_), Ok(value)) => Ok(Node::Float(value)),
        _ => Err("a number that is none".to_owned()),
    }
}

/// Two's complement, the lowest byte first.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Float(f64::NAN);
    }
    let sign = if bytes.last().is_some_and(|&top| top >= 0x80) { 0xff } else { 0 };
    let mut all = [sign; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(all))
}

/// A string as protocol 0 writes it: in quotes, with escapes; or as it is.
fn unquoted(line: &[u8]) -> Vec<u8> {
    let inner = match line {
        [open @ (b'\'' | b'"'), inner @ .., close] if open == close => inner,
        _ => return line.to_vec(),
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else { break };
        rest = after;
        match escape {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'x' => {
                let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    text.push(byte);
                    rest = &rest[2..];
                }
            }
            other => text.push(other),
        }
    }
    text
}

/// Text as protocol 0 writes it: Latin-1, with `\uXXXX` for what that has not.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match rest {
            [b'\\', b'u', digits @ ..] => digits.get(..4),
            [b'\\', b'U', digits @ ..] => digits.get(..8),
            _ => None,
        };
        let code = digits.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (code.and_then(char::from_u32), digits) {
            (Some(c), Some(digits)) => {
                text.push(c);
                rest = &rest[2 + digits.len()..];
            }
            _ => {
                text.push(char::from(byte));
                rest = after;
            }
        }
    }
    text.into_bytes()
}
