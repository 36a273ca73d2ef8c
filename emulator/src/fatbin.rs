//! The container nvcc puts code into: a header, then entries of machine code (ELF) and PTX, each with its architecture.

/// Marks a fatbin.
const MAGIC: u32 = 0xba55_ed50;
const KIND_PTX: u16 = 1;
const FLAG_COMPRESSED: u64 = 0x2000 | 0x8000;

/// Why an image cannot be loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It is neither a fatbin nor PTX text.
    Unknown,
    /// No PTX in it is for this capability or a lower one.
    NoPtx,
    /// The PTX is compressed.
    Compressed,
}

/// The PTX in an image: the text itself, or the entry of a fatbin with the highest architecture up to `capability` (80 for
/// 8.0). PTX of an architecture's own (`sm_90a`) is for that capability alone, and goes before what is for others too.
///
/// # Safety
/// `image` points to a whole fatbin, or to text that ends in a zero byte.
pub unsafe fn ptx(image: *const u8, capability: u32) -> Result<String, ImageError> {
    // SAFETY: a fatbin's header has 16 bytes; of text, no more than its length is looked at below.
    let first = unsafe { std::slice::from_raw_parts(image, 4) };
    if first != MAGIC.to_le_bytes() {
        // SAFETY: as the caller promises, the text ends in a zero byte.
        let text = unsafe { std::ffi::CStr::from_ptr(image.cast()) };
        let text = String::from_utf8_lossy(text.to_bytes()).into_owned();
        return if text.contains(".version") { Ok(text) } else { Err(ImageError::Unknown) };
    }
    // SAFETY: the header says how long it and what follows are.
    let all = unsafe {
        let header = std::slice::from_raw_parts(image, 16);
        let (header_len, len) = (number(header, 6, 2), number(header, 8, 8));
        std::slice::from_raw_parts(image, (header_len + len) as usize)
    };
    entries(all, capability)
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.get(at..at + len).map_or(0, |b| b.iter().rev().fold(0, |n, &byte| n << 8 | byte as u64))
}

fn entries(all: &[u8], capability: u32) -> Result<String, ImageError> {
    let mut at = number(all, 6, 2) as usize;
    let mut best: Option<((u32, bool), bool, &[u8])> = None;
    while at + 64 <= all.len() {
        let entry = &all[at..];
        let (kind, header_len, len) = (number(entry, 0, 2) as u16, number(entry, 4, 4) as usize, number(entry, 8, 8) as usize);
        let (architecture, flags) = (number(entry, 28, 4) as u32, number(entry, 40, 8));
        if header_len == 0 {
            break;
        }
        let code = entry.get(header_len..header_len + len).unwrap_or_default();
        let own = is_of_one(code);
        let runs = if own { architecture == capability } else { architecture <= capability };
        if kind == KIND_PTX && runs && best.is_none_or(|b| (architecture, own) > b.0) {
            best = Some(((architecture, own), flags & FLAG_COMPRESSED != 0, code));
        }
        at += header_len + len;
    }
    match best {
        None => Err(ImageError::NoPtx),
        Some((_, true, _)) => Err(ImageError::Compressed),
        Some((_, false, code)) => {
            let end = code.iter().position(|&c| c == 0).unwrap_or(code.len());
            Ok(String::from_utf8_lossy(&code[..end]).into_owned())
        }
    }
}

/// Whether PTX is for one architecture alone: its `.target` ends in a letter.
fn is_of_one(code: &[u8]) -> bool {
    const TARGET: &[u8] = b".target sm_";
    let start = code.windows(TARGET.len()).position(|w| w == TARGET).map_or(code.len(), |at| at + TARGET.len());
    code[start..].iter().find(|c| !c.is_ascii_digit()).is_some_and(u8::is_ascii_alphabetic)
}
