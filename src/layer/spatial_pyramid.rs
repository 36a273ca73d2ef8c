//! Spatial pyramid pooling (He et al. 2014): for each level l the image is divided into l × l bins, each pooled, and the bins
//! of all levels make one vector, whatever the image's size. Bin i of l takes the rows from ⌊i·h/l⌋ to ⌈(i + 1)·h/l⌉, so that
//! every cell is in a bin and no bin is empty. Cost: x is read once a level, and the bins are copied to their place in y;
//! backward is a pool's for each level.

use super::{Doc, Io, Kind, Layer, Misfit, Tape, key, pool};
use crate::config::LayerSpec;
use crate::device::{CopyGeometry, PoolGeometry, Shape};
use crate::op::{CopyBox, Neuron, PoolBackward, PoolForward, PoolKind, Target, Value};
use serde::Deserialize;
use std::num::NonZeroU32;

pub(super) const KIND: Kind = Kind {
    name: "spatial-pyramid",
    labels: None,
    doc: Doc {
        about: "pools of the image in ever finer bins, one after the other: a vector whatever the image's size",
        keys: &[
            key("pool", "max", "\"max\", \"avg\" or \"l2\""),
            key("levels", "[1, 2, 4]", "bins along each side of the image, level by level"),
        ],
        shape: "channels × the sum of levels²",
        formula: "y = bins of level 1, bins of level 2, …; bin (i, j) of l is the pool of rows ⌊i·h/l⌋ to ⌈(i + 1)·h/l⌉, columns alike",
        source: "He et al. 2014; Caffe's SPP",
    },
    build,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "max")]
    pool: PoolKind,
    levels: Option<Vec<NonZeroU32>>,
}

fn max() -> PoolKind {
    PoolKind::Max
}

#[derive(Debug)]
struct SpatialPyramid {
    output: Shape,
    kind: PoolKind,
    /// The pool of each level, and the copy of its bins to their place.
    levels: Vec<(PoolGeometry, CopyGeometry)>,
}

fn build(spec: &LayerSpec, inputs: &[Shape]) -> Result<Box<dyn Layer>, Misfit> {
    let keys: Keys = spec.keys()?;
    let x = super::one_input(inputs)?;
    let levels: Vec<usize> = match keys.levels {
        None => vec![1, 2, 4],
        Some(levels) => levels.into_iter().map(|l| l.get() as usize).collect(),
    };
    if levels.is_empty() {
        return Err(Misfit::shape("levels", "a pyramid without levels has no output", "name one: levels = [1]"));
    }
    let of_level = |l: usize| l.saturating_mul(l).saturating_mul(x.c);
    let output = Shape::new(x.n, 1, 1, levels.iter().fold(0, |sum: usize, &l| sum.saturating_add(of_level(l))));
    let mut to = 0;
    let level = |&l: &usize| {
        let sizes = [x.n, of_level(l), output.c, to];
        let copy = super::geometry(sizes, |[n, channels, k, to_c]| {
            let (h, w, p, q, rows, columns) = (1, 1, 1, 1, 1, 1);
            CopyGeometry { n, h, w, c: channels, p, q, k, rows, columns, channels, to_c, ..CopyGeometry::default() }
        })?;
        to += of_level(l);
        Ok((pool::even(x, l)?, copy))
    };
    let levels = levels.iter().map(level).collect::<Result<_, Misfit>>()?;
    Ok(Box::new(SpatialPyramid { output, kind: keys.pool, levels }))
}

impl Layer for SpatialPyramid {
    fn output(&self) -> Shape {
        self.output
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        for &(pool, copy) in &self.levels {
            let bins = tape.value(pool.output());
            tape.push(PoolForward { kind: self.kind, geometry: pool, x: io.input(0), y: bins });
            tape.push(CopyBox { geometry: copy, x: bins.reshaped(copy.input()), y: Target::set(io.output()) });
        }
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        let Some(dx) = io.input_gradient(0) else { return };
        let kind = self.kind;
        for (i, &(geometry, copy)) in self.levels.iter().enumerate() {
            let mut bins_of = |all: Value| {
                let bins = tape.value(geometry.output());
                tape.push(CopyBox { geometry: copy.back(), x: all, y: Target::set(bins.reshaped(copy.input())) });
                bins
            };
            let dy = bins_of(io.output_gradient());
            let y = kind.gradient_reads_output().then(|| bins_of(io.output()));
            let x = kind.gradient_reads_input().then(|| io.input(0));
            let dx = if i == 0 { dx } else { Target::add(dx.at) };
            tape.push(PoolBackward { kind, geometry, neuron: Neuron::NONE, x, y, dy, dx });
        }
    }
}
