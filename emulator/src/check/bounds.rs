//! Device memory: bounds, freed memory, bytes never written, blocks that write one place.

use super::{BlockCheck, Fault, FaultKind, Lanes};
use crate::exec::Access;

impl BlockCheck {
    /// Looks at one lane's access to device memory.
    pub(super) fn global(&mut self, lanes: &Lanes, lane: usize, address: u64) -> Option<Fault> {
        let fault = |kind, detail: String| Fault {
            kind,
            lane: lane as u32,
            address,
            bytes: lanes.bytes,
            access: Some(lanes.access),
            space: "global",
            detail,
        };
        // SAFETY: as in `launch`, which cannot be used here because of the borrow.
        let launch = unsafe { &*self.launch };
        let all = &launch.allocations;
        let inside = |k: usize| all.get(k).is_some_and(|a| address >= a.address && address + lanes.bytes <= a.address + a.bytes);
        if !inside(self.last_found) {
            let next = all.partition_point(|a| a.address <= address);
            if next == 0 || !inside(next - 1) {
                return Some(fault(FaultKind::OutOfBounds, String::new()));
            }
            self.last_found = next - 1;
        }
        let allocation = &all[self.last_found];
        if allocation.freed {
            return Some(fault(FaultKind::UseAfterFree, String::new()));
        }
        let shadow = allocation.shadow.as_ref()?;
        let at = address - allocation.address;
        if lanes.access != Access::Write && !shadow.is_written(at, lanes.bytes) {
            self.find(lanes.pc, lanes.warp, fault(FaultKind::Uninitialised, String::new()));
        }
        if lanes.access != Access::Read {
            shadow.mark(at, lanes.bytes);
        }
        if lanes.access == Access::Write && lanes.bytes > 1 {
            let [x, y, _] = launch.grid;
            let block = self.block[0] + x * (self.block[1] + y * self.block[2]);
            if let Some(other) = shadow.write_by(at, lanes.bytes, (launch.launch as u64) << 32 | block as u64) {
                let detail = format!(
                    "block ({}, {}, {}) of this launch wrote it too",
                    other as u32 % x,
                    other as u32 / x % y,
                    other as u32 / x / y
                );
                self.find(lanes.pc, lanes.warp, fault(FaultKind::GlobalRace, detail));
            }
        }
        None
    }
}
