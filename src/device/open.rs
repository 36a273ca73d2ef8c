//! Devices by name.

use super::cpu::CpuDevice;
use super::{Device, Error, Result};
use serde::Serialize;

/// A device that a net can run on.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceInfo {
    /// What `--device` calls it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of it that are free.
    pub free: u64,
}

/// The devices of this machine, and why no CUDA device is among them.
pub fn list() -> (Vec<DeviceInfo>, Option<String>) {
    let (memory, free) = super::cpu::memory();
    let cpu = DeviceInfo { id: "cpu".into(), name: CpuDevice::<f32>::new(0).name(), memory, free };
    (vec![cpu], Some(NO_CUDA.into()))
}

const NO_CUDA: &str = "this build has no CUDA kernels";

/// Opens a device by its name in `--device`, on `threads` CPU threads (0: all cores) where it is the CPU. Also says, for
/// people, why `auto` took it: a phrase to put behind its name.
///
/// # Errors
/// There is no such device, or it cannot be used.
pub fn open(name: &str, threads: usize) -> Result<(Box<dyn Device>, String)> {
    match name {
        "auto" => Ok((Box::new(CpuDevice::<f32>::new(threads)), format!(", since {NO_CUDA}"))),
        "cpu" => Ok((Box::new(CpuDevice::<f32>::new(threads)), String::new())),
        _ if name == "cuda" || name.starts_with("cuda:") => Err(Error::Unavailable(NO_CUDA.into())),
        _ => Err(Error::Unavailable(format!("there is no device '{name}'; there are: auto, cpu, cuda, cuda:N"))),
    }
}
