//! Tensor maps: what `cuTensorMapEncodeTiled` and `cuTensorMapEncodeIm2col` put into the 128 bytes of a CUtensorMap, and what
//! `cp.async.bulk.tensor` finds there. A GPU's encoding is its own; this one is read by nobody else.
//!
//! A box is a list of rows, each of neighbouring elements along the first dimension, one behind the other in shared memory.
//! Tiled: one row for each place of the box in the other dimensions. Im2col: one row for each pixel, from the coordinates on,
//! by the traversal strides through the bounding box, which spans from the lower corner to the far end plus the upper corner,
//! into the next image at its end; the offsets are added to a pixel's place, not to the box.

/// Marks a map.
const MAGIC: u32 = 0x6d61_7074;

/// A tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct TensorMap {
    magic: u32,
    /// Whether pixels are picked as a convolution's windows are.
    pub im2col: u32,
    unused: u64,
    /// Of the tensor's first element.
    pub address: u64,
    /// Elements along each dimension, less one.
    pub last: [u32; 5],
    /// Dimensions.
    pub rank: u32,
    /// Bytes from one element to the next along the dimensions but the first.
    pub strides: [u64; 4],
    /// Tiled: elements of the box. Im2col: channels and pixels.
    pub box_size: [u16; 5],
    /// Elements between two pixels, by dimension.
    pub steps: [u8; 5],
    /// log2 of the 16-byte chunks that are turned: 0, or 1, 2, 3 for 32, 64, 128 bytes.
    pub swizzle: u8,
    /// Of the bounding box, from the first dimension of space on.
    pub lower: [i16; 3],
    /// See `lower`.
    pub upper: [i16; 3],
    /// What the elements are.
    pub element: Element,
    padding: [u8; 15],
}
const _: () = assert!(size_of::<TensorMap>() == 128);

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Element {
    /// 16 bits, copied.
    Half,
    /// 32 bits, copied.
    Word,
    /// f32, rounded to the nearest tf32, ties to even.
    Tf32,
}

impl Element {
    /// Bytes of one.
    pub fn bytes(self) -> u64 {
        if self == Element::Half { 2 } else { 4 }
    }
}

/// A row of a box: where its first element would lie, and which of its elements are inside the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxRow {
    /// Of the first element, which may be outside.
    pub address: u64,
    /// Elements inside.
    pub inside: std::ops::Range<u64>,
}

impl TensorMap {
    /// A map of a tensor, the rest zero.
    pub fn new(element: Element, address: u64, sizes: &[u64], strides: &[u64]) -> Self {
        let mut map = TensorMap {
            magic: MAGIC,
            im2col: 0,
            unused: 0,
            address,
            last: [0; 5],
            rank: sizes.len() as u32,
            strides: [0; 4],
            box_size: [1; 5],
            steps: [1; 5],
            swizzle: 0,
            lower: [0; 3],
            upper: [0; 3],
            element,
            padding: [0; 15],
        };
        for (last, &size) in map.last.iter_mut().zip(sizes) {
            *last = (size - 1) as u32;
        }
        map.strides[..strides.len()].copy_from_slice(strides);
        map
    }

    /// The map in 128 bytes, if it is one.
    pub fn read(bytes: &[u8; 128]) -> Option<Self> {
        let magic = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        // SAFETY: a map was written here by `encode`; all its fields but the element are plain numbers, and the magic says
        // that the element is one.
        (magic == MAGIC).then(|| unsafe { bytes.as_ptr().cast::<TensorMap>().read_unaligned() })
    }

    fn size(&self, dimension: usize) -> i64 {
        self.last[dimension] as i64 + 1
    }

    /// Elements of a row.
    pub fn row(&self) -> u64 {
        self.box_size[0] as u64
    }

    /// Bytes of a box, all of which count as brought, those outside the tensor too.
    pub fn bytes(&self) -> u64 {
        let rows: u64 = if self.im2col != 0 {
            self.box_size[1] as u64
        } else {
            self.box_size[1..self.rank as usize].iter().map(|&n| n as u64).product()
        };
        rows * self.row() * self.element.bytes()
    }

    /// The rows of the box at these coordinates; `None` where an im2col copy begins outside of its bounding box.
    pub fn rows(&self, coordinates: &[i64], offsets: &[i64]) -> Option<Vec<BoxRow>> {
        if self.im2col != 0 { self.pixels(coordinates, offsets) } else { Some(self.tile(coordinates)) }
    }

    fn tile(&self, coordinates: &[i64]) -> Vec<BoxRow> {
        let rank = self.rank as usize;
        let count = self.bytes() / (self.row() * self.element.bytes());
        let row = |mut number: u64| {
            let mut place = [0; 5];
            place[0] = coordinates[0];
            for k in 1..rank {
                place[k] = coordinates[k] + (number % self.box_size[k] as u64) as i64;
                number /= self.box_size[k] as u64;
            }
            self.at(&place[..rank])
        };
        (0..count).map(row).collect()
    }

    fn pixels(&self, coordinates: &[i64], offsets: &[i64]) -> Option<Vec<BoxRow>> {
        let rank = self.rank as usize;
        let end = |k: usize| self.size(k) + self.upper[k - 1] as i64;
        let mut place: Vec<i64> = coordinates.to_vec();
        if (1..rank - 1).any(|k| place[k] < self.lower[k - 1] as i64 || place[k] >= end(k)) {
            return None;
        }
        let rows = (0..self.box_size[1]).map(|_| {
            let mut shifted = place.clone();
            for (k, offset) in offsets.iter().enumerate() {
                shifted[k + 1] += offset;
            }
            let mut k = 1;
            while k < rank - 1 {
                place[k] += self.steps[k] as i64;
                if place[k] < end(k) {
                    break;
                }
                place[k] = self.lower[k - 1] as i64;
                k += 1;
            }
            if k == rank - 1 {
                place[k] += 1;
            }
            self.at(&shifted)
        });
        Some(rows.collect())
    }

    /// The row that begins at a place, which is outside where any of its coordinates is.
    fn at(&self, place: &[i64]) -> BoxRow {
        let mut address = self.address.wrapping_add_signed(place[0] * self.element.bytes() as i64);
        let mut inside = true;
        for (k, &at) in place.iter().enumerate().skip(1) {
            inside &= (0..self.size(k)).contains(&at);
            address = address.wrapping_add_signed(at.wrapping_mul(self.strides[k - 1] as i64));
        }
        let row = self.row() as i64;
        let from = (-place[0]).clamp(0, row);
        let to = (self.size(0) - place[0]).clamp(from, row);
        BoxRow { address, inside: if inside { from as u64..to as u64 } else { 0..0 } }
    }
}

/// Turns the 16-byte chunks of 32, 64 or 128 bytes (`swizzle` 1, 2, 3) by the address's next higher bits, from bit 7 on.
pub fn swizzled(address: u64, swizzle: u32) -> u64 {
    let chunks = (1 << swizzle) - 1;
    address ^ (address >> 7 & chunks) << 4
}

/// The nearest tf32 of an f32's bits, ties to even; what is no number stays so.
pub fn to_tf32(bits: u32) -> u32 {
    if f32::from_bits(bits).is_nan() {
        return bits & !0x1fff | 1 << 22;
    }
    (bits + 0xfff + (bits >> 13 & 1)) & !0x1fff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 images of 5 × 4 pixels of 8 channels, a 3 × 3 window padded by 1, stride 2: 3 × 2 windows.
    fn windows() -> TensorMap {
        let mut map = TensorMap::new(Element::Word, 1 << 20, &[8, 4, 5, 3], &[32, 128, 640]);
        (map.im2col, map.box_size[0], map.box_size[1]) = (1, 4, 8);
        map.steps = [1, 2, 2, 1, 1];
        (map.lower, map.upper) = ([-1, -1, 0], [-2, -1, 0]);
        map
    }

    #[test]
    fn pixels_go_by_the_strides_through_the_box_and_on_into_the_next_image() {
        let rows = windows().rows(&[4, -1, 1, 0], &[1, 0]).unwrap();
        // (w, h, n) of the pixels before the offset of 1 along w.
        let expected = [(-1, 1, 0), (1, 1, 0), (-1, 3, 0), (1, 3, 0), (-1, -1, 1), (1, -1, 1), (-1, 1, 1), (1, 1, 1)];
        for (row, (w, h, n)) in rows.iter().zip(expected) {
            let address = (1 << 20) + 16 + (w + 1) * 32 + h * 128 + n * 640;
            let inside = if h < 0 { 0..0 } else { 0..4 };
            assert_eq!(*row, BoxRow { address: address as u64, inside });
        }
        assert_eq!(windows().bytes(), 8 * 16);
    }

    #[test]
    fn channels_and_images_past_the_end_are_outside() {
        let rows = windows().rows(&[6, -1, -1, 2], &[1, 1]).unwrap();
        assert!(rows[..6].iter().all(|row| row.inside == (0..2)));
        assert!(rows[6..].iter().all(|row| row.inside == (0..0)));
        assert_eq!(windows().rows(&[0, 3, -1, 0], &[0, 0]), None);
    }

    #[test]
    fn a_tile_has_zeros_outside() {
        let mut map = TensorMap::new(Element::Half, 4096, &[10, 3], &[32]);
        map.box_size = [8, 2, 1, 1, 1];
        let rows = map.rows(&[4, 2], &[]).unwrap();
        assert_eq!(rows, [BoxRow { address: 4096 + 8 + 64, inside: 0..6 }, BoxRow { address: 4096 + 8 + 96, inside: 0..0 }]);
        let rows = map.rows(&[-3, 0], &[]).unwrap();
        assert_eq!(rows[0].inside, 3..8);
    }

    #[test]
    fn rounding_to_tf32() {
        let round = |x: f32| f32::from_bits(to_tf32(x.to_bits()));
        let unit = 2f32.powi(-10);
        assert_eq!(round(1.0 + unit / 2.0), 1.0);
        assert_eq!(round(1.0 + 1.5 * unit), 1.0 + 2.0 * unit);
        assert_eq!(round(-1.0 - 0.6 * unit), -1.0 - unit);
        assert_eq!(round(f32::MAX), f32::INFINITY);
        assert!(round(f32::from_bits(0x7fff_ffff)).is_nan() && round(f32::from_bits(0xff80_0001)).is_nan());
    }
}
