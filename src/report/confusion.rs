//! A confusion matrix: a row a class, a column what its images were taken for, each cell as dark as its part of the row. What is
//! right lies on the diagonal, in another colour.

use super::{Error, FONT, INK, picture};
use image::RgbImage;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Pixels of the matrix's side, about.
const ROOM: usize = 880;
/// Classes, at most, whose names are written.
const NAMED: usize = 48;
/// Classes, at most, whose numbers are written into the cells.
const NUMBERED: usize = 20;
/// Letters of a name that are written.
const LETTERS: usize = 22;
const RIGHT: RGBColor = RGBColor(31, 119, 180);
const WRONG: RGBColor = RGBColor(217, 83, 25);

/// Draws the matrix of counts of as many classes as there are names.
///
/// # Errors
/// There are no classes, or more than a picture has room for, or the drawing library fails.
pub fn draw(counts: &[Vec<u64>], names: &[String], title: &str) -> Result<RgbImage, Error> {
    let classes = counts.len();
    if classes == 0 || classes > 8 * ROOM {
        return Err(Error::of("the confusion matrix")(format!("it has {classes} classes")));
    }
    let cell = (ROOM / classes).clamp(1, 64);
    let side = (cell * classes) as i32;
    let names: Vec<String> =
        (0..classes).map(|i| names.get(i).map_or(i.to_string(), |n| n.chars().take(LETTERS).collect())).collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) as i32;
    let named = classes <= NAMED;
    let label = if named { 24 + 8 * longest } else { 30 };
    let (left, top) = (label, 56 + label);
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    picture("the confusion matrix", ((left + side + 30).max(420) as u32, (top + side + 30) as u32), |area| {
        area.draw(&Text::new(title, (16, 10), text(20)))?;
        area.draw(&Text::new("rows: the class; columns: what it was taken for", (16, 36), text(14)))?;
        for (i, row) in counts.iter().enumerate() {
            let sum = row.iter().sum::<u64>().max(1) as f64;
            for (j, &n) in row.iter().enumerate().filter(|(_, n)| **n > 0) {
                let part = n as f64 / sum;
                // A root, so that rare mistakes are seen.
                let colour = if i == j { RIGHT } else { WRONG }.mix(0.06 + 0.94 * part.sqrt());
                let at = |k: usize, from: i32| from + (k * cell) as i32;
                let (x, y) = (at(j, left), at(i, top));
                area.draw(&Rectangle::new([(x, y), (x + cell as i32 - 1, y + cell as i32 - 1)], colour.filled()))?;
                if classes <= NUMBERED {
                    let ink = if part > 0.4 { WHITE } else { INK };
                    let style = (FONT, 14).into_font().color(&ink).pos(Pos::new(HPos::Center, VPos::Center));
                    area.draw(&Text::new(n.to_string(), (x + cell as i32 / 2, y + cell as i32 / 2), style))?;
                }
            }
        }
        let frame = RGBColor(150, 150, 150).stroke_width(1);
        area.draw(&Rectangle::new([(left - 1, top - 1), (left + side, top + side)], frame))?;
        for (i, name) in names.iter().enumerate().filter(|_| named) {
            let middle = (i * cell + cell / 2) as i32;
            let row = text(13).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.as_str(), (left - 8, top + middle), row))?;
            let upright = text(13).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name.as_str(), (left + middle, top - 8), upright))?;
        }
        Ok::<_, DrawingAreaErrorKind<_>>(())
    })
}
