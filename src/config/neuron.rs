//! Neurons as configs write them: `"relu"`, `"tanh[1.7159, 0.6667]"` as cuda-convnet does, or `{ type = "tanh", a = 1.7159 }`.

use super::types::{finite, non_negative, one, positive};
use crate::op::{Neuron, neuron_table};
use serde::{Deserialize, Deserializer};

fn zero() -> f64 {
    0.0
}

fn hundredth() -> f64 {
    0.01
}

macro_rules! read {
    ($(
        $name:ident $text:literal $([$($p:ident: $of:literal, $check:tt $(= $default:tt)?);*])? $formula:literal $sees:ident
        $compute:tt $verify:tt
    )*) => {
        #[derive(Deserialize)]
        #[serde(rename = "type[]", deny_unknown_fields)]
        enum Written {
            $(#[serde(rename = $text)] $name $({ $(#[serde(deserialize_with = $check $(, default = $default)?)] $p: f64,)* })?,)*
        }

        impl<'de> Deserialize<'de> for Neuron {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Ok(match Written::deserialize(d)? {
                    $(Written::$name { $($($p),*)? } => Self::$name { $($($p),*)? },)*
                })
            }
        }
    };
}
neuron_table!(read);
