//! Device-side printf and assert. `a` to `e` are the places of the call's parameters in local memory.

use super::memory::{GENERIC, LOCAL, resolve};
use super::warp::{Step, Warp};
use crate::check::{Fault, FaultKind};
use crate::ir::Inst;

fn read(warp: &Warp, space: u32, address: u64, lane: usize, bytes: u64) -> Option<u64> {
    let place = resolve(warp, space, address, lane, bytes)?;
    let mut out = [0u8; 8];
    // SAFETY: the place was resolved for that many bytes, at most 8.
    unsafe { std::ptr::copy_nonoverlapping(place, out.as_mut_ptr(), bytes as usize) };
    Some(u64::from_le_bytes(out))
}

fn text(warp: &Warp, address: u64, lane: usize) -> Vec<u8> {
    (0..4096).map_while(|k| read(warp, GENERIC, address + k, lane, 1).filter(|&c| c != 0)).map(|c| c as u8).collect()
}

/// `vprintf(format, arguments)`, to stdout.
pub fn print(warp: &mut Warp, inst: &Inst) -> Step {
    for lane in (0..32).filter(|l| warp.mask >> l & 1 != 0) {
        let format = read(warp, LOCAL, inst.a() as u64, lane, 8).unwrap_or(0);
        let arguments = read(warp, LOCAL, inst.b() as u64, lane, 8).unwrap_or(0);
        let line = formatted(warp, &text(warp, format, lane), arguments, lane);
        print!("{}", String::from_utf8_lossy(&line));
    }
    Step::Next
}

/// C's formats, as far as flags go with the field's width and precision.
fn formatted(warp: &Warp, format: &[u8], mut arguments: u64, lane: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = format.iter().copied().peekable();
    let mut argument = |bytes: u64| {
        arguments = arguments.next_multiple_of(bytes);
        arguments += bytes;
        read(warp, GENERIC, arguments - bytes, lane, bytes).unwrap_or(0)
    };
    while let Some(c) = rest.next() {
        if c != b'%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(c) = rest.next_if(|c| matches!(c, b'0'..=b'9' | b'.' | b'-' | b'+' | b' ' | b'#')) {
            spec.push(c as char);
        }
        let mut long = 0;
        while rest.next_if(|c| matches!(c, b'l' | b'z' | b'j' | b'h')).is_some() {
            long += 1;
        }
        let precision: Option<usize> = spec.split_once('.').and_then(|p| p.1.parse().ok());
        let width: usize =
            spec.split('.').next().unwrap_or("").trim_start_matches(['-', '+', ' ', '#', '0']).parse().unwrap_or(0);
        let value = match rest.next().unwrap_or(b'%') {
            b'd' | b'i' if long > 0 => (argument(8) as i64).to_string(),
            b'd' | b'i' => (argument(4) as i32).to_string(),
            b'u' => argument(if long > 0 { 8 } else { 4 }).to_string(),
            b'x' => format!("{:x}", argument(if long > 0 { 8 } else { 4 })),
            b'X' => format!("{:X}", argument(if long > 0 { 8 } else { 4 })),
            b'c' => ((argument(4) as u8) as char).to_string(),
            b'p' => format!("{:#x}", argument(8)),
            b's' => String::from_utf8_lossy(&text(warp, argument(8), lane)).into_owned(),
            b'e' => format!("{:.*e}", precision.unwrap_or(6), f64::from_bits(argument(8))),
            b'f' | b'F' => format!("{:.*}", precision.unwrap_or(6), f64::from_bits(argument(8))),
            b'g' | b'G' => f64::from_bits(argument(8)).to_string(),
            _ => "%".to_string(),
        };
        let padded = if spec.starts_with('-') {
            format!("{value:<width$}")
        } else if spec.starts_with('0') {
            format!("{value:0>width$}")
        } else {
            format!("{value:>width$}")
        };
        out.extend_from_slice(padded.as_bytes());
    }
    out
}

/// `__assertfail(message, file, line, function, size)`
pub fn assert_fail(warp: &mut Warp, inst: &Inst) -> Step {
    let lane = warp.mask.trailing_zeros() as usize;
    let string = |slot: u32| {
        let address = read(warp, LOCAL, slot as u64, lane, 8).unwrap_or(0);
        String::from_utf8_lossy(&text(warp, address, lane)).into_owned()
    };
    let line = read(warp, LOCAL, inst.c() as u64, lane, 4).unwrap_or(0);
    let message = format!("assertion '{}' failed, {}:{line}", string(inst.a()), string(inst.b()));
    warp.fail(Fault::new(FaultKind::Assert, lane as u32, &message))
}
