//! Tensor maps: `cuTensorMapEncodeTiled` and `cuTensorMapEncodeIm2col`, with the limits that the driver's documentation has.
//! Interleaved layouts, strides of tiles, fills with NaN and other element types than 16-bit ones, f32 and tf32 are not known.

use std::ffi::{c_int, c_uint, c_void};

use super::{Answer, INVALID_VALUE, In, NOT_SUPPORTED, Out, api};
use crate::tensor::{Element, TensorMap};

/// What both kinds of map are given.
struct Tensor {
    kind: c_uint,
    rank: c_uint,
    address: u64,
    sizes: In<u64>,
    strides: In<u64>,
    steps: In<u32>,
}

fn require(holds: bool) -> Answer {
    if holds { Ok(()) } else { Err(INVALID_VALUE) }
}

/// The first `count` values behind a pointer.
fn list<T: Copy>(from: In<T>, count: usize) -> Answer<Vec<T>> {
    (0..count).map(|k| In(from.0.wrapping_add(k)).get()).collect()
}

/// A map of the tensor, without its box.
fn map(t: &Tensor, least: u32, modes: [c_uint; 4]) -> Answer<TensorMap> {
    let [interleave, swizzle, promotion, fill] = modes;
    if super::device::capability() < 90 {
        return Err(NOT_SUPPORTED);
    }
    require((least..=5).contains(&t.rank) && t.address.is_multiple_of(16) && promotion <= 3)?;
    let element = match t.kind {
        1 | 6 | 9 => Element::Half,
        2 | 3 | 7 => Element::Word,
        11 => Element::Tf32,
        _ => return Err(NOT_SUPPORTED),
    };
    if interleave != 0 || swizzle > 3 || fill != 0 {
        return Err(NOT_SUPPORTED);
    }
    let rank = t.rank as usize;
    let (sizes, strides) = (list(t.sizes, rank)?, list(t.strides, rank - 1)?);
    require(sizes.iter().all(|&n| (1..=1 << 32).contains(&n)))?;
    require(strides.iter().all(|&s| s % 16 == 0 && s < 1 << 40))?;
    let mut map = TensorMap::new(element, t.address, &sizes, &strides);
    let steps = list(t.steps, rank)?;
    require(steps.iter().all(|n| (1..=8).contains(n)))?;
    for (step, &n) in map.steps.iter_mut().zip(&steps) {
        *step = n as u8;
    }
    map.swizzle = swizzle as u8;
    Ok(map)
}

/// Whether a row of the box is of whole chunks and fits the swizzle. The layout of one that is shorter is not known.
fn fits(map: &TensorMap) -> Answer {
    let bytes = map.row() * map.element.bytes();
    require(bytes.is_multiple_of(16) && (map.swizzle == 0 || bytes <= 16 << map.swizzle))?;
    if map.swizzle == 0 || bytes == 16 << map.swizzle { Ok(()) } else { Err(NOT_SUPPORTED) }
}

api! {
    fn cuTensorMapEncodeTiled(
        out: Out<TensorMap>, kind: c_uint, rank: c_uint, address: *mut c_void, sizes: In<u64>, strides: In<u64>, shape: In<u32>,
        steps: In<u32>, interleave: c_uint, swizzle: c_uint, promotion: c_uint, fill: c_uint,
    ) {
        let tensor = Tensor { kind, rank, address: address as u64, sizes, strides, steps };
        let mut map = map(&tensor, 1, [interleave, swizzle, promotion, fill])?;
        let shape = list(shape, rank as usize)?;
        require(shape.iter().all(|n| (1..=256).contains(n)))?;
        if map.steps != [1; 5] {
            return Err(NOT_SUPPORTED);
        }
        for (size, &n) in map.box_size.iter_mut().zip(&shape) {
            *size = n as u16;
        }
        fits(&map)?;
        require((out.0 as usize).is_multiple_of(64))?;
        out.set(map)
    }
    fn cuTensorMapEncodeIm2col(
        out: Out<TensorMap>, kind: c_uint, rank: c_uint, address: *mut c_void, sizes: In<u64>, strides: In<u64>, lower: In<c_int>,
        upper: In<c_int>, channels: c_uint, pixels: c_uint, steps: In<u32>, interleave: c_uint, swizzle: c_uint, promotion: c_uint,
        fill: c_uint,
    ) {
        let tensor = Tensor { kind, rank, address: address as u64, sizes, strides, steps };
        let mut map = map(&tensor, 3, [interleave, swizzle, promotion, fill])?;
        let space = rank as usize - 2;
        let limit = [1 << 15, 1 << 7, 1 << 4][space - 1];
        let (lower, upper) = (list(lower, space)?, list(upper, space)?);
        require(lower.iter().chain(&upper).all(|corner| (-limit..limit).contains(corner)))?;
        require((1..=256).contains(&channels) && (1..=1024).contains(&pixels))?;
        for k in 0..space {
            (map.lower[k], map.upper[k]) = (lower[k] as i16, upper[k] as i16);
            require(map.last[k + 1] as i64 + 1 + upper[k] as i64 > lower[k] as i64)?;
        }
        (map.im2col, map.box_size[0], map.box_size[1]) = (1, channels as u16, pixels as u16);
        fits(&map)?;
        require((out.0 as usize).is_multiple_of(64))?;
        out.set(map)
    }
}
