//! Shared memory: bytes never written, races between barriers, copies not waited for.
//!
//! Each byte remembers who last wrote and who last read it, and in which epoch: the barriers of the block passed so far, and
//! those of the warp. Two threads conflict when neither kind of barrier lies between them.

use std::collections::VecDeque;

use super::{Fault, FaultKind, Lanes};
use crate::exec::{Access, LANES};

/// Thread number for "several" readers or warps.
const SEVERAL: u16 = u16::MAX;
/// Thread number for atomics, which do not conflict with each other.
const ATOMIC: u16 = u16::MAX - 1;

#[derive(Clone, Copy, Default)]
struct Byte {
    written: bool,
    pending: bool,
    writer: u16,
    reader: u16,
    reader_warp: u16,
    /// Written, and not yet handed to bulk copies and wgmma by a fence.
    unfenced: bool,
    write_epoch: u32,
    read_epoch: u32,
    write_warp_epoch: u32,
    read_warp_epoch: u32,
    write_pc: u32,
}

type Copies = Vec<(u64, u64)>;

pub(super) struct SharedCheck {
    bytes: Vec<Byte>,
    /// Barriers passed, from 1; 0 is "never".
    epoch: u32,
    warp_epochs: Vec<u32>,
    /// By thread: copies not committed, and committed groups not waited for.
    open: Vec<Copies>,
    groups: Vec<VecDeque<Copies>>,
    /// By warp: what it wrote since its last fence between proxies, of kernels that need any.
    written: Vec<Copies>,
}

impl SharedCheck {
    pub(super) fn new(len: u64, warps: usize) -> Self {
        let threads = if len > 0 { warps * LANES } else { 0 };
        SharedCheck {
            bytes: vec![Byte::default(); len as usize],
            epoch: 1,
            warp_epochs: vec![1; warps],
            open: vec![Vec::new(); threads],
            groups: vec![VecDeque::new(); threads],
            written: vec![Vec::new(); warps],
        }
    }

    /// A warp wrote a range, which bulk copies and wgmma see after its next fence between proxies.
    pub(super) fn unfenced(&mut self, warp: usize, at: u64, bytes: u64) {
        if let Some(range) = self.bytes.get_mut(at as usize..(at + bytes) as usize) {
            range.iter_mut().for_each(|b| b.unfenced = true);
            self.written[warp].push((at, bytes));
        }
    }

    /// A fence between proxies of a warp.
    pub(super) fn fenced(&mut self, warp: usize) {
        for (at, bytes) in std::mem::take(&mut self.written[warp]) {
            self.bytes[at as usize..(at + bytes) as usize].iter_mut().for_each(|b| b.unfenced = false);
        }
    }

    pub(super) fn is_unfenced(&self, at: u64, bytes: u64) -> bool {
        self.bytes.get(at as usize..(at + bytes) as usize).is_some_and(|range| range.iter().any(|b| b.unfenced))
    }

    pub(super) fn is_written(&self, at: u64, bytes: u64) -> bool {
        self.bytes.get(at as usize..(at + bytes) as usize).is_some_and(|range| range.iter().all(|b| b.written))
    }

    /// A bulk copy brings a range; `transfers` says who may touch it.
    pub(super) fn copied(&mut self, at: u64, bytes: u64) {
        if let Some(range) = self.bytes.get_mut(at as usize..(at + bytes) as usize) {
            range.fill(Byte { written: true, ..Byte::default() });
        }
    }

    pub(super) fn warp_barrier(&mut self, warp: usize) {
        self.warp_epochs[warp] += 1;
    }

    pub(super) fn block_barrier(&mut self) {
        self.epoch += 1;
    }

    /// Looks at one lane's access; an access out of bounds is left to the access itself.
    pub(super) fn access(&mut self, lanes: &Lanes, lane: usize, address: u64) -> Vec<Fault> {
        let (warp, thread) = (lanes.warp as u16, lanes.warp as u16 * LANES as u16 + lane as u16);
        let (epoch, warp_epoch) = (self.epoch, self.warp_epochs[warp as usize]);
        let (mut unwritten, mut pending, mut race) = (false, false, None);
        let Some(bytes) = self.bytes.get_mut(address as usize..(address + lanes.bytes) as usize) else { return Vec::new() };
        for byte in bytes {
            let reads = lanes.access != Access::Write;
            let writes = lanes.access != Access::Read;
            unwritten |= reads && !byte.written;
            pending |= reads && byte.pending;
            let me = if lanes.access == Access::Atomic { ATOMIC } else { thread };
            let same_store = writes && byte.write_pc == lanes.pc;
            let writer_warp = byte.writer / LANES as u16;
            if byte.written && byte.write_epoch == epoch && byte.writer != me && byte.writer != thread {
                let apart = byte.writer != ATOMIC && writer_warp == warp && (byte.write_warp_epoch != warp_epoch || same_store);
                if !apart {
                    race = Some((byte.writer, "wrote"));
                }
            }
            if writes && byte.read_epoch == epoch && byte.reader != me {
                let apart = byte.reader_warp == warp && byte.read_warp_epoch != warp_epoch;
                if !apart {
                    race = Some((byte.reader, "read"));
                }
            }
            if writes {
                byte.written = true;
                (byte.writer, byte.write_epoch, byte.write_warp_epoch, byte.write_pc) = (me, epoch, warp_epoch, lanes.pc);
            } else if byte.read_epoch != epoch {
                (byte.reader, byte.reader_warp, byte.read_epoch, byte.read_warp_epoch) = (thread, warp, epoch, warp_epoch);
            } else {
                if byte.reader != thread {
                    byte.reader = if byte.reader_warp == warp && byte.read_warp_epoch != warp_epoch { thread } else { SEVERAL };
                }
                if byte.reader_warp != warp {
                    byte.reader_warp = SEVERAL;
                }
                byte.read_warp_epoch = warp_epoch;
            }
        }
        let fault = |kind, detail: String| Fault {
            kind,
            lane: lane as u32,
            address,
            bytes: lanes.bytes,
            access: Some(lanes.access),
            space: "shared",
            detail,
        };
        let mut faults = Vec::new();
        if unwritten {
            faults.push(fault(FaultKind::Uninitialised, String::new()));
        }
        if pending {
            faults.push(fault(FaultKind::PendingCopy, "no cp.async.wait came between".into()));
        }
        if let Some((other, did)) = race {
            let who = match other {
                SEVERAL => "other threads".to_string(),
                ATOMIC => "an atomic of another thread".to_string(),
                t => format!("thread {t}"),
            };
            faults.push(fault(FaultKind::SharedRace, format!("{who} {did} it with no barrier between")));
        }
        faults
    }

    pub(super) fn copy_started(&mut self, warp: usize, mask: u32, to: &[u64; LANES], bytes: u64) {
        for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
            let Some(open) = self.open.get_mut(warp * LANES + lane) else { return };
            open.push((to[lane], bytes));
            if let Some(range) = self.bytes.get_mut(to[lane] as usize..(to[lane] + bytes) as usize) {
                range.iter_mut().for_each(|b| b.pending = true);
            }
        }
    }

    pub(super) fn copies_committed(&mut self, warp: usize, mask: u32) {
        for thread in (0..LANES).filter(|l| mask >> l & 1 != 0).map(|l| warp * LANES + l) {
            let Some(open) = self.open.get_mut(thread) else { return };
            let group = std::mem::take(open);
            self.groups[thread].push_back(group);
        }
    }

    pub(super) fn copies_waited(&mut self, warp: usize, mask: u32, leave: usize, all: bool) {
        for thread in (0..LANES).filter(|l| mask >> l & 1 != 0).map(|l| warp * LANES + l) {
            let Some(groups) = self.groups.get_mut(thread) else { return };
            let mut done: Vec<Copies> = Vec::new();
            while groups.len() > leave {
                done.extend(groups.pop_front());
            }
            if all {
                done.push(std::mem::take(&mut self.open[thread]));
            }
            for (at, bytes) in done.into_iter().flatten() {
                if let Some(range) = self.bytes.get_mut(at as usize..(at + bytes) as usize) {
                    range.iter_mut().for_each(|b| b.pending = false);
                }
            }
        }
    }
}
