//! Device memory: allocation, pools, copies and fills.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};

use super::device::device;
use super::state::{Handle, need_context, state};
use super::stream::{Operation, enqueue, idle};
use super::{Answer, INVALID_HANDLE, INVALID_VALUE, In, OUT_OF_MEMORY, Out, api};
use crate::check::{FaultKind, Finding, record};
use crate::device::memory;

/// Handle of the pool a device starts with.
const DEFAULT_POOL: Handle = 0x200;

/// A copy between any two places.
#[derive(Clone)]
pub struct Copy {
    to: u64,
    from: u64,
    bytes: u64,
    to_device: bool,
    from_device: bool,
}

impl Copy {
    /// Copies, after looking whether the device's sides are inside allocations.
    pub fn run(&self) -> Answer {
        let memory = memory();
        let &Copy { to, from, bytes, .. } = self;
        if bytes == 0 {
            return Ok(());
        }
        if self.to_device && !memory.holds(to, bytes) || self.from_device && !memory.holds(from, bytes) || to == 0 || from == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the device's sides are inside live allocations, and the caller vouches for the host's.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes as usize) };
        let source = if self.from_device { memory.find(from).and_then(|a| a.shadow.map(|s| (a.address, s))) } else { None };
        match (source, self.to_device) {
            (None, true) => memory.host_wrote(to, bytes),
            (None, false) => {}
            (Some((start, shadow)), false) => {
                let missing = shadow.unwritten(from - start, bytes);
                if let Some(first) = shadow.first_unwritten(from - start, bytes) {
                    never_written(start + first, missing, bytes);
                }
            }
            (Some((start, shadow)), true) => {
                memory.host_wrote(to, bytes);
                if let Some(target) = memory.find(to)
                    && let Some(target_shadow) = &target.shadow
                    && !shadow.is_written(from - start, bytes)
                {
                    for k in (0..bytes).filter(|&k| !shadow.is_written(from - start + k, 1)) {
                        target_shadow.unmark(to - target.address + k, 1);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The host reads results that nothing wrote.
fn never_written(address: u64, missing: u64, bytes: u64) {
    record(Finding {
        kind: FaultKind::NeverWritten,
        kernel: "cuMemcpyDtoH".into(),
        ptx_line: 0,
        source: None,
        block: [0; 3],
        thread: [0; 3],
        address,
        message: format!(
            "never-written: {missing} of the {bytes} bytes that the host reads were never written, the first at {address:#x}"
        ),
    });
}

/// A fill with a value of 1, 2 or 4 bytes.
#[derive(Clone)]
pub struct Fill {
    to: u64,
    value: u32,
    width: u64,
    count: u64,
}

impl Fill {
    /// Fills.
    pub fn run(&self) -> Answer {
        let bytes = self.width * self.count;
        if bytes == 0 {
            return Ok(());
        }
        if !memory().holds(self.to, bytes) || !self.to.is_multiple_of(self.width) {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the range is inside a live allocation, and aligned.
        unsafe {
            match self.width {
                1 => (self.to as *mut u8).write_bytes(self.value as u8, bytes as usize),
                2 => std::slice::from_raw_parts_mut(self.to as *mut u16, self.count as usize).fill(self.value as u16),
                _ => std::slice::from_raw_parts_mut(self.to as *mut u32, self.count as usize).fill(self.value),
            }
        }
        memory().host_wrote(self.to, bytes);
        Ok(())
    }
}

fn allocate(out: Out<u64>, bytes: usize) -> Answer {
    if bytes == 0 {
        return Err(INVALID_VALUE);
    }
    out.set(memory().allocate(bytes as u64, false).ok_or(OUT_OF_MEMORY)?)
}

fn host(out: Out<*mut c_void>, bytes: usize) -> Answer {
    need_context()?;
    if bytes == 0 {
        return Err(INVALID_VALUE);
    }
    let address = memory().allocate(bytes as u64, true).ok_or(OUT_OF_MEMORY)?;
    // What the host writes there passes no call.
    memory().host_wrote(address, bytes as u64);
    out.set(address as *mut c_void)
}

fn release(address: u64) -> Answer {
    if address == 0 || memory().release(address) { Ok(()) } else { Err(INVALID_VALUE) }
}

fn copy(stream: Handle, to: u64, from: u64, bytes: usize, to_device: bool, from_device: bool) -> Answer {
    enqueue(stream, Operation::Copy(Copy { to, from, bytes: bytes as u64, to_device, from_device }))
}

fn fill(stream: Handle, to: u64, value: u32, width: u64, count: usize) -> Answer {
    enqueue(stream, Operation::Fill(Fill { to, value, width, count: count as u64 }))
}

/// A pool's handle is the default one or one that was created.
fn pool(handle: Handle) -> Answer {
    if handle == DEFAULT_POOL || state().pools.contains_key(&handle) { Ok(()) } else { Err(INVALID_HANDLE) }
}

api! {
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        need_context()?;
        free.set(memory().free_bytes() as usize)?;
        total.set(memory().total as usize)
    }
    fn cuMemAlloc_v2(out: Out<u64>, bytes: usize) {
        need_context()?;
        allocate(out, bytes)
    }
    fn cuMemAllocManaged(out: Out<u64>, bytes: usize, _flags: c_uint) {
        need_context()?;
        allocate(out, bytes)
    }
    fn cuMemFree_v2(address: u64) {
        need_context()?;
        release(address)
    }
    fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: Handle) {
        idle(stream)?;
        allocate(out, bytes)
    }
    fn cuMemAllocFromPoolAsync(out: Out<u64>, bytes: usize, from: Handle, stream: Handle) {
        pool(from)?;
        idle(stream)?;
        allocate(out, bytes)
    }
    fn cuMemFreeAsync(address: u64, stream: Handle) {
        idle(stream)?;
        release(address)
    }
    fn cuMemHostAlloc(out: Out<*mut c_void>, bytes: usize, _flags: c_uint) {
        host(out, bytes)
    }
    fn cuMemAllocHost_v2(out: Out<*mut c_void>, bytes: usize) {
        host(out, bytes)
    }
    fn cuMemFreeHost(address: *mut c_void) {
        need_context()?;
        release(address as u64)
    }
    fn cuMemHostGetDevicePointer_v2(out: Out<u64>, address: *mut c_void, _flags: c_uint) {
        need_context()?;
        if memory().find(address as u64).is_none() {
            return Err(INVALID_VALUE);
        }
        out.set(address as u64)
    }
    fn cuMemHostGetFlags(flags: Out<c_uint>, address: *mut c_void) {
        if memory().find(address as u64).is_none() {
            return Err(INVALID_VALUE);
        }
        flags.set(0)
    }
    fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) {
        let allocation = memory().find(address).ok_or(INVALID_VALUE)?;
        base.set_if(allocation.address);
        bytes.set_if(allocation.bytes as usize);
        Ok(())
    }
    fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: c_uint, _location: u64) {
        need_context()
    }
    fn cuMemPrefetchAsync_v2(_address: u64, _bytes: usize, _location: u64, _flags: c_uint, stream: Handle) {
        idle(stream)
    }

    fn cuDeviceGetDefaultMemPool(out: Out<Handle>, dev: c_int) {
        device(dev)?;
        out.set(DEFAULT_POOL)
    }
    fn cuDeviceGetMemPool(out: Out<Handle>, dev: c_int) {
        device(dev)?;
        out.set(DEFAULT_POOL)
    }
    fn cuDeviceSetMemPool(dev: c_int, handle: Handle) {
        device(dev)?;
        pool(handle)
    }
    fn cuMemPoolCreate(out: Out<Handle>, _properties: *const c_void) {
        let mut state = state();
        let handle = state.handle();
        state.pools.insert(handle, HashMap::new());
        out.set(handle)
    }
    fn cuMemPoolDestroy(handle: Handle) {
        state().pools.remove(&handle).map(|_| ()).ok_or(INVALID_HANDLE)
    }
    fn cuMemPoolTrimTo(handle: Handle, _keep: usize) {
        pool(handle)
    }
    fn cuMemPoolSetAttribute(handle: Handle, attribute: c_uint, value: In<u64>) {
        pool(handle)?;
        // The first three attributes are ints, the others 64 bits wide.
        let value = if attribute <= 3 { In(value.0.cast::<u32>()).get()? as u64 } else { value.get()? };
        state().pools.entry(handle).or_default().insert(attribute, value);
        Ok(())
    }
    fn cuMemPoolGetAttribute(handle: Handle, attribute: c_uint, value: Out<u64>) {
        pool(handle)?;
        let known = state().pools.get(&handle).and_then(|p| p.get(&attribute).copied()).unwrap_or(0);
        if attribute <= 3 { Out(value.0.cast::<u32>()).set(known as u32) } else { value.set(known) }
    }

    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        copy(0, to, from as u64, bytes, true, false)
    }
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) {
        copy(0, to as u64, from, bytes, false, true)
    }
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        copy(0, to, from, bytes, true, true)
    }
    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        copy(0, to, from, bytes, memory().find(to).is_some(), memory().find(from).is_some())
    }
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) {
        copy(stream, to, from, bytes, memory().find(to).is_some(), memory().find(from).is_some())
    }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) {
        copy(stream, to, from as u64, bytes, true, false)
    }
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) {
        copy(stream, to as u64, from, bytes, false, true)
    }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        copy(stream, to, from, bytes, true, true)
    }
    fn cuMemcpyPeerAsync(to: u64, _to_context: Handle, from: u64, _from_context: Handle, bytes: usize, stream: Handle) {
        copy(stream, to, from, bytes, true, true)
    }
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        fill(0, to, value as u32, 1, count)
    }
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        fill(0, to, value as u32, 2, count)
    }
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        fill(0, to, value, 4, count)
    }
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) {
        fill(stream, to, value as u32, 1, count)
    }
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        fill(stream, to, value as u32, 2, count)
    }
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        fill(stream, to, value, 4, count)
    }
}
