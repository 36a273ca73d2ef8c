//! A convolution's filters as a picture: those that see the image's colours as one mosaic, others as a grid of a row a
//! filter and a column a channel. Every filter goes from its least weight (black) to its greatest (white).

use super::{Error, FONT, INK, picture};
use crate::config::{LayerSpec, NetSpec, Source};
use crate::train::checkpoint::{Checkpoint, HostTensor};
use image::{Rgb, RgbImage};
use plotters::prelude::*;

/// Pixels of one weight, where there is room.
const LARGEST_CELL: usize = 8;
/// Pixels along the longer side, about.
const ROOM: usize = 3000;
/// Filters, and channels, of which more are not shown.
const MAX: usize = 512;
/// Filters, and channels, that a page shows of a layer with many channels; of others, four times as many filters.
const MAX_SHOWN: usize = 32;
/// Between them there: no grey, so that it is no weight.
const GRID: Rgb<u8> = Rgb([58, 84, 128]);
/// Around the picture.
const MARGIN: usize = 16;
/// For the two lines above it.
const CAPTION: usize = 58;
/// Between filters.
const BORDER: usize = 2;
const FRAME: Rgb<u8> = Rgb([255, 255, 255]);

/// A convolution's weights.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// Filters, rows, columns, channels.
    pub shape: [usize; 4],
    /// Row-major: as many as the shape says.
    pub values: &'a [f32],
    /// Its three channels are red, green and blue.
    pub colours: bool,
}

impl<'a> Filters<'a> {
    /// Those of a net's convolutions, and of the fully connected layers that see the images.
    pub fn of(spec: &'a NetSpec, checkpoint: &'a Checkpoint) -> Vec<Self> {
        let one = |layer: &'a LayerSpec| {
            let name = format!("{}.weights", layer.name);
            let tensor = checkpoint.weights.iter().find(|t| t.name == name)?;
            let images = sees_images(spec, layer);
            let shape = match (layer.kind.as_str(), tensor.shape.as_slice()) {
                ("conv", _) => shape(tensor)?,
                ("fc", &[outputs, inputs]) if images => {
                    let [h, w, c] = checkpoint.state.data.shape;
                    (inputs == h * w * c).then_some([outputs, h, w, c])?
                }
                _ => return None,
            };
            Some(Filters { name: &layer.name, shape, values: &tensor.values, colours: shape[3] == 3 && images })
        };
        spec.layers.iter().filter_map(one).collect()
    }
}

impl Filters<'_> {
    /// Draws them.
    ///
    /// # Errors
    /// There are none, or the drawing library fails.
    pub fn draw(&self) -> Result<RgbImage, Error> {
        let [k, r, s, c] = self.shape;
        if self.values.is_empty() || self.values.len() != k * r * s * c {
            return Err(Error::of("filters")(format!(
                "'{}' has {} weights for a shape of {:?}",
                self.name,
                self.values.len(),
                self.shape
            )));
        }
        let mosaic = c == 1 || self.colours;
        let shown = k.min(MAX);
        let (rows, columns) = if mosaic {
            let columns = columns(shown, r, s);
            (shown.div_ceil(columns), columns)
        } else {
            (shown, c.min(MAX))
        };
        let cell = (ROOM / (rows * r).max(columns * s)).clamp(1, LARGEST_CELL);
        let cell = if mosaic && rows.max(columns) * r.max(s) * cell < 500 { cell * 2 } else { cell };
        let (tile_h, tile_w) = (r * cell + BORDER, s * cell + BORDER);
        let caption = self.caption(mosaic, shown, columns);
        let text = caption.iter().zip([10, 8]).map(|(line, width)| line.chars().count() * width).max().unwrap_or(0);
        let (width, height) = (columns * tile_w + BORDER, rows * tile_h + BORDER);
        let whole = (2 * MARGIN + width.max(text), 2 * MARGIN + CAPTION + height);
        let mut picture = picture("filters", (whole.0 as u32, whole.1 as u32), |area| {
            let mut y = MARGIN as i32 - 4;
            for (line, size) in caption.iter().zip([18, 14]) {
                area.draw(&Text::new(line.as_str(), (MARGIN as i32, y), (FONT, size).into_font().color(&INK)))?;
                y += size + 12;
            }
            Ok::<_, DrawingAreaErrorKind<_>>(())
        })?;
        let (left, top) = (MARGIN, MARGIN + CAPTION);
        let ranges = self.ranges();
        for y in 0..height {
            for x in 0..width {
                let (row, column) = (y / tile_h, x / tile_w);
                let (i, j) = (y % tile_h, x % tile_w);
                let filter = if mosaic { row * columns + column } else { row };
                let colour = if i < BORDER || j < BORDER || row >= rows || column >= columns || filter >= shown {
                    FRAME
                } else {
                    let channel = if mosaic { 0 } else { column };
                    self.colour(ranges[filter], filter, (i - BORDER) / cell, (j - BORDER) / cell, channel)
                };
                picture.put_pixel((left + x) as u32, (top + y) as u32, colour);
            }
        }
        Ok(picture)
    }

    /// Whether a page shows all of them.
    pub fn is_shown_whole(&self) -> bool {
        let [k, .., c] = self.shape;
        if c == 1 || self.colours { k <= 4 * MAX_SHOWN } else { k.max(c) <= MAX_SHOWN }
    }

    /// The filters alone, for a page: as [`draw`](Self::draw) has them, of few pixels a weight, and no more than the first
    /// filters and channels. Nothing where there are none.
    pub fn mosaic(&self) -> Option<RgbImage> {
        let [k, r, s, c] = self.shape;
        if self.values.is_empty() || self.values.len() != k * r * s * c {
            return None;
        }
        let one = c == 1 || self.colours;
        let shown = k.min(if one { 4 * MAX_SHOWN } else { MAX_SHOWN });
        let columns = if one { columns(shown, r, s) } else { c.min(MAX_SHOWN) };
        let rows = if one { shown.div_ceil(columns) } else { shown };
        let cell = (1024 / (rows * r).max(columns * s)).clamp(1, 4);
        let (tile_h, tile_w) = (r * cell + 1, s * cell + 1);
        let ranges = self.ranges();
        Some(RgbImage::from_fn((columns * tile_w + 1) as u32, (rows * tile_h + 1) as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let (row, column, i, j) = (y / tile_h, x / tile_w, y % tile_h, x % tile_w);
            let filter = if one { row * columns + column } else { row };
            if i == 0 || j == 0 || row >= rows || column >= columns || filter >= shown {
                return GRID;
            }
            self.colour(ranges[filter], filter, (i - 1) / cell, (j - 1) / cell, if one { 0 } else { column })
        }))
    }

    /// The colour of a weight between its filter's least and greatest.
    fn colour(&self, (least, most): (f32, f32), filter: usize, row: usize, column: usize, channel: usize) -> Rgb<u8> {
        let [_, r, s, c] = self.shape;
        let all = &self.values[filter * r * s * c..][..r * s * c];
        let shade = |channel: usize| {
            let v = all[(row * s + column) * c + channel];
            if most > least { (255.0 * (v - least) / (most - least)).round() as u8 } else { 128 }
        };
        if self.colours { Rgb([0, 1, 2].map(shade)) } else { Rgb([shade(channel); 3]) }
    }

    /// Each filter's least and greatest weight.
    fn ranges(&self) -> Vec<(f32, f32)> {
        let [k, ..] = self.shape;
        let range = |all: &[f32]| all.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        self.values.chunks_exact(self.values.len() / k).map(range).collect()
    }

    /// What it is, and how to read it.
    fn caption(&self, mosaic: bool, shown: usize, columns: usize) -> [String; 2] {
        let [k, r, s, c] = self.shape;
        let channels = if c == 1 { String::new() } else { format!("×{c}") };
        let cut = match (shown < k, !mosaic && columns < c) {
            (false, false) => String::new(),
            (true, false) => format!("the first {shown}; "),
            (false, true) => format!("the first {columns} channels; "),
            (true, true) => format!("the first {shown}, and of their channels the first {columns}; "),
        };
        let reading = if mosaic { "" } else { "a row a filter, a column a channel; " };
        [
            format!("{}: {k} filters of {r}×{s}{channels}", self.name),
            format!("{cut}{reading}black: a filter's least weight, white: its greatest"),
        ]
    }
}

/// Filters, rows, columns, channels; a file has those of 1×1 filters without rows and columns.
pub(crate) fn shape(t: &HostTensor) -> Option<[usize; 4]> {
    match *t.shape.as_slice() {
        [k, c] => Some([k, 1, 1, c]),
        [k, r, s, c] => Some([k, r, s, c]),
        _ => None,
    }
}

/// Whether what a layer reads is the images.
pub(crate) fn sees_images(spec: &NetSpec, layer: &LayerSpec) -> bool {
    layer.inputs.iter().all(|i| match i.source {
        Source::Images => true,
        Source::Labels => false,
        Source::Layer(i) => spec.layers[i].kind == "data",
    })
}

/// Columns of a mosaic that is about square, its last row as full as can be.
fn columns(filters: usize, r: usize, s: usize) -> usize {
    let square = ((filters * r) as f64 / s as f64).sqrt().ceil() as usize;
    let candidates = square..=(square + square / 3 + 1).min(filters.max(square));
    candidates.min_by_key(|&c| (filters.div_ceil(c) * c - filters, c)).unwrap_or(1).max(1)
}
