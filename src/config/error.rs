//! What is wrong with a config: one sentence, the line it is about with a label, and a way out.

use super::source::Text;
use super::{Sources, Span};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

/// A config that cannot be used, and where and why. Made with [`ConfigError::new`] and its builder methods, or by
/// [`NetSpec::error_at`](super::NetSpec::error_at) and [`NetSpec::layer_error`](super::NetSpec::layer_error).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ConfigError(Box<Details>);

#[derive(Clone, Debug, Default)]
struct Details {
    message: String,
    layer: Option<String>,
    text: Option<Arc<Text>>,
    labels: Vec<(Range<usize>, String)>,
    help: Option<String>,
}

impl ConfigError {
    /// An error with a message alone.
    pub fn new(message: impl Display) -> Self {
        Self(Box::new(Details { message: plain(&message.to_string()), ..Details::default() }))
    }

    /// Points at a place, saying something about it. The first place is the error's; more are shown where they are in the
    /// same source.
    #[must_use]
    pub fn at(mut self, sources: &Sources, span: Span, label: impl Display) -> Self {
        let Some(text) = sources.text(span.source) else { return self };
        if self.0.text.as_ref().is_none_or(|first| Arc::ptr_eq(first, text)) {
            self.0.labels.push((text.visible(span), plain(&label.to_string())));
            self.0.text = Some(text.clone());
        }
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Display) -> Self {
        let help = plain(&help.to_string());
        self.0.help = (!help.is_empty()).then_some(help);
        self
    }

    /// Names the layer at fault, before the message.
    #[must_use]
    pub fn in_layer(mut self, name: &str) -> Self {
        self.0.message = format!("layer {}: {}", quote(name), self.0.message);
        self.0.layer = Some(name.to_owned());
        self
    }

    /// The sentence, layer included.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The layer at fault.
    pub fn layer(&self) -> Option<&str> {
        self.0.layer.as_deref()
    }

    /// The source's name, the line and the column, from 1.
    pub fn location(&self) -> Option<(&str, usize, usize)> {
        let (text, (range, _)) = self.0.text.as_ref().zip(self.0.labels.first())?;
        let (line, column) = text.position(range.start);
        Some((text.name(), line, column))
    }

    /// What is said about the place.
    pub fn label(&self) -> Option<&str> {
        self.0.labels.first().map(|(_, label)| label.as_str())
    }

    /// What to do.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The whole error as it is shown to people, several lines.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(120);
        match handler.render_report(&mut out, self) {
            Ok(()) => out,
            Err(_) => format!("{self}\n"),
        }
    }
}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.0.help.as_ref().map(|h| Box::new(h) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.text.as_ref().map(|t| &**t as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let one = |(i, (range, label)): (usize, &(Range<usize>, String))| {
            let (label, span) = ((!label.is_empty()).then(|| label.clone()), (range.start, range.len()));
            if i == 0 { LabeledSpan::new_primary_with_span(label, span) } else { LabeledSpan::new_with_span(label, span) }
        };
        Some(Box::new(self.0.labels.iter().enumerate().map(one)))
    }
}

/// Characters of a text that a message quotes.
const QUOTED: usize = 60;

/// Text in single quotes, for messages: short, on one line, nothing that steers a terminal.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", clip(text))
}

/// Text in double quotes.
pub(super) fn double_quote(text: &str) -> String {
    format!("\"{}\"", clip(text))
}

/// A number as people write it: `1`, `0.5`, `1e300`.
pub(super) fn number(v: f64) -> String {
    let text = format!("{v:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn clip(text: &str) -> String {
    let mut out: String =
        text.chars().take(QUOTED).flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    if text.chars().nth(QUOTED).is_some() {
        out.push('…');
    }
    out
}

/// Without what would steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// The names, for a help line: all of them, unless they are very many.
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 40;
    let mut out = names.iter().take(SHOWN).map(|n| clip(n.as_ref())).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        out.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    out
}

/// The name most like `name`, if one is like it.
pub(crate) fn nearest<'a, S: AsRef<str>>(name: &str, known: &'a [S]) -> Option<&'a str> {
    if name.chars().nth(QUOTED).is_some() {
        return None;
    }
    let lower = name.to_lowercase();
    let distance = |k: &str| strsim::damerau_levenshtein(&lower, &k.to_lowercase());
    let close = |&(d, k): &(usize, &str)| d <= (k.chars().count().max(lower.chars().count()) / 3).max(1);
    known
        .iter()
        .map(AsRef::as_ref)
        .filter(|k| k.len() <= 4 * QUOTED)
        .map(|k| (distance(k), k))
        .min_by_key(|&(d, _)| d)
        .filter(close)
        .map(|(_, k)| k)
}

/// What a label says under an unknown name.
pub(super) fn did_you_mean<S: AsRef<str>>(name: &str, known: &[S], otherwise: &str) -> String {
    nearest(name, known).map_or_else(|| otherwise.to_owned(), |k| format!("did you mean {}?", quote(k)))
}
