//! Neurons as configs write them: `"relu"`, `"tanh[1.7159, 0.6667]"` as cuda-convnet does, or `{ type = "tanh", a = 1.7159 }`.

use super::types::{finite, non_negative, one, positive};
use crate::op::Neuron;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(rename = "type[]", rename_all = "lowercase", deny_unknown_fields)]
enum Written {
    Linear {
        #[serde(default = "one", deserialize_with = "finite")]
        a: f64,
        #[serde(default, deserialize_with = "finite")]
        b: f64,
    },
    Relu,
    Brelu {
        #[serde(deserialize_with = "positive")]
        a: f64,
    },
    Softrelu,
    Tanh {
        #[serde(default = "one", deserialize_with = "finite")]
        a: f64,
        #[serde(default = "one", deserialize_with = "finite")]
        b: f64,
    },
    Logistic,
    Abs,
    Square,
    Sqrt,
    Log {
        #[serde(deserialize_with = "finite")]
        a: f64,
    },
    Drelu {
        #[serde(deserialize_with = "positive")]
        a: f64,
    },
    Nrelu,
    Leaky {
        #[serde(default = "hundredth", deserialize_with = "non_negative")]
        a: f64,
    },
    Elu {
        #[serde(default = "one", deserialize_with = "non_negative")]
        a: f64,
    },
    Swish,
}

fn hundredth() -> f64 {
    0.01
}

impl<'de> Deserialize<'de> for Neuron {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(d)? {
            Written::Linear { a, b } => Self::Linear { a, b },
            Written::Relu => Self::Relu,
            Written::Brelu { a } => Self::Brelu { a },
            Written::Softrelu => Self::Softrelu,
            Written::Tanh { a, b } => Self::Tanh { a, b },
            Written::Logistic => Self::Logistic,
            Written::Abs => Self::Abs,
            Written::Square => Self::Square,
            Written::Sqrt => Self::Sqrt,
            Written::Log { a } => Self::Log { a },
            Written::Drelu { a } => Self::Drelu { a },
            Written::Nrelu => Self::Nrelu,
            Written::Leaky { a } => Self::Leaky { a },
            Written::Elu { a } => Self::Elu { a },
            Written::Swish => Self::Swish,
        })
    }
}
