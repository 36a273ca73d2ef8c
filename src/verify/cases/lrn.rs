//! Response normalisation.

use super::WRITES;
use crate::device::LrnGeometry;
use crate::op::{LrnBackward, LrnForward, Response, Target, Write};
use crate::verify::case::*;

const fn across(n: i32, h: i32, w: i32, c: i32, size: i32) -> LrnGeometry {
    LrnGeometry { n, h, w, c, size, within: 0, blocked: 0 }
}

const fn within(n: i32, h: i32, w: i32, c: i32, size: i32) -> LrnGeometry {
    LrnGeometry { within: 1, ..across(n, h, w, c, size) }
}

const fn blocked(n: i32, h: i32, w: i32, c: i32, size: i32) -> LrnGeometry {
    LrnGeometry { blocked: 1, ..across(n, h, w, c, size) }
}

const GEOMETRIES: [LrnGeometry; 20] = [
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

/// The usual powers, and one that is no root; sums that matter.
const RESPONSES: [Response; 5] = [
    Response { alpha: 0.5, beta: 0.75, k: 1.0 },
    Response { alpha: 1e-4, beta: 0.75, k: 2.0 },
    Response { alpha: 0.25, beta: 1.0, k: 0.5 },
    Response { alpha: 2.0, beta: 0.5, k: 0.25 },
    Response { alpha: 0.75, beta: 0.625, k: 0.125 },
];

const WIDE: Start = Start::Uniform(-4.0, 4.0);

/// Cells of a whole window.
fn cells(g: LrnGeometry) -> usize {
    g.size.pow(if g.within == 1 { 2 } else { 1 }) as usize
}

/// A power passes on its base's relative error beta times, and has one of its own in the share of its logarithm.
fn power(g: LrnGeometry, r: Response, seen: &[f64]) -> f64 {
    let most = seen.iter().fold(0.0f64, |m, x| m.max(x * x));
    let largest = r.k + r.alpha * cells(g) as f64 * most;
    2.0 + r.beta * (2.0 + r.k.ln().abs().max(largest.ln().abs()))
}

/// `seen`: the number of the tensor that is seen; 0 is x itself.
fn forward(geometry: LrnGeometry, response: Response, seen: usize) -> Case {
    let op = LrnForward { geometry, response, x: 0, seen: (seen > 0).then_some(seen), y: 2 };
    let magnitudes = filled(move |k, sums| {
        let factor = power(geometry, response, &k.start[seen]);
        sums[2] = k.result[2].iter().map(|y| y.abs() * factor).collect();
    });
    let shape = geometry.shape();
    Case::new(op, [real(shape, WIDE), real(shape, WIDE), unit(shape)], magnitudes).summing(cells(geometry))
}

fn backward(geometry: LrnGeometry, response: Response, seen: usize, into: Write) -> Case {
    let op = move |seen: usize| {
        let [seen, dseen] = [seen, 4].map(|t| (seen > 0).then_some(t));
        LrnBackward { geometry, response, x: 0, seen, dy: 2, dx: Target { at: 3, into }, dseen }
    };
    let magnitudes = by(move |k| {
        let factor = power(geometry, response, &k.start[seen]);
        // With what is seen below 0, and all else above, every term is added.
        let mut values = k.absolutes(0);
        values[1] = values[seen].iter().map(|x| -x).collect();
        let mut sums = k.run(op(1), &values)?;
        sums[4].iter_mut().for_each(|rest| *rest = rest.abs() * factor);
        for i in 0..sums[3].len() {
            sums[3][i] = sums[3][i] * factor + if seen == 0 { sums[4][i] } else { 0.0 };
        }
        Ok(sums)
    });
    let shape = geometry.shape();
    let tensors = [real(shape, WIDE), real(shape, WIDE), unit(shape), unit(shape), unit(shape)];
    Case::new(op(seen), tensors, magnitudes).summing(cells(geometry))
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, g) in GEOMETRIES.into_iter().enumerate() {
        let r = RESPONSES[i % RESPONSES.len()];
        // Within a map, what is seen may be a tensor of its own.
        for seen in 0..=g.within as usize {
            all.push(forward(g, r, seen));
            all.extend(WRITES.map(|into| backward(g, r, seen, into)));
        }
    }
    all
}
