//! For tests: where the built library is, and a folder to put on a library path. The file is not called `libcuda.so`, since
//! cargo puts its folder on the library path of whatever it runs: nobody is to get the emulator who did not ask for it.

use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};

/// The built `libemulator.so`: CONVNET_EMULATOR_LIB, or the one next to the running test in cargo's target folder.
///
/// Cargo builds it with this crate, also when the crate is only a (dev-)dependency.
pub fn library() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("CONVNET_EMULATOR_LIB") {
        return Ok(PathBuf::from(path));
    }
    let exe = std::env::current_exe().map_err(|e| format!("cannot tell where this program is: {e}"))?;
    let folders = exe.ancestors().skip(1).take(3);
    folders
        .flat_map(|f| [f.join("libemulator.so"), f.join("deps/libemulator.so")])
        .find(|p| p.is_file())
        .ok_or_else(|| "no libemulator.so beside this program; run cargo build -p convnet-emulator".to_string())
}

/// Makes a folder, inside `parent`, that holds the library under both names the loader may ask for. Put it on
/// LD_LIBRARY_PATH of a child process.
pub fn folder(parent: &Path) -> Result<PathBuf, String> {
    let library = library()?;
    let folder = parent.join("emulator-lib");
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    for name in ["libcuda.so", "libcuda.so.1"] {
        let link = folder.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(&library, &link).map_err(|e| format!("cannot link {}: {e}", link.display()))?;
        }
    }
    Ok(folder)
}

/// Loads the library into this process, so that cudarc, which asks for `libcuda.so`, gets this one.
pub fn load() -> Result<(), String> {
    open(libc::RTLD_NOW | libc::RTLD_GLOBAL).map(|_| ())
}

fn open(flags: i32) -> Result<*mut c_void, String> {
    let path = library()?;
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: the name is a C string; the library's initialisers do nothing.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
    if handle.is_null() { Err(format!("cannot load {}", path.display())) } else { Ok(handle) }
}

/// A function of the library that [`load`] loaded. This crate is linked into the test too, with a state of its own, which is
/// not the one that the driver's calls see.
fn loaded(name: &std::ffi::CStr) -> Result<*mut c_void, String> {
    let library = open(libc::RTLD_NOW | libc::RTLD_NOLOAD)?;
    // SAFETY: the handle is the library's, which stays loaded.
    let function = unsafe { libc::dlsym(library, name.as_ptr()) };
    if function.is_null() { Err(format!("the emulator has no {}", name.to_string_lossy())) } else { Ok(function) }
}

/// Makes the `call`-th call of the driver from here on fail, whichever it is, and those after it until `times` have failed; with
/// 0 times, none. After [`load`].
pub fn fail(call: u64, times: u64) -> Result<(), String> {
    let function = loaded(c"emulatorFail")?;
    // SAFETY: `emulatorFail` in api/mod.rs has this type.
    let function: extern "C" fn(u64, u64) = unsafe { std::mem::transmute(function) };
    function(call, times);
    Ok(())
}

/// The function whose call was the first to fail as [`fail`] asked for, if one has.
pub fn failed() -> Result<Option<String>, String> {
    let function = loaded(c"emulatorFailed")?;
    // SAFETY: `emulatorFailed` in api/mod.rs has this type.
    let function: extern "C" fn(*mut usize) -> *const u8 = unsafe { std::mem::transmute(function) };
    let mut length = 0;
    let name = function(&mut length);
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the name of a function, of that length, in the library, which stays loaded.
    let name = unsafe { std::slice::from_raw_parts(name, length) };
    Ok(Some(String::from_utf8_lossy(name).into_owned()))
}
