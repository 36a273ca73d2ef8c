//! Initialisation, the device and its attributes. There is one device, of capability 8.0, or 9.0 on request.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::Ordering;

use super::{Answer, INITIALISED, INVALID_DEVICE, INVALID_VALUE, NOT_FOUND, Out, api, text};

/// What PTX is chosen for, 80 for 8.0.
pub fn capability() -> u32 {
    crate::options().capability
}

/// Version of CUDA the driver answers for.
const VERSION: c_int = 13000;
/// Shared memory a block may have without asking, and with.
pub const SHARED_DEFAULT: u64 = 48 << 10;
/// See `SHARED_DEFAULT`.
pub fn shared_opt_in() -> u64 {
    shared_of_all() - 1024
}
/// Shared memory of a multiprocessor.
pub fn shared_of_all() -> u64 {
    if capability() >= 90 { 228 << 10 } else { 164 << 10 }
}

/// Streaming multiprocessors reported: few, as grids sized by it are then small.
pub const MULTIPROCESSORS: c_int = 8;

/// Value of an attribute, by the numbers of CUdevice_attribute; what is not listed is not there.
fn attribute(number: u32) -> c_int {
    match number {
        1..=3 => 1024,                // threads a block, and along x and y
        4 => 64,                      // along z
        5 => c_int::MAX,              // blocks along x
        6 | 7 => 65535,               // along y and z
        8 => SHARED_DEFAULT as c_int, // shared memory a block
        9 => 65536,                   // constant memory
        10 => 32,                     // warp size
        11 => c_int::MAX,             // pitch
        12 | 82 => 65536,             // registers a block, a multiprocessor
        13 => 1_410_000,              // clock, kHz
        14 => 512,                    // texture alignment
        15 | 19 | 31 | 41 => 1,       // overlap, mapped host memory, concurrent kernels, unified addressing
        16 => MULTIPROCESSORS,
        36 => 1_215_000, // memory clock, kHz
        37 => 5120,      // bus width
        38 => 40 << 20,  // second-level cache
        39 => 2048,      // threads a multiprocessor
        40 => 2,         // copy engines
        75 => (capability() / 10) as c_int,
        76 => (capability() % 10) as c_int,
        78..=80 => 1, // stream priorities, first-level caches
        81 => shared_of_all() as c_int,
        83 | 89 | 90 | 91 => 1, // managed memory, concurrent access, preemption, registered host pointers
        97 => shared_opt_in() as c_int,
        106 => 32,   // blocks a multiprocessor
        111 => 1024, // shared memory the system takes of a block
        115 => 1,    // memory pools
        _ => 0,
    }
}

/// Fails for any device but the one.
pub fn device(ordinal: c_int) -> Answer {
    if ordinal == 0 { Ok(()) } else { Err(INVALID_DEVICE) }
}

const UUID: [u8; 16] = *b"convnet-emulator";

api! {
    fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(INVALID_VALUE);
        }
        INITIALISED.store(true, Ordering::Release);
        Ok(())
    }
    fn cuDriverGetVersion(version: Out<c_int>) {
        version.set(VERSION)
    }
    fn cuDeviceGetCount(count: Out<c_int>) {
        count.set(1)
    }
    fn cuDeviceGet(out: Out<c_int>, ordinal: c_int) {
        device(ordinal)?;
        out.set(0)
    }
    fn cuDeviceGetName(name: *mut c_char, len: c_int, dev: c_int) {
        device(dev)?;
        if name.is_null() || len <= 0 {
            return Err(INVALID_VALUE);
        }
        let text = c"convnet emulator (PTX on the CPU)".to_bytes_with_nul();
        let n = text.len().min(len as usize);
        // SAFETY: the caller gives room for `len` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), n);
            name.add(n - 1).write(0);
        }
        Ok(())
    }
    fn cuDeviceGetAttribute(value: Out<c_int>, number: u32, dev: c_int) {
        device(dev)?;
        value.set(attribute(number))
    }
    fn cuDeviceTotalMem_v2(bytes: Out<usize>, dev: c_int) {
        device(dev)?;
        bytes.set(crate::device::memory().total as usize)
    }
    fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, dev: c_int) {
        device(dev)?;
        uuid.set(UUID)
    }
    fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, dev: c_int) {
        device(dev)?;
        uuid.set(UUID)
    }
    fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, dev: c_int) {
        device(dev)?;
        major.set((capability() / 10) as c_int)?;
        minor.set((capability() % 10) as c_int)
    }
    fn cuDeviceCanAccessPeer(can: Out<c_int>, dev: c_int, peer: c_int) {
        device(dev)?;
        device(peer)?;
        can.set(0)
    }
    fn cuDeviceGetPCIBusId(id: *mut c_char, len: c_int, dev: c_int) {
        device(dev)?;
        let text = c"0000:00:00.0".to_bytes_with_nul();
        if id.is_null() || (len as usize) < text.len() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller gives room for `len` bytes.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), id.cast(), text.len()) };
        Ok(())
    }
    fn cuGetProcAddress_v2(symbol: *const c_char, out: Out<*mut c_void>, _version: c_int, _flags: u64, status: Out<u32>) {
        let found = lookup(&text(symbol)?);
        status.set_if(if found.is_null() { 1 } else { 0 });
        out.set(found)?;
        if found.is_null() { Err(NOT_FOUND) } else { Ok(()) }
    }
    fn cuGetProcAddress(symbol: *const c_char, out: Out<*mut c_void>, _version: c_int, _flags: u64) {
        let found = lookup(&text(symbol)?);
        out.set(found)?;
        if found.is_null() { Err(NOT_FOUND) } else { Ok(()) }
    }
    fn cuProfilerStart() {
        Ok(())
    }
    fn cuProfilerStop() {
        Ok(())
    }
}

/// The newest version of a function of this library.
fn lookup(name: &str) -> *mut c_void {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr writes the info when it returns other than 0, and the name it gives is a C string.
    let library = unsafe {
        if libc::dladdr(cuInit as *const c_void, info.as_mut_ptr()) == 0 {
            return std::ptr::null_mut();
        }
        libc::dlopen(info.assume_init().dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD)
    };
    if library.is_null() {
        return std::ptr::null_mut();
    }
    for suffix in ["_v4", "_v3", "_v2", ""] {
        let Ok(symbol) = std::ffi::CString::new(format!("{name}{suffix}")) else { break };
        // SAFETY: the library is loaded and the name is a C string.
        let found = unsafe { libc::dlsym(library, symbol.as_ptr()) };
        if !found.is_null() {
            return found;
        }
    }
    std::ptr::null_mut()
}
