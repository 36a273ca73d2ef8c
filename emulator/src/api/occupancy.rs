//! Occupancy of a multiprocessor, from shared memory and threads; registers are ptxas's matter.

use std::ffi::{c_int, c_uint};

use super::device::{MULTIPROCESSORS, shared_of_all, shared_opt_in};
use super::module::function;
use super::state::Handle;
use super::{Answer, INVALID_VALUE, Out, api};

/// Threads of a multiprocessor.
const THREADS: u64 = 2048;

fn blocks(f: Handle, threads: c_int, dynamic: usize) -> Answer<c_int> {
    let function = function(f)?;
    if threads <= 0 {
        return Err(INVALID_VALUE);
    }
    if threads as u32 > function.program.max_threads {
        return Ok(0);
    }
    // The system takes 1 KiB of every block.
    let shared = (function.program.static_shared + dynamic as u64).next_multiple_of(128) + 1024;
    let threads = (threads as u64).next_multiple_of(32);
    Ok((shared_of_all() / shared).min(THREADS / threads).min(32) as c_int)
}

type Dynamic = Option<extern "C" fn(c_int) -> usize>;

fn best(minimum: Out<c_int>, size: Out<c_int>, f: Handle, dynamic: Dynamic, fixed: usize, limit: c_int) -> Answer {
    let most = function(f)?.program.max_threads as c_int;
    let most = if limit > 0 { most.min(limit) } else { most };
    let mut chosen = (0, 0, 0);
    for threads in (1..=most / 32).rev().map(|w| w * 32) {
        let bytes = dynamic.map_or(fixed, |d| d(threads));
        let n = blocks(f, threads, bytes)?;
        if n * threads > chosen.0 {
            chosen = (n * threads, threads, n);
        }
    }
    minimum.set(chosen.2 * MULTIPROCESSORS)?;
    size.set(chosen.1)
}

api! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<c_int>, f: Handle, threads: c_int, dynamic: usize) {
        out.set(blocks(f, threads, dynamic)?)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out: Out<c_int>, f: Handle, threads: c_int, dynamic: usize, _flags: c_uint) {
        out.set(blocks(f, threads, dynamic)?)
    }
    fn cuOccupancyMaxPotentialBlockSize(minimum: Out<c_int>, size: Out<c_int>, f: Handle, dynamic: Dynamic, fixed: usize, limit: c_int) {
        best(minimum, size, f, dynamic, fixed, limit)
    }
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        minimum: Out<c_int>, size: Out<c_int>, f: Handle, dynamic: Dynamic, fixed: usize, limit: c_int, _flags: c_uint,
    ) {
        best(minimum, size, f, dynamic, fixed, limit)
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(out: Out<usize>, f: Handle, count: c_int, _threads: c_int) {
        let function = function(f)?;
        if count <= 0 {
            return Err(INVALID_VALUE);
        }
        let each = (shared_of_all() / count as u64).saturating_sub(1024).min(shared_opt_in());
        out.set(each.saturating_sub(function.program.static_shared) as usize)
    }
}
