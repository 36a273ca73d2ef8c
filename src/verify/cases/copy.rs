//! Boxes copied from tensor to tensor.

use super::super::operation::{Call, Operand, Reference, input, output};
use super::super::table::INTOS;
use crate::device::{CopyGeometry, Device, Into, Result, Tensor};
use std::sync::Arc;

#[derive(Debug)]
struct Copy {
    g: CopyGeometry,
    into: Into,
}

impl Call for Copy {
    fn name(&self) -> &'static str {
        "copy_box"
    }

    fn geometry(&self) -> String {
        let g = &self.g;
        let mirror = if g.mirror == 1 { " mirrored" } else { "" };
        let add = if self.into == Into::Add { " add" } else { "" };
        format!(
            "{} of {}×{}×{}: {}×{}×{} from ({}, {}, {}) to ({}, {}, {}) of {}×{}×{}{mirror}{add}",
            g.n,
            g.h,
            g.w,
            g.c,
            g.rows,
            g.columns,
            g.channels,
            g.from_h,
            g.from_w,
            g.from_c,
            g.to_h,
            g.to_w,
            g.to_c,
            g.p,
            g.q,
            g.k
        )
    }

    // The box alone is written: what is around it is there before, and stays.
    fn operands(&self) -> Vec<Operand> {
        vec![input(self.g.input()), output(self.g.output(), Into::Add)]
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        d.copy_box(&self.g, t[0], t[1], self.into)
    }

    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        match self.into {
            Into::Set => Ok(start.iter().map(|v| vec![0.0; v.len()]).collect()),
            Into::Add => reference(self, &start.iter().map(|v| v.iter().map(|v| v.abs()).collect()).collect::<Vec<_>>()),
        }
    }
}

/// n, the shapes [rows, columns, channels] of x, y and the box, where it starts in both, mirrored or not.
type Row = (i32, [i32; 3], [i32; 3], [i32; 3], [i32; 3], [i32; 3], bool);

const BOXES: &[Row] = &[
    (1, [1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0], false),
    // Concatenations: of images, with and without vectors of four; of vectors; of whole images' rows.
    (2, [3, 5, 4], [3, 5, 11], [3, 5, 4], [0, 0, 0], [0, 0, 3], false),
    (2, [4, 3, 8], [4, 3, 20], [4, 3, 8], [0, 0, 0], [0, 0, 12], false),
    (5, [1, 1, 10], [1, 1, 300], [1, 1, 10], [0, 0, 0], [0, 0, 64], false),
    (2, [3, 5, 7], [9, 5, 7], [3, 5, 7], [0, 0, 0], [4, 0, 0], false),
    // Slices, and their gradients: 0 around them.
    (2, [4, 3, 20], [4, 3, 8], [4, 3, 8], [0, 0, 4], [0, 0, 0], false),
    (2, [4, 3, 8], [4, 3, 20], [4, 3, 20], [0, 0, -4], [0, 0, 0], false),
    (3, [1, 1, 5], [1, 1, 9], [1, 1, 9], [0, 0, -2], [0, 0, 0], false),
    // Crops: inside; reaching out on all sides; not meeting x at all; their gradients; mirrored.
    (2, [7, 9, 3], [4, 5, 3], [4, 5, 3], [2, 3, 0], [0, 0, 0], false),
    (2, [3, 4, 5], [7, 8, 5], [7, 8, 5], [-2, -3, 0], [0, 0, 0], false),
    (2, [3, 4, 4], [7, 8, 4], [7, 8, 4], [-1, -3, 0], [0, 0, 0], true),
    (1, [3, 4, 2], [2, 2, 2], [2, 2, 2], [5, -9, 0], [0, 0, 0], false),
    (2, [6, 5, 3], [6, 5, 3], [6, 5, 3], [0, 0, 0], [0, 0, 0], true),
    (2, [6, 5, 8], [6, 5, 8], [6, 5, 8], [0, 0, 0], [0, 0, 0], true),
    // Everything at once: a box within both, out of x's channels too.
    (2, [5, 6, 7], [6, 7, 9], [4, 5, 6], [2, 3, 4], [1, 2, 3], true),
    (1, [20, 30, 3], [20, 30, 3], [20, 30, 3], [0, 0, 0], [0, 0, 0], false),
];

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let geometry = |&(n, [h, w, c], [p, q, k], size, from, to, mirror): &Row| {
        let [rows, columns, channels] = size;
        let ([from_h, from_w, from_c], [to_h, to_w, to_c]) = (from, to);
        let mirror = i32::from(mirror);
        CopyGeometry { n, h, w, c, p, q, k, rows, columns, channels, from_h, from_w, from_c, to_h, to_w, to_c, mirror }
    };
    let all = BOXES.iter().flat_map(|row| INTOS.map(|into| Copy { g: geometry(row), into }));
    all.map(|copy| Arc::new(copy) as Arc<dyn Call>).collect()
}
