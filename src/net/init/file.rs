//! Initial values from files: a .npy array, or one tensor of a .safetensors file.

use crate::format::npy;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::Path;

/// The values in a file, or what is wrong with it.
pub fn read(path: &Path, tensor: Option<&str>) -> Result<Vec<f64>, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let values = match tensor {
        None => npy::values(&bytes)?,
        Some(name) => {
            let file = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
            let view = file.tensor(name).map_err(|_| without(name, &file))?;
            of_view(&view)?
        }
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(format!("its value number {i} is {}", values[i])),
        None => Ok(values),
    }
}

/// That a file has no tensor of a name, and what it has.
fn without(name: &str, file: &SafeTensors) -> String {
    let mut names = file.names();
    names.sort_unstable();
    let more = if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
    names.truncate(10);
    format!("it has no tensor '{name}'; it has {}{more}", names.join(", "))
}

fn of_view(view: &TensorView) -> Result<Vec<f64>, String> {
    fn all<const N: usize>(view: &TensorView, one: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        view.data().as_chunks::<N>().0.iter().map(|&bytes| one(bytes)).collect()
    }
    Ok(match view.dtype() {
        Dtype::F16 => all(view, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => all(view, |b| bf16::from_le_bytes(b).to_f64()),
        Dtype::F32 => all(view, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F64 => all(view, f64::from_le_bytes),
        other => return Err(format!("its values are of type {other:?}; floats are read: F16, BF16, F32 and F64")),
    })
}
