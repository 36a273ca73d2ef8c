//! atom and red: lane after lane, each a real atomic of the host, since blocks run on several threads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use half::{bf16, f16};

use super::lanes::{Exec, LANES};
use super::memory::{Access, WIDE_BASE, addresses, bad_access, observe, place_of, resolve, take_space};
use super::warp::{Step, Warp};
use crate::ir::{Class, Decoder, Inst, Ty};
use crate::ptx::Error;

/// The new value from the old one, the operand and, for cas, the second operand; all as bits.
type Update = fn(u64, u64, u64) -> u64;

macro_rules! update {
    ($t:ty, |$a:ident, $b:ident| $e:expr) => {
        |a, b, _| {
            let ($a, $b) = (a as $t, b as $t);
            ($e) as u64
        }
    };
}

fn update(op: &str, ty: Ty) -> Option<Update> {
    use super::rounding::canonical;
    Some(match (op, ty) {
        ("add", Ty::U32 | Ty::S32) => update!(u32, |a, b| a.wrapping_add(b)),
        ("add", Ty::U64 | Ty::S64) => |a, b, _| a.wrapping_add(b),
        ("add", Ty::F32) => |a, b, _| canonical(f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits() as u64,
        ("add", Ty::F64) => |a, b, _| (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
        ("add", Ty::F16x2) => |a, b, _| {
            let sum = |s: u32| (f16::from_bits((a >> s) as u16) + f16::from_bits((b >> s) as u16)).to_bits() as u64;
            sum(0) | sum(16) << 16
        },
        ("add", Ty::BF16x2) => |a, b, _| {
            let sum = |s: u32| (bf16::from_bits((a >> s) as u16) + bf16::from_bits((b >> s) as u16)).to_bits() as u64;
            sum(0) | sum(16) << 16
        },
        ("min", Ty::U32) => update!(u32, |a, b| a.min(b)),
        ("min", Ty::S32) => update!(i32, |a, b| a.min(b) as u32),
        ("min", Ty::U64) => |a, b, _| a.min(b),
        ("min", Ty::S64) => update!(i64, |a, b| a.min(b)),
        ("max", Ty::U32) => update!(u32, |a, b| a.max(b)),
        ("max", Ty::S32) => update!(i32, |a, b| a.max(b) as u32),
        ("max", Ty::U64) => |a, b, _| a.max(b),
        ("max", Ty::S64) => update!(i64, |a, b| a.max(b)),
        ("and", Ty::B32 | Ty::B64) => |a, b, _| a & b,
        ("or", Ty::B32 | Ty::B64) => |a, b, _| a | b,
        ("xor", Ty::B32 | Ty::B64) => |a, b, _| a ^ b,
        ("exch", Ty::B32 | Ty::B64 | Ty::U32 | Ty::S32 | Ty::F32 | Ty::U64 | Ty::F64) => |_, b, _| b,
        ("inc", Ty::U32) => |a, b, _| if a >= b { 0 } else { a + 1 },
        ("dec", Ty::U32) => |a, b, _| if a == 0 || a > b { b } else { a - 1 },
        ("cas", Ty::B32 | Ty::B64 | Ty::U32 | Ty::S32 | Ty::U64) => |a, b, c| if a == b { c } else { a },
        _ => return None,
    })
}

const NAMES: [&str; 10] = ["add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"];
const TYPES: [Ty; 10] = [Ty::U32, Ty::S32, Ty::B32, Ty::F32, Ty::F16x2, Ty::BF16x2, Ty::U64, Ty::S64, Ty::B64, Ty::F64];

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    let red = d.opcode() == "red";
    let space = take_space(d)?;
    d.take("noftz");
    let op = d.take_any(&NAMES).ok_or_else(|| d.unknown())?;
    let ty = d.ty()?;
    if update(op, ty).is_none() {
        return Err(d.unknown());
    }
    let first = !red as usize;
    let (base, wide_base, offset, named) = d.address(first)?;
    let space = place_of(space, named);
    (d.class, d.imm) = (Class::Atomic, offset);
    d.mode = space | if wide_base { WIDE_BASE } else { 0 };
    let dest = if red { 0 } else { d.dest(0, ty.wide())? };
    let b = d.source(first + 1, ty)?;
    let c = if op == "cas" { d.source(first + 2, ty)? } else { 0 };
    let exec: Exec = match (ty.wide(), red) {
        (false, false) => run::<false, false>,
        (false, true) => run::<false, true>,
        (true, false) => run::<true, false>,
        (true, true) => run::<true, true>,
    };
    // The function to apply, by the places of its name and its type in the lists above.
    let place = |found: Option<usize>| found.unwrap_or_default() as u32;
    d.more = vec![place(NAMES.iter().position(|n| *n == op)), place(TYPES.iter().position(|t| *t == ty))];
    d.emit(exec, [dest, base, b, c, 0])
}

fn run<const WIDE: bool, const RED: bool>(warp: &mut Warp, inst: &Inst) -> Step {
    let space = inst.mode & 7;
    let bytes = if WIDE { 8 } else { 4 };
    let Some(update) = update(NAMES[inst.more[0] as usize], TYPES[inst.more[1] as usize]) else { return Step::Next };
    let addresses = addresses(warp, inst, inst.a());
    if let Err(step) = observe(warp, space, &addresses, bytes, Access::Atomic) {
        return step;
    }
    let value =
        |warp: &Warp, slot: u32, lane: usize| if WIDE { warp.row::<u64>(slot)[lane] } else { warp.row::<u32>(slot)[lane] as u64 };
    let mut out = [0u64; LANES];
    for lane in 0..LANES {
        if warp.mask >> lane & 1 == 0 {
            continue;
        }
        let address = addresses[lane];
        let place = if address & (bytes - 1) == 0 { resolve(warp, space, address, lane, bytes) } else { None };
        let Some(place) = place else { return bad_access(warp, space, lane, address, bytes, Access::Atomic) };
        let (b, c) = (value(warp, inst.b(), lane), value(warp, inst.c(), lane));
        // SAFETY: the place was resolved for its bytes and is aligned; other threads touch it only through the host's memory.
        out[lane] = unsafe {
            if WIDE {
                let cell = AtomicU64::from_ptr(place.cast());
                cell.fetch_update(SeqCst, SeqCst, |a| Some(update(a, b, c))).unwrap_or_else(|a| a)
            } else {
                let cell = AtomicU32::from_ptr(place.cast());
                cell.fetch_update(SeqCst, SeqCst, |a| Some(update(a as u64, b, c) as u32)).unwrap_or_else(|a| a) as u64
            }
        };
    }
    if !RED {
        if WIDE {
            warp.write(inst.d(), &out);
        } else {
            warp.write(inst.d(), &out.map(|v| v as u32));
        }
    }
    Step::Next
}
