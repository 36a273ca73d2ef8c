//! Moves: mov with packing and unpacking, cvta, selp, slct, isspacep.

use super::lanes::{LANES, binary, quaternary, ternary, unary};
use super::warp::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, Step, Warp};
use crate::ir::{Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    match d.opcode() {
        "mov" => mov(d),
        "cvta" => cvta(d),
        "isspacep" => isspacep(d),
        "selp" => {
            let ty = d.ty()?;
            let (dest, a, b) = (d.dest(0, ty.wide())?, d.source(1, ty)?, d.source(2, ty)?);
            let (p, negated) = d.source_pred(3)?;
            let (a, b) = if negated { (b, a) } else { (a, b) };
            d.emit(if ty.wide() { select::<u64> } else { select::<u32> }, [dest, a, b, p, 0])
        }
        _ => {
            // slct.dtype.ctype d, a, b, c: a if c ≥ 0.
            d.take("ftz");
            let (ty, sign) = (d.ty()?, d.ty()?);
            let ops = [d.dest(0, ty.wide())?, d.source(1, ty)?, d.source(2, ty)?, d.source(3, sign)?, 0];
            let exec = match (ty.wide(), sign) {
                (false, Ty::S32) => ternary(|a: u32, b: u32, c: i32| if c >= 0 { a } else { b }),
                (true, Ty::S32) => ternary(|a: u64, b: u64, c: i32| if c >= 0 { a } else { b }),
                (false, Ty::F32) => ternary(|a: u32, b: u32, c: f32| if c >= 0.0 { a } else { b }),
                (true, Ty::F32) => ternary(|a: u64, b: u64, c: f32| if c >= 0.0 { a } else { b }),
                _ => return Err(d.unknown()),
            };
            d.emit(exec, ops)
        }
    }
}

fn select<C: super::lanes::Cell>(warp: &mut Warp, inst: &Inst) -> Step {
    let p = warp.pred(inst.c());
    let mut out = [C::default(); LANES];
    let (a, b) = (warp.row::<C>(inst.a()), warp.row::<C>(inst.b()));
    for lane in 0..LANES {
        out[lane] = if p >> lane & 1 != 0 { a[lane] } else { b[lane] };
    }
    warp.write(inst.d(), &out);
    Step::Next
}

fn copy_pred(warp: &mut Warp, inst: &Inst) -> Step {
    let p = warp.pred(inst.a());
    warp.set_pred(inst.d(), p ^ inst.mode);
    Step::Next
}

/// The cycle counters: here, nanoseconds since the process first asked.
fn clock(warp: &mut Warp, inst: &Inst) -> Step {
    use std::time::Instant;
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let now = START.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    match inst.mode {
        0 => warp.write(inst.d(), &[now as u32; LANES]),
        1 => warp.write(inst.d(), &[now; LANES]),
        _ => warp.write(inst.d(), &[(now >> 32) as u32; LANES]),
    }
    Step::Next
}

fn mov(d: &mut Decoder) -> Result<(), Error> {
    let ty = d.ty()?;
    if ty == Ty::Pred {
        let (dest, (p, negated)) = (d.dest_pred_of(d.operand(0)?)?, d.source_pred(1)?);
        d.mode = if negated { u32::MAX } else { 0 };
        return d.emit(copy_pred, [dest, p, 0, 0, 0]);
    }
    match (d.operand(0)?, d.operand(1)?) {
        (Operand::Vector(parts), whole) => unpack(d, ty, parts, whole),
        (whole, Operand::Vector(parts)) => pack(d, ty, whole, parts),
        (dest, Operand::Name(name)) if name.starts_with("%clock") || name.starts_with("%globaltimer") => {
            d.mode = if ty.wide() { 1 } else { name.ends_with("_hi") as u32 * 2 };
            let dest = d.dest_of(dest, ty.wide())?;
            d.emit(clock, [dest, 0, 0, 0, 0])
        }
        (dest, source) => {
            let (dest, source) = (d.dest_of(dest, ty.wide())?, d.source_of(source, ty)?);
            d.copy = Some(source);
            d.emit(if ty.wide() { unary(|a: u64| a) } else { unary(|a: u32| a) }, [dest, source, 0, 0, 0])
        }
    }
}

/// `mov.b64 %rd, {%r0, %r1}`, also of 16-bit halves and quarters.
fn pack(d: &mut Decoder, ty: Ty, whole: &Operand, parts: &[Operand]) -> Result<(), Error> {
    let part = if ty.bytes() / parts.len() as u32 == 4 { Ty::B32 } else { Ty::B16 };
    let mut rows = [0; 4];
    for (row, operand) in rows.iter_mut().zip(parts) {
        *row = d.source_of(operand, part)?;
    }
    let exec = match (ty.bytes(), parts.len()) {
        (4, 2) => binary(|a: u16, b: u16| a as u32 | (b as u32) << 16),
        (8, 2) => binary(|a: u32, b: u32| a as u64 | (b as u64) << 32),
        (8, 4) => quaternary(|a: u16, b: u16, c: u16, e: u16| a as u64 | (b as u64) << 16 | (c as u64) << 32 | (e as u64) << 48),
        _ => return Err(d.unknown()),
    };
    let dest = d.dest_of(whole, ty.wide())?;
    d.emit(exec, [dest, rows[0], rows[1], rows[2], rows[3]])
}

/// `mov.b64 {%r0, %r1}, %rd`
fn unpack(d: &mut Decoder, ty: Ty, parts: &[Operand], whole: &Operand) -> Result<(), Error> {
    let source = d.source_of(whole, ty)?;
    for part in parts {
        let row = d.dest_of(part, false)?;
        d.more.push(row);
    }
    let exec = match (ty.bytes(), parts.len()) {
        (4, 2) => |warp: &mut Warp, inst: &Inst| split::<2>(warp, inst, |warp, lane, i| warp.row::<u32>(i.a())[lane] as u64, 16),
        (8, 2) => |warp: &mut Warp, inst: &Inst| split::<2>(warp, inst, |warp, lane, i| warp.row::<u64>(i.a())[lane], 32),
        (8, 4) => |warp: &mut Warp, inst: &Inst| split::<4>(warp, inst, |warp, lane, i| warp.row::<u64>(i.a())[lane], 16),
        _ => return Err(d.unknown()),
    };
    d.emit(exec, [0, source, 0, 0, 0])
}

#[inline(always)]
fn split<const N: usize>(warp: &mut Warp, inst: &Inst, whole: impl Fn(&Warp, usize, &Inst) -> u64, bits: u32) -> Step {
    let mut out = [[0u32; LANES]; N];
    let keep = ((1u64 << bits) - 1) as u32;
    for lane in 0..LANES {
        let value = whole(warp, lane, inst);
        for (k, row) in out.iter_mut().enumerate() {
            row[lane] = (value >> (bits * k as u32)) as u32 & keep;
        }
    }
    for (row, values) in inst.more.iter().zip(&out) {
        warp.write(*row, values);
    }
    Step::Next
}

/// Global and constant addresses are the same in their space and generic; shared, local and parameter ones get a window.
fn cvta(d: &mut Decoder) -> Result<(), Error> {
    let to = d.take("to");
    let space = d.take_any(&["global", "const", "shared", "shared::cta", "local", "param"]).ok_or_else(|| d.unknown())?;
    let ty = d.ty()?;
    d.take("entry");
    if !ty.wide() {
        return Err(d.unknown());
    }
    // `cvta.shared.u64 %rd, symbol` may name the variable.
    let (dest, source) = (d.dest(0, true)?, d.source(1, ty)?);
    let exec = match (space, to) {
        ("global" | "const", _) => {
            d.copy = Some(source);
            unary(|a: u64| a)
        }
        ("shared" | "shared::cta", false) => unary(|a: u64| a.wrapping_add(SHARED_WINDOW)),
        ("shared" | "shared::cta", true) => unary(|a: u64| a.wrapping_sub(SHARED_WINDOW)),
        ("local", false) => unary(|a: u64| a.wrapping_add(LOCAL_WINDOW)),
        ("local", true) => unary(|a: u64| a.wrapping_sub(LOCAL_WINDOW)),
        (_, false) => unary(|a: u64| a.wrapping_add(PARAM_WINDOW)),
        (_, true) => unary(|a: u64| a.wrapping_sub(PARAM_WINDOW)),
    };
    d.emit(exec, [dest, source, 0, 0, 0])
}

fn isspacep(d: &mut Decoder) -> Result<(), Error> {
    let space = d.take_any(&["global", "const", "shared", "shared::cta", "local", "param"]).ok_or_else(|| d.unknown())?;
    d.mode = match space {
        "shared" | "shared::cta" => 1,
        "local" => 2,
        "param" => 3,
        _ => 0,
    };
    let (dest, a) = (d.dest_pred_of(d.operand(0)?)?, d.source(1, Ty::U64)?);
    let exec = |warp: &mut Warp, inst: &Inst| {
        let a = warp.row::<u64>(inst.a());
        let result = (0..LANES).fold(0, |all, lane| all | ((a[lane] >> 56 == inst.mode as u64) as u32) << lane);
        warp.set_pred(inst.d(), result);
        Step::Next
    };
    d.emit(exec, [dest, a, 0, 0, 0])
}
