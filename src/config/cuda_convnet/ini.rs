//! The syntax of cuda-convnet's files: that of Python 2's `ConfigParser`.
//!
//! `[section]`, `key=value` or `key: value` from the line's start; keys in any case. A line that starts with `#`, `;` or
//! `rem` is a comment, and so is what follows a `;` behind a space, outside brackets. An indented line goes on with the value
//! above. The section `[DEFAULT]` has values for all others. A section or key that comes again adds to or replaces what
//! came before; `%(…)s` is not filled in but refused.

use super::super::error::quote;
use super::super::{ConfigError, SourceId, Sources, Span};
use super::notes::Notes;
use indexmap::IndexMap;
use indexmap::map::Entry as Place;

/// A whole file.
pub struct Ini {
    /// The sections by name, in the order of the file.
    pub sections: IndexMap<String, Section>,
    /// The section `[DEFAULT]`.
    pub defaults: Section,
    /// The file.
    pub source: SourceId,
}

/// A section.
pub struct Section {
    /// Where its name is written.
    pub name: Span,
    /// The values by their keys in lower case.
    pub items: IndexMap<String, Item>,
}

/// A key and its value.
pub struct Item {
    /// Where the key is written.
    pub key: Span,
    /// The value without spaces around it; its lines are joined by newlines.
    pub text: String,
    /// For each line, where it starts in `text` and in the file.
    lines: Vec<(usize, usize)>,
}

impl Item {
    /// The whole value's place, or the key's where the value is empty.
    pub fn span(&self) -> Span {
        if self.text.is_empty() { self.key } else { self.part(0, self.text.len()) }
    }

    /// The place of a part of the value.
    pub fn part(&self, from: usize, to: usize) -> Span {
        let place = |at: usize| {
            let line = self.lines.partition_point(|&(start, _)| start <= at).saturating_sub(1);
            self.lines.get(line).map_or(0, |&(start, place)| place + (at - start))
        };
        Span::new(self.key.source, place(from)..place(to.max(from + 1) - 1) + usize::from(to > from))
    }

    /// What stands between the commas, each with its place, without spaces around it.
    pub fn list(&self) -> impl Iterator<Item = (&str, Span)> {
        let mut at = 0;
        self.text.split(',').map(move |part| {
            let from = at + (part.len() - part.trim_start().len());
            at += part.len() + 1;
            let part = part.trim();
            let span = if part.is_empty() { self.span() } else { self.part(from, from + part.len()) };
            (part, span)
        })
    }
}

/// Where each line starts, and the line.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

/// Reads a file's text.
pub fn parse(text: &str, source: SourceId, sources: &Sources, notes: &mut Notes) -> Result<Ini, ConfigError> {
    let span = |from: usize, part: &str| Span::new(source, from..from + part.len());
    let defaults = Section { name: Span::new(source, 0..0), items: IndexMap::new() };
    let mut ini = Ini { sections: IndexMap::new(), defaults, source };
    // The section that is being read: `None` before the first, `Some(None)` in [DEFAULT]. And the key, until a new section.
    let mut section: Option<Option<usize>> = None;
    let mut key: Option<usize> = None;
    for (start, line) in lines(text) {
        let content = line.trim();
        if content.is_empty() || is_comment(line) {
            continue;
        }
        let at = start + (line.len() - line.trim_start().len());
        let here = span(at, content);
        if let Some(name) =
            line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name).filter(|n| !n.is_empty())
        {
            let place = span(start + 1, name);
            key = None;
            if name == "DEFAULT" {
                section = Some(None);
                continue;
            }
            section = match ini.sections.entry(name.to_owned()) {
                Place::Occupied(old) => {
                    let index = old.index();
                    notes.add(sources, place, "the section", name, "comes again; what it says is added to what it said before");
                    Some(Some(index))
                }
                Place::Vacant(new) => {
                    let index = new.index();
                    new.insert(Section { name: place, items: IndexMap::new() });
                    Some(Some(index))
                }
            };
        } else if line.starts_with(char::is_whitespace)
            && let Some((items, key)) = items(&mut ini, section).zip(key)
        {
            let item = &mut items[key];
            item.text.push('\n');
            item.lines.push((item.text.len(), at));
            item.text.push_str(content);
            refuse_interpolation(content, here, sources)?;
        } else if let Some((name, value)) = split(content).filter(|_| !line.starts_with(char::is_whitespace)) {
            let Some(items) = items(&mut ini, section) else {
                let error = ConfigError::new("this line is in no section").at(sources, here, "");
                return Err(error.help("a layer starts with its name in brackets: [conv1]"));
            };
            let after = content.len() - value.len();
            let skipped = value.len() - value.trim_start().len();
            let value = uncommented(value.trim_start()).trim_end();
            let value = if value == "\"\"" { "" } else { value };
            let place = span(at, name);
            let item = Item { key: place, text: value.to_owned(), lines: vec![(0, at + after + skipped)] };
            refuse_interpolation(value, item.span(), sources)?;
            key = Some(match items.entry(name.to_lowercase()) {
                Place::Occupied(mut old) => {
                    notes.add(sources, place, name, "", "is given twice in its section; the last one counts");
                    old.insert(item);
                    old.index()
                }
                Place::Vacant(new) => {
                    let index = new.index();
                    new.insert(item);
                    index
                }
            });
        } else {
            let message = format!("this is neither a section nor a key with a value: {}", quote(content));
            let indented = line.starts_with(char::is_whitespace);
            let label = if indented { "starts with a space" } else { "expected [layer] or key=value" };
            let help = "give each layer's name in brackets and then its keys, each from the line's start: stride=2";
            return Err(ConfigError::new(message).at(sources, here, label).help(help));
        }
    }
    Ok(ini)
}

/// The values of the section that is being read.
fn items(ini: &mut Ini, section: Option<Option<usize>>) -> Option<&mut IndexMap<String, Item>> {
    Some(match section? {
        None => &mut ini.defaults.items,
        Some(i) => &mut ini.sections[i].items,
    })
}

fn is_comment(line: &str) -> bool {
    let rem = line.starts_with(['r', 'R']) && line.split_whitespace().next().is_some_and(|w| w.eq_ignore_ascii_case("rem"));
    line.starts_with(['#', ';']) || rem
}

/// The key and what follows its `=` or `:`.
fn split(line: &str) -> Option<(&str, &str)> {
    let at = line.find(['=', ':']).filter(|&at| at > 0)?;
    Some((line[..at].trim_end(), &line[at + 1..]))
}

/// The value before a comment.
fn uncommented(value: &str) -> &str {
    let mut depth = 0;
    let mut space = true;
    for (at, c) in value.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ';' if space && depth <= 0 => return &value[..at],
            _ => {}
        }
        space = c.is_whitespace();
    }
    value
}

fn refuse_interpolation(value: &str, span: Span, sources: &Sources) -> Result<(), ConfigError> {
    if !value.contains('%') {
        return Ok(());
    }
    let error = ConfigError::new("values that refer to others by % are not read");
    Err(error.at(sources, span, "").help("write the value itself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Result<Ini, ConfigError>, Vec<String>) {
        let (mut sources, mut notes) = (Sources::default(), Notes::default());
        let source = sources.add("a.cfg", text);
        (parse(text, source, &sources, &mut notes), notes.into_lines())
    }

    /// The values of a text's only section, as `key=value` with lines joined by `|`.
    fn values(text: &str) -> Vec<String> {
        let ini = read(text).0.unwrap_or_else(|e| panic!("{}", e.render(false)));
        let section = ini.sections.values().next().unwrap();
        section.items.iter().map(|(key, item)| format!("{key}={}", item.text.replace('\n', "|"))).collect()
    }

    /// What Python 2.7's ConfigParser makes of the same lines.
    #[test]
    fn values_are_those_of_python() {
        let table: &[(&str, &[&str])] = &[
            ("[a]\nx=1\ny: 2\nz = 3 \n", &["x=1", "y=2", "z=3"]),
            ("[a] behind\nInitW=0.1\n", &["initw=0.1"]),
            ("# a\n; b\nrem c\nREM d\n[a]\n#x=1\n;y=2\nrem z=3\nremx=4\n", &["remx=4"]),
            ("[a]\nx=1 ; one\ny=1;2\nz=1 # 2\n", &["x=1", "y=1;2", "z=1 # 2"]),
            ("[a]\nx=dexp[base=1;tgtFactor=2] ; fast\n", &["x=dexp[base=1;tgtFactor=2]"]),
            ("[a]\nx=1,\n  2,\n\t3\ny=4\n", &["x=1,|2,|3", "y=4"]),
            ("[a]\nx=1,\n# between\n  2\n", &["x=1,|2"]),
            ("[a]\nx=\ny=\"\"\n", &["x=", "y="]),
            ("[a]\r\nx=1\r\n\r\ny=2\r\n", &["x=1", "y=2"]),
            ("[a]\nx = a=b:c\nlong key = 1\n", &["x=a=b:c", "long key=1"]),
            ("[a]\nx=é\ny=2", &["x=é", "y=2"]),
        ];
        for (text, wanted) in table {
            assert_eq!(&values(text), wanted, "{text}");
        }
    }

    /// A value's parts are where they are written, over continuation lines too.
    #[test]
    fn parts_have_their_places() {
        let text = "[a]\ninputs = one , two,\n   three\n";
        let ini = read(text).0.unwrap();
        let item = &ini.sections["a"].items["inputs"];
        let parts: Vec<_> = item.list().map(|(part, s)| (part, &text[s.start as usize..s.end as usize])).collect();
        assert_eq!(parts, [("one", "one"), ("two", "two"), ("three", "three")]);
        let all = item.span();
        assert_eq!(&text[all.start as usize..all.end as usize], "one , two,\n   three");
    }

    /// A section or a key that comes again: as Python has it, and with a note.
    #[test]
    fn what_comes_again_is_noted() {
        let (ini, notes) = read("[DEFAULT]\nw=0\n[a]\nx=1\n[b]\nx=2\n[a]\nx=3\ny=4\n");
        let ini = ini.unwrap();
        assert_eq!(ini.sections.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((ini.sections["a"].items["x"].text.as_str(), ini.defaults.items["w"].text.as_str()), ("3", "0"));
        assert_eq!(
            notes,
            [
                "a.cfg:7: the section of 'a' comes again; what it says is added to what it said before",
                "a.cfg:8: x is given twice in its section; the last one counts"
            ]
        );
    }

    /// What Python refuses is refused with the line.
    #[test]
    fn what_is_no_ini_is_shown() {
        let table = [
            ("x=1\n", 1, "in no section"),
            ("\n  x=1\n", 2, "neither a section nor a key"),
            ("[a]\n  x=1\n", 2, "neither a section nor a key"),
            ("[a]\nx\n", 2, "neither a section nor a key"),
            ("[]\nx=1\n", 1, "neither a section nor a key"),
            ("[a\nx=1\n", 1, "neither a section nor a key"),
            ("[a]\n=1\n", 2, "neither a section nor a key"),
            ("[a]\nx=%(y)s\n", 2, "refer to others by %"),
            ("[a]\nx=1\n  100%\n", 3, "refer to others by %"),
        ];
        for (text, line, message) in table {
            let e = read(text).0.err().unwrap_or_else(|| panic!("this reads: {text}"));
            assert_eq!(e.location().map(|(name, line, _)| (name, line)), Some(("a.cfg", line)), "{text}");
            assert!(e.message().contains(message), "{text}: {}", e.message());
        }
    }
}
