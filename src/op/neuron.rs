//! Neurons: elementwise nonlinearities.
//!
//! To add one, write its row in the table below, its kernel's lines in kernels/neuron.cuh, and what ONNX calls it in
//! port/onnx/write.rs.

use super::{BiasBackward, Describe, Op};
use std::fmt::{self, Write as _};

/// Everything about each neuron, once: calls `$then!` with the rows. A row:
///
/// - the variant, its name in configs, its parameters: what each is, what a config may give (a check of `config::types`), and a
///   function that makes its default, if it has one;
/// - its formula, and what the derivative is computed from: `input` x; `output` y, so that the neuron may overwrite its input;
///   `nothing`;
/// - in braces, on reals of type `T`: nanoseconds that an element takes on one core, roughly; the function of x; the gradient as a
///   function of what is seen and dy;
/// - in braces, for `verify`: neurons that are tried, where x and what is seen are drawn from, and the magnitudes whose
///   roundings bound the errors, of y (given x and y) and of the derivative (given what is seen).
///
/// The derivative is 0 at the corners of relu, brelu and abs, and of sqrt at 0; at leaky's it is a.
macro_rules! neuron_table {
    ($then:ident) => {
        $then! {
            Linear "linear" [a: "Slope.", "finite" = "one"; b: "Offset.", "finite" = "zero"] "a·x + b" nothing {
                0.25,
                { let (a, b) = (T::of(a), T::of(b)); move |x: T| a * x + b },
                { let a = T::of(a); move |_: T, dy: T| dy * a }
            } {
                [Neuron::NONE, Neuron::Linear { a: -1.5, b: 0.25 }],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-2.0, 2.0, -1.75, 1.75),
                |x, _| (a * x).abs() + b.abs(), |_| a.abs()
            }
            Relu "relu" "max(0, x)" output {
                0.25,
                { |x: T| if x < T::ZERO { T::ZERO } else { x } },
                { |y: T, dy: T| if y > T::ZERO { dy } else { T::ZERO } }
            } {
                [Neuron::Relu],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-1.0, 1.0, 0.0, 1.0),
                |_, y| y.abs(), |_| 1.0
            }
            Brelu "brelu" [a: "Upper bound.", "positive"] "min(a, max(0, x))" output {
                0.25,
                {
                    let a = T::of(a);
                    move |x: T| {
                        let x = if x < T::ZERO { T::ZERO } else { x };
                        if x > a { a } else { x }
                    }
                },
                { let a = T::of(a); move |y: T, dy: T| if (y > T::ZERO) & (y < a) { dy } else { T::ZERO } }
            } {
                [Neuron::Brelu { a: 1.5 }],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-a, 2.0 * a, 0.0, a),
                |_, y| y.abs(), |_| 1.0
            }
            // log(1 + eˣ) = max(0, x) + log(1 + e^−|x|): nothing overflows. f′ = eˣ/(1 + eˣ) = 1 − e^−y
            Softrelu "softrelu" "log(1 + eˣ)" output {
                8.0,
                { |x: T| (if x < T::ZERO { T::ZERO } else { x }) + (-x.abs()).exp().ln_1p() },
                { |y: T, dy: T| dy * (T::ONE - (-y).exp()) }
            } {
                [Neuron::Softrelu],
                Start::Uniform(-20.0, 20.0), Start::Uniform(0.0, 5.0),
                |_, y| y.abs(), |s: f64| 1.0 + (-s).exp()
            }
            // f′ = a·b·(1 − (y/a)²)
            Tanh "tanh" [a: "Height.", "finite" = "one"; b: "Slope at the origin over a.", "finite" = "one"] "a·tanh(b·x)" output {
                1.0,
                { let (a, b) = (T::of(a), T::of(b)); move |x: T| a * (b * x).tanh() },
                {
                    let (ab, unit) = (T::of(a * b), T::of(if a == 0.0 { 0.0 } else { 1.0 / a }));
                    move |y: T, dy: T| {
                        let t = y * unit;
                        dy * (ab * (T::ONE - t * t))
                    }
                }
            } {
                [Neuron::Tanh { a: 1.75, b: 0.625 }],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Uniform(-a, a),
                |_, y| y.abs(), |s: f64| (a * b).abs() * (1.0 + (s / a) * (s / a))
            }
            Logistic "logistic" "1/(1 + e⁻ˣ)" output {
                1.0,
                { |x: T| T::ONE / (T::ONE + (-x).exp()) },
                { |y: T, dy: T| dy * (y * (T::ONE - y)) }
            } {
                [Neuron::Logistic],
                Start::Uniform(-20.0, 20.0), Start::Uniform(0.0, 1.0),
                |_, y| y.abs(), |s| s * (1.0 + s)
            }
            Abs "abs" "|x|" input {
                0.25,
                { |x: T| x.abs() },
                {
                    |x: T, dy: T| {
                        let down = if x < T::ZERO { -dy } else { T::ZERO };
                        if x > T::ZERO { dy } else { down }
                    }
                }
            } {
                [Neuron::Abs],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-2.0, 2.0, -1.75, 1.75),
                |_, y| y.abs(), |_| 1.0
            }
            Square "square" "x²" input {
                0.25,
                { |x: T| x * x },
                { |x: T, dy: T| dy * (x + x) }
            } {
                [Neuron::Square],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-2.0, 2.0, -1.75, 1.75),
                |_, y| y.abs(), |s: f64| 2.0 * s.abs()
            }
            Sqrt "sqrt" "√x" output {
                0.25,
                { |x: T| x.sqrt() },
                { |y: T, dy: T| if y > T::ZERO { dy / (y + y) } else { T::ZERO } }
            } {
                [Neuron::Sqrt],
                Start::Clipped(-0.1, 4.0, 0.0, 4.0), Start::Clipped(-0.1, 2.0, 0.0, 2.0),
                |_, y| y.abs(), |s| if s > 0.0 { 0.5 / s } else { 0.0 }
            }
            // f′ = 1/(a + x) = e^−y. A sum's rounding is one of the logarithm's size or of 1.
            Log "log" [a: "Added to x.", "finite"] "log(a + x)" output {
                8.0,
                { let a = T::of(a); move |x: T| (a + x).ln() },
                { |y: T, dy: T| dy * (-y).exp() }
            } {
                [Neuron::Log { a: 0.5 }],
                Start::Uniform(0.001 - a, 4.0), Start::Uniform(-1.0, 3.0),
                |_, y| 1.0 + y.abs(), |s: f64| (-s).exp() * (1.0 + s.abs())
            }
            // Flat around 0. The derivative is a square, so its magnitude counts twice.
            Drelu "drelu" [a: "How far from 0.", "positive"] "x − a·tanh(x/a)" input {
                1.0,
                { let (unit, a) = (T::of(1.0 / a), T::of(a)); move |x: T| x - a * (x * unit).tanh() },
                {
                    let unit = T::of(1.0 / a);
                    move |x: T, dy: T| {
                        let t = (x * unit).tanh();
                        dy * (t * t)
                    }
                }
            } {
                [Neuron::Drelu { a: 1.25 }],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-2.0, 2.0, -1.75, 1.75),
                |x, _| x.abs() + (a * (x / a).tanh()).abs(), |s: f64| 2.0 * (s / a).tanh().powi(2)
            }
            // The noise is that of `NoisyReluForward`, which the neuron's layer runs in training; else, and as an operation of its
            // own, it is relu.
            Nrelu "nrelu" "max(0, x + g·√logistic(x)), g a standard normal number in training and 0 in testing" input {
                0.25,
                { |x: T| if x < T::ZERO { T::ZERO } else { x } },
                { |y: T, dy: T| if y > T::ZERO { dy } else { T::ZERO } }
            } {
                [],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-1.0, 1.0, 0.0, 1.0),
                |_, y| y.abs(), |_| 1.0
            }
            Leaky "leaky" [a: "The slope below 0.", "non_negative" = "hundredth"] "x, below 0 a·x (a is 0.01 by default)" output {
                0.25,
                { let a = T::of(a); move |x: T| if x < T::ZERO { a * x } else { x } },
                { let a = T::of(a); move |y: T, dy: T| if y > T::ZERO { dy } else { dy * a } }
            } {
                [Neuron::Leaky { a: 0.125 }],
                Start::Clipped(-3.0, 3.0, -2.75, 2.75), Start::Clipped(-1.0, 1.0, -0.75, 0.75),
                |_, y| y.abs(), |_| a.max(1.0)
            }
            // eˣ − 1 = 2t/(1 − t) with t = tanh(x/2), exact to a few units where eˣ is near 1; x is below 0 there. As a quotient of
            // two tanh, its magnitude counts twice. f′ = a·eˣ = y + a
            Elu "elu" [a: "The limit is −a.", "non_negative" = "one"] "x, below 0 a·(eˣ − 1) (a is 1 by default)" output {
                1.0,
                {
                    let (a, half) = (T::of(a), T::of(0.5));
                    move |x: T| {
                        let t = (x * half).tanh();
                        if x < T::ZERO { a * ((t + t) / (T::ONE - t)) } else { x }
                    }
                },
                { let a = T::of(a); move |y: T, dy: T| if y > T::ZERO { dy } else { dy * (y + a) } }
            } {
                [Neuron::Elu { a: 0.75 }],
                Start::Uniform(-20.0, 20.0), Start::Clipped(-a, a, -0.75 * a, 0.75 * a),
                |_, y| 2.0 * y.abs(), |s: f64| s.abs() + a.max(1.0)
            }
            // f′ = s + x·s·(1 − s) with s = 1/(1 + e⁻ˣ)
            Swish "swish" "x/(1 + e⁻ˣ)" input {
                1.0,
                { |x: T| x / (T::ONE + (-x).exp()) },
                {
                    |x: T, dy: T| {
                        let s = T::ONE / (T::ONE + (-x).exp());
                        dy * (s * (T::ONE + x * (T::ONE - s)))
                    }
                }
            } {
                [Neuron::Swish],
                Start::Uniform(-20.0, 20.0), Start::Uniform(-20.0, 20.0),
                |_, y| y.abs(), |s: f64| (1.0 + s.abs()) / (1.0 + (-s).exp())
            }
        }
    };
}
pub(crate) use neuron_table;

macro_rules! reads_input {
    (input) => {
        true
    };
    ($other:ident) => {
        false
    };
}

macro_rules! define {
    ($(
        $name:ident $text:literal $([$($p:ident: $of:literal, $check:tt $(= $default:tt)?);*])? $formula:literal $sees:ident
        $compute:tt $verify:tt
    )*) => {
        /// An elementwise nonlinearity, named as in cuda-convnet.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Neuron {
            $(#[doc = $formula] $name $({ $(#[doc = $of] $p: f64,)* })?,)*
        }

        /// The neurons' places in the table.
        enum Number {
            $($name,)*
        }

        impl Neuron {
            /// Every neuron with its parameters and formula, for `convnet layers`.
            pub const FORMULAS: &'static str = {
                let all = concat!($($text, $("[", stringify!($($p),*), "]",)? " ", $formula, "; "),*);
                all.split_at(all.len() - "; ".len()).0
            };

            /// Whether the derivative is computed from the neuron's input x; otherwise its output y is enough (or nothing is
            /// needed), and the neuron may overwrite its input.
            pub const fn derivative_reads_input(self) -> bool {
                match self {
                    $(Self::$name { .. } => reads_input!($sees),)*
                }
            }

            /// Calls `see` with its place in the table, its name in configs and its parameters.
            pub(crate) fn show<R>(&self, see: impl FnOnce(i32, &'static str, &[f64]) -> R) -> R {
                match self {
                    $(Self::$name { $($($p),*)? } => see(Number::$name as i32, $text, &[$($(*$p),*)?]),)*
                }
            }
        }
    };
}
neuron_table!(define);

impl Neuron {
    /// The neuron that changes nothing: what a layer without one passes to an operation that ends with one.
    pub const NONE: Self = Self::Linear { a: 1.0, b: 0.0 };
}

/// As in a config: `tanh[1,0.5]`.
impl fmt::Display for Neuron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(|_, name, parameters| {
            f.write_str(name)?;
            for (i, parameter) in parameters.iter().enumerate() {
                write!(f, "{}{parameter}", if i == 0 { '[' } else { ',' })?;
            }
            if parameters.is_empty() { Ok(()) } else { f.write_char(']') }
        })
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
