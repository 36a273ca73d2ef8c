//! A launch: the blocks of a grid, spread over the machine's cores. Each block runs on one thread, start to end.

use rayon::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::block::{Stop, run_block};
use super::lanes::LANES;
use super::warp::Row;
use crate::check::LaunchCheck;
use crate::ir::Program;

/// What a launch runs.
pub struct Launch<'a> {
    /// The kernel.
    pub program: &'a Program,
    /// Blocks by axis.
    pub grid: [u32; 3],
    /// Threads a block by axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// The parameters, laid out as the kernel declares them.
    pub params: &'a [u8],
    /// First address and size of device memory.
    pub arena: (u64, u64),
}

/// What a thread needs to run blocks of a launch, one after another.
pub struct Scratch {
    pub(super) registers: Vec<Row>,
    pub(super) preds: Vec<u32>,
    pub(super) shared: Vec<u8>,
    pub(super) local: Vec<u8>,
}

impl Scratch {
    fn new(launch: &Launch) -> Self {
        let warps = (launch.block.iter().product::<u32>() as usize).div_ceil(LANES);
        let program = launch.program;
        let shared = if launch.dynamic_shared > 0 {
            program.dynamic_shared_at + launch.dynamic_shared as u64
        } else {
            program.static_shared
        };
        Scratch {
            registers: vec![Row([0; LANES]); warps * program.rows.max(1) as usize],
            preds: vec![0; warps * program.preds as usize],
            shared: vec![0; shared as usize],
            local: vec![0; warps * LANES * program.local as usize],
        }
    }
}

/// Runs all blocks. The first fault stops the launch; it comes with the block it happened in.
pub fn launch(launch: &Launch, check: Option<&LaunchCheck>) -> Result<(), ([u32; 3], Stop)> {
    let [x, y, z] = launch.grid;
    let blocks = x as u64 * y as u64 * z as u64;
    let stopped = AtomicBool::new(false);
    let first: Mutex<Option<(u64, Stop)>> = Mutex::new(None);
    let place = |k: u64| [(k % x as u64) as u32, (k / x as u64 % y as u64) as u32, (k / x as u64 / y as u64) as u32];
    let one = |scratch: &mut Scratch, k: u64| {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        if let Err(stop) = run_block(launch, scratch, place(k), check) {
            stopped.store(true, Ordering::Relaxed);
            let mut first = first.lock().unwrap_or_else(|e| e.into_inner());
            if first.as_ref().is_none_or(|f| k < f.0) {
                *first = Some((k, stop));
            }
        }
    };
    if blocks == 1 {
        one(&mut Scratch::new(launch), 0);
    } else {
        (0..blocks).into_par_iter().for_each_init(|| Scratch::new(launch), |scratch, k| one(scratch, k));
    }
    match first.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some((k, stop)) => Err((place(k), stop)),
        None => Ok(()),
    }
}
