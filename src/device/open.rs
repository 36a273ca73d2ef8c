//! Devices by name.

use super::cpu::CpuDevice;
use super::cuda::{self, CudaDevice};
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
    /// Why it cannot be used, if so.
    pub unusable: Option<String>,
}

/// The devices of this machine, and why no CUDA device is among them.
pub fn list() -> (Vec<DeviceInfo>, Option<String>) {
    let (memory, _) = super::cpu::memory();
    let mut devices = vec![DeviceInfo { id: "cpu".into(), name: CpuDevice::<f32>::new(0).name(), memory, unusable: None }];
    match cuda::available() {
        Ok(cards) => {
            devices.extend(cards.into_iter().map(|card| DeviceInfo {
                id: format!("cuda:{}", card.ordinal),
                name: card.name,
                memory: card.memory as u64,
                unusable: card.unusable,
            }));
            (devices, None)
        }
        Err(why) => (devices, Some(why.to_string())),
    }
}

/// Opens a device by its name in `--device`; the CPU with `threads` threads (0: all cores). Also says why `auto` chose it: a
/// phrase to print after its name.
///
/// # Errors
/// There is no such device, or it cannot be used.
pub fn open(name: &str, threads: usize) -> Result<(Box<dyn Device>, String)> {
    let cpu = || Box::new(CpuDevice::<f32>::new(threads));
    match name {
        "cpu" => Ok((cpu(), String::new())),
        "cuda" => Ok((Box::new(CudaDevice::new(0)?), String::new())),
        "auto" => match CudaDevice::new(0) {
            Ok(card) => Ok((Box::new(card), ", the first GPU".into())),
            // The first sentence says why. The others say what to do, which is not needed here.
            Err(why) => Ok((cpu(), format!(", since {}", why.to_string().split(". ").next().unwrap_or_default()))),
        },
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => Ok((Box::new(CudaDevice::new(ordinal)?), String::new())),
            _ => Err(Error::Unknown(name.into())),
        },
    }
}
