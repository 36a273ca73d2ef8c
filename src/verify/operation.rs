//! What one case does: the tensors that an operation takes and what they hold at first, the call, and how large the terms
//! are that its results are made of.

use crate::device::philox::{Purpose, Stream};
use crate::device::{
    ConvGeometry, Device, Dtype, ImageGeometry, Into, METRICS, Neuron, Op, PoolGeometry, PoolKind, Product, Result, Shape,
    StepValues, Tensor, Update,
};

/// The biases of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bias {
    None,
    Shared,
    Untied,
}

impl Bias {
    /// ` untied bias`, in a geometry.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Shared => " bias",
            Self::Untied => " untied bias",
        }
    }

    /// The operand that it is, of an output y.
    pub fn operand(self, y: Shape) -> Option<Operand> {
        match self {
            Self::None => None,
            Self::Shared => Some(input(vector(y.c))),
            Self::Untied => Some(input(Shape { n: 1, ..y })),
        }
    }
}

/// A call of the [`Device`] trait, with all that decides what it computes but the tensors' values. A file of `cases/` has
/// those of one operation and their cases; [`Operation`] has the first ones.
pub(super) trait Call: std::fmt::Debug + Send + Sync {
    /// The method's name.
    fn name(&self) -> &'static str;

    /// What it is applied to, for people: `2 of 5×7×3 k4 3×2 s2×1 p1 g1 shared relu`.
    fn geometry(&self) -> String;

    /// The tensors, in the order in which [`call`](Self::call) takes them.
    fn operands(&self) -> Vec<Operand>;

    /// Changes the step's values from those of [`step_values`].
    fn step(&self, _step: &mut StepValues) {}

    /// The operation as [`Device::scratch`] knows it, where it does.
    fn op(&self) -> Option<Op> {
        None
    }

    /// Calls it.
    fn call(&self, device: &mut dyn Device, tensors: &[Tensor], scratch: Tensor) -> Result<()>;

    /// Whether the device's precision rounds its operands.
    fn is_rounded(&self) -> bool {
        false
    }

    /// Terms that one result sums up.
    fn length(&self) -> usize {
        1
    }

    /// Σ |terms| of every result, tensor by tensor; 0 where the result must be exact. `start` is what the tensors held,
    /// `result` what the reference made of them, and `reference` runs an operation there. Where the operation is linear, the
    /// sum is what it makes of absolute values.
    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>>;
}

/// The step's values during a call.
pub(super) fn step_values(call: &dyn Call) -> StepValues {
    let mut step = StepValues {
        seed: 0x0123_4567_89ab_cdef,
        step: 5_000_000_123,
        first_image: 3,
        images: u32::MAX,
        gradient_scale: 1.0 / 7.0,
        learning_rate: 0.1,
        momentum: 0.9,
    };
    call.step(&mut step);
    step
}

/// The first operations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    LoadImages { g: ImageGeometry, moved_mean: bool },
    LoadLabels { images: usize },
    ConvForward { g: ConvGeometry, bias: Bias, neuron: Neuron },
    ConvBackwardImage { g: ConvGeometry, into: Into },
    ConvBackwardFilters { g: ConvGeometry, into: Into },
    BiasBackward { dy: Shape, untied: bool, into: Into },
    Product { p: Product, bias: bool, neuron: Neuron, into: Into },
    PoolForward { g: PoolGeometry, kind: PoolKind },
    PoolBackward { g: PoolGeometry, kind: PoolKind, into: Into },
    NeuronForward { neuron: Neuron, shape: Shape, in_place: bool },
    NeuronBackward { neuron: Neuron, shape: Shape, into: Into, in_place: bool },
    Dropout { shape: Shape, layer: u32, keep: f64, factor: f64, into: Into, in_place: bool },
    SoftmaxForward { shape: Shape },
    SoftmaxBackward { shape: Shape, into: Into },
    OneHot { shape: Shape, smoothing: f64 },
    LogregForward { shape: Shape, images: usize, largest: f64, smoothing: f64 },
    LogregBackward { shape: Shape, images: usize, largest: f64, smoothing: f64, into: Into },
    CrossEntropyForward { shape: Shape, images: usize, smoothing: f64 },
    CrossEntropyBackward { shape: Shape, images: usize, smoothing: f64, into: Into },
    SquaresForward { shape: Shape, images: usize, target: bool },
    SquaresBackward { shape: Shape, images: usize, target: bool, into: Into },
    Scale { shape: Shape, factor: f64, into: Into },
    Fill { shape: Shape, value: f64 },
    SgdUpdate { shape: Shape, update: Update, learning_rate: f64 },
    MeanAbs { shape: Shape },
}

/// What an operation does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// Reads it.
    In,
    /// Reads and writes it.
    InOut,
    /// Writes it, without reading: it holds NaN before.
    Out,
}

/// What a tensor holds before the call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// Uniform.
    Uniform(f64, f64),
    /// Uniform, then clipped: corners are hit.
    Clipped(f64, f64, f64, f64),
    /// Multiples of ¼ from −1 to 1: many are equal.
    Ties,
    /// Integers from 0 on, below the bound.
    Whole(u32),
    /// A window of a resampling: first cells from −2 to 2, steps from 1/16 to 5/2, all multiples of 1/16, so that places are exact.
    Window,
    /// Places around sources of so many rows and columns.
    Places(i32, i32),
}

/// A tensor of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub shape: Shape,
    /// `None`: the device's real.
    pub dtype: Option<Dtype>,
    pub role: Role,
    pub start: Start,
}

pub(super) const UNIT: Start = Start::Uniform(-1.0, 1.0);
pub(super) const COEFFICIENT: f64 = 0.75;

pub(super) fn real(shape: Shape, role: Role, start: Start) -> Operand {
    Operand { shape, dtype: None, role, start }
}

pub(super) fn input(shape: Shape) -> Operand {
    real(shape, Role::In, UNIT)
}

pub(super) fn output(shape: Shape, into: Into) -> Operand {
    real(shape, if into == Into::Add { Role::InOut } else { Role::Out }, UNIT)
}

pub(super) fn integers(shape: Shape, role: Role, start: Start) -> Operand {
    Operand { shape, dtype: Some(Dtype::I32), role, start }
}

pub(super) fn vector(c: usize) -> Shape {
    Shape::new(1, 1, 1, c)
}

/// Labels of images, and the four metrics.
pub(super) fn labels_of(shape: Shape) -> Operand {
    integers(vector(shape.n), Role::In, Start::Whole(shape.image() as u32))
}

pub(super) fn metrics() -> Operand {
    real(vector(METRICS), Role::InOut, Start::Whole(9))
}

fn pair(a: i32, b: i32) -> String {
    if a == b { a.to_string() } else { format!("{a}×{b}") }
}

/// A neuron in a geometry: ` tanh[1,0.5]`.
pub(super) fn neuron_name(n: Neuron) -> String {
    match n {
        Neuron::NONE => String::new(),
        Neuron::Linear { a, b } => format!(" linear[{a},{b}]"),
        Neuron::Relu => " relu".into(),
        Neuron::Brelu { a } => format!(" brelu[{a}]"),
        Neuron::Softrelu => " softrelu".into(),
        Neuron::Tanh { a, b } => format!(" tanh[{a},{b}]"),
        Neuron::Logistic => " logistic".into(),
        Neuron::Abs => " abs".into(),
        Neuron::Square => " square".into(),
        Neuron::Sqrt => " sqrt".into(),
        Neuron::Log { a } => format!(" log[{a}]"),
        Neuron::Drelu { a } => format!(" drelu[{a}]"),
        Neuron::Nrelu => " nrelu".into(),
        Neuron::Leaky { a } => format!(" leaky[{a}]"),
        Neuron::Elu { a } => format!(" elu[{a}]"),
        Neuron::Swish => " swish".into(),
    }
}

/// As in `2 of 5×7×3 k4 3×2 s2×1 p1 d1 g1`.
pub(super) fn conv(g: &ConvGeometry) -> String {
    let padding = pair(g.padding_h, g.padding_w);
    let (stride, dilation) = (pair(g.stride_h, g.stride_w), pair(g.dilation_h, g.dilation_w));
    let image = format!("{} of {}×{}×{}", g.n, g.h, g.w, g.c);
    format!("{image} k{} {}×{} s{stride} p{padding} d{dilation} g{}", g.k, g.r, g.s, g.groups)
}

/// The largest slope of a neuron that rides on a convolution or a product.
pub(super) fn slope(neuron: Neuron) -> f64 {
    match neuron {
        Neuron::Linear { a, .. } => a.abs(),
        Neuron::Tanh { a, b } => (a * b).abs(),
        Neuron::Leaky { a } | Neuron::Elu { a } => a.max(1.0),
        _ => 1.0,
    }
}

/// The neuron's outputs, or inputs where its derivative takes those.
fn seen(neuron: Neuron) -> Start {
    match neuron {
        Neuron::Linear { .. } | Neuron::Abs | Neuron::Square | Neuron::Drelu { .. } => Start::Clipped(-2.0, 2.0, -1.75, 1.75),
        Neuron::Relu | Neuron::Nrelu => Start::Clipped(-1.0, 1.0, 0.0, 1.0),
        Neuron::Brelu { a } => Start::Clipped(-a, 2.0 * a, 0.0, a),
        Neuron::Softrelu => Start::Uniform(0.0, 5.0),
        Neuron::Tanh { a, .. } => Start::Uniform(-a, a),
        Neuron::Logistic => Start::Uniform(0.0, 1.0),
        Neuron::Sqrt => Start::Clipped(-0.1, 2.0, 0.0, 2.0),
        Neuron::Log { .. } => Start::Uniform(-1.0, 3.0),
        Neuron::Leaky { .. } => Start::Clipped(-1.0, 1.0, -0.75, 0.75),
        Neuron::Elu { a } => Start::Clipped(-a, a, -0.75 * a, 0.75 * a),
        Neuron::Swish => Start::Uniform(-20.0, 20.0),
    }
}

/// What the tensors hold before the call: numbers that are f32 exactly, so that every device starts from the same.
pub(super) fn start(call: &dyn Call, seed: u64) -> Vec<Vec<f64>> {
    let fill = |(i, operand): (usize, Operand)| {
        let mut random = Stream::new(seed, Purpose::Data, i as u32, 0);
        let mut uniform = |a: f64, b: f64| f64::from((a + (b - a) * random.uniform()) as f32);
        let elements = operand.shape.elements();
        match (operand.role, operand.start) {
            (Role::Out, _) => vec![f64::NAN; elements],
            (_, Start::Uniform(a, b)) => (0..elements).map(|_| uniform(a, b)).collect(),
            (_, Start::Clipped(a, b, least, most)) => {
                (0..elements).map(|_| f64::from(uniform(a, b).clamp(least, most) as f32)).collect()
            }
            (_, Start::Ties) => (0..elements).map(|_| (uniform(-1.0, 1.0) * 4.0).round() / 4.0).collect(),
            (_, Start::Whole(bound)) => (0..elements).map(|_| uniform(0.0, f64::from(bound)).floor()).collect(),
            (_, Start::Window) => (0..elements)
                .map(|i| if i % 2 == 0 { uniform(-32.0, 32.0) } else { uniform(1.0, 40.0) })
                .map(|sixteenths| sixteenths.round() / 16.0)
                .collect(),
            (_, Start::Places(rows, columns)) => (0..elements)
                .map(|i| match i % 3 {
                    0 => uniform(-3.0, f64::from(rows) + 4.0).floor(),
                    1 => uniform(-3.0, f64::from(columns) + 4.0).floor(),
                    _ => uniform(0.0, 2.0).floor().min(1.0),
                })
                .collect(),
        }
    };
    let mut values: Vec<_> = call.operands().into_iter().enumerate().map(fill).collect();
    for (operand, values) in call.operands().iter().zip(&mut values) {
        if let Start::Whole(bound) = operand.start {
            values.iter_mut().for_each(|v| *v = v.min(f64::from(bound) - 1.0));
        }
    }
    values
}

/// Runs an operation on the reference, from what its tensors hold to what they hold after it.
pub(super) type Reference<'a> = dyn FnMut(&dyn Call, &[Vec<f64>]) -> Result<Vec<Vec<f64>>> + 'a;

impl Call for Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::LoadImages { .. } => "load_images",
            Self::LoadLabels { .. } => "load_labels",
            Self::ConvForward { .. } => "conv_forward",
            Self::ConvBackwardImage { .. } => "conv_backward_image",
            Self::ConvBackwardFilters { .. } => "conv_backward_filters",
            Self::BiasBackward { .. } => "bias_backward",
            Self::Product { .. } => "product",
            Self::PoolForward { .. } => "pool_forward",
            Self::PoolBackward { .. } => "pool_backward",
            Self::NeuronForward { .. } => "neuron_forward",
            Self::NeuronBackward { .. } => "neuron_backward",
            Self::Dropout { .. } => "dropout",
            Self::SoftmaxForward { .. } => "softmax_forward",
            Self::SoftmaxBackward { .. } => "softmax_backward",
            Self::OneHot { .. } => "one_hot",
            Self::LogregForward { .. } => "logreg_forward",
            Self::LogregBackward { .. } => "logreg_backward",
            Self::CrossEntropyForward { .. } => "cross_entropy_forward",
            Self::CrossEntropyBackward { .. } => "cross_entropy_backward",
            Self::SquaresForward { .. } => "squares_forward",
            Self::SquaresBackward { .. } => "squares_backward",
            Self::Scale { .. } => "scale",
            Self::Fill { .. } => "fill",
            Self::SgdUpdate { .. } => "sgd_update",
            Self::MeanAbs { .. } => "mean_abs",
        }
    }

    fn geometry(&self) -> String {
        let added = |into: Into| if into == Into::Add { " add" } else { "" };
        let smoothed = |s: f64| if s > 0.0 { format!(" smoothing {s}") } else { String::new() };
        let placed = |in_place: bool| if in_place { " in place" } else { "" };
        let batch = |s: Shape| format!("{} of {s}", s.n);
        let pool = |g: &PoolGeometry, kind: PoolKind| {
            let kind = ["max", "avg", "l2"][kind as usize];
            let (stride, start) = (pair(g.stride_h, g.stride_w), pair(g.start_h, g.start_w));
            let image = format!("{} of {}×{}×{}", g.n, g.h, g.w, g.c);
            format!("{kind} {image} {}×{} s{stride} from {start} to {}×{}", g.size_h, g.size_w, g.p, g.q)
        };
        match *self {
            Self::LoadImages { g, moved_mean } => {
                let mean = if moved_mean { "an image" } else { "values" };
                format!("{} of {}×{}×{} to {}×{}, mean {mean}", g.n, g.h, g.w, g.c, g.p, g.q)
            }
            Self::LoadLabels { images } => images.to_string(),
            Self::ConvForward { ref g, bias, neuron } => {
                format!("{}{}{}", conv(g), bias.name(), neuron_name(neuron))
            }
            Self::ConvBackwardImage { ref g, into } | Self::ConvBackwardFilters { ref g, into } => {
                format!("{}{}", conv(g), added(into))
            }
            Self::BiasBackward { dy, untied, into } => {
                format!("{}{}{}", batch(dy), if untied { " untied" } else { "" }, added(into))
            }
            Self::Product { p, bias, neuron, into } => {
                let turned = |t: i32| if t == 1 { "ᵀ" } else { "" };
                let (a, b) = (turned(p.transpose_a), turned(p.transpose_b));
                let bias = if bias { " bias" } else { "" };
                format!("{}×{}×{} A{a}·B{b}{bias}{}{}", p.m, p.n, p.k, neuron_name(neuron), added(into))
            }
            Self::PoolForward { ref g, kind } => pool(g, kind),
            Self::PoolBackward { ref g, kind, into } => format!("{}{}", pool(g, kind), added(into)),
            Self::NeuronForward { neuron, shape, in_place } => {
                format!("{}{}{}", batch(shape), neuron_name(neuron), placed(in_place))
            }
            Self::NeuronBackward { neuron, shape, into, in_place } => {
                format!("{}{}{}{}", batch(shape), neuron_name(neuron), added(into), placed(in_place))
            }
            Self::Dropout { shape, layer, keep, factor, into, in_place } => {
                format!("{} layer {layer} keep {keep} times {factor}{}{}", batch(shape), added(into), placed(in_place))
            }
            Self::SoftmaxForward { shape } => batch(shape),
            Self::SoftmaxBackward { shape, into } => format!("{}{}", batch(shape), added(into)),
            Self::OneHot { shape, smoothing } => format!("{}{}", batch(shape), smoothed(smoothing)),
            Self::LogregForward { shape, images, largest, smoothing } => {
                format!("{images}/{} ±{largest}{}", batch(shape), smoothed(smoothing))
            }
            Self::LogregBackward { shape, images, largest, smoothing, into } => {
                format!("{images}/{} ±{largest}{}{}", batch(shape), smoothed(smoothing), added(into))
            }
            Self::CrossEntropyForward { shape, images, smoothing } => format!("{images}/{}{}", batch(shape), smoothed(smoothing)),
            Self::CrossEntropyBackward { shape, images, smoothing, into } => {
                format!("{images}/{}{}{}", batch(shape), smoothed(smoothing), added(into))
            }
            Self::SquaresForward { shape, images, target } => {
                format!("{images}/{}{}", batch(shape), if target { " target" } else { "" })
            }
            Self::SquaresBackward { shape, images, target, into } => {
                format!("{images}/{}{}{}", batch(shape), if target { " target" } else { "" }, added(into))
            }
            Self::Scale { shape, factor, into } => format!("{} by {factor}{}", batch(shape), added(into)),
            Self::Fill { shape, value } => format!("{} with {value}", batch(shape)),
            Self::SgdUpdate { shape, update, learning_rate } => {
                let Update { rate, decay, l1_decay, momentum, nesterov } = update;
                let mut text = format!("{} rate {learning_rate}·{rate} decay {decay}", batch(shape));
                if l1_decay != 0.0 {
                    text += &format!(" l1 {l1_decay}");
                }
                if let Some(momentum) = momentum {
                    text += &format!(" momentum {momentum}");
                }
                text + if nesterov { " nesterov" } else { "" }
            }
            Self::MeanAbs { shape } => batch(shape),
        }
    }

    fn operands(&self) -> Vec<Operand> {
        match *self {
            Self::LoadImages { g, moved_mean } => {
                let [n, h, w, c, p, q] = [g.n, g.h, g.w, g.c, g.p, g.q].map(|v| v as usize);
                let source = Shape::new(n, h, w, c);
                let mean = if moved_mean { Shape::new(1, h, w, c) } else { vector(c) };
                vec![
                    Operand { shape: source, dtype: Some(Dtype::U8), role: Role::In, start: Start::Whole(256) },
                    integers(vector(3 * n), Role::In, Start::Places(g.h - g.p, g.w - g.q)),
                    real(mean, Role::In, Start::Uniform(100.0, 150.0)),
                    output(Shape::new(n, p, q, c), Into::Set),
                ]
            }
            Self::LoadLabels { images } => {
                vec![integers(vector(images), Role::In, Start::Whole(1000)), integers(vector(images), Role::Out, Start::Whole(1))]
            }
            Self::ConvForward { g, bias, .. } => {
                let y = g.output();
                let mut operands = vec![input(g.input()), input(g.filters()), output(y, Into::Set)];
                operands.extend(bias.operand(y));
                operands
            }
            Self::ConvBackwardImage { g, into } => {
                vec![input(g.output()), input(g.filters()), output(g.input(), into)]
            }
            Self::ConvBackwardFilters { g, into } => {
                vec![input(g.input()), input(g.output()), output(g.filters(), into)]
            }
            Self::BiasBackward { dy, untied, into } => {
                vec![input(dy), output(if untied { Shape { n: 1, ..dy } } else { vector(dy.c) }, into)]
            }
            Self::Product { p, bias, into, .. } => {
                let [m, n, k] = [p.m, p.n, p.k].map(|v| v as usize);
                let a = if p.transpose_a == 1 { Shape::new(k, 1, 1, m) } else { Shape::new(m, 1, 1, k) };
                let b = if p.transpose_b == 1 { Shape::new(n, 1, 1, k) } else { Shape::new(k, 1, 1, n) };
                let mut operands = vec![input(a), input(b), output(Shape::new(m, 1, 1, n), into)];
                if bias {
                    operands.push(input(vector(n)));
                }
                operands
            }
            Self::PoolForward { g, .. } => {
                vec![real(g.input(), Role::In, Start::Ties), output(g.output(), Into::Set)]
            }
            Self::PoolBackward { g, into, .. } => {
                let y = real(g.output(), Role::In, Start::Uniform(-0.5, 2.0));
                vec![real(g.input(), Role::In, Start::Ties), y, input(g.output()), output(g.input(), into)]
            }
            Self::NeuronForward { neuron, shape, in_place } => {
                let start = match neuron {
                    Neuron::Sqrt => Start::Clipped(-0.1, 4.0, 0.0, 4.0),
                    Neuron::Softrelu | Neuron::Logistic | Neuron::Elu { .. } | Neuron::Swish => Start::Uniform(-20.0, 20.0),
                    Neuron::Log { a } => Start::Uniform(0.001 - a, 4.0),
                    _ => Start::Clipped(-3.0, 3.0, -2.75, 2.75),
                };
                if in_place {
                    vec![real(shape, Role::InOut, start)]
                } else {
                    vec![real(shape, Role::In, start), output(shape, Into::Set)]
                }
            }
            Self::NeuronBackward { neuron, shape, into, in_place } => {
                let mut operands = vec![real(shape, Role::In, seen(neuron))];
                if in_place {
                    operands.push(real(shape, Role::InOut, UNIT));
                } else {
                    operands.extend([input(shape), output(shape, into)]);
                }
                operands
            }
            Self::Dropout { shape, in_place: true, .. } => vec![real(shape, Role::InOut, UNIT)],
            Self::Dropout { shape, into, .. } | Self::Scale { shape, into, .. } => {
                vec![input(shape), output(shape, into)]
            }
            Self::SoftmaxForward { shape } => {
                vec![real(shape, Role::In, Start::Uniform(-9.0, 9.0)), output(shape, Into::Set)]
            }
            Self::SoftmaxBackward { shape, into } => {
                let probability = Start::Uniform(0.0, 2.0 / shape.image() as f64);
                vec![real(shape, Role::In, probability), input(shape), output(shape, into)]
            }
            Self::OneHot { shape, .. } => vec![labels_of(shape), output(shape, Into::Set)],
            Self::LogregForward { shape, largest, .. } => {
                vec![real(shape, Role::In, Start::Uniform(-largest, largest)), labels_of(shape), metrics()]
            }
            Self::LogregBackward { shape, largest, into, .. } => {
                let x = real(shape, Role::In, Start::Uniform(-largest, largest));
                vec![x, labels_of(shape), output(shape, into)]
            }
            Self::CrossEntropyForward { shape, .. } => {
                let x = real(shape, Role::In, Start::Clipped(-0.1, 1.0, 0.0, 1.0));
                vec![x, labels_of(shape), metrics()]
            }
            Self::CrossEntropyBackward { shape, into, .. } => {
                let x = real(shape, Role::In, Start::Uniform(0.01, 1.0));
                vec![x, labels_of(shape), output(shape, into)]
            }
            Self::SquaresForward { shape, target, .. } => {
                let mut operands = vec![input(shape), metrics()];
                operands.extend(target.then(|| input(shape)));
                operands
            }
            Self::SquaresBackward { shape, target, into, .. } => {
                let mut operands = vec![input(shape), output(shape, into)];
                operands.extend(target.then(|| input(shape)));
                operands
            }
            Self::Fill { shape, .. } => vec![output(shape, Into::Set)],
            Self::SgdUpdate { shape, .. } => {
                vec![output(shape, Into::Add), input(shape), output(shape, Into::Add)]
            }
            Self::MeanAbs { shape } => vec![input(shape), output(vector(1), Into::Set)],
        }
    }

    fn step(&self, step: &mut StepValues) {
        match *self {
            Self::LogregForward { images, .. }
            | Self::LogregBackward { images, .. }
            | Self::CrossEntropyForward { images, .. }
            | Self::CrossEntropyBackward { images, .. }
            | Self::SquaresForward { images, .. }
            | Self::SquaresBackward { images, .. } => step.images = images as u32,
            Self::SgdUpdate { learning_rate, .. } => step.learning_rate = learning_rate,
            _ => {}
        }
    }

    fn op(&self) -> Option<Op> {
        match *self {
            Self::ConvForward { g, .. } => Some(Op::ConvForward(g)),
            Self::ConvBackwardImage { g, .. } => Some(Op::ConvBackwardImage(g)),
            Self::ConvBackwardFilters { g, .. } => Some(Op::ConvBackwardFilters(g)),
            Self::Product { p, .. } => Some(Op::Product(p)),
            Self::BiasBackward { dy, .. } => Some(Op::BiasBackward(dy, self.operands()[1].shape)),
            Self::MeanAbs { shape } => Some(Op::MeanAbs(shape.elements())),
            _ => None,
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], scratch: Tensor) -> Result<()> {
        let last = t.get(3).copied();
        match *self {
            Self::LoadImages { g, .. } => d.load_images(&g, t[0], t[1], t[2], 1.0 / 64.0, t[3]),
            Self::LoadLabels { .. } => d.load_labels(t[0], t[1]),
            Self::ConvForward { g, neuron, .. } => d.conv_forward(&g, t[0], t[1], last, neuron, t[2], scratch),
            Self::ConvBackwardImage { g, into } => d.conv_backward_image(&g, t[0], t[1], t[2], into, scratch),
            Self::ConvBackwardFilters { g, into } => d.conv_backward_filters(&g, t[0], t[1], t[2], into, scratch),
            Self::BiasBackward { into, .. } => d.bias_backward(t[0], t[1], into, scratch),
            Self::Product { p, neuron, into, .. } => d.product(&p, t[0], t[1], last, neuron, t[2], into, scratch),
            Self::PoolForward { g, kind } => d.pool_forward(&g, kind, t[0], t[1]),
            Self::PoolBackward { g, kind, into } => d.pool_backward(&g, kind, t[0], t[1], t[2], t[3], into),
            Self::NeuronForward { neuron, .. } => d.neuron_forward(neuron, t[0], t[t.len() - 1]),
            Self::NeuronBackward { neuron, into, .. } => d.neuron_backward(neuron, t[0], t[1], t[t.len() - 1], into),
            Self::Dropout { layer, keep, factor, into, .. } => d.dropout(layer, keep, factor, t[0], t[t.len() - 1], into),
            Self::SoftmaxForward { .. } => d.softmax_forward(t[0], t[1]),
            Self::SoftmaxBackward { into, .. } => d.softmax_backward(t[0], t[1], t[2], into),
            Self::OneHot { smoothing, .. } => d.one_hot(t[0], smoothing, t[1]),
            Self::LogregForward { smoothing, .. } => d.logreg_forward(t[0], t[1], smoothing, t[2]),
            Self::LogregBackward { smoothing, into, .. } => d.logreg_backward(t[0], t[1], smoothing, COEFFICIENT, t[2], into),
            Self::CrossEntropyForward { smoothing, .. } => d.cross_entropy_forward(t[0], t[1], smoothing, t[2]),
            Self::CrossEntropyBackward { smoothing, into, .. } => {
                d.cross_entropy_backward(t[0], t[1], smoothing, COEFFICIENT, t[2], into)
            }
            Self::SquaresForward { .. } => d.squares_forward(t[0], t.get(2).copied(), t[1]),
            Self::SquaresBackward { into, .. } => d.squares_backward(t[0], t.get(2).copied(), COEFFICIENT, t[1], into),
            Self::Scale { factor, into, .. } => d.scale(factor, t[0], t[1], into),
            Self::Fill { value, .. } => d.fill(t[0], value),
            Self::SgdUpdate { update, .. } => d.sgd_update(&update, t[0], t[1], t[2], None),
            Self::MeanAbs { .. } => d.mean_abs(t[0], t[1], scratch),
        }
    }

    fn is_rounded(&self) -> bool {
        let convolution = matches!(self, Self::ConvForward { .. } | Self::ConvBackwardImage { .. });
        convolution || matches!(self, Self::ConvBackwardFilters { .. } | Self::Product { .. })
    }

    fn length(&self) -> usize {
        match *self {
            Self::ConvForward { g, .. } => g.filters().image(),
            Self::ConvBackwardImage { g, .. } => (g.r * g.s * g.k / g.groups) as usize,
            Self::ConvBackwardFilters { g, .. } => (g.n * g.p * g.q) as usize,
            Self::BiasBackward { dy, .. } => dy.elements() / dy.c,
            Self::Product { p, .. } => p.k as usize,
            Self::PoolForward { g, .. } | Self::PoolBackward { g, .. } => (g.size_h * g.size_w) as usize,
            Self::SoftmaxForward { shape }
            | Self::SoftmaxBackward { shape, .. }
            | Self::LogregBackward { shape, .. }
            | Self::CrossEntropyBackward { shape, .. } => shape.image(),
            Self::LogregForward { shape, .. }
            | Self::CrossEntropyForward { shape, .. }
            | Self::SquaresForward { shape, .. }
            | Self::MeanAbs { shape } => shape.elements(),
            _ => 1,
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let absolute = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let absolutes = |from: usize| -> Vec<_> {
            start.iter().enumerate().map(|(i, v)| if i < from { v.clone() } else { absolute(v) }).collect()
        };
        // What is there already where a gradient is added.
        let before = |tensor: usize, i: usize| if start[tensor][i].is_nan() { 0.0 } else { start[tensor][i].abs() };
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        match *self {
            Self::LoadLabels { .. } | Self::Fill { .. } | Self::PoolForward { kind: PoolKind::Max, .. } => {}
            Self::LoadImages { .. } => {
                let mut values = start.to_vec();
                values[2].iter_mut().for_each(|v| *v = -*v);
                sums = reference(self, &values)?;
            }
            Self::ConvForward { g, bias, neuron } => {
                sums = reference(&Self::ConvForward { g, bias, neuron: Neuron::NONE }, &absolutes(0))?;
                widen(&mut sums[2], slope(neuron), &result[2]);
            }
            Self::Product { p, bias, neuron, into } => {
                sums = reference(&Self::Product { p, bias, neuron: Neuron::NONE, into }, &absolutes(0))?;
                widen(&mut sums[2], slope(neuron), &result[2]);
            }
            Self::ConvBackwardImage { .. }
            | Self::ConvBackwardFilters { .. }
            | Self::BiasBackward { .. }
            | Self::PoolForward { .. }
            | Self::Dropout { .. }
            | Self::MeanAbs { .. } => sums = reference(self, &absolutes(0))?,
            // A maximum is where it is; a root's output is not below 0.
            Self::PoolBackward { kind, .. } => sums = reference(self, &absolutes(if kind == PoolKind::L2 { 0 } else { 1 }))?,
            Self::Scale { shape, factor, into } => {
                sums = reference(&Self::Scale { shape, factor: factor.abs(), into }, &absolutes(0))?;
            }
            Self::SgdUpdate { shape, update, learning_rate } => {
                let up = Self::SgdUpdate { shape, update, learning_rate: -learning_rate };
                sums = reference(&up, &absolutes(0))?;
            }
            Self::NeuronForward { neuron, .. } => {
                let y = result.len() - 1;
                for (i, sum) in sums[y].iter_mut().enumerate() {
                    *sum = match neuron {
                        Neuron::Linear { a, b } => (a * start[0][i]).abs() + b.abs(),
                        // A sum's rounding is one of the logarithm's size or of 1.
                        Neuron::Log { .. } => 1.0 + result[y][i].abs(),
                        Neuron::Drelu { a } => start[0][i].abs() + (a * (start[0][i] / a).tanh()).abs(),
                        // A quotient of two tanh.
                        Neuron::Elu { .. } => 2.0 * result[y][i].abs(),
                        _ => result[y][i].abs(),
                    };
                }
            }
            Self::NeuronBackward { neuron, .. } => {
                let dx = result.len() - 1;
                for (i, sum) in sums[dx].iter_mut().enumerate() {
                    let s = start[0][i];
                    let slope = match neuron {
                        Neuron::Linear { a, .. } => a.abs(),
                        Neuron::Relu | Neuron::Nrelu | Neuron::Brelu { .. } | Neuron::Abs => 1.0,
                        Neuron::Softrelu => 1.0 + (-s).exp(),
                        Neuron::Tanh { a, b } => (a * b).abs() * (1.0 + (s / a) * (s / a)),
                        Neuron::Logistic => s * (1.0 + s),
                        Neuron::Square => 2.0 * s.abs(),
                        Neuron::Log { .. } => (-s).exp() * (1.0 + s.abs()),
                        // Twice: a square.
                        Neuron::Drelu { a } => 2.0 * (s / a).tanh().powi(2),
                        Neuron::Leaky { a } => a.max(1.0),
                        Neuron::Elu { a } => s.abs() + a.max(1.0),
                        Neuron::Swish => (1.0 + s.abs()) / (1.0 + (-s).exp()),
                        Neuron::Sqrt => {
                            if s > 0.0 {
                                0.5 / s
                            } else {
                                0.0
                            }
                        }
                    };
                    *sum = start[1][i].abs() * slope + before(dx, i);
                }
            }
            Self::SoftmaxForward { shape } => {
                for (i, sum) in sums[1].iter_mut().enumerate() {
                    let image = &start[0][i / shape.image() * shape.image()..][..shape.image()];
                    *sum = result[1][i] * (1.0 + largest(image) - start[0][i]);
                }
            }
            Self::SoftmaxBackward { shape, .. } => {
                for (i, sum) in sums[2].iter_mut().enumerate() {
                    let first = i / shape.image() * shape.image();
                    let mean: f64 = (first..first + shape.image()).map(|j| (start[0][j] * start[1][j]).abs()).sum();
                    *sum = start[0][i].abs() * (start[1][i].abs() + mean) + before(2, i);
                }
            }
            // A loss is a logarithm of a sum, exact to a unit of its own size or of 1.
            Self::LogregForward { shape, images, .. } | Self::CrossEntropyForward { shape, images, .. } => {
                let counted = images.min(shape.n) as f64;
                sums[2][0] = start[2][0].abs() + (result[2][0] - start[2][0]).abs() + counted;
            }
            Self::OneHot { .. } => sums[1] = result[1].clone(),
            Self::LogregBackward { shape, images, smoothing, .. } => {
                let factor = COEFFICIENT * step_values(self).gradient_scale;
                for image in 0..shape.n {
                    let at = image * shape.image();
                    let x = &start[0][at..][..shape.image()];
                    let most = largest(x);
                    let total: f64 = x.iter().map(|x| (x - most).exp()).sum();
                    for (j, x) in x.iter().enumerate() {
                        let p = (x - most).exp() / total * (1.0 + most - x);
                        let own = f64::from(u8::from(j == start[1][image] as usize));
                        let term = factor * (p + own + smoothing / shape.image() as f64);
                        sums[2][at + j] = before(2, at + j) + if image < images { term } else { 0.0 };
                    }
                }
            }
            Self::CrossEntropyBackward { .. } => {
                for (i, sum) in sums[2].iter_mut().enumerate() {
                    *sum = result[2][i].abs() + 2.0 * before(2, i);
                }
            }
            Self::SquaresForward { shape, images, .. } => {
                let target = |i: usize| start.get(2).map_or(0.0, |t| t[i].abs());
                let counted = (images * shape.image()).min(shape.elements());
                let sum: f64 = (0..counted).map(|i| (start[0][i].abs() + target(i)).powi(2)).sum();
                sums[1][0] = start[1][0].abs() + sum;
            }
            Self::SquaresBackward { .. } => {
                let factor = COEFFICIENT * step_values(self).gradient_scale * 2.0;
                for (i, sum) in sums[1].iter_mut().enumerate() {
                    let target = start.get(2).map_or(0.0, |t| t[i].abs());
                    *sum = factor * (start[0][i].abs() + target) + before(1, i);
                }
            }
        }
        Ok(sums)
    }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// A neuron passes an error on by its slope, and rounds its own result.
pub(super) fn widen(sums: &mut [f64], slope: f64, result: &[f64]) {
    for (sum, y) in sums.iter_mut().zip(result) {
        *sum = *sum * slope + y.abs();
    }
}
