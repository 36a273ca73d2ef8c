//! The CUDA driver as this device needs it: contexts, streams, events, memory, modules and graphs that free themselves, and
//! errors that name the call. Almost all of the device's `unsafe` is here, one call each.
//!
//! cudarc loads libcuda at run time and panics where the library or a function in it is missing; [`load`] looks for all of
//! them first, and nothing else here is called before it succeeded.

use cudarc::driver::sys;
use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::OnceLock;

/// The functions called here, as libcuda exports them.
const SYMBOLS: [&str; 40] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuLaunchKernel",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
];

/// A call that failed, and the driver's answer.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The function's name.
    pub call: &'static str,
    /// What it answered.
    pub code: sys::CUresult,
}

/// As in `cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (out of memory)`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |get: unsafe extern "C" fn(sys::CUresult, *mut *const std::ffi::c_char) -> sys::CUresult| {
            let mut text = std::ptr::null();
            // SAFETY: `text` is a place for the pointer that the driver answers, to a string that lives as long as it does.
            unsafe {
                (get(self.code, &mut text) == sys::CUresult::CUDA_SUCCESS && !text.is_null())
                    .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        unsafe extern "C" fn name(code: sys::CUresult, text: *mut *const std::ffi::c_char) -> sys::CUresult {
            // SAFETY: handed through; the caller's pointer is valid.
            unsafe { sys::cuGetErrorName(code, text) }
        }
        unsafe extern "C" fn sentence(code: sys::CUresult, text: *mut *const std::ffi::c_char) -> sys::CUresult {
            // SAFETY: handed through; the caller's pointer is valid.
            unsafe { sys::cuGetErrorString(code, text) }
        }
        let (name, sentence) = (text(name), text(sentence));
        write!(f, "{}: {}", self.call, name.unwrap_or_else(|| format!("error {}", self.code as u32)))?;
        sentence.map_or(Ok(()), |sentence| write!(f, " ({sentence})"))
    }
}

/// What the driver's calls return here.
pub type Answer<T = ()> = Result<T, Failure>;

/// Calls a function of the driver; its name goes into the error.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {
        match sys::$function($($argument),*) {
            sys::CUresult::CUDA_SUCCESS => Ok(()),
            code => Err(Failure { call: stringify!($function), code }),
        }
    };
}

/// Why the driver cannot be used at all.
#[derive(Clone, Debug)]
pub enum Absent {
    /// There is no libcuda.
    Library,
    /// It lacks a function.
    Function(&'static str),
    /// It does not start.
    Init(Failure),
}

/// Loads and starts the driver, once; answers its version, as 13000 for 13.0.
pub fn load() -> Result<i32, Absent> {
    static LOADED: OnceLock<Result<(), Absent>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            // SAFETY: loading libcuda runs its initialisers, which is what is wanted.
            if !unsafe { sys::is_culib_present() } {
                return Err(Absent::Library);
            }
            // SAFETY: the library is there, so this does not panic; it stays loaded.
            let library = unsafe { sys::culib() };
            for symbol in SYMBOLS {
                // SAFETY: the symbol is looked for, and not used.
                if unsafe { library.get::<*const c_void>(symbol.as_bytes()) }.is_err() {
                    return Err(Absent::Function(symbol));
                }
            }
            // SAFETY: the flags are 0, as they must be.
            unsafe { call!(cuInit(0)) }.map_err(Absent::Init)
        })
        .clone()?;
    let mut version = 0;
    // SAFETY: `version` is a place for the answer.
    unsafe { call!(cuDriverGetVersion(&mut version)) }.map_err(Absent::Init)?;
    Ok(version)
}

/// Whether the driver makes tensor maps, which those before 12.0 do not.
pub fn has_tensor_maps() -> bool {
    // SAFETY: `load` found the library; the symbols are looked for, and not used.
    let has = |symbol: &[u8]| unsafe { sys::culib().get::<*const c_void>(symbol) }.is_ok();
    has(b"cuTensorMapEncodeTiled") && has(b"cuTensorMapEncodeIm2col")
}

/// The number of cards.
pub fn count() -> Answer<i32> {
    let mut count = 0;
    // SAFETY: `count` is a place for the answer.
    unsafe { call!(cuDeviceGetCount(&mut count)) }?;
    Ok(count)
}

/// A card.
#[derive(Clone, Copy, Debug)]
pub struct Card(sys::CUdevice);

impl Card {
    /// The card of this number.
    pub fn get(ordinal: i32) -> Answer<Self> {
        let mut card = 0;
        // SAFETY: `card` is a place for the answer.
        unsafe { call!(cuDeviceGet(&mut card, ordinal)) }?;
        Ok(Self(card))
    }

    /// Its name, as in `NVIDIA H100 80GB HBM3`.
    pub fn name(self) -> Answer<String> {
        let mut text = [0_u8; 256];
        // SAFETY: the driver writes at most `text.len()` bytes, with a zero at the end.
        unsafe { call!(cuDeviceGetName(text.as_mut_ptr().cast(), text.len() as i32, self.0)) }?;
        Ok(CStr::from_bytes_until_nul(&text).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
    }

    fn attribute(self, attribute: sys::CUdevice_attribute) -> Answer<i32> {
        let mut value = 0;
        // SAFETY: `value` is a place for the answer; the device came from the driver.
        unsafe { call!(cuDeviceGetAttribute(&mut value, attribute, self.0)) }?;
        Ok(value)
    }

    /// Its compute capability, as (9, 0).
    pub fn capability(self) -> Answer<(i32, i32)> {
        use sys::CUdevice_attribute as A;
        let major = self.attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        Ok((major, self.attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?))
    }

    /// Its multiprocessors.
    pub fn multiprocessors(self) -> Answer<i32> {
        self.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    /// Its memory, in bytes.
    pub fn memory(self) -> Answer<usize> {
        let mut bytes = 0;
        // SAFETY: `bytes` is a place for the answer; the device came from the driver.
        unsafe { call!(cuDeviceTotalMem_v2(&mut bytes, self.0)) }?;
        Ok(bytes)
    }
}

/// A card's primary context. Everything made in it holds on to it.
#[derive(Debug)]
pub struct Context {
    card: Card,
    handle: sys::CUcontext,
}

impl Context {
    /// The card's primary context.
    pub fn new(card: Card) -> Answer<Rc<Self>> {
        let mut handle = null_mut();
        // SAFETY: `handle` is a place for the answer; the device came from the driver. Released in `drop`.
        unsafe { call!(cuDevicePrimaryCtxRetain(&mut handle, card.0)) }?;
        let context = Rc::new(Self { card, handle });
        context.enter()?;
        Ok(context)
    }

    /// Makes it this thread's context, which the calls that follow need.
    pub fn enter(&self) -> Answer {
        // SAFETY: the context is retained until `drop`.
        unsafe { call!(cuCtxSetCurrent(self.handle)) }
    }

    /// Free bytes of the card's memory.
    pub fn free(&self) -> Answer<usize> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are places for the answers.
        unsafe { call!(cuMemGetInfo_v2(&mut free, &mut total)) }?;
        Ok(free)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained in `new`; nothing made in it is left, for that would hold on to it. An error changes nothing.
        let _ = unsafe { call!(cuDevicePrimaryCtxRelease_v2(self.card.0)) };
    }
}

/// A place in the card's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// The null address: passed for an optional operand that is missing, such as a bias.
    pub const NULL: Self = Self(0);

    /// Whether 16-byte accesses are allowed there.
    pub fn on_16_bytes(self) -> bool {
        self.0.is_multiple_of(16)
    }
}

/// Memory on the card.
#[derive(Debug)]
pub struct Memory {
    context: Rc<Context>,
    start: Address,
    bytes: usize,
}

impl Memory {
    /// `bytes` bytes with undefined contents; at least one.
    pub fn new(context: &Rc<Context>, bytes: usize) -> Answer<Self> {
        context.enter()?;
        let (mut start, bytes) = (0, bytes.max(1));
        // SAFETY: `start` is a place for the answer. Freed in `drop`.
        unsafe { call!(cuMemAlloc_v2(&mut start, bytes)) }?;
        Ok(Self { context: context.clone(), start: Address(start), bytes })
    }

    /// Where it starts.
    pub fn start(&self) -> Address {
        self.start
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of a range of its bytes, if it holds it.
    pub fn at(&self, offset: usize, bytes: usize) -> Option<Address> {
        (offset.checked_add(bytes)? <= self.bytes).then(|| Address(self.start.0 + offset as u64))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once. The driver waits for what still uses it. Errors leave nothing to do.
        let _ = self.context.enter().and_then(|()| unsafe { call!(cuMemFree_v2(self.start.0)) });
    }
}

/// Memory of the host that the card can read while other things go on.
#[derive(Debug)]
pub struct Pinned {
    context: Rc<Context>,
    start: *mut c_void,
    bytes: usize,
}

impl Pinned {
    /// `bytes` bytes of zeros; at least one.
    pub fn new(context: &Rc<Context>, bytes: usize) -> Answer<Self> {
        context.enter()?;
        let (mut start, bytes) = (null_mut(), bytes.max(1));
        // SAFETY: `start` is a place for the answer. Freed in `drop`.
        unsafe { call!(cuMemHostAlloc(&mut start, bytes, 0)) }?;
        // SAFETY: the driver allocated `bytes` bytes.
        unsafe { start.cast::<u8>().write_bytes(0, bytes) };
        Ok(Self { context: context.clone(), start, bytes })
    }
}

impl Deref for Pinned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `bytes` bytes, initialised in `new`; the card only reads them.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`. Whoever queued a copy from here waits for it first (feed.rs, step.rs); a copy that reads what
        // is being written would carry wrong bytes, not break memory.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once. Errors leave nothing to do.
        let _ = self.context.enter().and_then(|()| unsafe { call!(cuMemFreeHost(self.start)) });
    }
}

/// A point in a stream's queue.
#[derive(Debug)]
pub struct Event {
    context: Rc<Context>,
    handle: sys::CUevent,
}

impl Event {
    /// An event that nothing was recorded into: who waits for it does not wait.
    pub fn new(context: &Rc<Context>) -> Answer<Self> {
        context.enter()?;
        let mut handle = null_mut();
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: `handle` is a place for the answer. Destroyed in `drop`.
        unsafe { call!(cuEventCreate(&mut handle, flags)) }?;
        Ok(Self { context: context.clone(), handle })
    }

    /// Makes the host wait for it.
    pub fn wait(&self) -> Answer {
        self.context.enter()?;
        // SAFETY: the event lives.
        unsafe { call!(cuEventSynchronize(self.handle)) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once. Errors leave nothing to do.
        let _ = self.context.enter().and_then(|()| unsafe { call!(cuEventDestroy_v2(self.handle)) });
    }
}

/// What bulk tensor copies bring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Brought {
    /// f32, rounded to the nearest tf32.
    Tf32,
    /// bf16, as they are.
    Bf16,
}

/// Windows of images, and the boxes that are copied out of them.
#[derive(Clone, Copy, Debug)]
pub struct Im2col {
    /// The tensor's channels, width, height and images.
    pub sizes: [u64; 4],
    /// Bytes from one column, row and image to the next.
    pub strides: [u64; 3],
    /// The first pixel of the bounding box that windows start in, from the image's first: its column and row.
    pub lower: [i32; 2],
    /// The last one, from the image's last.
    pub upper: [i32; 2],
    /// Channels of a box.
    pub channels: u32,
    /// Pixels of a box.
    pub pixels: u32,
    /// Columns and rows from one pixel to the next.
    pub steps: [u32; 2],
}

/// How bulk tensor copies find boxes in the card's memory, and lay them out in shared memory: rows of 128 bytes, swizzled. A
/// kernel takes it by value.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct TensorMap(sys::CUtensorMap);

impl TensorMap {
    const INTERLEAVE: sys::CUtensorMapInterleave = sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE;
    const SWIZZLE: sys::CUtensorMapSwizzle = sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B;
    const FETCH: sys::CUtensorMapL2promotion = sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    const OUTSIDE: sys::CUtensorMapFloatOOBfill = sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;

    fn kind(elements: Brought) -> sys::CUtensorMapDataType {
        match elements {
            Brought::Tf32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32,
            Brought::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        }
    }

    /// Boxes of a tensor of three dimensions, the fastest first: its elements along each, bytes between those along the last
    /// two, elements of the box.
    pub fn tiled(elements: Brought, at: Address, sizes: [u64; 3], strides: [u64; 2], shape: [u32; 3]) -> Answer<Self> {
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let steps = [1; 3];
        // SAFETY: `map` is a place for the answer, aligned as its type is; the arrays have as many elements as a tensor of three
        // dimensions asks for. The address is kept, not followed.
        unsafe {
            call!(cuTensorMapEncodeTiled(
                &mut map,
                Self::kind(elements),
                3,
                at.0 as *mut c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                shape.as_ptr(),
                steps.as_ptr(),
                Self::INTERLEAVE,
                Self::SWIZZLE,
                Self::FETCH,
                Self::OUTSIDE,
            ))
        }?;
        Ok(Self(map).of_bytes(sizes[2] * strides[1]))
    }

    /// Boxes of windows of images.
    pub fn im2col(elements: Brought, at: Address, windows: &Im2col) -> Answer<Self> {
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let steps = [1, windows.steps[0], windows.steps[1], 1];
        // SAFETY: as above, of four dimensions, two of which are of space.
        unsafe {
            call!(cuTensorMapEncodeIm2col(
                &mut map,
                Self::kind(elements),
                4,
                at.0 as *mut c_void,
                windows.sizes.as_ptr(),
                windows.strides.as_ptr(),
                windows.lower.as_ptr(),
                windows.upper.as_ptr(),
                windows.channels,
                windows.pixels,
                steps.as_ptr(),
                Self::INTERLEAVE,
                Self::SWIZZLE,
                Self::FETCH,
                Self::OUTSIDE,
            ))
        }?;
        Ok(Self(map).of_bytes(windows.sizes[3] * windows.strides[2]))
    }

    /// Drivers up to 13.1 set a bit that is wrong for tensors below 128 KiB; CUTLASS clears it too.
    fn of_bytes(mut self, bytes: u64) -> Self {
        if bytes < 128 << 10 && load().is_ok_and(|version| version <= 13010) {
            self.0.opaque[1] &= !(1 << 21);
        }
        self
    }
}

/// A value that a kernel takes.
///
/// # Safety
/// Its bytes must be those of the kernel's parameter: plain data, laid out as in CUDA C++.
pub unsafe trait Argument {}
// SAFETY: a pointer of 64 bits on both sides.
unsafe impl Argument for Address {}
// SAFETY: int on the other side.
unsafe impl Argument for i32 {}
// SAFETY: unsigned on the other side.
unsafe impl Argument for u32 {}
// SAFETY: long long on the other side.
unsafe impl Argument for i64 {}
// SAFETY: float on the other side.
unsafe impl Argument for f32 {}
// SAFETY: 128 bytes on the other side, which only the card's copies look into.
unsafe impl Argument for TensorMap {}

/// A kernel's blocks, and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Blocks along x, y, z.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
}

/// The most arguments that [`Stream::launch`] passes.
const MAX_ARGUMENTS: usize = 18;

/// A queue of work.
#[derive(Debug)]
pub struct Stream {
    context: Rc<Context>,
    handle: sys::CUstream,
}

impl Stream {
    /// A queue that waits for no other one by itself.
    pub fn new(context: &Rc<Context>) -> Answer<Self> {
        context.enter()?;
        let mut handle = null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: `handle` is a place for the answer. Destroyed in `drop`.
        unsafe { call!(cuStreamCreate(&mut handle, flags)) }?;
        Ok(Self { context: context.clone(), handle })
    }

    /// Makes the host wait for all that is queued.
    pub fn wait(&self) -> Answer {
        self.context.enter()?;
        // SAFETY: the stream lives.
        unsafe { call!(cuStreamSynchronize(self.handle)) }
    }

    /// Queues a mark.
    pub fn record(&self, event: &Event) -> Answer {
        self.context.enter()?;
        // SAFETY: the event and the stream live, in one context.
        unsafe { call!(cuEventRecord(event.handle, self.handle)) }
    }

    /// What is queued from here on waits for the event as it was last recorded.
    pub fn wait_for(&self, event: &Event) -> Answer {
        self.context.enter()?;
        // SAFETY: the event and the stream live, in one context.
        unsafe { call!(cuStreamWaitEvent(self.handle, event.handle, 0)) }
    }

    /// Queues a copy to the card. The bytes must stay until it is done if they are pinned; others are staged in the call.
    pub fn copy_in(&self, to: Address, from: &[u8]) -> Answer {
        self.context.enter()?;
        // SAFETY: `from` is that long, and whoever made `to` has checked that the card's memory holds as much there.
        unsafe { call!(cuMemcpyHtoDAsync_v2(to.0, from.as_ptr().cast(), from.len(), self.handle)) }
    }

    /// Copies from the card, after all that is queued, and waits.
    pub fn copy_out(&self, from: Address, to: &mut [u8]) -> Answer {
        self.context.enter()?;
        // SAFETY: `to` is that long, and stays until the wait is over.
        unsafe { call!(cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from.0, to.len(), self.handle)) }?;
        self.wait()
    }

    /// Queues a copy within the card.
    pub fn copy(&self, from: Address, to: Address, bytes: usize) -> Answer {
        self.context.enter()?;
        // SAFETY: whoever made the addresses has checked that the card's memory holds as much there.
        unsafe { call!(cuMemcpyDtoDAsync_v2(to.0, from.0, bytes, self.handle)) }
    }

    /// Queues zeros.
    pub fn clear(&self, memory: &Memory) -> Answer {
        self.context.enter()?;
        // SAFETY: the memory has `memory.bytes` bytes.
        unsafe { call!(cuMemsetD8Async(memory.start.0, 0, memory.bytes, self.handle)) }
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// The arguments must be the kernel's parameters, in number, order and type, and its accesses with them must stay in
    /// the card's memory.
    pub unsafe fn launch(&self, kernel: Function, grid: Grid, arguments: &[&dyn Argument]) -> Answer {
        assert!(arguments.len() <= MAX_ARGUMENTS, "{} arguments for a kernel; raise MAX_ARGUMENTS", arguments.len());
        self.context.enter()?;
        let mut pointers = [null_mut::<c_void>(); MAX_ARGUMENTS];
        for (pointer, &argument) in pointers.iter_mut().zip(arguments) {
            *pointer = (std::ptr::from_ref(argument) as *mut c_void).cast();
        }
        let Grid { blocks: [x, y, z], threads } = grid;
        let Function { handle, shared } = kernel;
        // SAFETY: the driver copies each argument from its pointer before it returns; the rest is the caller's promise.
        unsafe { call!(cuLaunchKernel(handle, x, y, z, threads, 1, 1, shared, self.handle, pointers.as_mut_ptr(), null_mut())) }
    }

    /// Starts to record what is queued, which is then not run.
    pub fn begin_recording(&self) -> Answer {
        self.context.enter()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives.
        unsafe { call!(cuStreamBeginCapture_v2(self.handle, mode)) }
    }

    /// Ends the recording and makes it ready to run.
    pub fn end_recording(&self) -> Answer<Graph> {
        self.context.enter()?;
        let mut graph = null_mut();
        // SAFETY: `graph` is a place for the answer.
        unsafe { call!(cuStreamEndCapture(self.handle, &mut graph)) }?;
        let mut handle = null_mut();
        // SAFETY: the graph was just made; `handle` is a place for the answer, destroyed in `drop`.
        let made = unsafe { call!(cuGraphInstantiateWithFlags(&mut handle, graph, 0)) };
        // SAFETY: the graph was just made, and what was made of it does not need it.
        let destroyed = unsafe { call!(cuGraphDestroy(graph)) };
        made.map(|()| Graph { context: self.context.clone(), handle }).and_then(|graph| destroyed.map(|()| graph))
    }

    /// Queues a recording.
    pub fn replay(&self, graph: &Graph) -> Answer {
        self.context.enter()?;
        // SAFETY: the graph and the stream live, in one context.
        unsafe { call!(cuGraphLaunch(graph.handle, self.handle)) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once; what is queued is still done. Errors leave nothing to do.
        let _ = self.context.enter().and_then(|()| unsafe { call!(cuStreamDestroy_v2(self.handle)) });
    }
}

/// A recording that can be run again.
#[derive(Debug)]
pub struct Graph {
    context: Rc<Context>,
    handle: sys::CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made in `end_recording`, destroyed once. Errors leave nothing to do.
        let _ = self.context.enter().and_then(|()| unsafe { call!(cuGraphExecDestroy(self.handle)) });
    }
}

/// A kernel. Its module must be loaded when it is launched.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    handle: sys::CUfunction,
    /// Bytes of shared memory that a launch asks for, beyond what the kernel declares.
    shared: u32,
}

impl Function {
    /// The same with `bytes` bytes of shared memory for each launch, which may be more than a block has by itself.
    pub fn with_shared(self, bytes: u32) -> Answer<Self> {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function's module is loaded.
        unsafe { call!(cuFuncSetAttribute(self.handle, attribute, bytes as i32)) }?;
        Ok(Self { shared: bytes, ..self })
    }
}

/// Kernels loaded into a context.
#[derive(Debug)]
pub struct Module {
    context: Rc<Context>,
    handle: sys::CUmodule,
}

impl Module {
    /// Loads a fatbin.
    pub fn new(context: &Rc<Context>, fatbin: &'static [u8]) -> Answer<Self> {
        context.enter()?;
        let mut handle = null_mut();
        // SAFETY: `fatbin` is a whole fatbin made by nvcc, which tells its own length. Unloaded in `drop`.
        unsafe { call!(cuModuleLoadData(&mut handle, fatbin.as_ptr().cast())) }?;
        Ok(Self { context: context.clone(), handle })
    }

    /// The kernel of this name.
    pub fn function(&self, name: &str) -> Answer<Function> {
        self.context.enter()?;
        let missing = Failure { call: "cuModuleGetFunction", code: sys::CUresult::CUDA_ERROR_NOT_FOUND };
        let name = CString::new(name).map_err(|_| missing)?;
        let mut handle = null_mut();
        // SAFETY: `handle` is a place for the answer; the module is loaded, the name ends with a zero.
        unsafe { call!(cuModuleGetFunction(&mut handle, self.handle, name.as_ptr())) }?;
        Ok(Function { handle, shared: 0 })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `new`, unloaded once. Errors leave nothing to do.
        let _ = self.context.enter().and_then(|()| unsafe { call!(cuModuleUnload(self.handle)) });
    }
}
