//! For tests: where the built library is, and a folder to put on a library path. The file is not called `libcuda.so`, since
//! cargo puts its folder on the library path of whatever it runs: nobody is to get the emulator who did not ask for it.

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
    let path = library()?;
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: the name is a C string; the library's initialisers do nothing.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() { Err(format!("cannot load {}", path.display())) } else { Ok(()) }
}
