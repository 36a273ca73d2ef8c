//! Launches.

use std::ffi::{c_uint, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::module::{Function, function};
use super::state::Handle;
use super::stream::{Operation, enqueue};
use super::{ASSERT, Answer, ILLEGAL_ADDRESS, INVALID_VALUE, In, LAUNCH_FAILED, MISALIGNED_ADDRESS, NOT_SUPPORTED, api};
use crate::check::{Counters, FaultKind, Finding, LaunchCheck, record};
use crate::device::memory;
use crate::exec::{Launch, launch};

/// A launch with its parameters copied.
pub struct Prepared {
    function: Arc<Function>,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    params: Vec<u8>,
}

impl Prepared {
    /// Runs it to its end.
    pub fn run(&self) -> Answer {
        static LAUNCHES: AtomicU32 = AtomicU32::new(1);
        let program = &self.function.program;
        let options = crate::options();
        let check = (options.check || options.profile.is_some()).then(|| LaunchCheck {
            program: program.clone(),
            allocations: memory().snapshot(),
            launch: LAUNCHES.fetch_add(1, Ordering::Relaxed),
            grid: self.grid,
            block: self.block,
            check: options.check,
            counters: options.profile.is_some().then(|| Counters::new(program)),
        });
        let result = launch(
            &Launch {
                program,
                grid: self.grid,
                block: self.block,
                dynamic_shared: self.shared,
                params: &self.params,
                arena: memory().range(),
            },
            check.as_ref(),
        );
        if let Err((block, stop)) = result {
            let allocations = memory().snapshot();
            record(Finding::of(program, self.block, block, stop.pc, stop.warp, &stop.fault, &allocations));
            return Err(match stop.fault.kind {
                FaultKind::OutOfBounds | FaultKind::UseAfterFree => ILLEGAL_ADDRESS,
                FaultKind::Misaligned => MISALIGNED_ADDRESS,
                FaultKind::Assert => ASSERT,
                _ => LAUNCH_FAILED,
            });
        }
        if let Some(counters) = check.and_then(|c| c.counters) {
            counters.finish();
        }
        Ok(())
    }
}

/// The parameters, from an array of pointers or a buffer ("extra").
fn parameters(function: &Function, pointers: *const *const u8, extra: *const *const c_void) -> Answer<Vec<u8>> {
    let program = &function.program;
    let mut out = vec![0; program.params_size as usize];
    if !extra.is_null() {
        let (mut buffer, mut len) = (std::ptr::null::<u8>(), 0);
        for k in (0..).step_by(2) {
            let word = |k: usize| In(extra.wrapping_add(k)).get();
            match word(k)? as usize {
                0 => break,
                1 => buffer = word(k + 1)?.cast(),
                2 => len = In(word(k + 1)?.cast::<usize>()).get()?,
                _ => return Err(INVALID_VALUE),
            }
        }
        if buffer.is_null() || len < out.len() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller says that the buffer has `len` bytes.
        unsafe { std::ptr::copy_nonoverlapping(buffer, out.as_mut_ptr(), out.len()) };
        return Ok(out);
    }
    for (k, (at, param)) in program.params.iter().enumerate() {
        let source = In(pointers.wrapping_add(k)).get().map_err(|_| INVALID_VALUE)?;
        if source.is_null() || pointers.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: each pointer leads to a parameter of the kernel's declared size.
        unsafe { std::ptr::copy_nonoverlapping(source, out[*at as usize..].as_mut_ptr(), param.size as usize) };
    }
    Ok(out)
}

fn start(
    handle: Handle,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: Handle,
    pointers: *const *const u8,
    extra: *const *const c_void,
) -> Answer {
    let function = function(handle)?;
    let threads = block.iter().try_fold(1u32, |n, &d| n.checked_mul(d)).unwrap_or(u32::MAX);
    let fits = threads > 0
        && threads <= function.program.max_threads
        && block[2] <= 64
        && !grid.contains(&0)
        && grid[0] <= i32::MAX as u32
        && grid[1] <= 65535
        && grid[2] <= 65535
        && shared <= function.max_dynamic_shared.load(Ordering::Relaxed);
    if !fits {
        return Err(INVALID_VALUE);
    }
    let params = parameters(&function, pointers, extra)?;
    enqueue(stream, Operation::Launch(Arc::new(Prepared { function, grid, block, shared, params })))
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: Handle,
    attributes: *const Attribute,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: what it is, and 64 bytes of value.
#[derive(Clone, Copy)]
#[repr(C)]
struct Attribute {
    id: u32,
    padding: [u8; 4],
    value: [u32; 16],
}

api! {
    fn cuLaunchKernel(
        f: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint, stream: Handle,
        params: *const *const u8, extra: *const *const c_void,
    ) {
        start(f, [gx, gy, gz], [bx, by, bz], shared, stream, params, extra)
    }
    fn cuLaunchKernelEx(config: In<LaunchConfig>, f: Handle, params: *const *const u8, extra: *const *const c_void) {
        let config = config.get()?;
        for k in 0..config.attribute_count as usize {
            let attribute = In(config.attributes.wrapping_add(k)).get()?;
            // Hints are passed over; a cluster or a cooperative launch would mean something else.
            let plain = match attribute.id {
                2 => attribute.value[0] == 0,
                4 => attribute.value[..3].iter().all(|&n| n <= 1),
                _ => true,
            };
            if !plain {
                return Err(NOT_SUPPORTED);
            }
        }
        start(f, config.grid, config.block, config.shared, config.stream, params, extra)
    }
    fn cuLaunchCooperativeKernel(
        _f: Handle, _gx: c_uint, _gy: c_uint, _gz: c_uint, _bx: c_uint, _by: c_uint, _bz: c_uint, _shared: c_uint, _stream: Handle,
        _params: *const *const u8,
    ) {
        Err(NOT_SUPPORTED)
    }
    fn cuOccupancyMaxActiveClusters(_out: *mut c_void, _f: Handle, _config: *const c_void) {
        Err(NOT_SUPPORTED)
    }
    fn cuOccupancyMaxPotentialClusterSize(_out: *mut c_void, _f: Handle, _config: *const c_void) {
        Err(NOT_SUPPORTED)
    }
    fn cuImportExternalMemory(_out: *mut c_void, _description: *const c_void) {
        Err(NOT_SUPPORTED)
    }
    fn cuExternalMemoryGetMappedBuffer(_out: *mut c_void, _memory: Handle, _description: *const c_void) {
        Err(NOT_SUPPORTED)
    }
    fn cuDestroyExternalMemory(_memory: Handle) {
        Err(NOT_SUPPORTED)
    }
}
