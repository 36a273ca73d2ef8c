//! How parameters start.

use super::types::{finite, non_negative};
use serde::de::{EnumAccess, Error, Visitor, value::EnumAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// How a layer's weights or biases start: `{ kind = "gaussian", std = 0.01 }`, `"xavier"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Init {
    /// The distribution.
    pub kind: InitKind,
}

/// A distribution of initial values.
#[derive(Clone, Debug, PartialEq)]
pub enum InitKind {
    /// Normal; in a config, the mean is 0 and `std` 0.01 unless given.
    Gaussian {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
        /// Each value is kept with probability sparse/outputs, and else 0 (Caffe, `sparse`).
        sparse: Option<f64>,
    },
    /// Uniform; in a config, `range = r` is from −r to r, and 0.05 unless given.
    Uniform {
        /// Least.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Uniform in ±√(3/fan), with the average fan unless given: ±√(6/(fan_in + fan_out)) (Glorot and Bengio 2010). Caffe's
    /// takes fan_in unless told.
    Xavier {
        /// What the variance is scaled by.
        fan: Fan,
    },
    /// Normal with standard deviation √(2/fan), with fan_in unless given (He et al. 2015).
    Msra {
        /// What the variance is scaled by.
        fan: Fan,
    },
    /// One value, 0 unless given.
    Constant {
        /// The value.
        value: f64,
    },
    /// The values in a file, in the parameter's order; it is read when a run begins, and not when it goes on.
    File {
        /// A NumPy array, `w.npy`, or a `.safetensors` file; relative to the working directory.
        path: String,
        /// The tensor in a `.safetensors` file.
        tensor: Option<String>,
    },
}

/// The number of connections that an initial variance is scaled by, written `"in"`, `"out"` or `"average"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fan {
    /// Inputs that one output sums over.
    In,
    /// Outputs that one input reaches.
    Out,
    /// Half the sum of both.
    Average,
}

impl Fan {
    /// The number, of a parameter with these.
    pub fn of(self, fan_in: f64, fan_out: f64) -> f64 {
        match self {
            Self::In => fan_in,
            Self::Out => fan_out,
            Self::Average => (fan_in + fan_out) / 2.0,
        }
    }

    fn average() -> Self {
        Self::Average
    }

    fn inputs() -> Self {
        Self::In
    }
}

impl Init {
    /// The same value everywhere.
    pub const fn constant(value: f64) -> Self {
        Self { kind: InitKind::Constant { value } }
    }
}

/// Normal with standard deviation √(2/fan_in), which keeps the scale of activations through layers of relus whatever their
/// sizes.
impl Default for Init {
    fn default() -> Self {
        Self { kind: InitKind::Msra { fan: Fan::In } }
    }
}

fn hundredth() -> f64 {
    0.01
}

#[derive(Deserialize)]
struct Number(#[serde(deserialize_with = "finite")] f64);

#[derive(Deserialize)]
struct Range(#[serde(deserialize_with = "non_negative")] f64);

#[derive(Deserialize)]
#[serde(rename = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Written {
    Gaussian {
        #[serde(default, deserialize_with = "finite")]
        mean: f64,
        #[serde(default = "hundredth", deserialize_with = "non_negative")]
        std: f64,
        sparse: Option<Range>,
    },
    Uniform {
        range: Option<Range>,
        min: Option<Number>,
        max: Option<Number>,
    },
    Xavier {
        #[serde(default = "Fan::average")]
        fan: Fan,
    },
    Msra {
        #[serde(default = "Fan::inputs")]
        fan: Fan,
    },
    Constant {
        #[serde(default, deserialize_with = "finite")]
        value: f64,
    },
    File {
        path: String,
        tensor: Option<String>,
    },
}

impl Written {
    fn kind<E: Error>(self) -> Result<InitKind, E> {
        Ok(match self {
            Self::Gaussian { mean, std, sparse } => InitKind::Gaussian { mean, std, sparse: sparse.map(|Range(n)| n) },
            Self::Uniform { range: Some(Range(r)), min: None, max: None } => InitKind::Uniform { min: -r, max: r },
            Self::Uniform { range: None, min: None, max: None } => InitKind::Uniform { min: -0.05, max: 0.05 },
            Self::Uniform { range: None, min: Some(Number(min)), max: Some(Number(max)) } if min <= max => {
                InitKind::Uniform { min, max }
            }
            Self::Uniform { .. } => {
                return Err(E::custom("give either range, for −range to range, or min and a max not below it"));
            }
            Self::Xavier { fan } => InitKind::Xavier { fan },
            Self::Msra { fan } => InitKind::Msra { fan },
            Self::Constant { value } => InitKind::Constant { value },
            Self::File { path, tensor } => match (path.rsplit_once('.').map(|(_, kind)| kind), &tensor) {
                (Some("npy"), None) | (Some("safetensors"), Some(_)) => InitKind::File { path, tensor },
                (Some("npy"), Some(_)) => {
                    return Err(E::custom("a .npy file has one array and no name for it: leave tensor out"));
                }
                (Some("safetensors"), None) => {
                    return Err(E::custom(
                        "say which tensor of the file: { kind = \"file\", path = …, tensor = \"conv1.weights\" }",
                    ));
                }
                _ => return Err(E::custom("the path must end in .npy or .safetensors")),
            },
        })
    }
}

const KINDS: [&str; 6] = ["gaussian", "uniform", "xavier", "msra", "constant", "file"];

impl<'de> Deserialize<'de> for Init {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_enum("kind", &KINDS, InitVisitor)
    }
}

struct InitVisitor;

impl<'de> Visitor<'de> for InitVisitor {
    type Value = Init;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("{ kind = …, … } or the name of a kind")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Init, A::Error> {
        let kind = Written::deserialize(EnumAccessDeserializer::new(data))?.kind()?;
        Ok(Init { kind })
    }
}
