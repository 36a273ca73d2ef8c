//! A block: its warps take turns until each waits at a barrier or is done, then the barrier lets them go.

use super::lanes::LANES;
use super::launch::{Launch, Scratch};
use super::warp::{Row, Step, Surroundings, Warp};
use crate::check::{BlockCheck, Fault, FaultKind, LaunchCheck};
use crate::ir::{Barrier, Inst, Program, Special};

/// Jumps a warp may take before the next one gets a turn, so that warps may wait for each other through memory.
const TURN: i64 = 1 << 20;

/// Rounds in which no mbarrier may change while all warps wait for one.
const PATIENCE: u32 = 1000;

/// A fault and where it happened.
pub struct Stop {
    /// What happened.
    pub fault: Fault,
    /// The instruction.
    pub pc: u32,
    /// The warp.
    pub warp: u32,
}

enum Turn {
    Done,
    Waits,
    Again,
}

/// Runs one block.
pub fn run_block(launch: &Launch, scratch: &mut Scratch, block: [u32; 3], check: Option<&LaunchCheck>) -> Result<(), Stop> {
    let program = launch.program;
    let threads = launch.block.iter().product::<u32>();
    let warps = threads.div_ceil(LANES as u32);
    let mut checker = check.map(|c| BlockCheck::new(c, block, threads, scratch.shared.len() as u64));
    let around = Surroundings {
        shared: scratch.shared.as_mut_ptr(),
        shared_len: scratch.shared.len() as u64,
        arena: launch.arena.0,
        arena_len: launch.arena.1,
        params: launch.params.as_ptr(),
        params_len: launch.params.len() as u64,
        check: checker.as_mut().map_or(std::ptr::null_mut(), |c| c as *mut BlockCheck),
    };
    let rows = program.rows.max(1) as usize;
    let preds = program.preds as usize;
    let local = program.local;
    let mut all: Vec<Warp> = (0..warps)
        .map(|w| {
            let first = w * LANES as u32;
            let live = if threads - first >= 32 { u32::MAX } else { (1 << (threads - first)) - 1 };
            let registers = &mut scratch.registers[w as usize * rows..][..rows];
            fill_specials(program, launch, registers, block, w, scratch.shared.len() as u64);
            let predicates = &mut scratch.preds[w as usize * preds..][..preds];
            (predicates[0], predicates[1]) = (0, u32::MAX);
            let local_at = scratch.local.as_mut_ptr().wrapping_add(w as usize * LANES * local as usize);
            // SAFETY: the scratch holds rows, predicates and local memory for every warp of a block of this launch, its
            // vectors are not touched otherwise until the block is done, and the program outlives the launch.
            unsafe {
                Warp::new(
                    registers.as_mut_ptr(),
                    program.constants.as_ptr(),
                    predicates.as_mut_ptr(),
                    around,
                    (local_at, local),
                    w,
                    live,
                )
            }
        })
        .collect();
    let (mut seen, mut idle) = (0, 0);
    loop {
        // Who may go on, and who only looks again at an mbarrier.
        let (mut again, mut looks) = (false, None);
        for warp in &mut all {
            match turn(warp, program)? {
                Turn::Again if warp.starved => looks = Some(warp.index),
                Turn::Again => again = true,
                Turn::Waits | Turn::Done => {}
            }
        }
        if all.iter().all(|w| w.live == 0) {
            break;
        }
        if !again && !release(program, &mut all) && looks.is_none() {
            return Err(never_released(&all));
        }
        let events: u64 = all.iter().map(|w| w.events).sum();
        idle = if again || events != seen { 0 } else { idle + 1 };
        seen = events;
        if let Some(warp) = looks.filter(|_| idle > PATIENCE) {
            let pc = all[warp as usize].pc;
            let fault =
                Fault::new(FaultKind::Barrier, 0, "all that still runs waits for phases of mbarriers that are never over");
            return Err(Stop { fault, pc, warp });
        }
    }
    if let Some(checker) = checker {
        checker.finish();
    }
    Ok(())
}

fn fill_specials(program: &Program, launch: &Launch, rows: &mut [Row], block: [u32; 3], warp: u32, shared: u64) {
    for (row, special) in rows.iter_mut().zip(&program.specials) {
        let [nx, ny, _] = launch.block;
        row.0 = std::array::from_fn(|lane| {
            let thread = warp * LANES as u32 + lane as u32;
            let lane = lane as u32;
            match *special {
                Special::Tid(0) => thread % nx,
                Special::Tid(1) => thread / nx % ny,
                Special::Tid(_) => thread / nx / ny,
                Special::Ntid(k) => launch.block[k as usize],
                Special::Ctaid(k) => block[k as usize],
                Special::Nctaid(k) => launch.grid[k as usize],
                Special::LaneId => lane,
                Special::WarpId => warp,
                Special::WarpCount => launch.block.iter().product::<u32>().div_ceil(LANES as u32),
                Special::LaneMask(0) => 1 << lane,
                Special::LaneMask(1) => u32::MAX >> (31 - lane),
                Special::LaneMask(2) => (1 << lane) - 1,
                Special::LaneMask(3) => u32::MAX << lane,
                Special::LaneMask(_) => !(u32::MAX >> (31 - lane)),
                Special::DynamicShared => launch.dynamic_shared,
                Special::TotalShared => shared as u32,
                Special::Zero => 0,
                Special::One => 1,
            }
        });
    }
}

fn stop(warp: &mut Warp) -> Stop {
    let fault = warp.fault.take().map_or_else(|| Fault::new(FaultKind::Trap, 0, "unknown fault"), |f| *f);
    Stop { fault, pc: warp.pc, warp: warp.index }
}

/// Runs a warp until it is done, waits, or has had its turn.
fn turn(warp: &mut Warp, program: &Program) -> Result<Turn, Stop> {
    let code = &program.code[..];
    (warp.budget, warp.starved) = (TURN, false);
    if warp.live == 0 {
        return Ok(Turn::Done);
    }
    let mut running = warp.regroup();
    let checked = !warp.around.check.is_null();
    loop {
        if !running {
            if warp.live == 0 {
                return Ok(Turn::Done);
            }
            if warp.at_sync == 0 || !unstick(warp, program)? {
                if warp.at_barrier == 0 {
                    let lane = warp.at_sync.trailing_zeros();
                    warp.pc = warp.pcs[lane as usize];
                    let fault = Fault::new(FaultKind::WarpDeadlock, lane, "lanes named in its mask never come here");
                    return Err(Stop { fault, pc: warp.pc, warp: warp.index });
                }
                return Ok(Turn::Waits);
            }
            running = warp.regroup();
            continue;
        }
        if warp.pc >= warp.frontier {
            warp.park(warp.pc);
            warp.regroup();
        }
        let inst: &Inst = &code[warp.pc as usize];
        let mask = warp.group & (warp.pred(inst.guard) ^ inst.guard_flip);
        if mask == 0 {
            warp.pc += 1;
            continue;
        }
        warp.mask = mask;
        if checked {
            let (pc, group, index) = (warp.pc, warp.group, warp.index);
            if let Some(check) = warp.check() {
                check.executes(pc, index, mask, group);
            }
        }
        match (inst.exec)(warp, inst) {
            Step::Next => warp.pc += 1,
            Step::Jump => {
                warp.budget -= 1;
                if warp.budget < 0 {
                    warp.park(warp.pc);
                    return Ok(Turn::Again);
                }
            }
            Step::Regroup => running = warp.regroup(),
            Step::Again => {}
            Step::Wait => {
                let pc = warp.pc;
                warp.set_pcs(mask, pc);
                warp.set_pcs(warp.group & !mask, pc + 1);
                running = warp.regroup();
            }
            Step::Fault => return Err(stop(warp)),
        }
    }
}

/// When all lanes of a warp wait: those at a warp-wide instruction may go on if the others have exited meanwhile, or if
/// they all wait at warp barriers, though at different ones.
fn unstick(warp: &mut Warp, program: &Program) -> Result<bool, Stop> {
    let mut left = warp.at_sync;
    while left != 0 {
        let pc = warp.pcs[left.trailing_zeros() as usize];
        let here = (0..LANES).filter(|&l| left >> l & 1 != 0 && warp.pcs[l] == pc).fold(0u32, |m, l| m | 1 << l);
        left &= !here;
        warp.at_sync &= !here;
        (warp.pc, warp.group, warp.mask) = (pc, here, here);
        let inst = &program.code[pc as usize];
        match (inst.exec)(warp, inst) {
            Step::Wait => warp.set_pcs(here, pc),
            Step::Next => {
                warp.set_pcs(here, pc + 1);
                return Ok(true);
            }
            Step::Fault => return Err(stop(warp)),
            _ => {
                warp.set_pcs(warp.group, pc);
                return Ok(true);
            }
        }
    }
    let at_barriers = (0..LANES).filter(|&l| warp.at_sync >> l & 1 != 0);
    let at_barriers = at_barriers.filter(|&l| program.places[warp.pcs[l] as usize].barrier == Barrier::Warp);
    let at_barriers = at_barriers.fold(0u32, |m, l| m | 1 << l);
    for lane in 0..LANES {
        if at_barriers >> lane & 1 != 0 {
            warp.pcs[lane] += 1;
        }
    }
    warp.at_sync &= !at_barriers;
    Ok(at_barriers != 0)
}

/// Lets go every barrier that all its threads have come to; false if there is none.
fn release(program: &Program, warps: &mut [Warp]) -> bool {
    // For each barrier number: threads expected, and (warp, lane) waiting.
    let mut barriers: std::collections::BTreeMap<u32, (u32, Vec<(usize, usize)>)> = Default::default();
    let live: u32 = warps.iter().map(|w| w.live.count_ones()).sum();
    for (w, warp) in warps.iter().enumerate() {
        for lane in (0..LANES).filter(|l| warp.at_barrier >> l & 1 != 0) {
            let inst = &program.code[warp.pcs[lane] as usize];
            let count = if inst.mode == 0 { warp.row::<u32>(inst.c())[lane] } else { 0 };
            let entry = barriers.entry(warp.row::<u32>(inst.a())[lane]).or_default();
            entry.0 = if count == 0 { live } else { count };
            entry.1.push((w, lane));
        }
    }
    let mut released = false;
    for (expected, waiting) in barriers.values() {
        if (waiting.len() as u32) < *expected {
            continue;
        }
        released = true;
        if !warps[0].around.check.is_null() {
            let places: Vec<(u32, u32, u32)> = waiting.iter().map(|&(w, l)| (w as u32, l as u32, warps[w].pcs[l])).collect();
            let alive: Vec<u32> = warps.iter().map(|w| w.live).collect();
            let Some(check) = warps[0].check() else { continue };
            check.block_barrier(&places, &alive, *expected == live);
        }
        reduce(program, warps, waiting);
        for &(w, lane) in waiting {
            warps[w].at_barrier &= !(1 << lane);
            warps[w].pcs[lane] += 1;
        }
    }
    released
}

/// The fault of barriers that some of their threads never come to.
fn never_released(warps: &[Warp]) -> Stop {
    let stuck = warps.iter().find(|w| w.at_barrier != 0);
    let (warp, lane) = stuck.map_or((0, 0), |w| (w.index, w.at_barrier.trailing_zeros()));
    let pc = warps[warp as usize].pcs[lane as usize];
    let fault = Fault::new(FaultKind::DivergentBarrier, lane, "threads wait here for others that never come");
    Stop { fault, pc, warp }
}

/// `bar.red`: every waiting thread gets the count, conjunction or disjunction of all their predicates.
fn reduce(program: &Program, warps: &mut [Warp], waiting: &[(usize, usize)]) {
    let inst_of = |warps: &[Warp], &(w, lane): &(usize, usize)| &program.code[warps[w].pcs[lane] as usize];
    let votes = waiting.iter().filter(|at| {
        let inst = inst_of(warps, at);
        (warps[at.0].pred(inst.b()) >> at.1 & 1 != 0) != (inst.mode & 4 != 0)
    });
    let votes = votes.count();
    for at in waiting {
        let inst = inst_of(warps, at);
        let warp = &mut warps[at.0];
        warp.mask = 1 << at.1;
        match inst.mode & 3 {
            0 => {}
            1 => warp.write(inst.d(), &[votes as u32; LANES]),
            2 => warp.set_pred(inst.d(), if votes == waiting.len() { u32::MAX } else { 0 }),
            _ => warp.set_pred(inst.d(), if votes > 0 { u32::MAX } else { 0 }),
        }
    }
}
