//! In what precision a device multiplies.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What the operands of convolutions and matrix products are rounded to before they are multiplied. Tensors are f32 in memory
/// and sums are f32 in any case; all other operations are f32 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Nothing: f32.
    F32,
    /// 11 bits of mantissa and the range of f32, on tensor cores.
    Tf32,
    /// 8 bits of mantissa and the range of f32, on tensor cores: twice as fast again.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Tf32, Self::Bf16];

    /// The most that rounding moves an operand, as a share of it: half the distance from 1 to the next number.
    pub fn rounding(self) -> f64 {
        match self {
            Self::F32 => 0.0,
            Self::Tf32 => 2_f64.powi(-11),
            Self::Bf16 => 2_f64.powi(-8),
        }
    }

    /// The most that rounding both operands adds to the error of Σ a·b, as a share of Σ |a·b|: (1 + u)² − 1.
    pub fn of_products(self) -> f64 {
        let u = self.rounding();
        2.0 * u + u * u
    }
}

/// As in a config: `tf32`.
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}
