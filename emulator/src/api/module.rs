//! Modules and functions. A kernel is lowered when it is first asked for; an instruction the emulator does not know is
//! named on stderr and makes that call fail. What was parsed and lowered once is kept, as a driver keeps what it compiled: a
//! program that opens the device again does not wait for it again.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::device::{SHARED_DEFAULT, capability, shared_opt_in};
use super::state::{Handle, need_context, state};
use super::{
    Answer, FILE_NOT_FOUND, INVALID_HANDLE, INVALID_IMAGE, INVALID_PTX, INVALID_VALUE, NO_BINARY_FOR_GPU, NOT_FOUND,
    OUT_OF_MEMORY, Out, api, text,
};
use crate::device::memory;
use crate::fatbin::{ImageError, ptx};
use crate::ir::Program;
use crate::ptx::{Space, Variable, parse};

/// A loaded module.
pub struct Module {
    image: Arc<Image>,
    globals: HashMap<String, u64>,
    functions: Mutex<HashMap<String, Handle>>,
}

/// What a text of PTX says, the same for every module that is loaded from it.
struct Image {
    tree: crate::ptx::Module,
    files: Arc<Vec<(u32, String)>>,
    /// Kernels by name; empty where they depend on the addresses that a module's variables have.
    lowered: Mutex<HashMap<String, Arc<Program>>>,
}

impl Image {
    /// Parses a text, or finds that it was parsed before.
    fn of(text: String) -> Answer<Arc<Self>> {
        static PARSED: Mutex<BTreeMap<String, Arc<Image>>> = Mutex::new(BTreeMap::new());
        let mut parsed = PARSED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(image) = parsed.get(&text) {
            return Ok(image.clone());
        }
        let mut tree = parse(&text).map_err(|e| {
            complain(e);
            INVALID_PTX
        })?;
        let files = Arc::new(std::mem::take(&mut tree.files));
        let image = Arc::new(Self { tree, files, lowered: Mutex::default() });
        parsed.insert(text, image.clone());
        Ok(image)
    }

    /// Module variables in device memory.
    fn globals(&self) -> impl Iterator<Item = &Variable> {
        self.tree.variables.iter().filter(|v| v.space == Space::Global)
    }

    /// Lowers a kernel for the addresses of a module's variables, or finds that it was.
    fn lower(&self, name: &str, globals: &HashMap<String, u64>) -> Answer<Arc<Program>> {
        let mut lowered = self.lowered.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(program) = lowered.get(name) {
            return Ok(program.clone());
        }
        let kernel = self.tree.functions.iter().find(|f| f.entry && f.name == name && f.body.is_some()).ok_or(NOT_FOUND)?;
        let program = crate::ir::lower(&self.tree, kernel, globals, self.files.clone()).map_err(|e| {
            complain(format_args!("kernel '{name}': {e}"));
            INVALID_PTX
        })?;
        let program = Arc::new(program);
        if globals.is_empty() {
            lowered.insert(name.to_string(), program.clone());
        }
        Ok(program)
    }
}

/// A kernel of a module.
pub struct Function {
    /// What runs.
    pub program: Arc<Program>,
    /// Dynamic shared memory it may be launched with.
    pub max_dynamic_shared: AtomicU32,
    carveout: AtomicU32,
}

impl Drop for Module {
    fn drop(&mut self) {
        for &address in self.globals.values() {
            memory().release(address);
        }
    }
}

fn complain(error: impl std::fmt::Display) {
    eprintln!("emulator: {error}");
}

fn load(out: Out<Handle>, image: *const u8) -> Answer {
    need_context()?;
    if image.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the driver API's contract: an image is a whole fatbin, or text that ends in a zero byte.
    let text = unsafe { ptx(image, capability()) }.map_err(|e| match e {
        ImageError::Unknown => {
            complain("the image is neither a fatbin nor PTX");
            INVALID_IMAGE
        }
        ImageError::NoPtx => {
            complain(format_args!(
                "the fatbin holds no PTX for compute_{} or lower; compile with -gencode arch=compute_80,code=compute_80",
                capability()
            ));
            NO_BINARY_FOR_GPU
        }
        ImageError::Compressed => {
            complain("the fatbin's PTX is compressed; compile with nvcc --no-compress");
            NO_BINARY_FOR_GPU
        }
    })?;
    let image = Image::of(text)?;
    let mut globals = HashMap::new();
    for variable in image.globals() {
        let address = memory().allocate(variable.size.max(1), true).ok_or(OUT_OF_MEMORY)?;
        globals.insert(variable.name.clone(), address);
    }
    for variable in image.globals() {
        let address = globals[&variable.name];
        let mut bytes = variable.initial.clone();
        bytes.resize(variable.size as usize, 0);
        for (at, name, added) in &variable.addresses {
            let target = globals.get(name).ok_or(INVALID_PTX)?.wrapping_add_signed(*added);
            bytes[*at..*at + 8].copy_from_slice(&target.to_le_bytes());
        }
        // SAFETY: the variable's allocation has its size.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        memory().host_wrote(address, variable.size);
    }
    let module = Module { image, globals, functions: Mutex::default() };
    let mut state = state();
    let handle = state.handle();
    state.modules.insert(handle, Arc::new(module));
    out.set(handle)
}

fn function_named(module: Handle, name: &str) -> Answer<Handle> {
    need_context()?;
    let module = state().modules.get(&module).cloned().ok_or(INVALID_HANDLE)?;
    let mut known = module.functions.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(&handle) = known.get(name) {
        return Ok(handle);
    }
    let program = module.image.lower(name, &module.globals)?;
    let room = SHARED_DEFAULT.saturating_sub(program.static_shared) as u32;
    let function = Function { program, max_dynamic_shared: AtomicU32::new(room), carveout: AtomicU32::new(u32::MAX) };
    let mut state = state();
    let handle = state.handle();
    state.functions.insert(handle, Arc::new(function));
    known.insert(name.to_string(), handle);
    Ok(handle)
}

/// The function of a handle.
pub fn function(handle: Handle) -> Answer<Arc<Function>> {
    state().functions.get(&handle).cloned().ok_or(INVALID_HANDLE)
}

fn unload(module: Handle) -> Answer {
    need_context()?;
    let mut state = state();
    let module = state.modules.remove(&module).ok_or(INVALID_HANDLE)?;
    for handle in module.functions.lock().unwrap_or_else(|e| e.into_inner()).values() {
        state.functions.remove(handle);
    }
    Ok(())
}

fn global(module: Handle, name: &str, address: Out<u64>, bytes: Out<usize>) -> Answer {
    need_context()?;
    let module = state().modules.get(&module).cloned().ok_or(INVALID_HANDLE)?;
    let variable = module.image.globals().find(|v| v.name == name).ok_or(NOT_FOUND)?;
    address.set_if(module.globals[name]);
    bytes.set_if(variable.size as usize);
    Ok(())
}

api! {
    fn cuModuleLoadData(out: Out<Handle>, image: *const u8) {
        load(out, image)
    }
    fn cuModuleLoadDataEx(out: Out<Handle>, image: *const u8, _n: c_uint, _options: *const c_uint, _values: *const *const c_void) {
        load(out, image)
    }
    fn cuModuleLoadFatBinary(out: Out<Handle>, image: *const u8) {
        load(out, image)
    }
    fn cuModuleLoad(out: Out<Handle>, path: *const c_char) {
        let mut bytes = std::fs::read(text(path)?).map_err(|_| FILE_NOT_FOUND)?;
        bytes.push(0);
        load(out, bytes.as_ptr())
    }
    fn cuModuleUnload(module: Handle) {
        unload(module)
    }
    fn cuModuleGetLoadingMode(mode: Out<c_uint>) {
        mode.set(2)
    }
    fn cuModuleGetFunction(out: Out<Handle>, module: Handle, name: *const c_char) {
        out.set(function_named(module, &text(name)?)?)
    }
    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: Handle, name: *const c_char) {
        global(module, &text(name)?, address, bytes)
    }
    fn cuLibraryLoadData(
        out: Out<Handle>, image: *const u8, _options: *const c_uint, _values: *const *const c_void, _n: c_uint,
        _library_options: *const c_uint, _library_values: *const *const c_void, _m: c_uint,
    ) {
        load(out, image)
    }
    fn cuLibraryUnload(library: Handle) {
        unload(library)
    }
    fn cuLibraryGetKernel(out: Out<Handle>, library: Handle, name: *const c_char) {
        out.set(function_named(library, &text(name)?)?)
    }
    fn cuLibraryGetModule(out: Out<Handle>, library: Handle) {
        out.set(library)
    }
    fn cuLibraryGetGlobal(address: Out<u64>, bytes: Out<usize>, library: Handle, name: *const c_char) {
        global(library, &text(name)?, address, bytes)
    }
    fn cuKernelGetFunction(out: Out<Handle>, kernel: Handle) {
        function(kernel)?;
        out.set(kernel)
    }
    fn cuFuncLoad(handle: Handle) {
        function(handle).map(|_| ())
    }
    fn cuFuncGetAttribute(value: Out<c_int>, attribute: c_uint, handle: Handle) {
        let function = function(handle)?;
        let program = &function.program;
        value.set(match attribute {
            0 => program.max_threads as c_int,
            1 => program.static_shared as c_int,
            2 => 0,
            3 => program.local as c_int,
            // A guess at what ptxas would use: what is alive at once, and some.
            4 => (program.registers + 10).clamp(16, 255) as c_int,
            5 | 6 => capability() as c_int,
            7 => 0,
            8 => function.max_dynamic_shared.load(Ordering::Relaxed) as c_int,
            9 => function.carveout.load(Ordering::Relaxed) as c_int,
            _ => return Err(INVALID_VALUE),
        })
    }
    fn cuFuncSetAttribute(handle: Handle, attribute: c_uint, value: c_int) {
        let function = function(handle)?;
        match attribute {
            8 if value >= 0 && value as u64 + function.program.static_shared <= shared_opt_in() =>
 {
                function.max_dynamic_shared.store(value as u32, Ordering::Relaxed);
                Ok(())
            }
            9 => {
                function.carveout.store(value as u32, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(INVALID_VALUE),
        }
    }
    fn cuFuncSetCacheConfig(handle: Handle, _config: c_uint) {
        function(handle).map(|_| ())
    }
}
