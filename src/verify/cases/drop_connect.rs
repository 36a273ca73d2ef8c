//! DropConnect.

use crate::device::{Device, DropConnect, Into, Result, Shape, Tensor};
use crate::verify::operation::{Call, Operand, Reference, input, output, vector};
use crate::verify::table::INTOS;
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Pass {
    Forward { bias: bool },
    BackwardInput,
    BackwardWeights,
}

#[derive(Clone, Copy, Debug)]
struct Drop {
    pass: Pass,
    images: usize,
    outputs: usize,
    inputs: usize,
    masks: DropConnect,
    into: Into,
}

/// Images, outputs, inputs: one of everything; rows of weights that begin anywhere in a block of four; more than a warp and
/// than 64 masks.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [3, 5, 7], [9, 6, 40], [2, 3, 333], [17, 33, 12]];

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let mut all = Vec::new();
    for (i, [images, outputs, inputs]) in SIZES.into_iter().enumerate() {
        let masks = DropConnect { stream: i as u32 * 9, keep: [0.5, 0.7, 0.1, 1.0, 0.9][i] };
        for into in INTOS {
            for pass in [Pass::Forward { bias: into == Into::Set }, Pass::BackwardInput, Pass::BackwardWeights] {
                all.push(Arc::new(Drop { pass, images, outputs, inputs, masks, into }) as Arc<dyn Call>);
            }
        }
    }
    all
}

impl Call for Drop {
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Forward { .. } => "drop_connect_forward",
            Pass::BackwardInput => "drop_connect_backward_input",
            Pass::BackwardWeights => "drop_connect_backward_weights",
        }
    }

    fn geometry(&self) -> String {
        let Self { images, outputs, inputs, masks: DropConnect { stream, keep }, into, .. } = self;
        let added = if *into == Into::Add { " add" } else { "" };
        format!("{images} of {inputs} to {outputs} stream {stream} keep {keep}{added}")
    }

    fn operands(&self) -> Vec<Operand> {
        let (x, y) = (Shape::new(self.images, 1, 1, self.inputs), Shape::new(self.images, 1, 1, self.outputs));
        let w = Shape::new(self.outputs, 1, 1, self.inputs);
        match self.pass {
            Pass::Forward { bias } => {
                let mut operands = vec![input(x), input(w), output(y, self.into)];
                operands.extend(bias.then(|| input(vector(self.outputs))));
                operands
            }
            Pass::BackwardInput => vec![input(y), input(w), output(x, self.into)],
            Pass::BackwardWeights => vec![input(x), input(y), output(w, self.into)],
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        let (m, into) = (&self.masks, self.into);
        match self.pass {
            Pass::Forward { .. } => d.drop_connect_forward(m, t[0], t[1], t.get(3).copied(), t[2], into),
            Pass::BackwardInput => d.drop_connect_backward_input(m, t[0], t[1], t[2], into),
            Pass::BackwardWeights => d.drop_connect_backward_weights(m, t[0], t[1], t[2], into),
        }
    }

    fn length(&self) -> usize {
        match self.pass {
            Pass::Forward { .. } => self.inputs,
            Pass::BackwardInput => self.outputs,
            Pass::BackwardWeights => self.images,
        }
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        reference(self, &start.iter().map(|v| v.iter().map(|v| v.abs()).collect()).collect::<Vec<_>>())
    }
}
