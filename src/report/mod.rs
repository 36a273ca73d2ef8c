//! What a run and its net look like: curves and filters as pictures, and a page of everything.
//!
//! The text in pictures is set in DejaVu Sans, which is embedded, so that they look the same on any machine. A page is one HTML
//! file that reads nothing else: charts are SVG, pictures data URIs; [`page`] puts it together of what [`study`] finds the net
//! to do with its test images, what [`signs`] makes of that and of the curves, and the templates in `html/`.

pub mod chart;
pub mod confusion;
pub mod curves;
pub mod diagram;
pub mod filters;
pub mod heat;
pub mod page;
pub mod reliability;
pub mod roofline;
pub mod signs;
pub mod study;
pub mod units;

use askama::Template;
use base64::Engine;
use image::RgbImage;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::io::Cursor;
use std::sync::Once;

/// The name under which the embedded font is registered.
const FONT: &str = "convnet";
/// The same font, under the name of a family that SVG files may ask for anywhere.
const SANS: &str = "sans-serif";
/// Text.
const INK: RGBColor = RGBColor(40, 40, 40);

/// A picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw {what}: {why}")]
pub struct Error {
    /// The picture.
    what: String,
    /// The drawing library's word.
    why: String,
}

impl Error {
    /// The error of a drawing operation, for `map_err`.
    fn of<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Self {
        move |why| Self { what: what.into(), why: why.to_string() }
    }
}

/// Makes the font known to plotters; its table of fonts is one for the process.
fn load_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for name in [FONT, SANS] {
            let loaded = register_font(name, FontStyle::Normal, dejavu::sans::regular());
            assert!(loaded.is_ok(), "the embedded font is a font");
        }
    });
}

/// A picture of so many pixels, drawn by `draw` on white.
fn picture<E: std::fmt::Display>(
    what: &str,
    (width, height): (u32, u32),
    draw: impl FnOnce(&DrawingArea<BitMapBackend, plotters::coord::Shift>) -> Result<(), E>,
) -> Result<RgbImage, Error> {
    load_font();
    let mut picture = RgbImage::new(width, height);
    {
        let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
        area.fill(&WHITE).map_err(Error::of(what))?;
        draw(&area).map_err(Error::of(what))?;
        area.present().map_err(Error::of(what))?;
    }
    Ok(picture)
}

/// A picture as a PNG file.
///
/// # Errors
/// The picture is too large for one.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(Error::of("a PNG file"))?;
    Ok(bytes.into_inner())
}

/// A picture as a data URI of a PNG file.
fn data_uri(picture: &RgbImage) -> Result<String, Error> {
    let bytes = png(picture)?;
    Ok(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
}

/// A template's text. Those here write to a string alone, which cannot fail.
fn rendered(template: &impl Template) -> String {
    template.render().expect("a template renders to a string")
}
