//! Dot products of bytes and halves, and sign extension.

use super::lanes::{binary_mode, ternary_mode};
use crate::ir::{Decoder, Ty};
use crate::ptx::Error;

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    if d.opcode() == "szext" {
        let wrap = d.take("wrap");
        if !wrap && !d.take("clamp") {
            return Err(d.unknown());
        }
        let ty = d.ty()?;
        d.mode = wrap as u32 | ((ty == Ty::S32) as u32 * 2);
        let exec = binary_mode(|mode, a: u32, n: u32| {
            let n = if mode & 1 != 0 { n & 31 } else { n.min(32) };
            match (n, mode & 2 != 0) {
                (0, _) => 0,
                (32, _) => a,
                (_, true) => ((a << (32 - n)) as i32 >> (32 - n)) as u32,
                (_, false) => a & ((1 << n) - 1),
            }
        });
        let ops = [d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, 0, 0];
        return d.emit(exec, ops);
    }
    let bytes = d.opcode() == "dp4a";
    let high = d.take("hi");
    if !bytes && !high && !d.take("lo") {
        return Err(d.unknown());
    }
    let (a, b) = (d.ty()?, d.ty()?);
    d.mode = a.signed() as u32 | (b.signed() as u32) << 1 | (high as u32) << 2;
    let exec = if bytes {
        ternary_mode(|mode, a: u32, b: u32, c: u32| {
            (0..4).fold(c, |sum, k| sum.wrapping_add(byte(a, k, mode & 1).wrapping_mul(byte(b, k, mode & 2)) as u32))
        })
    } else {
        ternary_mode(|mode, a: u32, b: u32, c: u32| {
            let first = if mode & 4 != 0 { 2 } else { 0 };
            (0..2).fold(c, |sum, k| {
                let x = (a >> (16 * k)) as u16;
                let x = if mode & 1 != 0 { x as i16 as i32 } else { x as i32 };
                sum.wrapping_add(x.wrapping_mul(byte(b, first + k, mode & 2)) as u32)
            })
        })
    };
    let ops = [d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, d.source(3, Ty::B32)?, 0];
    d.emit(exec, ops)
}

fn byte(v: u32, k: u32, signed: u32) -> i32 {
    let v = (v >> (8 * k)) as u8;
    if signed != 0 { v as i8 as i32 } else { v as i32 }
}
