//! Protobuf's text format → a tree of fields with places, before anybody knows what the fields mean.
//!
//! `name: value`, `name { … }`, `name: [a, b]`; `<…>` for braces; `,` or `;` between fields; `#` to the end of a line. Text is in
//! either quotes with C's escapes, and pieces of it side by side are one. No crate that parses the format keeps the places of
//! what it read.

use crate::config::error::{did_you_mean, quote};
use crate::config::{ConfigError, SourceId, Sources, Span};

/// Messages in one another.
const DEEPEST: usize = 40;

/// Fields in the order they were written.
#[derive(Debug)]
pub struct Fields {
    pub fields: Vec<RawField>,
    /// With its braces.
    pub span: Span,
}

/// `name: value`.
#[derive(Debug)]
pub struct RawField {
    pub name: String,
    pub key: Span,
    pub value: Raw,
    pub span: Span,
}

/// A value.
#[derive(Debug)]
pub enum Raw {
    /// In quotes.
    Text(String),
    /// `MAX`, `true`, or a number with its sign.
    Word(String),
    Message(Fields),
}

/// Reads a whole text.
pub fn parse(text: &str, source: SourceId, sources: &Sources) -> Result<Fields, ConfigError> {
    let mut parser = Parser { text, at: 0, source, sources };
    parser.fields(None, 0)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    source: SourceId,
    sources: &'a Sources,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn span(&self, from: usize) -> Span {
        Span::new(self.source, from..self.at)
    }

    fn error(&self, message: &str, span: Span, label: &str) -> ConfigError {
        ConfigError::new(format!("this is not a prototxt: {message}")).at(self.sources, span, label)
    }

    /// What is wrong with what stands here.
    fn unexpected(&self, expected: &str) -> ConfigError {
        let found = match self.rest().chars().next() {
            None => "the end of the file".to_owned(),
            Some(c) => {
                let word = self.rest().find(|c: char| !is_word(c)).unwrap_or(self.rest().len());
                quote(if word > 0 { &self.rest()[..word] } else { &self.rest()[..c.len_utf8()] })
            }
        };
        let at = self.at..self.at + self.rest().chars().next().map_or(0, char::len_utf8);
        self.error(&format!("expected {expected}, found {found}"), Span::new(self.source, at), "here")
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            match self.rest().strip_prefix('#') {
                Some(comment) => self.at += 1 + comment.find('\n').unwrap_or(comment.len()),
                None => return,
            }
        }
    }

    /// Takes this character if it comes next.
    fn take(&mut self, c: char) -> bool {
        self.skip();
        let next = self.rest().starts_with(c);
        self.at += if next { c.len_utf8() } else { 0 };
        next
    }

    fn word(&mut self) -> Option<&'a str> {
        self.skip();
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| &rest[..end])
    }

    /// Fields up to the closing mark of a message that was opened at a place, or to the end of the file.
    fn fields(&mut self, open: Option<(Span, char)>, depth: usize) -> Result<Fields, ConfigError> {
        if let Some((span, _)) = open.filter(|_| depth > DEEPEST) {
            return Err(self.error("messages are nested too deep", span, "one too many").help("a net has a depth of 4"));
        }
        let from = open.map_or(0, |(span, _)| span.start as usize);
        let mut fields = Vec::new();
        loop {
            while self.take(',') || self.take(';') {}
            if let Some((span, close)) = open {
                if self.take(close) {
                    return Ok(Fields { fields, span: self.span(from) });
                }
                if self.rest().is_empty() {
                    let help = format!("add '{close}' where it ends");
                    return Err(self.error("this brace is never closed", span, "opened here").help(help));
                }
            } else if self.rest().is_empty() {
                return Ok(Fields { fields, span: self.span(0) });
            }
            self.field(&mut fields, depth)?;
        }
    }

    fn field(&mut self, fields: &mut Vec<RawField>, depth: usize) -> Result<(), ConfigError> {
        let from = self.at;
        let Some(name) = self.word().filter(|w| w.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')) else {
            self.at = from;
            let stray = self.rest().starts_with(['}', '>', ']']);
            let help = if stray { "remove it, or look for a brace that was closed too early" } else { "" };
            return Err(self.unexpected("a field's name").help(help));
        };
        let key = self.span(from);
        let colon = self.take(':');
        self.skip();
        if self.rest().starts_with(['{', '<']) {
            let (value, span) = self.message(depth)?;
            fields.push(RawField { name: name.to_owned(), key, value, span });
            return Ok(());
        }
        if !colon {
            let error = self.unexpected(&format!("':' or '{{' behind {}", quote(name)));
            return Err(error.help(format!("write {name}: VALUE, or {name} {{ … }}")));
        }
        if !self.take('[') {
            let (value, span) = self.scalar(name)?;
            fields.push(RawField { name: name.to_owned(), key, value, span });
            return Ok(());
        }
        if self.take(']') {
            return Ok(());
        }
        loop {
            self.skip();
            let (value, span) = if self.rest().starts_with(['{', '<']) { self.message(depth)? } else { self.scalar(name)? };
            fields.push(RawField { name: name.to_owned(), key, value, span });
            if self.take(']') {
                return Ok(());
            }
            if !self.take(',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn message(&mut self, depth: usize) -> Result<(Raw, Span), ConfigError> {
        let close = if self.rest().starts_with('{') { '}' } else { '>' };
        self.at += 1;
        let open = self.span(self.at - 1);
        let fields = self.fields(Some((open, close)), depth + 1)?;
        let span = fields.span;
        Ok((Raw::Message(fields), span))
    }

    fn scalar(&mut self, name: &str) -> Result<(Raw, Span), ConfigError> {
        self.skip();
        let from = self.at;
        if self.rest().starts_with(['"', '\'']) {
            let mut bytes = Vec::new();
            let mut end = self.at;
            while self.rest().starts_with(['"', '\'']) {
                self.quoted(&mut bytes)?;
                end = self.at;
                self.skip();
            }
            let span = Span::new(self.source, from..end);
            let text = String::from_utf8(bytes).map_err(|_| self.error("its escapes are not UTF-8", span, "this text"))?;
            return Ok((Raw::Text(text), span));
        }
        let minus = self.take('-');
        match self.word() {
            Some(word) => Ok((Raw::Word(if minus { format!("-{word}") } else { word.to_owned() }), self.span(from))),
            None => Err(self.unexpected(&format!("a value for {}", quote(name)))),
        }
    }

    /// One piece of text in quotes.
    fn quoted(&mut self, bytes: &mut Vec<u8>) -> Result<(), ConfigError> {
        let from = self.at;
        let mark = self.text.as_bytes()[from];
        self.at += 1;
        loop {
            let Some(&byte) = self.text.as_bytes().get(self.at).filter(|&&b| b != b'\n') else {
                let opened = Span::new(self.source, from..from + 1);
                let error = self.error("this text is never closed", opened, "opened here");
                return Err(error.help("text ends on the line where it starts, with the mark it starts with"));
            };
            self.at += 1;
            match byte {
                b if b == mark => return Ok(()),
                b'\\' => self.escape(bytes)?,
                b => bytes.push(b),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), ConfigError> {
        let from = self.at - 1;
        let digits = |text: &str, radix: u32, most: usize| text.chars().take(most).take_while(|c| c.is_digit(radix)).count();
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return Ok(()) };
        let simple = match c {
            'n' => Some(b'\n'),
            't' => Some(b'\t'),
            'r' => Some(b'\r'),
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'v' => Some(11),
            '\\' | '\'' | '"' | '?' => Some(c as u8),
            _ => None,
        };
        if let Some(byte) = simple {
            self.at += 1;
            bytes.push(byte);
            return Ok(());
        }
        let (start, radix, most) = match c {
            '0'..='7' => (0, 8, 3),
            'x' | 'X' => (1, 16, 2),
            'u' => (1, 16, 4),
            'U' => (1, 16, 8),
            _ => (0, 8, 0),
        };
        let length = digits(&rest[start.min(rest.len())..], radix, most);
        let wide = matches!(c, 'u' | 'U');
        let value = u32::from_str_radix(&rest[start..start + length], radix).ok();
        self.at += c.len_utf8().max(start + length);
        match value.filter(|_| length > 0 && (!wide || length == most)) {
            Some(v) if wide => match char::from_u32(v) {
                Some(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
                None => return Err(self.error("this is no character", self.span(from), "")),
            },
            Some(v) => bytes.push(v as u8),
            None => {
                let known = ["\\n", "\\t", "\\\\", "\\\""];
                let label = did_you_mean(&self.text[from..self.at], &known, "");
                return Err(self.error("unknown escape in a text", self.span(from), &label).help("write a backslash as \\\\"));
            }
        }
        Ok(())
    }
}

/// What names, enums and numbers are made of, without a leading sign: 1e-5 has one inside.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}
