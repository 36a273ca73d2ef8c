//! What lanes do together: barriers, shuffles, votes, matches, reductions; and fences, which have nothing to do here.

use super::lanes::{Exec, LANES};
use super::warp::{Step, Warp};
use crate::check::{Fault, FaultKind};
use crate::ir::{Barrier, Class, Decoder, Inst, Ty};
use crate::ptx::{Error, Operand};

pub(super) fn decode(d: &mut Decoder) -> Result<(), Error> {
    d.class = Class::Sync;
    match d.opcode() {
        // Memory is coherent here at once, and nothing sleeps.
        "fence" if d.take("proxy") || d.take("mbarrier_init") => {
            for word in [
                "async",
                "async::generic",
                "async.shared::cta",
                "shared::cta",
                "shared",
                "release",
                "acquire",
                "cta",
                "cluster",
                "gpu",
                "sys",
            ] {
                d.take(word);
            }
            d.emit(proxy_fence, [0; 5])
        }
        "membar" | "fence" | "nanosleep" | "griddepcontrol" | "brkpt" | "pmevent" | "setmaxnreg" => Ok(()),
        "trap" => d.emit(trap, [0; 5]),
        "bar" | "barrier" => barrier(d),
        "shfl" => shuffle(d),
        "vote" => vote(d),
        "match" => matching(d),
        "redux" => reduce(d),
        "activemask" => {
            d.take("b32");
            let dest = d.dest(0, false)?;
            d.emit(
                |warp, inst| {
                    let mask = warp.mask;
                    warp.write(inst.d(), &[mask; LANES]);
                    Step::Next
                },
                [dest, 0, 0, 0, 0],
            )
        }
        _ => Err(d.unknown()),
    }
}

/// What this warp wrote is from here on seen by bulk copies and wgmma too.
fn proxy_fence(warp: &mut Warp, _: &Inst) -> Step {
    let index = warp.index;
    if let Some(check) = warp.check() {
        check.proxy_fenced(index);
    }
    Step::Next
}

fn trap(warp: &mut Warp, _: &Inst) -> Step {
    let lane = warp.mask.trailing_zeros();
    warp.fail(Fault::new(FaultKind::Trap, lane, "the kernel executed trap"))
}

/// The lanes an instruction's membermask names, from the first active lane.
fn members(warp: &Warp, slot: u32) -> u32 {
    warp.row::<u32>(slot)[warp.mask.trailing_zeros() as usize]
}

/// Waits for the lanes named in a membermask.
macro_rules! together {
    ($warp:ident, $members:expr) => {
        let members = $members;
        if let Some(step) = $warp.arrive(members) {
            return step;
        }
    };
}

fn barrier(d: &mut Decoder) -> Result<(), Error> {
    if d.take("warp") {
        d.take("sync");
        d.barrier = Barrier::Warp;
        let mask = d.source(0, Ty::B32)?;
        let exec: Exec = |warp, inst| {
            together!(warp, members(warp, inst.a()));
            let (index, mask) = (warp.index, warp.mask);
            if let Some(check) = warp.check() {
                check.warp_barrier(index, mask);
            }
            Step::Next
        };
        return d.emit(exec, [0, mask, 0, 0, 0]);
    }
    if d.take_any(&["arrive"]).is_some() {
        return Err(d.unknown());
    }
    d.take("cta");
    d.take("aligned");
    d.barrier = Barrier::Block;
    if d.take("red") {
        let op = d.take_any(&["popc", "and", "or"]).ok_or_else(|| d.unknown())?;
        let ty = d.ty()?;
        let dest = if ty == Ty::Pred { d.dest_pred_of(d.operand(0)?)? } else { d.dest(0, false)? };
        let id = d.source(1, Ty::B32)?;
        if d.operands() > 3 {
            return Err(d.bad("a barrier for part of the block: the emulator does not know this"));
        }
        let (p, negated) = d.source_pred(2)?;
        // Operation, form of the destination, negation: `block` does the rest when all have come.
        d.mode = match op {
            "popc" => 1,
            "and" => 2,
            _ => 3,
        } | (negated as u32) << 2;
        return d.emit(at_barrier, [dest, id, p, 0, 0]);
    }
    d.take("sync");
    let id = if d.operands() == 0 { d.constant(0, false) } else { d.source(0, Ty::B32)? };
    let count = match d.operands() {
        0 | 1 => d.constant(0, false),
        _ => d.source(1, Ty::B32)?,
    };
    d.emit(at_barrier, [0, id, 0, count, 0])
}

/// The lanes wait at the barrier; `block` lets them go when all have come.
fn at_barrier(warp: &mut Warp, _: &Inst) -> Step {
    warp.at_barrier |= warp.mask;
    Step::Wait
}

/// `shfl.sync.mode.b32 d|p, a, b, c, membermask`
fn shuffle(d: &mut Decoder) -> Result<(), Error> {
    if !d.take("sync") {
        return Err(d.unknown());
    }
    let mode = d.take_any(&["up", "down", "bfly", "idx"]).ok_or_else(|| d.unknown())?;
    d.take("b32");
    let (dest, pred) = match d.operand(0)? {
        Operand::Pair(a, p) => (d.dest_of(a, false)?, d.dest_pred_of(p)?),
        operand => (d.dest_of(operand, false)?, 0),
    };
    d.mode = match mode {
        "up" => 0,
        "down" => 1,
        "bfly" => 2,
        _ => 3,
    };
    let (a, b, c, mask) = (d.source(1, Ty::B32)?, d.source(2, Ty::B32)?, d.source(3, Ty::B32)?, d.source(4, Ty::B32)?);
    d.more = vec![mask];
    let exec: Exec = |warp, inst| {
        together!(warp, members(warp, inst.more[0]));
        let (a, b, c) = (warp.row::<u32>(inst.a()), warp.row::<u32>(inst.b()), warp.row::<u32>(inst.c()));
        let (mut out, mut valid) = ([0; LANES], 0u32);
        for lane in 0..LANES as u32 {
            let (b, c) = (b[lane as usize] & 31, c[lane as usize]);
            let (clamp, segment) = (c & 31, c >> 8 & 31);
            let limit = lane & segment | clamp & !segment;
            let first = lane & segment;
            let (j, ok) = match inst.mode {
                0 => (lane.wrapping_sub(b), lane as i32 - b as i32 >= limit as i32),
                1 => (lane + b, lane + b <= limit),
                2 => (lane ^ b, (lane ^ b) <= limit),
                _ => (first | (b & !segment), (first | (b & !segment)) <= limit),
            };
            out[lane as usize] = a[if ok { j & 31 } else { lane } as usize];
            valid |= (ok as u32) << lane;
        }
        warp.write(inst.d(), &out);
        if inst.e() != 0 {
            warp.set_pred(inst.e(), valid);
        }
        Step::Next
    };
    d.emit(exec, [dest, a, b, c, pred])
}

fn vote(d: &mut Decoder) -> Result<(), Error> {
    if !d.take("sync") {
        return Err(d.unknown());
    }
    let kind = d.take_any(&["all", "any", "uni", "ballot"]).ok_or_else(|| d.unknown())?;
    let ty = d.ty()?;
    let dest = if ty == Ty::Pred { d.dest_pred_of(d.operand(0)?)? } else { d.dest(0, false)? };
    let (p, negated) = d.source_pred(1)?;
    let mask = d.source(2, Ty::B32)?;
    d.mode = match kind {
        "all" => 0,
        "any" => 1,
        "uni" => 2,
        _ => 3,
    } | (negated as u32) << 2;
    let exec: Exec = |warp, inst| {
        let members = members(warp, inst.b());
        together!(warp, members);
        let here = members & warp.mask;
        let votes = (warp.pred(inst.a()) ^ if inst.mode & 4 != 0 { u32::MAX } else { 0 }) & here;
        let yes = match inst.mode & 3 {
            0 => votes == here,
            1 => votes != 0,
            2 => votes == here || votes == 0,
            _ => {
                warp.write(inst.d(), &[votes; LANES]);
                return Step::Next;
            }
        };
        warp.set_pred(inst.d(), if yes { u32::MAX } else { 0 });
        Step::Next
    };
    d.emit(exec, [dest, p, mask, 0, 0])
}

/// `match.any.sync.b32 d, a, membermask` and `match.all.sync.b32 d|p, a, membermask`
fn matching(d: &mut Decoder) -> Result<(), Error> {
    let all = d.take("all");
    if !all && !d.take("any") {
        return Err(d.unknown());
    }
    d.take("sync");
    let ty = d.ty()?;
    let (dest, pred) = match d.operand(0)? {
        Operand::Pair(a, p) => (d.dest_of(a, false)?, d.dest_pred_of(p)?),
        operand => (d.dest_of(operand, false)?, 0),
    };
    let (a, mask) = (d.source(1, ty)?, d.source(2, Ty::B32)?);
    d.mode = all as u32 | (ty.wide() as u32) << 1;
    let exec: Exec = |warp, inst| {
        let members = members(warp, inst.b());
        together!(warp, members);
        let here = members & warp.mask;
        let value = |lane: usize| {
            if inst.mode & 2 != 0 { warp.row::<u64>(inst.a())[lane] } else { warp.row::<u32>(inst.a())[lane] as u64 }
        };
        let same =
            |lane: usize| (0..LANES).filter(|&l| here >> l & 1 != 0 && value(l) == value(lane)).fold(0u32, |m, l| m | 1 << l);
        let mut out: [u32; LANES] = std::array::from_fn(same);
        let equal = here != 0 && out[here.trailing_zeros() as usize] == here;
        if inst.mode & 1 != 0 {
            out = [if equal { here } else { 0 }; LANES];
        }
        warp.write(inst.d(), &out);
        if inst.e() != 0 {
            warp.set_pred(inst.e(), if equal { u32::MAX } else { 0 });
        }
        Step::Next
    };
    d.emit(exec, [dest, a, mask, 0, pred])
}

fn reduce(d: &mut Decoder) -> Result<(), Error> {
    d.take("sync");
    let op = d.take_any(&["add", "min", "max", "and", "or", "xor"]).ok_or_else(|| d.unknown())?;
    let ty = d.ty()?;
    let (dest, a, mask) = (d.dest(0, false)?, d.source(1, Ty::B32)?, d.source(2, Ty::B32)?);
    d.mode = match (op, ty) {
        ("add", Ty::U32 | Ty::S32) => 0,
        ("min", Ty::U32) => 1,
        ("max", Ty::U32) => 2,
        ("min", Ty::S32) => 3,
        ("max", Ty::S32) => 4,
        ("and", Ty::B32) => 5,
        ("or", Ty::B32) => 6,
        ("xor", Ty::B32) => 7,
        _ => return Err(d.unknown()),
    };
    let exec: Exec = |warp, inst| {
        let members = members(warp, inst.b());
        together!(warp, members);
        let here = members & warp.mask;
        let a = warp.row::<u32>(inst.a());
        let combine = |x: u32, y: u32| match inst.mode {
            0 => x.wrapping_add(y),
            1 => x.min(y),
            2 => x.max(y),
            3 => (x as i32).min(y as i32) as u32,
            4 => (x as i32).max(y as i32) as u32,
            5 => x & y,
            6 => x | y,
            _ => x ^ y,
        };
        let result = (0..LANES).filter(|&l| here >> l & 1 != 0).map(|l| a[l]).reduce(combine).unwrap_or(0);
        warp.write(inst.d(), &[result; LANES]);
        Step::Next
    };
    d.emit(exec, [dest, a, mask, 0, 0])
}
