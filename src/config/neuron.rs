//! Neurons as configs write them: `"relu"`, `"tanh[1.7159, 0.6667]"` as cuda-convnet does, or `{ type = "tanh", a = 1.7159 }`.

use super::types::{finite, one, positive};
use crate::device::Neuron;
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
        })
    }
}
