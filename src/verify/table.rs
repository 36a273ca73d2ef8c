//! The cases: awkward geometries by hand, and random ones.

use super::Case;
use super::operation::{Bias, Call, Operation};
use crate::device::philox::{Purpose, Stream};
use crate::device::{
    ConvGeometry, ImageGeometry, Into, Neuron, PoolGeometry, PoolKind, Product, Rounding, Shape, Update, Window, output_size,
};

use std::sync::Arc;

pub(super) const INTOS: [Into; 2] = [Into::Set, Into::Add];
const KINDS: [PoolKind; 3] = [PoolKind::Max, PoolKind::Avg, PoolKind::L2];
const NEURONS: [Neuron; 15] = [
    Neuron::NONE,
    Neuron::Linear { a: -1.5, b: 0.25 },
    Neuron::Relu,
    Neuron::Brelu { a: 1.5 },
    Neuron::Softrelu,
    Neuron::Tanh { a: 1.75, b: 0.625 },
    Neuron::Logistic,
    Neuron::Abs,
    Neuron::Square,
    Neuron::Sqrt,
    Neuron::Log { a: 0.5 },
    Neuron::Drelu { a: 1.25 },
    Neuron::Leaky { a: 0.125 },
    Neuron::Elu { a: 0.75 },
    Neuron::Swish,
];
/// Neurons that ride on convolutions and products.
pub(super) const FUSED: [Neuron; 6] = [
    Neuron::NONE,
    Neuron::Relu,
    Neuron::Tanh { a: 1.75, b: 0.625 },
    Neuron::Logistic,
    Neuron::Leaky { a: 0.125 },
    Neuron::Elu { a: 0.75 },
];

/// A convolution's input, filters and windows, [rows, columns].
#[derive(Clone, Copy)]
pub(super) struct Conv {
    n: usize,
    image: [usize; 2],
    c: usize,
    k: usize,
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    rounding: Rounding,
}

impl Conv {
    pub(super) const fn new(n: usize, image: [usize; 2], c: usize, k: usize, size: [usize; 2]) -> Self {
        let rounding = Rounding::Floor;
        Self { n, image, c, k, size, stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1, rounding }
    }

    const fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    pub(super) const fn padding(self, padding: [usize; 2]) -> Self {
        Self { padding, ..self }
    }

    const fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    pub(super) const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    const fn ceil(self) -> Self {
        Self { rounding: Rounding::Ceil, ..self }
    }

    /// `None` where no filter fits.
    pub(super) fn geometry(self) -> Option<ConvGeometry> {
        let Self { n, image, c, k, size, stride, padding, dilation, groups, rounding } = self;
        let window = |i: usize| Window { size: size[i], stride: stride[i], padding: padding[i], dilation: dilation[i] };
        let (p, q) = (output_size(image[0], window(0), rounding)?, output_size(image[1], window(1), rounding)?);
        let [h, w] = image.map(|v| v as i32);
        let [r, s] = size.map(|v| v as i32);
        let [stride_h, stride_w] = stride.map(|v| v as i32);
        let [padding_h, padding_w] = padding.map(|v| v as i32);
        let [dilation_h, dilation_w] = dilation.map(|v| v as i32);
        let [n, c, k, p, q, groups] = [n, c, k, p, q, groups].map(|v| v as i32);
        let g =
            ConvGeometry { n, h, w, c, k, r, s, p, q, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups };
        Some(g)
    }
}

/// The convolutions of the table.
pub(super) const CONVS: &[Conv] = &[
    // One of everything; one pixel; 1×1 filters; a filter as large as its image.
    Conv::new(1, [1, 1], 1, 1, [1, 1]),
    Conv::new(3, [1, 1], 5, 7, [1, 1]),
    Conv::new(2, [5, 7], 3, 4, [1, 1]),
    Conv::new(2, [5, 7], 3, 4, [5, 7]),
    // LeNet's two, and its first with few images.
    Conv::new(3, [28, 28], 1, 20, [5, 5]),
    Conv::new(2, [12, 12], 20, 50, [5, 5]),
    // Rectangles in everything.
    Conv::new(2, [5, 7], 3, 4, [3, 2]).stride([2, 1]).padding([1, 1]),
    Conv::new(1, [9, 6], 5, 6, [2, 3]).stride([1, 2]).padding([0, 2]),
    // A filter larger than its image, by padding; stride over size; a stride that leaves cells over.
    Conv::new(2, [2, 3], 4, 5, [5, 5]).padding([2, 2]),
    Conv::new(2, [11, 10], 3, 5, [2, 2]).stride([4, 3]),
    Conv::new(2, [10, 10], 3, 5, [3, 3]).stride([2, 2]),
    // Rounded up: the last windows are partial.
    Conv::new(2, [10, 9], 3, 5, [3, 3]).stride([2, 3]).ceil(),
    Conv::new(2, [8, 8], 2, 3, [3, 3]).stride([3, 3]).padding([1, 1]).ceil(),
    Conv::new(1, [2, 2], 2, 3, [3, 3]).stride([2, 2]).ceil(),
    // Groups, depthwise, depthwise with a multiplier.
    Conv::new(2, [6, 5], 6, 9, [3, 3]).padding([1, 1]).groups(3),
    Conv::new(2, [7, 7], 5, 5, [3, 3]).padding([1, 1]).groups(5),
    Conv::new(2, [7, 6], 3, 6, [3, 3]).stride([2, 2]).padding([1, 1]).groups(3),
    // Dilation, with stride, padding and groups.
    Conv::new(2, [9, 9], 3, 4, [3, 3]).dilation([2, 2]).padding([2, 2]),
    Conv::new(1, [11, 13], 4, 6, [3, 2]).dilation([3, 2]).stride([2, 3]).padding([1, 0]).groups(2),
    // AlexNet's first, small; many channels; channels around the vectors' widths.
    Conv::new(1, [35, 35], 3, 17, [11, 11]).stride([4, 4]),
    Conv::new(1, [4, 4], 65, 33, [3, 3]).padding([1, 1]),
    Conv::new(5, [3, 3], 16, 16, [3, 3]).padding([1, 1]),
    Conv::new(2, [13, 13], 32, 48, [3, 3]).padding([1, 1]),
    Conv::new(2, [16, 15], 3, 32, [5, 5]).padding([2, 2]),
    Conv::new(1, [6, 1], 7, 31, [3, 1]).padding([1, 0]),
];

/// A pool of windows [rows, columns] that start `padding` before the image.
fn pool(
    n: usize,
    image: [usize; 2],
    c: usize,
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    rounding: Rounding,
) -> Option<PoolGeometry> {
    let window = |i: usize| Window { size: size[i], stride: stride[i], padding: padding[i], dilation: 1 };
    let (p, q) = (output_size(image[0], window(0), rounding)?, output_size(image[1], window(1), rounding)?);
    let [n, c, p, q] = [n, c, p, q].map(|v| v as i32);
    let ([h, w], [size_h, size_w]) = (image.map(|v| v as i32), size.map(|v| v as i32));
    let ([stride_h, stride_w], [start_h, start_w]) = (stride.map(|v| v as i32), padding.map(|v| -(v as i32)));
    Some(PoolGeometry { n, h, w, c, p, q, size_h, size_w, stride_h, stride_w, start_h, start_w })
}

/// The pools of the table.
fn pools() -> Vec<PoolGeometry> {
    use Rounding::{Ceil, Floor};
    let table = [
        pool(1, [1, 1], 1, [1, 1], [1, 1], [0, 0], Floor),
        pool(2, [24, 24], 20, [2, 2], [2, 2], [0, 0], Floor),
        pool(2, [8, 8], 50, [2, 2], [2, 2], [0, 0], Ceil),
        // Overlapping; partial last windows; windows larger than the image; stride over size.
        pool(2, [13, 11], 7, [3, 3], [2, 2], [0, 0], Ceil),
        pool(2, [12, 10], 65, [3, 3], [2, 2], [0, 0], Ceil),
        pool(3, [6, 6], 64, [3, 3], [1, 1], [1, 1], Floor),
        pool(1, [3, 2], 5, [5, 5], [2, 2], [2, 2], Ceil),
        pool(2, [9, 10], 3, [2, 2], [3, 4], [0, 0], Ceil),
        pool(2, [7, 5], 4, [2, 3], [1, 2], [1, 0], Ceil),
        pool(2, [5, 5], 3, [2, 2], [1, 1], [0, 0], Floor),
        // The whole image; one channel; many.
        pool(2, [6, 6], 9, [6, 6], [1, 1], [0, 0], Floor),
        pool(1, [9, 9], 1, [3, 3], [3, 3], [0, 0], Floor),
        pool(1, [4, 4], 130, [3, 2], [2, 2], [0, 0], Ceil),
    ];
    let mut pools: Vec<_> = table.into_iter().flatten().collect();
    // cuda-convnet's start and outputs: the last window has no cell at all, and the first starts before the image.
    pools.push(PoolGeometry { p: 4, q: 3, ..pool(2, [5, 5], 3, [3, 3], [2, 2], [1, 1], Floor).unwrap_or(pools[0]) });
    // Windows that divide the image evenly: more cells than windows, fewer, as many; and rows of channels, as across maps.
    let even = |p, q, g: Option<PoolGeometry>| g.map(|g| PoolGeometry { p, q, stride_h: 0, stride_w: 0, ..g });
    pools.extend(even(4, 3, pool(2, [9, 7], 5, [4, 4], [1, 1], [0, 0], Floor)));
    pools.extend(even(4, 2, pool(2, [3, 2], 3, [2, 1], [1, 1], [0, 0], Floor)));
    pools.extend(even(1, 1, pool(3, [5, 6], 4, [5, 6], [1, 1], [0, 0], Floor)));
    pools.extend(pool(30, [1, 17], 1, [1, 3], [1, 2], [0, 0], Ceil));
    pools
}

/// Products, [m, n, k].
const PRODUCTS: [[i32; 3]; 8] =
    [[1, 1, 1], [1, 10, 37], [3, 500, 800], [64, 10, 500], [17, 33, 65], [2, 1, 300], [65, 3, 2], [31, 32, 0]];

/// Shapes for what goes element by element: one; less and more than a vector; more than the pieces of several threads.
pub(super) const SHAPES: [Shape; 5] = [
    Shape::new(1, 1, 1, 1),
    Shape::new(3, 2, 5, 7),
    Shape::new(2, 1, 1, 1000),
    Shape::new(5, 13, 11, 67),
    Shape::new(2, 1, 1, 33_333),
];

/// Batches of outputs for softmax and costs, and the images that count.
pub(super) const OUTPUTS: [(Shape, usize); 6] = [
    (Shape::new(1, 1, 1, 1), 1),
    (Shape::new(4, 1, 1, 10), 4),
    (Shape::new(7, 1, 1, 10), 5),
    (Shape::new(3, 1, 1, 1000), 2),
    (Shape::new(65, 1, 1, 101), 64),
    (Shape::new(2, 3, 3, 2), 0),
];

/// The conformance table.
pub fn cases() -> Vec<Case> {
    use Operation as O;
    let mut all = Vec::new();
    for (i, g) in CONVS.iter().filter_map(|c| c.geometry()).enumerate() {
        let bias = [Bias::Shared, Bias::None, Bias::Untied][i % 3];
        all.push(O::ConvForward { g, bias, neuron: FUSED[i % FUSED.len()] });
        if bias != Bias::None {
            all.push(O::ConvForward { g, bias: Bias::None, neuron: Neuron::NONE });
        }
        for into in INTOS {
            all.push(O::ConvBackwardImage { g, into });
            all.push(O::ConvBackwardFilters { g, into });
        }
    }
    for (i, [m, n, k]) in PRODUCTS.into_iter().enumerate() {
        for (transpose_a, transpose_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let p = Product { m, n, k, transpose_a, transpose_b };
            all.push(O::Product { p, bias: i % 2 == 0, neuron: FUSED[i % FUSED.len()], into: Into::Set });
            all.push(O::Product { p, bias: false, neuron: Neuron::NONE, into: Into::Add });
        }
    }
    for g in pools() {
        for kind in KINDS {
            all.push(O::PoolForward { g, kind });
            all.extend(INTOS.map(|into| O::PoolBackward { g, kind, into }));
        }
    }
    for neuron in NEURONS {
        for shape in SHAPES {
            all.push(O::NeuronForward { neuron, shape, in_place: false });
            all.push(O::NeuronForward { neuron, shape, in_place: true });
            all.extend(INTOS.map(|into| O::NeuronBackward { neuron, shape, into, in_place: false }));
            all.push(O::NeuronBackward { neuron, shape, into: Into::Set, in_place: true });
        }
    }
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let (layer, keep) = (i as u32 * 7, [0.5, 0.7, 0.1, 1.0, 0.9][i]);
        all.push(O::Dropout { shape, layer, keep, factor: 1.0 / keep, into: Into::Set, in_place: false });
        all.push(O::Dropout { shape, layer, keep, factor: 1.0, into: Into::Set, in_place: true });
        all.push(O::Dropout { shape, layer, keep: 0.3, factor: 1.0 / 0.3, into: Into::Add, in_place: false });
        all.extend(INTOS.map(|into| O::Scale { shape, factor: -1.25, into }));
        all.push(O::Fill { shape, value: 0.375 });
        all.push(O::MeanAbs { shape });
        let update = Update::new([1.0, 2.0, 0.0, 1.0, 0.5][i], [0.0, 0.0005, 0.1, 0.01, 0.0][i]);
        all.push(O::SgdUpdate { shape, update, learning_rate: 0.1 });
        let other = Update { l1_decay: 0.002, momentum: [None, Some(0.5)][i % 2], nesterov: i > 0, ..update };
        all.push(O::SgdUpdate { shape, update: other, learning_rate: 0.05 });
        for into in INTOS {
            all.push(O::BiasBackward { dy: shape, untied: false, into });
            all.push(O::BiasBackward { dy: shape, untied: true, into });
        }
    }
    for into in INTOS {
        all.push(O::BiasBackward { dy: Shape::new(9, 24, 24, 20), untied: false, into });
        all.push(O::BiasBackward { dy: Shape::new(40, 5, 5, 130), untied: false, into });
    }
    for (shape, images) in OUTPUTS {
        all.push(O::SoftmaxForward { shape });
        all.extend(INTOS.map(|into| O::SoftmaxBackward { shape, into }));
        for (largest, smoothing) in [(8.0, 0.0), (1e4, 0.0), (8.0, 0.25)] {
            all.push(O::LogregForward { shape, images, largest, smoothing });
            all.extend(INTOS.map(|into| O::LogregBackward { shape, images, largest, smoothing, into }));
        }
        for smoothing in [0.0, 0.125] {
            all.push(O::OneHot { shape, smoothing });
            all.push(O::CrossEntropyForward { shape, images, smoothing });
            all.extend(INTOS.map(|into| O::CrossEntropyBackward { shape, images, smoothing, into }));
        }
        for target in [false, true] {
            all.push(O::SquaresForward { shape, images, target });
            all.extend(INTOS.map(|into| O::SquaresBackward { shape, images, target, into }));
        }
    }
    for [n, h, w, c, p, q] in [[1, 1, 1, 1, 1, 1], [3, 28, 28, 1, 28, 28], [4, 9, 7, 3, 5, 6], [2, 4, 5, 3, 8, 9]] {
        let g = ImageGeometry { n, h, w, c, p, q };
        all.extend([false, true].map(|moved_mean| O::LoadImages { g, moved_mean }));
    }
    all.extend([1, 7, 128].map(|images| O::LoadLabels { images }));
    let first = all.into_iter().map(|operation| Arc::new(operation) as Arc<dyn Call>);
    first.chain(super::cases::all()).zip(1..).map(|(operation, seed)| Case { operation, seed }).collect()
}

/// A case drawn at random, the same for the same seed: any operation, geometries that are small and awkward.
pub fn random_case(seed: u64) -> Case {
    use Operation as O;
    let mut random = Stream::new(seed, Purpose::Data, u32::MAX, 1);
    let mut draw = |from: u32, to: u32| (from + random.below(to - from + 1)) as usize;
    loop {
        let into = INTOS[draw(0, 1)];
        let shape = Shape::new(draw(1, 5), draw(1, 6), draw(1, 6), draw(1, 70));
        let images = draw(0, shape.n as u32);
        let operation = match draw(0, 15) {
            0..=5 => {
                let groups = [1, 1, 1, 2, 3, 5][draw(0, 5)];
                let conv = Conv {
                    n: draw(1, 4),
                    image: [draw(1, 13), draw(1, 13)],
                    c: groups * draw(1, if groups == 1 { 20 } else { 5 }),
                    k: groups * draw(1, if groups == 1 { 35 } else { 5 }),
                    size: [draw(1, 5), draw(1, 5)],
                    stride: [draw(1, 4), draw(1, 4)],
                    padding: [draw(0, 3), draw(0, 3)],
                    dilation: [draw(1, 3), draw(1, 3)],
                    groups,
                    rounding: [Rounding::Floor, Rounding::Ceil][draw(0, 1)],
                };
                let bias = [Bias::None, Bias::Shared, Bias::Untied][draw(0, 2)];
                let (which, neuron) = (draw(0, 2), FUSED[draw(0, 5)]);
                conv.geometry().map(|g| match which {
                    0 => O::ConvForward { g, bias, neuron },
                    1 => O::ConvBackwardImage { g, into },
                    _ => O::ConvBackwardFilters { g, into },
                })
            }
            6..=8 => {
                let (size, stride) = ([draw(1, 5), draw(1, 5)], [draw(1, 4), draw(1, 4)]);
                let padding = [draw(0, size[0] as u32 - 1), draw(0, size[1] as u32 - 1)];
                let rounding = [Rounding::Floor, Rounding::Ceil][draw(0, 1)];
                let image = [draw(1, 12), draw(1, 12)];
                let g = pool(draw(1, 3), image, draw(1, 70), size, stride, padding, rounding);
                let (forward, kind) = (draw(0, 1) == 0, KINDS[draw(0, 2)]);
                g.map(|g| if forward { O::PoolForward { g, kind } } else { O::PoolBackward { g, kind, into } })
            }
            9 | 10 => {
                let [m, n, k] = [draw(1, 70), draw(1, 70), draw(0, 200)].map(|v| v as i32);
                let [transpose_a, transpose_b] = [draw(0, 1), draw(0, 1)].map(|v| v as i32);
                let p = Product { m, n, k, transpose_a, transpose_b };
                let (set, neuron) = (into == Into::Set, FUSED[draw(0, 5)]);
                let neuron = if set { neuron } else { Neuron::NONE };
                Some(O::Product { p, bias: set && draw(0, 1) == 1, neuron, into })
            }
            11 => Some(O::BiasBackward { dy: shape, untied: draw(0, 1) == 1, into }),
            12 => Some(O::NeuronBackward { neuron: NEURONS[draw(0, 14)], shape, into, in_place: false }),
            13 => {
                let keep = draw(1, 99) as f64 / 100.0;
                Some(O::Dropout { shape, layer: draw(0, 40) as u32, keep, factor: 1.0 / keep, into, in_place: false })
            }
            14 => Some(O::LogregBackward { shape, images, largest: draw(1, 100) as f64, smoothing: 0.0, into }),
            _ => Some(O::LogregForward { shape, images, largest: draw(1, 100) as f64, smoothing: draw(0, 3) as f64 / 4.0 }),
        };
        if let Some(operation) = operation {
            return Case { operation: Arc::new(operation), seed };
        }
    }
}
