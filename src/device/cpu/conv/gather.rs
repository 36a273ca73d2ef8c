//! Outputs gathered from their windows: the forward pass, and the image gradient, which is a forward pass of dy through the
//! flipped filters (with a stride, one for each of the stride_h·stride_w places an image's cell can have under it).
//!
//! Implicit GEMM on NHWC as it lies. A tile is up to 14 neighbouring outputs of one row by two or more vectors of channels;
//! its depth runs over rows of taps, taps and input channels, the last two merged where they are contiguous in the image (a
//! 3-channel 11 × 11 filter is 11 runs of 33). The filters are packed once a call into panels [tap row][tap][channel][column of
//! the panel]. A task is a band of output rows of one image: the input rows it sees are copied, with their padding, into a
//! buffer of at most 256 KB where a window leaves the image to a side (so every tile is an inner one), and read in place where
//! not; rows of taps above or below the image are left out.
//! Copying costs one load and store an element for the K·R·S/stride² multiply-adds it takes part in.
//!
//! FLOPs: 2·outputs·depth, in vectors of 16 columns: K = 20 pays for 32. Bytes: x and y once, the panels once a band from the
//! second-level cache (the third, beyond 1 MB a panel).

use super::pad;
use crate::device::cpu::Workers;
use crate::device::cpu::simd::{Finish, Left, Place, Rows, Shared, Simd, Walk};
use std::ops::Range;

/// One axis: output i sees, through tap t, the input's cell i·stride + t·dilation + offset, and is stored as cell
/// first + i·step of the result.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub outputs: usize,
    pub taps: usize,
    pub stride: usize,
    pub dilation: usize,
    pub offset: isize,
    pub input: usize,
    pub first: usize,
    pub step: usize,
}

impl Axis {
    /// Input cells that `outputs` neighbouring outputs see, from first to last.
    fn span(&self, outputs: usize) -> usize {
        (outputs - 1) * self.stride + (self.taps - 1) * self.dilation + 1
    }

    /// Whether every tap lies in the input.
    fn inside(&self) -> bool {
        self.offset >= 0 && self.offset as usize + self.span(self.outputs) <= self.input
    }

    /// The input cell that output i sees through tap t; it may lie outside.
    pub fn cell(&self, i: usize, t: usize) -> isize {
        (i * self.stride + t * self.dilation) as isize + self.offset
    }

    /// The taps through which output i sees the input.
    pub fn seen(&self, i: usize) -> Range<usize> {
        let inside = |t: &usize| (0..self.input as isize).contains(&self.cell(i, *t));
        let start = (0..self.taps).find(inside).unwrap_or(0);
        start..(start..self.taps).rfind(inside).map_or(start, |t| t + 1)
    }

    /// Pairs of an output and a tap that lies in the input.
    pub fn pairs(&self) -> usize {
        (0..self.outputs).map(|i| self.seen(i).len()).sum()
    }
}

/// A gathering convolution. Group g reads the channels g·depth .. (g + 1)·depth of the input, whose cells are `pitch_in` elements
/// apart, and makes g·columns .. (g + 1)·columns of the result, whose cells are `pitch_out` apart; the result has `height` ×
/// `width` cells an image.
pub struct Gather<'a> {
    pub simd: &'a Simd,
    pub images: usize,
    pub rows: Axis,
    pub columns: Axis,
    pub groups: usize,
    pub depth: usize,
    pub outputs: usize,
    pub pitch_in: usize,
    pub pitch_out: usize,
    pub height: usize,
    pub width: usize,
}

/// Floats of the buffer that a band of input rows is copied into, at most where one output row needs no more.
const BAND: usize = 1 << 16;
/// Slots of the scratch: tasks are dealt to them in order.
const SLOTS: usize = 32;

/// How a gather is cut: computed from the geometry and the instruction set alone.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Columns of a panel.
    panel: usize,
    panels: usize,
    /// Steps of the depth: taps × channels.
    steps: usize,
    /// Whether bands are copied.
    copied: bool,
    /// Output rows of a band, and bands of an image.
    band: usize,
    bands: usize,
    /// Floats of a slot.
    buffer: usize,
    slots: usize,
    tasks: usize,
}

/// A band of output rows of one image, and the filters of the group that makes them.
struct Band<'a> {
    image: usize,
    group: usize,
    rows: Range<usize>,
    packed: &'a [f32],
}

impl Gather<'_> {
    fn plan(&self) -> Plan {
        let panel = self.simd.vectors(self.columns.outputs, self.outputs) * self.simd.lanes;
        let copied = !self.columns.inside();
        let row = self.columns.span(self.columns.outputs) * self.depth;
        let mut band = self.rows.outputs.div_ceil(16_usize.div_ceil(self.images));
        if copied {
            while band > 1 && self.rows.span(band) * row > BAND {
                band = band.div_ceil(2);
            }
        }
        let bands = self.rows.outputs.div_ceil(band);
        let band = self.rows.outputs.div_ceil(bands);
        let bands = self.rows.outputs.div_ceil(band);
        let tasks = self.images * bands;
        Plan {
            panel,
            panels: self.outputs.div_ceil(panel),
            steps: self.rows.taps * self.columns.taps * self.depth,
            copied,
            band,
            bands,
            buffer: if copied { (self.rows.span(band) * row).next_multiple_of(16) } else { 16 },
            slots: tasks.min(SLOTS),
            tasks,
        }
    }

    /// Floats of the packed filters of all groups.
    fn packed(&self, plan: &Plan) -> usize {
        self.groups * plan.panels * plan.panel * plan.steps
    }

    /// Floats of scratch that [`run`](Self::run) wants.
    pub fn scratch(&self) -> usize {
        let plan = self.plan();
        self.packed(&plan) + plan.slots * plan.buffer
    }

    /// Makes the outputs. `pack(group, columns, panel, pitch)` writes the filters of some columns as
    /// [tap row][tap][channel][pitch].
    pub fn run(
        &self,
        workers: &Workers,
        x: &[f32],
        pack: impl Fn(usize, Range<usize>, &mut [f32], usize) + Send + Sync,
        finish: &Finish<'_>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let plan = self.plan();
        let (packed, rest) = scratch.split_at_mut(self.packed(&plan));
        let panel = plan.panel * plan.steps;
        workers.large_pieces(packed.len() / 2, panel, packed, |i, packed| {
            let (group, first) = (i / plan.panels, i % plan.panels * plan.panel);
            let columns = first..(first + plan.panel).min(self.outputs);
            let pitch = columns.len().next_multiple_of(self.simd.lanes);
            pack(group, columns, &mut packed[..plan.steps * pitch], pitch);
        });
        let packed = &*packed;
        let outputs = self.images * self.rows.outputs * self.columns.outputs;
        let nanoseconds = outputs * plan.steps * self.groups * self.outputs / 50;
        let y = Shared::new(y);
        workers.large_pieces(nanoseconds, plan.buffer, &mut rest[..plan.slots * plan.buffer], |slot, buffer| {
            for task in slot * plan.tasks / plan.slots..(slot + 1) * plan.tasks / plan.slots {
                let (image, first) = (task / plan.bands, task % plan.bands * plan.band);
                let rows = plan.band.min(self.rows.outputs - first);
                for group in 0..self.groups {
                    let packed = &packed[group * plan.panels * panel..][..plan.panels * panel];
                    let band = Band { image, group, rows: first..first + rows, packed };
                    self.band(&plan, x, band, finish, y, buffer);
                }
            }
        });
    }

    /// One group of a band.
    fn band(&self, plan: &Plan, x: &[f32], band: Band<'_>, finish: &Finish<'_>, y: Shared<'_>, buffer: &mut [f32]) {
        let Band { image, group, rows: band, packed } = band;
        let (simd, Axis { outputs, stride, .. }) = (self.simd, self.columns);
        let channel = group * self.depth;
        let x = &x[image * self.rows.input * self.columns.input * self.pitch_in..];
        // The input rows that the band sees, the first of them, the distance of its rows, the distance of its cells.
        let low = self.rows.cell(band.start, 0).clamp(0, self.rows.input as isize) as usize;
        let (x, row, cell) = if plan.copied {
            let high = self.rows.cell(band.end - 1, self.rows.taps - 1) + 1;
            let rows = high.clamp(low as isize, self.rows.input as isize) as usize - low;
            let cells = self.columns.span(outputs);
            let image = [self.rows.input, self.columns.input, self.pitch_in];
            let start = [low as isize, self.columns.offset];
            pad(simd, x, image, channel..channel + self.depth, start, [rows, cells], buffer);
            (&*buffer, cells * self.depth, self.depth)
        } else {
            let row = self.columns.input * self.pitch_in;
            let start = low * row + self.columns.offset as usize * self.pitch_in + channel;
            // A band in the padding sees no row: it starts behind the image and reads nothing.
            (x.get(start..).unwrap_or_default(), row, self.pitch_in)
        };
        let loops = [(self.columns.taps, self.columns.dilation * cell), (self.depth, 1)];
        // The taps of a row are one run where they are contiguous.
        let merged = loops[0].1 == self.depth || loops[0].0 == 1;
        let steps = self.columns.taps * self.depth;
        for panel in 0..plan.panels {
            let column = panel * plan.panel;
            let columns = plan.panel.min(self.outputs - column);
            let packed = &packed[column * plan.steps..];
            let pitch = columns.next_multiple_of(simd.lanes);
            let column = group * self.outputs + column;
            for i in band.clone() {
                let seen = self.rows.seen(i);
                let packed = &packed[seen.start * steps * pitch..];
                let x = if seen.is_empty() { x } else { &x[(self.rows.cell(i, seen.start) as usize - low) * row..] };
                let taps = (seen.len(), self.rows.dilation * row);
                let loops = if merged { [(1, 0), taps, (steps, 1)] } else { [taps, loops[0], loops[1]] };
                let walk = Walk { rows: Rows::Apart(stride * cell), loops };
                let line = (image * self.height + self.rows.first + i * self.rows.step) * self.width;
                let (cell, step) = (line + self.columns.first, self.columns.step);
                let bias = finish.bias.map(|(b, pitch)| (&b[i * outputs * pitch + column..], pitch));
                let seen = finish.seen.map(|(seen, pitch)| (&seen[cell * pitch + column..], step * pitch));
                let to = Place { c: y.after(cell * self.pitch_out + column), pitch: step * self.pitch_out, columns };
                // SAFETY: this task alone writes these rows of this image.
                unsafe { simd.tiles(&Left { a: x, rows: outputs, walk }, packed, &to, &Finish { bias, seen, ..*finish }) }
            }
        }
    }
}
