//! The wire format of protocol buffers (protobuf.dev, "Encoding"), as far as nets, images and events in files need it: a message is a list of
//! fields, each a number, one of four types and a value. Reading borrows from the file and copies nothing, so that a file of
//! hundreds of megabytes needs no second place in memory and one of empty messages makes none. What a field holds is for the
//! caller, who descends as deep as the format that it reads and no deeper.

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u64,
    /// Its value.
    pub value: Value<'a>,
}

/// What a field holds, by its type on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A whole number, 7 bits a byte.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// Text, a message, or many numbers one behind the other.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32([u8; 4]),
}

/// What is left of a message.
pub struct Fields<'a>(&'a [u8]);

/// The fields of a message, in their order; the last is an error where the message is cut short or damaged.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or_else(|| "a message in it is cut short or damaged".to_owned());
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let (number, wire) = key(&mut self.0)?;
        let value = match wire {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => Value::Fixed64(*self.array()?),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(*self.array()?),
            _ => return None,
        };
        Some(Field { number, value })
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(first)
    }
}

/// Takes a field's number and its type on the wire: 0 for a varint, 1 for eight bytes, 2 for a length and that many, 5 for four.
pub fn key(bytes: &mut &[u8]) -> Option<(u64, u64)> {
    varint(bytes).map(|key| (key >> 3, key & 7))
}

/// Takes a number of 7 bits a byte, the lowest first; nothing where it is cut short or has more than 64 bits.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl<'a> Field<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> Result<&'a [u8], String> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(format!("field {} is a number where text or a message is due", self.number)),
        }
    }

    /// Its text; what is none is replaced.
    pub fn text(&self) -> Result<String, String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Its whole number.
    pub fn int(&self) -> Result<i64, String> {
        match self.value {
            Value::Varint(v) => Ok(v as i64),
            _ => Err(format!("field {} is no whole number", self.number)),
        }
    }

    /// Its real number.
    pub fn float(&self) -> Result<f32, String> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(format!("field {} is no real number", self.number)),
        }
    }

    /// Adds its whole numbers, one or many.
    pub fn ints(&self, to: &mut Vec<i64>) -> Result<(), String> {
        if let Value::Bytes(mut packed) = self.value {
            while !packed.is_empty() {
                to.push(varint(&mut packed).ok_or("numbers in it are cut short")? as i64);
            }
            return Ok(());
        }
        to.push(self.int()?);
        Ok(())
    }

    /// Adds its reals, one or many.
    pub fn floats(&self, to: &mut Vec<f32>) -> Result<(), String> {
        match self.value {
            Value::Bytes(packed) => {
                let (all, rest) = packed.as_chunks();
                to.extend(all.iter().map(|&b| f32::from_le_bytes(b)));
                if rest.is_empty() { Ok(()) } else { Err("numbers in it are cut short".into()) }
            }
            _ => self.float().map(|v| to.push(v)),
        }
    }

    /// Adds its reals of 64 bits, one or many, rounded to 32.
    pub fn doubles(&self, to: &mut Vec<f32>) -> Result<(), String> {
        let one = |b| f64::from_le_bytes(b) as f32;
        match self.value {
            Value::Bytes(packed) => {
                let (all, rest) = packed.as_chunks();
                to.extend(all.iter().map(|&b| one(b)));
                if rest.is_empty() { Ok(()) } else { Err("numbers in it are cut short".into()) }
            }
            Value::Fixed64(bytes) => {
                to.push(one(bytes));
                Ok(())
            }
            _ => Err(format!("field {} is no real number", self.number)),
        }
    }
}

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, number: u64, wire: u64) {
        self.put_varint(number << 3 | wire);
    }

    /// A whole number.
    pub fn int(&mut self, number: u64, value: i64) -> &mut Self {
        self.key(number, 0);
        self.put_varint(value as u64);
        self
    }

    /// A real number.
    pub fn float(&mut self, number: u64, value: f32) -> &mut Self {
        self.key(number, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A real number of 64 bits.
    pub fn double(&mut self, number: u64, value: f64) -> &mut Self {
        self.key(number, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Bytes, text, or another message's bytes.
    pub fn bytes(&mut self, number: u64, value: &[u8]) -> &mut Self {
        self.key(number, 2);
        self.put_varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// Text.
    pub fn text(&mut self, number: u64, value: &str) -> &mut Self {
        self.bytes(number, value.as_bytes())
    }

    /// A message.
    pub fn message(&mut self, number: u64, value: &Self) -> &mut Self {
        self.bytes(number, &value.0)
    }

    /// Whole numbers, packed.
    pub fn ints(&mut self, number: u64, values: impl IntoIterator<Item = i64>) -> &mut Self {
        let mut packed = Self::default();
        values.into_iter().for_each(|v| packed.put_varint(v as u64));
        self.message(number, &packed)
    }

    /// Reals, packed.
    pub fn floats(&mut self, number: u64, values: &[f32]) -> &mut Self {
        self.key(number, 2);
        self.put_varint(4 * values.len() as u64);
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of protobuf.dev's "Encoding": 150 in field 1, "testing" in field 2, 3, 270 and 86942 packed in field 6.
    #[test]
    fn as_the_encoding_guide_has_it() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 7, b't', b'e', b's', b't', b'i', b'n', b'g', 0x32, 6, 3, 0x8e, 2, 0x9e, 0xa7, 5];
        let mut m = Message::default();
        m.int(1, 150).text(2, "testing").ints(6, [3, 270, 86942]);
        assert_eq!(m.0, bytes);
        let read: Vec<Field> = fields(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!((read[0].int(), read[1].text()), (Ok(150), Ok("testing".into())));
        let mut ints = Vec::new();
        read[2].ints(&mut ints).unwrap();
        assert_eq!(ints, [3, 270, 86942]);
    }

    #[test]
    fn what_is_cut_short_or_no_message_is_an_error() {
        let mut m = Message::default();
        m.int(1, -1).float(2, 0.5).text(3, "text").floats(4, &[1.0, 2.0]).double(5, 0.25);
        assert_eq!(fields(&m.0).filter(Result::is_ok).count(), 5);
        for end in 1..m.0.len() {
            let read: Vec<_> = fields(&m.0[..end]).collect();
            assert!(read.len() <= 5 && (read.iter().any(Result::is_err) || [11, 16, 22, 32].contains(&end)), "{end}: {read:?}");
        }
        // Groups, which nothing uses; a length beyond the end; a number of more than 64 bits.
        for bad in [&[0x0b][..], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x08; 1], &[0xff; 11]] {
            assert!(fields(bad).last().unwrap().is_err(), "{bad:?}");
        }
    }
}
