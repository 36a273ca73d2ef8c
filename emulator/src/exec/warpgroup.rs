//! wgmma: four warps multiply matrices in shared memory, each its sixteen rows of A by all of B.
//!
//! A product is done when it is issued, which a program that waits for its group cannot tell; checked mode holds its registers
//! and what it reads back until then. As with mma.sync, products are exact in f32 and the sum runs along k, one rounding a step;
//! a tensor core reads the upper 19 bits of a tf32.
//!
//! A descriptor's operand, in chunks of 16 bytes (T elements). K-major: rows of two chunks along k, W chunks apart, in groups
//! of eight rows that lie `stride` apart. MN-major: W chunks along m or n, then the next W at `leading`; one k after the other
//! W chunks apart, each eight k at `stride`. W is 2, 4 or 8 for the swizzles of 32, 64 and 128 bytes. Without one it is 1, and
//! the second of two chunks along k, or the next eight k, is at `leading` and the next chunk of m or n at `stride`.

use super::lanes::{LANES, Op, pick};
use super::memory::{Access, SHARED, bad_access, resolve};
use super::rounding::canonical;
use super::warp::{Step, Warp};
use crate::check::{Fault, FaultKind};
use crate::ir::{Class, Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};
use crate::tensor::swizzled;
use half::{bf16, f16};

const TF32: u32 = 0;
const BF16: u32 = 1;
const F16: u32 = 2;
const KIND: u32 = 3;
/// Flags in `mode`: operands with m or n fastest, negated operands, a negated predicate.
const MN_A: u32 = 4;
const MN_B: u32 = 8;
const MINUS_A: u32 = 16;
const MINUS_B: u32 = 32;
const NOT: u32 = 64;

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    d.needs(90)?;
    d.warpgroup = true;
    let what = d.take_any(&["fence", "commit_group", "wait_group", "mma_async"]).ok_or_else(|| d.unknown())?;
    if !(d.take("sync") && d.take("aligned")) {
        return Err(d.unknown());
    }
    d.class = Class::Sync;
    match what {
        "fence" => d.emit(fence, [0; 5]),
        "commit_group" => d.emit(commit, [0; 5]),
        "wait_group" => {
            let Operand::Integer(n) = d.operand(0)? else { return Err(d.unknown()) };
            d.imm = *n;
            d.emit(wait, [0; 5])
        }
        _ => multiply(d),
    }
}

/// `wgmma.mma_async.sync.aligned.m64nNkK.f32.type.type {d}, a, b, p, scale-a, scale-b{, transpose-a, transpose-b}`
fn multiply(d: &mut Decoder) -> Result<(), Error> {
    d.class = Class::Matrix;
    let shape = d.words().find(|w| w.starts_with("m64n")).ok_or_else(|| d.unknown())?;
    d.take(shape);
    let (sum, a, b) = (d.ty()?, d.ty()?, d.ty()?);
    let (kind, depth) = match (sum, a, b) {
        (Ty::F32, Ty::TF32, Ty::TF32) => (TF32, 8),
        (Ty::F32, Ty::BF16, Ty::BF16) => (BF16, 16),
        (Ty::F32, Ty::F16, Ty::F16) => (F16, 16),
        _ => return Err(d.unknown()),
    };
    let columns = (8..=256).step_by(8).find(|n| *shape == *format!("m64n{n}k{depth}")).ok_or_else(|| d.unknown())?;
    let Operand::Vector(sums) = d.operand(0)? else { return Err(d.unknown()) };
    if sums.len() != columns / 2 {
        return Err(d.bad("the sums have another number of registers"));
    }
    for part in sums {
        d.source_of(part, Ty::F32)?;
        let row = d.dest_of(part, false)?;
        d.more.push(row);
    }
    let (left, right) = (d.source(1, Ty::B64)?, d.source(2, Ty::B64)?);
    let (pred, negated) = d.source_pred(3)?;
    let number = |k: usize| match d.operand(k) {
        Ok(Operand::Integer(n)) => Ok(*n),
        _ => Err(d.unknown()),
    };
    let mut mode = kind | if negated { NOT } else { 0 };
    for (k, flag) in [(4, MINUS_A), (5, MINUS_B)] {
        mode |= if number(k)? == -1 { flag } else { 0 };
    }
    if kind != TF32 {
        for (k, flag) in [(6, MN_A), (7, MN_B)] {
            mode |= if number(k)? == 1 { flag } else { 0 };
        }
    }
    (d.mode, d.imm) = (mode, columns as i64);
    d.flops = (columns * depth) as u32;
    d.emit(pick::<Multiply>(), [0, left, right, pred, 0])
}

fn fence(warp: &mut Warp, _: &Inst) -> Step {
    let index = warp.index;
    if let Some(check) = warp.check() {
        check.registers_fenced(index);
    }
    Step::Next
}

fn commit(warp: &mut Warp, _: &Inst) -> Step {
    let index = warp.index;
    if let Some(check) = warp.check() {
        check.products_committed(index);
    }
    Step::Next
}

fn wait(warp: &mut Warp, inst: &Inst) -> Step {
    let index = warp.index;
    if let Some(check) = warp.check() {
        check.products_waited(index, inst.imm as usize);
    }
    Step::Next
}

/// A matrix descriptor, its fields in bytes.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
    base: u64,
    /// As in `tensor::swizzled`.
    swizzle: u32,
}

impl Descriptor {
    fn of(bits: u64) -> Self {
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        let swizzle = match bits >> 62 {
            0 => 0,
            1 => 3,
            2 => 2,
            _ => 1,
        };
        Descriptor { start: field(0), leading: field(16), stride: field(32), base: bits >> 49 & 7, swizzle }
    }

    /// The address of a chunk before the swizzle: `line` is a row of m or n and `chunk` one of two along k; where m or n is
    /// fastest, `line` is a k and `chunk` counts along m or n.
    fn chunk(&self, mn_major: bool, line: u64, chunk: u64) -> u64 {
        let wide = 16 << self.swizzle;
        self.start
            + match (mn_major, self.swizzle) {
                (false, 0) => line / 8 * self.stride + line % 8 * 16 + chunk * self.leading,
                (false, _) => line / 8 * self.stride + line % 8 * wide + chunk * 16,
                (true, 0) => line / 8 * self.leading + line % 8 * 16 + chunk * self.stride,
                (true, swizzle) => {
                    line / 8 * self.stride
                        + line % 8 * wide
                        + (chunk >> swizzle) * self.leading
                        + (chunk & ((1 << swizzle) - 1)) * 16
                }
            }
    }
}

/// Reads `rows` rows (m or n) of an operand from `first` on: out[k][row]. The addresses of its chunks go to `seen` if the
/// checker wants them.
fn read<const ROWS: usize>(
    warp: &mut Warp,
    bits: u64,
    kind: u32,
    mn_major: bool,
    (first, rows): (usize, usize),
    out: &mut [[f32; ROWS]; 16],
    seen: &mut Option<Vec<u64>>,
) -> Result<(), Step> {
    let descriptor = Descriptor::of(bits);
    if descriptor.base != 0 {
        return Err(warp.fail(Fault::new(FaultKind::Trap, 0, "the emulator does not know descriptors with a base offset")));
    }
    let (depth, elements) = if kind == TF32 { (8, 4) } else { (16, 8) };
    let (lines, chunks) =
        if mn_major { (0..depth, first / elements..(first + rows) / elements) } else { (first..first + rows, 0..2) };
    for line in lines {
        for chunk in chunks.clone() {
            let address = swizzled(descriptor.chunk(mn_major, line as u64, chunk as u64), descriptor.swizzle);
            let Some(place) = resolve(warp, SHARED, address, 0, 16) else {
                return Err(bad_access(warp, SHARED, 0, address, 16, Access::Read));
            };
            if let Some(seen) = seen {
                seen.push(address);
            }
            // SAFETY: the place was resolved for 16 bytes.
            let bytes = unsafe { place.cast::<[u8; 16]>().read_unaligned() };
            for e in 0..elements {
                let half = || u16::from_le_bytes([bytes[2 * e], bytes[2 * e + 1]]);
                let value = match kind {
                    TF32 => {
                        let word = [bytes[4 * e], bytes[4 * e + 1], bytes[4 * e + 2], bytes[4 * e + 3]];
                        f32::from_bits(u32::from_le_bytes(word) & !0x1fff)
                    }
                    BF16 => bf16::from_bits(half()).to_f32(),
                    _ => f16::from_bits(half()).to_f32(),
                };
                let (k, row) = if mn_major { (line, chunk * elements + e - first) } else { (chunk * elements + e, line - first) };
                out[k][row] = value;
            }
        }
    }
    Ok(())
}

struct Multiply;
impl Op for Multiply {
    #[inline(always)]
    fn run(warp: &mut Warp, inst: &Inst) -> Step {
        if let Some(step) = warp.arrive(u32::MAX) {
            return step;
        }
        let (columns, kind) = (inst.imm as usize, inst.mode & KIND);
        let depth = if kind == TF32 { 8 } else { 16 };
        let (left, right) = (warp.row::<u64>(inst.a())[0], warp.row::<u64>(inst.b())[0]);
        let (mut a, mut b, mut c) = ([[0f32; 16]; 16], [[0f32; 256]; 16], [[0f32; 256]; 16]);
        let mut seen = (!warp.around.check.is_null()).then(Vec::new);
        let first = warp.index as usize % 4 * 16;
        let done = read(warp, left, kind, inst.mode & MN_A != 0, (first, 16), &mut a, &mut seen)
            .and_then(|()| read(warp, right, kind, inst.mode & MN_B != 0, (0, columns), &mut b, &mut seen));
        if let Err(step) = done {
            return step;
        }
        let (pc, index) = (warp.pc, warp.index);
        if let (Some(seen), Some(check)) = (seen, warp.check()) {
            check.matrices_read(pc, index, &seen);
        }
        // Of register r, lane l.
        let place = |r: usize, l: usize| (l / 4 + r % 4 / 2 * 8, r / 4 * 8 + l % 4 * 2 + r % 2);
        let added = warp.pred(inst.c()) & 1 != 0;
        if added != (inst.mode & NOT != 0) {
            for (r, &row) in inst.more.iter().enumerate() {
                let values = warp.row::<u32>(row);
                for l in 0..LANES {
                    let (m, n) = place(r, l);
                    c[m][n] = f32::from_bits(values[l]);
                }
            }
        }
        let sign = if (inst.mode & MINUS_A != 0) != (inst.mode & MINUS_B != 0) { -1.0 } else { 1.0 };
        for (m, c) in c.iter_mut().enumerate() {
            for k in 0..depth {
                let a = sign * a[k][m];
                for (c, &b) in c[..columns].iter_mut().zip(&b[k][..columns]) {
                    *c = a.mul_add(b, *c);
                }
            }
        }
        for (r, &row) in inst.more.iter().enumerate() {
            let out = std::array::from_fn(|l| {
                let (m, n) = place(r, l);
                canonical(c[m][n]).to_bits()
            });
            warp.write::<u32>(row, &out);
        }
        Step::Next
    }
}
