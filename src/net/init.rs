//! Initial parameters, drawn on the host so that they are the same on every device, or read from files.

mod file;

use super::Parameter;
use crate::config::InitKind;
use crate::device::{self, philox};
use std::path::PathBuf;

/// Why a net's parameters cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// A file does not have a parameter's values.
    #[error("layer '{layer}': cannot start its {parameter} from {}: {what}", path.display())]
    File {
        /// The layer.
        layer: String,
        /// `weights`, `bias`, ….
        parameter: String,
        /// Whether it is the layer's `init_bias` that names the file, not its `init`.
        bias: bool,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Values handed on at a time: the initial values of a large layer are never in memory as a whole.
const PIECE: usize = 1 << 16;

/// The initial values of parameter number `index`: those of its file, or a function of the seed and the number alone.
///
/// # Errors
/// A file that cannot be read, or holds other than as many finite floats.
pub fn values(p: &Parameter, index: u32, seed: u64) -> Result<Vec<f64>, InitError> {
    let mut values = Vec::with_capacity(p.spec.shape.elements());
    in_pieces(p, index, seed, |_, piece| {
        values.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(values)
}

/// Hands the initial values of parameter number `index` to `write`, piece by piece: the number of a piece's first value, and
/// its values.
///
/// xavier: uniform in ±√(3/fan) (Glorot and Bengio 2010). msra: gaussian of standard deviation √(2/fan) (He et al. 2015).
///
/// # Errors
/// As [`values`], or what `write` returns.
pub fn in_pieces(
    p: &Parameter,
    index: u32,
    seed: u64,
    mut write: impl FnMut(usize, &[f64]) -> device::Result<()>,
) -> Result<(), InitError> {
    let mut random = philox::Stream::new(seed, philox::Purpose::Init, index, 0);
    let (fan_in, fan_out) = (p.spec.fan_in as f64, p.spec.fan_out as f64);
    let mut draw: Box<dyn FnMut() -> f64> = match &p.init.kind {
        &InitKind::Constant { value } => Box::new(move || value),
        &InitKind::Gaussian { mean, std, sparse } => {
            let outputs = p.spec.shape.n as f64;
            Box::new(move || {
                let value = mean + std * random.gaussian();
                let kept = sparse.is_none_or(|n| random.uniform() < n / outputs);
                if kept { value } else { 0.0 }
            })
        }
        &InitKind::Uniform { min, max } => Box::new(move || min + (max - min) * random.uniform()),
        &InitKind::Xavier { fan } => {
            let limit = (3.0 / fan.of(fan_in, fan_out)).sqrt();
            Box::new(move || limit * (2.0 * random.uniform() - 1.0))
        }
        &InitKind::Msra { fan } => {
            let std = (2.0 / fan.of(fan_in, fan_out)).sqrt();
            Box::new(move || std * random.gaussian())
        }
        InitKind::File { path, tensor } => return Ok(write(0, &from_file(p, path.into(), tensor.as_deref())?)?),
    };
    let all = p.spec.shape.elements();
    let mut piece = Vec::with_capacity(PIECE.min(all));
    for first in (0..all).step_by(PIECE) {
        piece.clear();
        piece.extend((first..all.min(first + PIECE)).map(|_| draw()));
        write(first, &piece)?;
    }
    Ok(())
}

fn from_file(p: &Parameter, path: PathBuf, tensor: Option<&str>) -> Result<Vec<f64>, InitError> {
    let s = p.spec.shape;
    let fits = |values: Vec<f64>| match values.len() == s.elements() {
        true => Ok(values),
        false => Err(format!("it has {} values, {} are needed ({}×{}×{}×{})", values.len(), s.elements(), s.n, s.h, s.w, s.c)),
    };
    file::read(&path, tensor).and_then(fits).map_err(|what| {
        let (layer, parameter) = p.name.rsplit_once('.').unwrap_or((&p.name, "weights"));
        InitError::File { layer: layer.into(), parameter: parameter.into(), bias: p.spec.is_bias(), path, what }
    })
}
