//! Where config text comes from: files, `--set` arguments, text built in. Every value and key remembers its place in one
//! of them, so that any later error can show its line.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::ops::Range;
use std::sync::Arc;

/// A text that the config was read from: a number in its [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u32);

/// A place in a source: bytes `start..end` of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// Its first byte.
    pub start: u32,
    /// The byte behind its last.
    pub end: u32,
}

impl Span {
    /// Bytes `range` of a source.
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { source, start: narrow(range.start), end: narrow(range.end) }
    }

    /// From the start of one span to the end of another; the first alone where they are of different sources.
    pub fn to(self, other: Self) -> Self {
        if self.source != other.source {
            return self;
        }
        Self { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// The texts that a config was read from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Vec<Arc<Text>>>);

impl Sources {
    /// Adds a text under the name that errors will show.
    pub fn add(&mut self, name: impl Into<String>, text: &str) -> SourceId {
        let id = SourceId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        Arc::make_mut(&mut self.0).push(Arc::new(Text { name: printable(&name.into(), false), text: printable(text, true) }));
        id
    }

    /// The text's name and the text, as errors show it.
    pub fn get(&self, id: SourceId) -> Option<(&str, &str)> {
        self.text(id).map(|t| (t.name.as_str(), t.text.as_str()))
    }

    /// The name of a span's text, and its line from 1.
    pub(super) fn line(&self, span: Span) -> (&str, usize) {
        self.text(span.source).map_or(("", 1), |t| (t.name(), t.position(span.start as usize).0))
    }

    pub(super) fn text(&self, id: SourceId) -> Option<&Arc<Text>> {
        self.0.get(id.0 as usize)
    }
}

/// The same number of bytes with nothing that would steer a terminal: a line ends with a newline alone.
fn printable(text: &str, lines: bool) -> String {
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        out.push(match c {
            '\n' if lines => c,
            '\r' if lines && rest.peek() == Some(&'\n') => ' ',
            '\t' => c,
            c if c.is_ascii_control() => '?',
            c if c.is_control() => '·',
            c => c,
        });
    }
    out
}

/// A named text that miette shows one line of, or the part of a very long line that holds the label.
#[derive(Debug)]
pub(super) struct Text {
    name: String,
    text: String,
}

/// Bytes of a line that are shown whole.
const LINE: usize = 240;
/// Bytes that are shown on either side of a label in a longer line.
const AROUND: usize = 60;

impl Text {
    /// The span's part in the line where it starts, never empty unless the text is: what a label can underline.
    pub(super) fn visible(&self, span: Span) -> Range<usize> {
        let text = self.text.as_str();
        let end = text.trim_end().len();
        let mut start = floor(text, (span.start as usize).min(end));
        if start == end || text[start..].starts_with('\n') && !text[..start].is_empty() && !text[..start].ends_with('\n') {
            start = text[..start].char_indices().next_back().map_or(0, |(at, _)| at);
        }
        let line = start + text[start..].find('\n').unwrap_or(text.len() - start);
        let stop = floor(text, (span.end as usize).min(line)).min(start + LINE);
        let stop = floor(text, stop);
        if stop > start {
            return start..stop;
        }
        start..start + text[start..].chars().next().map_or(0, char::len_utf8)
    }

    /// Line and column of a byte, from 1; columns count characters.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..floor(&self.text, at)];
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        (before.bytes().filter(|&b| b == b'\n').count() + 1, before[start..].chars().count() + 1)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The nearest character boundary at or before a byte.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl SourceCode for Text {
    /// The lines of the span: context is not asked for, since an error's line says what it is about.
    fn read_span<'a>(&'a self, span: &SourceSpan, _: usize, _: usize) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.text.as_str();
        let (from, to) = (span.offset(), span.offset() + span.len());
        if to > text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let mut start = text[..floor(text, from)].rfind('\n').map_or(0, |n| n + 1);
        let mut end = floor(text, to) + text[floor(text, to)..].find('\n').unwrap_or(text.len() - floor(text, to));
        if end - start > LINE {
            start = start.max(floor(text, from.saturating_sub(AROUND)));
            end = end.min(floor(text, to + AROUND));
            if end - start > 2 * LINE + 2 * AROUND {
                return Err(MietteError::OutOfBounds);
            }
        }
        let (line, column) = self.position(from);
        let data = &text.as_bytes()[start..end];
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), data, (start, end - start).into(), line - 1, column - 1, 1)))
    }
}
