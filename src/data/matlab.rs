//! MATLAB's .mat files, version 5, as far as ILSVRC's `meta.mat` goes: numbers, text, and arrays of structures of these.
//!
//! A file is a header of 128 bytes and elements: a type, a length in bytes, and the bytes, to a multiple of 8; what has at most four is
//! packed into its tag ("MAT-File Format", The MathWorks). An element may be a whole one that zlib compressed.

use flate2::read::ZlibDecoder;
use std::collections::HashMap;
use std::io::Read;

/// Bytes of an element that is unpacked, at most.
const MAX_UNPACKED: u64 = 1 << 26;
/// Fields of a structure, at most.
const MAX_FIELDS: usize = 1000;
/// Elements within elements, at most.
const DEPTH: usize = 8;

/// Types of elements.
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// Classes of arrays.
const CELL: u8 = 1;
const STRUCT: u8 = 2;
const CHAR: u8 = 4;
const NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Numbers, column after column.
    Numbers(Vec<f64>),
    /// Text.
    Text(String),
    /// Structures, each with its fields.
    Structs(Vec<HashMap<String, Value>>),
    /// Anything else.
    Other,
}

impl Value {
    /// The only number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Numbers(numbers) if numbers.len() == 1 => Some(numbers[0]),
            _ => None,
        }
    }
}

/// The variables of a file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(file: &[u8]) -> Result<HashMap<String, Value>, String> {
    if file.len() < 128 || &file[126..128] != b"IM" {
        return Err("it is no MATLAB file of version 5 in little-endian order".to_owned());
    }
    let mut found = HashMap::new();
    let mut rest = &file[128..];
    while !rest.is_empty() {
        let mut unpacked = Vec::new();
        let (mut kind, mut bytes) = element(&mut rest)?;
        if kind == COMPRESSED {
            let limited = ZlibDecoder::new(bytes).take(MAX_UNPACKED + 1).read_to_end(&mut unpacked);
            limited.map_err(|e| format!("a compressed element is damaged: {e}"))?;
            if unpacked.len() as u64 > MAX_UNPACKED {
                return Err(format!("an element has more than {MAX_UNPACKED} bytes"));
            }
            (kind, bytes) = element(&mut &unpacked[..])?;
        }
        if kind == MATRIX {
            let (name, value) = matrix(bytes, 0)?;
            found.insert(name, value);
        }
    }
    Ok(found)
}

/// Takes an element off the front: its type and its bytes.
fn element<'a>(rest: &mut &'a [u8]) -> Result<(u32, &'a [u8]), String> {
    let ended = || "it ends within an element".to_owned();
    let word = |at: usize| rest.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (kind, length) = word(0).zip(word(4)).ok_or_else(ended)?;
    if kind >> 16 != 0 {
        // Packed: the length in the upper half of the type, the bytes in place of the length.
        let bytes = rest.get(4..4 + (kind >> 16) as usize).filter(|bytes| bytes.len() <= 4).ok_or_else(ended)?;
        *rest = &rest[8..];
        return Ok((kind & 0xffff, bytes));
    }
    let length = length as usize;
    let bytes = rest.get(8..).and_then(|behind| behind.get(..length)).ok_or_else(ended)?;
    // A compressed element is not filled up.
    let whole = if kind == COMPRESSED { length } else { length.next_multiple_of(8) };
    *rest = rest.get(8 + whole..).unwrap_or_default();
    Ok((kind, bytes))
}

/// An array's name and value.
fn matrix(mut rest: &[u8], depth: usize) -> Result<(String, Value), String> {
    if rest.is_empty() {
        return Ok((String::new(), Value::Other));
    }
    if depth > DEPTH {
        return Err("its arrays lie too deep in each other".to_owned());
    }
    let (_, flags) = element(&mut rest)?;
    let class = *flags.first().ok_or("an array has no class")?;
    let (kind, dimensions) = element(&mut rest)?;
    let count = numbers(kind, dimensions)?.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent as usize));
    let count = count.ok_or("an array is too large")?;
    let name = String::from_utf8_lossy(element(&mut rest)?.1).into_owned();
    let value = match class {
        STRUCT => {
            let (kind, width) = element(&mut rest)?;
            let width = *numbers(kind, width)?.first().ok_or("a structure has no fields' names")? as usize;
            let names = element(&mut rest)?.1;
            if names.len() > MAX_FIELDS.saturating_mul(width) {
                return Err("a structure has too many fields".to_owned());
            }
            let end = |name: &[u8]| name.iter().position(|&b| b == 0).unwrap_or(name.len());
            let names: Vec<String> =
                names.chunks(width.max(1)).map(|name| String::from_utf8_lossy(&name[..end(name)]).into_owned()).collect();
            let mut structs = Vec::new();
            for _ in 0..count {
                let mut fields = HashMap::new();
                for name in &names {
                    fields.insert(name.clone(), matrix(element(&mut rest)?.1, depth + 1)?.1);
                }
                if fields.is_empty() {
                    break;
                }
                structs.push(fields);
            }
            Value::Structs(structs)
        }
        CHAR => {
            let (kind, bytes) = element(&mut rest)?;
            Value::Text(match kind {
                // UTF-16, which text without characters above U+FFFF is.
                4 | 17 => numbers(4, bytes)?.iter().filter_map(|&c| char::from_u32(c as u32)).collect(),
                _ => String::from_utf8_lossy(bytes).into_owned(),
            })
        }
        CELL => Value::Other,
        class if NUMBERS.contains(&class) => {
            let (kind, bytes) = element(&mut rest)?;
            Value::Numbers(numbers(kind, bytes)?)
        }
        _ => Value::Other,
    };
    Ok((name, value))
}

/// The numbers of an element, which need not be of its array's class: doubles that are small are stored as bytes.
fn numbers(kind: u32, bytes: &[u8]) -> Result<Vec<f64>, String> {
    fn all<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&b| one(b)).collect()
    }
    Ok(match kind {
        1 => all(bytes, |b: [u8; 1]| f64::from(b[0] as i8)),
        2 => all(bytes, |b: [u8; 1]| f64::from(b[0])),
        3 => all(bytes, |b| i16::from_le_bytes(b).into()),
        4 => all(bytes, |b| u16::from_le_bytes(b).into()),
        5 => all(bytes, |b| i32::from_le_bytes(b).into()),
        6 => all(bytes, |b| u32::from_le_bytes(b).into()),
        7 => all(bytes, |b| f32::from_le_bytes(b).into()),
        9 => all(bytes, f64::from_le_bytes),
        12 => all(bytes, |b| i64::from_le_bytes(b) as f64),
        13 => all(bytes, |b| u64::from_le_bytes(b) as f64),
        _ => return Err(format!("its numbers are of an unknown type, {kind}")),
    })
}
