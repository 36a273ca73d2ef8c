//! Response normalisation.

use super::super::operation::{Call, Operand, Reference, Role, Start, input, output, real};
use super::super::table::INTOS;
use crate::device::{Device, Into, LrnGeometry, Op, Response, Result, Tensor};
use std::sync::Arc;

/// Forward, or backward into a gradient that is set or added to. `apart`: what is seen is a tensor of its own.
#[derive(Clone, Copy, Debug)]
struct Lrn {
    g: LrnGeometry,
    r: Response,
    apart: bool,
    backward: Option<Into>,
}

const fn across(n: i32, h: i32, w: i32, c: i32, size: i32) -> LrnGeometry {
    LrnGeometry { n, h, w, c, size, within: 0, blocked: 0 }
}

const fn within(n: i32, h: i32, w: i32, c: i32, size: i32) -> LrnGeometry {
    LrnGeometry { within: 1, ..across(n, h, w, c, size) }
}

const fn blocked(n: i32, h: i32, w: i32, c: i32, size: i32) -> LrnGeometry {
    LrnGeometry { blocked: 1, ..across(n, h, w, c, size) }
}

pub(super) fn cases() -> Vec<Arc<dyn Call>> {
    let geometries = [
        // One element; even and odd windows; windows of one cell, of all cells, past both ends.
        across(1, 1, 1, 1, 1),
        across(2, 3, 2, 7, 3),
        across(2, 2, 3, 20, 4),
        across(1, 3, 3, 5, 1),
        across(2, 2, 2, 6, 12),
        // Places larger and smaller than a tile, several tiles, the largest window of a tile and larger ones.
        across(1, 2, 2, 1300, 5),
        across(3, 7, 5, 96, 5),
        across(2, 5, 7, 64, 9),
        across(1, 2, 3, 12, 8),
        across(1, 3, 4, 129, 33),
        across(2, 2, 1, 90, 40),
        // Blocks that divide the channels, and not; larger than a tile's surroundings.
        blocked(2, 3, 3, 12, 4),
        blocked(2, 5, 4, 67, 5),
        blocked(1, 2, 3, 100, 48),
        within(1, 1, 1, 1, 3),
        within(2, 5, 7, 3, 3),
        within(2, 9, 6, 8, 4),
        within(1, 4, 3, 5, 2),
        within(2, 3, 2, 4, 7),
        within(1, 13, 11, 20, 5),
    ];
    // The usual powers, and one that is no root; sums that matter.
    let responses = [
        Response { alpha: 0.5, beta: 0.75, k: 1.0 },
        Response { alpha: 1e-4, beta: 0.75, k: 2.0 },
        Response { alpha: 0.25, beta: 1.0, k: 0.5 },
        Response { alpha: 2.0, beta: 0.5, k: 0.25 },
        Response { alpha: 0.75, beta: 0.625, k: 0.125 },
    ];
    let mut all: Vec<Arc<dyn Call>> = Vec::new();
    for (i, g) in geometries.into_iter().enumerate() {
        let r = responses[i % responses.len()];
        for apart in [false, true].into_iter().take(1 + g.within as usize) {
            let passes = [None].into_iter().chain(INTOS.map(Some));
            all.extend(passes.map(|backward| Arc::new(Lrn { g, r, apart, backward }) as Arc<dyn Call>));
        }
    }
    all
}

impl Call for Lrn {
    fn name(&self) -> &'static str {
        if self.backward.is_some() { "lrn_backward" } else { "lrn_forward" }
    }

    fn geometry(&self) -> String {
        let Self { g, r, apart, backward } = self;
        let region = ["across", "within"][g.within as usize];
        let (blocked, apart) = (if g.blocked == 1 { " blocked" } else { "" }, if *apart { " seen apart" } else { "" });
        let add = if *backward == Some(Into::Add) { " add" } else { "" };
        let Response { alpha, beta, k } = r;
        format!("{} of {}×{}×{} {region} {}{blocked}{apart} {alpha} {beta} {k}{add}", g.n, g.h, g.w, g.c, g.size)
    }

    fn operands(&self) -> Vec<Operand> {
        let shape = self.g.shape();
        let wide = |role| real(shape, role, Start::Uniform(-4.0, 4.0));
        let mut operands = vec![wide(Role::In)];
        operands.extend(self.apart.then(|| wide(Role::In)));
        match self.backward {
            None => operands.push(output(shape, Into::Set)),
            Some(into) => {
                operands.extend([input(shape), output(shape, into)]);
                operands.extend(self.apart.then(|| output(shape, Into::Set)));
            }
        }
        operands
    }

    fn op(&self) -> Option<Op> {
        self.backward.map(|_| Op::LrnBackward(self.g))
    }

    fn call(&self, d: &mut dyn Device, t: &[Tensor], scratch: Tensor) -> Result<()> {
        let Self { g, r, apart, backward } = self;
        let (x, seen, rest) = (t[0], t[usize::from(*apart)], &t[1 + usize::from(*apart)..]);
        match backward {
            None => d.lrn_forward(g, r, x, seen, rest[0]),
            Some(into) => d.lrn_backward(g, r, x, seen, rest[0], rest[1], *into, rest.get(2).copied(), scratch),
        }
    }

    fn length(&self) -> usize {
        let size = self.g.size as usize;
        if self.g.within == 1 { size * size } else { size }
    }

    /// A power passes on its base's relative error beta times, and has one of its own in the share of its logarithm.
    fn magnitudes(&self, start: &[Vec<f64>], result: &[Vec<f64>], reference: &mut Reference<'_>) -> Result<Vec<Vec<f64>>> {
        let r = self.r;
        let most = start[usize::from(self.apart)].iter().fold(0.0f64, |m, x| m.max(x * x));
        let largest = r.k + r.alpha * self.length() as f64 * most;
        let factor = 2.0 + r.beta * (2.0 + r.k.ln().abs().max(largest.ln().abs()));
        let mut sums: Vec<Vec<f64>> = result.iter().map(|v| vec![0.0; v.len()]).collect();
        if self.backward.is_none() {
            let y = result.len() - 1;
            sums[y] = result[y].iter().map(|y| y.abs() * factor).collect();
            return Ok(sums);
        }
        // With what is seen below 0, and all else above, every term is added.
        let mut values: Vec<Vec<f64>> = start.iter().map(|v| v.iter().map(|x| x.abs()).collect()).collect();
        let seen = values[usize::from(self.apart)].iter().map(|x| -x).collect();
        if self.apart {
            values[1] = seen;
        } else {
            values.insert(1, seen);
            values.push(vec![f64::NAN; result[0].len()]);
        }
        let terms = reference(&Self { apart: true, ..*self }, &values)?;
        let (direct, rest) = (&terms[3], &terms[4]);
        if self.apart {
            sums[3] = direct.iter().map(|d| d * factor).collect();
            sums[4] = rest.iter().map(|d| d.abs() * factor).collect();
        } else {
            sums[2] = direct.iter().zip(rest).map(|(a, b)| (a + b.abs()) * factor).collect();
        }
        Ok(sums)
    }
}
