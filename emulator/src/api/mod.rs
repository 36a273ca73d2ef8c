//! The CUDA driver API, as far as cudarc calls it.
//!
//! Work is done when it is enqueued, on the calling thread and the machine's cores: by the time a call returns, its kernel or
//! copy is finished, so streams and events have nothing to wait for. An error of a kernel is returned by its launch, and is
//! not sticky. A stream being captured records instead, and the graph replays in the order of recording.
//!
//! Every call is counted, and may be made to fail before it does anything: by CONVNET_EMULATOR_FAIL, or again and again within
//! one process by `emulatorFail`, which is no function of the driver's.

#![allow(non_snake_case, reason = "the driver's names")]

mod context;
mod device;
mod error;
mod launch;
mod memory;
mod module;
mod occupancy;
mod state;
mod stream;
mod tensor;

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

pub use error::*;

/// What a call returns: nothing, or a CUresult.
pub(crate) type Answer<T = ()> = Result<T, u32>;

/// A pointer to write a result to.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes, or says that the pointer is null.
    fn set(self, value: T) -> Answer {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: a result pointer that is not null can be written.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// Writes unless the pointer is null.
    fn set_if(self, value: T) {
        let _ = self.set(value);
    }
}

/// A pointer to read an argument from.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// Reads, or says that the pointer is null.
    fn get(self) -> Answer<T> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the driver API's contract: an argument pointer that is not null can be read.
        Ok(unsafe { self.0.read_unaligned() })
    }
}

/// A C string argument.
fn text(pointer: *const c_char) -> Answer<String> {
    if pointer.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the driver API's contract: a string that is not null ends in a zero byte.
    Ok(unsafe { std::ffi::CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Declares functions of the driver API.
macro_rules! api {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[doc = concat!("`", stringify!($name), "` of the driver API.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($($arg: $ty),*) -> u32 {
            $crate::api::call(stringify!($name), || -> $crate::api::Answer { $body })
        }
    )*};
}
pub(crate) use api;

/// The calls so far, and those that `emulatorFail` asked for.
struct Calls {
    total: u64,
    by_function: BTreeMap<&'static str, u64>,
    /// Which calls of all are to fail.
    failing: Range<u64>,
    /// The function whose call was the first to fail since.
    failed: Option<&'static str>,
}

static CALLS: Mutex<Calls> = Mutex::new(Calls { total: 0, by_function: BTreeMap::new(), failing: 0..0, failed: None });

fn calls() -> MutexGuard<'static, Calls> {
    CALLS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Makes the `call`-th call from here on fail, whichever function it is of, and those after it until `times` have.
#[unsafe(no_mangle)]
pub extern "C" fn emulatorFail(call: u64, times: u64) {
    let mut calls = calls();
    let first = calls.total.saturating_add(call);
    calls.failing = first..first.saturating_add(times);
    calls.failed = None;
}

/// The function whose call was the first to fail as [`emulatorFail`] asked for: its name and its length; null if none has
/// yet.
#[unsafe(no_mangle)]
pub extern "C" fn emulatorFailed(length: Out<usize>) -> *const u8 {
    let failed = calls().failed;
    length.set_if(failed.map_or(0, str::len));
    failed.map_or(std::ptr::null(), str::as_ptr)
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Counts a call and runs it, unless it is to fail; a panic inside is an error, never unwinding into C.
fn call(name: &'static str, body: impl FnOnce() -> Answer) -> u32 {
    if let Some(code) = counted(name) {
        return code;
    }
    let free = matches!(
        name,
        "cuInit" | "cuDriverGetVersion" | "cuGetErrorName" | "cuGetErrorString" | "cuGetProcAddress" | "cuGetProcAddress_v2"
    );
    if !free && !INITIALISED.load(Ordering::Acquire) {
        return NOT_INITIALIZED;
    }
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => UNKNOWN,
    }
}

/// Counts a call; the code it is to fail with, if it is.
fn counted(name: &'static str) -> Option<u32> {
    if matches!(name, "cuGetErrorName" | "cuGetErrorString") {
        return None;
    }
    let (of_all, of_function, asked) = {
        let mut calls = calls();
        if calls.total == 0 {
            // SAFETY: `at_exit` is a C function without arguments that unwinds nowhere.
            unsafe { libc::atexit(at_exit) };
        }
        calls.total += 1;
        let count = calls.by_function.entry(name).or_default();
        *count += 1;
        let count = *count;
        let asked = calls.failing.contains(&calls.total);
        if asked {
            calls.failed.get_or_insert(name);
        }
        (calls.total, count, asked)
    };
    let fail = crate::options().fail.as_ref();
    let hit = fail.is_some_and(|fail| match &fail.function {
        Some(function) => function == name && fail.call == of_function,
        None => fail.call == of_all,
    });
    if !hit && !asked {
        return None;
    }
    let suits = match name {
        "cuInit" => NO_DEVICE,
        n if n.contains("Alloc") => OUT_OF_MEMORY,
        n if n.contains("Launch") => LAUNCH_FAILED,
        n if n.contains("Module") => NO_BINARY_FOR_GPU,
        _ => UNKNOWN,
    };
    Some(fail.filter(|fail| hit && fail.code != 0).map_or(suits, |fail| fail.code))
}

extern "C" fn at_exit() {
    write_reports();
}

/// Writes the files of counts that the environment asks for.
fn write_reports() {
    crate::check::write_profile();
    let Some(path) = &crate::options().calls else { return };
    let calls = calls();
    let lines: String = calls.by_function.iter().map(|(name, n)| format!("{name} {n}\n")).collect();
    let written = std::fs::File::create(path).and_then(|mut f| write!(f, "total {}\n{lines}", calls.total));
    if let Err(e) = written {
        eprintln!("emulator: cannot write {}: {e}", path.display());
    }
}
