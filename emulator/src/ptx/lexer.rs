//! Words and punctuation of PTX, with lines; comments dropped.

use super::Error;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A word: names, opcodes with their dots, directives. `%tid.x`, `ld.global.f32` and `.reg` are one word each.
    Word(&'a str),
    Integer(i64),
    F32(u32),
    F64(u64),
    Text(&'a str),
    Punct(char),
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

/// Splits a text into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token<'_>, u32)>, Error> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(text.len() / 5);
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let c = bytes[at];
        let rest = &bytes[at..];
        if c == b'\n' {
            line += 1;
            at += 1;
        } else if c.is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with(b"//") {
            at += rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let end = text[at..].find("*/").ok_or_else(|| Error::new(line, "a comment without an end"))?;
            line += rest[..end].iter().filter(|&&c| c == b'\n').count() as u32;
            at += end + 2;
        } else if c == b'"' {
            let end = text[at + 1..].find('"').ok_or_else(|| Error::new(line, "a string without an end"))?;
            out.push((Token::Text(&text[at + 1..at + 1 + end]), line));
            at += end + 2;
        } else if c.is_ascii_digit() {
            let mut end = at;
            while end < bytes.len()
                && (is_word(bytes[end]) || (matches!(bytes[end], b'+' | b'-') && is_exponent(&bytes[at..end])))
            {
                end += 1;
            }
            out.push((
                number(&text[at..end]).ok_or_else(|| Error::new(line, format!("'{}' is not a number", &text[at..end])))?,
                line,
            ));
            at = end;
        } else if is_word(c) {
            let len = rest.iter().position(|&c| !is_word(c) && c != b':').unwrap_or(rest.len());
            // A single ':' ends a label; "::" is inside a word, as in `.shared::cta`.
            let mut end = at;
            while end < at + len {
                if bytes[end] == b':' {
                    if bytes.get(end + 1) != Some(&b':') {
                        break;
                    }
                    end += 1;
                }
                end += 1;
            }
            // `.reg.b16` is two directives written together.
            let mut start = at;
            if c == b'.' {
                while let Some(dot) = text[start + 1..end].find('.') {
                    out.push((Token::Word(&text[start..start + 1 + dot]), line));
                    start += 1 + dot;
                }
            }
            out.push((Token::Word(&text[start..end]), line));
            at = end;
        } else {
            out.push((Token::Punct(c as char), line));
            at += 1;
        }
    }
    Ok(out)
}

/// Whether a decimal literal has just come to its exponent, whose sign belongs to it.
fn is_exponent(so_far: &[u8]) -> bool {
    matches!(so_far.last(), Some(b'e' | b'E')) && so_far.contains(&b'.')
}

fn number(text: &str) -> Option<Token<'_>> {
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0f") {
        return u32::from_str_radix(hex, 16).ok().map(Token::F32);
    }
    if let Some(hex) = lower.strip_prefix("0d") {
        return u64::from_str_radix(hex, 16).ok().map(Token::F64);
    }
    if lower.contains('.') {
        return lower.parse::<f64>().ok().map(|v| Token::F64(v.to_bits()));
    }
    let digits = lower.trim_end_matches('u');
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        u64::from_str_radix(binary, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(&digits[1..], 8)
    } else {
        digits.parse::<u64>()
    };
    value.ok().map(|v| Token::Integer(v as i64))
}
