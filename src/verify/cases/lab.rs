//! L*a*b* of linear RGB.

use super::super::operation::{Call, Operand, Reference, Role, Start, input, output, real};
use crate::device::{Device, Into, Result, Shape, Tensor};
use std::sync::Arc;

#[derive(Debug)]
struct Lab {
    shape: Shape,
    /// `None`: forward.
    backward: Option<Into>,
}

/// X, Y and Z of R, G and B.
const XYZ: [[f64; 3]; 3] = [[0.49, 0.31, 0.2], [0.17697, 0.8124, 0.01063], [0.0, 0.01, 0.99]];
/// Below it f is a line.
const LINEAR: f64 = 0.0088564517;

impl Call for Lab {
    fn name(&self) -> &'static str {
        if self.backward.is_some() { "lab_backward" } else { "lab_forward" }
    }

    fn geometry(&self) -> String {
        let add = if self.backward == Some(Into::Add) { " add" } else { "" };
        format!("{} of {}{add}", self.shape.n, self.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let x = real(self.shape, Role::In, Start::Uniform(-0.125, 1.0));
        match self.backward {
            None => vec![x, output(self.shape, Into::Set)],
            Some(into) => vec![x, input(self.shape), output(self.shape, into)],
        }
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], _scratch: Tensor) -> Result<()> {
        match self.backward {
            None => d.lab_forward(50.0, t[0], t[1]),
            Some(into) => d.lab_backward(t[0], t[1], t[2], into),
        }
    }

    fn length(&self) -> usize {
        3
    }

    /// X, Y and Z are sums with errors of their terms' size, which f passes on by its slope, and the slope by its own.
    fn magnitudes(&self, start: &[Vec<f64>], _: &[Vec<f64>], _: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let mut sums: Vec<Vec<f64>> = start.iter().map(|v| vec![0.0; v.len()]).collect();
        let last = start.len() - 1;
        for at in (0..start[0].len()).step_by(3) {
            let sum = |row: &[f64; 3], of: &dyn Fn(f64) -> f64| (0..3).map(|c| row[c] * of(start[0][at + c])).sum::<f64>();
            let [exact, terms] = [&(|x| x) as &dyn Fn(f64) -> f64, &f64::abs].map(|of| XYZ.map(|row| sum(&row, of)));
            let slopes = exact.map(|t| if t > LINEAR { 1.0 / (3.0 * t.cbrt().powi(2)) } else { 7.787037 });
            let root = |k: usize| if exact[k] > LINEAR { exact[k].cbrt() } else { 7.787037 * terms[k] + 0.138 };
            match self.backward {
                None => {
                    let [x, y, z] = [0, 1, 2].map(|k| root(k) + slopes[k] * terms[k]);
                    let lab = [116.0 * y + 66.0, 500.0 * (x + y), 200.0 * (y + z)];
                    sums[last][at..at + 3].copy_from_slice(&lab);
                }
                Some(into) => {
                    let [dl, da, db] = [(0, 116.0), (1, 500.0), (2, 200.0)].map(|(k, by)| by * start[1][at + k].abs());
                    let df = [da, dl + da + db, db];
                    for c in 0..3 {
                        let of = |k: usize| df[k] * slopes[k] * XYZ[k][c] * (1.0 + terms[k] / exact[k].max(LINEAR));
                        let before = if into == Into::Add { start[last][at + c].abs() } else { 0.0 };
                        sums[last][at + c] = of(0) + of(1) + of(2) + before;
                    }
                }
            }
        }
        Ok(sums)
    }
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let shapes = [Shape::new(1, 1, 1, 3), Shape::new(2, 5, 7, 3), Shape::new(3, 41, 40, 3)];
    let each = |shape| [None, Some(Into::Set), Some(Into::Add)].map(|backward| Lab { shape, backward });
    shapes.into_iter().flat_map(each).map(|lab| Arc::new(lab) as Arc<dyn Call>).collect()
}
