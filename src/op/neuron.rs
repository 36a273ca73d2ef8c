//! Neurons: elementwise nonlinearities.

use super::{BiasBackward, Describe, Op};
use std::fmt::{self, Write as _};

/// An elementwise nonlinearity, named as in cuda-convnet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Neuron {
    /// a·x + b
    Linear {
        /// Slope.
        a: f64,
        /// Offset.
        b: f64,
    },
    /// max(0, x)
    Relu,
    /// min(a, max(0, x))
    Brelu {
        /// Upper bound.
        a: f64,
    },
    /// log(1 + eˣ)
    Softrelu,
    /// a·tanh(b·x)
    Tanh {
        /// Height.
        a: f64,
        /// Slope at the origin over a.
        b: f64,
    },
    /// 1 / (1 + e⁻ˣ)
    Logistic,
    /// |x|
    Abs,
    /// x²
    Square,
    /// √x
    Sqrt,
    /// log(a + x)
    Log {
        /// Added to x.
        a: f64,
    },
    /// x − a·tanh(x/a): flat around 0.
    Drelu {
        /// How far from 0.
        a: f64,
    },
    /// max(0, x + noise), the noise of [`NoisyReluForward`](super::NoisyReluForward), which the neuron's layer runs in training;
    /// else, and to [`NeuronForward`], it is relu.
    Nrelu,
    /// x, or a·x where x is below 0
    Leaky {
        /// The slope below 0, at least 0.
        a: f64,
    },
    /// x, or a·(eˣ − 1) where x is below 0
    Elu {
        /// The limit is −a; at least 0.
        a: f64,
    },
    /// x/(1 + e⁻ˣ)
    Swish,
}

impl Neuron {
    /// The neuron that changes nothing: what a layer without one passes to an operation that ends with one.
    pub const NONE: Self = Self::Linear { a: 1.0, b: 0.0 };

    /// Whether the derivative is computed from the neuron's input x; otherwise its output y is enough (or nothing is
    /// needed), and the neuron may overwrite its input.
    pub const fn derivative_reads_input(self) -> bool {
        matches!(self, Self::Abs | Self::Square | Self::Drelu { .. } | Self::Nrelu | Self::Swish)
    }
}

/// As in a config: `tanh[1,0.5]`.
impl fmt::Display for Neuron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear { a, b } => write!(f, "linear[{a},{b}]"),
            Self::Relu => f.write_str("relu"),
            Self::Brelu { a } => write!(f, "brelu[{a}]"),
            Self::Softrelu => f.write_str("softrelu"),
            Self::Tanh { a, b } => write!(f, "tanh[{a},{b}]"),
            Self::Logistic => f.write_str("logistic"),
            Self::Abs => f.write_str("abs"),
            Self::Square => f.write_str("square"),
            Self::Sqrt => f.write_str("sqrt"),
            Self::Log { a } => write!(f, "log[{a}]"),
            Self::Drelu { a } => write!(f, "drelu[{a}]"),
            Self::Nrelu => f.write_str("nrelu"),
            Self::Leaky { a } => write!(f, "leaky[{a}]"),
            Self::Elu { a } => write!(f, "elu[{a}]"),
            Self::Swish => f.write_str("swish"),
        }
    }
}

impl Describe for Neuron {
    fn describe(&self, _name: &str, text: &mut String) {
        if *self != Self::NONE {
            let _ = write!(text, " {self}");
        }
    }
}

operation! {
    /// y ← neuron(x); y may be x.
    NeuronForward = "neuron_forward" { neuron: Neuron }
    [ x: reads, y: writes ]
    shares [ y: writes in x: reads ]
}

operation! {
    /// dx ← dy · neuron′ (or dx += …); dx may be dy. `seen` is the neuron's input where
    /// [`derivative_reads_input`](Neuron::derivative_reads_input) says so, its output otherwise; a linear neuron's derivative needs
    /// none. Where dx is set, db ← its sum over what biases are shared by, as [`BiasBackward`] (or db += …).
    NeuronBackward = "neuron_backward" { neuron: Neuron }
    [ seen: maybe_reads, dy: reads, dx: target, db: maybe_target ]
    shares [ dx: target in dy: reads ]
    impl {
        fn parts(&self, _fresh: &mut dyn FnMut(&T) -> T) -> Option<Vec<Op<T>>> {
            let db = self.db?;
            Some(vec![Self { db: None, ..*self }.into(), BiasBackward { dy: self.dx.at, db }.into()])
        }
    }
}
