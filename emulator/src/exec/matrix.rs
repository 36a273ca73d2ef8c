//! Matrices: ldmatrix, stmatrix, mma.sync, and cp.async, which feeds them.
//!
//! The fragments lie in the registers as the PTX ISA's figures have them: with g = lane / 4 and t = lane % 4, an element of A
//! or C in the upper half is in row g, in the lower half in row g + 8, and t picks the column. Products are exact in f32, the
//! sum runs along k with one rounding a step; a GPU's order and rounding are its own.

use half::{bf16, f16};

use super::lanes::{Exec, LANES};
use super::memory::{Access, GENERIC, GLOBAL, SHARED, WIDE_BASE, addresses, bad_access, observe, resolve};
use super::warp::{Step, Warp};
use crate::ir::{Class, Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    match d.opcode() {
        "cp" => copy_async(d),
        "mma" => multiply(d),
        "ldmatrix" | "stmatrix" => move_matrix(d),
        _ => Err(d.unknown()),
    }
}

/// `cp.async.ca.shared.global [dst], [src], bytes{, from the source}`. The copy happens at once, which a program that waits
/// for it cannot tell; checked mode holds the bytes back from readers until their group was waited for.
fn copy_async(d: &mut Decoder) -> Result<(), Error> {
    if !d.take("async") {
        return Err(d.unknown());
    }
    if d.take("bulk") {
        return super::bulk::decode(d);
    }
    d.class = Class::Sync;
    if d.take("commit_group") {
        return d.emit(commit, [0; 5]);
    }
    if d.take("wait_all") {
        d.imm = 0;
        d.mode = 1;
        return d.emit(wait, [0; 5]);
    }
    if d.take("wait_group") {
        let Operand::Integer(n) = d.operand(0)? else { return Err(d.unknown()) };
        d.imm = *n;
        return d.emit(wait, [0; 5]);
    }
    d.class = Class::Global;
    for hint in ["ca", "cg", "shared", "shared::cta", "global", "L2::64B", "L2::128B", "L2::256B"] {
        d.take(hint);
    }
    let (to, to_wide, to_offset, _) = d.address(0)?;
    let (from, from_wide, from_offset, _) = d.address(1)?;
    let Operand::Integer(bytes @ (4 | 8 | 16)) = d.operand(2)? else { return Err(d.unknown()) };
    let size = if d.operands() > 3 { d.source(3, Ty::B32)? } else { d.constant(*bytes as u64, false) };
    let (to_offset, from_offset) = (d.constant(to_offset as u64, true), d.constant(from_offset as u64, true));
    d.mode = to_wide as u32 | (from_wide as u32) << 1;
    d.imm = *bytes;
    d.more = vec![to_offset, from_offset];
    let exec: Exec = |warp, inst| {
        let place = |warp: &Warp, slot: u32, wide: bool, offset: u32| -> [u64; LANES] {
            let added = warp.row::<u64>(offset)[0];
            std::array::from_fn(|l| {
                if wide {
                    warp.row::<u64>(slot)[l].wrapping_add(added)
                } else {
                    warp.row::<u32>(slot)[l].wrapping_add(added as u32) as u64
                }
            })
        };
        let to = place(warp, inst.d(), inst.mode & 1 != 0, inst.more[0]);
        let from = place(warp, inst.a(), inst.mode & 2 != 0, inst.more[1]);
        let sizes = *warp.row::<u32>(inst.b());
        let (bytes, mask) = (inst.imm as u64, warp.mask);
        // Lanes that take nothing from the source do not read it.
        warp.mask = (0..LANES).filter(|&l| sizes[l] != 0).fold(0, |m, l| m | 1 << l) & mask;
        let seen = if warp.mask == 0 { Ok(()) } else { observe(warp, GLOBAL, &from, bytes, Access::Read) };
        warp.mask = mask;
        if let Err(step) = seen.and_then(|()| observe(warp, SHARED, &to, bytes, Access::Write)) {
            return step;
        }
        for lane in 0..LANES {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let n = (sizes[lane] as u64).min(bytes);
            let aligned = |a: u64| a & (bytes - 1) == 0;
            let Some(target) = resolve(warp, SHARED, to[lane], lane, bytes).filter(|_| aligned(to[lane])) else {
                return bad_access(warp, SHARED, lane, to[lane], bytes, Access::Write);
            };
            if n > 0 {
                let Some(source) = resolve(warp, GLOBAL, from[lane], lane, n).filter(|_| aligned(from[lane])) else {
                    return bad_access(warp, GLOBAL, lane, from[lane], bytes, Access::Read);
                };
                // SAFETY: both ranges were resolved, in different spaces.
                unsafe { std::ptr::copy_nonoverlapping(source, target, n as usize) };
            }
            // SAFETY: the rest of the resolved target.
            unsafe { target.add(n as usize).write_bytes(0, (bytes - n) as usize) };
        }
        let index = warp.index;
        if let Some(check) = warp.check() {
            check.copy_started(index, mask, &to, bytes);
        }
        Step::Next
    };
    d.emit(exec, [to, from, size, 0, 0])
}

fn commit(warp: &mut Warp, _: &Inst) -> Step {
    let (index, mask) = (warp.index, warp.mask);
    if let Some(check) = warp.check() {
        check.copies_committed(index, mask);
    }
    Step::Next
}

fn wait(warp: &mut Warp, inst: &Inst) -> Step {
    let (index, mask) = (warp.index, warp.mask);
    if let Some(check) = warp.check() {
        check.copies_waited(index, mask, inst.imm as usize, inst.mode != 0);
    }
    Step::Next
}

/// Lanes 8i to 8i + 7 hold the addresses of the eight rows of matrix i; lane l gets row l / 4, columns 2 (l % 4) and the next.
fn move_matrix(d: &mut Decoder) -> Result<(), Error> {
    let load = d.opcode() == "ldmatrix";
    d.class = Class::Shared;
    d.take("sync");
    d.take("aligned");
    if !d.take("m8n8") {
        return Err(d.unknown());
    }
    let n = match d.take_any(&["x1", "x2", "x4"]) {
        Some("x1") => 1,
        Some("x2") => 2,
        Some(_) => 4,
        None => return Err(d.unknown()),
    };
    let transposed = d.take("trans");
    let space = if d.take("shared") || d.take("shared::cta") { SHARED } else { GENERIC };
    d.take("b16");
    let (registers, address) = if load { (0, 1) } else { (1, 0) };
    let (base, wide, offset, _) = d.address(address)?;
    let single = [d.operand(registers)?.clone()];
    let parts: &[Operand] = match &single[0] {
        Operand::Vector(parts) => parts,
        _ => &single,
    };
    if parts.len() != n {
        return Err(d.unknown());
    }
    for part in parts {
        let row = if load { d.dest_of(part, false)? } else { d.source_of(part, Ty::B32)? };
        d.more.push(row);
    }
    d.imm = offset;
    d.mode = space | if wide { WIDE_BASE } else { 0 } | (transposed as u32) << 4;
    let exec: Exec = if load {
        |warp, inst| {
            if let Some(step) = warp.arrive(u32::MAX) {
                return step;
            }
            matrices(warp, inst, Access::Read)
        }
    } else {
        |warp, inst| {
            if let Some(step) = warp.arrive(u32::MAX) {
                return step;
            }
            matrices(warp, inst, Access::Write)
        }
    };
    d.emit(exec, [0, base, 0, 0, 0])
}

fn matrices(warp: &mut Warp, inst: &Inst, access: Access) -> Step {
    let space = inst.mode & 7;
    let n = inst.more.len();
    let addresses = addresses(warp, inst, inst.a());
    let mask = warp.mask;
    warp.mask &= if n == 4 { u32::MAX } else { (1 << (8 * n)) - 1 };
    let seen = observe(warp, space, &addresses, 16, access);
    warp.mask = mask;
    if let Err(step) = seen {
        return step;
    }
    let mut rows = [std::ptr::null_mut::<u8>(); LANES];
    for (lane, row) in rows.iter_mut().enumerate().take(8 * n) {
        let address = addresses[lane];
        let Some(place) = resolve(warp, space, address, lane, 16).filter(|_| address & 15 == 0) else {
            return bad_access(warp, space, lane, address, 16, access);
        };
        *row = place;
    }
    let transposed = inst.mode >> 4 & 1 != 0;
    for (k, &register) in inst.more.iter().enumerate() {
        let mut out = if access == Access::Read { [0; LANES] } else { *warp.row::<u32>(register) };
        for (lane, cell) in out.iter_mut().enumerate() {
            for half in 0..2 {
                let (row, column) = (lane / 4, 2 * (lane % 4) + half);
                let (row, column) = if transposed { (column, row) } else { (row, column) };
                let place = rows[8 * k + row].wrapping_add(2 * column).cast::<u16>();
                // SAFETY: each row was resolved for 16 bytes, and column is below 8.
                unsafe {
                    if access == Access::Read {
                        *cell |= (place.read_unaligned() as u32) << (16 * half);
                    } else {
                        place.write_unaligned((*cell >> (16 * half)) as u16);
                    }
                }
            }
        }
        if access == Access::Read {
            warp.write(register, &out);
        }
    }
    Step::Next
}

/// Element types of A and B, in `mode`.
const F16: u32 = 0;
const BF16: u32 = 1;
const TF32: u32 = 2;
/// Flag: C and D are f16.
const HALF_SUM: u32 = 4;

/// `mma.sync.aligned.shape.row.col.dtype.atype.btype.ctype {d}, {a}, {b}, {c}`; `imm` is k.
fn multiply(d: &mut Decoder) -> Result<(), Error> {
    d.class = Class::Matrix;
    let aligned = d.take("sync") && d.take("aligned");
    let shape = d.take_any(&["m16n8k4", "m16n8k8", "m16n8k16"]).ok_or_else(|| d.unknown())?;
    if !(aligned && d.take("row") && d.take("col")) {
        return Err(d.unknown());
    }
    let (dt, at, bt, ct) = (d.ty()?, d.ty()?, d.ty()?, d.ty()?);
    d.imm = match shape {
        "m16n8k4" => 4,
        "m16n8k8" => 8,
        _ => 16,
    };
    d.mode = match (at, bt, d.imm) {
        (Ty::F16, Ty::F16, 8 | 16) => F16,
        (Ty::BF16, Ty::BF16, 8 | 16) => BF16,
        (Ty::TF32, Ty::TF32, 4 | 8) => TF32,
        _ => return Err(d.unknown()),
    } | match (dt, ct) {
        (Ty::F32, Ty::F32) => 0,
        (Ty::F16, Ty::F16) if at == Ty::F16 => HALF_SUM,
        _ => return Err(d.unknown()),
    };
    d.flops = (2 * 16 * 8 * d.imm / LANES as i64) as u32;
    let per_register = if at == Ty::TF32 { 1 } else { 2 };
    let lengths = [
        if dt == Ty::F16 { 2 } else { 4 },
        16 * d.imm as usize / LANES / per_register,
        8 * d.imm as usize / LANES / per_register,
        if dt == Ty::F16 { 2 } else { 4 },
    ];
    for (k, length) in lengths.into_iter().enumerate() {
        let single = [d.operand(k)?.clone()];
        let parts: &[Operand] = match &single[0] {
            Operand::Vector(parts) => parts,
            _ => &single,
        };
        if parts.len() != length {
            return Err(d.bad("a fragment has another number of registers"));
        }
        for part in parts {
            let row = if k == 0 { d.dest_of(part, false)? } else { d.source_of(part, Ty::B32)? };
            d.more.push(row);
        }
    }
    d.emit(super::lanes::pick::<Multiply>(), [0; 5])
}

struct Multiply;
impl super::lanes::Op for Multiply {
    #[inline(always)]
    fn run(warp: &mut Warp, inst: &Inst) -> Step {
        if let Some(step) = warp.arrive(u32::MAX) {
            return step;
        }
        let k_size = inst.imm as usize;
        let kind = inst.mode & 3;
        let sums = if inst.mode & HALF_SUM != 0 { 2 } else { 4 };
        let per_register = if kind == TF32 { 1 } else { 2 };
        let value = |bits: u32, half: usize| match kind {
            F16 => f16::from_bits((bits >> (16 * half)) as u16).to_f32(),
            BF16 => bf16::from_bits((bits >> (16 * half)) as u16).to_f32(),
            // A tensor core reads the upper 19 bits.
            _ => f32::from_bits(bits & !0x1fff),
        };
        let (mut a, mut b, mut c) = ([[0f32; 16]; 16], [[0f32; 8]; 16], [[0f32; 8]; 16]);
        let a_registers = 16 * k_size / LANES / per_register;
        let b_registers = 8 * k_size / LANES / per_register;
        for r in 0..a_registers {
            let row = *warp.row::<u32>(inst.more[sums + r]);
            for lane in 0..LANES {
                let (g, t) = (lane / 4, lane % 4);
                for half in 0..per_register {
                    // Registers alternate between rows g and g + 8, then go on along k.
                    let column = (r / 2) * 4 * per_register + t * per_register + half;
                    a[g + 8 * (r % 2)][column] = value(row[lane], half);
                }
            }
        }
        for r in 0..b_registers {
            let row = *warp.row::<u32>(inst.more[sums + a_registers + r]);
            for lane in 0..LANES {
                let (g, t) = (lane / 4, lane % 4);
                for half in 0..per_register {
                    b[r * 4 * per_register + t * per_register + half][g] = value(row[lane], half);
                }
            }
        }
        let c_first = sums + a_registers + b_registers;
        for r in 0..4 {
            let row =
                if sums == 2 { *warp.row::<u32>(inst.more[c_first + r / 2]) } else { *warp.row::<u32>(inst.more[c_first + r]) };
            for lane in 0..LANES {
                let value = if sums == 2 {
                    f16::from_bits((row[lane] >> (16 * (r % 2))) as u16).to_f32()
                } else {
                    f32::from_bits(row[lane])
                };
                c[lane / 4 + 8 * (r / 2)][2 * (lane % 4) + r % 2] = value;
            }
        }
        for (a, c) in a.iter().zip(&mut c) {
            for k in 0..k_size {
                for n in 0..8 {
                    c[n] = a[k].mul_add(b[k][n], c[n]);
                }
            }
        }
        let element = |lane: usize, r: usize| c[lane / 4 + 8 * (r / 2)][2 * (lane % 4) + r % 2];
        for r in 0..sums {
            let out: [u32; LANES] = if sums == 2 {
                let half = |v: f32| f16::from_f32(v).to_bits() as u32;
                std::array::from_fn(|l| half(element(l, 2 * r)) | half(element(l, 2 * r + 1)) << 16)
            } else {
                std::array::from_fn(|l| super::rounding::canonical(element(l, r)).to_bits())
            };
            warp.write(inst.more[r], &out);
        }
        Step::Next
    }
}
