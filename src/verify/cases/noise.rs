//! Gaussian noise.

use crate::device::philox::{Purpose, block};
use crate::device::{Device, Result, Shape, Tensor};
use crate::verify::operation::{Call, Operand, Reference, Role, UNIT, input, output, real, step_values};
use crate::verify::table::SHAPES;
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
struct Noise {
    shape: Shape,
    layer: u32,
    std: f64,
    in_place: bool,
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let of_shape = |(i, shape): (usize, Shape)| {
        [false, true].map(|in_place| {
            Arc::new(Noise { shape, layer: i as u32 * 7, std: [0.5, 0.01, 3.0, 0.0, 1.0][i], in_place }) as Arc<dyn Call>
        })
    };
    SHAPES.into_iter().enumerate().flat_map(of_shape).collect()
}

impl Call for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn geometry(&self) -> String {
        let Self { shape, layer, std, in_place } = self;
        format!("{} of {shape} layer {layer} std {std}{}", shape.n, if *in_place { " in place" } else { "" })
    }

    fn operands(&self) -> Vec<Operand> {
        if self.in_place {
            vec![real(self.shape, Role::InOut, UNIT)]
        } else {
            vec![input(self.shape), output(self.shape, crate::device::Into::Set)]
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        d.noise(self.layer, self.std, t[0], t[t.len() - 1])
    }

    /// A number is a radius times a cosine: an error of the cosine counts by the radius.
    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let step = step_values(self);
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        let y = result.len() - 1;
        for (i, sum) in sums[y].iter_mut().enumerate() {
            let (image, element) = (i / self.shape.image(), i % self.shape.image());
            let position = u64::from(step.first_image + image as u32) << 32 | (element / 4) as u64;
            let random = block(step.seed, Purpose::Noise, self.layer, step.step, position)[element % 4 / 2 * 2];
            let u = f64::from((random >> 8) + 1) / 16_777_216.0;
            *sum = start[0][i].abs() + self.std * (-2.0 * u.ln()).sqrt();
        }
        Ok(sums)
    }
}
