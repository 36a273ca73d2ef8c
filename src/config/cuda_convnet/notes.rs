//! What a pair says that has no effect here, for people: a line for each thing, whatever number of layers say it.

use super::super::error::{list, quote};
use super::super::{SourceId, Sources, Span};
use indexmap::IndexMap;

/// Notes that are being collected.
#[derive(Default)]
pub struct Notes(IndexMap<(SourceId, String, &'static str), Note>);

struct Note {
    /// The place, the key and the layer.
    subject: String,
    /// Whether a layer is named.
    named: bool,
    /// Layers that say the same.
    more: usize,
}

impl Notes {
    /// A note about a key of a layer at its first place, `wball of 'fc1' and 2 more is …`; the one or the other may be "".
    pub fn add(&mut self, sources: &Sources, span: Span, key: &str, layer: &str, what: &'static str) {
        // A key that is written in another case is the same key. What is about a layer alone is about each by itself.
        let about = if key.is_empty() { layer.to_owned() } else { key.to_lowercase() };
        let entry = self.0.entry((span.source, about, what));
        entry.and_modify(|note| note.more += 1).or_insert_with(|| {
            let (name, line) = sources.line(span);
            let subject = [list(&[key]), quote(layer)].into_iter().zip([key, layer]).filter(|(_, name)| !name.is_empty());
            let subject = subject.map(|(shown, _)| shown).collect::<Vec<_>>().join(" of ");
            Note { subject: format!("{name}:{line}: {subject}"), named: !layer.is_empty(), more: 0 }
        });
    }

    /// The lines, in the order in which their subjects came up, up to a number that is far beyond what real files need.
    pub fn into_lines(self) -> Vec<String> {
        let line = |((_, _, what), note): ((SourceId, String, &str), Note)| {
            let more = match note.more {
                0 => String::new(),
                n if note.named => format!(" and {n} more"),
                n => format!(" (and {n} more)"),
            };
            format!("{}{more} {what}", note.subject)
        };
        const SHOWN: usize = 50;
        let more = self.0.len().saturating_sub(SHOWN);
        let rest = (more > 0).then(|| format!("and {more} more notes"));
        self.0.into_iter().take(SHOWN).map(line).chain(rest).collect()
    }
}
