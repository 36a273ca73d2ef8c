//! Locally connected layers.

use crate::device::{ConvGeometry, Device, Into, Neuron, Op, Result, Tensor};
use crate::verify::operation::{Bias, Call, Operand, Reference, conv, input, neuron_name, output, slope, widen};
use crate::verify::table::{CONVS, Conv, FUSED, INTOS};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Local {
    Forward { g: ConvGeometry, bias: Bias, neuron: Neuron },
    BackwardImage { g: ConvGeometry, into: Into },
    BackwardFilters { g: ConvGeometry, into: Into },
}

/// Beside the convolutions of few weights: more images than a tile has rows; grouped fully connected layers, one of them
/// with a sum that is worth splitting.
const MORE: [Conv; 4] = [
    Conv::new(70, [4, 3], 4, 8, [3, 2]).padding([1, 0]),
    Conv::new(9, [2, 2], 3, 36, [2, 1]),
    Conv::new(5, [3, 2], 6, 10, [3, 2]).groups(2),
    Conv::new(3, [1, 1], 600, 8, [1, 1]).groups(2),
];

/// Weights of a case, at most.
const WEIGHTS: usize = 30_000;

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let convs = CONVS.iter().filter_map(|c| c.geometry()).filter(|g| g.local_filters().elements() <= WEIGHTS);
    let geometries = convs.chain(MORE.iter().filter_map(|c| c.geometry()));
    let calls = geometries.enumerate().flat_map(|(i, g)| {
        let bias = [Bias::Untied, Bias::None, Bias::Shared][i % 3];
        let gradients = INTOS.map(|into| [Local::BackwardImage { g, into }, Local::BackwardFilters { g, into }]);
        std::iter::once(Local::Forward { g, bias, neuron: FUSED[i % FUSED.len()] }).chain(gradients.into_iter().flatten())
    });
    calls.map(|call| Arc::new(call) as Arc<dyn Call>).collect()
}

impl Call for Local {
    fn name(&self) -> &'static str {
        match self {
            Self::Forward { .. } => "local_forward",
            Self::BackwardImage { .. } => "local_backward_image",
            Self::BackwardFilters { .. } => "local_backward_filters",
        }
    }

    fn geometry(&self) -> String {
        match *self {
            Self::Forward { ref g, bias, neuron } => format!("{}{}{}", conv(g), bias.name(), neuron_name(neuron)),
            Self::BackwardImage { ref g, into } | Self::BackwardFilters { ref g, into } => {
                format!("{}{}", conv(g), if into == Into::Add { " add" } else { "" })
            }
        }
    }

    fn operands(&self) -> Vec<Operand> {
        match *self {
            Self::Forward { g, bias, .. } => {
                let mut operands = vec![input(g.input()), input(g.local_filters()), output(g.output(), Into::Set)];
                operands.extend(bias.operand(g.output()));
                operands
            }
            Self::BackwardImage { g, into } => vec![input(g.output()), input(g.local_filters()), output(g.input(), into)],
            Self::BackwardFilters { g, into } => vec![input(g.input()), input(g.output()), output(g.local_filters(), into)],
        }
    }

    fn op(&self) -> Option<Op> {
        Some(match *self {
            Self::Forward { g, .. } => Op::LocalForward(g),
            Self::BackwardImage { g, .. } => Op::LocalBackwardImage(g),
            Self::BackwardFilters { g, .. } => Op::LocalBackwardFilters(g),
        })
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], scratch: Tensor) -> Result<()> {
        match *self {
            Self::Forward { g, neuron, .. } => d.local_forward(&g, t[0], t[1], t.get(3).copied(), neuron, t[2], scratch),
            Self::BackwardImage { g, into } => d.local_backward_image(&g, t[0], t[1], t[2], into, scratch),
            Self::BackwardFilters { g, into } => d.local_backward_filters(&g, t[0], t[1], t[2], into, scratch),
        }
    }

    fn length(&self) -> usize {
        match *self {
            Self::Forward { g, .. } => g.filters().image(),
            Self::BackwardImage { g, .. } => (g.r * g.s * g.k / g.groups) as usize,
            Self::BackwardFilters { g, .. } => g.n as usize,
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let absolutes: Vec<Vec<f64>> = start.iter().map(|v| v.iter().map(|v| v.abs()).collect()).collect();
        match *self {
            Self::Forward { g, bias, neuron } => {
                let mut sums = reference(&Self::Forward { g, bias, neuron: Neuron::NONE }, &absolutes)?;
                widen(&mut sums[2], slope(neuron), &result[2]);
                Ok(sums)
            }
            Self::BackwardImage { .. } | Self::BackwardFilters { .. } => reference(self, &absolutes),
        }
    }
}
