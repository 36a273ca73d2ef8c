//! Spatial pyramid pooling (He et al. 2014): for each level l the image is divided into l × l bins, each pooled, and the bins
//! of all levels make one vector, whatever the image's size. Bin i of l takes the rows from ⌊i·h/l⌋ to ⌈(i + 1)·h/l⌉, so that
//! every cell is in a bin and no bin is empty. Cost: x is read once a level, and the bins are copied to their place in y;
//! backward is a pool's for each level.

use super::{Doc, Io, Kind, Layer, Misfit, Pass, Reads, key, pool};
use crate::config::LayerSpec;
use crate::device::{self, CopyGeometry, Device, Dtype, Into, PoolGeometry, PoolKind, Shape, Tensor};
use serde::Deserialize;
use std::num::NonZeroU32;

pub(super) const KIND: Kind = Kind {
    name: "spatial-pyramid",
    labels: None,
    doc: Doc {
        about: "pools of the image in ever finer bins, one behind the other: a vector whatever the image's size",
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

impl SpatialPyramid {
    /// Bytes of the largest level's bins, on a boundary.
    fn bins_bytes(&self, real: Dtype) -> usize {
        let most = self.levels.iter().map(|(pool, _)| pool.output().elements()).max().unwrap_or(0);
        (most * real.size()).next_multiple_of(256)
    }
}

/// The bins of a level, in scratch.
fn bins(pool: &PoolGeometry, scratch: Tensor, real: Dtype) -> Tensor {
    Tensor { slot: scratch.slot, shape: pool.output(), dtype: real }
}

impl Layer for SpatialPyramid {
    fn output(&self) -> Shape {
        self.output
    }

    fn backward_reads(&self) -> Reads {
        Reads { inputs: self.kind.gradient_reads_input(), output: self.kind.gradient_reads_output() }
    }

    /// A level's bins, or their gradient and, where it is computed from them, the bins again.
    fn scratch(&self, device: &dyn Device, pass: Pass) -> usize {
        let both = pass == Pass::Backward && self.kind.gradient_reads_output();
        self.bins_bytes(device.real()) * if both { 2 } else { 1 }
    }

    fn forward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let scratch = io.scratch(Pass::Forward);
        for (pool, copy) in &self.levels {
            let y = bins(pool, scratch, device.real());
            device.pool_forward(pool, self.kind, io.input(0), y)?;
            device.copy_box(copy, y, io.output(), Into::Set)?;
        }
        Ok(())
    }

    fn backward(&self, device: &mut dyn Device, io: &Io) -> device::Result<()> {
        let Some((dx, into)) = io.input_gradient(0) else { return Ok(()) };
        let real = device.real();
        let (first, second) = io.scratch(Pass::Backward).split(self.bins_bytes(real));
        for (i, (pool, copy)) in self.levels.iter().enumerate() {
            let (dy, mut y) = (bins(pool, first, real), io.output());
            device.copy_box(&copy.back(), io.output_gradient(), dy, Into::Set)?;
            if self.kind.gradient_reads_output() {
                y = bins(pool, second, real);
                device.copy_box(&copy.back(), io.output(), y, Into::Set)?;
            }
            let into = if i == 0 { into } else { Into::Add };
            device.pool_backward(pool, self.kind, io.input(0), y, dy, dx, into)?;
        }
        Ok(())
    }
}
