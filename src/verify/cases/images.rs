//! Loading a batch.

use crate::device::{Dtype, ImageGeometry, Shape};
use crate::op::{LoadImages, LoadLabels};
use crate::verify::case::*;

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for [n, h, w, c, p, q] in [[1, 1, 1, 1, 1, 1], [3, 28, 28, 1, 28, 28], [4, 9, 7, 3, 5, 6], [2, 4, 5, 3, 8, 9]] {
        let geometry = ImageGeometry { n, h, w, c, p, q };
        let source = geometry.input();
        for (mean, note) in [(vector(source.c), ""), (Shape { n: 1, ..source }, "mean image")] {
            let op = LoadImages { geometry, scale: 1.0 / 64.0, x: 0, places: 1, mean: 2, y: 3 };
            let tensors = [
                Operand { dtype: Some(Dtype::U8), ..real(source, Start::Whole(256)) },
                integers(3 * source.n, Start::Places(h - p, w - q)),
                real(mean, Start::Uniform(100.0, 150.0)),
                unit(geometry.output()),
            ];
            let magnitudes = by(|k| {
                let mut values = k.start.to_vec();
                values[2].iter_mut().for_each(|v| *v = -*v);
                k.run(k.case.op, &values)
            });
            all.push(Case::new(op, tensors, magnitudes).note(note));
        }
    }
    let labels = |images| Case::new(LoadLabels { x: 0, y: 1 }, [integers(images, Start::Whole(1000)); 2], exact());
    all.extend([1, 7, 128].map(labels));
    all
}
