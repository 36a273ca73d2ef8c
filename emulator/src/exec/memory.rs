//! Loads and stores.
//!
//! Device memory lies in one reserved range of host addresses (see `crate::device`), so a device address is a host address
//! and one comparison tells a stray one. Shared, local and parameter memory have windows above all host addresses for
//! generic accesses. A misaligned or stray access is a fault in every mode; checked mode looks closer.

use super::lanes::{Exec, FULL, LANES};
use super::warp::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, Step, Warp};
use crate::check::{Fault, FaultKind};
use crate::ir::{Class, Decoder, Inst, Ty};
use crate::ptx::{Error, Operand, Space};

/// What an instruction does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Reads and writes at once.
    Atomic,
}

/// Spaces as `mode` has them.
pub(super) const GENERIC: u32 = 0;
pub(super) const GLOBAL: u32 = 1;
pub(super) const SHARED: u32 = 2;
pub(super) const LOCAL: u32 = 3;
pub(super) const PARAM: u32 = 4;
/// Flag in `mode`: the base is a wide register.
pub(super) const WIDE_BASE: u32 = 8;
const SPACE: u32 = 7;

/// The lanes' addresses: base and offset.
#[inline(always)]
pub(super) fn addresses(warp: &Warp, inst: &Inst, base: u32) -> [u64; LANES] {
    let mut out = [0; LANES];
    if inst.mode & WIDE_BASE != 0 {
        let row = warp.row::<u64>(base);
        for lane in 0..LANES {
            out[lane] = row[lane].wrapping_add_signed(inst.imm);
        }
    } else {
        let row = warp.row::<u32>(base);
        for lane in 0..LANES {
            // An address in 32 bits wraps in 32 bits.
            out[lane] = row[lane].wrapping_add(inst.imm as u32) as u64;
        }
    }
    out
}

/// Where `bytes` at an address lie on the host, if they are inside their space.
#[inline(always)]
pub(super) fn resolve(warp: &Warp, space: u32, address: u64, lane: usize, bytes: u64) -> Option<*mut u8> {
    let around = &warp.around;
    let inside = |offset: u64, len: u64| offset <= len && bytes <= len - offset;
    match space {
        GLOBAL => inside(address.wrapping_sub(around.arena), around.arena_len).then_some(address as *mut u8),
        SHARED => inside(address, around.shared_len).then(|| around.shared.wrapping_add(address as usize)),
        LOCAL => {
            inside(address, warp.local_len).then(|| warp.local.wrapping_add(lane * warp.local_len as usize + address as usize))
        }
        PARAM => inside(address, around.params_len).then(|| around.params.wrapping_add(address as usize).cast_mut()),
        _ => match address >> 56 {
            0 => resolve(warp, GLOBAL, address, lane, bytes),
            1 => resolve(warp, SHARED, address - SHARED_WINDOW, lane, bytes),
            2 => resolve(warp, LOCAL, address - LOCAL_WINDOW, lane, bytes),
            3 => resolve(warp, PARAM, address - PARAM_WINDOW, lane, bytes),
            _ => None,
        },
    }
}

/// The fault of an access that `resolve` refused or that is misaligned.
#[cold]
pub(super) fn bad_access(warp: &mut Warp, space: u32, lane: usize, address: u64, bytes: u64, access: Access) -> Step {
    let kind = if address & (bytes - 1) != 0 { FaultKind::Misaligned } else { FaultKind::OutOfBounds };
    let fault = Fault {
        kind,
        lane: lane as u32,
        address,
        bytes,
        access: Some(access),
        space: space_name(space, address),
        detail: String::new(),
    };
    warp.fail(fault)
}

/// The space of an address, for reports.
pub(super) fn space_name(space: u32, address: u64) -> &'static str {
    match (space, address >> 56) {
        (SHARED, _) | (GENERIC, 1) => "shared",
        (LOCAL, _) | (GENERIC, 2) => "local",
        (PARAM, _) | (GENERIC, 3) => "param",
        _ => "global",
    }
}

/// Looks at an access in checked or profiling mode; `Err` ends the run.
#[inline(always)]
pub(super) fn observe(warp: &mut Warp, space: u32, addresses: &[u64; LANES], bytes: u64, access: Access) -> Result<(), Step> {
    if warp.around.check.is_null() { Ok(()) } else { closely(warp, space, addresses, bytes, access) }
}

#[cold]
fn closely(warp: &mut Warp, space: u32, addresses: &[u64; LANES], bytes: u64, access: Access) -> Result<(), Step> {
    let (mask, pc, index) = (warp.mask, warp.pc, warp.index);
    let mut plain = *addresses;
    let mut spaces = ["global"; LANES];
    for lane in 0..LANES {
        spaces[lane] = space_name(space, addresses[lane]);
        if space == GENERIC && addresses[lane] >> 56 != 0 {
            plain[lane] &= (1 << 56) - 1;
        }
    }
    let lanes = crate::check::Lanes { pc, warp: index, mask, addresses: &plain, spaces: &spaces, bytes, access };
    let fault = warp.check().and_then(|check| check.access(&lanes));
    match fault {
        Some(fault) => Err(warp.fail(fault)),
        None => Ok(()),
    }
}

/// An element in memory and the cell it becomes.
trait Element {
    type Cell: super::lanes::Cell;
    const BYTES: u64;
    unsafe fn read(place: *const u8) -> Self::Cell;
    unsafe fn write(place: *mut u8, cell: Self::Cell);
}

macro_rules! elements {
    ($($name:ident, $t:ty, $cell:ty, |$v:ident| $extend:expr;)*) => {$(
        struct $name;
        impl Element for $name {
            type Cell = $cell;
            const BYTES: u64 = size_of::<$t>() as u64;
            #[inline(always)]
            unsafe fn read(place: *const u8) -> $cell {
                // SAFETY: the caller resolved the place for BYTES bytes.
                let $v = unsafe { place.cast::<$t>().read_unaligned() };
                $extend
            }
            #[inline(always)]
            unsafe fn write(place: *mut u8, cell: $cell) {
                // SAFETY: as in `read`.
                unsafe { place.cast::<$t>().write_unaligned(cell as $t) }
            }
        }
    )*};
}

elements! {
    U8, u8, u32, |v| v as u32;
    S8, i8, u32, |v| v as i32 as u32;
    U16, u16, u32, |v| v as u32;
    S16, i16, u32, |v| v as i32 as u32;
    B32, u32, u32, |v| v;
    B64, u64, u64, |v| v;
    WideU8, u8, u64, |v| v as u64;
    WideS8, i8, u64, |v| v as i64 as u64;
    WideU16, u16, u64, |v| v as u64;
    WideS16, i16, u64, |v| v as i64 as u64;
    WideU32, u32, u64, |v| v as u64;
    WideS32, i32, u64, |v| v as i64 as u64;
}

/// Whether the lanes' addresses follow each other.
#[inline(always)]
fn contiguous(addresses: &[u64; LANES], bytes: u64) -> bool {
    let mut same = true;
    for lane in 0..LANES {
        same &= addresses[lane] == addresses[0].wrapping_add(lane as u64 * bytes);
    }
    same
}

#[inline(always)]
fn load<E: Element, const SPACE_: u32, const N: usize>(warp: &mut Warp, inst: &Inst) -> Step {
    let space = if SPACE_ == GENERIC { inst.mode & SPACE } else { SPACE_ };
    let addresses = addresses(warp, inst, inst.a());
    let bytes = E::BYTES * N as u64;
    if let Err(step) = observe(warp, space, &addresses, bytes, Access::Read) {
        return step;
    }
    let mut out = [[E::Cell::default(); LANES]; N];
    let first = addresses[0];
    if N == 1 && warp.mask == FULL && SPACE_ != GENERIC && contiguous(&addresses, E::BYTES) {
        let Some(place) = resolve(warp, space, first, 0, bytes * LANES as u64).filter(|_| first & (bytes - 1) == 0) else {
            return one_by_one::<E, N>(warp, inst, space, &addresses, &mut out);
        };
        for lane in 0..LANES {
            // SAFETY: all 32 elements were resolved as one range.
            out[0][lane] = unsafe { E::read(place.add(lane * E::BYTES as usize)) };
        }
        warp.write(inst.d(), &out[0]);
        return Step::Next;
    }
    one_by_one::<E, N>(warp, inst, space, &addresses, &mut out)
}

#[inline(always)]
fn one_by_one<E: Element, const N: usize>(
    warp: &mut Warp,
    inst: &Inst,
    space: u32,
    addresses: &[u64; LANES],
    out: &mut [[E::Cell; LANES]; N],
) -> Step {
    let bytes = E::BYTES * N as u64;
    for lane in 0..LANES {
        if warp.mask >> lane & 1 == 0 {
            continue;
        }
        let address = addresses[lane];
        let place = if address & (bytes - 1) == 0 { resolve(warp, space, address, lane, bytes) } else { None };
        let Some(place) = place else { return bad_access(warp, space, lane, address, bytes, Access::Read) };
        for (k, row) in out.iter_mut().enumerate() {
            // SAFETY: N elements were resolved as one range.
            row[lane] = unsafe { E::read(place.add(k * E::BYTES as usize)) };
        }
    }
    if N == 1 {
        warp.write(inst.d(), &out[0]);
    } else {
        for (row, values) in inst.more.iter().zip(out.iter()) {
            warp.write(*row, values);
        }
    }
    Step::Next
}

#[inline(always)]
fn store<E: Element, const SPACE_: u32, const N: usize>(warp: &mut Warp, inst: &Inst) -> Step {
    let space = if SPACE_ == GENERIC { inst.mode & SPACE } else { SPACE_ };
    let addresses = addresses(warp, inst, inst.a());
    let bytes = E::BYTES * N as u64;
    if let Err(step) = observe(warp, space, &addresses, bytes, Access::Write) {
        return step;
    }
    if space == PARAM {
        return bad_access(warp, space, warp.mask.trailing_zeros() as usize, addresses[0], bytes, Access::Write);
    }
    for lane in 0..LANES {
        if warp.mask >> lane & 1 == 0 {
            continue;
        }
        let address = addresses[lane];
        let place = if address & (bytes - 1) == 0 { resolve(warp, space, address, lane, bytes) } else { None };
        let Some(place) = place else { return bad_access(warp, space, lane, address, bytes, Access::Write) };
        for k in 0..N {
            let row = if N == 1 { inst.b() } else { inst.more[k] };
            let value = warp.row::<E::Cell>(row)[lane];
            // SAFETY: N elements were resolved as one range.
            unsafe { E::write(place.add(k * E::BYTES as usize), value) };
        }
    }
    Step::Next
}

struct Load<E, const S: u32, const N: usize>(std::marker::PhantomData<E>);
impl<E: Element + 'static, const S: u32, const N: usize> super::lanes::Op for Load<E, S, N> {
    #[inline(always)]
    fn run(warp: &mut Warp, inst: &Inst) -> Step {
        load::<E, S, N>(warp, inst)
    }
}

fn pick_load<E: Element + 'static>(space: u32, n: usize) -> Exec {
    use super::lanes::pick;
    match (space, n) {
        (GLOBAL, 1) => pick::<Load<E, GLOBAL, 1>>(),
        (GLOBAL, 2) => load::<E, GLOBAL, 2>,
        (GLOBAL, _) => load::<E, GLOBAL, 4>,
        (SHARED, 1) => pick::<Load<E, SHARED, 1>>(),
        (SHARED, 2) => load::<E, SHARED, 2>,
        (SHARED, _) => load::<E, SHARED, 4>,
        (_, 1) => load::<E, GENERIC, 1>,
        (_, 2) => load::<E, GENERIC, 2>,
        _ => load::<E, GENERIC, 4>,
    }
}

fn pick_store<E: Element>(space: u32, n: usize) -> Exec {
    match (space, n) {
        (GLOBAL, 1) => store::<E, GLOBAL, 1>,
        (GLOBAL, 2) => store::<E, GLOBAL, 2>,
        (GLOBAL, _) => store::<E, GLOBAL, 4>,
        (SHARED, 1) => store::<E, SHARED, 1>,
        (SHARED, 2) => store::<E, SHARED, 2>,
        (SHARED, _) => store::<E, SHARED, 4>,
        (_, 1) => store::<E, GENERIC, 1>,
        (_, 2) => store::<E, GENERIC, 2>,
        _ => store::<E, GENERIC, 4>,
    }
}

/// A parameter at a fixed place: the same for all lanes.
fn load_param(warp: &mut Warp, inst: &Inst) -> Step {
    let bytes = inst.mode as u64;
    let Some(place) = resolve(warp, PARAM, inst.imm as u64, 0, bytes) else {
        return bad_access(warp, PARAM, 0, inst.imm as u64, bytes, Access::Read);
    };
    // SAFETY: the place was resolved for that many bytes.
    unsafe {
        match bytes {
            1 => warp.write(inst.d(), &[U8::read(place); LANES]),
            2 => warp.write(inst.d(), &[U16::read(place); LANES]),
            4 => warp.write(inst.d(), &[B32::read(place); LANES]),
            _ => warp.write(inst.d(), &[B64::read(place); LANES]),
        }
    }
    Step::Next
}

/// Takes the space of an access, and what the emulator has no caches to honour with.
pub(super) fn take_space(d: &mut Decoder) -> Result<u32, Error> {
    let space = match d.take_any(&["global", "const", "shared", "shared::cta", "local", "param", "param::entry", "param::func"]) {
        Some("global" | "const") => GLOBAL,
        Some("shared" | "shared::cta") => SHARED,
        Some("local") => LOCAL,
        Some(_) => PARAM,
        None => GENERIC,
    };
    for hint in [
        "ca",
        "cg",
        "cs",
        "lu",
        "cv",
        "wb",
        "wt",
        "nc",
        "volatile",
        "weak",
        "relaxed",
        "acquire",
        "release",
        "acq_rel",
        "mmio",
        "cta",
        "cluster",
        "gpu",
        "sys",
        "L1::evict_normal",
        "L1::evict_unchanged",
        "L1::evict_first",
        "L1::evict_last",
        "L1::no_allocate",
        "L2::evict_first",
        "L2::evict_last",
        "L2::evict_normal",
        "L2::64B",
        "L2::128B",
        "L2::256B",
        "L2",
        "L1",
    ] {
        d.take(hint);
    }
    if d.words().any(|w| w == "L2::cache_hint") {
        return Err(d.unknown());
    }
    Ok(space)
}

/// The class an access is counted as.
pub(super) fn class_of(space: u32) -> Class {
    match space {
        SHARED => Class::Shared,
        LOCAL | PARAM => Class::Local,
        _ => Class::Global,
    }
}

/// The space of an access to a named variable: a call's parameters, for one, lie in local memory.
pub(super) fn place_of(space: u32, named: Option<Space>) -> u32 {
    match named {
        Some(Space::Local) => LOCAL,
        Some(Space::Shared) => SHARED,
        Some(Space::Param) => PARAM,
        Some(Space::Global) => GLOBAL,
        None => space,
    }
}

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    let space = take_space(d)?;
    let opcode = d.opcode();
    if !matches!(opcode, "ld" | "ldu" | "st") {
        return Ok(());
    }
    let n = match d.take_any(&["v2", "v4"]) {
        Some("v2") => 2,
        Some(_) => 4,
        None => 1,
    };
    let ty = d.ty()?;
    let (where_, what) = if opcode == "st" { (0, 1) } else { (1, 0) };
    let (base, wide_base, offset, named) = d.address(where_)?;
    let space = place_of(space, named);
    (d.imm, d.class) = (offset, class_of(space));
    let single = [d.operand(what)?.clone()];
    let parts: &[Operand] = match &single[0] {
        Operand::Vector(parts) => parts,
        _ => &single,
    };
    if parts.len() != n {
        return Err(d.bad("the vector has another length"));
    }
    let wide = parts.iter().any(|p| d.is_wide(p)) || ty.wide();
    if opcode != "st" && space == PARAM && n == 1 && named.is_some() && ty.wide() == wide && !matches!(ty, Ty::S8 | Ty::S16) {
        let Some(at) = d.constant_at(base) else { return Err(d.unknown()) };
        d.imm = offset.wrapping_add_unsigned(at);
        d.mode = ty.bytes();
        let dest = d.dest_of(&parts[0], wide)?;
        return d.emit(load_param, [dest, 0, 0, 0, 0]);
    }
    d.mode = space | if wide_base { WIDE_BASE } else { 0 };
    let mut ops = [0, base, 0, 0, 0];
    for part in parts {
        let row = if opcode == "st" { d.loose_source(part, if wide { Ty::B64 } else { ty })?.0 } else { d.dest_of(part, wide)? };
        if n > 1 {
            d.more.push(row);
        } else {
            ops[if opcode == "st" { 2 } else { 0 }] = row;
        }
    }
    let load = opcode != "st";
    macro_rules! element {
        ($e:ty) => {
            if load { pick_load::<$e>(space, n) } else { pick_store::<$e>(space, n) }
        };
    }
    let exec = match (ty, wide) {
        (Ty::B8 | Ty::U8, false) => element!(U8),
        (Ty::S8, false) => element!(S8),
        // A 16-bit register's upper half is zero; only a 32-bit one takes the sign.
        (Ty::B16 | Ty::U16 | Ty::F16 | Ty::BF16, false) => element!(U16),
        (Ty::S16, false) => element!(S16),
        (_, false) if ty.bytes() == 4 => element!(B32),
        (Ty::B8 | Ty::U8, true) => element!(WideU8),
        (Ty::S8, true) => element!(WideS8),
        (Ty::B16 | Ty::U16, true) => element!(WideU16),
        (Ty::S16, true) => element!(WideS16),
        (Ty::S32, true) => element!(WideS32),
        (_, true) if ty.bytes() == 4 => element!(WideU32),
        (_, true) if ty.bytes() == 8 => element!(B64),
        _ => return Err(d.unknown()),
    };
    d.emit(exec, ops)
}
