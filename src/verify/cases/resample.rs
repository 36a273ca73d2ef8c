//! Bilinear resampling, and the random window of it.

use super::super::operation::{Call, Operand, Reference, Role, Start, input, output, real, vector};
use super::super::table::INTOS;
use crate::device::{Device, ImageGeometry, Into, Result, Tensor};
use std::sync::Arc;

#[derive(Debug)]
struct Resample {
    g: ImageGeometry,
    /// `None`: forward.
    backward: Option<Into>,
}

fn image(g: &ImageGeometry) -> String {
    format!("{} of {}×{}×{} to {}×{}", g.n, g.h, g.w, g.c, g.p, g.q)
}

impl Call for Resample {
    fn name(&self) -> &'static str {
        if self.backward.is_some() { "resample_backward" } else { "resample_forward" }
    }

    fn geometry(&self) -> String {
        format!("{}{}", image(&self.g), if self.backward == Some(Into::Add) { " add" } else { "" })
    }

    fn operands(&self) -> Vec<Operand> {
        let (x, y) = (self.g.input(), self.g.output());
        let (from, to) = if self.backward.is_some() { (y, x) } else { (x, y) };
        vec![real(vector(4), Role::In, Start::Window), input(from), output(to, self.backward.unwrap_or(Into::Set))]
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match self.backward {
            None => d.resample_forward(&self.g, t[0], t[1], t[2]),
            Some(into) => d.resample_backward(&self.g, t[0], t[1], t[2], into),
        }
    }

    fn length(&self) -> usize {
        if self.backward.is_some() { (self.g.p * self.g.q) as usize } else { 4 }
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let absolute = |v: &Vec<f64>| v.iter().map(|v| v.abs()).collect();
        reference(self, &[start[0].clone(), absolute(&start[1]), absolute(&start[2])])
    }
}

#[derive(Debug)]
struct RandomWindow {
    g: ImageGeometry,
    layer: u32,
    most: f64,
}

impl Call for RandomWindow {
    fn name(&self) -> &'static str {
        "random_window"
    }

    fn geometry(&self) -> String {
        format!("{} layer {} up to {}", image(&self.g), self.layer, self.most)
    }

    fn operands(&self) -> Vec<Operand> {
        vec![output(vector(4), Into::Set)]
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        d.random_window(self.layer, &self.g, self.most, t[0])
    }

    fn length(&self) -> usize {
        // A uniform number, a cube, its root, and what is made of it.
        9
    }

    /// A first cell is a difference of places of all of the scaled image, and its error that of their size.
    fn magnitudes(&self, _: &[Vec<f64>], result: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let (rows, columns) = (result[0][1], result[0][3]);
        let scaled = |size: i32| f64::from(size) * self.most + 1.0;
        Ok(vec![vec![scaled(self.g.p) * rows + 1.0, 3.0 * rows, scaled(self.g.q) * columns + 1.0, 3.0 * columns]])
    }
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    // One cell; one to many and many to one; larger, smaller, one axis of each; channels of four and not; several images.
    let sizes = [
        [1, 1, 1, 1, 1, 1],
        [2, 1, 1, 3, 4, 5],
        [2, 5, 4, 3, 1, 1],
        [2, 5, 7, 3, 10, 14],
        [3, 9, 8, 4, 4, 3],
        [1, 6, 11, 8, 13, 5],
        [2, 16, 15, 3, 16, 15],
        [1, 7, 2, 65, 3, 9],
    ];
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    for (i, [n, h, w, c, p, q]) in sizes.into_iter().enumerate() {
        let g = ImageGeometry { n, h, w, c, p, q };
        for backward in [None].into_iter().chain(INTOS.map(Some)) {
            all.push(Arc::new(Resample { g, backward }));
        }
        all.push(Arc::new(RandomWindow { g, layer: i as u32, most: [1.0, 1.25, 2.0][i % 3] }));
    }
    all
}
