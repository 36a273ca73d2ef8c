//! NumPy's .npy files, versions 1 to 3 of the format (NEP 1; numpy/lib/format.py): a magic number, the header's length, the
//! header, which is a Python dictionary such as `{'descr': '<f4', 'fortran_order': False, 'shape': (20, 25), }`, and the
//! array. Floating-point arrays are read, of 16, 32 and 64 bits, of either order of bytes and of indices. No expression nests
//! in such a header, so nothing here recurses, whatever the file holds. Arrays of f32 are written, of version 1.

use half::f16;

/// What every file begins with.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// What goes before the values of an array of f32 with these extents, the last index fastest.
pub fn header(shape: &[usize]) -> Vec<u8> {
    let extents: Vec<String> = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", extents.concat());
    // The values begin on a multiple of 64 bytes.
    let spaces = 64 - (10 + text.len() + 1) % 64;
    text.extend(std::iter::repeat_n(' ', spaces % 64));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("an array has few extents");
    [MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
}

/// The values of an array in the order of its indices, the last one fastest. The error says what is wrong with the file.
pub fn values(file: &[u8]) -> Result<Vec<f64>, String> {
    array(file).map(|(_, values)| values)
}

/// As [`values`], with the array's shape.
pub fn array(file: &[u8]) -> Result<(Vec<usize>, Vec<f64>), String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it is no .npy file")?;
    let (length, start) = match rest {
        [1, _, a, b, ..] => (u16::from_le_bytes([*a, *b]) as usize, 4),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 6),
        [version, ..] if !(1..=3).contains(version) => return Err(format!("its format version is {version}; 1 to 3 are read")),
        _ => return Err("it ends within its header".into()),
    };
    let text = rest.get(start..start + length).ok_or("it ends within its header")?;
    let header = Header::parse(std::str::from_utf8(text).map_err(|_| "its header is no text")?)?;
    let elements = header.shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
    let data = &rest[start + length..];
    let bytes = elements.and_then(|n| n.checked_mul(header.size));
    if bytes != Some(data.len()) {
        let shape: Vec<String> = header.shape.iter().map(usize::to_string).collect();
        return Err(format!("it holds {} bytes of values, not the ({}) that its header says", data.len(), shape.join(", ")));
    }
    let values = header.decode(data);
    let values = if header.fortran_order { last_index_fastest(&values, &header.shape) } else { values };
    Ok((header.shape, values))
}

/// What a file's header says.
#[derive(Debug, PartialEq)]
struct Header {
    /// Bytes of an element.
    size: usize,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Tokens(text);
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        tokens.expect("{")?;
        while !tokens.take("}") {
            let key = tokens.string()?;
            tokens.expect(":")?;
            match key {
                "descr" => descr = Some(tokens.string()?),
                "fortran_order" => {
                    fortran_order = Some(tokens.take("True"));
                    if fortran_order == Some(false) {
                        tokens.expect("False")?;
                    }
                }
                "shape" => shape = Some(tokens.tuple()?),
                _ => return Err(tokens.wrong()),
            }
            if !tokens.take(",") {
                tokens.expect("}")?;
                break;
            }
        }
        let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
            return Err("its header lacks one of descr, fortran_order and shape".into());
        };
        let (big_endian, kind) = match descr.split_at_checked(1) {
            Some(("<" | "=" | "|", kind)) => (false, kind),
            Some((">", kind)) => (true, kind),
            _ => (false, descr),
        };
        let size = match kind {
            "f2" => 2,
            "f4" => 4,
            "f8" => 8,
            _ => return Err(format!("its values are of type '{descr}'; floats are read: f2, f4 and f8")),
        };
        Ok(Self { size, big_endian, fortran_order, shape })
    }

    fn decode(&self, data: &[u8]) -> Vec<f64> {
        fn all<const N: usize>(data: &[u8], turn: bool, one: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            let turned = |mut bytes: [u8; N]| {
                if turn {
                    bytes.reverse();
                }
                bytes
            };
            data.as_chunks::<N>().0.iter().map(|&bytes| one(turned(bytes))).collect()
        }
        match self.size {
            2 => all(data, self.big_endian, |b| f16::from_le_bytes(b).to_f64()),
            4 => all(data, self.big_endian, |b| f64::from(f32::from_le_bytes(b))),
            _ => all(data, self.big_endian, f64::from_le_bytes),
        }
    }
}

/// Values whose first index is fastest, put in the order in which the last one is.
fn last_index_fastest(values: &[f64], shape: &[usize]) -> Vec<f64> {
    let mut index = vec![0; shape.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at = index.iter().zip(shape).rev().fold(0, |at, (&i, &extent)| at * extent + i);
        out.push(values[at]);
        for (i, &extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < extent {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// What is left of a header.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// Takes a token if it is the next.
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        self.0.strip_prefix(token).inspect(|rest| self.0 = rest).is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(self.wrong()) }
    }

    /// A string in single or double quotes; none in a header has an escape.
    fn string(&mut self) -> Result<&'a str, String> {
        let quote = ["'", "\""].into_iter().find(|quote| self.take(quote)).ok_or_else(|| self.wrong())?;
        let (string, rest) = self.0.split_once(quote).ok_or_else(|| self.wrong())?;
        self.0 = rest;
        Ok(string)
    }

    /// `()`, `(20,)`, `(20, 25)`.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut items = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            let digits = self.0.trim_start().chars().take_while(char::is_ascii_digit).count();
            let (number, rest) = self.0.trim_start().split_at(digits);
            items.push(number.parse().map_err(|_| self.wrong())?);
            self.0 = rest;
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(items)
    }

    fn wrong(&self) -> String {
        let next: String = self.0.chars().take(20).flat_map(char::escape_default).collect();
        format!("its header does not read at '{next}'")
    }
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, array, header, values};

    /// A file as NumPy writes it, from the header's text.
    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([version, 0]);
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    fn bytes<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
        values.into_iter().flatten().collect()
    }

    /// numpy's format, version 1.0: the values begin on a multiple of 64, behind a line's end.
    #[test]
    fn headers_are_whole_lines_of_64_bytes_and_read_back() {
        for shape in [&[3, 5][..], &[4, 3, 2, 5], &[1]] {
            let mut file = header(shape);
            assert!(file.len().is_multiple_of(64) && file.ends_with(b"\n"), "{}", file.len());
            let numbers: Vec<f64> = (0..shape.iter().product()).map(|i: usize| i as f64).collect();
            file.extend(numbers.iter().flat_map(|&v| (v as f32).to_le_bytes()));
            assert_eq!(array(&file).unwrap(), (shape.to_vec(), numbers));
        }
    }

    #[test]
    fn types_and_orders_are_read() {
        let numbers = [1.0, -2.5, 0.125, 3.0, 4.0, 65504.0];
        for (descr, data) in [
            ("<f4", bytes(numbers.map(|v| (v as f32).to_le_bytes()))),
            (">f4", bytes(numbers.map(|v| (v as f32).to_be_bytes()))),
            ("<f8", bytes(numbers.map(f64::to_le_bytes))),
            (">f8", bytes(numbers.map(f64::to_be_bytes))),
            ("<f2", bytes(numbers.map(|v| half::f16::from_f64(v).to_le_bytes()))),
        ] {
            for version in 1..=3 {
                let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 3), }}    \n");
                assert_eq!(values(&file(version, &header, &data)).unwrap(), numbers, "{descr}, version {version}");
                let header = header.replace("False", "True");
                let turned = [1.0, 0.125, 4.0, -2.5, 3.0, 65504.0];
                assert_eq!(values(&file(version, &header, &data)).unwrap(), turned, "{descr}, first index fastest");
            }
        }
        let one = file(1, "{\"shape\":(),\"fortran_order\":False,\"descr\":\"<f8\"}", &7.0_f64.to_le_bytes());
        assert_eq!(values(&one).unwrap(), [7.0]);
    }

    #[test]
    fn what_does_not_read_is_an_error() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let good = file(1, header, &[0; 8]);
        assert_eq!(values(&good).unwrap(), [0.0; 2]);
        for end in 0..good.len() {
            values(&good[..end]).unwrap_err();
        }
        for (change, word) in [
            ("(2,)=>(3,)", "(3)"),
            ("(2,)=>(99999999999, 99999999999, 99999999999)", "99999999999"),
            ("(2,)=>(99999999999999999999999,)", "does not read"),
            ("(2,)=>(-2,)", "does not read"),
            ("(2,)=>2", "does not read"),
            ("(2,)=>(2", "does not read"),
            ("<f4=><i4", "'<i4'"),
            ("<f4=>", "type ''"),
            ("'<f4'=>[('a', '<f4')]", "does not read"),
            ("False=>Maybe", "does not read"),
            ("shape=>shapes", "does not read"),
            (", 'shape': (2,), =>", "lacks"),
            ("}=>", "does not read"),
        ] {
            let (from, to) = change.split_once("=>").unwrap();
            let error = values(&file(1, &header.replace(from, to), &[0; 8])).unwrap_err();
            assert!(error.contains(word), "{change}: {error}");
        }
        let nested = format!("{{'descr': {}", "[".repeat(60_000));
        values(&file(2, &nested, &[])).unwrap_err();
        assert!(values(&file(4, header, &[0; 8])).unwrap_err().contains("version is 4"));
        assert!(values(b"PK\x03\x04").unwrap_err().contains("no .npy file"));
    }
}
