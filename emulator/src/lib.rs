//! A libcuda that executes kernels' PTX on the CPU.
//!
//! `ptx` reads the text, `ir` lowers a kernel to internal code, `exec` runs it in warps of 32 lanes, `check` looks on in
//! checked mode, and `api` is the driver's interface over all of it. See README.md for what is covered and how to use it.

pub mod api;
pub mod check;
pub mod device;
pub mod exec;
pub mod fatbin;
pub mod ir;
mod options;
pub mod ptx;
pub mod tensor;
pub mod testing;

pub use options::{Fail, Options, options};
