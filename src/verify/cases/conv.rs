//! Convolutions.

use super::{FUSED, WRITES};
use crate::device::{ConvGeometry, Rounding, Shape, Window, output_size};
use crate::op::{ConvBackwardFilters, ConvBackwardImage, ConvForward, Neuron, Target, Write};
use crate::verify::case::*;

/// A convolution's input, filters and windows, [rows, columns].
#[derive(Clone, Copy)]
pub(super) struct Conv {
    pub n: usize,
    pub image: [usize; 2],
    pub c: usize,
    pub k: usize,
    pub size: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub rounding: Rounding,
}

impl Conv {
    pub const fn new(n: usize, image: [usize; 2], c: usize, k: usize, size: [usize; 2]) -> Self {
        let rounding = Rounding::Floor;
        Self { n, image, c, k, size, stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1, rounding }
    }

    const fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    pub const fn padding(self, padding: [usize; 2]) -> Self {
        Self { padding, ..self }
    }

    const fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    const fn ceil(self) -> Self {
        Self { rounding: Rounding::Ceil, ..self }
    }

    /// `None` where no filter fits.
    pub fn geometry(self) -> Option<ConvGeometry> {
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

/// The biases of a convolution.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Bias {
    None,
    Shared,
    Untied,
}

impl Bias {
    /// Their tensor, of an output y.
    pub fn of(self, y: Shape) -> Operand {
        unit(if self == Self::Untied { Shape { n: 1, ..y } } else { vector(y.c) })
    }

    /// The operand that they are, of tensor number `i`.
    pub fn operand(self, i: usize) -> Option<usize> {
        (self != Self::None).then_some(i)
    }

    /// What a case's text says of them.
    pub fn note(self) -> &'static str {
        if self == Self::Untied { "untied" } else { "" }
    }
}

pub(super) fn forward(geometry: ConvGeometry, bias: Bias, neuron: Neuron) -> Case {
    let op = |neuron| ConvForward { geometry, neuron, x: 0, w: 1, b: bias.operand(3), y: 2 };
    let y = geometry.output();
    let tensors = [unit(geometry.input()), unit(geometry.filters()), unit(y), bias.of(y)];
    let magnitudes = through(neuron, op(Neuron::NONE), 2);
    Case::new(op(neuron), tensors, magnitudes).summing(geometry.filters().image()).note(bias.note())
}

pub(super) fn backward_image(geometry: ConvGeometry, into: Write) -> Case {
    let op = ConvBackwardImage { geometry, neuron: Neuron::NONE, dy: 0, w: 1, seen: None, dx: Target { at: 2, into } };
    let tensors = [geometry.output(), geometry.filters(), geometry.input()].map(unit);
    Case::new(op, tensors, linear(0)).summing((geometry.r * geometry.s * geometry.k / geometry.groups) as usize)
}

/// The image gradient multiplied by the derivative of the relu that made the image.
fn backward_relu(geometry: ConvGeometry, into: Write) -> Case {
    let op = ConvBackwardImage { geometry, neuron: Neuron::Relu, dy: 0, w: 1, seen: Some(2), dx: Target { at: 3, into } };
    let image = geometry.input();
    let seen = real(image, Start::Clipped(-1.0, 1.0, 0.0, 1.0));
    let tensors = [unit(geometry.output()), unit(geometry.filters()), seen, unit(image)];
    Case::new(op, tensors, linear(0)).summing((geometry.r * geometry.s * geometry.k / geometry.groups) as usize)
}

pub(super) fn backward_filters(geometry: ConvGeometry, into: Write) -> Case {
    let op = ConvBackwardFilters { geometry, x: 0, dy: 1, dw: Target { at: 2, into } };
    let tensors = [geometry.input(), geometry.output(), geometry.filters()].map(unit);
    Case::new(op, tensors, linear(0)).summing((geometry.n * geometry.p * geometry.q) as usize)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, g) in CONVS.iter().filter_map(|c| c.geometry()).enumerate() {
        let bias = [Bias::Shared, Bias::None, Bias::Untied][i % 3];
        all.push(forward(g, bias, FUSED[i % FUSED.len()]));
        if bias != Bias::None {
            all.push(forward(g, Bias::None, Neuron::NONE));
        }
        all.extend(WRITES.map(|into| [backward_image(g, into), backward_filters(g, into)]).into_iter().flatten());
        all.extend(WRITES.map(|into| backward_relu(g, into)));
        // Some channels of larger tensors.
        let ([before, after], into) = ([[16, 8], [3, 5], [0, 1]][i % 3], WRITES[i % 2]);
        let neuron = if i % 4 < 3 { Neuron::Relu } else { FUSED[i % FUSED.len()] };
        all.push(forward(g, bias, neuron).with_gaps(&[2], before, after));
        all.push(forward(g, bias, neuron).with_gaps(&[0, 2], before, after));
        all.push(backward_image(g, into).with_gaps(&[0], before, after));
        all.push(backward_image(g, into).with_gaps(&[0, 2], before, after));
        all.push(backward_relu(g, into).with_gaps(&[0], before, after));
        all.push(backward_filters(g, into).with_gaps(&[1], before, after));
        all.push(backward_filters(g, into).with_gaps(&[0, 1], before, after));
    }
    all
}
