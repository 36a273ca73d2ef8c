//! Gaussian noise.

use super::SHAPES;
use crate::device::Shape;
use crate::device::philox::{Purpose, block};
use crate::op::Noise;
use crate::verify::case::*;

fn noise(shape: Shape, layer: u32, std: f64, y: usize) -> Case {
    // A number is a radius times a cosine: an error of the cosine counts by the radius.
    let magnitudes = each(y, move |k, i| {
        let (image, element) = (i / shape.image(), i % shape.image());
        let position = u64::from(STEP.first_image + image as u32) << 32 | (element / 4) as u64;
        let random = block(STEP.seed, Purpose::Noise, layer, STEP.step, position)[element % 4 / 2 * 2];
        let u = f64::from((random >> 8) + 1) / 16_777_216.0;
        k.start[0][i].abs() + std * (-2.0 * u.ln()).sqrt()
    });
    Case::new(Noise { layer, std, x: 0, y }, [unit(shape); 2], magnitudes)
}

pub(super) fn cases() -> Vec<Case> {
    let of_shape = |(i, shape)| [1, 0].map(|y| noise(shape, i as u32 * 7, [0.5, 0.01, 3.0, 0.0, 1.0][i], y));
    SHAPES.into_iter().enumerate().flat_map(of_shape).collect()
}
