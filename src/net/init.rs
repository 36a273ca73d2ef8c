//! Initial parameters, drawn on the host so that they are the same on every device.

use super::Parameter;
use crate::config::InitKind;
use crate::device::philox::{Purpose, Stream};

/// The initial values of parameter number `index`, a function of the seed and the number alone.
///
/// xavier: uniform in ±√(3/fan) (Glorot and Bengio 2010). msra: gaussian of standard deviation √(2/fan) (He et al. 2015).
pub fn values(p: &Parameter, index: u32, seed: u64) -> Vec<f64> {
    let mut random = Stream::new(seed, Purpose::Init, index, 0);
    let (fan_in, fan_out) = (p.spec.fan_in as f64, p.spec.fan_out as f64);
    let mut draw = || match p.init.kind {
        InitKind::Constant { value } => value,
        InitKind::Gaussian { mean, std, sparse } => {
            let value = mean + std * random.gaussian();
            let kept = sparse.is_none_or(|n| random.uniform() < n / p.spec.shape.n as f64);
            if kept { value } else { 0.0 }
        }
        InitKind::Uniform { min, max } => min + (max - min) * random.uniform(),
        InitKind::Xavier { fan } => (3.0 / fan.of(fan_in, fan_out)).sqrt() * (2.0 * random.uniform() - 1.0),
        InitKind::Msra { fan } => (2.0 / fan.of(fan_in, fan_out)).sqrt() * random.gaussian(),
    };
    (0..p.spec.shape.elements()).map(|_| draw()).collect()
}
