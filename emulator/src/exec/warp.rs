//! A warp: 32 lanes, their registers, and a program counter each.
//!
//! Lanes with the same program counter run as one group. Code is laid out (see `ir::layout`) so that a block lies after all
//! blocks that can lead to it without going round a loop, and the group with the lowest program counter runs first: so the
//! lanes of a branch wait where its sides meet, and lanes that leave a loop wait behind it for the others.

use super::lanes::{Cell, FULL, LANES};
use crate::check::{BlockCheck, Fault};

/// What the loop over instructions does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next instruction.
    Next,
    /// The program counter was set.
    Jump,
    /// The lanes' program counters were set; choose a group anew.
    Regroup,
    /// The same instruction again: the group has grown.
    Again,
    /// The same instruction again, later: its lanes wait for others (see `Warp::arrive`).
    Wait,
    /// `warp.fault` says what went wrong.
    Fault,
}

/// Where generic addresses of shared memory begin; above every host address.
pub const SHARED_WINDOW: u64 = 1 << 56;
/// Where generic addresses of local memory begin.
pub const LOCAL_WINDOW: u64 = 2 << 56;

/// Where generic addresses of kernel parameters begin.
pub const PARAM_WINDOW: u64 = 3 << 56;

/// One row of 32 cells of 32 bits, aligned for any vector unit. A wide register takes two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct Row(pub [u32; LANES]);

/// Bit of a slot that says it is a constant of the kernel, not a register of the warp.
pub const CONSTANT: u32 = 1 << 31;

/// What all warps of a block share, as raw parts: the block outlives its warps' runs.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Shared memory and its size.
    pub shared: *mut u8,
    /// Bytes of shared memory.
    pub shared_len: u64,
    /// First address of the device memory arena.
    pub arena: u64,
    /// Bytes of the arena.
    pub arena_len: u64,
    /// The launch's parameters.
    pub params: *const u8,
    /// Bytes of parameters.
    pub params_len: u64,
    /// The checker of the block, null in plain mode.
    pub check: *mut BlockCheck,
}

/// A warp.
pub struct Warp {
    bases: [*mut Row; 2],
    preds: *mut u32,
    /// Lanes the present instruction acts on: those of the group whose guard holds.
    pub mask: u32,
    /// Lanes that run together now.
    pub group: u32,
    /// Where the group is.
    pub pc: u32,
    /// The lowest program counter of the other lanes that can run.
    pub frontier: u32,
    /// Lanes that have not exited.
    pub live: u32,
    /// Lanes that wait at a barrier of the block.
    pub at_barrier: u32,
    /// Lanes that wait for others of the warp.
    pub at_sync: u32,
    /// Program counters of the lanes outside the group.
    pub pcs: [u32; LANES],
    /// What the block gives.
    pub around: Surroundings,
    /// Local memory: `local_len` bytes a lane.
    pub local: *mut u8,
    /// Bytes of local memory a lane.
    pub local_len: u64,
    /// Number in the block.
    pub index: u32,
    /// What went wrong, with `Step::Fault`.
    pub fault: Option<Box<Fault>>,
    /// Instructions this warp may still run before the others get a turn.
    pub budget: i64,
    /// Whether its turn ended at an mbarrier's phase that was not over.
    pub starved: bool,
    /// Changes that it made to mbarriers.
    pub events: u64,
}

impl Warp {
    /// A warp over its registers; `preds[0]` is false and `preds[1]` true for all lanes.
    ///
    /// # Safety
    /// The pointers stay valid while the warp runs, `registers` and `constants` for every slot and `preds` for every
    /// predicate of the code that it runs.
    pub unsafe fn new(
        registers: *mut Row,
        constants: *const Row,
        preds: *mut u32,
        around: Surroundings,
        local: (*mut u8, u64),
        index: u32,
        live: u32,
    ) -> Self {
        Warp {
            bases: [registers, constants.cast_mut()],
            preds,
            mask: 0,
            group: live,
            pc: 0,
            frontier: u32::MAX,
            live,
            at_barrier: 0,
            at_sync: 0,
            pcs: [0; LANES],
            around,
            local: local.0,
            local_len: local.1,
            index,
            fault: None,
            budget: 0,
            starved: false,
            events: 0,
        }
    }

    /// The cells of a register or constant.
    #[inline(always)]
    pub fn row<C: Cell>(&self, slot: u32) -> &[C; LANES] {
        // SAFETY: slots come from lowering, which sized the register file and the constants (see `new`); rows are aligned
        // for either cell, and a slot used with wide cells has two rows.
        unsafe { &*self.bases[(slot >> 31) as usize].add((slot & !CONSTANT) as usize).cast::<[C; LANES]>() }
    }

    /// The cells of a register, to write.
    #[inline(always)]
    pub fn row_mut<C: Cell>(&mut self, slot: u32) -> &mut [C; LANES] {
        debug_assert!(slot & CONSTANT == 0);
        // SAFETY: as in `row`; a destination is always a register.
        unsafe { &mut *self.bases[0].add(slot as usize).cast::<[C; LANES]>() }
    }

    /// Writes the lanes in `mask`.
    #[inline(always)]
    pub fn write<C: Cell>(&mut self, slot: u32, values: &[C; LANES]) {
        let mask = self.mask;
        let row = self.row_mut::<C>(slot);
        if mask == FULL {
            *row = *values;
        } else {
            for lane in 0..LANES {
                row[lane] = if mask >> lane & 1 != 0 { values[lane] } else { row[lane] };
            }
        }
    }

    /// A predicate, one bit a lane.
    #[inline(always)]
    pub fn pred(&self, index: u32) -> u32 {
        // SAFETY: predicate numbers come from lowering, which counted them (see `new`).
        unsafe { *self.preds.add(index as usize) }
    }

    /// Sets a predicate for the lanes in `mask`.
    #[inline(always)]
    pub fn set_pred(&mut self, index: u32, value: u32) {
        // SAFETY: as in `pred`.
        let place = unsafe { &mut *self.preds.add(index as usize) };
        *place = *place & !self.mask | value & self.mask;
    }

    /// The checker of the block, in checked mode.
    #[inline(always)]
    pub fn check(&mut self) -> Option<&mut BlockCheck> {
        // SAFETY: null or the block's checker, which outlives the warp's run and which nothing else borrows meanwhile.
        unsafe { self.around.check.as_mut() }
    }

    /// Ends the run with a fault.
    #[cold]
    pub fn fail(&mut self, fault: Fault) -> Step {
        self.fault = Some(Box::new(fault));
        Step::Fault
    }

    /// Chooses the group that runs next: the lanes at the lowest program counter among those that can run. False when none
    /// can.
    pub fn regroup(&mut self) -> bool {
        let mut ready = self.live & !self.at_barrier & !self.at_sync;
        let (mut pc, mut frontier, mut group) = (u32::MAX, u32::MAX, 0);
        while ready != 0 {
            let lane = ready.trailing_zeros();
            ready &= ready - 1;
            let at = self.pcs[lane as usize];
            if at < pc {
                frontier = pc;
                pc = at;
                group = 1 << lane;
            } else if at == pc {
                group |= 1 << lane;
            } else if at < frontier {
                frontier = at;
            }
        }
        self.pc = pc;
        self.frontier = frontier;
        self.group = group;
        group != 0
    }

    /// Puts the group's program counter into its lanes, so that `regroup` may choose.
    pub fn park(&mut self, pc: u32) {
        self.set_pcs(self.group, pc);
    }

    /// Sets the program counters of some lanes.
    pub fn set_pcs(&mut self, lanes: u32, pc: u32) {
        for lane in 0..LANES {
            if lanes >> lane & 1 != 0 {
                self.pcs[lane] = pc;
            }
        }
    }

    /// An instruction that all live lanes of `members` execute together: `None` when they are all here. Otherwise the group
    /// waits at this instruction, or takes in those that wait here already and starts it again.
    pub fn arrive(&mut self, members: u32) -> Option<Step> {
        let needed = members & self.live;
        let here = self.mask;
        if needed & !here == 0 {
            return None;
        }
        let waiting = (0..LANES as u32).filter(|&l| self.at_sync >> l & 1 != 0 && self.pcs[l as usize] == self.pc);
        let waiting = waiting.fold(0, |lanes, l| lanes | 1 << l);
        if needed & !(here | waiting) == 0 {
            self.at_sync &= !waiting;
            self.group |= waiting;
            return Some(Step::Again);
        }
        self.at_sync |= here;
        Some(Step::Wait)
    }
}
