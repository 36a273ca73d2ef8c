//! CUresult codes, their names and what they mean.

use std::ffi::{CStr, c_char};

use super::{INVALID_VALUE as INVALID, Out, api};

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u32 = $code;)*

        fn describe(code: u32) -> Option<(&'static CStr, &'static CStr)> {
            let name = |text: &'static str| CStr::from_bytes_with_nul(text.as_bytes()).unwrap_or_default();
            match code {
                $($code => Some((
                    name(if $code == 0 { "CUDA_SUCCESS\0" } else { concat!("CUDA_ERROR_", stringify!($name), "\0") }),
                    name(concat!($text, "\0")),
                )),)*
                _ => None,
            }
        }
    };
}

codes! {
    SUCCESS = 0, "no error";
    INVALID_VALUE = 1, "invalid argument";
    OUT_OF_MEMORY = 2, "out of memory";
    NOT_INITIALIZED = 3, "initialization error";
    DEINITIALIZED = 4, "driver shutting down";
    NO_DEVICE = 100, "no CUDA-capable device is detected";
    INVALID_DEVICE = 101, "invalid device ordinal";
    INVALID_IMAGE = 200, "device kernel image is invalid";
    INVALID_CONTEXT = 201, "invalid device context";
    NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
    INVALID_PTX = 218, "a PTX JIT compilation failed";
    UNSUPPORTED_PTX_VERSION = 222, "the provided PTX was compiled with an unsupported toolchain.";
    FILE_NOT_FOUND = 301, "file not found";
    INVALID_HANDLE = 400, "invalid resource handle";
    ILLEGAL_STATE = 401, "the operation cannot be performed in the present state";
    NOT_FOUND = 500, "named symbol not found";
    NOT_READY = 600, "device not ready";
    ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated";
    ASSERT = 710, "device-side assert triggered";
    ILLEGAL_INSTRUCTION = 715, "an illegal instruction was encountered";
    MISALIGNED_ADDRESS = 716, "misaligned address";
    LAUNCH_FAILED = 719, "unspecified launch failure";
    NOT_SUPPORTED = 801, "operation not supported";
    STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
    UNKNOWN = 999, "unknown error";
}

api! {
    fn cuGetErrorName(error: u32, name: Out<*const c_char>) {
        let (text, _) = describe(error).ok_or(INVALID)?;
        name.set(text.as_ptr())
    }
    fn cuGetErrorString(error: u32, string: Out<*const c_char>) {
        let (_, text) = describe(error).ok_or(INVALID)?;
        string.set(text.as_ptr())
    }
}
