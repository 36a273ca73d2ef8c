//! Checked mode: what a GPU would not tell.
//!
//! Every access of a warp to memory comes by here before it happens. Faults end the launch: out of bounds, misaligned, use
//! after free. Findings do not: reads of bytes nothing wrote, races in shared memory, two blocks writing one place, divergent
//! barriers, results that were never written. Each names the kernel, the line, block and thread.

mod bounds;
mod profile;
mod registers;
mod report;
mod shared;
mod transfers;

use std::sync::Arc;

pub use profile::{Counters, write_profile};
pub use report::{Finding, record};

use crate::device::Allocation;
use crate::exec::{Access, LANES};
use crate::ir::{Barrier, Program};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An access beyond its allocation, or beyond shared, local or parameter memory.
    OutOfBounds,
    /// An address that is not a multiple of the access's size.
    Misaligned,
    /// An access to memory that was freed.
    UseAfterFree,
    /// A read of bytes that nothing wrote.
    Uninitialised,
    /// Two threads of a block at one place of shared memory, one writing, no barrier between.
    SharedRace,
    /// Two blocks of a launch writing one place of device memory.
    GlobalRace,
    /// A barrier that part of the threads did not come to.
    DivergentBarrier,
    /// A warp-wide instruction whose lanes never come together.
    WarpDeadlock,
    /// A read of what cp.async brings, before waiting for it.
    PendingCopy,
    /// A bulk copy or a wgmma and another access to the same bytes of shared memory, and nothing orders the two.
    AsyncRace,
    /// A touch of a register that wgmma works on, or a product of sums that no fence handed to it.
    InFlight,
    /// What was written to shared memory is read by a bulk copy or a wgmma without a fence.proxy.async.
    MissingFence,
    /// A misuse of an mbarrier, or a wait for a phase that is never over.
    Barrier,
    /// A bulk copy whose map, coordinates or place are wrong.
    BulkCopy,
    /// The host read results that nothing wrote.
    NeverWritten,
    /// `trap`.
    Trap,
    /// A failed assertion.
    Assert,
}

impl FaultKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::OutOfBounds => "out-of-bounds",
            FaultKind::Misaligned => "misaligned",
            FaultKind::UseAfterFree => "use-after-free",
            FaultKind::Uninitialised => "uninitialised",
            FaultKind::SharedRace => "shared-race",
            FaultKind::GlobalRace => "global-race",
            FaultKind::DivergentBarrier => "divergent-barrier",
            FaultKind::WarpDeadlock => "warp-deadlock",
            FaultKind::PendingCopy => "pending-copy",
            FaultKind::AsyncRace => "async-race",
            FaultKind::InFlight => "in-flight",
            FaultKind::MissingFence => "missing-fence",
            FaultKind::Barrier => "mbarrier",
            FaultKind::BulkCopy => "bulk-copy",
            FaultKind::NeverWritten => "never-written",
            FaultKind::Trap => "trap",
            FaultKind::Assert => "assert",
        }
    }
}

/// Something wrong, as an instruction sees it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// The lane.
    pub lane: u32,
    /// The address.
    pub address: u64,
    /// Bytes of the access.
    pub bytes: u64,
    /// What was being done.
    pub access: Option<Access>,
    /// The space.
    pub space: &'static str,
    /// More words.
    pub detail: String,
}

impl Fault {
    /// A fault that is not about memory.
    pub fn new(kind: FaultKind, lane: u32, detail: &str) -> Self {
        Fault { kind, lane, address: 0, bytes: 0, access: None, space: "", detail: detail.to_string() }
    }
}

/// The accesses of a warp's lanes.
pub struct Lanes<'a> {
    /// The instruction.
    pub pc: u32,
    /// The warp.
    pub warp: u32,
    /// The active lanes.
    pub mask: u32,
    /// Addresses in their spaces.
    pub addresses: &'a [u64; LANES],
    /// The spaces.
    pub spaces: &'a [&'static str; LANES],
    /// Bytes of each access.
    pub bytes: u64,
    /// What it does.
    pub access: Access,
}

/// What the blocks of a launch share.
pub struct LaunchCheck {
    /// The kernel.
    pub program: Arc<Program>,
    /// Allocations at launch, by address.
    pub allocations: Arc<Vec<Allocation>>,
    /// Number of the launch, from 1.
    pub launch: u32,
    /// Blocks by axis.
    pub grid: [u32; 3],
    /// Threads a block by axis.
    pub block: [u32; 3],
    /// Whether to check, or only to count.
    pub check: bool,
    /// Counters, when profiling.
    pub counters: Option<Counters>,
}

/// The checker of one block.
pub struct BlockCheck {
    launch: *const LaunchCheck,
    block: [u32; 3],
    shared: shared::SharedCheck,
    /// For each warp and basic block: the lanes that ran it since the last barrier.
    visited: Vec<Vec<u32>>,
    counts: Option<profile::BlockCounts>,
    last_found: usize,
    /// Of kernels with bulk copies or wgmma; by warp, the second.
    transfers: Option<transfers::Transfers>,
    registers: Vec<registers::Registers>,
}

impl BlockCheck {
    /// A checker for one block.
    pub fn new(launch: &LaunchCheck, block: [u32; 3], threads: u32, shared: u64) -> Self {
        let warps = threads.div_ceil(LANES as u32) as usize;
        let blocks = launch.program.places.last().map_or(0, |p| p.block as usize + 1);
        let has_barriers = launch.check && !launch.program.after_barrier.is_empty();
        let beside = launch.check && !launch.program.touches.is_empty();
        BlockCheck {
            launch,
            block,
            shared: shared::SharedCheck::new(if launch.check { shared } else { 0 }, warps),
            visited: if has_barriers { vec![vec![0; blocks]; warps] } else { Vec::new() },
            counts: launch.counters.as_ref().map(|_| profile::BlockCounts::new(&launch.program)),
            last_found: 0,
            transfers: beside.then(|| transfers::Transfers::new(warps)),
            registers: if beside { vec![registers::Registers::new(launch.program.rows); warps] } else { Vec::new() },
        }
    }

    fn launch(&self) -> &LaunchCheck {
        // SAFETY: the block runs inside the launch, whose checker outlives it.
        unsafe { &*self.launch }
    }

    fn find(&self, pc: u32, warp: u32, fault: Fault) {
        let launch = self.launch();
        record(Finding::of(&launch.program, launch.block, self.block, pc, warp, &fault, &launch.allocations));
    }

    /// An instruction is about to run.
    pub fn executes(&mut self, pc: u32, warp: u32, mask: u32, group: u32) {
        if !self.visited.is_empty() {
            // SAFETY: as in `launch`, which cannot be used here because of the borrow.
            let launch = unsafe { &*self.launch };
            let place = &launch.program.places[pc as usize];
            if place.barrier != Barrier::Block {
                self.visited[warp as usize][place.block as usize] |= mask;
            }
        }
        if let Some(counts) = &mut self.counts {
            counts.executes(pc, mask, group);
        }
        if let Some(registers) = self.registers.get_mut(warp as usize) {
            // SAFETY: as above.
            let launch = unsafe { &*self.launch };
            if let Some(wrong) = registers.touch(&launch.program.touches[pc as usize]) {
                self.find(pc, warp, Fault::new(FaultKind::InFlight, mask.trailing_zeros(), wrong.detail()));
            }
        }
    }

    /// An access is about to happen; a fault ends the launch.
    pub fn access(&mut self, lanes: &Lanes) -> Option<Fault> {
        if let Some(counts) = &mut self.counts {
            counts.access(lanes);
        }
        if !self.launch().check {
            return None;
        }
        for lane in (0..LANES).filter(|l| lanes.mask >> l & 1 != 0) {
            let address = lanes.addresses[lane];
            if address & (lanes.bytes - 1) != 0 {
                // The access itself finds and reports this.
                continue;
            }
            let result = match lanes.spaces[lane] {
                "global" => self.global(lanes, lane, address),
                "shared" => {
                    for fault in self.shared.access(lanes, lane, address) {
                        self.find(lanes.pc, lanes.warp, fault);
                    }
                    self.beside(lanes, lane, address);
                    None
                }
                _ => None,
            };
            if result.is_some() {
                return result;
            }
        }
        None
    }

    /// Looks at one lane's access to shared memory that bulk copies and wgmma use too.
    fn beside(&mut self, lanes: &Lanes, lane: usize, address: u64) {
        let Some(transfers) = &mut self.transfers else { return };
        let warp = lanes.warp as usize;
        let wrong = match lanes.access {
            Access::Read => transfers.read(warp, address, lanes.bytes, false),
            _ => transfers.replaced(warp, address, address + lanes.bytes),
        };
        if lanes.access == Access::Write {
            self.shared.unfenced(warp, address, lanes.bytes);
        }
        if let Some(wrong) = wrong {
            let fault = Fault {
                kind: FaultKind::AsyncRace,
                lane: lane as u32,
                address,
                bytes: lanes.bytes,
                access: Some(lanes.access),
                space: "shared",
                detail: wrong.detail(),
            };
            self.find(lanes.pc, lanes.warp, fault);
        }
    }

    /// A bulk copy to a range of shared memory, its address and length, was issued; it reports to a barrier.
    pub fn bulk_copied(&mut self, pc: u32, warp: u32, lane: u32, (to, bytes): (u64, u64), barrier: u64) {
        let Some(transfers) = &mut self.transfers else { return };
        let fault = |kind, address, bytes, detail: String| Fault {
            kind,
            lane,
            address,
            bytes,
            access: Some(Access::Write),
            space: "shared",
            detail,
        };
        if let Some(wrong) = transfers.copied(warp as usize, to, bytes, barrier) {
            self.find(pc, warp, fault(FaultKind::AsyncRace, to, bytes, wrong.detail()));
        }
        self.shared.copied(to, bytes);
        if self.shared.is_unfenced(barrier, 8) {
            let detail = "the mbarrier's initialisation was not made known by a fence".into();
            self.find(pc, warp, fault(FaultKind::MissingFence, barrier, 8, detail));
        }
    }

    /// A warp's wgmma reads chunks of 16 bytes.
    pub fn matrices_read(&mut self, pc: u32, warp: u32, chunks: &[u64]) {
        let Some(transfers) = &mut self.transfers else { return };
        let mut found = None;
        for &at in chunks {
            if let Some(wrong) = transfers.read(warp as usize, at, 16, true) {
                found = found.or(Some((FaultKind::AsyncRace, at, wrong.detail())));
            } else if !transfers.holds(at, 16) {
                if !self.shared.is_written(at, 16) {
                    found = found.or(Some((FaultKind::Uninitialised, at, String::new())));
                } else if self.shared.is_unfenced(at, 16) {
                    let detail = "who wrote it executed no fence.proxy.async since".to_string();
                    found = found.or(Some((FaultKind::MissingFence, at, detail)));
                }
            }
        }
        if let Some((kind, address, detail)) = found {
            let access = Some(Access::Read);
            self.find(pc, warp, Fault { kind, lane: 0, address, bytes: 16, access, space: "shared", detail });
        }
    }

    /// `wgmma.fence`
    pub fn registers_fenced(&mut self, warp: u32) {
        if let Some(registers) = self.registers.get_mut(warp as usize) {
            registers.fenced();
        }
    }

    /// `wgmma.commit_group`
    pub fn products_committed(&mut self, warp: u32) {
        if let (Some(registers), Some(transfers)) = (self.registers.get_mut(warp as usize), &mut self.transfers) {
            registers.committed();
            transfers.committed(warp as usize);
        }
    }

    /// `wgmma.wait_group`: all but the last `leave` groups are done.
    pub fn products_waited(&mut self, warp: u32, leave: usize) {
        if let (Some(registers), Some(transfers)) = (self.registers.get_mut(warp as usize), &mut self.transfers) {
            registers.waited(leave);
            transfers.waited(warp as usize, leave);
        }
    }

    /// `fence.proxy.async`, or one of mbarriers' initialisation.
    pub fn proxy_fenced(&mut self, warp: u32) {
        self.shared.fenced(warp as usize);
    }

    /// An mbarrier was initialised.
    pub fn barrier_made(&mut self, address: u64) {
        if let Some(transfers) = &mut self.transfers {
            transfers.barrier_made(address);
        }
    }

    /// A thread of a warp arrived at an mbarrier.
    pub fn barrier_arrived(&mut self, warp: u32, address: u64) {
        if let Some(transfers) = &mut self.transfers {
            transfers.arrived(warp as usize, address);
        }
    }

    /// A phase of an mbarrier is over.
    pub fn barrier_over(&mut self, address: u64) {
        if let Some(transfers) = &mut self.transfers {
            transfers.over(address);
        }
    }

    /// A warp saw that a phase of an mbarrier is over.
    pub fn barrier_passed(&mut self, warp: u32, address: u64) {
        if let Some(transfers) = &mut self.transfers {
            transfers.passed(warp as usize, address);
        }
    }

    /// `bar.warp.sync` was passed.
    pub fn warp_barrier(&mut self, warp: u32, _mask: u32) {
        self.shared.warp_barrier(warp as usize);
    }

    /// A barrier of the block lets its threads go: (warp, lane, pc) of each; the lanes alive by warp; whether it is for all.
    pub fn block_barrier(&mut self, waiting: &[(u32, u32, u32)], alive: &[u32], all: bool) {
        if all {
            self.shared.block_barrier();
            if let Some(transfers) = &mut self.transfers {
                transfers.block_barrier();
            }
        }
        if !self.launch().check || !all {
            return;
        }
        let first = waiting[0];
        for pair in waiting.windows(2) {
            if pair[0].0 == pair[1].0 && pair[0].2 != pair[1].2 {
                let detail = "lanes of one warp wait at different barriers";
                self.find(pair[1].2, pair[1].0, Fault::new(FaultKind::DivergentBarrier, pair[1].1, detail));
                break;
            }
        }
        let block = self.launch().program.places[first.2 as usize].block;
        let after = self.launch().program.after_barrier.iter().find(|b| b.0 == block).map(|b| b.1.clone()).unwrap_or_default();
        let skipped = (0..alive.len()).find_map(|w| {
            let around = after.iter().fold(0, |m, &b| m | self.visited[w][b as usize]);
            (around & !alive[w] != 0).then(|| (w as u32, (around & !alive[w]).trailing_zeros()))
        });
        if let Some((warp, lane)) = skipped {
            let detail = format!("thread {} of the block went past this barrier without waiting", warp * LANES as u32 + lane);
            self.find(first.2, first.0, Fault::new(FaultKind::DivergentBarrier, first.1, &detail));
        }
        self.visited.iter_mut().for_each(|warp| warp.fill(0));
    }

    /// cp.async started copies to shared memory.
    pub fn copy_started(&mut self, warp: u32, mask: u32, to: &[u64; LANES], bytes: u64) {
        self.shared.copy_started(warp as usize, mask, to, bytes);
    }

    /// cp.async.commit_group
    pub fn copies_committed(&mut self, warp: u32, mask: u32) {
        self.shared.copies_committed(warp as usize, mask);
    }

    /// cp.async.wait_group n, or wait_all.
    pub fn copies_waited(&mut self, warp: u32, mask: u32, groups: usize, all: bool) {
        self.shared.copies_waited(warp as usize, mask, groups, all);
    }

    /// The block is done.
    pub fn finish(self) {
        if let (Some(counts), Some(counters)) = (&self.counts, &self.launch().counters) {
            counters.add(counts);
        }
    }
}
