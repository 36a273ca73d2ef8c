//! Registers to rows: linear scan over live ranges.
//!
//! PTX is close to single assignment, so a kernel names thousands of registers of which some dozens are alive at a time.
//! A lane is a thread of its own and only writes its own cells, so what is right for one thread is right for a warp.

use crate::ptx::RegisterType;

/// Where each register goes, and how many rows and predicates that takes.
pub struct Allocation {
    /// Row (or predicate number) of each register.
    pub slots: Vec<u32>,
    /// Rows in all.
    pub rows: u32,
    /// Predicates in all.
    pub preds: u32,
    /// Most rows alive at once.
    pub peak: u32,
}

/// What an instruction reads and writes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Registers written.
    pub defs: Vec<u32>,
    /// Registers read.
    pub uses: Vec<u32>,
}

/// Allocates. `blocks` holds, in layout order, each block's accesses and successors; rows and predicates below the firsts
/// are taken.
pub fn allocate(types: &[RegisterType], blocks: &[(Vec<&Access>, Vec<usize>)], first_row: u32, first_pred: u32) -> Allocation {
    let words = types.len().div_ceil(64);
    let mut live_in = vec![vec![0u64; words]; blocks.len()];
    let mut live_out = live_in.clone();
    let (mut upward, mut killed) = (live_in.clone(), live_in.clone());
    for (b, (accesses, _)) in blocks.iter().enumerate() {
        for access in accesses {
            for &r in &access.uses {
                if killed[b][r as usize / 64] >> (r % 64) & 1 == 0 {
                    upward[b][r as usize / 64] |= 1 << (r % 64);
                }
            }
            for &r in &access.defs {
                killed[b][r as usize / 64] |= 1 << (r % 64);
            }
        }
    }
    let mut changed = true;
    while changed {
        changed = false;
        for b in (0..blocks.len()).rev() {
            for w in 0..words {
                let out = blocks[b].1.iter().fold(0, |all, &s| all | live_in[s][w]);
                let into = upward[b][w] | out & !killed[b][w];
                live_out[b][w] = out;
                changed |= into != live_in[b][w];
                live_in[b][w] = into;
            }
        }
    }

    let mut ranges: Vec<Option<(u32, u32)>> = vec![None; types.len()];
    let mut extend = |r: u32, at: u32| {
        let range = ranges[r as usize].get_or_insert((at, at));
        *range = (range.0.min(at), range.1.max(at));
    };
    let mut at = 0;
    for (b, (accesses, _)) in blocks.iter().enumerate() {
        let set =
            |bits: &[u64]| (0..types.len() as u32).filter(|&r| bits[r as usize / 64] >> (r % 64) & 1 != 0).collect::<Vec<_>>();
        set(&live_in[b]).into_iter().for_each(|r| extend(r, at));
        for access in accesses {
            // A destination may share a row with a source that ends here: rows are read before they are written. Two
            // destinations, or one written before all sources are read, may not; so sources last through the instruction.
            access.uses.iter().for_each(|&r| extend(r, at + 1));
            access.defs.iter().for_each(|&r| extend(r, at + 1));
            at += 2;
        }
        set(&live_out[b]).into_iter().for_each(|r| extend(r, at));
        at += 1;
    }

    let mut order: Vec<u32> = (0..types.len() as u32).filter(|&r| ranges[r as usize].is_some()).collect();
    order.sort_by_key(|&r| ranges[r as usize].map_or(0, |range| range.0));
    let mut slots = vec![0; types.len()];
    let mut free: [Vec<u32>; 3] = Default::default();
    let (mut rows, mut preds, mut alive, mut peak) = (first_row, first_pred, 0, 0);
    let mut active: std::collections::BTreeSet<(u32, u32)> = Default::default();
    for r in order {
        let Some((start, end)) = ranges[r as usize] else { continue };
        while let Some(&(ends, old)) = active.first() {
            if ends >= start {
                break;
            }
            active.pop_first();
            let ty = types[old as usize];
            free[ty as usize].push(slots[old as usize]);
            alive -= size(ty);
        }
        let ty = types[r as usize];
        alive += size(ty);
        peak = peak.max(alive);
        slots[r as usize] = free[ty as usize].pop().unwrap_or_else(|| {
            let counter = if ty == RegisterType::Predicate { &mut preds } else { &mut rows };
            let slot = *counter;
            *counter += size(ty).max(1);
            slot
        });
        active.insert((end, r));
    }
    Allocation { slots, rows, preds, peak }
}

fn size(ty: RegisterType) -> u32 {
    match ty {
        RegisterType::Predicate => 0,
        RegisterType::Narrow => 1,
        RegisterType::Wide => 2,
    }
}
