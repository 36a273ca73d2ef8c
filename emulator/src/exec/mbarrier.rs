//! mbarrier: barriers in shared memory that count arrivals, and bytes that asynchronous copies bring.
//!
//! A phase is over when no arrival and no byte is missing; the next one begins at once. The ISA calls the eight bytes opaque.
//! Here they hold, from the lowest bit on: 20 bits of arrivals that are missing in this phase, 20 bits of arrivals of every
//! phase, 22 bits of missing bytes (signed, as bytes may come before they are expected), and the phase's parity.
//!
//! A wait that finds the phase not over ends the warp's turn, so that others come to what it waits for; `block` finds
//! out when nobody does.

use super::lanes::LANES;
use super::memory::{Access, GENERIC, SHARED, WIDE_BASE, addresses, bad_access, observe, resolve};
use super::warp::{Step, Warp};
use crate::check::{Fault, FaultKind};
use crate::ir::{Class, Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};

/// Most arrivals of a phase.
const MOST: u32 = (1 << 20) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    missing: u32,
    arrivals: u32,
    bytes: i32,
    odd: bool,
}

impl State {
    fn of(word: u64) -> Self {
        State {
            missing: word as u32 & MOST,
            arrivals: (word >> 20) as u32 & MOST,
            bytes: ((word << 2) as i64 >> 42) as i32,
            odd: word >> 63 != 0,
        }
    }

    fn word(self) -> u64 {
        self.missing as u64 | (self.arrivals as u64) << 20 | (self.bytes as u64 & 0x3f_ffff) << 40 | (self.odd as u64) << 63
    }

    /// Begins the next phase if this one is over.
    fn advance(&mut self) -> bool {
        let over = self.missing == 0 && self.bytes == 0;
        if over {
            self.missing = self.arrivals;
            self.odd = !self.odd;
        }
        over
    }
}

/// What an instruction does to a barrier, in `mode` above the space.
const INIT: u32 = 0;
const INVALIDATE: u32 = 1;
const ARRIVE: u32 = 2;
const EXPECT: u32 = 3;
const COMPLETE: u32 = 4;
const WAIT: u32 = 5;
const WHAT_AT: u32 = 8;
/// Flag: an arrival expects bytes first; a wait names the phase by its parity, not by a state.
const WITH_BYTES: u32 = 1 << 12;
const BY_PARITY: u32 = 1 << 13;
/// Flag: the state before the arrival is asked for.
const ANSWERS: u32 = 1 << 14;

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    d.class = Class::Sync;
    let what = d.take_any(&["init", "inval", "arrive", "test_wait", "try_wait", "expect_tx", "complete_tx"]);
    let what = what.ok_or_else(|| d.unknown())?;
    let with_bytes = what == "arrive" && d.take("expect_tx");
    let parity = d.take("parity");
    let shared = d.take_any(&["shared", "shared::cta", "shared::cluster"]).is_some();
    for word in ["release", "acquire", "relaxed", "cta", "cluster", "b64"] {
        d.take(word);
    }
    let (kind, address) = match what {
        "init" => (INIT, 0),
        "inval" => (INVALIDATE, 0),
        "arrive" => (ARRIVE, 1),
        "expect_tx" => (EXPECT, 0),
        "complete_tx" => (COMPLETE, 0),
        _ => (WAIT, 1),
    };
    let (base, wide, offset, _) = d.address(address)?;
    d.imm = offset;
    d.mode = if shared { SHARED } else { GENERIC } | if wide { WIDE_BASE } else { 0 } | kind << WHAT_AT;
    let mut dest = 0;
    if kind == WAIT {
        dest = d.dest_pred_of(d.operand(0)?)?;
        d.mode |= if parity { BY_PARITY } else { 0 };
        let phase = d.source(2, if parity { Ty::B32 } else { Ty::B64 })?;
        return d.emit(wait, [dest, base, phase, 0, 0]);
    }
    if kind == ARRIVE {
        d.mode |= if with_bytes { WITH_BYTES } else { 0 };
        if !matches!(d.operand(0)?, Operand::Name(name) if name == "_") {
            dest = d.dest(0, true)?;
            d.mode |= ANSWERS;
        }
    }
    // Arrivals, or bytes; an arrival that expects bytes is one.
    let count = if d.operands() > address + 1 { d.source(address + 1, Ty::B32)? } else { d.constant(1, false) };
    d.emit(change, [dest, base, count, 0, 0])
}

/// The place of a barrier.
fn place(warp: &mut Warp, inst: &Inst, lane: usize, address: u64) -> Result<*mut u64, Step> {
    let space = inst.mode & 7;
    match resolve(warp, space, address, lane, 8).filter(|_| address & 7 == 0) {
        Some(place) => Ok(place.cast()),
        None => Err(bad_access(warp, space, lane, address, 8, Access::Atomic)),
    }
}

#[cold]
fn misused(warp: &mut Warp, lane: usize, address: u64, detail: &str) -> Step {
    let mut fault = Fault::new(FaultKind::Barrier, lane as u32, detail);
    fault.address = address;
    warp.fail(fault)
}

fn change(warp: &mut Warp, inst: &Inst) -> Step {
    let kind = inst.mode >> WHAT_AT & 7;
    let all = addresses(warp, inst, inst.a());
    let access = if kind == INIT { Access::Write } else { Access::Atomic };
    if let Err(step) = observe(warp, inst.mode & 7, &all, 8, access) {
        return step;
    }
    let mut before = [0u64; LANES];
    let (mask, index) = (warp.mask, warp.index);
    for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
        let address = all[lane] & !super::warp::SHARED_WINDOW;
        let place = match place(warp, inst, lane, all[lane]) {
            Ok(place) => place,
            Err(step) => return step,
        };
        let count = warp.row::<u32>(inst.b())[lane];
        // SAFETY: the place was resolved for eight bytes.
        before[lane] = unsafe { place.read_unaligned() };
        let mut state = State::of(before[lane]);
        if kind != INIT && state.arrivals == 0 {
            return misused(warp, lane, address, "there is no mbarrier, for nothing initialised one");
        }
        match kind {
            INIT if count == 0 || count > MOST => {
                return misused(warp, lane, address, "an mbarrier counts 1 to 2^20 - 1 arrivals");
            }
            INIT => state = State { missing: count, arrivals: count, bytes: 0, odd: false },
            INVALIDATE => state = State { missing: 0, arrivals: 0, bytes: 0, odd: false },
            EXPECT => state.bytes += count as i32,
            COMPLETE => state.bytes -= count as i32,
            _ => {
                let (arrivals, bytes) = if inst.mode & WITH_BYTES != 0 { (1, count) } else { (count, 0) };
                state.bytes += bytes as i32;
                if state.missing < arrivals {
                    return misused(warp, lane, address, "more threads arrive than the mbarrier counts");
                }
                state.missing -= arrivals;
            }
        }
        let over = !matches!(kind, INIT | INVALIDATE) && state.advance();
        // SAFETY: as above.
        unsafe { place.write_unaligned(state.word()) };
        warp.events += 1;
        if let Some(check) = warp.check() {
            match kind {
                INIT => check.barrier_made(address),
                ARRIVE => check.barrier_arrived(index, address),
                _ => {}
            }
            if over {
                check.barrier_over(address);
            }
        }
    }
    if inst.mode & ANSWERS != 0 {
        warp.write(inst.d(), &before);
    }
    Step::Next
}

fn wait(warp: &mut Warp, inst: &Inst) -> Step {
    let all = addresses(warp, inst, inst.a());
    if let Err(step) = observe(warp, inst.mode & 7, &all, 8, Access::Atomic) {
        return step;
    }
    let (mask, index) = (warp.mask, warp.index);
    let mut over = 0;
    for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
        let place = match place(warp, inst, lane, all[lane]) {
            Ok(place) => place,
            Err(step) => return step,
        };
        // SAFETY: the place was resolved for eight bytes.
        let state = State::of(unsafe { place.read_unaligned() });
        if state.arrivals == 0 {
            let address = all[lane] & !super::warp::SHARED_WINDOW;
            return misused(warp, lane, address, "there is no mbarrier, for nothing initialised one");
        }
        let asked = if inst.mode & BY_PARITY != 0 {
            warp.row::<u32>(inst.b())[lane] & 1 != 0
        } else {
            State::of(warp.row::<u64>(inst.b())[lane]).odd
        };
        over |= ((state.odd != asked) as u32) << lane;
    }
    warp.set_pred(inst.d(), over);
    if over != mask {
        (warp.starved, warp.budget) = (true, 0);
    }
    if let Some(check) = warp.check() {
        for lane in (0..LANES).filter(|l| over >> l & 1 != 0) {
            check.barrier_passed(index, all[lane] & !super::warp::SHARED_WINDOW);
        }
    }
    Step::Next
}

/// An asynchronous copy has brought bytes to the barrier at an address of shared memory.
pub(super) fn complete(warp: &mut Warp, lane: usize, address: u64, bytes: u64) -> Result<(), Step> {
    let found = resolve(warp, SHARED, address, lane, 8).filter(|_| address & 7 == 0);
    let Some(place) = found.map(|place| place.cast::<u64>()) else {
        return Err(bad_access(warp, SHARED, lane, address, 8, Access::Atomic));
    };
    // SAFETY: the place was resolved for eight bytes.
    let mut state = State::of(unsafe { place.read_unaligned() });
    if state.arrivals == 0 {
        return Err(misused(warp, lane, address, "a copy reports to an mbarrier that nothing initialised"));
    }
    state.bytes -= bytes as i32;
    let over = state.advance();
    // SAFETY: as above.
    unsafe { place.write_unaligned(state.word()) };
    warp.events += 1;
    if over && let Some(check) = warp.check() {
        check.barrier_over(address);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_its_state() {
        for bytes in [0, 1, -1, 49152, -49152, (1 << 20) - 1, 1 - (1 << 20)] {
            let state = State { missing: 3, arrivals: MOST, bytes, odd: true };
            assert_eq!(State::of(state.word()), state);
        }
    }

    #[test]
    fn a_phase_is_over_when_neither_arrivals_nor_bytes_are_missing() {
        let mut state = State { missing: 0, arrivals: 2, bytes: 16, odd: false };
        assert!(!state.advance());
        state.bytes = 0;
        assert!(state.advance());
        assert_eq!(state, State { missing: 2, arrivals: 2, bytes: 0, odd: true });
    }
}
