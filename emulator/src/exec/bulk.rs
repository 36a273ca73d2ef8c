//! cp.async.bulk.tensor: boxes of a tensor to shared memory, as a tensor map describes them (see `crate::tensor`).
//!
//! The box is there at once, and its mbarrier told, which a program that waits for the barrier cannot tell; checked mode
//! holds it back from who has not.

use super::lanes::LANES;
use super::mbarrier;
use super::memory::{Access, GENERIC, GLOBAL, SHARED, bad_access, observe, resolve};
use super::warp::{Step, Warp};
use crate::check::{Fault, FaultKind};
use crate::ir::{Class, Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};
use crate::tensor::{Element, TensorMap, swizzled, to_tf32};

/// `cp.async.bulk.tensor.Nd.shared::cluster.global.mode.mbarrier::complete_tx::bytes [to], [map, {…}], [barrier]{, {offsets}}`
pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    d.needs(90)?;
    d.class = Class::Global;
    if !d.take("tensor") {
        return Err(d.unknown());
    }
    let rank = match d.take_any(&["1d", "2d", "3d", "4d", "5d"]) {
        Some(word) => (word.as_bytes()[0] - b'0') as usize,
        None => return Err(d.unknown()),
    };
    let to_shared = d.take_any(&["shared::cluster", "shared::cta"]).is_some() && d.take("global");
    let im2col = d.take("im2col");
    d.take("tile");
    if !to_shared || !d.take("mbarrier::complete_tx::bytes") {
        return Err(d.unknown());
    }
    let (to, to_wide, to_offset, _) = d.address(0)?;
    let Operand::Tensor(name, map_offset, coordinates) = d.operand(1)? else { return Err(d.bad("expected a tensor map")) };
    let (map, map_wide, _, _) = d.address_of(&Some(name.clone()), *map_offset)?;
    let (barrier, barrier_wide, barrier_offset, _) = d.address(2)?;
    if to_wide || barrier_wide || !map_wide || coordinates.len() != rank {
        return Err(d.unknown());
    }
    for (k, added) in [to_offset, *map_offset, barrier_offset].into_iter().enumerate() {
        let constant = d.constant(added as u64, k == 1);
        d.more.push(constant);
    }
    for coordinate in coordinates {
        let row = d.source_of(coordinate, Ty::B32)?;
        d.more.push(row);
    }
    if im2col {
        let Operand::Vector(offsets) = d.operand(3)? else { return Err(d.bad("expected the offsets of im2col")) };
        if offsets.len() + 2 != rank {
            return Err(d.bad("im2col has another number of offsets"));
        }
        for offset in offsets {
            let row = d.source_of(offset, Ty::B16)?;
            d.more.push(row);
        }
    }
    d.mode = rank as u32 | (im2col as u32) << 3;
    d.warpgroup = true;
    d.emit(copy, [0, to, map, barrier, 0])
}

#[cold]
fn wrong(warp: &mut Warp, lane: usize, detail: &str) -> Step {
    warp.fail(Fault::new(FaultKind::BulkCopy, lane as u32, detail))
}

fn copy(warp: &mut Warp, inst: &Inst) -> Step {
    let mask = warp.mask;
    for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
        let done = one(warp, inst, lane);
        warp.mask = mask;
        if let Err(step) = done {
            return step;
        }
    }
    Step::Next
}

fn one(warp: &mut Warp, inst: &Inst, lane: usize) -> Result<(), Step> {
    let rank = (inst.mode & 7) as usize;
    let narrow = |warp: &Warp, slot: u32| warp.row::<u32>(slot)[lane];
    let to = narrow(warp, inst.a()).wrapping_add(narrow(warp, inst.more[0])) as u64;
    let at = warp.row::<u64>(inst.b())[lane].wrapping_add(warp.row::<u64>(inst.more[1])[0]);
    let barrier = narrow(warp, inst.c()).wrapping_add(narrow(warp, inst.more[2])) as u64;
    let coordinates: Vec<i64> = inst.more[3..3 + rank].iter().map(|&c| narrow(warp, c) as i32 as i64).collect();
    let offsets: Vec<i64> = inst.more[3 + rank..].iter().map(|&o| (narrow(warp, o) & 0xffff) as i64).collect();

    let Some(place) = resolve(warp, GENERIC, at, lane, 128).filter(|_| at & 63 == 0) else {
        return Err(bad_access(warp, GENERIC, lane, at, 128, Access::Read));
    };
    // SAFETY: the place was resolved for 128 bytes.
    let bytes = unsafe { place.cast::<[u8; 128]>().read_unaligned() };
    let Some(map) = TensorMap::read(&bytes) else { return Err(wrong(warp, lane, "there is no tensor map")) };
    if map.rank as usize != rank || (map.im2col != 0) != (inst.mode >> 3 & 1 != 0) {
        return Err(wrong(warp, lane, "the tensor map is of another rank or mode"));
    }
    let Some(rows) = map.rows(&coordinates, &offsets) else {
        return Err(wrong(warp, lane, "the copy begins outside of the bounding box"));
    };
    let total = map.bytes();
    // 128 bytes for every copy; the pattern of a swizzle begins where its addresses do.
    let aligned = 128 << map.swizzle;
    if !to.is_multiple_of(aligned) {
        return Err(wrong(warp, lane, &format!("the box lies at {to:#x}, not on {aligned} bytes")));
    }
    if resolve(warp, SHARED, to, lane, total).is_none() {
        return Err(bad_access(warp, SHARED, lane, to, total, Access::Write));
    }

    let size = map.element.bytes();
    let pitch = map.row() * size;
    look(warp, lane, &rows, size)?;
    for (number, row) in rows.iter().enumerate() {
        let mut line = vec![0u8; pitch as usize];
        let (from, len) = (row.inside.start * size, (row.inside.end - row.inside.start) * size);
        if len > 0 {
            let Some(source) = resolve(warp, GLOBAL, row.address + from, lane, len) else {
                return Err(bad_access(warp, GLOBAL, lane, row.address + from, len, Access::Read));
            };
            // SAFETY: the source was resolved for so many bytes, which lie within the line.
            unsafe { std::ptr::copy_nonoverlapping(source, line.as_mut_ptr().add(from as usize), len as usize) };
        }
        if map.element == Element::Tf32 {
            for word in line.as_chunks_mut::<4>().0 {
                *word = to_tf32(u32::from_le_bytes(*word)).to_le_bytes();
            }
        }
        for (k, chunk) in line.chunks(16).enumerate() {
            let place = swizzled(to + number as u64 * pitch + k as u64 * 16, map.swizzle as u32);
            // SAFETY: the whole box was resolved, and a swizzle stays within the rows that it is aligned for.
            unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), warp.around.shared.add(place as usize), chunk.len()) };
        }
    }
    let (pc, index) = (warp.pc, warp.index);
    if let Some(check) = warp.check() {
        check.bulk_copied(pc, index, lane as u32, (to, total), barrier);
    }
    mbarrier::complete(warp, lane, barrier, total)
}

/// Shows checked mode the reads of device memory, 32 of 16 bytes at a time; what is left of a row's end in elements.
fn look(warp: &mut Warp, lane: usize, rows: &[crate::tensor::BoxRow], size: u64) -> Result<(), Step> {
    if warp.around.check.is_null() {
        return Ok(());
    }
    for bytes in [16, size] {
        let pieces = rows.iter().flat_map(|row| {
            let (from, to) = (row.address + row.inside.start * size, row.address + row.inside.end * size);
            let whole = from + (to - from) / 16 * 16;
            let (from, to) = if bytes == 16 { (from, whole) } else { (whole, to) };
            (from..to).step_by(bytes as usize)
        });
        let pieces: Vec<u64> = pieces.collect();
        for part in pieces.chunks(LANES) {
            let mut addresses = [0; LANES];
            addresses[..part.len()].copy_from_slice(part);
            warp.mask = ((1u64 << part.len()) - 1) as u32;
            let seen = observe(warp, GLOBAL, &addresses, bytes, Access::Read);
            if let Err(step) = seen {
                if let Some(fault) = &mut warp.fault {
                    fault.lane = lane as u32;
                }
                return Err(step);
            }
        }
    }
    Ok(())
}
