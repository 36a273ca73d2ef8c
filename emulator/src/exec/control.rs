//! Jumps and exits. Their guard says which lanes take them.

use super::lanes::{Exec, LANES};
use super::warp::{Step, Warp};
use crate::ir::Inst;

/// `bra`: the lanes in the mask go to `imm`.
pub const BRANCH: Exec = branch;
/// `ret` of a kernel, or `exit`.
pub const EXIT: Exec = exit;
/// `brx.idx`: each lane goes where the table in `more` sends it.
pub const INDIRECT: Exec = indirect;

fn branch(warp: &mut Warp, inst: &Inst) -> Step {
    let target = inst.imm as u32;
    if warp.mask == warp.group {
        warp.pc = target;
        return Step::Jump;
    }
    let next = warp.pc + 1;
    let stay = warp.group & !warp.mask;
    // The side that lies first goes on, the other waits there.
    let (go, go_at, wait, wait_at) =
        if target > next { (stay, next, warp.mask, target) } else { (warp.mask, target, stay, next) };
    warp.set_pcs(wait, wait_at);
    warp.group = go;
    warp.pc = go_at;
    warp.frontier = warp.frontier.min(wait_at);
    Step::Jump
}

fn exit(warp: &mut Warp, _: &Inst) -> Step {
    warp.live &= !warp.mask;
    warp.group &= !warp.mask;
    if warp.group == 0 { Step::Regroup } else { Step::Next }
}

fn indirect(warp: &mut Warp, inst: &Inst) -> Step {
    let index = *warp.row::<u32>(inst.a());
    for lane in 0..LANES {
        if warp.mask >> lane & 1 != 0 {
            // An index beyond the table is undefined; the last target keeps it inside the kernel.
            let k = (index[lane] as usize).min(inst.more.len() - 1);
            warp.pcs[lane] = inst.more[k];
        }
    }
    Step::Regroup
}
